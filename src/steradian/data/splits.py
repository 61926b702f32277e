"""Split images into training, validation, calibration and test parts. Test images never select anything."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steradian.data.images import Labels
from steradian.errors import DataError, InputError, did_you_mean

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Splits:
    """Sorted, disjoint indices into the images.

    Attributes:
        train: to learn from.
        validation: to watch and to choose by.
        calibration: to fit probabilities and thresholds on, and for nothing else.
        test: to measure on.
    """

    train: Indices
    validation: Indices
    calibration: Indices
    test: Indices


def make_splits(
    labels: Labels,
    given: NDArray[np.str_] | None = None,
    *,
    validation: float = 0.1,
    calibration: float = 0.0,
    test: float = 0.2,
    seed: int = 0,
    groups: NDArray[np.str_] | None = None,
) -> Splits:
    """Make stratified, seeded splits that respect given ones.

    A part named in ``given`` is taken as it is. A missing test part is drawn first (share ``test`` of each class),
    then a missing validation part from what is left to train (share ``validation`` of that), then the calibration
    part. A class always keeps at least one image to train on; one that has a single image has no part in the others.
    In the calibration part every image is as likely as any other, so a small class may have none there. With
    ``groups`` no group is divided between parts, and the shares of classes are only approached.

    Args:
        labels: int64 [N].
        given: [N] of "train", "validation", "test", or None.
        validation, calibration, test: shares in [0, 1); 0 makes no such part.
        seed: of the draw.
        groups: [N] names of images that belong together, such as those of one person or one scene, or None.

    Raises:
        DataError: nothing is left to train on; a group is in two of the given parts.
    """
    if groups is not None and given is not None:
        _check_groups(groups, given)
    for name, share in (("validation", validation), ("calibration", calibration), ("test", test)):
        if not 0.0 <= share < 1.0:
            raise InputError(f"the {name} share must be at least 0 and below 1, but is {share}.")
    named = given if given is not None else np.full(len(labels), "train")
    generator = np.random.default_rng(seed)
    chosen = {part: np.flatnonzero(named == part) for part in ("train", "validation", "test")}
    for part, share in (("test", test), ("validation", validation)):
        if len(chosen[part]) == 0 and share > 0.0 and len(chosen["train"]):
            drawn = _drawn(labels, chosen["train"], share, generator, groups)
            chosen[part], chosen["train"] = drawn, np.setdiff1d(chosen["train"], drawn)
    chosen["calibration"] = np.zeros(0, dtype=np.intp)
    if calibration > 0.0:
        if groups is None:
            drawn = _spread(labels, chosen["train"], calibration, generator)
        else:
            drawn = _drawn_groups(labels, chosen["train"], calibration, generator, groups)
        chosen["calibration"], chosen["train"] = drawn, np.setdiff1d(chosen["train"], drawn)
    if len(chosen["train"]) == 0:
        raise DataError("No image is left to train on: the source names only validation and test images.")
    return Splits(**{part: np.sort(indices) for part, indices in chosen.items()})


def groups_by(pattern: str, names: Sequence[str]) -> NDArray[np.str_]:
    """The group of each of the images ``names`` [N]: what ``pattern`` finds in its name, or its first group of
    parentheses; an image in whose name it finds nothing is a group of its own.

    Raises:
        InputError: no regular expression, or one that finds nothing in any name.
    """
    try:
        matches = [re.search(pattern, name) for name in names]
    except re.error as error:
        raise InputError(f"{pattern!r} is not a regular expression ({error}).") from error
    if not any(matches):
        raise InputError(f"{pattern!r} matches no image name, such as {names[0]!r}, so it forms no groups.")
    group = 1 if re.compile(pattern).groups else 0
    return np.array(
        [name if match is None else f"/{match.group(group)}" for name, match in zip(names, matches, strict=True)]
    )


def _check_groups(groups: NDArray[np.str_], given: NDArray[np.str_]) -> None:
    pairs = np.unique(np.stack([groups, given], axis=1), axis=0)
    names, parts = np.unique(pairs[:, 0], return_counts=True)
    if (parts > 1).any():
        name = names[parts > 1][0]
        both = " and ".join(pairs[pairs[:, 0] == name, 1])
        raise DataError(
            f"The group {str(name)!r} is in {both}, so test images would also be trained on. "
            "Move it to one part, or remove the group column."
        )


def _drawn_groups(
    labels: Labels, pool: Indices, share: float, generator: np.random.Generator, groups: NDArray[np.str_]
) -> Indices:
    """Choose complete groups of the pool, each if it brings classes nearer to their shares and leaves none empty."""
    names, of_image = np.unique(groups[pool], return_inverse=True)
    sizes = np.bincount(labels[pool], minlength=int(labels.max()) + 1)
    wanted, held = share * sizes, np.zeros(len(sizes))
    order = np.argsort(of_image, kind="stable")
    members = np.split(pool[order], np.cumsum(np.bincount(of_image))[:-1])
    taken: list[Indices] = []
    for number in generator.permutation(len(names)):
        inside, counts = np.unique(labels[members[number]], return_counts=True)
        before, after = held[inside], held[inside] + counts
        nearer = np.abs(after - wanted[inside]).sum() < np.abs(before - wanted[inside]).sum()
        if nearer and (after < sizes[inside]).all():
            held[inside] = after
            taken.append(members[number])
    return np.concatenate([np.zeros(0, dtype=np.intp), *taken])


def _drawn(
    labels: Labels,
    pool: Indices,
    share: float,
    generator: np.random.Generator,
    groups: NDArray[np.str_] | None = None,
) -> Indices:
    """Choose a share of the pool's images of each class, rounded: at least one of two or more, and never all."""
    if groups is not None:
        return _drawn_groups(labels, pool, share, generator, groups)
    parts = []
    for label in np.unique(labels[pool]):
        members = pool[labels[pool] == label]
        count = min(max(1, round(share * len(members))), len(members) - 1)
        parts.append(generator.permutation(members)[:count])
    return np.concatenate(parts)


