"""Classify image files; a damaged file is reported and does not stop the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from steradian.data.image_files import in_parts
from steradian.models.recognizer import Recognizer


def name_images(
    model: Recognizer, files: Sequence[Path], top: int, coverage: float = 0.95
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Return answers (see `Classification.as_answer`) in order, and failures {image, reason}."""
    answers: list[dict[str, Any]] = []
    failures: list[dict[str, str]] = []
    for part in in_parts(files, model.preprocessing.shortest):
        failures += [{"image": str(file), "reason": reason} for file, reason in part.failures]
        results = model.classify(part.pixels, top=top, coverage=coverage)
        answers += [result.as_answer(str(file)) for file, result in zip(part.files, results, strict=True)]
    return answers, failures
