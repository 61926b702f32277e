"""Curves of one threshold against scikit-learn, with ties, and counted in parts."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from steradian import metrics
from steradian.errors import InputError

# Few distinct values: ties are the rule.
PAIRS = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40).filter(
    lambda pairs: len({flag for _, flag in pairs}) == 2
)


def split(pairs: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([score for score, _ in pairs]) / 4.0, np.array([flag for _, flag in pairs])


@settings(max_examples=150, deadline=None)
@given(PAIRS)
def test_curves_and_areas_equal_scikit_learn(pairs: list[tuple[int, bool]]) -> None:
    scores, positive = split(pairs)
    fpr, tpr, thresholds = reference.roc_curve(positive, scores, drop_intermediate=False)
    for found, expected in zip(metrics.roc(scores, positive), (fpr, tpr, thresholds), strict=True):
        np.testing.assert_allclose(found, expected)
    precision, recall, thresholds = reference.precision_recall_curve(positive, scores)
    curve = metrics.precision_recall(scores, positive)
    np.testing.assert_allclose(curve.precision[::-1], precision[:-1])
    np.testing.assert_allclose(curve.recall[::-1], recall[:-1])
    np.testing.assert_allclose(curve.thresholds[::-1], thresholds)
    assert metrics.roc_auc(scores, positive) == pytest.approx(reference.roc_auc_score(positive, scores))
    assert metrics.average_precision(scores, positive) == pytest.approx(
        reference.average_precision_score(positive, scores)
    )


@settings(max_examples=60, deadline=None)
@given(PAIRS, st.integers(0, 40))
def test_parts_that_are_counted_apart_add_up(pairs: list[tuple[int, bool]], cut: int) -> None:
    scores, positive = split(pairs)
    whole = metrics.ScoreCounts.of(scores, positive)
    parts = metrics.ScoreCounts.of(scores[:cut], positive[:cut]) + metrics.ScoreCounts.of(scores[cut:], positive[cut:])
    for found, expected in zip(vars(parts).values(), vars(whole).values(), strict=True):
        np.testing.assert_array_equal(found, expected)
    again = metrics.ScoreCounts.of_parts(scores[positive], scores[~positive])
    np.testing.assert_array_equal(again.positives, whole.positives)


@settings(max_examples=100, deadline=None)
@given(PAIRS, st.floats(0.05, 0.95) | st.just(1.0))
def test_chosen_thresholds_are_the_best_by_brute_force(pairs: list[tuple[int, bool]], wanted: float) -> None:
    scores, positive = split(pairs)
    options = []
    for threshold in np.unique(scores)[::-1]:
        said = scores >= threshold
        hits, wrong = (said & positive).sum(), (said & ~positive).sum()
        options.append((threshold, hits / positive.sum(), wrong / (~positive).sum(), hits / said.sum()))
    best = max(options, key=lambda option: (option[1] - option[2], option[0]))
    youden = metrics.youden_threshold(scores, positive)
    assert youden.true_positive_rate - youden.false_positive_rate == pytest.approx(best[1] - best[2])
    found = metrics.threshold_for_recall(scores, positive, wanted)
    assert found == pytest.approx(next(option for option in options if option[1] >= wanted))
    precise = [option for option in options if option[3] >= wanted]
    answer = metrics.threshold_for_precision(scores, positive, wanted)
    assert (answer is None) == (not precise)
    if answer is not None:
        assert answer == pytest.approx(precise[-1])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 30), st.integers(1, 5))
def test_a_table_of_scores_has_the_numbers_of_each_column(seed: int, count: int, classes: int) -> None:
    generator = np.random.default_rng(seed)
    scores, labels = generator.integers(-2, 3, (count, classes)) / 2.0, generator.integers(0, classes, count)
    found = metrics.closed_set(scores, labels)
    for number in range(classes):
        own = labels == number
        if own.any():
            wanted = metrics.average_precision(scores[:, number], own)
            assert found.average_precision[number] == pytest.approx(wanted)
        if own.any() and not own.all():
            assert found.auc[number] == pytest.approx(metrics.roc_auc(scores[:, number], own))
        else:
            assert math.isnan(found.auc[number])
    if classes > 1:
        flags = np.eye(classes, dtype=bool)[labels]
        wanted = (
            metrics.roc_auc(scores.ravel(), flags.ravel()),
            metrics.average_precision(scores.ravel(), flags.ravel()),
        )
        assert found.micro == pytest.approx(wanted)
    assert found.top_k(2) == metrics.top_k_accuracy(scores, labels, 2)
    assert found.confusion.accuracy == np.mean(scores.argmax(axis=1) == labels)
    assert found.macro.average_precision == pytest.approx(np.nanmean(found.average_precision))


def test_infinite_scores_are_scores_and_nan_is_not() -> None:
    scores, positive = np.array([np.inf, 0.0, -np.inf]), np.array([1, 1, 0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert metrics.roc_auc(scores, positive) == 1.0
    with pytest.raises(InputError, match="NaN at index 1"):
        metrics.roc([0.0, math.nan], [True, False])


@pytest.mark.parametrize(
    ("scores", "positive", "words"),
    [
        ([1.0, 2.0], [True, True], "0 negatives"),
        ([], [], "0 positives"),
        ([1.0], [True, False], r"one for each of 1 scores"),
        ([1.0, 2.0], [2, 0], "true or false"),
        (["a", "b"], [1, 0], "must be numbers"),
    ],
)
def test_what_makes_no_curve_is_said(scores: object, positive: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        metrics.roc(scores, positive)
    with pytest.raises(InputError):
        metrics.roc_auc(scores, positive)


def test_the_detection_error_tradeoff_is_a_view_of_the_roc() -> None:
    curve = metrics.roc([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0])
    np.testing.assert_allclose(curve.false_negative_rate, 1.0 - curve.true_positive_rate)
    with pytest.raises(InputError, match="recall must be above 0"):
        metrics.threshold_for_recall([0.9, 0.8], [1, 0], 1.5)
