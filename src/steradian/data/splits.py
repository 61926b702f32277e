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
        train: images to train on.
        validation: images to monitor training and select models with.
        calibration: images to fit probabilities and thresholds on, used for nothing else.
        test: images to measure on.
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
    """Make stratified, seeded splits that respect the given ones.

    A part named in ``given`` is used as it is. A missing test part is drawn first (share ``test`` of each class), then
    a missing validation part (share ``validation`` of the remaining training images), then the calibration part. A
    class always keeps at least one training image, so a class with a single image is only in the training part. In
    the calibration part all images are equally likely, so a small class may be absent. With ``groups``, no group is
    divided between parts, and the shares of classes are approximate.

    Args:
        labels: int64 [N].
        given: [N] of "train", "validation", "test", or None.
        validation, calibration, test: shares in [0, 1); 0: no such part.
        seed: seed of the random draw.
        groups: [N] names of images that belong together, such as those of one person or one scene, or None.

    Raises:
        DataError: no image is left to train on, or a group occurs in two of the given parts.
    """
    if groups is not None and given is not None:
        _check_groups(groups, given)
    for name, share in (("validation", validation), ("calibration", calibration), ("test", test)):
        if not 0.0 <= share < 1.0:
            raise InputError(f"the {name} share must be at least 0 and below 1, but is {share}.")
    part_names = given if given is not None else np.full(len(labels), "train")
    generator = np.random.default_rng(seed)
    chosen = {part: np.flatnonzero(part_names == part) for part in ("train", "validation", "test")}
    for part, share in (("test", test), ("validation", validation)):
        if len(chosen[part]) == 0 and share > 0.0 and len(chosen["train"]):
            drawn = _draw_per_class(labels, chosen["train"], share, generator, groups)
            chosen[part], chosen["train"] = drawn, _without(chosen["train"], drawn)
    chosen["calibration"] = np.zeros(0, dtype=np.intp)
    if calibration > 0.0:
        drawn = _draw_evenly(labels, chosen["train"], calibration, generator, groups)
        chosen["calibration"], chosen["train"] = drawn, _without(chosen["train"], drawn)
    if len(chosen["train"]) == 0:
        raise DataError("No image is left to train on: the source names only validation and test images.")
    return Splits(**{part: np.sort(indices) for part, indices in chosen.items()})


def larger_than_asked(splits: Splits, given: NDArray[np.str_] | None, **shares: float) -> list[str]:
    """Return a sentence for each part that is much larger than its share, because every class gave an image to it.

    Args:
        given: the parts that the source names, or None; ``shares``: those asked of `make_splits`, by part.
    """
    sentences = []
    total = sum(len(part) for part in (splits.train, splits.validation, splits.calibration, splits.test))
    for part, share in shares.items():
        drawn = len(getattr(splits, part))
        if share > 0.0 and drawn > 2.0 * share * total and (given is None or not (given == part).any()):
            sentences.append(
                f"The {part} part has {drawn:,} of {total:,} images ({drawn / total:.0%}) where {share:.3g} was "
                "asked for: each class with two images or more gives at least one. "
                f"--set data.{part}=0 keeps them all for training."
            )
    return sentences


def _without(indices: Indices, drawn: Indices) -> Indices:
    """Return the sorted ``indices`` that are not among ``drawn``."""
    kept = np.ones(int(indices.max(initial=-1)) + 1, dtype=bool)
    kept[drawn] = False
    left: Indices = indices[kept[indices]]
    return left


def groups_by(pattern: str, names: Sequence[str]) -> NDArray[np.str_]:
    """Return the group of each image in ``names`` [N]: the text that ``pattern``, or its first capture group, matches.

    An image whose name does not match is a separate group.
    """
    try:
        matches = [re.search(pattern, name) for name in names]
    except re.error as error:
        raise InputError(f"{pattern!r} is not a valid regular expression ({error}).") from error
    if not any(matches):
        raise InputError(f"{pattern!r} matches no image name, such as {names[0]!r}. Choose a pattern that does.")
    capture = 1 if re.compile(pattern).groups else 0
    return np.array(
        [name if match is None else f"/{match.group(capture)}" for name, match in zip(names, matches, strict=True)]
    )


