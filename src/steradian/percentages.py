"""Write shares as percentages; imports nothing."""

from __future__ import annotations


def percent(share: float) -> str:
    """Return a share as a percentage, with a decimal only near 0 and 100.

    >>> percent(0.934), percent(0.0043)
    ('93 %', '0.4 %')
    """
    return f"{_digits(share)} %"


def between(low: float, high: float) -> str:
    """Return an interval of shares in percent."""
    return f"{_digits(low)} to {_digits(high)} %"


def _digits(share: float) -> str:
    value = 100.0 * share
    return f"{value:.1f}" if 0.05 <= value < 1.0 or 99.0 < value < 99.95 else f"{value:.0f}"
