"""steradian: train and use image recognizers whose embeddings lie on the hypersphere.

import steradian as st

run = st.train("photos/")                      # run.model, run.metrics, run.report
run.model.classify("cat.jpg")
st.compare("photos/", losses=["softmax", "arcface"])
loss = st.losses.ArcFaceLoss(10, 64)           # for a training loop of your own
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from steradian.errors import SteradianError
from steradian.version import __version__

if TYPE_CHECKING:
    from steradian import data, gallery, losses, metrics, models, plots, studies, training
    from steradian.gallery.gallery import Gallery
    from steradian.models.recognizer import Recognizer
    from steradian.studies.comparison.compare import compare
    from steradian.studies.evaluation.report import evaluate
    from steradian.studies.single_run import train

_SUBPACKAGES = ("data", "gallery", "losses", "metrics", "models", "plots", "studies", "training")

_FILE_OF = {
    "Gallery": "gallery.gallery",
    "Recognizer": "models.recognizer",
    "compare": "studies.comparison.compare",
    "evaluate": "studies.evaluation.report",
    "train": "studies.single_run",
}

__all__ = [
    "Gallery", "Recognizer", "SteradianError", "__version__", "compare", "data", "evaluate", "gallery", "losses",
    "metrics", "models", "plots", "studies", "train", "training",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import on first access, so that ``import steradian`` is fast and torch loads only when needed."""
    if name in _SUBPACKAGES:
        return importlib.import_module(f"steradian.{name}")
    if name in _FILE_OF:
        return getattr(importlib.import_module(f"steradian.{_FILE_OF[name]}"), name)
    raise AttributeError(f"module 'steradian' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
