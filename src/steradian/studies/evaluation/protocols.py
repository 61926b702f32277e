"""Evaluation protocols: each computes metrics from embeddings and head outputs of held-out images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from steradian import metrics
from steradian.errors import UsageError, did_you_mean
from steradian.studies.evaluation.closed_set import (
    add_ranks,
    add_table_numbers,
    calibration_numbers,
    closed_numbers,
    interval,
)
from steradian.studies.evaluation.closed_set import most_confused as confused_pairs
from steradian.studies.evaluation.inputs import EmbeddingSet, EvaluationInputs, Metrics

FARS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
FALSE_ALARMS = (1e-1, 1e-2)
RANKED = 100


class Protocol(NamedTuple):
    """One protocol: a function that returns its metrics, or None if the inputs do not suffice."""

    measure: Callable[[EvaluationInputs], Metrics | None]
    needs: str


def measure(inputs: EvaluationInputs, names: Sequence[str]) -> Metrics:
    """Measure the protocols ``names``; those that the inputs do not suffice for are left out.

    Raises:
        UsageError: an unknown protocol.
    """
    check_protocols(names)
    numbers: dict[str, Any] = {"images": len(inputs.images)}
    right: dict[str, NDArray[np.bool_]] = {}
    for name in names:
        result = PROTOCOLS[name].measure(inputs)
        if result is not None:
            numbers[name], right = result.numbers, right | result.right
    if "closed" in numbers and inputs.known is not None:
        known = inputs.known
        confusion = metrics.Confusion.of(known.predictions, known.labels, inputs.num_classes)
        numbers["most_confused"] = confused_pairs(confusion, inputs.classes)
    if inputs.known is not None and inputs.unknown is not None:
        alone = replace(inputs, known=None)
        unseen_results = {name: PROTOCOLS[name].measure(alone) for name in UNSEEN if name in names}
        if unseen := {name: result.numbers for name, result in unseen_results.items() if result is not None}:
            numbers["unseen"] = {"images": len(inputs.unknown), **unseen}
    return Metrics(numbers, right)


def check_protocols(names: Sequence[str]) -> None:
    """Raise `UsageError` for a protocol that does not exist."""
    for name in names:
        if name not in PROTOCOLS:
            raise UsageError(f"There is no protocol {name!r}. {did_you_mean(name, PROTOCOLS)}")


def left_out(names: Sequence[str], numbers: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each protocol of ``names`` that gave no metrics."""
    return [f"{name} was not measured: it needs {PROTOCOLS[name].needs}." for name in names if name not in numbers]


def _closed(inputs: EvaluationInputs) -> Metrics | None:
    if inputs.known is None:
        return None
    known, classes = inputs.known, inputs.classes[: inputs.num_classes]
    confusion = metrics.Confusion.of(known.predictions, known.labels, inputs.num_classes)
    numbers = closed_numbers(confusion, classes)
    if known.outputs.table is not None:
        add_table_numbers(numbers, known.outputs.table, known.labels)
    else:
        add_ranks(numbers, known.outputs.ranks, inputs.num_classes)
    return Metrics(numbers, {"closed.accuracy": known.right})


def _calibration(inputs: EvaluationInputs) -> Metrics | None:
    if inputs.known is None:
        return None
    answers, right = inputs.known.outputs, inputs.known.right
    numbers = calibration_numbers(answers.probability, right, answers.of_truth, answers.squares)
    sets = {share: (answers.ranks < sizes) for share, sizes in answers.set_sizes.items()}
    if sets:
        numbers["sets"] = {
            share: {
                "covered": float(covered.mean()),
                "covered_interval": interval(int(covered.sum()), len(covered)),
                "size": float(answers.set_sizes[share].mean()),
            }
            for share, covered in sets.items()
        }
    return Metrics(numbers, {})


def _neighbors(inputs: EvaluationInputs) -> Metrics | None:
    if inputs.known is None or inputs.reference is None:
        return None
    known, reference = inputs.known, inputs.reference
    right = metrics.knn_predict(known.raw, reference.raw, reference.labels, k=5) == known.labels
    return Metrics({"knn_accuracy": float(np.mean(right))}, {"neighbors.knn_accuracy": right})


