from __future__ import annotations

import math

import pytest
import torch

from steradian.losses import fitted_options, names, preset, spread_directions, typical_spacing
from steradian.losses.fitted import fits
from steradian.losses.scales import scale_for


def closest(points: torch.Tensor) -> float:
    cosine = (points.double() @ points.double().T).fill_diagonal_(-1)
    return math.degrees(math.acos(min(1.0, cosine.max().item())))


def test_circle_is_a_regular_polygon() -> None:
    assert closest(spread_directions(10, 2)) == pytest.approx(36.0, abs=1e-3)


def test_simplex_is_reached_where_it_exists() -> None:
    points = spread_directions(5, 8).double()
    off = (points @ points.T)[~torch.eye(5, dtype=torch.bool)]
    torch.testing.assert_close(off, torch.full_like(off, -0.25), rtol=0, atol=1e-6)


def test_sphere_is_near_the_best_packing() -> None:
    """The best ten points on the sphere are 66.15 degrees apart (Tammes)."""
    assert closest(spread_directions(10, 3)) > 64.0


@pytest.mark.parametrize(("classes", "size"), [(1, 1), (1, 3), (2, 1), (2, 2), (3, 2), (7, 3), (40, 5), (3000, 4)])
def test_unit_vectors_of_any_shape(classes: int, size: int) -> None:
    points = spread_directions(classes, size, seed=1)
    assert points.shape == (classes, size) and points.dtype == torch.float32
    torch.testing.assert_close(points.norm(dim=1), torch.ones(classes))


def test_spacing_is_that_of_the_known_packings() -> None:
    assert math.degrees(typical_spacing(10, 2)) == pytest.approx(36)
    assert math.degrees(typical_spacing(10, 3)) == pytest.approx(66.15, rel=0.05)
    assert typical_spacing(10, 64) == pytest.approx(math.acos(-1 / 9))
    # Between the circle and the simplex, what spreading reaches; a right angle is the limit of many dimensions.
    assert math.degrees(typical_spacing(20, 4)) == pytest.approx(64, abs=3)
    assert math.degrees(typical_spacing(1000, 64)) == pytest.approx(80, abs=2)
    assert typical_spacing(100_000, 64) == pytest.approx(math.pi / 2)


@pytest.mark.parametrize("classes", [2, 3, 10, 1000])
@pytest.mark.parametrize("size", [2, 3, 64])
def test_fitted_options_are_options_and_build(classes: int, size: int) -> None:
    for name in fits(1.0, 16.0):
        options = fitted_options(name, classes, size)
        assert options.keys() <= preset(name).options().keys()
        preset(name).build(classes, size, options)


def test_every_loss_is_fitted() -> None:
    assert set(fits(1.0, 16.0)) == set(names())


def test_a_scale_reaches_its_probability() -> None:
    spacing = math.radians(60)
    s = scale_for(10, 0.99, spacing)
    assert 1 / (1 + 9 * math.exp(-s * (1 - math.cos(spacing)))) == pytest.approx(0.99)
