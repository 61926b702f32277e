"""Verify the pairs of a list such as LFW's with a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from steradian import metrics
from steradian.data.loading.damage import listing
from steradian.data.pairs import image_numbers, place_pairs, read_pairs
from steradian.data.pixels import PixelSet
from steradian.errors import DataError
from steradian.files import check_folder
from steradian.models.recognizer import Recognizer
from steradian.plots.report import Report, Section, facts
from steradian.studies.evaluation.glossary import meanings, numbers_table
from steradian.studies.evaluation.run import origin_of, pixels_for
from steradian.studies.evaluation.tables import Measurement
from steradian.studies.evaluation.verification import pair_numbers, pairs_picture
from steradian.training.progress import progress_unless

AT_ONCE = 64
"""Images that are embedded at a time."""

OTHERWISE = "center"
"""What is cut out of a picture in which the model's finder finds nothing, so that no pair is left out."""


def measure_listed_pairs(
    model: Recognizer | str | Path,
    source: str,
    pairs: str | Path,
    *,
    out: str | Path,
    root: str | None = None,
    flip: bool = False,
    skip_missing: bool = False,
    exist_ok: bool = False,
    quiet: bool = False,
) -> Measurement:
    """Verify the pairs of a list such as LFW's with a trained model, and write a report.

    Of a model with a finder, the region of a picture that stands out most counts, and where nothing is found, the
    middle of the picture; the report says how often.

    Args:
        model: a recognizer, or where `Recognizer.load` finds one.
        source: the images that the list names.
        pairs: the list, in the format of LFW's ``pairs.txt``.
        out: folder of the results.
        root: folder with the files of a built-in data set.
        flip: embed each image and its mirror image, and take the sum (see `metrics.flip_fusion`).
        skip_missing: leave out pairs whose images are not there, and say how many.
        exist_ok: write into a folder that holds other things.
        quiet: show no progress.

    Raises:
        UsageError: ``out`` holds other files.
        DataError: the list cannot be read, or images are missing.
        InputError: all pairs are genuine, or all are impostor.
    """
    path, folder = Path(pairs), Path(out)
    check_folder(folder, exist_ok=exist_ok)
    listed = read_pairs(path)
    recognizer = model if isinstance(model, Recognizer) else Recognizer.load(model)
    otherwise = OTHERWISE if recognizer.preprocessing.finds else None
    pixels, part, left_out = pixels_for(recognizer, source, root, progress_unless(quiet), otherwise)
    identities = [pixels.classes[label] for label in pixels.labels.tolist()]
    located = place_pairs(listed, image_numbers(pixels.names, identities), path, skip_missing=skip_missing)
    used, position = np.unique(np.concatenate([located.first, located.second]), return_inverse=True)
    recognizer.accelerate_for(len(used))
    raw = []
    for _, block in pixels.blocks(used, AT_ONCE, progress_unless(quiet), "measuring"):
        images = torch.from_numpy(block)
        plain = recognizer.embed(images, normalize=False)
        raw.append(metrics.flip_fusion(plain, recognizer.embed(images.flip(3), normalize=False)) if flip else plain)
    if sum(map(len, raw)) < len(used):
        raise DataError(f"{pixels.source}: images of the pairs cannot be decoded:\n{listing(pixels.skipped)}")
    vectors = metrics.unit(np.concatenate(raw))
    first, second = position[: len(located.first)], position[len(located.first) :]
    scores = np.einsum("ij,ij->i", vectors[first], vectors[second])
    folds = located.folds if len(np.unique(located.folds)) > 1 else None
    verification, pair_notes = pair_numbers(scores, located.same, folds)
    notes = [*left_out, *_by_their_middle(pixels, used, recognizer.preprocessing.finder), *pair_notes]
    numbers: dict[str, Any] = {"images": len(used), "verification": verification}
    origin = origin_of(recognizer, pixels, part, pixels.digest())
    record = {**origin, "pairs": path.name, "mirror images": "added" if flip else "not used"}
    remarks = (*located.missing, *notes)
    sections = [
        Section("Numbers", list(remarks), [numbers_table(numbers)]),
        Section("Pictures", [], [pairs_picture(scores, located.same)]),
        Section("What this means", meanings(numbers), []),
        Section("How it was made", [], [facts(record)]),
    ]
    subtitle = f"{verification['genuine_pairs']:,} genuine and {verification['impostor_pairs']:,} impostor pairs"
    numbers |= {"notes": list(remarks), "provenance": record}
    return Measurement(numbers, Report(f"Pairs of {path.name}", subtitle, sections), remarks, folder).write()


def _by_their_middle(pixels: PixelSet, used: NDArray[np.intp], finder: str) -> list[str]:
    """Return a sentence about the ``used`` images in which nothing was found, or nothing."""
    unfound = set(pixels.unfound)
    names = [Path(pixels.names[index]).name for index in used.tolist() if pixels.names[index] in unfound]
    if not names:
        return []
    listed = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return [
        f"In {len(names):,} of {len(used):,} pictures nothing was found by {finder!r}: their middle is compared "
        f"({listed})."
    ]
