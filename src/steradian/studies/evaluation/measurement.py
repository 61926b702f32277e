"""Metrics measured without a run, their page, and the folder that holds both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steradian.files import new_folder, write_text
from steradian.plots.report import Report
from steradian.training.run_folder import RunFolder


@dataclass(frozen=True)
class Measurement:
    """Numbers with their report.

    Attributes:
        numbers: nested, snake case; NaN where a number does not exist.
        report: the page.
        notes: assumptions and omissions, as sentences.
        folder: where `write` puts both.
    """

    numbers: dict[str, Any]
    report: Report
    notes: tuple[str, ...]
    folder: Path

    def write(self) -> Measurement:
        """Write the page and then the numbers: where the numbers are, everything is."""
        new_folder(self.folder, exist_ok=True)
        run = RunFolder(self.folder)
        write_text(run.report, self.report.html())
        run.finish(self.numbers)
        return self
