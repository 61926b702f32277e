"""The image sets, as features of the pretrained encoder; computed once and kept in the cache of steradian."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from steradian.training import Dataset, Recipe, make_plan
from steradian.training.features import cached
from steradian.training.progress import shown

FILES = {
    "lfw": "lfw_dev.zip",
    "dogs60": "dogs60.zip",
    "gtsrb": "gtsrb_dev.zip",
    "monuments": "monuments49.zip",
    "clothing": "clothing_small",
    "imagewoof": "imagewoof_train.zip",
}
GROUPED = {"gtsrb": r"([^/]+/\d+)_\d+\.jpg$"}
"""Frames of one track, TRACK_FRAME.jpg, show one sign on one drive."""


@dataclass(frozen=True)
class FeatureSet:
    """Features float32 [N, F] of all images, with what is known of each.

    Attributes:
        sizes: number of columns of each block; the final features come last.
        labels, groups: int64 and str [N]; without groups each image is its own.
        parts: str [N], "train", "validation" or "test"; None where the set has no parts.
    """

    name: str
    features: NDArray[np.float32]
    sizes: tuple[int, ...]
    labels: NDArray[np.int64]
    groups: NDArray[np.str_]
    parts: NDArray[np.str_] | None

    @property
    def final(self) -> NDArray[np.float32]:
        """The features that the untrained encoder gives, without earlier stages."""
        return self.features[:, -self.sizes[-1] :]


def load(name: str, folder: Path) -> FeatureSet:
    """Decode the set ``name`` and compute its features."""
    settings = {"data.source": str(folder / FILES[name]), "data.test": 0.0, "weights": "package", "adapt": "auto"}
    if name in GROUPED:
        settings["data.group_by"] = GROUPED[name]
    dataset = Dataset.open(Recipe().changed(**settings)).with_adaptation()
    plan = make_plan(dataset.recipe, dataset.decode(shown))
    pixels = plan.data.pixels
    batches = plan.batches(np.arange(len(pixels)))
    features = np.asarray(cached(batches, plan.model, plan.data.digest, progress=shown).views[0], dtype=np.float32)
    groups = plan.data.groups if plan.data.groups is not None else np.array(pixels.names)
    return FeatureSet(name, features, plan.model.encoder.sizes, pixels.labels, groups, pixels.splits)
