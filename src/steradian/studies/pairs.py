"""Verify the pairs of a list such as LFW's with a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from steradian import metrics
from steradian.data.pairs import image_numbers, place_pairs, read_pairs
from steradian.data.pixels import Progress as DataProgress
from steradian.data.pixels import no_progress
from steradian.models.recognizer import Recognizer
from steradian.plots.report import Report, Section, facts
from steradian.studies.answers import Measurement
from steradian.studies.evaluation import origin_of, pixels_for
from steradian.studies.verified import pair_numbers, pairs_picture
from steradian.studies.words import meanings, numbers_table


def measure_listed_pairs(
    path: Path,
    source: str,
    pairs: Path,
    command: str,
    *,
    root: str | None = None,
    flip: bool = False,
    skip_missing: bool = False,
    progress: DataProgress = no_progress,
) -> Measurement:
    """Verification numbers of the pairs in the file ``pairs``, of images in ``source``, by the model in ``path``.

    Args:
        flip: embed each image and its mirror image, and take the sum (see `metrics.flip_fusion`).
        skip_missing: leave out pairs whose images are not there.

    Raises:
        DataError: a list that cannot be read, images that are missing.
        InputError: all pairs are of one kind.
    """
    wanted = read_pairs(pairs)
    model = Recognizer.load(path)
    pixels, part = pixels_for(model, source, root, progress)
    identities = [pixels.classes[label] for label in pixels.labels.tolist()]
    placed = place_pairs(wanted, image_numbers(pixels.names, identities), pairs, skip_missing=skip_missing)
    used, place = np.unique(np.concatenate([placed.first, placed.second]), return_inverse=True)
    images = torch.from_numpy(pixels.pixels[used])
    raw = model.embed(images, normalize=False).numpy()
    if flip:
        raw = metrics.flip_fusion(raw, model.embed(images.flip(3), normalize=False).numpy())
    vectors = metrics.unit(raw)
    first, second = place[: len(placed.first)], place[len(placed.first) :]
    scores = np.einsum("ij,ij->i", vectors[first], vectors[second])
    folds = placed.folds if len(np.unique(placed.folds)) > 1 else None
    verification, notes = pair_numbers(scores, placed.same, folds)
    numbers: dict[str, Any] = {"images": len(used), "verification": verification}
    origin = origin_of(model, pixels, part, pixels.digest(), command)
    record = {**origin, "pairs": pairs.name, "mirror images": "added" if flip else "not used"}
    told = (*placed.missing, *notes)
    sections = [
        Section("Numbers", list(told), [numbers_table(numbers)]),
        Section("Pictures", [], [pairs_picture(scores, placed.same)]),
        Section("What this means", meanings(numbers), []),
        Section("How it was made", [], [facts(record)]),
    ]
    subtitle = f"{verification['genuine_pairs']:,} genuine and {verification['impostor_pairs']:,} impostor pairs"
    numbers |= {"notes": list(told), "provenance": record}
    return Measurement(numbers, Report(f"Pairs of {pairs.name}", subtitle, sections), told)
