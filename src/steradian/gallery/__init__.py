"""Enrolled identities: storage, search, and the decision who it is, or nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steradian.lazy import lazy

if TYPE_CHECKING:
    from steradian.gallery.backend import Backend
    from steradian.gallery.calibrating import calibrate
    from steradian.gallery.decision import Decision, Match, decide
    from steradian.gallery.exchange import import_file, rebuild
    from steradian.gallery.gallery import Enrolled, Gallery
    from steradian.gallery.records import Identity

__all__ = [
    "Backend", "Decision", "Enrolled", "Gallery", "Identity", "Match", "calibrate", "decide", "import_file",
    "rebuild",
]  # fmt: skip

__getattr__, __dir__ = lazy(
    __name__,
    {
        "backend": "Backend",
        "calibrating": "calibrate",
        "decision": "Decision Match decide",
        "exchange": "import_file rebuild",
        "gallery": "Enrolled Gallery",
        "records": "Identity",
    },
)
