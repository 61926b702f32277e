"""Exact search against sorting everything; the decision by its formula."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steradian.gallery.decision import Match, decide, ranked
from steradian.gallery.search import exact as search


@settings(max_examples=200, deadline=None)
@given(
    count=st.integers(0, 90),
    queries=st.integers(0, 5),
    k=st.integers(1, 12),
    tile=st.integers(1, 200),
    block=st.integers(1, 9),
    kept=st.sampled_from([1, 100, 10_000]),
    ties=st.booleans(),
    seed=st.integers(0, 1000),
    some=st.booleans(),
)
def test_search_is_sorting_everything(
    count: int, queries: int, k: int, tile: int, block: int, kept: int, ties: bool, seed: int, some: bool
) -> None:
    rng = np.random.default_rng(seed)
    vectors, asked = rng.normal(size=(count, 3)), rng.normal(size=(queries, 3))
    if ties:
        vectors, asked = np.sign(vectors), np.sign(asked)
    vectors, asked = vectors.astype(np.float32), asked.astype(np.float32)
    allowed = rng.random(count) < 0.5 if some else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "SCORES", tile)
        patch.setattr(search, "_block", lambda *_: block)
        patch.setattr(search, "KEPT", kept)
        patch.setattr(search, "ENOUGH", 2)
        patch.setattr(search, "TOGETHER", 3)
        scores, rows = search.top(vectors, asked, k, allowed)
    places = np.arange(count) if allowed is None else np.flatnonzero(allowed)
    whole = asked @ vectors[places].T
    order = np.argsort(-whole, axis=1, kind="stable")[:, :k]
    np.testing.assert_allclose(scores, np.take_along_axis(whole, order, axis=1), rtol=1e-6, atol=1e-6)
    if ties:
        np.testing.assert_array_equal(rows, places[order])
    assert scores.shape == rows.shape == (queries, min(k, len(places)))


def test_equal_scores_copy_no_gallery(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "KEPT", 1)
    vectors = np.ones((200_000, 64), np.float32)
    tracemalloc.start()
    try:
        scores, rows = search.top(vectors, np.zeros((4, 64), np.float32), 3)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (scores == 0).all() and (rows == [0, 1, 2]).all()
    assert most < vectors.nbytes / 2


def matches(*similarities: float) -> list[Match]:
    return [Match(f"p{number}", similarity) for number, similarity in enumerate(similarities)]


@pytest.mark.parametrize(
    ("similarities", "verdict"),
    [
        ((), "unknown"),
        ((0.49,), "unknown"),
        ((0.5,), "unknown"),
        ((0.51,), "match"),
        ((0.9, 0.7), "match"),
        ((0.9, 0.89), "ambiguous"),
        ((0.51, 0.5), "match"),
        ((0.515, 0.505), "ambiguous"),
    ],
)
def test_the_decision_is_its_formula(similarities: tuple[float, ...], verdict: str) -> None:
    found = decide(matches(*similarities), 0.5, margin=0.02)
    assert found.decision == verdict and found.threshold == 0.5
    assert found.label == ("p0" if verdict == "match" else None)
    assert math.isnan(found.similarity) if not similarities else found.similarity == similarities[0]


def test_votes_below_the_threshold_hide_nobody_above_it() -> None:
    found = decide(matches(0.5, 0.9), 0.6, margin=-math.inf)
    assert found.decision == "match" and found.label == "p1" and [one.label for one in found.matches] == ["p1", "p0"]
    unknown = decide(matches(0.3, 0.5), 0.6, margin=-math.inf)
    assert unknown.decision == "unknown" and unknown.similarity == 0.5


def test_nearest_and_vote_can_differ() -> None:
    scores, whose = np.array([0.9, 0.8, 0.79, 0.1], np.float32), np.array([1, 2, 2, 3])
    assert ranked(scores, whose) == [0, 1, 3]
    assert ranked(scores, whose, "vote") == [1, 0, 3]
