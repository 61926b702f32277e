"""Data as a recipe asks for it: opened, decoded, divided, with the preprocessing that its encoder takes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from steradian import data
from steradian.data.inspection import lonely_classes
from steradian.data.pixels import PixelSet, listing, load_for, no_progress, sample_sizes, subset, with_quarter_turns
from steradian.data.pixels import Progress as DataProgress
from steradian.data.preprocessing import Preprocessing, statistics
from steradian.data.splits import Splits, groups_by, make_splits, unseen_classes
from steradian.errors import DataError
from steradian.models.encoders import SMALL_UP_TO
from steradian.models.pretrained import PACKAGED, has_package, taught
from steradian.training.batches import Indices
from steradian.training.recipe import DataSettings, Recipe


@dataclass(frozen=True)
class Prepared:
    """Data as a recipe asks for it: decoded once, usable for any number of runs.

    Attributes:
        preprocessing: size and channels of the pixels, mean and deviation of the training part.
        unseen: images of classes that are kept from training, or None.
        warnings: what is worth knowing before training.
    """

    pixels: PixelSet
    splits: Splits
    digest: str
    preprocessing: Preprocessing
    unseen: PixelSet | None = None
    warnings: tuple[str, ...] = ()


def settled(recipe: Recipe) -> Recipe:
    """The recipe with its encoder chosen where none is: for photographs the installed weights, if they are."""
    if recipe.encoder is None and recipe.weights == "package":
        return recipe.changed(encoder=PACKAGED)
    if recipe.encoder is not None or recipe.weights is not None or not has_package():
        return recipe
    settings = recipe.data
    if settings.image_size is not None and settings.image_size <= SMALL_UP_TO:
        return recipe
    if _native_size(data.open(settings.source, settings.root))[0] <= SMALL_UP_TO:
        return recipe
    return recipe.changed(encoder=PACKAGED, weights="package")


def _native_size(images: data.ImageSet) -> tuple[int, bool]:
    """Median of the shorter sides, in pixels, and whether all images are gray."""
    sizes, gray = sample_sizes(images)
    return int(np.median([min(size) for size in sizes])), gray


def prepare(recipe: Recipe, progress: DataProgress = no_progress) -> Prepared:
    """Open, decode and split the images of a recipe, as its encoder takes them.

    Raises:
        UsageError, DataError: see `steradian.data.open` and `load_pixels`.
    """
    settings = recipe.data
    images = data.open(settings.source, settings.root).with_min_images(settings.min_images)
    native, gray = _native_size(images)
    own = settings.image_size if settings.image_size is not None else min(native, SMALL_UP_TO)
    shape = Preprocessing(max(own, 4), 1 if gray else 3, (0.5,) * (1 if gray else 3), (0.5,) * (1 if gray else 3))
    if recipe.weights is not None and recipe.encoder is not None:
        pixels_of = taught(recipe.encoder, recipe.weights)
        size = settings.image_size if settings.image_size is not None else pixels_of.size
        shape = Preprocessing(
            size, pixels_of.channels, pixels_of.mean, pixels_of.std, pixels_of.crop, pixels_of.interpolation
        )
    everything = load_for(images, shape, progress)
    pixels, unseen = _seen_and_unseen(everything, settings)
    pixels = with_quarter_turns(pixels) if settings.quarter_turns else pixels
    splits = make_splits(
        pixels.labels,
        pixels.splits,
        validation=settings.validation,
        calibration=settings.calibration,
        test=settings.test,
        seed=settings.split_seed,
        groups=groups_by(settings.group_by, pixels.names) if settings.group_by is not None else pixels.groups,
    )
    _check_classes(pixels, splits.train)
    warnings = lonely_classes(pixels.classes, pixels.labels)
    if isinstance(everything.pixels, np.memmap):
        warnings.append(
            f"The decoded images take {everything.pixels.nbytes / 2**30:.1f} GiB, over half of the memory: they lie on "
            "the disk of the cache while this runs."
        )
    if pixels.skipped:
        warnings.append(
            f"{len(pixels.skipped)} of {len(images)} images cannot be decoded and are skipped:\n"
            + listing(pixels.skipped)
        )
    if recipe.weights is None:
        mean, std = statistics(pixels.pixels, splits.train)
        shape = replace(shape, mean=mean, std=std)
    return Prepared(pixels, splits, everything.digest(), shape, unseen, tuple(warnings))


def _seen_and_unseen(pixels: PixelSet, settings: DataSettings) -> tuple[PixelSet, PixelSet | None]:
    if not settings.unseen:
        return pixels, None
    hidden = unseen_classes(pixels.classes, settings.unseen, settings.split_seed)[pixels.labels]
    if not hidden.any():
        return pixels, None
    return subset(pixels, np.flatnonzero(~hidden)), subset(pixels, np.flatnonzero(hidden))


def _check_classes(pixels: PixelSet, train: Indices) -> None:
    missing = sorted(set(range(len(pixels.classes))) - set(pixels.labels[train].tolist()))
    if missing:
        raise DataError(
            f"Class {pixels.classes[missing[0]]!r} of {pixels.source} has no image to train on"
            + (f" (and {len(missing) - 1} more classes)" if len(missing) > 1 else "")
            + ". Every class needs one in the training part."
        )
