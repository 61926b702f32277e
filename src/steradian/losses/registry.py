"""Losses by name."""

from __future__ import annotations

from typing import Any

from torch import nn

from steradian.errors import UsageError, did_you_mean
from steradian.losses.checks import check_sizes
from steradian.losses.presets import PRESETS
from steradian.losses.presets.rows import Preset

_BY_NAME = {row.name: row for row in PRESETS}
_BY_ANY_NAME = {**{alias: row for row in PRESETS for alias in row.aliases}, **_BY_NAME}


def names() -> list[str]:
    """Every published name, in alphabetical order, without aliases."""
    return sorted(_BY_NAME)


def preset(name: str) -> Preset:
    """The row of the table for ``name`` or alias. Raises `UsageError`, with the closest name, when there is none."""
    if not isinstance(name, str):
        raise UsageError(f"A loss goes by a name such as 'arcface', but {name!r} was given.")
    if name not in _BY_ANY_NAME:
        raise UsageError(f"There is no loss called {name!r}. {did_you_mean(name, _BY_ANY_NAME)}")
    return _BY_ANY_NAME[name]


def create(name: str, num_classes: int, embedding_size: int, **options: Any) -> nn.Module:
    """Make the loss ``name``.

    Losses of pairs take ``num_classes`` and ``embedding_size`` like all others and ignore them.

    Args:
        name: one of `names`, or an alias.
        num_classes: C; labels are int64 in 0..C-1.
        embedding_size: D.
        options: what ``preset(name).options()`` lists, with its defaults.

    Returns:
        A module: ``loss(embeddings [N, D], labels [N]) -> scalar``. Those with class centers also have
        ``logits(embeddings) -> [N, C]`` and ``weight`` [C, D] ([C * K, D] with sub-centers).

    Raises:
        UsageError: unknown name or option.
        InputError: an option outside its range.

    >>> create("arcface", num_classes=10, embedding_size=3, scale=16.0).scale
    16.0
    """
    check_sizes(num_classes, embedding_size)
    return preset(name).build(num_classes, embedding_size, options)
