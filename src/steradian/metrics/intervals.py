"""How far a mean can be trusted: 95 % intervals over seeds and over test items."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
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
