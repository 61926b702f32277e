"""Images in: sources, decoding, splits, views, batches."""

from steradian.data.catalog import DESCRIPTIONS
from steradian.data.decode import decode
from steradian.data.images import ImageSet
from steradian.data.inspection import Inspection, inspect
from steradian.data.pixels import PixelSet, Skipped, load_pixels
from steradian.data.preprocessing import Preprocessing
from steradian.data.sources import open  # noqa: A004 - reads as data.open
from steradian.data.splits import Splits, make_splits
from steradian.data.views import RandomView

__all__ = [
    "DESCRIPTIONS",
    "ImageSet",
    "Inspection",
    "PixelSet",
    "Preprocessing",
    "RandomView",
    "Skipped",
    "Splits",
    "decode",
    "inspect",
    "load_pixels",
    "make_splits",
    "open",
]
