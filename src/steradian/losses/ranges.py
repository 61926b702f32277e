"""Checks of the numbers that a dial is given: impossible ones are refused, by name."""

from __future__ import annotations

import math
from collections.abc import Collection

from steradian.errors import InputError, did_you_mean


def in_range(name: str, value: object, low: float, high: float, unit: str) -> None:
    """Raise `InputError` unless ``value`` is a number in [low, high]."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not (number and low <= float(value) <= high):  # type: ignore[arg-type]
        raise InputError(f"{name} must lie in [{low:g}, {high:g}] ({unit}), but is {value!r}.")


def one_of(name: str, value: object, choices: Collection[str]) -> None:
    """Raise `InputError` unless ``value`` is one of the words ``choices``."""
    if value not in choices:
        hint = did_you_mean(value, choices) if isinstance(value, str) else ""
        raise InputError(f"{name} must be one of {', '.join(choices)}, but is {value!r}. {hint}".rstrip())
