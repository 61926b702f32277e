"""Find the parts of a picture that are worth recognizing, and cut them out upright and at one scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steradian.lazy import lazy

if TYPE_CHECKING:
    from steradian.finding.alignment import similarity, warp
    from steradian.finding.finders import Finder, cut, find, finder_names
    from steradian.finding.regions import Quality, Region

__all__ = ["Finder", "Quality", "Region", "cut", "find", "finder_names", "similarity", "warp"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "alignment": "similarity warp",
        "finders": "Finder cut find finder_names",
        "regions": "Quality Region",
    },
)
