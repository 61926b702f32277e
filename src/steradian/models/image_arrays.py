"""Read arrays and tensors as pictures. Does not import torch, which an exported model does not need."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from steradian.data.model_input import BRIGHTEST_FLOAT, Pixels, pixels_of
from steradian.errors import InputError

CHANNELS = (1, 3, 4)
"""Gray, RGB, and RGB with transparency."""

DEEP_WHITE = 65535


def is_tensor(image: Any) -> bool:
    """Return whether ``image`` is a tensor of torch."""
    return type(image).__module__.partition(".")[0] == "torch"


def is_array(image: Any) -> bool:
    """Return whether ``image`` is an array or a tensor."""
    return isinstance(image, np.ndarray) or is_tensor(image)


def pictures_in(array: Any) -> list[Any]:
    """Return the pictures of an array or tensor, one by one: itself, or those of a batch.

    A picture is [H, W], [H, W, C] or a tensor [C, H, W], with C = 1, 3 or 4; a batch has one axis more in front.

    Raises:
        InputError: another shape, an empty one, or an array [3, H, W], which may be one picture or three.
    """
    shape = tuple(array.shape)
    if 0 in shape[1:]:
        raise InputError(f"an array of shape {list(shape)} holds no pixels.")
    if len(shape) == 2 or (len(shape) == 3 and _channel_axis(array) is not None):
        return [array]
    if len(shape) == 3 and shape[0] in CHANNELS[1:]:
        raise InputError(
            f"an array of shape {list(shape)} may be one picture or {shape[0]} gray ones. Give one picture as "
            f"[{shape[1]}, {shape[2]}, {shape[0]}] (array.transpose(1, 2, 0)), and several as a list."
        )
    if len(shape) == 3 or (len(shape) == 4 and (len(array) == 0 or _channel_axis(array[0]) is not None)):
        return list(array)
    if len(shape) == 4 and shape[1] in CHANNELS:
        return [one.transpose(1, 2, 0) for one in array]
    raise InputError(
        f"expected pictures [H, W], [H, W, 3] or [3, H, W], or a batch of them, but got an array of {list(shape)}."
    )


def _channel_axis(picture: Any) -> int | None:
    """Return the axis of the channels of a picture with three axes, or None."""
    order = (0, 2) if is_tensor(picture) else (2,)
    axes = [axis for axis in order if picture.shape[axis] in CHANNELS]
    # An array [1, H, W] is one gray picture, whichever way it is read.
    return axes[0] if axes else (0 if picture.shape[0] == 1 else None)


def pixels_of_array(picture: Any) -> Pixels:
    """Return one of `pictures_in` as uint8 [H, W] or [H, W, 3], blended with white where it is transparent.

    Integers of 8 bits and floats from 0 to 1 are taken as they are, and unsigned integers of 16 bits by their range.

    Raises:
        InputError: other samples.
    """
    if is_tensor(picture):
        picture = picture.detach().cpu()
        picture = (picture.float() if picture.is_floating_point() else picture).numpy()
        if picture.ndim == 3 and picture.shape[0] in CHANNELS:
            picture = picture.transpose(1, 2, 0)
    elif picture.ndim == 3 and picture.shape[2] not in CHANNELS:
        picture = picture.transpose(1, 2, 0)
    pixels = np.ascontiguousarray(_eight_bits(picture))
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        return pixels[:, :, 0]
    return pixels_of(Image.fromarray(pixels)) if pixels.ndim == 3 and pixels.shape[2] == 4 else pixels


def _eight_bits(samples: NDArray[Any]) -> Pixels:
    if samples.dtype == np.uint8:
        return samples
    if samples.dtype == np.bool_:
        return samples.astype(np.uint8) * np.uint8(255)
    if samples.dtype == np.uint16:
        return ((255 * samples.astype(np.uint32) + DEEP_WHITE // 2) // DEEP_WHITE).astype(np.uint8)
    if not (np.issubdtype(samples.dtype, np.integer) or np.issubdtype(samples.dtype, np.floating)):
        raise InputError(f"expected uint8 pixels or floats from 0 to 1, but got {samples.dtype}.")
    low, high = float(samples.min()), float(samples.max())
    if np.issubdtype(samples.dtype, np.integer):
        if low < 0 or high > 255:
            raise InputError(f"integers of pictures must be from 0 to 255, but they are from {low:g} to {high:g}.")
        return samples.astype(np.uint8)
    # A resized picture may be a little below 0 or above 1; one with mean and deviation taken out is far below.
    if not (low > 1.0 - BRIGHTEST_FLOAT and high <= BRIGHTEST_FLOAT):
        raise InputError(
            f"floats of pictures must be from 0 to 1, but they are from {low:g} to {high:g}. Give pixels as they are: "
            "the model itself subtracts means and divides."
        )
    return (255.0 * samples.astype(np.float32)).round().clip(0, 255).astype(np.uint8)
