"""The images of a recipe: opened (names, sizes, no pixels), then decoded and divided into parts."""

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
from steradian.models.pretrained import PACKAGED, has_package, pretrained_preprocessing
from steradian.training.batches import Indices
from steradian.training.recipe import DataSettings, Recipe


@dataclass(frozen=True)
class TrainingData:
    """Decoded images in their parts, usable for any number of runs.

    Attributes:
        pixels: images of the classes that are trained on.
        splits: indices of the training, validation, calibration and test parts.
        digest: SHA-256 of all pixels and labels.
        preprocessing: the encoder's input; mean and deviation are those of the training part or of the pretrained
            weights.
        unseen: images of classes that are held out of training, or None.
        warnings: messages for the user before training.
    """

    pixels: PixelSet
    splits: Splits
    digest: str
    preprocessing: Preprocessing
    unseen: PixelSet | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """The images of a recipe before anything is decoded.

    Attributes:
        recipe: the recipe with its encoder named.
        images: names, labels, splits and groups, and where each image lies.
        native_size: median of the shorter sides, in pixels.
        gray: whether all images are gray.
    """

    recipe: Recipe
    images: data.ImageSet
    native_size: int
    gray: bool

    @classmethod
    def open(cls, recipe: Recipe) -> Dataset:
        """Open the images of ``recipe`` and choose an encoder where it names none.

        Raises:
            UsageError, DataError: see `steradian.data.open`.
        """
        settings = recipe.data
        images = data.open(settings.source, settings.root).with_min_images(settings.min_images)
        sizes, gray = sample_sizes(images)
        native_size = int(np.median([min(size) for size in sizes]))
        return cls(_resolve_encoder(recipe, native_size), images, native_size, gray)

    @property
    def input_shape(self) -> Preprocessing:
        """Size, channels and scaling of the encoder's input."""
        recipe = self.recipe
        asked = recipe.data.image_size
        if recipe.weights is not None and recipe.encoder is not None:
            shape = pretrained_preprocessing(recipe.encoder, recipe.weights)
            return shape if asked is None else replace(shape, size=asked)
        size = asked if asked is not None else min(self.native_size, SMALL_UP_TO)
        middle = (0.5,) * (1 if self.gray else 3)
        return Preprocessing(max(size, 4), len(middle), middle, middle)

    def decode(self, progress: DataProgress = no_progress) -> TrainingData:
        """Decode and divide the images.

        Raises:
            DataError: too many images cannot be decoded, or a class has no image to train on.
        """
        settings, shape = self.recipe.data, self.input_shape
        decoded = load_for(self.images, shape, progress)
        pixels, unseen = _seen_and_unseen(decoded, settings)
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
        if self.recipe.weights is None:
            mean, std = statistics(pixels.pixels, splits.train)
            shape = replace(shape, mean=mean, std=std)
        warnings = (*lonely_classes(pixels.classes, pixels.labels), *self._decoding_warnings(decoded, pixels))
        return TrainingData(pixels, splits, decoded.digest(), shape, unseen, warnings)

    def _decoding_warnings(self, decoded: PixelSet, pixels: PixelSet) -> list[str]:
        warnings = []
        if isinstance(decoded.pixels, np.memmap):
            warnings.append(
                f"The decoded images take {decoded.pixels.nbytes / 2**30:.1f} GiB, over half of the memory: they are "
                "kept on the disk of the cache during the run."
            )
        if pixels.skipped:
            warnings.append(
                f"{len(pixels.skipped)} of {len(self.images)} images cannot be decoded and are skipped:\n"
                + listing(pixels.skipped)
            )
        return warnings


def load_data(recipe: Recipe, progress: DataProgress = no_progress) -> TrainingData:
    """Open, decode and divide the images of ``recipe``: `Dataset.open`, then `Dataset.decode`."""
    return Dataset.open(recipe).decode(progress)


def _resolve_encoder(recipe: Recipe, native_size: int) -> Recipe:
    """Return the recipe with its encoder chosen where none is: for photographs the installed weights, if they are."""
    if recipe.encoder is None and recipe.weights == "package":
        return recipe.changed(encoder=PACKAGED)
    if recipe.encoder is not None or recipe.weights is not None or not has_package():
        return recipe
    size = recipe.data.image_size
    if min(native_size, native_size if size is None else size) <= SMALL_UP_TO:
        return recipe
    return recipe.changed(encoder=PACKAGED, weights="package")


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
