"""Which images train, which choose, which are measured. Test images never select anything."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steradian.data.images import Labels
from steradian.errors import DataError, InputError

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Splits:
    """Sorted, disjoint indices into the images."""

    train: Indices
    validation: Indices
    test: Indices


def make_splits(
    labels: Labels,
    given: NDArray[np.str_] | None = None,
    *,
    validation: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
) -> Splits:
    """Stratified, seeded splits that respect the ones given.

    A part named in ``given`` is taken as it is. A missing test part is drawn first (share ``test`` of each class),
    then a missing validation part from what is left to train (share ``validation`` of that). A class always
    keeps at least one image to train on; one that has a single image has no part in the others.

    Args:
        labels: int64 [N].
        given: [N] of "train", "validation", "test", or None.
        validation, test: shares in [0, 1); 0 makes no such part.
        seed: of the draw.

    Raises:
        DataError: nothing is left to train on.
    """
    for name, share in (("validation", validation), ("test", test)):
        if not 0.0 <= share < 1.0:
            raise InputError(f"the {name} share must be at least 0 and below 1, but is {share}.")
    named = given if given is not None else np.full(len(labels), "train")
    generator = np.random.default_rng(seed)
    chosen = {part: np.flatnonzero(named == part) for part in ("train", "validation", "test")}
    for part, share in (("test", test), ("validation", validation)):
        if len(chosen[part]) == 0 and share > 0.0 and len(chosen["train"]):
            drawn = _drawn(labels, chosen["train"], share, generator)
            chosen[part], chosen["train"] = drawn, np.setdiff1d(chosen["train"], drawn)
    if len(chosen["train"]) == 0:
        raise DataError("No image is left to train on: the source names only validation and test images.")
    return Splits(**{part: np.sort(indices) for part, indices in chosen.items()})


def _drawn(labels: Labels, pool: Indices, share: float, generator: np.random.Generator) -> Indices:
    """A share of the pool's images of each class, rounded, at least one where two exist, never all."""
    parts = []
    for label in np.unique(labels[pool]):
        members = pool[labels[pool] == label]
        count = min(max(1, round(share * len(members))), len(members) - 1)
        parts.append(generator.permutation(members)[:count])
    return np.concatenate(parts)
