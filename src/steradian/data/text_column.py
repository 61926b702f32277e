"""Columns of text, one compact array instead of one Python object per image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.dtypes import StringDType
from numpy.typing import NDArray

Texts = NDArray[Any]
"""[N] of `numpy.dtypes.StringDType`; of Python strings where one of them is not UTF-8, as file names may be."""


def text_column(values: Sequence[str]) -> Texts:
    """Return ``values`` as a column."""
    try:
        return np.array(values, dtype=StringDType())
    except UnicodeEncodeError:
        column = np.empty(len(values), dtype=object)
        column[:] = values
        return column


class TextBuilder:
    """A column that grows; at most `AT_ONCE` values are Python strings at a time."""

    AT_ONCE = 65_536

    def __init__(self) -> None:
        self._parts: list[Texts] = []
        self._last: list[str] = []

    def append(self, value: str) -> None:
        self._last.append(value)
        if len(self._last) == self.AT_ONCE:
            self._close()

    def _close(self) -> None:
        self._parts.append(text_column(self._last))
        self._last = []

    def column(self) -> Texts:
        """Return all values."""
        if self._last or not self._parts:
            self._close()
        return np.concatenate(self._parts) if len(self._parts) > 1 else self._parts[0]


def codes_of(values: Iterable[str], count: int) -> tuple[NDArray[np.int64], list[str]]:
    """Return a number for each of ``count`` values, int64, and the values by number, in order of appearance."""
    numbers: dict[str, int] = {}
    codes = np.fromiter((numbers.setdefault(value, len(numbers)) for value in values), np.int64, count)
    return codes, list(numbers)
