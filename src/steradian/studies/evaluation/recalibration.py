"""Fit what a model promises from labeled images, for a model that was just trained or for a new place."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from steradian.errors import DataError
from steradian.models.calibration import Thresholds
from steradian.models.fitted_calibration import FEWEST, fit_calibration, fit_strangers, fit_thresholds, pair_curve
from steradian.models.recognizer import Recognizer
from steradian.studies.evaluation.inputs import EmbeddingSet, EvaluationInputs, head_outputs
from steradian.studies.evaluation.promises import promise_numbers


def fit_promises(model: Recognizer, raw: NDArray[np.float32], labels: NDArray[np.int64], described: str) -> None:
    """Fit calibration and thresholds of ``model`` on embeddings [N, D] with labels [N]; C and above are unknown."""
    known = labels < len(model.spec.classes)
    pairs = [(raw, labels)]
    asked = torch.from_numpy(raw[known])
    cosine = model.center_cosines(asked).amax(dim=1).numpy()
    curve = pair_curve(pairs)
    model.calibration = fit_calibration(model.logits(asked).numpy(), cosine, labels[known], curve, described)
    model.thresholds = Thresholds(fit_thresholds(pairs, described))


@dataclass(frozen=True)
class Recalibration:
    """What a new calibration promises and keeps.

    Attributes:
        images: number of images that it was fitted on.
        kept: `promise_numbers`, fitted on one half of the images and counted on the other, means of both ways; the
            model that is saved is fitted on both halves.
    """

    images: int
    kept: dict[str, dict[str, dict[str, float]]]


def recalibrate(model: Recognizer, inputs: EvaluationInputs, described: str) -> Recalibration:
    """Fit the promises of ``model`` anew on the images of an evaluation; the weights and the model's id stay.

    Raises:
        DataError: there are fewer than `FEWEST` images of classes that the model knows.
    """
    if inputs.known is None or len(inputs.known) < FEWEST:
        count = 0 if inputs.known is None else len(inputs.known)
        raise DataError(
            f"recalibration needs {FEWEST} labeled images of classes that the model knows, but there are {count}. Add "
            "more, in folders named as the classes."
        )
    parts = [part for part in (inputs.known, inputs.unknown) if part is not None]
    raw, labels = (np.concatenate([getattr(part, name) for part in parts]) for name in ("raw", "labels"))
    half = _halves(labels, inputs.seed)
    counted = []
    for fitted in (half, ~half):
        _fit(model, raw[fitted], labels[fitted], described)
        counted.append(promise_numbers(model, _inputs(model, inputs, raw[~fitted], labels[~fitted])))
    _fit(model, raw, labels, described)
    return Recalibration(len(labels), _means(*counted))


def _fit(model: Recognizer, raw: NDArray[np.float32], labels: NDArray[np.int64], described: str) -> None:
    fit_promises(model, raw, labels, described)
    model.strangers = fit_strangers([(raw, labels)], described)


def _halves(labels: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Return a random half, bool [N], that has a half of each class."""
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    half = np.zeros(len(labels), dtype=bool)
    half[order[::2]] = True
    return half


def _inputs(
    model: Recognizer, inputs: EvaluationInputs, raw: NDArray[np.float32], labels: NDArray[np.int64]
) -> EvaluationInputs:
    def part(chosen: NDArray[np.bool_]) -> EmbeddingSet | None:
        if not chosen.any():
            return None
        outputs = head_outputs(model, torch.from_numpy(raw[chosen]), labels[chosen])
        return EmbeddingSet(raw[chosen], labels[chosen], outputs)

    known = labels < inputs.num_classes
    return replace(inputs, known=part(known), unknown=part(~known), reference=None)


def _means(
    first: dict[str, dict[str, dict[str, float]]], second: dict[str, dict[str, dict[str, float]]]
) -> dict[str, dict[str, dict[str, float]]]:
    return {
        kind: {
            rate: {"kept": (rates[rate]["kept"] + second[kind][rate]["kept"]) / 2}
            for rate in rates
            if rate in second.get(kind, {})
        }
        for kind, rates in first.items()
    }
