"""steradian: image recognizers on the hypersphere, trained once and put to work.

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

_ROOMS = ("data", "gallery", "losses", "metrics", "models", "plots", "studies", "training")

__all__ = [
    "Gallery",
    "Recognizer",
    "SteradianError",
    "__version__",
    "data",
    "gallery",
    "losses",
    "metrics",
    "models",
    "plots",
    "studies",
    "training",
]


def __getattr__(name: str) -> Any:
    """Load a room when it is first asked for: ``import steradian`` stays quick, torch comes when needed."""
    if name in _ROOMS:
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
