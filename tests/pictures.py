"""Pictures of reports are drawn once in a run of the tests: whoever asks for the same again gets the same bytes.

Most of the time of a report goes into drawing, and tests train, stop and go on with the same small studies again and
again. What is the same is asked of all that a picture is drawn from: a changed number is drawn anew. Tests of pictures
call `small_multiples` or a display itself, and these always draw.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steradian.plots import report
from steradian.plots.theme import Panel, Picture, small_multiples


def drawn_once(folder: Path) -> None:
    """Let reports look into ``folder`` for a picture before they draw it."""

    def draw(panels: Mapping[str, Panel], alt_text: str, **sizes: Any) -> Picture:
        try:
            content = pickle.dumps([(title, *_drawn_from(panel)) for title, panel in panels.items()])
        except (AttributeError, pickle.PicklingError, TypeError):
            return small_multiples(panels, alt_text, **sizes)
        path = folder / hashlib.sha256(content + repr((alt_text, sizes)).encode()).hexdigest()
        if not path.is_file():
            written = path.with_suffix(f".{os.getpid()}")
            written.write_bytes(pickle.dumps(small_multiples(panels, alt_text, **sizes)))
            written.replace(path)
        return pickle.loads(path.read_bytes())  # noqa: S301 - written above

    report.small_multiples = draw  # type: ignore[assignment]


def _drawn_from(panel: Any) -> tuple[type, str, dict[str, Any]]:
    """Return display, method and attributes of a panel, but for those that say where it was drawn last."""
    display, name = panel.__self__, panel.__name__
    return type(display), name, {key: value for key, value in vars(display).items() if key not in ("ax_", "figure_")}
