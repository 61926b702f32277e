"""Fit neck and head of a plan's model in closed form, on features of its encoder as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from steradian.data.pixels import Progress, no_progress
from steradian.models.recognizer import Recognizer
from steradian.models.staged import StagedEncoder
from steradian.training.adaptation.adapt import Adaptation, adapt
from steradian.training.adaptation.classification import Classification
from steradian.training.adaptation.embedding import Whitening
from steradian.training.adaptation.scatter import Floats
from steradian.training.batches import Indices
from steradian.training.features import cached
from steradian.training.plan import TrainingPlan


@dataclass(frozen=True)
class EncoderFeatures:
    """Features of an encoder: float32 [n, F] of the images at the sorted ``indices``."""

    indices: Indices
    values: Floats

    def has(self, chosen: Indices) -> NDArray[np.bool_]:
        """Return whether there are features of each of the images ``chosen``: not of those that cannot be decoded."""
        return np.isin(chosen, self.indices)

    def of(self, chosen: Indices) -> Floats:
        """Return the rows of the images ``chosen``, [len(chosen), F]."""
        rows: Floats = self.values[np.searchsorted(self.indices, chosen)]
        return rows


def fitted_on(plan: TrainingPlan) -> Indices:
    """Return the images that are fitted on: all but those of the test part."""
    return np.sort(np.concatenate([plan.data.splits.train, plan.data.splits.validation]))


def encoder_features(plan: TrainingPlan, chosen: Indices, progress: Progress = no_progress) -> EncoderFeatures:
    """Return the features of the images ``chosen`` that can be decoded, from the cache or computed now.

    Of a model that averages the embeddings of an image and its mirror image they are averages, too: its neck is linear.
    """
    mirrored = plan.spec.flip_tta
    batches = cached(plan.batches(chosen), plan.model, plan.data.digest, mirrored=mirrored, progress=progress)
    return EncoderFeatures(batches.indices, np.asarray(batches.view_of(0), dtype=np.float32))


def frozen_features(plan: TrainingPlan) -> EncoderFeatures | None:
    """Return the features of the training and test parts where the encoder learned nothing, else None.

    All techniques and seeds of a comparison share them in the cache, where those of the training part are already.
    The neck of a model that averages the embeddings of an image and its mirror image need not be linear: None, too.
    """
    if not plan.learns_nothing_in_encoder or plan.spec.flip_tta:
        return None
    parts = [encoder_features(plan, part) for part in (plan.data.splits.train, plan.data.splits.test)]
    indices = np.concatenate([part.indices for part in parts])
    order = np.argsort(indices)
    return EncoderFeatures(indices[order], np.concatenate([part.values for part in parts])[order])


def feature_sizes(model: Recognizer) -> tuple[int, ...]:
    """Return the number of features of each stage that the encoder gives, the final ones last."""
    return model.encoder.sizes if isinstance(model.encoder, StagedEncoder) else (model.num_features,)


def adapt_plan(
    plan: TrainingPlan,
    chosen: Indices,
    features: Floats,
    progress: Progress = no_progress,
    whitening: Whitening | None = None,
    mixture: Classification | None = None,
) -> Adaptation:
    """Fit embedding and classifier on the ``features`` of the images ``chosen``; choose what is not given."""
    groups = plan.data.groups
    return adapt(
        features,
        plan.data.pixels.labels[chosen],
        len(plan.spec.classes),
        sizes=feature_sizes(plan.model),
        names=None if groups is None else groups[chosen],
        calibrate_on=np.flatnonzero(np.isin(chosen, plan.data.splits.validation)),
        whitening=whitening,
        mixture=mixture,
        in_cells=plan.spec.grid > 0,
        seed=plan.recipe.training.seed,
        progress=progress,
    )


@torch.no_grad()
def install(model: Recognizer, adaptation: Adaptation) -> Recognizer:
    """Copy neck and head of the adaptation into the model."""
    for name, linear in {"neck.linear": adaptation.neck, "head": adaptation.head}.items():
        part: Any = model.get_submodule(name)
        part.weight.copy_(torch.from_numpy(linear.weight.T))
        part.bias.copy_(torch.from_numpy(linear.bias))
    return model.eval()
