"""A run resolves its recipe once: one spec, one reading of the weights, one model from the first step to the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from steradian.models import weight_packages
from steradian.models.recognizer import Recognizer
from steradian.studies import train
from steradian.training import Recipe, plan


def test_spec_weights_and_model_are_made_once(
    monkeypatch: pytest.MonkeyPatch, image_folder: Callable[..., Path], tmp_path: Path
) -> None:
    counts: Counter[str] = Counter()

    def count(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            counts[name] += 1
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, counted)

    count(Recognizer, "__init__")
    count(weight_packages, "read_weights")
    count(plan, "model_spec")
    changes = {
        "data.source": str(image_folder(3, 20)), "data.image_size": 32, "weights": "package",
        "training.epochs": 1, "training.batch_size": 16,
    }  # fmt: skip
    run = train(Recipe().changed(**changes), out=tmp_path / "run", quiet=True)
    assert run.evaluation is not None and (tmp_path / "run" / "report.html").is_file()
    assert counts == {"__init__": 1, "read_weights": 1, "model_spec": 1}
