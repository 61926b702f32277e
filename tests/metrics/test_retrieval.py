"""Recall@k, R-precision, MAP@R, MRR against plain loops; landmarks against their definitions; clusters."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from steradian import metrics
from steradian.errors import InputError
from steradian.metrics import tiles


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "ROWS", 5)
    monkeypatch.setattr(tiles, "COLUMNS", 7)
    monkeypatch.setattr("steradian.metrics.retrieval.HELD", 30)


def by_hand(x: np.ndarray, y: np.ndarray, r: np.ndarray, z: np.ndarray, ks: tuple[int, ...], own: bool) -> dict:
    x, r = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, r))
    sums, queries = dict.fromkeys([f"recall_at_{k}" for k in ks] + ["r_precision", "map_at_r", "mrr"], 0.0), 0
    for row in range(len(x)):
        cosine = r @ x[row]
        if own:
            cosine[row] = -np.inf
        order = np.argsort(-cosine, kind="stable")[: len(r) - own]
        right = z[order] == y[row]
        count = int(right.sum())
        if count == 0:
            continue
        queries += 1
        for k in ks:
            sums[f"recall_at_{k}"] += right[:k].any()
        sums["r_precision"] += right[:count].mean()
        sums["map_at_r"] += sum(right[: i + 1].mean() for i in range(count) if right[i]) / count
        depth = max(*ks, count)
        first = int(np.argmax(right)) + 1
        sums["mrr"] += 1 / first if first <= depth else 0.0
    return {name: value / queries if queries else math.nan for name, value in sums.items()}


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize(("count", "classes"), [(31, 4), (24, 15), (12, 12), (20, 1)])
def test_retrieval_equals_a_plain_loop(own: bool, count: int, classes: int) -> None:
    generator = np.random.default_rng(count)
    x, y = generator.normal(size=(count, 3)), generator.integers(0, classes, count)
    r, z = (x, y) if own else (generator.normal(size=(17, 3)), generator.integers(0, classes + 1, 17))
    found = metrics.retrieval_sums(x, y, ks=(1, 3)) if own else metrics.retrieval_sums(x, y, r, z, ks=(1, 3))
    assert found.means() == pytest.approx(by_hand(x, y, r, z, (1, 3), own), nan_ok=True)
    shares = [
        metrics.retrieval_sums(x, y, *(() if own else (r, z)), ks=(1, 3), part=(number, 3)) for number in range(3)
    ]
    total = shares[0] + shares[1] + shares[2]
    assert total.means() == pytest.approx(found.means(), nan_ok=True)
    assert total.queries + total.alone == count


def test_the_short_names_are_the_long_ones() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(30, 4)), generator.integers(0, 4, 30)
    means = metrics.retrieval_sums(x, y, ks=(1, 5)).means()
    assert metrics.recall_at_k(x, y, 5) == means["recall_at_5"]
    assert metrics.map_at_r(x, y) == means["map_at_r"]
    assert metrics.r_precision(x, y) == means["r_precision"]


def test_what_has_nobody_to_find_is_left_out_and_wrong_k_is_said() -> None:
    alone = metrics.retrieval_sums(np.eye(3), [0, 1, 2])
    assert (alone.queries, alone.alone) == (0, 3)
    assert math.isnan(alone.means()["map_at_r"])
    single = metrics.retrieval_sums(np.eye(1), [0])
    assert (single.queries, single.alone) == (0, 1)
    assert math.isnan(metrics.recall_at_k(np.eye(3), [0, 1, 2]))
    for wrong in (0, 1.5, True, "1"):
        with pytest.raises(InputError, match="k must be a whole number"):
            metrics.recall_at_k(np.eye(3), [0, 0, 1], wrong)
    with pytest.raises(InputError, match="come together"):
        metrics.retrieval_sums(np.eye(3), [0, 0, 1], np.eye(3))
    for part in ((3, 2), (0, 0), (-1, 2)):
        with pytest.raises(InputError, match="part must be"):
            metrics.retrieval_sums(np.eye(3), [0, 0, 1], part=part)
    with pytest.raises(InputError, match="every k"):
        metrics.retrieval_sums(np.eye(3), [0, 0, 1], ks=(0,))
    with pytest.raises(InputError, match="different k"):
        _ = alone + metrics.retrieval_sums(np.eye(3), [0, 0, 1], ks=(2,))


def gap_by_hand(predictions: dict, truth: dict) -> float:
    rows = sorted(((-c, image, name) for image, (name, c) in predictions.items()))
    right = [name in truth[image] for _, image, name in rows]
    total = sum(sum(right[: i + 1]) / (i + 1) for i in range(len(rows)) if right[i])
    return total / sum(1 for names in truth.values() if names)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=15))
def test_gap_equals_its_definition(rows: list[tuple[int, int, int]]) -> None:
    truth = {f"q{i}": {true} if true else set() for i, (true, _, _) in enumerate(rows)} | {"sure": {1}}
    predictions = {f"q{i}": metrics.Named(said, sure / 4) for i, (_, said, sure) in enumerate(rows) if said}
    assert metrics.gap(predictions, truth) == pytest.approx(gap_by_hand(predictions, truth))
    kept = {image: named for image, named in predictions.items() if truth[image]}
    assert metrics.gap(predictions, truth, ignore_without_landmark=True) == pytest.approx(gap_by_hand(kept, truth))


def test_gap_in_numbers_of_a_small_case() -> None:
    truth = {"a": {1}, "b": {2, 3}, "c": set(), "d": {4}}
    predictions = {"a": metrics.Named(1, 0.9), "c": metrics.Named(5, 0.8), "b": metrics.Named(3, 0.7), "d": None}
    assert metrics.gap(predictions, truth) == pytest.approx((1 / 1 + 2 / 3) / 3)
    assert metrics.gap({}, truth) == 0.0
    assert metrics.gap({"a": (1, 0.9)}, {"a": np.array([1, 2])}) == 1.0


@pytest.mark.parametrize(
    ("predictions", "truth", "words"),
    [
        ({}, {"a": set()}, "no image has a landmark"),
        ({"x": metrics.Named(1, 0.5)}, {"a": {1}}, "image 'x', which is not among"),
        ({"a": metrics.Named(1, math.nan)}, {"a": {1}}, "image 'a' is nan"),
        ({"a": (1, None)}, {"a": {1}}, "image 'a' is None"),
        ({"a": (1, 0.5)}, {"a": "1234"}, "must be a set, list or array"),
        ({"a": (1, 0.5)}, {"a": 7}, "must be a set, list or array"),
        ({"a": (1, 0.5), 3: (1, 0.5)}, {"a": {1}, 3: {1}}, "of one type"),
    ],
)
def test_what_gap_cannot_count_is_said(predictions: dict, truth: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        metrics.gap(predictions, truth)


def test_mean_average_precision_skips_repeats_and_counts_missing_queries() -> None:
    truth = {"q": {"a", "b", "c"}, "missing": {"d"}, "nothing": set()}
    rankings = {"q": ["a", "a", "x", "b"]}
    assert metrics.mean_average_precision(rankings, truth) == pytest.approx((1 / 1 + 2 / 4) / 3 / 2)
    assert metrics.mean_average_precision(rankings, truth, depth=2) == pytest.approx(1 / 2 / 2)
    with pytest.raises(InputError, match="query 'z'"):
        metrics.mean_average_precision({"z": []}, truth)
    with pytest.raises(InputError, match="no query has a relevant image"):
        metrics.mean_average_precision({}, {"q": set()})
    with pytest.raises(InputError, match="depth"):
        metrics.mean_average_precision({}, truth, depth=0)


def test_mutual_information_equals_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    clusters, labels = generator.integers(0, 4, 50), generator.integers(0, 3, 50)
    for ours, theirs in (
        (metrics.normalized_mutual_information, reference.normalized_mutual_info_score),
        (metrics.adjusted_mutual_information, reference.adjusted_mutual_info_score),
    ):
        assert ours(clusters, labels) == pytest.approx(theirs(labels, clusters))
        with pytest.raises(InputError, match="equal lengths"):
            ours(clusters, labels[:3])


def test_the_mean_true_rank_is_from_zero() -> None:
    assert metrics.mean_true_rank(np.array([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]]), [0, 0]) == 1.0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 40), st.integers(1, 6), st.booleans())
def test_each_product_used_twice_finds_the_same_neighbors(seed: int, count: int, k: int, tied: bool) -> None:
    generator = np.random.default_rng(seed)
    raw = generator.integers(-1, 2, (count, 3)).astype(np.float32) if tied else generator.normal(size=(count, 3))
    vectors = tiles.unit_vectors(raw.astype(np.float32), np.zeros(count, dtype=int), "x")
    k = min(k, count - 1)
    expected = tiles.nearest(vectors, vectors, k, torch.arange(count))
    found = tiles.nearest_alike(vectors, k)
    assert torch.allclose(found.cosine, expected.cosine, atol=1e-6)
    if not tied:
        assert torch.equal(found.place, expected.place)
    assert (found.place != torch.arange(count)[:, None]).all()
    own = (vectors[found.place] * vectors[:, None]).sum(dim=2)
    assert torch.allclose(own, found.cosine, atol=1e-6)
