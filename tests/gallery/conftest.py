"""A model of drawings with a finder in front, and drawings for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from steradian import Recognizer

SIDE = 28


def digit(number: int) -> np.ndarray:
    """A digit in dark ink."""
    return np.asarray(Image.fromarray((255 - load_digits().images[number] * 15).astype(np.uint8)).resize((SIDE, SIDE)))


@pytest.fixture
def finding_model(tmp_path: Path) -> Recognizer:
    """The model of drawings behind a finder called "squares", in the run folder "run"."""
    drawings = Recognizer.load("glyphs")
    finding = replace(drawings.preprocessing, finder="squares")
    made = Recognizer(drawings.spec.model_copy(update={"preprocessing": finding})).eval()
    made.load_state_dict(drawings.state_dict())
    made.save(tmp_path / "run" / "model")
    return Recognizer.load(tmp_path / "run")
