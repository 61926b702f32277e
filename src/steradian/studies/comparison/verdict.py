"""Say which technique to take, how sure that is, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from steradian.metrics import Interval
from steradian.percentages import between, percent
from steradian.studies.comparison.noise import Standing, verdicts
from steradian.studies.comparison.result import ComparisonResult
from steradian.studies.evaluation.verdict import Headline, Verdict

RIGHT = {"closed.accuracy": "named right", "clustering.majority": "in a group of their own kind"}
"""Shares of test images that a comparison is decided by: the first that every technique has."""

COST = "cost.seconds_per_epoch"

STANDINGS: dict[Standing, str] = {
    "best": "best",
    "within noise": "close",
    "worse": "worse",
    "unknown": "unknown",
}


@dataclass(frozen=True)
class Ranked:
    """One technique in one dimension, as it is ranked.

    Attributes:
        share: of test images that are right, the mean over seeds, with its 95 % interval.
        seconds: per epoch.
    """

    loss: str
    dims: int
    share: Interval
    standing: Standing
    seconds: float

    def cells(self) -> tuple[str, str, str, str]:
        """Return the technique, its share and interval, how it stands, and its cost, in words."""
        interval = between(self.share.low, self.share.high)
        share = f"{percent(self.share.mean)} ({interval})"
        return f"{self.loss}, {self.dims}-D", share, STANDINGS[self.standing], f"{self.seconds:.2f} s"


def decided_by(compared: ComparisonResult) -> str:
    """Return the share that the comparison is decided by."""
    dims = compared.comparison.dims
    complete = [key for key in RIGHT if all(all(compared.values(key, one).values()) for one in dims)]
    return complete[0] if complete else "clustering.majority"


def headings(compared: ComparisonResult) -> tuple[str, str, str, str]:
    """Return the headings of `Ranked.cells`."""
    return "technique", RIGHT[decided_by(compared)], "stands", "an epoch"


def ranked(compared: ComparisonResult) -> list[Ranked]:
    """Return every technique, best first; each is judged against the best of all, in any number of dimensions."""
    key, rows = decided_by(compared), []
    right = {
        f"{loss} {dims}": by_seed
        for dims in compared.comparison.dims
        for loss, by_seed in compared.right(key, dims).items()
    }
    values = {
        f"{loss} {dims}": by_seed
        for dims in compared.comparison.dims
        for loss, by_seed in compared.by_seed(key, dims).items()
    }
    standing = verdicts(values, right)
    for dims in compared.comparison.dims:
        seconds = compared.values(COST, dims)
        for loss, share in compared.shares(key, dims).items():
            cost = float(np.mean(seconds[loss])) if seconds[loss] else float("nan")
            rows.append(Ranked(loss, dims, share, standing[f"{loss} {dims}"].standing, cost))
    return sorted(rows, key=lambda row: -row.share.mean)


def verdict_of(compared: ComparisonResult) -> Verdict:
    """Return which technique to take, the three best with their intervals, and how to be surer."""
    rows = ranked(compared)
    if not rows:
        return Verdict("No technique could be measured: see the warnings.", (), "")
    best, comparison = rows[0], compared.comparison
    label = RIGHT[decided_by(compared)]
    even = [f"{row.loss} {row.dims}-D" for row in rows[1:] if row.standing == "within noise"]
    worse = [f"{row.loss} {row.dims}-D" for row in rows[1:] if row.standing == "worse"]
    images = len(compared.first(best.dims)[best.loss].labels)
    share = f"{percent(best.share.mean)} of {images:,} test images {label} ({between(best.share.low, best.share.high)})"
    if even and not worse:
        sentence = (
            f"No technique is clearly best: all are within noise of {best.loss}, {best.dims}-D, with {share}. Take the "
            "one you know."
        )
    else:
        sentence = f"Take {best.loss}, {best.dims}-D: {share}."
        sentence += f" Clearly worse: {_listed(worse)}." if worse else ""
        sentence += f" Not clearly worse: {_listed(even)}." if even else ""
    headlines = tuple(
        Headline(
            f"{label} by {row.loss}, {row.dims}-D",
            row.share.mean,
            row.share.low,
            row.share.high,
            f"{STANDINGS[row.standing]}, {row.seconds:.2f} s an epoch",
        )
        for row in rows[:3]
    )
    advice = ""
    if comparison.seeds == 1:
        advice = (
            "This is one seed: another often moves a result by as much as the techniques differ. Use --seeds 3 or more "
            "before you choose."
        )
    return Verdict(sentence, headlines, advice)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]
