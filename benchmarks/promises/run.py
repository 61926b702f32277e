"""Count how often the promises of a default training are kept: python benchmarks/promises/run.py --data DIR

Every part fits on some classes or groups and counts on others. Results go to result.json; README.md explains them.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t as student
from sets import FILES, FeatureSet, load
from sklearn.linear_model import LogisticRegression

from steradian import metrics
from steradian.gallery.search.snapshot import Snapshot
from steradian.gallery.strangers import OwnStrangers, highest_of_each, relative_scores, stranger_threshold
from steradian.gallery.strategy import choose_comparison
from steradian.metrics.checks import unit
from steradian.models import Recognizer
from steradian.models.calibration import Calibration, StrangerScores, Thresholds
from steradian.models.fitted_calibration import fit_calibration, fit_strangers, fit_thresholds
from steradian.training.adaptation.adapt import Adaptation, adapt
from steradian.training.adaptation.embedding import UnseenScore, score_unseen
from steradian.training.adaptation.folds import grouped_folds
from steradian.training.resources import environment

HERE = Path(__file__).parent
MOST = 2500
FEW_SHOTS = (5, 20, 10**9)
PENALTIES = (0.01, 0.1, 1.0, 10.0)
FARS = (0.1, 0.01, 0.001)
SIZES = (10, 20, 50, 200)
SHARES = (0.9, 0.95)
LEAST_IMAGES = 2
"""Images of a class that can be enrolled and asked."""

Indices = NDArray[np.intp]


def adapted(data: FeatureSet, indices: Indices, seed: int, calibrate_on: Indices | None = None) -> Adaptation:
    """Adapt to the images at ``indices``, whose labels are renumbered."""
    _, labels = np.unique(data.labels[indices], return_inverse=True)
    return adapt(
        data.features[indices],
        labels.astype(np.int64),
        int(labels.max()) + 1,
        sizes=data.sizes,
        names=data.groups[indices],
        calibrate_on=calibrate_on,
        seed=seed,
    )


def embedded(data: FeatureSet, adaptation: Adaptation, indices: Indices) -> NDArray[np.float32]:
    """Return embeddings of the images at ``indices``."""
    return adaptation.neck(data.features[indices])


def halves(data: FeatureSet, seed: int) -> tuple[Indices, Indices]:
    """Return the images of a random half of the classes, and those of the other half."""
    classes = np.random.default_rng(seed).permutation(np.unique(data.labels))
    first = np.isin(data.labels, classes[: len(classes) // 2])
    return np.flatnonzero(first), np.flatnonzero(~first)


def some(data: FeatureSet, indices: Indices, seed: int) -> Indices:
    """Return ``indices``, or those of random classes with about `MOST` images in all."""
    classes = np.random.default_rng(seed).permutation(np.unique(data.labels[indices]))
    counts = np.cumsum([(data.labels[indices] == label).sum() for label in classes])
    return indices[np.isin(data.labels[indices], classes[: max(2, int((counts <= MOST).sum()))])]


def scores(data: FeatureSet, vectors: NDArray[np.float32], indices: Indices) -> UnseenScore:
    """Score embeddings of the images at ``indices``."""
    _, groups = np.unique(data.groups[indices], return_inverse=True)
    score = score_unseen(vectors, data.labels[indices], groups)
    assert score is not None
    return score


def interval(values: list[float]) -> list[float]:
    """Return the mean over draws and its 95 % interval (Student's t)."""
    mean, count = float(np.mean(values)), len(values)
    if count < 2:
        return [mean, float("nan"), float("nan")]
    reach = float(student.ppf(0.975, count - 1) * np.std(values, ddof=1) / count**0.5)
    return [round(mean, 4), round(mean - reach, 4), round(mean + reach, 4)]


def unseen_classes(sets: dict[str, FeatureSet], draws: int) -> dict[str, Any]:
    """Fit on half of the classes; compare recall and TAR on the other half with those of the untrained encoder."""
    found: dict[str, Any] = {}
    for name in ("lfw", "dogs60", "gtsrb", "monuments", "clothing"):
        data, gains = sets[name], {"recall_at_1": [], "tar": []}
        levels: dict[str, list[float]] = {
            "untrained recall_at_1": [],
            "recall_at_1": [],
            "untrained tar": [],
            "tar": [],
        }
        fars: dict[str, list[float]] = {}
        for draw in range(draws):
            seen, rest = halves(data, draw)
            asked = some(data, rest, draw)
            adaptation = adapted(data, seen, draw)
            vectors = embedded(data, adaptation, asked)
            untrained, model = scores(data, data.final[asked], asked), scores(data, vectors, asked)
            for key in gains:
                gains[key].append(getattr(model, key) - getattr(untrained, key))
                levels[key].append(getattr(model, key))
                levels[f"untrained {key}"].append(getattr(untrained, key))
            for key, value in pair_rates(adaptation, vectors, data.labels[asked]).items():
                fars.setdefault(key, []).append(value)
        found[name] = {
            **{key: round(float(np.mean(values)), 4) for key, values in levels.items()},
            **{f"{key} gain": interval(values) for key, values in gains.items()},
            "pairs": {key: round(float(np.mean(values)), 5) for key, values in fars.items()},
        }
        print("unseen", name, found[name], flush=True)
    return found


def pair_rates(adaptation: Adaptation, vectors: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, float]:
    """Return the real FAR at each promised one, and TAR as a share of that of the threshold chosen with hindsight."""
    pairs = [(fold.vectors, fold.labels) for fold in adaptation.embedding.folds]
    thresholds = fit_thresholds(pairs, "")
    real = metrics.pair_scores(vectors, labels, MOST)
    rates = {}
    for one in thresholds:
        if one.far not in FARS:
            continue
        hindsight = metrics.impostor_threshold(real.impostor, one.far)
        best = max(1e-9, float((real.genuine > hindsight).mean()))
        rates[f"far {one.far:g}"] = float((real.impostor > one.cosine).mean())
        rates[f"tar share at {one.far:g}"] = float((real.genuine > one.cosine).mean()) / best
    return rates


def cross_domain(sets: dict[str, FeatureSet]) -> dict[str, Any]:
    """Fit on clothing; compare recall on other kinds of pictures with that of the untrained encoder."""
    clothing = sets["clothing"]
    adaptation = adapted(clothing, np.arange(len(clothing.labels)), 0)
    found = {}
    for name in ("gtsrb", "dogs60", "monuments"):
        data = sets[name]
        asked = some(data, np.arange(len(data.labels)), 0)
        untrained = scores(data, data.final[asked], asked)
        model = scores(data, embedded(data, adaptation, asked), asked)
        found[name] = {"untrained": round(untrained.recall_at_1, 4), "trained on clothing": round(model.recall_at_1, 4)}
        print("cross-domain", name, found[name], flush=True)
    return found


def parts(data: FeatureSet, seed: int) -> tuple[Indices, Indices]:
    """Return the set's own training and test images, or three quarters and one quarter of the groups of each class."""
    if data.parts is not None and (data.parts == "test").any():
        return np.flatnonzero(data.parts != "test"), np.flatnonzero(data.parts == "test")
    generator = np.random.default_rng(seed)
    test = np.zeros(len(data.labels), dtype=bool)
    for label in np.unique(data.labels):
        groups = generator.permutation(np.unique(data.groups[data.labels == label]))
        test |= (data.labels == label) & np.isin(data.groups, groups[: max(1, len(groups) // 4)])
    return np.flatnonzero(~test), np.flatnonzero(test)


def first_of_each(data: FeatureSet, indices: Indices, count: int, seed: int) -> Indices:
    """Return ``count`` random images of each class among ``indices``."""
    order = np.random.default_rng(seed).permutation(indices)
    chosen = [order[data.labels[order] == label][:count] for label in np.unique(data.labels[indices])]
    return np.sort(np.concatenate(chosen))


def plain_classifiers(data: FeatureSet, train: Indices, test: Indices, seed: int) -> dict[str, float]:
    """Return the accuracy of the plain alternatives on the final features, and the CPU time of the first."""
    features = unit(data.final) * np.float32(5.0)
    labels = data.labels
    _, groups = np.unique(data.groups[train], return_inverse=True)
    started = time.process_time()
    folds = grouped_folds(labels[train], groups, seed)

    def fit(penalty: float, rows: Indices) -> LogisticRegression:
        return LogisticRegression(C=penalty, max_iter=300).fit(features[rows], labels[rows])

    best = max(
        PENALTIES,
        key=lambda penalty: np.mean(
            [fit(penalty, train[a]).score(features[train[b]], labels[train[b]]) for a, b in folds] or [0.0]
        ),
    )
    logistic = float(fit(best, train).score(features[test], labels[test]))
    seconds = time.process_time() - started
    nearest = labels[train][(features[test] @ features[train].T).argmax(axis=1)]
    classes = np.unique(labels[train])
    means = unit(np.stack([features[train][labels[train] == label].mean(axis=0) for label in classes]))
    by_mean = classes[(features[test] @ means.T).argmax(axis=1)]
    return {
        "logistic regression": logistic,
        "1-NN": float((nearest == labels[test]).mean()),
        "class means": float((by_mean == labels[test]).mean()),
        "seconds": seconds,
    }


def seconds_per_image(images: int = 64) -> float:
    """Return the CPU time of the encoder for one image, measured once on random pixels."""
    if not SECONDS:
        model = Recognizer.load("general")
        model.accelerate()
        pixels = torch.randint(0, 256, (images, 3, 224, 224), dtype=torch.uint8)
        model.raw_embeddings(pixels)
        started = time.process_time()
        model.raw_embeddings(pixels)
        SECONDS.append((time.process_time() - started) / images)
    return SECONDS[0]


SECONDS: list[float] = []


def trained_classes(sets: dict[str, FeatureSet], draws: int) -> dict[str, Any]:
    """Compare the accuracy on trained classes with plain classifiers on the same encoder; count kept promises."""
    found: dict[str, Any] = {}
    for name in ("clothing", "dogs60", "imagewoof", "gtsrb", "monuments"):
        data = sets[name]
        for shots in FEW_SHOTS:
            rows: dict[str, list[float]] = {}
            for draw in range(draws):
                train, test = parts(data, draw)
                train = first_of_each(data, train, shots, draw)
                started = time.process_time()
                adaptation = adapted(data, train, draw)
                seconds = time.process_time() - started
                raw = embedded(data, adaptation, test)
                logits = adaptation.head(raw)
                row = plain_classifiers(data, train, test, draw)
                best = max(row["logistic regression"], row["1-NN"], row["class means"])
                row["ours"] = float((logits.argmax(axis=1) == data.labels[test]).mean())
                row["gain"] = row["ours"] - best
                images = seconds_per_image() * len(train)
                row["seconds"], row["ours seconds"] = row["seconds"] + images, seconds + images
                row |= coverage(adaptation, raw, logits, data.labels[test])
                for key, value in row.items():
                    rows.setdefault(key, []).append(value)
            key = f"{name}, {'all' if shots > 10**6 else shots}"
            found[key] = {name: round(float(np.mean(values)), 4) for name, values in rows.items()}
            found[key]["gain"] = interval(rows["gain"])
            print("trained", key, found[key], flush=True)
    return found


def coverage(
    adaptation: Adaptation, raw: NDArray[np.float32], logits: NDArray[np.float32], labels: NDArray[np.int64]
) -> dict[str, float]:
    """Return how often prediction sets hold the true class, and which share of known images counts as known.

    Sets are compared in size with those of a calibration with hindsight, on the images themselves.
    """
    calibration = calibrated(adaptation)
    if calibration is None:
        return {}
    probabilities = metrics.softmax(logits / calibration.temperature)
    truth = 1.0 - probabilities[np.arange(len(labels)), labels]
    cosine = center_cosine(adaptation, raw)
    kept = {}
    for share in SHARES:
        if f"{share:g}" in calibration.coverage_quantiles:
            sizes = [
                np.maximum(1, (1.0 - probabilities <= bound).sum(axis=1)).mean()
                for bound in (calibration.bound(share), np.quantile(truth, share))
            ]
            kept[f"covered {share:g}"] = float((truth <= calibration.bound(share)).mean())
            kept[f"size against hindsight {share:g}"] = float(sizes[0] / sizes[1])
            kept[f"known {share:g}"] = float((cosine >= calibration.known_cosine(share)).mean())
    return kept


def calibrated(adaptation: Adaptation) -> Calibration | None:
    """Return the calibration of an adaptation's folds."""
    folds = adaptation.held_out
    if not folds:
        return None
    held = {name: np.concatenate([getattr(fold, name) for fold in folds]) for name in ("logits", "cosine", "labels")}
    return fit_calibration(held["logits"], held["cosine"], held["labels"], None, "")


def center_cosine(adaptation: Adaptation, raw: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the highest cosine to a class center."""
    return (unit(raw) @ unit(np.ascontiguousarray(adaptation.head.weight.T)).T).max(axis=1)


def known_and_unknown(sets: dict[str, FeatureSet], draws: int) -> dict[str, Any]:
    """Fit on half of the classes; count known images that count as known, and refused images of the other half.

    The refused share is compared with that of the threshold which keeps exactly the promised share of known images.
    """
    found: dict[str, Any] = {}
    for name in ("clothing", "dogs60", "imagewoof", "gtsrb", "monuments"):
        data = sets[name]
        rows: dict[str, list[float]] = {}
        for draw in range(draws):
            seen, rest = halves(data, draw)
            train, test = (np.intersect1d(part, seen) for part in parts(data, draw))
            adaptation = adapted(data, train, draw)
            calibration = calibrated(adaptation)
            assert calibration is not None
            known, unknown = (center_cosine(adaptation, embedded(data, adaptation, part)) for part in (test, rest))
            for share in SHARES:
                cosine, hindsight = calibration.known_cosine(share), np.quantile(known, 1.0 - share)
                best = max(1e-9, float((unknown < hindsight).mean()))
                for key, value in (
                    ("kept", float((known >= cosine).mean())),
                    ("refused", float((unknown < cosine).mean())),
                    ("refused against hindsight", float((unknown < cosine).mean()) / best),
                ):
                    rows.setdefault(f"{key} {share:g}", []).append(value)
        found[name] = {key: round(float(np.mean(values)), 4) for key, values in rows.items()}
        print("known", name, found[name], flush=True)
    return found


def strangers_named(sets: dict[str, FeatureSet], draws: int) -> dict[str, Any]:
    """Count strangers that are given a name in galleries of classes that nobody trained on.

    A third of the classes is fitted on, half of the others is enrolled (five images each, the rest are known probes),
    and the other half are strangers. Hindsight is the threshold that exactly the promised share of these exceeds.
    """
    found: dict[str, Any] = {}
    for name in ("lfw", "dogs60", "gtsrb", "monuments"):
        data = sets[name]
        counts = np.bincount(data.labels)
        rows: dict[str, list[float]] = {}
        for draw in range(draws):
            generator = np.random.default_rng(draw)
            classes = generator.permutation(np.unique(data.labels))
            fitted, rest = classes[: len(classes) // 3], classes[len(classes) // 3 :]
            adaptation = adapted(data, np.flatnonzero(np.isin(data.labels, fitted)), draw)
            scores = fit_strangers([(fold.vectors, fold.labels) for fold in adaptation.embedding.folds], "")
            enrolled, others = rest[: len(rest) // 2], rest[len(rest) // 2 :]
            probes = np.flatnonzero(np.isin(data.labels, others))
            enrolled = enrolled[counts[enrolled] >= LEAST_IMAGES]
            vectors = unit(adaptation.neck(data.features))
            for identities in SIZES:
                if len(enrolled) >= identities:
                    answers = _ask(data, vectors, enrolled[:identities], probes, scores, generator)
                    for key, value in answers.items():
                        rows.setdefault(f"{identities} enrolled, {key}", []).append(value)
        found[name] = {key: interval(values) for key, values in rows.items()}
        print("strangers", name, found[name], flush=True)
    return found


def built_in(sets: dict[str, FeatureSet], draws: int) -> dict[str, Any]:
    """Count pairs and strangers of the built-in model `general`, for which nothing was trained."""
    thresholds = Recognizer.load("general").thresholds
    found: dict[str, Any] = {}
    for name in ("lfw", "dogs60", "gtsrb", "monuments", "clothing"):
        data = sets[name]
        vectors, counts = unit(data.final), np.bincount(data.labels)
        rows: dict[str, list[float]] = {}
        pairs = metrics.pair_scores(data.final, data.labels, MOST)
        for far in FARS:
            rows[f"pairs {far:g}"] = [float((pairs.impostor > thresholds.at(far).cosine).mean())]
        for draw in range(draws):
            generator = np.random.default_rng(draw)
            classes = generator.permutation(np.unique(data.labels))
            enrolled, others = classes[: len(classes) // 2], classes[len(classes) // 2 :]
            probes = np.flatnonzero(np.isin(data.labels, others))
            enrolled = enrolled[counts[enrolled] >= LEAST_IMAGES]
            for identities in (5, *SIZES):
                if len(enrolled) >= identities:
                    for key, value in _ask(data, vectors, enrolled[:identities], probes, (), generator).items():
                        rows.setdefault(f"{identities} enrolled, {key}", []).append(value)
        found[name] = {key: interval(values) for key, values in rows.items()}
        print("general", name, found[name], flush=True)
    return found


def _ask(
    data: FeatureSet,
    vectors: NDArray[np.float32],
    enrolled: Indices,
    strangers: Indices,
    scores: tuple[StrangerScores, ...],
    generator: np.random.Generator,
) -> dict[str, float]:
    first, rest = [], []
    for label in enrolled:
        order = generator.permutation(np.flatnonzero(data.labels == label))
        first.append(order[: min(5, len(order) - 1)])
        rest.append(order[min(5, len(order) - 1) :])
    gallery, known = np.concatenate(first), np.concatenate(rest)
    snapshot = Snapshot(np.arange(len(gallery)), data.labels[gallery], vectors[gallery], {})
    chosen = choose_comparison(snapshot)
    own = OwnStrangers.of(snapshot, len(gallery), chosen.strategy, relative=chosen.relative)
    compared, owners = snapshot.compared(chosen.strategy)
    order = np.argsort(owners, kind="stable")
    highest, similarity = (
        highest_of_each(vectors[rows], compared[order], owners[order]) for rows in (strangers, known)
    )
    right = np.unique(owners)[similarity.argmax(axis=1)] == data.labels[known]
    highest, similarity = (
        relative_scores(-np.sort(-one, axis=1)) if chosen.relative else one.max(axis=1) for one in (highest, similarity)
    )
    answers = {name: float(chosen.strategy == name) for name in ("nearest", "mean", "blended")}
    answers |= {"relative": float(chosen.relative), "named without a threshold": float(right.mean())}
    for rate in (0.1, 0.01):
        threshold = stranger_threshold(rate, own, scores, Thresholds()).cosine
        best = (right & (similarity > np.quantile(highest, 1 - rate))).mean()
        answers[f"promised {rate:g}: real"] = float((highest > threshold).mean())
        answers[f"promised {rate:g}: right"] = float((right & (similarity > threshold)).mean())
        answers[f"promised {rate:g}: right with hindsight"] = float(best)
    return answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the sets of sets.FILES")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--only", default="cross,unseen,strangers,general,trained,known")
    parser.add_argument("--out", type=Path, default=HERE / "result.json")
    args = parser.parse_args()
    sets = {name: load(name, args.data) for name in FILES}
    result: dict[str, Any] = json.loads(args.out.read_text()) if args.out.is_file() else {}
    runs: dict[str, Callable[[], dict[str, Any]]] = {
        "cross": lambda: cross_domain(sets),
        "unseen": lambda: unseen_classes(sets, args.draws),
        "strangers": lambda: strangers_named(sets, 2 * args.draws),
        "general": lambda: built_in(sets, 2 * args.draws),
        "trained": lambda: trained_classes(sets, args.draws),
        "known": lambda: known_and_unknown(sets, args.draws),
    }
    for name in args.only.split(","):
        result[name] = runs[name]()
        record = {**result, "date": str(date.today()), "draws": args.draws, **environment()}
        args.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
