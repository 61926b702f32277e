"""Look up and create losses by name."""

from __future__ import annotations

from fnmatch import fnmatchcase as fnmatch
from typing import Any

from torch import nn

from steradian.errors import UsageError, did_you_mean
from steradian.losses.checks import check_sizes
from steradian.losses.presets import PRESETS
from steradian.losses.presets.preset_types import Preset

_BY_NAME = {row.name: row for row in PRESETS}
_BY_ANY_NAME = {**{alias: row for row in PRESETS for alias in row.aliases}, **_BY_NAME}


def names(pattern: str = "*") -> list[str]:
    """Return the published names that match ``pattern``, in alphabetical order; an alias counts for its name.

    >>> names("*cosface")
    ['cosface', 'elastic-cosface', 'focal-cosface', 'hm-cosface', 'mv-cosface', 'sv-cosface']
    """
    return sorted(
        row.name for row in PRESETS if any(fnmatch(name, pattern.lower()) for name in (row.name, *row.aliases))
    )


def preset(name: str) -> Preset:
    """Return the preset for ``name`` or an alias. Raise `UsageError` with the closest name if it is unknown."""
    if not isinstance(name, str):
        raise UsageError(f"The name of a loss must be a string such as 'arcface', but is {name!r}.")
    if name not in _BY_ANY_NAME:
        raise UsageError(f"Unknown loss {name!r}. {did_you_mean(name, _BY_ANY_NAME)}")
    return _BY_ANY_NAME[name]


def create(name: str, num_classes: int | None = None, embedding_size: int | None = None, **options: Any) -> nn.Module:
    """Make the loss ``name``.

    Pair losses need no sizes: they accept ``num_classes`` and ``embedding_size`` like all others, and ignore them.

    Args:
        name: one of `names`, or an alias.
        num_classes: C; labels are int64 in 0..C-1.
        embedding_size: D.
        options: any of those that ``preset(name).options()`` lists with their defaults.

    Returns:
        A module: ``loss(embeddings [N, D], labels [N]) -> scalar``. Losses with class centers also have
        ``logits(embeddings) -> [N, C]`` and ``weight`` [C, D] ([C * K, D] with sub-centers).

    Raises:
        UsageError: unknown name or option.
        InputError: an option outside its range.

    >>> create("arcface", num_classes=10, embedding_size=3, scale=16.0).scale
    16.0
    """
    row = preset(name)
    if row.needs_sizes and (num_classes is None or embedding_size is None):
        raise UsageError(
            f"The loss {row.name!r} has class centers: give num_classes and embedding_size, such as "
            f"create({row.name!r}, num_classes=10, embedding_size=64)."
        )
    sizes = (1 if num_classes is None else num_classes, 1 if embedding_size is None else embedding_size)
    check_sizes(*sizes)
    return row.build(*sizes, options)
