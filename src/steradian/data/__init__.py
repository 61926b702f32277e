"""Load images: sources, decoding, splits, random views, batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

# Imported eagerly: function and module share a name, so a lazy `data.decode` could return the module.
from steradian.data.decode import decode
from steradian.lazy import lazy

if TYPE_CHECKING:
    from steradian.data.batch_sampler import BalancedBatchSampler
    from steradian.data.catalog import DESCRIPTIONS, copy_sample
    from steradian.data.images import ImageSet
    from steradian.data.inspection import Inspection, inspect
    from steradian.data.loading.damage import Skipped
    from steradian.data.pixels import PixelSet, load_pixels
    from steradian.data.preprocessing import Preprocessing
    from steradian.data.sources import open  # noqa: A004 - reads as data.open
    from steradian.data.splits import Splits, make_splits
    from steradian.data.views import RandomView

__all__ = [
    "DESCRIPTIONS",
    "BalancedBatchSampler",
    "ImageSet",
    "Inspection",
    "PixelSet",
    "Preprocessing",
    "RandomView",
    "Skipped",
    "Splits",
    "copy_sample",
    "decode",
    "inspect",
    "load_pixels",
    "make_splits",
    "open",
]  # fmt: skip

__getattr__, __dir__ = lazy(
    __name__,
    {
        "batch_sampler": "BalancedBatchSampler",
        "catalog": "DESCRIPTIONS copy_sample",
        "decode": "decode",
        "images": "ImageSet",
        "inspection": "Inspection inspect",
        "loading.damage": "Skipped",
        "pixels": "PixelSet load_pixels",
        "preprocessing": "Preprocessing",
        "sources": "open",
        "splits": "Splits make_splits",
        "views": "RandomView",
    },
)
