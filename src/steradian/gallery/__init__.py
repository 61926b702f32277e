"""Enrolled identities: a durable record, exact search, and the decision who it is, or nobody."""

from steradian.gallery.calibrating import calibrate
from steradian.gallery.decision import Decision, Match, decide
from steradian.gallery.gallery import Enrolled, Gallery
from steradian.gallery.store import Identity

__all__ = ["Decision", "Enrolled", "Gallery", "Identity", "Match", "calibrate", "decide"]
