"""Verification: all pairs in tiles against every pair in a list, folds, templates."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steradian import metrics
from steradian.errors import InputError
from steradian.metrics import all_pairs, score_streams, tiles


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (all_pairs, tiles):
        monkeypatch.setattr(module, "ROWS", 7)
        monkeypatch.setattr(module, "COLUMNS", 5)


def data(seed: int, count: int, classes: int, size: int = 4) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, count)
    return generator.normal(size=(count, size)) + generator.normal(size=(classes, size))[labels], labels


def every_pair(embeddings: np.ndarray, labels: np.ndarray) -> metrics.PairScores:
    return metrics.pair_scores(embeddings, labels, max_items=10**6)


@pytest.mark.parametrize(("count", "classes"), [(60, 6), (61, 2), (40, 30), (23, 23)])
@pytest.mark.usefixtures("small_tiles")
def test_all_pairs_in_tiles_are_all_pairs(count: int, classes: int) -> None:
    embeddings, labels = data(0, count, classes)
    labels[:2] = 0
    scores = every_pair(embeddings, labels)
    fars = (1e-1, 1e-2, 2e-3, 1e-6)
    found = metrics.verify_all_pairs(embeddings, labels, fars)
    assert (found.genuine, found.impostor) == (len(scores.genuine), len(scores.impostor))
    for accepted in found.accepted:
        expected = metrics.tar_at_far(scores, accepted.far)
        assert accepted.tar == pytest.approx(expected.tar, nan_ok=True)
        assert accepted.threshold == pytest.approx(expected.threshold, abs=1e-6, nan_ok=True)
        assert bool(accepted.reason) == math.isnan(expected.tar)
        if not accepted.reason:
            assert accepted.interval.low <= accepted.tar <= accepted.interval.high
    assert "cannot support a false-accept rate below" in found.accepted[-1].reason
    assert found.histogram is not None
    exact = metrics.ScoreCounts.of_parts(scores.genuine, scores.impostor)
    assert found.histogram.both() == exact.both()
    assert found.histogram.auc() == pytest.approx(exact.auc(), abs=2e-3)
    assert exact.equal_error().rate == pytest.approx(metrics.equal_error_rate(scores).far)
    assert found.histogram.equal_error().rate == pytest.approx(exact.equal_error().rate, abs=2e-2)


@pytest.mark.parametrize("kept", [20, 10**6])
@pytest.mark.usefixtures("small_tiles")
def test_parts_of_the_pairs_add_up_to_all_of_them(monkeypatch: pytest.MonkeyPatch, kept: int) -> None:
    embeddings, labels = data(7, 85, 9)
    monkeypatch.setattr(all_pairs, "MOST_KEPT", kept)
    fars = (0.5, 0.1, 0.02, 1e-3, 1e-9)
    whole = metrics.verify_all_pairs(embeddings, labels, fars)
    parts = [metrics.PairTally.of(embeddings, labels, fars, part=(number, 4)) for number in range(4)]
    joined = parts[2] + parts[0] + parts[3] + parts[1]
    assert repr(joined.result().accepted) == repr(whole.accepted)
    for ours, theirs in zip(vars(joined.result().histogram).values(), vars(whole.histogram).values(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(InputError, match=r"holds [\d,]+ of [\d,]+ impostor pairs: add every part, once each"):
        (parts[0] + parts[1]).result()
    with pytest.raises(InputError, match="of different pairs or rates"):
        parts[0] + metrics.PairTally.of(embeddings, labels, (0.1,))
    with pytest.raises(InputError, match="0 <= i < n"):
        metrics.PairTally.of(embeddings, labels, fars, part=(4, 4))


@pytest.mark.usefixtures("small_tiles")
def test_rates_that_keep_too_many_scores_take_a_second_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings, labels = data(3, 90, 6)
    scores, fars = every_pair(embeddings, labels), (0.9999, 0.5, 0.1, 0.02, 1e-3)
    monkeypatch.setattr(all_pairs, "MOST_KEPT", 20)
    for accepted in metrics.verify_all_pairs(embeddings, labels, fars, curve=False).accepted:
        expected = metrics.tar_at_far(scores, accepted.far)
        assert accepted.threshold == pytest.approx(expected.threshold, abs=1e-6)
        assert accepted.tar == pytest.approx(expected.tar)


def test_scores_at_places_are_exact_at_ties_and_at_both_ends() -> None:
    scores = torch.tensor([1.0, 1.0, 0.5, 0.5, 0.5, 0.0, -0.3, -1.0, -1.0])
    stream = [scores[:4], scores[4:]]
    histogram = sum(score_streams.binned(part) for part in stream)
    places = list(range(len(scores)))
    assert score_streams.at_places(lambda: iter(stream), histogram, places) == scores.tolist()
    assert score_streams.at_places(lambda: iter(stream), histogram, []) == []


def test_the_highest_scores_are_exact_in_any_order_and_in_parts() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(5000, generator=generator).mul(100).round()
    expected = scores.sort(descending=True).values[:40]
    whole = score_streams.HighestScores(40)
    parts = [score_streams.HighestScores(40) for _ in range(2)]
    for number, part in enumerate(scores.split(97)):
        whole.add(part)
        parts[number % 2].add(part)
    parts[0].add(parts[1].falling())
    torch.testing.assert_close(whole.falling(), expected)
    torch.testing.assert_close(parts[0].falling(), expected)
    assert len(score_streams.HighestScores(3).falling()) == 0


def test_copies_of_one_picture_under_two_names_do_not_decide_by_rounding() -> None:
    pictures = np.random.default_rng(0).normal(size=(40, 32))
    embeddings = np.tile(pictures, (4, 1))
    labels = np.concatenate([np.arange(40), np.arange(40), 40 + np.arange(40), 40 + np.arange(40)])
    # Every genuine pair and 160 impostor pairs are at cosine 1.
    assert metrics.verify_all_pairs(embeddings, labels, [1e-3]).accepted[0].tar == 0.0
    everything = metrics.verify_all_pairs(embeddings, labels, [1 - 1e-13]).accepted[0]
    assert (everything.tar, everything.threshold) == (1.0, -math.inf)


@pytest.mark.parametrize("factor", [300.0, 1e-4])
def test_half_precision_and_extreme_lengths_keep_their_direction(factor: float) -> None:
    embeddings, labels = data(0, 60, 12)
    wanted = metrics.recall_at_k(embeddings.astype(np.float16), labels)
    assert metrics.recall_at_k((embeddings.astype(np.float16) * np.float16(factor)), labels) == pytest.approx(
        wanted, abs=0.05
    )
    for scale in (1e20, 1e-30):
        assert metrics.recall_at_k((embeddings * scale).astype(np.float32), labels) == metrics.recall_at_k(
            embeddings.astype(np.float32), labels
        )


def test_one_kind_of_pair_is_refused() -> None:
    embeddings, labels = data(0, 30, 3)
    with pytest.raises(InputError, match="0 genuine"):
        metrics.verify_all_pairs(embeddings, np.arange(30))
    with pytest.raises(InputError, match="0 impostor"):
        metrics.verify_all_pairs(embeddings, np.zeros(30, int))
    with pytest.raises(InputError, match="far must lie strictly"):
        metrics.verify_all_pairs(embeddings, labels, [0.0])


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize(("count", "others", "k"), [(20, 33, 1), (20, 33, 6), (9, 12, 12), (8, 40, 20)])
def test_nearest_neighbors_in_tiles_are_those_of_a_full_sort(count: int, others: int, k: int) -> None:
    generator = np.random.default_rng(k)
    queries, references = (
        tiles.unit_vectors(generator.normal(size=(n, 3)), np.arange(n), "x") for n in (count, others)
    )
    found = tiles.nearest(queries, references, k)
    expected = (queries @ references.T).sort(dim=1, descending=True)
    torch.testing.assert_close(found.cosine, expected.values[:, :k])
    assert (found.place == expected.indices[:, :k]).all()
    own = tiles.nearest(references[4:11], references, min(k, others - 1), torch.arange(4, 11))
    product = references[4:11] @ references.T
    product[torch.arange(7), torch.arange(4, 11)] = -2.0
    assert (own.place == product.sort(dim=1, descending=True).indices[:, : own.place.shape[1]]).all()


def test_equal_neighbors_come_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "COLUMNS", 4)
    same = torch.ones(1, 1).expand(11, 1).contiguous()
    assert tiles.nearest(same[:2], same, 6).place.tolist() == [[0, 1, 2, 3, 4, 5]] * 2
    with pytest.raises(InputError, match="k must be between 1 and the 10"):
        tiles.nearest(same, same, 11, torch.arange(11))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=4, max_size=40),
    st.integers(2, 4),
    st.sampled_from(["exact", "insightface", "facex-zoo"]),
)
def test_fold_accuracy_equals_a_plain_loop(pairs: list[tuple[int, bool]], folds: int, rule: str) -> None:
    scores = np.array([score for score, _ in pairs]) / 5.0
    same = np.array([flag for _, flag in pairs])
    of_fold = metrics.contiguous_folds(len(pairs), folds)
    found = metrics.fold_accuracy(scores, same, of_fold, rule)
    for number in range(folds):
        train, test = of_fold != number, of_fold == number
        distance = 2.0 - 2.0 * scores
        if rule == "insightface":
            grid = np.arange(0, 4, 0.01)
            chosen = grid[int(np.argmax([np.mean((distance[train] < t) == same[train]) for t in grid]))]
            accuracy = np.mean((distance[test] < chosen) == same[test])
        elif rule == "facex-zoo":
            low, high = scores[train].min(), scores[train].max()
            grid = low + (high - low) / 1000 * np.arange(1, 1001)
            gains = [
                (scores[train & same] > t).sum() / max(1, (train & same).sum())
                - (scores[train & ~same] > t).sum() / max(1, (train & ~same).sum())
                for t in grid
            ]
            # Equal gains differ in their last bit, depending on the order of operations.
            chosen = grid[int(np.argmax(np.round(gains, 9)))]
            accuracy = np.mean(np.where(same[test], scores[test] > chosen, scores[test] < chosen))
            if chosen != pytest.approx(found.thresholds[number]):
                continue
        else:
            best = max(np.mean((scores[train] > t) == same[train]) for t in [-2, *np.unique(scores)])
            threshold = found.thresholds[number]
            assert np.mean((scores[train] > threshold) == same[train]) == pytest.approx(best)
            assert threshold not in scores[train]
            chosen, accuracy = threshold, np.mean((scores[test] > threshold) == same[test])
        assert found.thresholds[number] == pytest.approx(chosen)
        assert found.accuracies[number] == pytest.approx(accuracy)
    assert found.mean == pytest.approx(found.accuracies.mean())
    expected = found.accuracies.std() if rule == "insightface" else found.accuracies.std(ddof=1) / math.sqrt(folds)
    assert found.spread == pytest.approx(expected)


def test_the_exact_threshold_is_in_the_middle_of_the_strictest_range() -> None:
    train = [(0.9, True), (0.7, False), (0.5, True), (0.3, False)]
    scores = np.array([score for score, _ in train] + [0.8])
    same = np.array([flag for _, flag in train] + [True])
    found = metrics.fold_accuracy(scores, same, [0, 0, 0, 0, 1])
    assert found.thresholds[1] == pytest.approx(0.8)


def test_folds_are_contiguous_and_even() -> None:
    assert metrics.contiguous_folds(12, 5).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 4]
    for count, folds in ((3, 10), (5, 1)):
        with pytest.raises(InputError, match="cannot make"):
            metrics.contiguous_folds(count, folds)
    with pytest.raises(InputError, match="one fold"):
        metrics.fold_accuracy([0.1, 0.2], [True, False], [0, 0])
    with pytest.raises(InputError, match="rule must be one of"):
        metrics.fold_accuracy([0.1, 0.2], [True, False], [0, 1], "best")


def test_templates_average_a_video_before_they_sum_media() -> None:
    embeddings = np.array([[2.0, 0.0], [0.0, 4.0], [0.0, 2.0], [1.0, 0.0]])
    found, names = metrics.template_embeddings(embeddings, [5, 5, 5, 2], [1, 2, 2, 1])
    assert names.tolist() == [2, 5]
    np.testing.assert_allclose(found, [[1.0, 0.0], np.array([2.0, 3.0]) / math.hypot(2.0, 3.0)])
    found, _ = metrics.template_embeddings(
        embeddings, [5, 5, 5, 2], [1, 2, 2, 1], keep_norm=False, weights=[3, 1, 1, 1]
    )
    np.testing.assert_allclose(found[1], np.array([3.0, 1.0]) / math.hypot(3.0, 1.0))
    with pytest.raises(InputError, match="3 media came with 4 templates"):
        metrics.template_embeddings(embeddings, [5, 5, 5, 2], [1, 2, 2])


def test_flip_fusion_sums_as_published_or_with_equal_weight() -> None:
    first, second = np.array([[3.0, 0.0]]), np.array([[0.0, 1.0]])
    np.testing.assert_allclose(metrics.flip_fusion(first, second), [[3 / math.sqrt(10), 1 / math.sqrt(10)]])
    np.testing.assert_allclose(metrics.flip_fusion(first, second, normalize_first=True), [[math.sqrt(0.5)] * 2])
    with pytest.raises(InputError, match="the same shape"):
        metrics.flip_fusion(first, second[0])
