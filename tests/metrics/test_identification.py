"""Ranks in a gallery, probes of strangers, crowds: against plain loops, with ties and many entries a person."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steradian import metrics
from steradian.errors import InputError
from steradian.metrics import distractors, identification, tiles


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (tiles, distractors):
        monkeypatch.setattr(module, "ROWS", 3)
        monkeypatch.setattr(module, "COLUMNS", 4)


def by_hand(probe: np.ndarray, own: int, gallery: np.ndarray, labels: np.ndarray) -> tuple[float, float, int, int]:
    cosine = gallery @ probe / np.linalg.norm(gallery, axis=1) / np.linalg.norm(probe)
    best = {label: cosine[labels == label].max() for label in np.unique(labels)}
    mate = best.pop(own, -math.inf)
    others = np.array([*best.values(), -math.inf])
    near = np.abs(others - mate) <= identification.TIE if mate > -math.inf else np.zeros(len(others), bool)
    return mate, others.max(), int(((others > mate) & ~near).sum()), int(near.sum())


# Few directions: identities tie, and entries repeat.
DIRECTIONS = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [-1.0, 0.5]])
ITEMS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=14)


@settings(max_examples=120, deadline=None)
@given(ITEMS, ITEMS)
def test_candidates_equal_a_plain_loop(probes: list[tuple[int, int]], gallery: list[tuple[int, int]]) -> None:
    x, y = DIRECTIONS[[kind for kind, _ in probes]], np.array([label for _, label in probes])
    entries, names = DIRECTIONS[[kind for kind, _ in gallery]], np.array([label for _, label in gallery])
    found = metrics.candidates(x, y, entries, names)
    for row in range(len(x)):
        mate, stranger, higher, equal = by_hand(x[row], y[row], entries, names)
        assert found.mate[row] == pytest.approx(mate, abs=1e-6)
        assert found.stranger[row] == pytest.approx(stranger, abs=1e-6)
        if mate > -math.inf:
            assert (found.higher[row], found.equal[row]) == (higher, equal)
    ranks = [found.ranks(ties) for ties in ("for", "mean", "against")]
    for lower, upper in itertools.pairwise(ranks):
        assert (lower <= upper).all()
    cut = len(x) // 2
    if cut:
        parts = [metrics.candidates(x[part], y[part], entries, names) for part in (slice(cut), slice(cut, None))]
        np.testing.assert_array_equal((parts[0] + parts[1]).ranks(), found.ranks())


def scene() -> metrics.Candidates:
    generator = np.random.default_rng(0)
    centers = generator.normal(size=(12, 6))
    gallery_labels, probe_labels = np.repeat(np.arange(8), 2), np.repeat(np.arange(12), 5)
    gallery = centers[gallery_labels] + 0.6 * generator.normal(size=(16, 6))
    return metrics.candidates(
        centers[probe_labels] + 0.9 * generator.normal(size=(60, 6)), probe_labels, gallery, gallery_labels
    )


def test_cmc_counts_enrolled_probes_only() -> None:
    found = scene()
    ranks = found.ranks()
    assert np.isinf(ranks[40:]).all()
    assert metrics.cmc(found, (1, 2, 8)) == {k: np.mean(ranks[:40] <= k) for k in (1, 2, 8)}
    assert metrics.cmc(found, (8,))[8] == 1.0
    with pytest.raises(InputError, match="no probe's identity"):
        metrics.cmc(metrics.candidates(np.eye(2), [0, 1], np.eye(2), [2, 3]))
    with pytest.raises(InputError, match="ties must be"):
        found.ranks("never")


@pytest.mark.parametrize("far", [0.05, 0.1, 0.3, 0.9])
@pytest.mark.parametrize("rank", [1, 3])
def test_the_rate_at_false_alarms_is_by_the_nist_definition(far: float, rank: int) -> None:
    found = scene()
    answer = metrics.dir_at_far(found, far, rank)
    alarms = np.sort(np.maximum(found.mate, found.stranger)[40:])[::-1]
    threshold = alarms[math.floor(far * 20)]
    assert answer.threshold == pytest.approx(threshold)
    assert np.mean(alarms > threshold) <= far
    wanted = [found.ranks()[i] <= rank and found.mate[i] > threshold for i in range(40)]
    assert answer.tar == pytest.approx(np.mean(wanted))


def test_too_few_strangers_give_no_rate() -> None:
    found = scene()
    assert math.isnan(metrics.dir_at_far(found, 0.01).tar)
    with pytest.raises(InputError, match="40 of 40 probes are enrolled"):
        metrics.dir_at_far(metrics.Candidates(*(column[:40] for column in vars(found).values())), 0.1)


def crowd_scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    labels = np.array([0, 1, 1, 0, 2, 1, 0, 3, 3, 1])
    embeddings = generator.normal(size=(4, 5))[labels] + 0.7 * generator.normal(size=(10, 5))
    return embeddings, labels, generator.normal(size=(37, 5))


def test_ranks_in_growing_crowds_equal_every_trial_played() -> None:
    embeddings, labels, crowd = crowd_scene()
    x = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    strangers = crowd / np.linalg.norm(crowd, axis=1, keepdims=True)
    trials = [(i, j) for i, j in itertools.permutations(range(10), 2) if labels[i] == labels[j]]
    found = metrics.rank_1_with_distractors(embeddings, labels, crowd, (1, 4, 6, 20, 500))
    assert [answer.distractors for answer in found] == [1, 4, 6, 20, 37]
    for size, share in found:
        won = [x[enrolled] @ x[probe] >= (strangers[:size] @ x[probe]).max() for enrolled, probe in trials]
        assert share == pytest.approx(np.mean(won))
    assert found[0].rank_1 >= found[-1].rank_1


def test_a_stranger_just_as_near_does_not_win() -> None:
    assert metrics.rank_1_with_distractors(np.eye(2)[[0, 0]], [0, 0], np.eye(2)[[0]])[0].rank_1 == 1.0


def test_copies_of_a_mate_in_the_crowd_tie_with_it_and_do_not_win_by_rounding() -> None:
    generator = np.random.default_rng(0)
    first = generator.normal(size=(40, 48))
    second = first + 0.1 * generator.normal(size=(40, 48))
    embeddings, labels = np.concatenate([first, second]), np.tile(np.arange(40), 2)
    assert metrics.rank_1_with_distractors(embeddings, labels, second, (40,))[0].rank_1 == 0.5
    rates = metrics.rates_with_distractors(embeddings, labels, np.concatenate([second, first]), 1e-3, 0.9)
    assert rates.identification == 0.0


def test_rates_in_a_crowd_equal_lists_of_all_scores() -> None:
    embeddings, labels, crowd = crowd_scene()
    x = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    scores = x @ (crowd / np.linalg.norm(crowd, axis=1, keepdims=True)).T
    pairs = [(i, j) for i, j in itertools.permutations(range(10), 2) if labels[i] == labels[j]]
    found = metrics.rates_with_distractors(embeddings, labels, crowd, 1e-2, 0.2)
    bar, alarm = np.sort(scores.ravel())[::-1][3], np.sort(scores.max(axis=1))[::-1][2]
    genuine = np.array([x[i] @ x[j] for i, j in pairs])
    assert found.verification == pytest.approx(np.mean(genuine > bar))
    won = [x[i] @ x[j] > max(alarm, scores[i].max()) for i, j in pairs]
    assert found.identification == pytest.approx(np.mean(won))
    assert (found.genuine_pairs, found.impostor_pairs) == (len(pairs) // 2, 370)
    few = metrics.rates_with_distractors(embeddings, labels, crowd)
    assert math.isnan(few.verification) and math.isnan(few.identification)


def test_a_crowd_needs_people_and_pairs() -> None:
    embeddings, labels, crowd = crowd_scene()
    with pytest.raises(InputError, match=r"distractors must be \[M, 5\]"):
        metrics.rank_1_with_distractors(embeddings, labels, crowd[:, :4])
    with pytest.raises(InputError, match="sizes must be"):
        metrics.rank_1_with_distractors(embeddings, labels, crowd, (0, 5))
    with pytest.raises(InputError, match=r"distractors must be \[M, 5\], M > 0"):
        metrics.rates_with_distractors(embeddings, labels, crowd[:0])
    for call in (metrics.rank_1_with_distractors, metrics.rates_with_distractors):
        with pytest.raises(InputError, match="nobody has two images"):
            call(embeddings, np.arange(10), crowd)
