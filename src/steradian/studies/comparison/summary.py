"""Summarize a comparison in a few columns of text."""

from __future__ import annotations

import math

import numpy as np

from steradian.metrics import t_interval
from steradian.studies.comparison.result import ComparisonResult

KEYS = (
    ("clustering.majority", ".4f"),
    ("closed.accuracy", ".4f"),
    ("neighbors.knn_accuracy", ".4f"),
    ("verification.eer", ".4f"),
    ("cost.seconds_per_epoch", ".2f"),
)


def summary_rows(compared: ComparisonResult) -> list[list[str]]:
    """Return a row per technique and dimension: name, dims, means (± half the 95 % interval) of `KEYS`."""
    rows = []
    for dims in compared.comparison.dims:
        for name in compared.comparison.losses:
            cells = [name, str(dims)]
            for key, form in KEYS:
                values = compared.values(key, dims)[name]
                interval = t_interval(values) if values else None
                if interval is None:
                    cells.append("–")
                elif math.isnan(interval.low) or key.startswith("cost."):
                    cells.append(f"{np.mean(values):{form}}")
                else:
                    cells.append(f"{interval.mean:{form}} ± {interval.half_width:{form}}")
            rows.append(cells)
    return rows
