"""Compute confidence intervals (95 % by default) of means and shares, and over identities."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, t

from steradian.errors import InputError


@dataclass(frozen=True)
class Interval:
    """A mean and its two-sided interval; ``low`` and ``high`` are NaN if there is only one value."""

    mean: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half the interval's length."""
        return (self.high - self.low) / 2.0

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside; False when there is no interval."""
        return self.low > 0.0 or self.high < 0.0


def _mean_interval(values: ArrayLike, quantile: Callable[[int], float]) -> Interval:
    """Return the interval of the mean that reaches ``quantile(N)`` standard errors to each side."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) == 0:
        raise InputError(f"an interval needs values of shape [N], N > 0, but they came as {list(array.shape)}.")
    mean = float(array.mean())
    if len(array) < 2:
        return Interval(mean, math.nan, math.nan)
    reach = float(quantile(len(array)) * array.std(ddof=1) / math.sqrt(len(array)))
    return Interval(mean, mean - reach, mean + reach)


def t_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Compute Student's t interval of the mean of a few independent values, one per seed."""
    return _mean_interval(values, lambda count: t.ppf((1 + level) / 2, count - 1))


def normal_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Compute the normal interval of the mean of many values, one per test item (such as paired differences)."""
    return _mean_interval(values, lambda count: norm.ppf((1 + level) / 2))


def crossed_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Compute the interval of the mean of values [S, N] of S seeds on the same N items, over new seeds and new items.

    The variance of the mean is that of the seeds' means over S, plus that of the items' means over N, minus the
    residual variance r / (S N), which both contain (two-way random effects; Owen 2007). It is never below the larger of
    the two terms. Student's t has the degrees of freedom of Welch and Satterthwaite.

    Raises:
        InputError: there are fewer than two seeds or items.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or min(table.shape) < 2:
        raise InputError(f"values must be [S, N] with two seeds and two items at least, but are {table.shape}.")
    seeds, items = table.shape
    mean, seed_means, item_means = float(table.mean()), table.mean(axis=1), table.mean(axis=0)
    deviations = table - seed_means[:, None] - item_means[None, :] + mean
    residual = float((deviations**2).sum() / ((seeds - 1) * (items - 1))) / (seeds * items)
    parts = np.array([seed_means.var(ddof=1) / seeds, item_means.var(ddof=1) / items])
    variance = max(float(parts.sum()) - residual, float(parts.max()))
    if variance == 0.0:
        return Interval(mean, mean, mean)
    freedom = float(parts.sum()) ** 2 / float((parts**2 / [seeds - 1, items - 1]).sum())
    reach = float(t.ppf((1 + level) / 2, freedom)) * math.sqrt(variance)
    return Interval(mean, mean - reach, mean + reach)


def wilson_interval(right: int, total: int, level: float = 0.95) -> Interval:
    """Compute the interval of a share ``right`` / ``total`` of independent trials (Wilson 1927); ``mean`` is the share.

    Unlike the normal interval it stays in [0, 1], and its length is above 0 when all or no trials succeed.
    """
    if not 0 <= right <= total or total < 1:
        raise InputError(f"a share needs 0 <= right <= total and total >= 1, but {right} of {total} came.")
    share, z = right / total, float(norm.ppf((1 + level) / 2))
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    reach = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    # At 0 and 1 the bound is exact; set it, to avoid rounding errors.
    low = 0.0 if right == 0 else middle - reach
    high = 1.0 if right == total else middle + reach
    return Interval(share, low, high)


def identity_interval(
    measure: Callable[[NDArray[np.intp]], float],
    groups: ArrayLike,
    rounds: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Compute the interval of a metric over identities, from random halves of them (delete-half, Shao and Wu 1989).

    Items of one identity are correlated, so identities are drawn, each with all its items. Half of them are drawn
    without replacement, because a metric over pairs would match a repeated item with itself. The metric of a half
    varies around the mean of halves as much as the metric of all items varies around its own mean.

    Args:
        measure: computes the metric of the items with indices [n]. Halves for which it is NaN, or for which it raises
            `InputError`, are left out.
        groups: [N], the identity of each item, of any sortable type.
        rounds: number of halves.

    Raises:
        InputError: there are fewer than two identities, or no half gives a number.
    """
    names = np.asarray(groups)
    if names.ndim != 1 or len(names) == 0:
        raise InputError(f"groups must be [N], one for each item, N > 0, but came as {list(names.shape)}.")
    order = np.argsort(names, kind="stable")
    starts = np.flatnonzero(np.append(True, names[order][1:] != names[order][:-1]))
    items = np.split(order, starts[1:])
    if len(items) < 2:
        raise InputError("an interval over identities needs two or more, but the items are of one identity.")
    estimate = measure(np.arange(len(names)))
    generator = np.random.default_rng(seed)
    halves = []
    for _ in range(rounds):
        drawn = generator.permutation(len(items))[: len(items) // 2]
        try:
            halves.append(measure(np.sort(np.concatenate([items[group] for group in drawn]))))
        except InputError:
            continue
    known = np.array([value for value in halves if not math.isnan(value)])
    if len(known) == 0:
        raise InputError("no half of the identities gives a number: use more identities, or more images of each.")
    # For an odd count the smaller part is drawn, which varies a little more: correct for it.
    shrink = math.sqrt((len(items) // 2) / (len(items) - len(items) // 2))
    low, high = np.quantile(known - known.mean(), [(1 - level) / 2, (1 + level) / 2]) * shrink
    return Interval(estimate, estimate + float(low), estimate + float(high))
