"""Build one self-contained HTML page from text, tables and pictures; it makes no network request."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, ClassVar, Literal

from steradian.plots.sphere import SphereDisplay
from steradian.plots.theme import DARK, LIGHT, Panel, Picture, small_multiples

Mark = Literal["", "best", "worse"]


@dataclass(frozen=True)
class Cell:
    """A table cell and its highlight."""

    text: str
    mark: Mark = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells under column names, with notes below; ``align`` is right for numbers and left for text."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()
    align: Literal["left", "right"] = "right"
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Figure:
    """A picture with its caption."""

    picture: Picture
    caption: str
    kind: ClassVar[str] = "figure"

    @classmethod
    def of(cls, panels: Mapping[str, Panel], alt_text: str, caption: str, **layout: Any) -> Figure:
        """Return a grid of panels with a caption; ``layout`` as in `small_multiples`."""
        return cls(small_multiples(panels, alt_text, **layout), caption)

    @property
    def light(self) -> str:
        return base64.b64encode(self.picture.light).decode()

    @property
    def dark(self) -> str:
        return base64.b64encode(self.picture.dark).decode()


@dataclass(frozen=True)
class Spheres:
    """Interactive spheres, one shown at a time."""

    identifier: str
    displays: Mapping[str, SphereDisplay]
    caption: str
    kind: ClassVar[str] = "spheres"

    @property
    def data(self) -> str:
        """JSON of the traces, escaped so that it cannot end its script element."""
        content = {
            theme.name: {name: display.traces(theme) for name, display in self.displays.items()}
            for theme in (LIGHT, DARK)
        }
        return json.dumps(content, ensure_ascii=False).replace("<", "\\u003c")


Block = Table | Figure | Spheres


@dataclass(frozen=True)
class Section:
    """A heading, paragraphs, and the blocks below them."""

    title: str
    text: Sequence[str] = ()
    blocks: Sequence[Block] = field(default_factory=list)


@dataclass(frozen=True)
class Report:
    """A report page with a title, a subtitle and sections."""

    title: str
    subtitle: str
    sections: Sequence[Section]

    def html(self) -> str:
        """Return the page; it contains plotly's script once, and only if it contains a sphere."""
        from jinja2 import Environment

        template = resources.files("steradian.plots").joinpath("report.html").read_text(encoding="utf-8")
        interactive = any(isinstance(block, Spheres) for section in self.sections for block in section.blocks)
        environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        return environment.from_string(template).render(report=self, plotly=_plotly() if interactive else "")


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def facts(pairs: Mapping[str, object], align: Literal["left", "right"] = "left") -> Table:
    """Return a two-column table of names and values."""
    return Table(("", ""), [(Cell(name), Cell(str(value))) for name, value in pairs.items()], align=align)
