"""Count how often the promises of a model were kept for the images of an evaluation."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steradian import metrics
from steradian.errors import InputError
from steradian.gallery.search.snapshot import Snapshot
from steradian.gallery.strangers import UNREACHABLE, OwnStrangers, stranger_threshold
from steradian.metrics.checks import unit
from steradian.models.calibration import Calibration
from steradian.models.recognizer import Recognizer
from steradian.percentages import between, percent
from steradian.plots.report import Block, Cell, Section, Table
from steradian.studies.evaluation.closed_set import interval
from steradian.studies.evaluation.inputs import EmbeddingSet, EvaluationInputs

MOST = 800
"""Most images whose pairs are counted."""

ENROLLED, MOST_ENROLLED, DRAWS = 5, 1000, 5
"""Images of an identity that are enrolled to ask strangers, most identities, and how often galleries are drawn."""

RATES = (0.1, 0.01)
"""Shares of strangers that are counted."""

FEWEST_IDENTITIES = 4
"""With fewer there are not two enrolled ones beside two strangers."""

FAR_OFF = 0.95
"""The promise of "known" by which unlikeness is described."""


def promise_numbers(model: Recognizer, inputs: EvaluationInputs) -> dict[str, dict[str, Any]]:
    """Return what was promised beside what was kept, by kind of promise and rate; only what can be counted.

    Kinds: "pairs" (share of pairs of two classes above the threshold), "strangers" (share of images of classes that
    are not enrolled which are given a name), "sets" (share of images whose class is among the candidates) and "known"
    (share of images of known classes that count as known). Each has ``kept``, its 95 % ``interval`` (over classes for
    pairs; for strangers, the lowest and highest of `DRAWS` galleries) and ``count``, the number of pairs or images.
    Pairs and strangers are of classes that the model does not know, where there are any.
    """
    images = inputs.unknown if inputs.unknown is not None else inputs.images
    found = {"pairs": _pairs(model, images, inputs.seed), "strangers": _strangers(model, images, inputs.seed)}
    if model.calibration is not None and inputs.known is not None:
        found["sets"] = _sets(inputs.known)
        found["known"] = _known(model.calibration, inputs.known, inputs.unknown)
    return {kind: numbers for kind, numbers in found.items() if numbers}


def _pairs(model: Recognizer, images: EmbeddingSet, seed: int) -> dict[str, Any]:
    chosen = np.sort(np.random.default_rng(seed).permutation(len(images))[:MOST])
    vectors, labels = unit(images.raw[chosen]), images.labels[chosen]
    cosines = vectors @ vectors.T
    impostor = np.triu(labels[:, None] != labels[None, :], 1)
    numbers: dict[str, Any] = {}
    for threshold in model.thresholds:
        if impostor.sum() * threshold.far < 1.0:
            continue
        accepted = cosines > threshold.cosine

        def share(rows: NDArray[np.intp], accepted: NDArray[np.bool_] = accepted) -> float:
            pairs = impostor[np.ix_(rows, rows)]
            return float(accepted[np.ix_(rows, rows)][pairs].mean()) if pairs.any() else float("nan")

        low = high = float("nan")
        with contextlib.suppress(InputError):
            # With three classes or fewer no half of them has a pair.
            counted = metrics.identity_interval(share, labels, rounds=100, seed=seed)
            low, high = max(0.0, counted.low), min(1.0, counted.high)
        kept = share(np.arange(len(labels)))
        numbers[f"{threshold.far:g}"] = {"kept": kept, "interval": [low, high], "count": int(impostor.sum())}
    return numbers


def _strangers(model: Recognizer, images: EmbeddingSet, seed: int) -> dict[str, Any]:
    """Enroll half of the classes, ask the other half for the nearest image, and count who is given a name."""
    classes = np.unique(images.labels)
    if len(classes) < FEWEST_IDENTITIES:
        return {}
    vectors, labels = unit(images.raw).astype(np.float32), images.labels
    shares: dict[float, list[float]] = {rate: [] for rate in RATES}
    asked = enrolled = 0
    for draw in range(DRAWS):
        order = np.random.default_rng([seed, draw]).permutation(len(labels))
        chosen = np.random.default_rng([seed, draw, 1]).permutation(classes)[: len(classes) // 2]
        gallery = chosen[:MOST_ENROLLED]
        rows = np.concatenate([order[labels[order] == label][:ENROLLED] for label in gallery])
        snapshot = Snapshot(np.arange(len(rows)), labels[rows], vectors[rows], {})
        own = OwnStrangers.of(snapshot, len(rows))
        probes = order[~np.isin(labels[order], chosen)][: 4 * MOST]
        highest = (vectors[probes] @ vectors[rows].T).max(axis=1)
        asked, enrolled = asked + len(probes), len(gallery)
        for rate in RATES:
            try:
                chosen_threshold = stranger_threshold(rate, own, model.strangers, model.thresholds)
            except InputError:
                continue
            if chosen_threshold.cosine < UNREACHABLE:
                shares[rate].append(float((highest > chosen_threshold.cosine).mean()))
    return {
        f"{rate:g}": {
            "kept": float(np.mean(values)),
            "interval": [float(min(values)), float(max(values))],
            "count": asked,
            "enrolled": enrolled,
        }
        for rate, values in shares.items()
        if values
    }


def _sets(known: EmbeddingSet) -> dict[str, Any]:
    numbers = {}
    for share, sizes in known.outputs.set_sizes.items():
        covered = known.outputs.ranks < sizes
        numbers[share] = {
            "kept": float(covered.mean()),
            "interval": interval(int(covered.sum()), len(covered)),
            "count": len(covered),
            "size": float(sizes.mean()),
        }
    return numbers


def _known(calibration: Calibration, known: EmbeddingSet, unknown: EmbeddingSet | None) -> dict[str, Any]:
    numbers: dict[str, Any] = {}
    for share, cosine in calibration.known_cosines.items():
        kept = known.outputs.cosine >= cosine
        numbers[share] = {
            "kept": float(kept.mean()), "interval": interval(int(kept.sum()), len(kept)), "count": len(kept)
        }  # fmt: skip
        if unknown is not None:
            numbers[share]["unknown_refused"] = float((unknown.outputs.cosine < cosine).mean())
    return numbers


SENTENCES = {
    "pairs": "pairs of two classes that are told to be the same",
    "strangers": "strangers that are given a name",
    "sets": "images whose class is in the set",
    "known": "images of known classes that count as known",
}


def promise_rows(promises: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, str, str]]:
    """Return (what, promised, kept with its interval, counted) for each promise."""
    rows = []
    for kind, rates in promises.items():
        for rate, one in rates.items():
            bound = "at most" if kind in ("pairs", "strangers") else "at least"
            low, high = one["interval"]
            counted = f"{one['count']:,} {'pairs' if kind == 'pairs' else 'images'}"
            if "enrolled" in one:
                counted += f", {one['enrolled']} enrolled, range of {DRAWS} draws"
            spread = f"{low:.3g} to {high:.3g}" if low == low else "too few classes for an interval"
            rows.append((SENTENCES[kind], f"{bound} {rate}", f"{one['kept']:.3g} ({spread})", counted))
    return rows


def unlikeness(promises: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Return a sentence on how unlike the images are to those of the calibration; None where nothing is known."""
    one = promises.get("known", {}).get(f"{FAR_OFF:g}")
    if one is None:
        return None
    beyond, expected = 1.0 - one["kept"], 1.0 - FAR_OFF
    low, high = 1.0 - one["interval"][1], 1.0 - one["interval"][0]
    if low <= expected <= high:
        likeness = "These images are about as close to the classes as those of the calibration"
    elif low > expected:
        likeness = "These images are unlike those of the calibration, so its promises may not hold"
    else:
        likeness = "These images are closer to the classes than those of the calibration"
    return (
        f"{likeness}: {percent(beyond)} ({between(low, high)}) of them are farther from every class than "
        f"{percent(FAR_OFF)} of those were; {percent(expected)} was to be expected."
    )


def promises_in_words(numbers: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return a heading and `promise_rows` of the numbers of an evaluation, and what a recalibration keeps."""
    rows = promise_rows(numbers.get("promises", {}))
    if not rows:
        return []
    again = numbers.get("recalibrated", {}).get("kept")
    table = [HEADING, *rows]
    if again is None:
        return table
    keys = [(kind, rate) for kind, rates in numbers["promises"].items() for rate in rates]
    after = [f"{again[kind][rate]['kept']:.3g}" if rate in again.get(kind, {}) else "—" for kind, rate in keys]
    return [
        (*row[:2], f"{row[2]}; {kept}", row[3])
        for row, kept in zip(table, ["after recalibration", *after], strict=True)
    ]


HEADING = ("share of", "promised", "kept (95 %)", "counted")


def promise_section(numbers: Mapping[str, Any]) -> list[Section]:
    """Return the section of the report; none without promises."""
    table = promises_in_words(numbers)
    if not table:
        return []
    heading, *rows = table
    block: Block = Table(heading, [[Cell(text) for text in row] for row in rows], align="left")
    sentence = unlikeness(numbers["promises"])
    return [Section("Promises", [sentence] if sentence is not None else [], [block])]
