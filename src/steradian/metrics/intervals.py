"""How far a number can be trusted: 95 % intervals of means, of shares, and over resampled identities."""

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


def bootstrap_interval(
    measure: Callable[[NDArray[np.intp]], float],
    groups: ArrayLike,
    rounds: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile interval of a number over resampled groups, such as the identities that items belong to (Efron 1979).

    Items of one identity stand or fall together, so identities are drawn, with repeats, and with each all its items.

    Args:
        measure: the number, of items given by index; called with all of them first, for the mean. NaN is left out.
        groups: [N], the group of each item: anything that can be sorted.
        rounds: how many times to resample.
    """
    found = np.asarray(groups)
    if found.ndim != 1 or len(found) == 0:
        raise InputError(f"groups must be one for each item [N], N > 0, but came as {list(found.shape)}.")
    order = np.argsort(found, kind="stable")
    starts = np.flatnonzero(np.append(True, found[order][1:] != found[order][:-1]))
    items = np.split(order, starts[1:])
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(rounds):
        drawn = generator.integers(0, len(items), len(items))
        values.append(measure(np.concatenate([items[group] for group in drawn])))
    known = np.array([value for value in values if not math.isnan(value)])
    whole = measure(np.arange(len(found)))
    if len(known) == 0:
        return Interval(whole, math.nan, math.nan)
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Interval(whole, float(low), float(high))
