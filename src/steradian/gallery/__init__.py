"""Store enrolled identities durably, search them exactly, and decide who a probe is, if anyone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steradian.lazy import lazy

if TYPE_CHECKING:
    from steradian.gallery.calibrating import calibrate
    from steradian.gallery.decision import Decision, Match, decide
    from steradian.gallery.gallery import Enrolled, Gallery
    from steradian.gallery.store import Identity

__all__ = ["Decision", "Enrolled", "Gallery", "Identity", "Match", "calibrate", "decide"]

__getattr__ = lazy(
    __name__,
    {
        "Decision": "decision",
        "Enrolled": "gallery",
        "Gallery": "gallery",
        "Identity": "store",
        "Match": "decision",
        "calibrate": "calibrating",
        "decide": "decision",
    },
)
