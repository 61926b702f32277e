"""Every option of every name, given nonsense: an error of ours that names the option, never a traceback of Python's."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from steradian import losses
from steradian.errors import InputError, OptionWarning, SteradianError, UsageError

NONSENSE = (
    *("x", None, True, float("nan"), float("inf"), -1e9, 10**400, [1, 2], {"a": 1}),
    *(np.array(["a", "b"]), torch.tensor(-5.0), torch.rand(3)),
)
MAY_BE = {
    # What looks like nonsense and is not.
    *(("bias", True), ("normalize_weight", True), ("easy_margin", True), ("normalize", True), ("squared", True)),
}


@pytest.mark.parametrize("name", losses.names())
def test_nonsense_is_refused_by_name(name: str) -> None:
    row = losses.preset(name)
    x, y = torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    for option in row.used({}):
        for value in NONSENSE:
            if value is row.options()[option] or any(option == o and value is v for o, v in MAY_BE):
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", OptionWarning)
                try:
                    loss = losses.create(name, 3, 4, **{option: value})
                except SteradianError as error:
                    assert option in str(error), (option, value, error)
                    continue
                pytest.fail(f"{name} took {option}={value!r}: {loss(x, y)}")


@pytest.mark.parametrize("name", [None, 3, ["arcface"]])
def test_names_are_words(name: object) -> None:
    with pytest.raises(UsageError, match="name of a loss must be a string"):
        losses.create(name, 3, 4)


@pytest.mark.parametrize("size", [True, 2.0, "3", 0, -1])
def test_sizes_are_whole_numbers(size: object) -> None:
    for sizes in ((size, 4), (4, size)):
        with pytest.raises(InputError, match="must be a whole number of at least 1"):
            losses.create("arcface", *sizes)
        with pytest.raises(InputError, match="must be a whole number of at least 1"):
            losses.fitted_options("arcface", *sizes)


def test_numpy_sizes_are_welcome() -> None:
    assert losses.create("arcface", np.int64(5), np.int64(4)).weight.shape == (5, 4)


def test_inputs_that_are_no_tensors_are_named() -> None:
    loss = losses.create("arcface", 3, 4)
    with pytest.raises(InputError, match=r"labels must be a torch tensor, but got ndarray"):
        loss(torch.randn(2, 4), np.array([0, 1]))
    with pytest.raises(InputError, match=r"embeddings must be a torch tensor, but got list"):
        loss([[0.0] * 4], torch.tensor([0]))


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="margin must be a margin such as"):
        losses.MarginSoftmaxLoss(5, 4, margin=0.5)
    with pytest.raises(InputError, match=r"centers must be a float tensor \[5, 4\]"):
        losses.MarginSoftmaxLoss(5, 4, centers=torch.randn(9, 4))
    with pytest.raises(InputError, match="normalized weights"):
        losses.MarginSoftmaxLoss(5, 4, score=losses.StrictScore(), scale="norm", normalize_weight=False)
    with pytest.raises(InputError, match="sub-centers"):
        losses.MarginSoftmaxLoss(5, 4, scale="norm", normalize_weight=False, subcenters=2)
    with pytest.raises(InputError, match="probability must lie in"):
        losses.scale_bound(10, 1.0)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("combined", {"m3": 1.9}),
        ("elastic-cosface", {"margin": 1.9}),
        ("magface", {"u_m": 3.1}),
        ("adaface", {"margin": 1.5}),
        ("dynamic-arcface", {"m_max": 3.0}),
        ("sphere-arc", {"m_s": 4.0, "m_a": 3.0}),
    ],
)
def test_every_margin_that_cannot_be_met_warns(name: str, options: dict[str, float]) -> None:
    if name == "sphere-arc":
        # At the center itself its target angle is 0: nothing to warn about.
        losses.create(name, 10, 2, **options)
        return
    with pytest.warns(OptionWarning, match="more than 10 classes in 2 dimensions can satisfy"):
        losses.create(name, 10, 2, **options)


def test_small_scales_that_do_reach_a_half_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        losses.create("cocoloss", 3, 4, scale=0.8)
        losses.create("cocoloss", 2, 4, scale=0.01)


def test_bounds_are_those_of_the_literature() -> None:
    assert losses.cosine_margin_bound(10, 2) == pytest.approx(0.191, abs=1e-3)
    assert losses.cosine_margin_bound(10, 64) == pytest.approx(10 / 9)
    # The best packing known of ten points on the sphere keeps 66.15 degrees; Fejes Toth's bound allows 69.6.
    assert losses.angle_margin_bound(10, 3) == pytest.approx(1.215, abs=2e-3)
    assert losses.scale_bound(10) == pytest.approx(6.11, abs=0.01)
    assert losses.scale_bound(81_313) == pytest.approx(15.90, abs=0.01)
    assert losses.adacos_scale(10_572) == pytest.approx(13.10, abs=0.01)
