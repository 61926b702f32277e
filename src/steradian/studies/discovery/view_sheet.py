"""Draw images beside their augmented views, to check them before training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from steradian import data
from steradian.data.model_input import square
from steradian.data.progressive import HarderView, ProgressiveViews
from steradian.data.views import RandomView
from steradian.errors import DataError
from steradian.files import atomic_file
from steradian.plots import ViewsDisplay
from steradian.plots.theme import small_multiples
from steradian.training.recipe import Recipe

SHOWN, VIEWS, SIZE = 6, 4, 96


def write_view_sheet(source: str, root: str | None, path: Path, recipe: Recipe | None = None) -> None:
    """Write a PNG with up to `SHOWN` images of different classes and their views by ``recipe`` (None: the default).

    Raises:
        DataError: no image can be decoded.
    """
    chosen = recipe if recipe is not None else Recipe()
    images = data.open(source, root)
    _, first = np.unique(images.labels, return_index=True)
    decoded = []
    for index in first[np.linspace(0, len(first) - 1, min(SHOWN, len(first))).astype(int)]:
        try:
            decoded.append(images.pixels(int(index)))
        except DataError:
            continue
    if not decoded:
        raise DataError(f"{images.source}: none of the sampled images can be decoded. Check that its files are images.")
    channels = 1 if all(pixels.ndim == 2 for pixels in decoded) else 3
    samples = torch.from_numpy(np.stack([square(pixels, SIZE, channels) for pixels in decoded])).float() / 255.0
    limits = chosen.views.model_dump(exclude={"until", "flip", "crop"}) if chosen.views is not None else {}
    parts = chosen.progressive.model_dump(exclude={"views", "consistency", "weight"})
    count = max(VIEWS, chosen.progressive.views)
    views = ProgressiveViews(RandomView(**limits), HarderView(**parts), count)
    view_batch = views(samples, torch.Generator().manual_seed(0)).view(count, *samples.shape)
    display = ViewsDisplay.from_views(samples.numpy(), view_batch.numpy())
    width, height = 1.3 * (count + 1), 1.3 * len(decoded) + 0.3
    picture = small_multiples({"": display.plot}, "Images and their views", columns=1, width=width, height=height)
    with atomic_file(path) as temporary:
        temporary.write_bytes(picture.light)
