"""Probabilities and information: the lecture's worked numbers (system C), and SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from steradian import metrics
from steradian.errors import InputError


def test_the_lectures_softmax() -> None:
    found = metrics.softmax([0.3, 1.6, 3.1, 5.6])
    np.testing.assert_allclose(found, [0.0045157, 0.0165694, 0.0742587, 0.9046563], atol=5e-8)
    assert found.sum() == pytest.approx(1.0)


def test_the_lectures_cross_entropy() -> None:
    assert round(float(metrics.cross_entropy([0.0, 1.0, 0.0], [0.23, 0.63, 0.14])), 3) == 0.462


def test_the_entropy_of_a_bernoulli_variable() -> None:
    assert metrics.bernoulli_entropy(0.5, base=2) == pytest.approx(1.0)
    assert metrics.bernoulli_entropy(0.5) == pytest.approx(math.log(2.0))
    np.testing.assert_array_equal(metrics.bernoulli_entropy([0.0, 1.0]), [0.0, 0.0])
    shares = np.linspace(0.01, 0.99, 9)
    expected = [stats.bernoulli(share).entropy() for share in shares]
    np.testing.assert_allclose(metrics.bernoulli_entropy(shares), expected)


def test_information_in_nats_and_bits() -> None:
    assert metrics.self_information(0.25, base=2) == pytest.approx(2.0)
    assert metrics.self_information(1 / math.e) == pytest.approx(1.0)
    assert metrics.self_information(0.0) == math.inf
    assert str(metrics.self_information(1.0)) == "0.0"


def test_the_lectures_three_classes() -> None:
    """c_pq in the lecture is predicted p, true q; its FP of class 1 is c12 + c13 and its FN c21 + c31."""
    lecture = np.array([[5, 2, 1], [3, 7, 0], [4, 6, 8]])
    said, true = (index.repeat(lecture.ravel()) for index in np.indices((3, 3)).reshape(2, -1))
    found = metrics.Confusion.of(said, true, 3)
    np.testing.assert_array_equal(found.transposed(), lecture)
    counts = found.per_class()
    assert counts.tp.tolist() == [5, 7, 8]
    assert counts.fp.tolist() == [2 + 1, 3 + 0, 4 + 6]
    assert counts.fn.tolist() == [3 + 4, 2 + 6, 1 + 0]
    assert counts.tn.tolist() == [7 + 0 + 6 + 8, 5 + 1 + 4 + 8, 5 + 2 + 3 + 7]


def test_entropy_and_divergence_equal_scipy() -> None:
    generator = np.random.default_rng(0)
    p, q = generator.dirichlet(np.ones(6), 4), generator.dirichlet(np.ones(6), 4)
    np.testing.assert_allclose(metrics.entropy(p), stats.entropy(p, axis=1))
    np.testing.assert_allclose(metrics.divergence(p, q, base=2), stats.entropy(p, q, axis=1, base=2))
    assert metrics.cross_entropy([0.5, 0.5], [1.0, 0.0]) == math.inf
    np.testing.assert_allclose(metrics.log_softmax([1e4, 0.0]), [0.0, -1e4])


@pytest.mark.parametrize("wrong", [[0.5, 0.6], [-0.1, 1.1], [math.nan, 1.0], 1.0])
def test_what_is_no_distribution_is_said(wrong: object) -> None:
    with pytest.raises(InputError):
        metrics.entropy(wrong)


@pytest.mark.parametrize("wrong", [[], 3.0, [math.inf, 0.0]])
def test_what_are_no_logits_is_said(wrong: object) -> None:
    with pytest.raises(InputError, match="logits must be finite"):
        metrics.softmax(wrong)