def _check_groups(groups: NDArray[np.str_], given: NDArray[np.str_]) -> None:
    pairs = np.unique(np.stack([groups, given], axis=1), axis=0)
    names, parts = np.unique(pairs[:, 0], return_counts=True)
    if (parts > 1).any():
        name = names[parts > 1][0]
        both = " and ".join(pairs[pairs[:, 0] == name, 1])
        raise DataError(
            f"The group {str(name)!r} occurs in {both}, but must be in one part, so that metrics are measured on new "
            "groups. Move it to one part, or remove the group column."
        )


def _draw_groups(
    labels: Labels, pool: Indices, share: float, generator: np.random.Generator, groups: NDArray[np.str_]
) -> Indices:
    """Draw whole groups from the pool, each taken if it brings classes closer to their share and empties none."""
    names, group_of_image = np.unique(groups[pool], return_inverse=True)
    sizes = np.bincount(labels[pool], minlength=int(labels.max()) + 1)
    target, current = share * sizes, np.zeros(len(sizes))
    order = np.argsort(group_of_image, kind="stable")
    members = np.split(pool[order], np.cumsum(np.bincount(group_of_image))[:-1])
    taken: list[Indices] = []
    for number in generator.permutation(len(names)):
        present, counts = np.unique(labels[members[number]], return_counts=True)
        before, after = current[present], current[present] + counts
        nearer = np.abs(after - target[present]).sum() < np.abs(before - target[present]).sum()
        if nearer and (after < sizes[present]).all():
            current[present] = after
            taken.append(members[number])
    return np.concatenate([np.zeros(0, dtype=np.intp), *taken])


def _draw_per_class(
    labels: Labels, pool: Indices, share: float, generator: np.random.Generator, groups: NDArray[np.str_] | None = None
) -> Indices:
    """Draw a share of each class in the pool: rounded, at least one image of two or more, never all."""
    if groups is not None:
        return _draw_groups(labels, pool, share, generator, groups)
    parts = []
    order = np.argsort(labels[pool], kind="stable")
    for members in np.split(pool[order], np.flatnonzero(np.diff(labels[pool][order])) + 1):
        count = min(max(1, round(share * len(members))), len(members) - 1)
        parts.append(generator.permutation(members)[:count])
    return np.concatenate(parts)


def _draw_evenly(
    labels: Labels, pool: Indices, share: float, generator: np.random.Generator, groups: NDArray[np.str_] | None
) -> Indices:
    """Draw a share of the pool, all images equally likely, spread evenly over classes; no class loses all images."""
    if groups is not None:
        return _draw_groups(labels, pool, share, generator, groups)
    shuffled = generator.permutation(pool)
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    count = round(share * len(by_class))
    positions = np.floor((np.arange(count) + generator.random()) * len(by_class) / max(count, 1)).astype(np.intp)
    chosen = np.zeros(len(by_class), dtype=bool)
    chosen[positions] = True
    _, starts = np.unique(labels[by_class], return_index=True)
    if len(starts):
        chosen[starts[np.logical_and.reduceat(chosen, starts)]] = False
    drawn: Indices = by_class[chosen]
    return drawn


def unseen_classes(classes: Sequence[str], unseen: float | Sequence[str], seed: int = 0) -> NDArray[np.bool_]:
    """Return which of the C classes are excluded from training, bool [C]: a random share, or the given names.

    A name may be a pattern: ``Greek/*`` matches all classes that begin with ``Greek/``.
    """
    if isinstance(unseen, float | int):
        count = round(unseen * len(classes))
        chosen = np.zeros(len(classes), dtype=bool)
        chosen[np.random.default_rng([seed, 1]).permutation(len(classes))[:count]] = True
    else:
        chosen = np.zeros(len(classes), dtype=bool)
        for name in unseen:
            matches = np.array([existing == name or fnmatch.fnmatchcase(existing, name) for existing in classes])
            if not matches.any():
                raise InputError(f"there is no class {name!r} to exclude from training. {did_you_mean(name, classes)}")
            chosen |= matches
    if len(classes) - chosen.sum() < 2:
        raise InputError(f"{chosen.sum()} of {len(classes)} classes would be held out; training needs at least two.")
    return chosen