def _clustering(inputs: EvaluationInputs) -> Metrics | None:
    """Measure clustering; with fewer than two images per cluster, its meaningless accuracies are NaN."""
    images = inputs.images
    present = len(np.unique(images.labels))
    count = inputs.num_classes if inputs.known is not None else present
    undefined = dict.fromkeys(("majority", "one_to_one", "nmi", "ami"), math.nan)
    numbers, right = undefined, {}
    if len(images) >= 2 * count:
        clusters = metrics.spherical_clusters(images.raw, count, seed=inputs.seed)
        right["clustering.majority"] = _majority_right(clusters, images.labels)
        numbers = {
            "majority": metrics.cluster_accuracy(clusters, images.labels, "majority"),
            "one_to_one": metrics.cluster_accuracy(clusters, images.labels, "one-to-one"),
            "nmi": metrics.normalized_mutual_information(clusters, images.labels),
            "ami": metrics.adjusted_mutual_information(clusters, images.labels),
        }
    silhouette = math.nan
    if present > 1 and _has_two_of_a_class(images.labels):
        silhouette = metrics.spherical_silhouette(images.raw, images.labels)
    return Metrics({**numbers, "silhouette": silhouette}, right)


def _has_two_of_a_class(labels: NDArray[np.int64]) -> bool:
    return int(np.bincount(labels).max()) > 1


