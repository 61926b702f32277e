from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steradian.data import Preprocessing, RandomView, make_splits
from steradian.data.model_input import square
from steradian.data.operations import rand_augment, random_erasing
from steradian.data.pixels import PixelSet, with_quarter_turns
from steradian.data.preprocessing import statistics
from steradian.data.sampling import (
    balanced_batches,
    balanced_steps,
    epoch_batches,
    step_seed,
    steps_per_epoch,
    weighted_batches,
)
from steradian.data.splits import larger_than_asked, unseen_classes
from steradian.errors import DataError, InputError


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    validation=st.sampled_from([0.0, 0.1, 0.5]),
    test=st.sampled_from([0.0, 0.2, 0.6]),
    seed=st.integers(0, 99),
)
def test_parts_are_disjoint_whole_and_every_class_trains(
    counts: list[int], validation: float, test: float, seed: int
) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    found = make_splits(labels, validation=validation, test=test, seed=seed)
    together = np.concatenate([found.train, found.validation, found.test])
    assert sorted(together.tolist()) == list(range(len(labels)))
    assert set(labels[found.train]) == set(range(len(counts)))
    if test == 0.0:
        assert len(found.test) == 0
    else:
        shared = [label for label, count in enumerate(counts) if count > 1]
        assert set(shared) <= set(labels[found.test].tolist())
    again = make_splits(labels, validation=validation, test=test, seed=seed)
    assert (found.train == again.train).all() and (found.test == again.test).all()


def test_test_part_does_not_depend_on_the_validation_share() -> None:
    labels = np.repeat(np.arange(5), 20)
    assert (make_splits(labels, validation=0.0).test == make_splits(labels, validation=0.3).test).all()


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    share=st.sampled_from([0.1, 0.3, 0.9]),
    seed=st.integers(0, 99),
)
def test_the_calibration_part_is_an_even_draw_that_empties_no_class(counts: list[int], share: float, seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    found = make_splits(labels, validation=0.2, calibration=share, seed=seed)
    without = make_splits(labels, validation=0.2, seed=seed)
    assert (found.test == without.test).all() and (found.validation == without.validation).all()
    assert sorted([*found.train, *found.calibration]) == without.train.tolist()
    assert set(labels[found.train]) == set(range(len(counts)))
    held, left = (np.bincount(labels[part], minlength=len(counts)) for part in (found.calibration, without.train))
    assert (np.abs(held - share * left) <= 2).all()


def test_every_image_is_as_likely_to_calibrate() -> None:
    labels = np.repeat([0, 1, 2], [60, 30, 6])
    drawn = np.zeros(len(labels))
    for seed in range(400):
        drawn[make_splits(labels, validation=0.0, test=0.0, calibration=0.2, seed=seed).calibration] += 1
    by_class = [drawn[labels == label].mean() / 400 for label in range(3)]
    assert np.allclose(by_class, 0.2, atol=0.03)


def test_unseen_classes_are_a_share_or_names() -> None:
    classes = tuple("abcdefghij")
    drawn = unseen_classes(classes, 0.3, seed=1)
    assert drawn.sum() == 3 and (drawn == unseen_classes(classes, 0.3, seed=1)).all()
    assert (drawn != unseen_classes(classes, 0.3, seed=2)).any()
    assert np.flatnonzero(unseen_classes(classes, ["c", "a"])).tolist() == [0, 2]
    alphabets = ("Greek/a", "Greek/b", "Latin/[x]", "Latin/b")
    assert unseen_classes(alphabets, ["Greek/*"]).tolist() == [True, True, False, False]
    assert unseen_classes(alphabets, ["Latin/[x]"]).tolist() == [False, False, True, False]
    with pytest.raises(InputError, match="no class 'k'"):
        unseen_classes(classes, ["k"])
    with pytest.raises(InputError, match="training needs at least two"):
        unseen_classes(classes, 0.99)


def test_a_part_to_which_every_class_gave_an_image_is_told() -> None:
    labels = np.repeat(np.arange(50), 2)
    found = make_splits(labels, test=0.05, validation=0.0)
    (told,) = larger_than_asked(found, None, test=0.05, validation=0.0)
    assert "test part has 50 of 100 images (50%) where 0.05" in told and "data.test=0" in told
    large = np.repeat(np.arange(2), 50)
    assert larger_than_asked(make_splits(large, test=0.05, validation=0.0), None, test=0.05) == []
    given = np.array(["train", "test"] * 50)
    assert larger_than_asked(make_splits(labels, given, validation=0.0), given, test=0.05) == []


def test_given_parts_are_respected() -> None:
    labels = np.tile([0, 1], 10)
    given_parts = np.array(["train"] * 14 + ["test"] * 6)
    found = make_splits(labels, given_parts, validation=0.2)
    assert found.test.tolist() == list(range(14, 20)) and 0 < len(found.validation) < 14
    with pytest.raises(DataError, match="left to train on"):
        make_splits(labels, np.array(["test"] * 20))
    with pytest.raises(InputError, match="share"):
        make_splits(labels, test=1.0)


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 300), size=st.integers(2, 64), seed=st.integers(0, 9), epoch=st.integers(0, 9))
def test_an_epoch_is_every_image_once_in_even_batches(count: int, size: int, seed: int, epoch: int) -> None:
    batches = epoch_batches(count, size, seed, epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(count))
    sizes = [len(batch) for batch in batches]
    assert max(sizes) <= size + 1 and max(sizes) - min(sizes) <= 1 and len(batches) == steps_per_epoch(count, size)
    assert min(sizes) >= min(2, count)


