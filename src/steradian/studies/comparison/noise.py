"""Decide which differences between techniques exceed noise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from steradian.metrics import Interval, crossed_interval, normal_interval, t_interval

Standing = Literal["best", "within noise", "worse", "unknown"]


@dataclass(frozen=True)
class Verdict:
    """How a technique compares with the one that has the best mean.

    Attributes:
        standing: "best"; "within noise" when the interval of the difference contains 0; "worse" when it does not;
            "unknown" if there is no interval.
        difference: best minus this one, paired, with its interval.
    """

    standing: Standing
    difference: Interval | None


def verdicts(
    values: Mapping[str, Mapping[int, float]],
    right: Mapping[str, Mapping[int, NDArray[np.bool_]]] | None = None,
    *,
    higher_is_better: bool = True,
) -> dict[str, Verdict]:
    """Compare each technique with the best.

    Differences are paired by seed and, if ``right`` is given, by test item. With two seeds or
    more, the interval covers new seeds and new items (`metrics.crossed_interval`), or without ``right`` new
    seeds on these items (Student's t). With one seed, it covers new items only (normal) and ignores the
    spread between seeds. The level is 95 % over all comparisons with the best (Bonferroni).

    Args:
        values: name -> seed -> value; differences are taken over the seeds that both have.
        right: name -> seed -> [N] booleans.
    """
    sign = 1.0 if higher_is_better else -1.0
    means = {name: float(np.mean(list(seeds.values()))) for name, seeds in values.items() if seeds}
    if not means:
        return {name: Verdict("unknown", None) for name in values}
    best = max(means, key=lambda name: sign * means[name])
    level = 1.0 - 0.05 / max(1, len(means) - 1)
    by_name = {}
    for name in values:
        difference = _difference(values, right or {}, best, name, level) if name in means and name != best else None
        standing: Standing = "best" if name == best else "unknown"
        if difference is not None and not math.isnan(difference.low):
            standing = "worse" if difference.excludes_zero else "within noise"
        by_name[name] = Verdict(standing, difference)
    return by_name


def _difference(
    values: Mapping[str, Mapping[int, float]],
    right: Mapping[str, Mapping[int, NDArray[np.bool_]]],
    best: str,
    name: str,
    level: float,
) -> Interval | None:
    shared = sorted(values[best].keys() & values[name].keys())
    best_right, other_right = right.get(best, {}), right.get(name, {})
    if shared and all(seed in best_right and seed in other_right for seed in shared):
        items = np.stack([best_right[seed].astype(float) - other_right[seed].astype(float) for seed in shared])
        return crossed_interval(items, level) if len(shared) > 1 else normal_interval(items[0], level)
    if len(shared) > 1:
        return t_interval([values[best][seed] - values[name][seed] for seed in shared], level)
    return None
