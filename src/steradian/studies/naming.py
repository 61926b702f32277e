"""Name images file by file: a damaged one costs its own answer, not the others'."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from steradian.data.image_files import in_parts
from steradian.models.recognizer import Recognizer


def name_images(
    model: Recognizer, files: Sequence[Path], top: int, coverage: float = 0.95
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Answers (see `Classification.as_answer`) in order, and failures {image, reason}."""
    answers: list[dict[str, Any]] = []
    failures: list[dict[str, str]] = []
    for part in in_parts(files, model.preprocessing.shortest):
        failures += [{"image": str(file), "reason": reason} for file, reason in part.failures]
        found = model.classify(part.pixels, top=top, coverage=coverage)
        answers += [one.as_answer(str(file)) for file, one in zip(part.files, found, strict=True)]
    return answers, failures
