"""Calibrate a trained model on the calibration part of its data."""

from __future__ import annotations

import numpy as np
import torch

from steradian.models.calibration import Thresholds
from steradian.models.fitted_calibration import fit_calibration, fit_thresholds
from steradian.models.recognizer import Recognizer
from steradian.training.dataset import TrainingData

MOST_LOGITS = 50_000_000
"""Largest number of logits to compute; more images are sampled down to it."""


def calibrated(model: Recognizer, data: TrainingData, seed: int = 0) -> Recognizer:
    """Fit calibration and thresholds of ``model`` on the calibration part of its data, if that has enough images."""
    chosen = data.splits.calibration
    most = max(1, MOST_LOGITS // len(model.spec.classes))
    if len(chosen) > most:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, most, replace=False))
    if len(chosen) == 0:
        return model
    pixels = data.pixels.pixels[chosen]
    model.accelerate_for(len(chosen))
    labels = data.pixels.labels[chosen]
    raw = model.raw_embeddings(torch.from_numpy(np.ascontiguousarray(pixels)))
    description = f"{len(chosen)} images of trained classes, held out for calibration"
    cosine = model.center_cosines(raw).amax(dim=1).numpy()
    model.calibration = fit_calibration(model.logits(raw).numpy(), cosine, raw.numpy(), labels, description)
    model.thresholds = Thresholds(fit_thresholds(raw.numpy(), labels, description))
    return model
