"""The images of a recipe: opened (names, sizes, no pixels), then made ready to be read and divided into parts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from steradian import data
from steradian.data.inspection import lonely_classes
from steradian.data.loading.damage import lost_classes_warning, skipped_warning
from steradian.data.loading.plan import ReadingSettings
from steradian.data.loading.stream import StreamedPixels
from steradian.data.near_copies import MOST as MOST_COMPARED
from steradian.data.near_copies import near_copies, without_copies_in_test
from steradian.data.pixels import PixelSet, load_for, no_progress, subset, with_quarter_turns
from steradian.data.pixels import Progress as DataProgress
from steradian.data.preprocessing import Preprocessing
from steradian.data.sample import ImageSample, darkness, sample_images
from steradian.data.splits import Splits, groups_by, larger_than_asked, make_splits, unseen_classes
from steradian.errors import DataError, UsageError
from steradian.finding.finders import WHOLE, finder
from steradian.models.encoders import RESIDUAL, SMALL_UP_TO, WIDE_RESIDUAL, default_encoder
from steradian.models.pretrained import pretrained_preprocessing
from steradian.models.weight_packages import PACKAGED, PACKAGES, timm_name
from steradian.training.batches import Indices
from steradian.training.distributed import world_size
from steradian.training.recipe import DataSettings, Recipe


@dataclass(frozen=True)
class TrainingData:
    """Images in their parts, usable for any number of runs.

    Attributes:
        pixels: images of the classes that are trained on, decoded or streamed.
        splits: indices of the training, validation, calibration and test parts.
        digest: SHA-256 of all pixels and labels; of names and sizes instead of pixels where these are streamed.
        preprocessing: the encoder's input; mean and deviation are those of the training part or of the pretrained
            weights.
        unseen: images of classes that are held out of training, or None.
        warnings: messages for the user before training.
        groups: [N] names of images of ``pixels`` that belong together, or None.
        reading: how the images are read and why, in a sentence.
    """

    pixels: PixelSet
    splits: Splits
    digest: str
    preprocessing: Preprocessing
    unseen: PixelSet | None = None
    warnings: tuple[str, ...] = ()
    groups: NDArray[np.str_] | None = None
    reading: str = ""

    @property
    def streamed(self) -> bool:
        """Whether the images are read when they are needed."""
        return isinstance(self.pixels.pixels, StreamedPixels)

    def damage_warning(self) -> list[str]:
        """Return a warning that lists the damaged images that were met so far, where the images are streamed."""
        return skipped_warning(self.pixels.skipped, len(self.pixels)) if self.streamed else []


@dataclass(frozen=True)
class Dataset:
    """The images of a recipe before anything is decoded.

    Attributes:
        recipe: the recipe with its encoder named.
        images: names, labels, splits and groups, and where each image lies.
        sample: what some of the images look like.
        asked: the recipe as it was given.
    """

    recipe: Recipe
    images: data.ImageSet
    sample: ImageSample
    asked: Recipe

    @classmethod
    def open(cls, recipe: Recipe) -> Dataset:
        """Open the images of ``recipe`` and choose an encoder where it names none.

        Raises:
            UsageError, DataError: see `steradian.data.open`.
        """
        settings = recipe.data
        if settings.finder != WHOLE:
            finder(settings.finder)
            if recipe.views is not None and recipe.views.crop < 1.0:
                raise UsageError(
                    f"views.crop takes random parts of a picture and data.finder={settings.finder} the regions that it "
                    "finds: leave one out."
                )
        opened = data.open(settings.source, settings.root, skip_missing=settings.skip_missing)
        images = opened.with_min_images(settings.min_images)
        sample = sample_images(images)
        return cls(_resolve_encoder(recipe, sample, len(images.classes)), images, sample, recipe)

    def with_adaptation(self) -> Dataset:
        """Return the data set with ``adapt: auto`` or ``full`` in its recipe where that applies (see `_adapts`).

        Drawings whose recipe names no encoder start from the built-in model `DRAWN_WEIGHTS`.

        Raises:
            UsageError: it was asked for and cannot work.
        """
        recipe = self.recipe
        drawn = self.asked.encoder is None and recipe.encoder == WIDE_RESIDUAL and recipe.data.image_size == DRAWN_SIZE
        if drawn and recipe.adapt != "train" and not _learning_settings(recipe):
            recipe = recipe.changed(weights=DRAWN_WEIGHTS)
        if not _adapts(recipe):
            return self
        full = recipe.adapt == "full" or (recipe.adapt is None and recipe.budget is not None)
        return replace(self, recipe=recipe.changed(adapt="full" if full else "auto"))

    @property
    def encoder_choice(self) -> str:
        """Which encoder was chosen and why, in a sentence; empty where the recipe names one."""
        recipe, sample = self.recipe, self.sample
        if self.asked.encoder is not None:
            return ""
        if recipe.encoder == WIDE_RESIDUAL:
            seen = f"these are drawings of {len(self.images.classes)} kinds on a {sample.page} page"
        elif recipe.encoder is not None:
            seen = f"these are photographs, {sample.native_size} pixels wide or high"
        else:
            seen = f"these are small {'gray ' if sample.gray else ''}images of {sample.native_size} pixels"
        known = {"package": ", pretrained on ImageNet", DRAWN_WEIGHTS: f", pretrained as {DRAWN_WEIGHTS}"}
        origin = known.get(recipe.weights or "", ", trained from nothing")
        return f"encoder: {recipe.encoder or default_encoder(self.input_shape.size)}{origin}, because {seen}"

    @property
    def input_shape(self) -> Preprocessing:
        """Size, channels and scaling of the encoder's input, and what is cut out of pictures before."""
        return replace(self._scaling, finder=self.recipe.data.finder)

    @property
    def _scaling(self) -> Preprocessing:
        recipe = self.recipe
        asked = recipe.data.image_size
        if recipe.weights is not None and recipe.encoder is not None:
            shape = pretrained_preprocessing(recipe.encoder, recipe.weights)
            if recipe.weights == DRAWN_WEIGHTS and self.sample.page == "dark":
                shape = shape.inverted()
            return shape if asked is None else replace(shape, size=asked)
        size = asked if asked is not None else min(self.sample.native_size, SMALL_UP_TO)
        middle = (0.5,) * (
            1 if self.sample.gray or (recipe.encoder in (RESIDUAL, WIDE_RESIDUAL) and self.sample.page) else 3
        )
        return Preprocessing(max(size, 4), len(middle), middle, middle)

    def decode(self, progress: DataProgress = no_progress) -> TrainingData:
        """Divide the images, and decode them at once where they fit the memory.

        Raises:
            DataError: too many images cannot be decoded, or a class has no image to train on.
        """
        settings, shape = self.recipe.data, self.input_shape
        loaded, plan = load_for(self.images, shape, progress, self._reading_settings())
        pixels, unseen = _seen_and_unseen(loaded, settings)
        pixels = with_quarter_turns(pixels) if settings.quarter_turns else pixels
        groups = groups_by(settings.group_by, pixels.names) if settings.group_by is not None else pixels.groups
        splits = make_splits(
            pixels.labels,
            pixels.splits,
            # Cross-validation takes the place of both parts, so that all images are fitted on.
            validation=0.0 if self.recipe.adapts else settings.validation,
            calibration=0.0 if self.recipe.adapts else settings.calibration,
            test=settings.test,
            seed=settings.split_seed,
            groups=groups,
        )
        notes = larger_than_asked(splits, pixels.splits, test=settings.test, validation=settings.validation)
        if self.recipe.adapts and self.sample.page is None and pixels.splits is None and groups is None:
            splits, moved = _without_copies(splits, pixels)
            notes += moved
        _check_classes(pixels, splits.train)
        if self.recipe.weights is None:
            mean, std = pixels.statistics(splits.train)
            shape = replace(shape, mean=mean, std=std)
        lonely = lonely_classes(pixels.classes, pixels.labels)
        skipped = [*skipped_warning(pixels.failed, len(self.images)), *lost_classes_warning(pixels.lost)]
        warnings = (*self.images.notes, *darkness(self.sample.brightest), *lonely, *notes, *skipped)
        return TrainingData(pixels, splits, loaded.digest(), shape, unseen, warnings, groups, plan.why)

    def _reading_settings(self) -> ReadingSettings:
        recipe, settings = self.recipe, self.recipe.data
        # Features of a frozen encoder are computed once, and without cached views from the images as they are.
        as_they_are = recipe.training.freeze == "all" and recipe.training.cached_views == 1
        return ReadingSettings(
            settings.decoded_gib,
            settings.workers,
            crops=recipe.views is not None and recipe.views.crop < 1.0 and not (recipe.adapts or as_they_are),
            copies=4 if settings.quarter_turns else 1,
            batch_images=recipe.training.batch_size * (1 if recipe.adapts else recipe.progressive.views),
        )