def test_epochs_differ_and_repeat() -> None:
    first, second = epoch_batches(50, 10, 0, 0), epoch_batches(50, 10, 0, 1)
    assert not np.array_equal(first[0], second[0])
    assert np.array_equal(first[0], epoch_batches(50, 10, 0, 0)[0])
    assert len({step_seed(seed, step) for seed in range(10) for step in range(100)}) == 1000


def test_a_view_without_limits_changes_nothing() -> None:
    batch = torch.rand(3, 1, 8, 8)
    still = RandomView(rotation=0, scale=0, shear=0, shift=0, flip=0)
    torch.testing.assert_close(still(batch, torch.Generator()), batch, atol=1e-5, rtol=0)
    mirrored = RandomView(rotation=0, scale=0, shear=0, shift=0, flip=1)
    torch.testing.assert_close(mirrored(batch, torch.Generator()), batch.flip(3), atol=1e-5, rtol=0)


def test_every_image_draws_its_own_view_from_the_generator_alone() -> None:
    batch = torch.rand(1, 3, 16, 16).repeat(4, 1, 1, 1)
    view = RandomView()
    found = view(batch, torch.Generator().manual_seed(1))
    assert (found[0] - found[1]).abs().max() > 0.01
    torch.manual_seed(123)
    torch.testing.assert_close(view(batch, torch.Generator().manual_seed(1)), found, atol=0, rtol=0)


def test_rotation_turns_by_the_angle() -> None:
    """A quarter turn is exact on the grid: limits of +-90 degrees hold a draw that equals it."""
    batch = torch.zeros(1, 1, 5, 5)
    batch[0, 0, 0, 2] = 1.0
    view = RandomView(rotation=90, scale=0, shear=0, shift=0, flip=0)
    seeds = [seed for seed in range(300) if torch.rand(1, generator=torch.Generator().manual_seed(seed)).item() > 0.995]
    found = view(batch, torch.Generator().manual_seed(seeds[0]))[0, 0]
    assert found[2, 0] + found[2, 4] > 0.8


def test_square_cuts_the_middle_and_scales() -> None:
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 200
    found = square(pixels, 5, 3)
    assert found.shape == (3, 5, 5) and (found[:, :, 1:4] == 200).all()
    assert square(pixels, 10, 1).shape == (1, 10, 10)
    gray = np.arange(64, dtype=np.uint8).reshape(8, 8)
    np.testing.assert_array_equal(square(gray, 8, 1)[0], gray)


def test_statistics_equal_numpy() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 3, 5, 5), dtype=np.uint8)
    chosen = np.array([0, 2, 3, 5])
    mean, std = statistics(pixels, chosen)
    np.testing.assert_allclose(mean, (pixels[chosen] / 255).mean(axis=(0, 2, 3)))
    np.testing.assert_allclose(std, (pixels[chosen] / 255).std(axis=(0, 2, 3)))
    assert statistics(np.zeros((2, 1, 4, 4), np.uint8), np.arange(2))[1][0] > 0


def test_preprocessing_refuses_nonsense() -> None:
    for wrong in ({"channels": 2}, {"size": 0}, {"std": (0.0,)}, {"mean": (0.0, 0.0)}):
        with pytest.raises(InputError):
            Preprocessing(**{"size": 8, "channels": 1, "mean": (0.0,), "std": (1.0,), **wrong})


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=12),
    per_class=st.integers(1, 5),
    room=st.integers(0, 20),
    seed=st.integers(0, 99),
)
def test_balanced_batches_hold_p_classes_by_k_images(sizes: list[int], per_class: int, room: int, seed: int) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    size = 2 * per_class + room
    batches = balanced_batches(labels, size, per_class, seed, 1)
    expected = min(len(sizes), size // per_class)
    assert len(batches) == balanced_steps(labels, size, per_class)
    assert (len(batches) - 1) * expected * per_class < len(labels) <= len(batches) * expected * per_class
    for batch in batches:
        classes, counts = np.unique(labels[batch], return_counts=True)
        assert len(classes) == expected and (counts == per_class).all()
        for name in classes:
            own = batch[labels[batch] == name]
            assert len(np.unique(own)) == min(per_class, sizes[name])
    again = balanced_batches(labels, size, per_class, seed, 1)
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))


