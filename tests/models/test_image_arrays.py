"""Arrays and tensors as pictures: one or several, of any common kind of samples, and never guessed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from steradian.data import Preprocessing
from steradian.errors import DataError, InputError
from steradian.models.image_batch import pictures_of, square_batch

SHAPE = Preprocessing(6, 3, (0.5,) * 3, (0.5,) * 3)
PICTURE = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
TENSOR = torch.from_numpy(PICTURE).permute(2, 0, 1)


def squares(images: Any) -> np.ndarray:
    return square_batch(images, SHAPE)


@pytest.mark.parametrize(
    "same",
    [
        Image.fromarray(PICTURE),
        PICTURE.astype(int),
        PICTURE.astype(np.uint16) * 257,
        *((PICTURE / 255.0).astype(kind) for kind in (np.float32, np.float64)),
        np.dstack([PICTURE, np.full((9, 7), 255, np.uint8)]),
        PICTURE[None],
        PICTURE.transpose(2, 0, 1)[None],
        [PICTURE[None]],
        TENSOR,
        TENSOR[None],
        TENSOR / 255.0,
        (TENSOR / 255.0).requires_grad_(),
        torch.from_numpy(PICTURE),
        [torch.from_numpy(PICTURE)],
        (one for one in (PICTURE,)),
    ],
    ids=lambda one: type(one).__name__,
)
def test_one_picture_in_many_forms(same: Any) -> None:
    np.testing.assert_array_equal(squares(same), squares(PICTURE))
    assert squares(PICTURE).shape == (1, 3, 6, 6)


def test_half_precision_is_near() -> None:
    for kind in (torch.float16, torch.bfloat16):
        assert np.abs(squares((TENSOR / 255.0).to(kind)).astype(int) - squares(PICTURE)).max() <= 1


def test_gray_pictures_and_masks() -> None:
    gray = PICTURE[:, :, 0]
    for same in (gray[:, :, None], gray[None], gray[None, :, :, None], torch.from_numpy(gray[None].copy())):
        np.testing.assert_array_equal(squares(same), squares(gray))
    assert set(np.unique(squares(np.ones((6, 6), dtype=bool)))) == {255}


def test_transparent_pictures_lie_on_white() -> None:
    clear = np.dstack([np.zeros((6, 6, 3), np.uint8), np.zeros((6, 6), np.uint8)])
    assert (squares(clear) == 255).all()


def test_batches_are_several_pictures() -> None:
    for batch in (np.stack([PICTURE] * 5), torch.stack([TENSOR] * 5), np.zeros((5, 9, 7), np.uint8)):
        assert len(pictures_of(batch)) == 5
    assert len(squares(np.zeros((0, 9, 7, 3), np.uint8))) == 0


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (PICTURE.transpose(2, 0, 1), r"\[3, 9, 7\] may be one picture or 3 gray ones. Give one picture as \[9, 7, 3\]"),
        (np.zeros((4, 9, 7), np.uint8), "may be one picture or 4 gray ones"),
        (np.zeros((0, 0, 3), np.uint8), "holds no pixels"),
        (np.zeros(9, np.uint8), "expected pictures"),
        (np.zeros((2, 5, 5, 9, 3), np.uint8), "expected pictures"),
        ([PICTURE[None].repeat(2, 0)], r"image 0 is an array of shape \[2, 9, 7, 3\], which is 2 images"),
        (PICTURE.astype(int) - 300, "from 0 to 255, but they are from -300"),
        ((TENSOR / 255.0 - 0.5) / 0.2, "from 0 to 1, but they are from -2.5"),
        (TENSOR.float(), "from 0 to 1, but they are from [0-9]+ to 2"),
        (np.full((9, 7), np.nan), "from 0 to 1, but they are from nan"),
        (PICTURE.astype(complex), "got complex128"),
        (None, "got a NoneType"),
        (b"bytes of a file", "got a bytes"),
        ([PICTURE, 5], "image 1 is a int"),
    ],
)
def test_what_is_no_picture_is_an_error(images: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        squares(images)


def test_a_picture_that_pillow_cannot_convert_is_named() -> None:
    with pytest.raises(DataError, match="image 0 cannot be read: its samples are floats up to 99"):
        squares(Image.fromarray(np.full((4, 4), 99.0, np.float32)))
