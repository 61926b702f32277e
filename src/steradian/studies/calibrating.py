"""Fit what makes a trained model's answers trustworthy, on the part of its data that is kept for that."""

from __future__ import annotations

import numpy as np
import torch

from steradian.models.fitted_calibration import fit_calibration, fit_thresholds
from steradian.models.recognizer import Recognizer
from steradian.training.prepared import Prepared

MOST_LOGITS = 50_000_000
"""More images than give so many logits are sampled."""


def calibrated(model: Recognizer, prepared: Prepared, seed: int = 0) -> Recognizer:
    """``model`` with calibration and thresholds from the calibration part of its data, if that has enough images."""
    chosen = prepared.splits.calibration
    most = max(1, MOST_LOGITS // len(model.spec.classes))
    if len(chosen) > most:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, most, replace=False))
    if len(chosen) == 0:
        return model
    pixels = prepared.pixels.pixels[chosen]
    model.accelerate_for(len(chosen))
    labels = prepared.pixels.labels[chosen]
    raw = model.embed(torch.from_numpy(np.ascontiguousarray(pixels)), normalize=False)
    words = f"{len(chosen)} images of trained classes, kept for nothing else"
    cosine = model.center_cosines(raw).amax(dim=1).numpy()
    model.calibration = fit_calibration(model.logits(raw).numpy(), cosine, raw.numpy(), labels, words)
    model.thresholds = fit_thresholds(raw.numpy(), labels, words)
    return model
