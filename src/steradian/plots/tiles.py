"""Pictures of images for a page, each with text of its own: a narrow screen shows fewer in a row."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SMALL = 64
"""Images up to this size are kept pixel for pixel, and enlarged without smoothing."""


@dataclass(frozen=True)
class Tile:
    """One or more images side by side, a line below them in bold and a quiet one.

    Attributes:
        images: uint8 [channels, height, width] each.
        described: what each image shows, for screen readers.
    """

    images: Sequence[NDArray[np.uint8]]
    described: Sequence[str]
    title: str
    text: str = ""

    @property
    def sources(self) -> list[tuple[str, str]]:
        """Return the address of each image, which holds the image itself, and its description."""
        return [(data_uri(image), text) for image, text in zip(self.images, self.described, strict=True)]

    @property
    def pixelated(self) -> bool:
        """Whether the pixels of the images should be seen."""
        return bool(max(self.images[0].shape[1:]) <= SMALL)


@dataclass(frozen=True)
class Tiles:
    """A grid of tiles of at least ``width`` rem, with a caption below."""

    items: Sequence[Tile]
    caption: str
    width: int = 7
    kind: ClassVar[str] = "tiles"


MOST_EXAMPLES = 12
"""Number of classes that `examples` shows."""


def examples(images: Sequence[NDArray[np.uint8]], names: Sequence[str], classes: int) -> Tiles:
    """Return one image of each of the first kinds; ``classes`` is the number of all kinds."""
    tiles = [Tile([image], [f"An image of {name}"], name) for image, name in zip(images, names, strict=True)]
    more = f" {classes - len(tiles):,} more kinds are not shown." if classes > len(tiles) else ""
    return Tiles(tiles, f"A test image of each kind, as the model sees it.{more}", width=6)


def data_uri(pixels: NDArray[np.uint8]) -> str:
    """Return a ``data:`` address of an image [1 or 3, height, width]: PNG if it is small, else JPEG."""
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    buffer = io.BytesIO()
    kind = "PNG" if max(image.size) <= SMALL else "JPEG"
    image.save(buffer, format=kind, **({"quality": 85} if kind == "JPEG" else {}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
