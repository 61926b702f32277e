"""How far a number can be trusted: 95 % intervals of means, of shares, and over identities."""

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
    """A mean and its two-sided interval; ``low`` and ``high`` are NaN where one value gives none."""

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


def _values(values: ArrayLike) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or len(found) == 0:
        raise InputError(f"an interval needs values [N], N > 0, but they came as {list(found.shape)}.")
    return found


def t_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Student's t interval of the mean of a few independent values, one per seed."""
    found = _values(values)
    mean = float(found.mean())
    if len(found) < 2:
        return Interval(mean, math.nan, math.nan)
    reach = float(t.ppf((1 + level) / 2, len(found) - 1) * found.std(ddof=1) / math.sqrt(len(found)))
    return Interval(mean, mean - reach, mean + reach)


def normal_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Normal interval of the mean of many values, one per test item (such as paired differences)."""
    found = _values(values)
    mean = float(found.mean())
    if len(found) < 2:
        return Interval(mean, math.nan, math.nan)
    reach = float(norm.ppf((1 + level) / 2) * found.std(ddof=1) / math.sqrt(len(found)))
    return Interval(mean, mean - reach, mean + reach)


def crossed_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Interval of the mean of values [S, N] of S seeds on the same N items: of new seeds and of new items at once.

    The variance of the mean is that of the seeds' means over S, plus that of the items' means over N, less what both
    of them hold of the rest, r / (S N) (two-way random effects; Owen 2007). It is never taken below the larger of the
    two. Student's t has the degrees of freedom of Welch and Satterthwaite.

    Raises:
        InputError: fewer than two seeds or items.
    """
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 2 or min(found.shape) < 2:
        raise InputError(f"expected values [S, N] of two seeds and two items at least, but they are {found.shape}.")
    seeds, items = found.shape
    mean, of_seeds, of_items = float(found.mean()), found.mean(axis=1), found.mean(axis=0)
    rest = found - of_seeds[:, None] - of_items[None, :] + mean
    residual = float((rest**2).sum() / ((seeds - 1) * (items - 1))) / (seeds * items)
    parts = np.array([of_seeds.var(ddof=1) / seeds, of_items.var(ddof=1) / items])
    variance = max(float(parts.sum()) - residual, float(parts.max()))
    if variance == 0.0:
        return Interval(mean, mean, mean)
    freedom = float(parts.sum()) ** 2 / float((parts**2 / [seeds - 1, items - 1]).sum())
    reach = float(t.ppf((1 + level) / 2, freedom)) * math.sqrt(variance)
    return Interval(mean, mean - reach, mean + reach)


def wilson_interval(right: int, total: int, level: float = 0.95) -> Interval:
    """Interval of a share ``right`` / ``total`` of independent trials (Wilson 1927); its ``mean`` is the share itself.

    Unlike the normal one it stays in [0, 1] and has a length where all or no trials succeed.
    """
    if not 0 <= right <= total or total < 1:
        raise InputError(f"a share needs 0 <= right <= total and total >= 1, but {right} of {total} came.")
    share, z = right / total, float(norm.ppf((1 + level) / 2))
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    reach = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    # At 0 and 1 the bound is exact, rounding is not.
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
    """Interval of a number over the identities that items belong to, by random halves of them (Shao and Wu 1989).

    Items of one identity stand or fall together, so identities are drawn, each with all its items. Half of them are
    drawn without repeats, because a number of pairs would find a repeated item in itself; a half scatters around the
    mean of halves as far as the whole does around its own.

    Args:
        measure: the number, of items given by index [n]. Halves for which it is NaN, or for which it raises
            `InputError`, are left out.
        groups: [N], the identity of each item: anything that can be sorted.
        rounds: how many halves.

    Raises:
        InputError: fewer than two identities, or no half gives a number.
    """
    found = np.asarray(groups)
    if found.ndim != 1 or len(found) == 0:
        raise InputError(f"groups must be one for each item [N], N > 0, but came as {list(found.shape)}.")
    order = np.argsort(found, kind="stable")
    starts = np.flatnonzero(np.append(True, found[order][1:] != found[order][:-1]))
    items = np.split(order, starts[1:])
    if len(items) < 2:
        raise InputError("one identity says nothing about others: an interval needs two or more.")
    whole = measure(np.arange(len(found)))
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
        raise InputError("no half of the identities gives a number: there are too few of them.")
    # For an odd count a half is a little less, and scatters a little more.
    shrink = math.sqrt((len(items) // 2) / (len(items) - len(items) // 2))
    low, high = np.quantile(known - known.mean(), [(1 - level) / 2, (1 + level) / 2]) * shrink
    return Interval(whole, whole + float(low), whole + float(high))