def load_data(recipe: Recipe, progress: DataProgress = no_progress) -> TrainingData:
    """Open, decode and divide the images of ``recipe``: `Dataset.open`, then `Dataset.decode`."""
    return Dataset.open(recipe).decode(progress)


SMALLEST_PHOTOGRAPH = 24
"""Color images of this many pixels per side or more are taken for photographs, and enlarged for the encoder."""

DRAWN_WEIGHTS, MANY_SYMBOLS, DRAWN_SIZE = "glyphs", 20, 28
"""Drawings of so many classes or more are taken for symbols, and start from this built-in model, at its size."""


def _resolve_encoder(recipe: Recipe, sample: ImageSample, classes: int) -> Recipe:
    """Return the recipe with its encoder chosen where none is: for photographs the installed weights, if they are.

    Color images are photographs from `SMALLEST_PHOTOGRAPH` pixels on, gray ones above `SMALL_UP_TO`. Drawings of
    `MANY_SYMBOLS` get the encoder of `DRAWN_WEIGHTS`.
    """
    if recipe.encoder in PACKAGES:
        return recipe.changed(encoder=timm_name(recipe.encoder), weights=recipe.weights or "package")
    if recipe.encoder is None and recipe.weights == "package":
        return recipe.changed(encoder=PACKAGED)
    if recipe.encoder is not None or recipe.weights is not None:
        return recipe
    size = recipe.data.image_size
    if sample.page is not None and classes >= MANY_SYMBOLS:
        return recipe.changed(encoder=WIDE_RESIDUAL, **{"data.image_size": size if size is not None else DRAWN_SIZE})
    if (size is not None and size <= SMALL_UP_TO) or not PACKAGES["lite0"].installed:
        return recipe
    if sample.native_size <= SMALL_UP_TO if sample.gray else sample.native_size < SMALLEST_PHOTOGRAPH:
        return recipe
    return recipe.changed(encoder=PACKAGED, weights="package")


