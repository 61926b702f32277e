"""Look at an image several times: as it is, closer, and in a mirror. The embeddings are averaged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor
from torch.nn import functional


def looks(samples: Tensor, mirrored: bool, zooms: Sequence[float]) -> Iterator[Tensor]:
    """Yield every view of ``samples`` [N, channels, size, size], floats in [0, 1].

    Args:
        mirrored: whether each view is also yielded in a mirror.
        zooms: shares of the side; the middle of an image is enlarged to its whole size. Empty: the image as it is.
    """
    # OpenVINO traces the sizes of a tensor as tensors.
    size = int(samples.shape[-1])
    for zoom in zooms or (1.0,):
        edge = round((1.0 - zoom) / 2.0 * size)
        view = samples
        if edge:
            middle = samples[:, :, edge : size - edge, edge : size - edge]
            view = functional.interpolate(middle, size=(size, size), mode="bilinear", align_corners=False)
        yield view
        if mirrored:
            yield view.flip(3)
