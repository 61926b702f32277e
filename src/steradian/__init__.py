"""steradian: train and use image recognizers whose embeddings lie on the hypersphere.

import steradian as st

loss = st.losses.create("arcface", num_classes=10, embedding_size=3)
images = st.data.open("digits")
model = st.Recognizer.load("runs/digits/model")
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

_SUBPACKAGES = ("data", "gallery", "losses", "metrics", "models", "plots", "studies", "training")

__all__ = [
    "Gallery", "Recognizer", "SteradianError", "__version__", "data", "gallery", "losses", "metrics", "models",
    "plots", "studies", "training",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import a subpackage on first access, so that ``import steradian`` is fast and torch loads only when needed."""
    if name in _SUBPACKAGES:
        return importlib.import_module(f"steradian.{name}")
    if name == "Recognizer":
        from steradian.models.recognizer import Recognizer

        return Recognizer
    if name == "Gallery":
        from steradian.gallery.gallery import Gallery

        return Gallery
    raise AttributeError(f"module 'steradian' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
