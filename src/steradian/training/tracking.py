"""Write the history of a run while it trains."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from steradian.errors import UsageError
from steradian.extras import install
from steradian.files import write_text

Tracker = Callable[[Sequence[dict[str, Any]]], None]
"""Receives the history, one row per finished epoch, each time it has grown."""


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return CSV text with a header; None and NaN are empty."""
    text = io.StringIO()
    writer = csv.DictWriter(
        text, fieldnames=list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n"
    )
    writer.writeheader()
    for row in rows:
        writer.writerow({key: "" if value is None or value != value else value for key, value in row.items()})
    return text.getvalue()


class CsvTracker:
    """Rewrites all of ``history.csv`` after every epoch, so that it is correct after any interruption."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, history: Sequence[dict[str, Any]]) -> None:
        write_text(self.path, table(history))


class TensorBoardTracker:
    """Writes event files (extra ``track``)."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError as error:
            raise UsageError(
                f"training.tensorboard needs TensorBoard. Leave it off, or install it: {install('track')}"
            ) from error
        self._writer = SummaryWriter(str(folder))
        self._written = 0

    def __call__(self, history: Sequence[dict[str, Any]]) -> None:
        for row in history[self._written :]:
            for key, value in row.items():
                if key not in ("epoch", "step") and value is not None and value == value:
                    self._writer.add_scalar(key, value, row["epoch"])
        self._written = len(history)
        self._writer.flush()
