"""Each metric against scikit-learn or a brute-force reference."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import silhouette_score, top_k_accuracy_score

from steradian import metrics
from steradian.errors import InputError

RNG = np.random.default_rng(0)


def test_top_k_equals_scikit_learn_without_ties() -> None:
    scores, labels = RNG.normal(size=(50, 7)), RNG.integers(0, 7, 50)
    for k in (1, 2, 5):
        expected = top_k_accuracy_score(labels, scores, k=k, labels=np.arange(7))
        assert metrics.top_k_accuracy(scores, labels, k) == pytest.approx(expected)


def test_ties_count_against_the_true_class() -> None:
    assert metrics.true_ranks(np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]), np.array([0, 2])).tolist() == [1, 2]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 12), references=st.integers(1, 12), k=st.integers(1, 15))
def test_knn_equals_brute_force(seed: int, count: int, references: int, k: int) -> None:
    generator = np.random.default_rng(seed)
    queries, known = generator.normal(size=(count, 3)), generator.normal(size=(references, 3))
    labels = generator.integers(0, 4, references)
    expected = []
    for query in queries:
        cosine = known @ query / np.linalg.norm(known, axis=1) / np.linalg.norm(query)
        votes: dict[int, float] = {}
        for index in np.argsort(-cosine)[:k]:
            votes[labels[index]] = votes.get(labels[index], 0.0) + cosine[index] + 1
        expected.append(max(sorted(votes), key=lambda label: round(votes[label], 12)))
    assert metrics.knn_predict(queries, known, labels, k).tolist() == expected


def test_knn_works_across_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, known, labels = RNG.normal(size=(30, 4)), RNG.normal(size=(20, 4)), RNG.integers(0, 3, 20)
    whole = metrics.knn_predict(queries, known, labels)
    for name in ("ROWS", "COLUMNS"):
        monkeypatch.setattr(f"steradian.metrics.tiles.{name}", 7)
    assert (metrics.knn_predict(queries, known, labels) == whole).all()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12))
def test_cluster_accuracy_equals_brute_force(pairs: list[tuple[int, int]]) -> None:
    clusters, labels = (np.array(column) for column in zip(*pairs, strict=True))
    majority = sum(np.bincount(labels[clusters == c]).max() for c in np.unique(clusters)) / len(labels)
    best = max(
        np.mean([naming[c] == y for c, y in zip(clusters, labels, strict=True)])
        for naming in itertools.permutations(range(4))
    )
    assert metrics.cluster_accuracy(clusters, labels, "majority") == pytest.approx(majority)
    assert metrics.cluster_accuracy(clusters, labels, "one-to-one") == pytest.approx(best)
    assert best <= majority + 1e-12


def test_silhouette_equals_scikit_learn_with_cosine_distance() -> None:
    points, labels = RNG.normal(size=(60, 3)), np.r_[np.zeros(30, int), np.ones(29, int), 2]
    expected = silhouette_score(points, labels, metric="cosine")
    assert metrics.spherical_silhouette(points, labels) == pytest.approx(expected)


def test_spherical_clusters_find_directions_whatever_the_norms() -> None:
    angles = np.repeat(np.deg2rad([0, 120, 240]), 20) + RNG.normal(size=60) * 0.02
    points = np.stack([np.cos(angles), np.sin(angles)], 1) * RNG.uniform(0.1, 9, (60, 1))
    found = metrics.spherical_clusters(points, 3)
    assert metrics.cluster_accuracy(found, np.repeat([0, 1, 2], 20), "one-to-one") == 1.0


def test_class_angles_by_hand() -> None:
    points = np.array([[1.0, 0.0], [0.0, 2.0], [0.0, 1.0]])
    found = metrics.class_angles(points, np.array([0, 1, 1]))
    np.testing.assert_allclose(found.own, [0, 0, 0], atol=1e-7)
    np.testing.assert_allclose(found.nearest_other, [math.pi / 2] * 3, atol=1e-7)
    np.testing.assert_allclose(found.between, [math.pi / 2])
    np.testing.assert_allclose(found.nearest_class, [math.pi / 2] * 2)


def test_angles_of_many_classes_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    points, labels = RNG.normal(size=(120, 6)), np.repeat(np.arange(40), 3)
    whole = metrics.class_angles(points, labels)
    monkeypatch.setattr("steradian.metrics.geometry.BLOCK", 300)
    monkeypatch.setattr("steradian.metrics.geometry.MOST_CLASSES", 10)
    found = metrics.class_angles(points, labels)
    np.testing.assert_allclose(found.own, whole.own)
    np.testing.assert_allclose(found.nearest_other, whole.nearest_other)
    assert len(whole.between) == 40 * 39 / 2 and whole.nearest_class.min() == pytest.approx(whole.between.min())
    np.testing.assert_allclose(found.nearest_class, whole.nearest_class)
    assert len(found.between) == 45 and {*found.between.round(9)} <= {*whole.between.round(9)}


def test_volume_ratios_by_hand() -> None:
    square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    points, labels = np.r_[square, square + [9.0, 0.0]], np.repeat([0, 1], 4)
    found = metrics.volume_ratios(points, labels)
    assert found.hull == pytest.approx(2 / 10)
    ellipse = math.pi * 5.991 * (1 / 3)  # variance of 0, 1, 1, 0 with ddof 1 is 1/3 along both axes
    assert found.ellipsoid == pytest.approx(2 * ellipse / 10, rel=1e-3)


def test_volume_ratio_of_a_ball_in_3d() -> None:
    points = RNG.normal(size=(4000, 3))
    hull_free = metrics.volume_ratios(points, np.zeros(4000, int))
    from scipy.spatial import ConvexHull

    ball = 4 / 3 * math.pi * 7.815**1.5
    assert hull_free.hull == pytest.approx(1.0)
    assert hull_free.ellipsoid == pytest.approx(ball / ConvexHull(points).volume, rel=0.06)


def test_points_on_a_line_have_no_volume() -> None:
    line = np.c_[np.arange(6.0), np.zeros(6)]
    found = metrics.volume_ratios(line, np.array([0, 0, 0, 1, 1, 1]))
    assert math.isnan(found.hull) and math.isnan(found.ellipsoid)


@settings(max_examples=40, deadline=None)
@given(
    genuine=st.lists(st.integers(0, 6), min_size=1, max_size=12),
    impostor=st.lists(st.integers(0, 6), min_size=1, max_size=12),
    far=st.sampled_from([0.05, 0.1, 0.25, 0.5]),
)
def test_tar_at_far_equals_the_definition(genuine: list[int], impostor: list[int], far: float) -> None:
    """The largest TAR over all thresholds whose FAR is at most the target (PROTOCOLS: accept score > threshold)."""
    scores = metrics.PairScores(np.array(genuine, float), np.array(impostor, float))
    found = metrics.tar_at_far(scores, far)
    if math.floor(far * len(impostor) + 1e-9) < 1:
        assert math.isnan(found.tar)
        return
    thresholds = [-math.inf, *impostor]
    fitting = [t for t in thresholds if np.mean(scores.impostor > t) <= far + 1e-12]
    assert found.tar == pytest.approx(max(np.mean(scores.genuine > t) for t in fitting))
    assert np.mean(scores.impostor > found.threshold) <= far


def test_too_few_impostors_is_nan_not_a_guess() -> None:
    scores = metrics.PairScores(np.ones(5), np.zeros(500))
    assert math.isnan(metrics.tar_at_far(scores, 1e-3).tar)
    assert metrics.tar_at_far(scores, 1e-2).tar == 1.0


def test_exact_share_of_impostors_is_allowed() -> None:
    """1e-3 of 1,000 is one impostor, although 1e-3 is not a binary number."""
    scores = metrics.PairScores(np.array([0.5]), np.r_[0.9, np.full(999, 0.1)])
    assert metrics.tar_at_far(scores, 1e-3).tar == 1.0


def test_equal_error_rate() -> None:
    apart = metrics.PairScores(np.array([0.8, 0.9]), np.array([0.1, 0.2]))
    assert metrics.equal_error_rate(apart).far == 0.0
    mixed = metrics.PairScores(np.array([0.2, 0.6, 0.8, 0.9]), np.array([0.1, 0.3, 0.5, 0.7]))
    assert metrics.equal_error_rate(mixed).far == pytest.approx(0.25)


def test_pair_scores_are_all_pairs() -> None:
    points, labels = RNG.normal(size=(9, 3)), np.array([0, 0, 0, 1, 1, 2, 2, 2, 3])
    found = metrics.pair_scores(points, labels)
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    first, second = np.triu_indices(9, 1)
    cosine, same = (unit @ unit.T)[first, second], labels[first] == labels[second]
    np.testing.assert_allclose(np.sort(found.genuine), np.sort(cosine[same]), rtol=1e-5)
    np.testing.assert_allclose(np.sort(found.impostor), np.sort(cosine[~same]), rtol=1e-5)
    sampled = metrics.pair_scores(points, labels, max_items=5)
    assert len(sampled.genuine) + len(sampled.impostor) == 10


def test_intervals_equal_scipy() -> None:
    values = [0.97, 0.975, 0.981]
    found = metrics.t_interval(values)
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert math.isnan(metrics.t_interval([0.9]).low) and not metrics.t_interval([0.9]).excludes_zero
    many = RNG.normal(0.2, 1, 400)
    low, high = stats.norm.interval(0.95, many.mean(), stats.sem(many))
    assert (metrics.normal_interval(many).low, metrics.normal_interval(many).high) == pytest.approx((low, high))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: metrics.accuracy(np.array([[1.0, np.nan]]), np.array([0])), "NaN or infinity in row 0"),
        (lambda: metrics.accuracy(np.ones((2, 3)), np.array([0, 3])), "label 3 in row 1 is outside 0..2"),
        (lambda: metrics.accuracy(np.ones((2, 3)), np.array([0])), "2 rows of scores came with 1 labels"),
        (lambda: metrics.accuracy(np.ones((0, 3)), np.zeros(0, int)), "empty"),
        (lambda: metrics.accuracy(np.ones((1, 3)), np.array([0.0])), "whole numbers"),
        (lambda: metrics.cluster_accuracy([0], [0], "best"), "'majority' or 'one-to-one'"),
        (lambda: metrics.spherical_silhouette(np.ones((2, 2)), [0, 0]), "at least two classes"),
        (lambda: metrics.class_angles(np.ones((2, 2)), [0, 0]), "at least two classes"),
        (lambda: metrics.volume_ratios(np.ones((2, 5)), [0, 1]), "2 or 3 dimensions"),
        (lambda: metrics.tar_at_far(metrics.PairScores(np.zeros(0), np.ones(3)), 0.5), "no genuine pairs"),
        (lambda: metrics.tar_at_far(metrics.PairScores(np.ones(1), np.ones(3)), 1.5), "strictly between 0 and 1"),
        (lambda: metrics.spherical_clusters(np.ones((2, 2)), 3), "3 clusters"),
        (lambda: metrics.t_interval([]), "needs values"),
    ],
)
def test_wrong_input_is_named(call, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call()