def _spread(labels: Labels, pool: Indices, share: float, generator: np.random.Generator) -> Indices:
    """Choose a share of the pool, spread evenly over the classes; each class keeps at least one image."""
    shuffled = generator.permutation(pool)
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    count = round(share * len(by_class))
    places = np.floor((np.arange(count) + generator.random()) * len(by_class) / max(count, 1)).astype(np.intp)
    chosen = np.zeros(len(by_class), dtype=bool)
    chosen[places] = True
    _, starts = np.unique(labels[by_class], return_index=True)
    if len(starts):
        chosen[starts[np.logical_and.reduceat(chosen, starts)]] = False
    found: Indices = by_class[chosen]
    return found


def unseen_classes(classes: Sequence[str], unseen: float | Sequence[str], seed: int = 0) -> NDArray[np.bool_]:
    """Return which of the C classes are held out of training, bool [C]: a random share, or those with the given names.

    A name may be a pattern: ``Greek/*`` are all classes that begin so.

    Raises:
        InputError: a name or pattern of no class, or fewer than two classes would be left.
    """
    if isinstance(unseen, float | int):
        count = round(unseen * len(classes))
        chosen = np.zeros(len(classes), dtype=bool)
        chosen[np.random.default_rng([seed, 1]).permutation(len(classes))[:count]] = True
    else:
        chosen = np.zeros(len(classes), dtype=bool)
        for name in unseen:
            fits = np.array([known == name or fnmatch.fnmatchcase(known, name) for known in classes])
            if not fits.any():
                raise InputError(f"there is no class {name!r} to hold out. {did_you_mean(name, classes)}")
            chosen |= fits
    if len(classes) - chosen.sum() < 2:
        raise InputError(f"{chosen.sum()} of {len(classes)} classes would be held out; training needs at least two.")
    return chosen
