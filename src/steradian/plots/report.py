"""Build one self-contained HTML page from text, tables and pictures; it makes no network request."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import ClassVar, Literal

from steradian.plots.sphere import SphereDisplay
from steradian.plots.theme import DARK, DPI, LIGHT, Panel, Picture, small_multiples
from steradian.plots.tiles import Tiles

OPTION = re.compile(r"--[a-z][a-z-]*( [0-9]+)?")

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
    """Pictures with one caption, side by side; below each other on a narrow screen.

    Attributes:
        width: of each picture in pixels.
    """

    pictures: Sequence[Picture]
    caption: str
    width: int
    kind: ClassVar[str] = "figure"

    @classmethod
    def of(
        cls,
        panels: Mapping[str, Panel],
        alt_text: str,
        caption: str,
        *,
        width: float = 3.3,
        height: float | None = None,
    ) -> Figure:
        """Draw each of the titled panels, ``width`` by ``height`` inches, and give them a caption."""
        pictures = [
            small_multiples({title: panel}, f"{alt_text}: {title}" if title else alt_text, width=width, height=height)
            for title, panel in panels.items()
        ]
        return cls(pictures, caption, round(DPI * width))

    @property
    def sources(self) -> list[tuple[str, str, str]]:
        """Return each picture for light and for dark pages, in base64, and its description."""
        encoded = [
            [base64.b64encode(one).decode() for one in (picture.light, picture.dark)] for picture in self.pictures
        ]
        return [(light, dark, picture.words) for (light, dark), picture in zip(encoded, self.pictures, strict=True)]


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


@dataclass(frozen=True)
class Share:
    """A percentage in large type: what it is of, and its interval with what was counted."""

    label: str
    share: str
    interval: str


@dataclass(frozen=True)
class Shares:
    """Percentages side by side; below each other on a narrow screen."""

    items: Sequence[Share]
    kind: ClassVar[str] = "shares"


Block = Table | Figure | Spheres | Shares | Tiles


@dataclass(frozen=True)
class Section:
    """A heading, paragraphs, and the blocks below them.

    Attributes:
        verdict: the first paragraph is in large type.
        folded: the reader opens the section by its heading.
    """

    title: str
    text: Sequence[str] = ()
    blocks: Sequence[Block] = field(default_factory=list)
    verdict: bool = False
    folded: bool = False


@dataclass(frozen=True)
class Report:
    """A report page with a title, a subtitle and sections."""

    title: str
    subtitle: str
    sections: Sequence[Section]

    def html(self) -> str:
        """Return the page; it contains plotly's script once, and only if it contains a sphere."""
        from jinja2 import Environment

        interactive = any(isinstance(block, Spheres) for section in self.sections for block in section.blocks)
        environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        environment.filters["whole_options"] = _whole_options
        template = environment.from_string(_text("report.html"))
        return template.render(report=self, tokens=_text("tokens.css"), plotly=_plotly() if interactive else "")


def _whole_options(text: str) -> str:
    """Return ``text`` as HTML that is not broken inside an option of a command and its number."""
    from markupsafe import Markup, escape

    return Markup(OPTION.sub(r'<span class="whole">\g<0></span>', str(escape(text))))


def _text(name: str) -> str:
    return resources.files("steradian.plots").joinpath(name).read_text(encoding="utf-8")


def _plotly() -> str:
    """Return plotly's script, compressed and in base64: a third of its size, which the browser unpacks."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()


def facts(pairs: Mapping[str, object], align: Literal["left", "right"] = "left") -> Table:
    """Return a two-column table of names and values."""
    return Table(("", ""), [(Cell(name), Cell(str(value))) for name, value in pairs.items()], align=align)