def test_classes_and_images_take_turns() -> None:
    labels = np.repeat(np.arange(6), [4, 4, 4, 4, 4, 400])
    seen = np.concatenate(balanced_batches(labels, 8, 4, 0, 0))
    counts = np.bincount(labels[seen], minlength=6)
    assert counts.max() - counts.min() <= 8
    assert set(np.flatnonzero(labels < 5)) <= set(seen.tolist())
    with pytest.raises(InputError, match="must hold two classes.*at least 8"):
        balanced_batches(labels, 7, 4, 0, 0)


def test_bends_and_thicker_strokes_are_drawn_for_each_image() -> None:
    page = torch.ones(6, 1, 28, 28)
    page[:, :, 8:20, 13:15] = 0.0
    still = {"rotation": 0.0, "scale": 0.0, "shear": 0.0, "shift": 0.0}
    bent = RandomView(**still, elastic=0.05)(page, torch.Generator().manual_seed(0))
    assert bent.shape == page.shape and torch.isfinite(bent).all()
    assert len({tuple(image.flatten().round(decimals=4).tolist()) for image in bent}) == 6
    assert (bent.mean(dim=(1, 2, 3)) - page.mean()).abs().max() < 0.05
    thick = RandomView(**still, thicker=0.5)(page, torch.Generator().manual_seed(0))
    ink = (thick < 0.5).sum(dim=(1, 2, 3)).tolist()
    assert set(ink) == {12 * 2, 14 * 4}
    same = RandomView(**still)(page, torch.Generator().manual_seed(0))
    assert torch.allclose(same, page, atol=1e-6)


def test_a_class_that_was_turned_is_a_class_of_its_own() -> None:
    pixels = np.arange(2 * 1 * 3 * 3, dtype=np.uint8).reshape(2, 1, 3, 3)
    found = with_quarter_turns(
        PixelSet("x", pixels, np.array([1, 0]), ("p", "q"), np.array(["train", "test"]), ("1", "2"))
    )
    assert found.classes[:3] == ("p", "q", "p ↶90°") and found.labels.tolist() == [1, 0, 3, 2, 5, 4, 7, 6]
    assert found.splits.tolist() == ["train", "test"] * 4 and len(set(found.names)) == 8
    np.testing.assert_array_equal(found.pixels[2, 0], np.rot90(pixels[0, 0]))
    np.testing.assert_array_equal(found.pixels[5, 0], np.rot90(pixels[1, 0], 2))


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_classes_have_their_share_of_an_epoch(power: float) -> None:
    labels = np.repeat([0, 1, 2], [600, 60, 6])
    batches = weighted_batches(labels, 32, power, seed=0, epoch=1)
    drawn = np.concatenate(batches)
    assert len(drawn) == 666 and len(batches) == steps_per_epoch(666, 32)
    wanted = np.array([600.0, 60.0, 6.0]) ** power
    assert np.abs(np.bincount(labels[drawn]) - 666 * wanted / wanted.sum()).max() <= 1
    # Images of a class take turns: none comes twice more often than another.
    for label in range(3):
        often = np.bincount(drawn, minlength=666)[labels == label]
        assert often.max() - often.min() <= 1
    again = np.concatenate(weighted_batches(labels, 32, power, seed=0, epoch=1))
    other = np.concatenate(weighted_batches(labels, 32, power, seed=0, epoch=2))
    assert (drawn == again).all() and (drawn != other).any()
    if power == 1.0:
        assert sorted(drawn.tolist()) == list(range(666))


@pytest.mark.parametrize("channels", [1, 3])
def test_operations_are_drawn_from_their_generator_alone(channels: int) -> None:
    batch = torch.rand(12, channels, 16, 16)
    state = torch.random.get_rng_state()
    first, again, other = (rand_augment(batch, 2, 9, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert first.shape == batch.shape and first.dtype == batch.dtype and first.min() >= 0 and first.max() <= 1
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), state)
    gone = random_erasing(batch, 1.0, torch.Generator().manual_seed(1))
    share = (gone != batch).float().mean(dim=(1, 2, 3))
    assert (share > 0.01).all() and (share < 0.34).all()
    assert torch.equal(random_erasing(batch, 0.0, torch.Generator().manual_seed(1)), batch)


def test_a_view_uses_its_operations() -> None:
    batch = torch.rand(8, 3, 16, 16)
    still = RandomView(rotation=0, scale=0, shear=0, shift=0)
    plain = still(batch, torch.Generator().manual_seed(3))
    for changes in ({"operations": 1}, {"erasing": 1.0}):
        view = RandomView(rotation=0, scale=0, shear=0, shift=0, **changes)
        assert (view(batch, torch.Generator().manual_seed(3)) - plain).abs().max() > 0.05
