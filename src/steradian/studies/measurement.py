"""Every number that a study reports, from embeddings and logits of held-out images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from steradian import metrics
from steradian.models.recognizer import Recognizer

FARS = (1e-2, 1e-3)


@dataclass(frozen=True)
class Embedded:
    """Images as the model sees them.

    Attributes:
        raw: float32 [N, D] embeddings before normalization.
        logits: float32 [N, C], margin-free.
        labels: int64 [N].
    """

    raw: NDArray[np.float32]
    logits: NDArray[np.float32]
    labels: NDArray[np.int64]

    @property
    def predictions(self) -> NDArray[np.int64]:
        """The class of the highest logit, [N]."""
        found: NDArray[np.int64] = self.logits.argmax(axis=1)
        return found


@torch.no_grad()
def embed_pixels(model: Recognizer, pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> Embedded:
    """Embed uint8 pixels [N, channels, size, size]."""
    raw = model.embed(torch.from_numpy(np.ascontiguousarray(pixels)), normalize=False)
    logits = model.as_head.logits(raw.to(model.as_head.weight.device)).float().cpu()
    return Embedded(raw.numpy(), logits.numpy(), labels)


@dataclass(frozen=True)
class Measured:
    """Numbers by protocol, and which items each accuracy got right (for paired comparisons).

    Attributes:
        numbers: nested, snake case; NaN where a number does not exist.
        right: "closed.accuracy" and the like -> bool [N].
    """

    numbers: dict[str, Any]
    right: dict[str, NDArray[np.bool_]]


def measure(test: Embedded, reference: Embedded | None, num_classes: int, seed: int = 0) -> Measured:
    """Closed-set, neighbor, clustering, verification and geometry numbers of ``test``.

    Args:
        test: held-out images.
        reference: training images for the nearest neighbors, or None to leave those out.
        num_classes: C; k-means looks for as many clusters. With fewer than two images per cluster its accuracies would
            be high by construction, so they are NaN.
        seed: of k-means.
    """
    labels, present = test.labels, len(np.unique(test.labels))
    predicted = test.predictions == labels
    right = {"closed.accuracy": predicted}
    majority = one_to_one = math.nan
    if len(labels) >= 2 * num_classes:
        clusters = metrics.spherical_clusters(test.raw, num_classes, seed=seed)
        right["clustering.majority"] = _majority_right(clusters, labels)
        majority = metrics.cluster_accuracy(clusters, labels, "majority")
        one_to_one = metrics.cluster_accuracy(clusters, labels, "one-to-one")
    numbers: dict[str, Any] = {
        "images": len(labels),
        "closed": {
            "accuracy": metrics.accuracy(test.logits, labels),
            "top_5": metrics.top_k_accuracy(test.logits, labels, k=5) if num_classes > 5 else math.nan,
        },
        "clustering": {
            "majority": majority,
            "one_to_one": one_to_one,
            "silhouette": metrics.spherical_silhouette(test.raw, labels) if present > 1 else math.nan,
        },
        "verification": _verification(test),
        "geometry": _geometry(test, present),
    }
    if reference is not None:
        named = metrics.knn_predict(test.raw, reference.raw, reference.labels, k=5)
        right["neighbors.knn_accuracy"] = named == labels
        numbers["neighbors"] = {"knn_accuracy": float(np.mean(named == labels))}
    return Measured(numbers, right)


def _majority_right(clusters: NDArray[np.integer[Any]], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    right = np.zeros(len(labels), dtype=bool)
    for cluster in np.unique(clusters):
        inside = clusters == cluster
        right[inside] = labels[inside] == np.bincount(labels[inside]).argmax()
    return right


def _verification(test: Embedded) -> dict[str, Any]:
    present = len(np.unique(test.labels))
    if present < 2 or present == len(test.labels):
        nothing = {f"{far:.0e}": math.nan for far in FARS}
        return {"auc": math.nan, "eer": math.nan, "tar_at_far": nothing}
    found = metrics.verify_all_pairs(test.raw, test.labels, FARS)
    return {
        "auc": math.nan if found.histogram is None else found.histogram.auc(),
        "eer": math.nan if found.histogram is None else found.histogram.equal_error().rate,
        "tar_at_far": {f"{answer.far:.0e}": answer.tar for answer in found.accepted},
        "genuine_pairs": found.genuine,
        "impostor_pairs": found.impostor,
    }


def _geometry(test: Embedded, present: int) -> dict[str, Any]:
    if present < 2:
        return {}
    angles = metrics.class_angles(test.raw, test.labels)
    found = {
        "own_angle_degrees": float(np.rad2deg(np.median(angles.own))),
        "nearest_other_angle_degrees": float(np.rad2deg(np.median(angles.nearest_other))),
        "smallest_angle_between_classes_degrees": float(np.rad2deg(angles.between.min())),
    }
    if test.raw.shape[1] in (2, 3):
        ratios = metrics.volume_ratios(test.raw, test.labels)
        found |= {"hull_ratio": ratios.hull, "ellipsoid_ratio": ratios.ellipsoid}
    return found


def flat(numbers: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested numbers as (dotted key, value)."""
    for key, value in numbers.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
