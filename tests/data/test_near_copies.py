"""Near copies are found, and stay out of the test part of what was trained on."""

from __future__ import annotations

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image

from steradian.data.near_copies import near_copies, without_copies_in_test
from steradian.data.pixels import PixelSet
from steradian.data.splits import Splits


def cuts(shifts: list[int]) -> np.ndarray:
    flower = Image.fromarray(load_sample_image("flower.jpg"))
    squares = [flower.crop((shift, 0, shift + 300, 300)).resize((64, 64)) for shift in shifts]
    return np.stack([np.asarray(one).transpose(2, 0, 1) for one in squares])


def decoded(pixels: np.ndarray) -> PixelSet:
    return PixelSet("cuts", pixels, np.zeros(len(pixels), dtype=np.int64), ("a", "b"), None, ("",) * len(pixels))


def test_a_burst_is_one_group_and_other_pictures_are_their_own() -> None:
    pixels = np.concatenate([cuts([0, 3, 6, 9, 150, 300]), np.full((2, 3, 64, 64), 9, np.uint8)])
    noisy = pixels[:1].astype(int) + np.random.default_rng(0).normal(0, 8, pixels[:1].shape)
    pixels = np.concatenate([pixels, noisy.clip(0, 255).astype(np.uint8)])
    groups = near_copies(decoded(pixels))
    assert len(set(groups[[0, 1, 2, 3, 8]])) == 1
    # Other cuts, and pictures without any contrast, are alone.
    assert len(set(groups)) == 1 + 2 + 2
    assert near_copies(decoded(pixels[:, :, :50, :37])).shape == (9,)


def test_copies_of_training_images_leave_the_test() -> None:
    none = np.zeros(0, dtype=np.intp)
    splits = Splits(np.array([0, 1]), none, none, np.array([2, 3, 4]))
    kept, moved = without_copies_in_test(splits, np.array([7, 8, 7, 9, 9]))
    assert (moved, kept.train.tolist(), kept.test.tolist()) == (1, [0, 1, 2], [3, 4])
