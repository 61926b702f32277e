"""Enrolled identities: a durable record, exact search, and the decision who it is, or nobody."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steradian.gallery.calibrating import calibrate
    from steradian.gallery.decision import Decision, Match, decide
    from steradian.gallery.gallery import Enrolled, Gallery
    from steradian.gallery.store import Identity

__all__ = ["Decision", "Enrolled", "Gallery", "Identity", "Match", "calibrate", "decide"]

_PLACES = {
    "Decision": "decision",
    "Enrolled": "gallery",
    "Gallery": "gallery",
    "Identity": "store",
    "Match": "decision",
    "calibrate": "calibrating",
    "decide": "decision",
}


def __getattr__(name: str) -> Any:
    """Load a file when it is first asked for: the record alone needs no torch."""
    if name in _PLACES:
        return getattr(importlib.import_module(f"steradian.gallery.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'steradian.gallery' has no attribute {name!r}")
