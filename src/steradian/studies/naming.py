"""Name images file by file: a damaged one costs its own answer, not the others'."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from steradian.data.decode import SUFFIXES, decode
from steradian.errors import DataError, UsageError
from steradian.models.recognizer import Recognizer

CHUNK = 64


def image_files(paths: Sequence[Path]) -> list[Path]:
    """Files as they are, folders as the images in them.

    Raises:
        UsageError: a path that does not exist.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path} does not exist: check the spelling.")
        found += sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
    return found


def name_images(
    model: Recognizer, files: Sequence[Path], top: int, coverage: float = 0.95
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Answers {image, ranking [{label, probability}], calibrated, coverage, candidates, known} in order (see
    `models.Classification`), and failures {image, reason}.
    """
    answers: list[dict[str, Any]] = []
    failures: list[dict[str, str]] = []
    for start in range(0, len(files), CHUNK):
        readable, pixels = [], []
        for file in files[start : start + CHUNK]:
            try:
                pixels.append(decode(file, model.spec.preprocessing.shortest))
                readable.append(file)
            except DataError as error:
                failures.append({"image": str(file), "reason": str(error)})
        for file, found in zip(readable, model.classify(pixels, top=top, coverage=coverage), strict=True):
            ranking = [{"label": label, "probability": probability} for label, probability in found.ranking]
            promise = {"coverage": found.coverage, "candidates": found.candidates, "known": found.known}
            answers.append({"image": str(file), "ranking": ranking, "calibrated": found.calibrated, **promise})
    return answers, failures