def _majority_right(clusters: NDArray[np.integer[Any]], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    right = np.zeros(len(labels), dtype=bool)
    for cluster in np.unique(clusters):
        inside = clusters == cluster
        right[inside] = labels[inside] == np.bincount(labels[inside]).argmax()
    return right


def _verification(inputs: EvaluationInputs) -> Metrics | None:
    images = inputs.images
    present = len(np.unique(images.labels))
    if present < 2 or present == len(images):
        return None
    pairs = metrics.verify_all_pairs(images.raw, images.labels, FARS)
    curve = pairs.histogram
    return Metrics(
        {
            "auc": math.nan if curve is None else curve.auc(),
            "eer": math.nan if curve is None else curve.equal_error().rate,
            "tar_at_far": {f"{answer.far:.0e}": answer.tar for answer in pairs.accepted},
            "tar_interval_at_far": {
                f"{answer.far:.0e}": [answer.interval.low, answer.interval.high]
                for answer in pairs.accepted
                if not answer.reason
            },
            "threshold_at_far": {f"{answer.far:.0e}": answer.threshold for answer in pairs.accepted},
            "genuine_pairs": pairs.genuine,
            "impostor_pairs": pairs.impostor,
        },
        {},
    )


def _identification(inputs: EvaluationInputs) -> Metrics | None:
    """Enroll one random image of each identity that has two or more; its other images are probes.

    Non-mated probes are images of unknown classes if there are any; else half of the identities, drawn by
    the seed, are not enrolled for that part.
    """
    images = inputs.images
    generator = np.random.default_rng(inputs.seed)
    order = generator.permutation(len(images))
    _, first = np.unique(images.labels[order], return_index=True)
    enrolled = np.sort(order[first])
    counts = np.bincount(images.labels)
    enrolled = enrolled[counts[images.labels[enrolled]] > 1]
    probes = np.setdiff1d(np.flatnonzero(counts[images.labels] > 1), enrolled)
    if len(enrolled) < 2:
        return None
    mated = metrics.candidates(images.raw[probes], images.labels[probes], images.raw[enrolled], images.labels[enrolled])
    numbers: dict[str, Any] = {
        "enrolled": len(enrolled),
        "probes": len(probes),
        "rank": {str(rank): share for rank, share in metrics.cmc(mated, (1, 5, 10)).items()},
    }
    if inputs.known is not None and inputs.unknown is not None:
        strangers = inputs.unknown
        others = metrics.candidates(strangers.raw, strangers.labels, images.raw[enrolled], images.labels[enrolled])
        open_set = mated + others
    else:
        half = generator.permutation(images.labels[enrolled])[: (len(enrolled) + 1) // 2]
        gallery = enrolled[np.isin(images.labels[enrolled], half)]
        open_set = metrics.candidates(
            images.raw[probes], images.labels[probes], images.raw[gallery], images.labels[gallery]
        )
    rates = {f"{far:.0e}": metrics.dir_at_far(open_set, far) for far in FALSE_ALARMS}
    numbers |= {
        "detection_at_false_alarms": {far: point.tar for far, point in rates.items()},
        "threshold_at_false_alarms": {far: point.threshold for far, point in rates.items()},
        "probes_not_enrolled": int((~open_set.mated).sum()),
    }
    return Metrics(numbers, {})


def _retrieval(inputs: EvaluationInputs) -> Metrics | None:
    images = inputs.images
    sums = metrics.retrieval_sums(images.raw, images.labels, ks=(1, 5, 10))
    if sums.queries == 0:
        return None
    return Metrics({"queries": sums.queries, "alone": sums.alone, **sums.means()}, {})


def _open_set(inputs: EvaluationInputs) -> Metrics | None:
    if inputs.known is None or inputs.unknown is None:
        return None
    known, unknown = inputs.known, inputs.unknown
    numbers: dict[str, Any] = {"known": len(known), "unknown": len(unknown)}
    for kind in ("cosine", "logit", "probability"):
        sure, unsure = getattr(known.outputs, kind), getattr(unknown.outputs, kind)
        numbers[kind] = metrics.open_set_numbers(sure, known.right, unsure)._asdict()
    return Metrics(numbers, {})


def _landmarks(inputs: EvaluationInputs) -> Metrics | None:
    """Compute GAP with the cosine to the nearest center as confidence, and mAP@100 of training images, if any."""
    if inputs.known is None:
        return None
    parts = [part for part in (inputs.known, inputs.unknown) if part is not None]
    predictions = np.concatenate([part.predictions for part in parts]).tolist()
    confidence = np.concatenate([part.outputs.cosine for part in parts]).tolist()
    labels = np.concatenate([part.labels for part in parts]).tolist()
    truth = {image: {label} if label < inputs.num_classes else set() for image, label in enumerate(labels)}
    named = {image: metrics.Named(predictions[image], confidence[image]) for image in truth}
    numbers = {"gap": metrics.gap(named, truth), "queries": len(truth), "without_landmark": len(labels) - len(parts[0])}
    if inputs.reference is not None:
        numbers["map_at_100"] = _map_at_100(inputs.known, inputs.reference)
    return Metrics(numbers, {})


def _map_at_100(queries: EmbeddingSet, references: EmbeddingSet) -> float:
    nearest = metrics.nearest_neighbors(queries.raw, references.raw, min(RANKED, len(references))).place
    class_images = {
        label: set(np.flatnonzero(references.labels == label).tolist()) for label in np.unique(queries.labels).tolist()
    }
    rankings = dict(enumerate(nearest.tolist()))
    right = {image: class_images[label] for image, label in enumerate(queries.labels.tolist())}
    return metrics.mean_average_precision(rankings, right, RANKED) if any(right.values()) else math.nan


def _geometry(inputs: EvaluationInputs) -> Metrics | None:
    images = inputs.images
    if len(np.unique(images.labels)) < 2:
        return None
    angles = metrics.class_angles(images.raw, images.labels)
    # The mean of a class with one image is that image: its angle to it would be 0 by construction.
    measurable = _has_two_of_a_class(images.labels)
    numbers = {
        "own_angle_degrees": float(np.rad2deg(np.median(angles.own))) if measurable else math.nan,
        "nearest_other_angle_degrees": float(np.rad2deg(np.median(angles.nearest_other))),
        "smallest_angle_between_classes_degrees": float(np.rad2deg(angles.nearest_class.min())),
    }
    if images.raw.shape[1] in (2, 3):
        ratios = metrics.volume_ratios(images.raw, images.labels)
        numbers |= {"hull_ratio": ratios.hull, "ellipsoid_ratio": ratios.ellipsoid}
    return Metrics(numbers, {})


KNOWN = "images of classes that the model knows"
PROTOCOLS: dict[str, Protocol] = {
    "closed": Protocol(_closed, KNOWN),
    "calibration": Protocol(_calibration, KNOWN),
    "neighbors": Protocol(_neighbors, f"{KNOWN}, and those it was trained on"),
    "clustering": Protocol(_clustering, "images"),
    "verification": Protocol(_verification, "two classes or more, one of them with two images"),
    "identification": Protocol(_identification, "two classes or more with two images or more each"),
    "retrieval": Protocol(_retrieval, "a class with two images or more"),
    "open_set": Protocol(_open_set, "images of classes that the model knows, and of others"),
    "landmarks": Protocol(_landmarks, KNOWN),
    "geometry": Protocol(_geometry, "two classes or more"),
}
DEFAULT = tuple(name for name in PROTOCOLS if name != "landmarks")
UNSEEN = ("verification", "identification", "retrieval", "clustering")
"""Protocols that are also measured on unknown classes alone."""

COMPARED = ("closed", "calibration", "neighbors", "clustering", "retrieval", "verification", "open_set", "geometry")
"""Protocols that a comparison measures for each cell."""
