"""The protocols by name: what each measures of a model, from embeddings and answers of held-out images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from steradian import metrics
from steradian.errors import InputError, UsageError, did_you_mean
from steradian.studies.closed import add_ranks, add_table_numbers, calibration_numbers, closed_numbers, interval
from steradian.studies.closed import most_confused as confused_pairs
from steradian.studies.measurement import Embedded, Measured

FARS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
FALSE_ALARMS = (1e-1, 1e-2)
RANKED = 100


@dataclass(frozen=True)
class Material:
    """What there is to measure on.

    Attributes:
        classes: names; the first C are those that the model knows, and labels count in this order.
        num_classes: C.
        known: images of known classes, or None.
        unknown: images of other classes, or None.
        reference: training images, or None.
        seed: of k-means, and of who is enrolled.
    """

    classes: tuple[str, ...]
    num_classes: int
    known: Embedded | None
    unknown: Embedded | None = None
    reference: Embedded | None = None
    seed: int = 0

    @property
    def images(self) -> Embedded:
        """Those of known classes, or where there are none all."""
        found = self.known if self.known is not None else self.unknown
        if found is None:
            raise InputError("there are no images to measure on.")
        return found


class Protocol(NamedTuple):
    """One way to measure: numbers under the protocol's own name, or None where the material does not suffice."""

    measure: Callable[[Material], Measured | None]
    needs: str


def measure(material: Material, names: Sequence[str]) -> Measured:
    """All numbers of the protocols ``names``; those that the material does not suffice for are left out.

    Raises:
        UsageError: an unknown protocol.
    """
    check_protocols(names)
    numbers: dict[str, Any] = {"images": len(material.images)}
    right: dict[str, NDArray[np.bool_]] = {}
    for name in names:
        found = PROTOCOLS[name].measure(material)
        if found is not None:
            numbers[name], right = found.numbers, right | found.right
    if "closed" in numbers and material.known is not None:
        known = material.known
        confusion = metrics.Confusion.of(known.labels, known.predictions, material.num_classes)
        numbers["most_confused"] = confused_pairs(confusion, material.classes)
    if material.known is not None and material.unknown is not None:
        alone = replace(material, known=None)
        of_unseen = {name: PROTOCOLS[name].measure(alone) for name in UNSEEN if name in names}
        if unseen := {name: found.numbers for name, found in of_unseen.items() if found is not None}:
            numbers["unseen"] = {"images": len(material.unknown), **unseen}
    return Measured(numbers, right)


def check_protocols(names: Sequence[str]) -> None:
    """Raise `UsageError` for a protocol that does not exist."""
    for name in names:
        if name not in PROTOCOLS:
            raise UsageError(f"There is no protocol {name!r}. {did_you_mean(name, PROTOCOLS)}")


def left_out(names: Sequence[str], numbers: Mapping[str, Any]) -> list[str]:
    """A sentence for each of the protocols ``names`` that gave no numbers."""
    return [f"{name} was not measured: it needs {PROTOCOLS[name].needs}." for name in names if name not in numbers]


def _closed(material: Material) -> Measured | None:
    if material.known is None:
        return None
    found, classes = material.known, material.classes[: material.num_classes]
    confusion = metrics.Confusion.of(found.labels, found.predictions, material.num_classes)
    numbers = closed_numbers(confusion, classes)
    if found.answers.table is not None:
        add_table_numbers(numbers, found.answers.table, found.labels)
    else:
        add_ranks(numbers, found.answers.ranks, material.num_classes)
    return Measured(numbers, {"closed.accuracy": found.right})


def _calibration(material: Material) -> Measured | None:
    if material.known is None:
        return None
    answers, right = material.known.answers, material.known.right
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
    return Measured(numbers, {})


def _neighbors(material: Material) -> Measured | None:
    if material.known is None or material.reference is None:
        return None
    known, reference = material.known, material.reference
    right = metrics.knn_predict(known.raw, reference.raw, reference.labels, k=5) == known.labels
    return Measured({"knn_accuracy": float(np.mean(right))}, {"neighbors.knn_accuracy": right})


def _clustering(material: Material) -> Measured | None:
    """With fewer than two images a cluster its accuracies would be high by construction, so they are NaN."""
    found = material.images
    present = len(np.unique(found.labels))
    count = material.num_classes if material.known is not None else present
    nothing = dict.fromkeys(("majority", "one_to_one", "nmi", "ami"), math.nan)
    numbers, right = nothing, {}
    if len(found) >= 2 * count:
        clusters = metrics.spherical_clusters(found.raw, count, seed=material.seed)
        right["clustering.majority"] = _majority_right(clusters, found.labels)
        numbers = {
            "majority": metrics.cluster_accuracy(clusters, found.labels, "majority"),
            "one_to_one": metrics.cluster_accuracy(clusters, found.labels, "one-to-one"),
            "nmi": metrics.normalized_mutual_information(clusters, found.labels),
            "ami": metrics.adjusted_mutual_information(clusters, found.labels),
        }
    silhouette = metrics.spherical_silhouette(found.raw, found.labels) if present > 1 else math.nan
    return Measured({**numbers, "silhouette": silhouette}, right)


