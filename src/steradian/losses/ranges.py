"""Check option values; errors name the option."""

from __future__ import annotations

import math
from collections.abc import Collection
from numbers import Integral, Real

from steradian.errors import InputError, did_you_mean


def is_finite_number(value: object) -> bool:
    """Return whether ``value`` is a finite real number (not a bool) that fits a float."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def shown(value: object) -> str:
    """Return ``value`` as text for a message, shortened if long."""
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


def hint(value: object, choices: Collection[str]) -> str:
    """Return a "Did you mean" sentence if one of ``choices`` is close to ``value``, else an empty string."""
    suggestion = did_you_mean(value, choices) if isinstance(value, str) else ""
    return suggestion if suggestion.startswith("Did") else ""


def in_range(name: str, value: object, low: float, high: float, unit: str) -> None:
    """Raise `InputError` unless ``value`` is a number in [low, high]."""
    if not (is_finite_number(value) and low <= float(value) <= high):  # type: ignore[arg-type]
        raise InputError(f"{name} must lie in [{low:g}, {high:g}] ({unit}), but is {shown(value)}.")


def one_of(name: str, value: object, choices: Collection[str]) -> None:
    """Raise `InputError` unless ``value`` is one of the strings ``choices``."""
    if not isinstance(value, str) or value not in choices:
        raise InputError(
            f"{name} must be one of {', '.join(choices)}, but is {shown(value)}. {hint(value, choices)}".rstrip()
        )


def flag(name: str, value: object) -> None:
    """Raise `InputError` unless ``value`` is True or False."""
    if not isinstance(value, bool):
        raise InputError(f"{name} must be True or False, but is {shown(value)}.")


def whole_number(name: str, value: object) -> None:
    """Raise `InputError` unless ``value`` is a whole number of at least 1 (and below 2^31)."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not 1 <= int(value) < 2**31:
        raise InputError(f"{name} must be a whole number of at least 1, but is {shown(value)}.")