LEARNING = ("loss", "views", "progressive", "training", "neck", "embedding_size", "stages", "pooling")
"""Settings of a recipe that decide how a model learns by its loss."""


def _adapts(recipe: Recipe) -> bool:
    """Return whether to adapt in closed form: where it was asked for, or weights are there and nothing says otherwise.

    The seed alone says nothing: it also seeds the folds.
    """
    changed = _learning_settings(recipe)
    possible = recipe.weights is not None and recipe.transfer_layers is None and world_size() == 1
    if not recipe.adapts and recipe.budget is None:
        return recipe.adapt is None and possible and not changed
    asked = f"--adapt {recipe.adapt}" if recipe.adapts else "--budget"
    if recipe.adapt == "train" or (recipe.adapt == "auto" and recipe.budget is not None):
        raise UsageError(f"--budget is for --adapt full, but --adapt {recipe.adapt} tunes no encoder: leave one out.")
    if not possible:
        raise UsageError(
            f"{asked} needs all layers of a pretrained encoder and one process: add --weights package, or use "
            "--adapt train."
        )
    if changed:
        raise UsageError(
            f"{asked} fits in closed form and has no use for {', '.join(changed)}: leave "
            f"{'it' if len(changed) == 1 else 'them'} out, or use --adapt train."
        )
    return True


def _learning_settings(recipe: Recipe) -> list[str]:
    """Return the names of the settings of `LEARNING` that were changed, other than the seed."""
    plain = Recipe().changed(**{"training.seed": recipe.training.seed})
    return [name for name in LEARNING if getattr(recipe, name) != getattr(plain, name)]


def _without_copies(splits: Splits, pixels: PixelSet) -> tuple[Splits, list[str]]:
    """Keep near copies of training images out of the test part; return the parts and what there is to say."""
    if len(pixels) > MOST_COMPARED:
        return splits, [f"Near copies were not looked for among {len(pixels):,} images: test numbers may count some."]
    kept, moved = without_copies_in_test(splits, near_copies(pixels))
    if not moved:
        return splits, []
    if len(kept.test) == 0:
        return splits, [
            "Every test image is a near copy of a training image, so the test numbers say nothing about new pictures."
        ]
    return kept, [
        f"{moved} image{'s' * (moved != 1)} drawn for the test {'are near copies' if moved != 1 else 'is a near copy'} "
        "of training images and will be trained on instead."
    ]


def _seen_and_unseen(pixels: PixelSet, settings: DataSettings) -> tuple[PixelSet, PixelSet | None]:
    if not settings.unseen:
        return pixels, None
    hidden = unseen_classes(pixels.classes, settings.unseen, settings.split_seed)[pixels.labels]
    if not hidden.any():
        return pixels, None
    return subset(pixels, np.flatnonzero(~hidden)), subset(pixels, np.flatnonzero(hidden))


def _check_classes(pixels: PixelSet, train: Indices) -> None:
    missing = np.flatnonzero(np.bincount(pixels.labels[train], minlength=len(pixels.classes)) == 0)
    if len(missing):
        raise DataError(
            f"Class {pixels.classes[missing[0]]!r} of {pixels.source} has no image to train on"
            + (f" (and {len(missing) - 1} more classes)" if len(missing) > 1 else "")
            + ". Every class needs one in the training part."
        )