def _majority_right(clusters: NDArray[np.integer[Any]], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    right = np.zeros(len(labels), dtype=bool)
    for cluster in np.unique(clusters):
        inside = clusters == cluster
        right[inside] = labels[inside] == np.bincount(labels[inside]).argmax()
    return right


def _verification(material: Material) -> Measured | None:
    found = material.images
    present = len(np.unique(found.labels))
    if present < 2 or present == len(found):
        return None
    pairs = metrics.verify_all_pairs(found.raw, found.labels, FARS)
    curve = pairs.histogram
    return Measured(
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


def _identification(material: Material) -> Measured | None:
    """One image of each identity with two or more is enrolled, drawn by the seed, and the others look for it.

    Probes that are not enrolled are images of unknown classes if there are some; else half of the identities, drawn by
    the seed, are not enrolled for that part.
    """
    found = material.images
    generator = np.random.default_rng(material.seed)
    order = generator.permutation(len(found))
    _, first = np.unique(found.labels[order], return_index=True)
    enrolled = np.sort(order[first])
    counts = np.bincount(found.labels)
    enrolled = enrolled[counts[found.labels[enrolled]] > 1]
    probes = np.setdiff1d(np.flatnonzero(counts[found.labels] > 1), enrolled)
    if len(enrolled) < 2:
        return None
    of_all = metrics.candidates(found.raw[probes], found.labels[probes], found.raw[enrolled], found.labels[enrolled])
    numbers: dict[str, Any] = {
        "enrolled": len(enrolled),
        "probes": len(probes),
        "rank": {str(rank): share for rank, share in metrics.cmc(of_all, (1, 5, 10)).items()},
    }
    if material.known is not None and material.unknown is not None:
        strangers = material.unknown
        others = metrics.candidates(strangers.raw, strangers.labels, found.raw[enrolled], found.labels[enrolled])
        some = of_all + others
    else:
        half = generator.permutation(found.labels[enrolled])[: (len(enrolled) + 1) // 2]
        kept = enrolled[np.isin(found.labels[enrolled], half)]
        some = metrics.candidates(found.raw[probes], found.labels[probes], found.raw[kept], found.labels[kept])
    rates = {f"{far:.0e}": metrics.dir_at_far(some, far) for far in FALSE_ALARMS}
    numbers |= {
        "detection_at_false_alarms": {far: point.tar for far, point in rates.items()},
        "threshold_at_false_alarms": {far: point.threshold for far, point in rates.items()},
        "probes_not_enrolled": int((~some.mated).sum()),
    }
    return Measured(numbers, {})


def _retrieval(material: Material) -> Measured | None:
    found = material.images
    sums = metrics.retrieval_sums(found.raw, found.labels, ks=(1, 5, 10))
    if sums.queries == 0:
        return None
    return Measured({"queries": sums.queries, "alone": sums.alone, **sums.means()}, {})


def _open_set(material: Material) -> Measured | None:
    if material.known is None or material.unknown is None:
        return None
    known, unknown = material.known, material.unknown
    kinds: tuple[Literal["cosine", "logit", "probability"], ...] = ("cosine", "logit", "probability")
    numbers: dict[str, Any] = {"known": len(known), "unknown": len(unknown)}
    for kind in kinds:
        sure, unsure = getattr(known.answers, kind), getattr(unknown.answers, kind)
        numbers[kind] = metrics.open_set_numbers(sure, known.right, unsure)._asdict()
    return Measured(numbers, {})


def _landmarks(material: Material) -> Measured | None:
    """GAP of the answers with the cosine to the nearest center as confidence; mAP@100 of training images, if any."""
    if material.known is None:
        return None
    parts = [part for part in (material.known, material.unknown) if part is not None]
    predictions = np.concatenate([part.predictions for part in parts]).tolist()
    confidence = np.concatenate([part.answers.cosine for part in parts]).tolist()
    labels = np.concatenate([part.labels for part in parts]).tolist()
    truth = {image: {label} if label < material.num_classes else set() for image, label in enumerate(labels)}
    named = {image: metrics.Named(predictions[image], confidence[image]) for image in truth}
    numbers = {"gap": metrics.gap(named, truth), "queries": len(truth), "without_landmark": len(labels) - len(parts[0])}
    if material.reference is not None:
        numbers["map_at_100"] = _ranked(material.known, material.reference)
    return Measured(numbers, {})


def _ranked(queries: Embedded, references: Embedded) -> float:
    nearest = metrics.nearest_neighbors(queries.raw, references.raw, min(RANKED, len(references))).place
    of_class = {
        label: set(np.flatnonzero(references.labels == label).tolist()) for label in np.unique(queries.labels).tolist()
    }
    rankings = dict(enumerate(nearest.tolist()))
    right = {image: of_class[label] for image, label in enumerate(queries.labels.tolist())}
    return metrics.mean_average_precision(rankings, right, RANKED) if any(right.values()) else math.nan


def _geometry(material: Material) -> Measured | None:
    found = material.images
    if len(np.unique(found.labels)) < 2:
        return None
    angles = metrics.class_angles(found.raw, found.labels)
    numbers = {
        "own_angle_degrees": float(np.rad2deg(np.median(angles.own))),
        "nearest_other_angle_degrees": float(np.rad2deg(np.median(angles.nearest_other))),
        "smallest_angle_between_classes_degrees": float(np.rad2deg(angles.between.min())),
    }
    if found.raw.shape[1] in (2, 3):
        ratios = metrics.volume_ratios(found.raw, found.labels)
        numbers |= {"hull_ratio": ratios.hull, "ellipsoid_ratio": ratios.ellipsoid}
    return Measured(numbers, {})


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
"""What is measured on unknown classes by themselves, too."""

COMPARED = ("closed", "calibration", "neighbors", "clustering", "retrieval", "verification", "open_set", "geometry")
"""What a comparison measures of each cell."""
