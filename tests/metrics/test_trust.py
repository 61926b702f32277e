"""How far a number or a probability can be trusted: calibration, conformal sets, open sets, intervals."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as reference

from steradian import metrics
from steradian.errors import InputError

RNG = np.random.default_rng(0)


def classifier(count: int, sharpness: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels drawn from their own softmax, then multiplied."""
    generator = np.random.default_rng(seed)
    logits = 2.0 * generator.normal(size=(count, 5))
    chances = metrics.softmax(logits)
    labels = (generator.random((count, 1)) > chances.cumsum(axis=1)).sum(axis=1).clip(max=4)
    return sharpness * logits, labels


def ece_by_hand(confidence: np.ndarray, right: np.ndarray, bins: int) -> float:
    total = 0.0
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        inside = (confidence > low) & (confidence <= high) | ((number == 0) & (confidence == 0.0))
        if inside.any():
            total += abs(right[inside].mean() - confidence[inside].mean()) * inside.mean()
    return total


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 20))
def test_calibration_error_equals_a_loop_over_bins(seed: int, bins: int) -> None:
    logits, labels = classifier(40, 2.0, seed)
    chances = metrics.softmax(logits)
    found = metrics.expected_calibration_error(chances, labels, bins)
    assert found == pytest.approx(ece_by_hand(chances.max(axis=1), chances.argmax(axis=1) == labels, bins), abs=1e-9)


def test_bins_of_equal_mass_hold_equal_counts_and_keep_ties_together() -> None:
    even = metrics.reliability(np.linspace(0.1, 0.9, 20), np.ones(20, bool), 4, "mass")
    assert even.images.tolist() == [5] * 4
    tied = metrics.reliability([0.5] * 9 + [0.9], [True] * 10, 5, "mass")
    assert tied.images.tolist() == [9, 1]
    assert metrics.reliability([0.0, 1.0], [False, True]).confidence.tolist() == [0.0, 1.0]


@pytest.mark.parametrize("bins", [5, 10, 15, 20, 50, 100])
def test_a_confidence_on_an_edge_lies_in_the_lower_bin(bins: int) -> None:
    edges = np.linspace(0.0, 1.0, bins + 1)[1:]
    found = metrics.reliability(edges, np.ones(bins, bool), bins)
    assert found.images.tolist() == [1] * bins


def test_single_precision_probabilities_of_many_classes_are_taken() -> None:
    chances = metrics.softmax(RNG.normal(size=(20, 20_000))).astype(np.float32)
    assert metrics.entropy(chances).shape == (20,)
    assert metrics.divergence([0.5, 0.5], [0.5000004, 0.4999996]) >= 0.0


def test_brier_and_likelihood_equal_scikit_learn() -> None:
    logits, labels = classifier(200)
    chances = metrics.softmax(logits)
    one_hot = np.eye(5)[labels]
    assert metrics.brier_score(chances, labels) == pytest.approx(((chances - one_hot) ** 2).sum(axis=1).mean())
    assert metrics.negative_log_likelihood(logits, labels) == pytest.approx(reference.log_loss(labels, chances))


@pytest.mark.parametrize("sharpness", [0.05, 0.5, 1.0, 4.0])
def test_the_temperature_is_found_again(sharpness: float) -> None:
    logits, labels = classifier(20_000, sharpness)
    found = metrics.fit_temperature(logits, labels)
    assert found == pytest.approx(sharpness, rel=0.04)
    around = [metrics.negative_log_likelihood(logits / (found * factor), labels) for factor in (0.98, 1.0, 1.02)]
    assert min(around) == around[1]


def test_logits_that_are_never_wrong_or_say_nothing_have_no_temperature() -> None:
    assert metrics.fit_temperature([[9.0, 0.0], [0.0, 9.0]], [0, 1]) == 1e-3
    assert metrics.fit_temperature([[9.0, 0.0], [0.0, 9.0]], [1, 0]) == 1e3


def test_isotonic_scores_rise_and_are_probabilities() -> None:
    scores = RNG.uniform(-1, 1, 5000)
    right = RNG.random(5000) < (scores + 1) / 2
    fitted = metrics.fit_isotonic(scores, right)
    grid = np.linspace(-1.5, 1.5, 50)
    assert (np.diff(fitted(grid)) >= 0).all()
    assert np.abs(fitted(grid) - np.clip((grid + 1) / 2, 0, 1)).max() < 0.12
    assert (
        metrics.expected_calibration_error(np.stack([fitted(scores), 1 - fitted(scores)], axis=1), (~right).astype(int))
        < 0.02
    )


@pytest.mark.parametrize("per_class", [False, True])
def test_conformal_sets_keep_their_promise_and_no_more(per_class: bool) -> None:
    covered = []
    for seed in range(40):
        logits, labels = classifier(900, 3.0, seed)
        chances = metrics.softmax(logits)
        sets = metrics.conformal_sets(chances[:300], labels[:300], 0.9, per_class=per_class)
        found = metrics.measured_coverage(sets, chances[300:], labels[300:])
        covered.append(found.covered.mean)
        assert found.size >= found.covered.mean
    # Over draws the mean lies between the promise and the promise + 1 / (n + 1), here of a class of 60 at least.
    assert 0.9 - 0.006 < np.mean(covered) < 0.9 + (0.03 if per_class else 0.01)


def test_too_few_images_put_every_class_into_the_set() -> None:
    chances = metrics.softmax(RNG.normal(size=(10, 3)))
    sets = metrics.conformal_sets(chances, [0] * 9 + [1], 0.95, per_class=True)
    assert np.isinf(sets.bounds[1:]).all() and sets.images.tolist() == [9, 1, 0]
    assert metrics.conformal_bound(np.arange(19.0), 0.95) == 18.0
    assert math.isinf(metrics.conformal_bound(np.arange(18.0), 0.95))
    assert sets.members(chances)[:, 1:].all()


def test_the_conformal_unknown_turns_away_no_more_known_images_than_said() -> None:
    turned_away = [
        np.mean(metrics.unknown_p_values(scores[:99], scores[99:]) <= 0.1)
        for scores in (np.random.default_rng(seed).normal(size=400) for seed in range(60))
    ]
    assert np.mean(turned_away) == pytest.approx(0.1, abs=0.012)
    assert metrics.unknown_p_values([1.0, 2.0, 3.0], [0.0, 2.0, 9.0]).tolist() == [0.25, 0.75, 1.0]


def oscr_by_hand(known: np.ndarray, right: np.ndarray, unknown: np.ndarray) -> float:
    points = [(0.0, 0.0)]
    for threshold in sorted({*known, *unknown}, reverse=True):
        points.append((np.mean(unknown >= threshold), np.mean((known >= threshold) & right)))
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(points))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=15),
    st.lists(st.integers(0, 5), min_size=1, max_size=15),
)
def test_open_set_numbers_equal_their_definitions(known: list[tuple[int, bool]], unknown: list[int]) -> None:
    scores, right = np.array([score for score, _ in known]) / 5, np.array([flag for _, flag in known])
    others = np.array(unknown) / 5
    found = metrics.open_set_numbers(scores, right, others)
    truth, both = np.r_[np.ones(len(scores)), np.zeros(len(others))], np.r_[scores, others]
    assert found.auroc == pytest.approx(reference.roc_auc_score(truth, both))
    assert found.aupr_known == pytest.approx(reference.average_precision_score(truth, both))
    assert found.aupr_unknown == pytest.approx(reference.average_precision_score(1 - truth, -both))
    threshold = max(t for t in scores if np.mean(scores >= t) >= 0.95)
    assert found.fpr_at_95 == pytest.approx(np.mean(others >= threshold))
    assert found.oscr == pytest.approx(oscr_by_hand(scores, right, others))
    assert found.oscr <= right.mean() + 1e-12


def test_known_and_unknown_apart_reach_the_closed_accuracy() -> None:
    right = np.array([True, True, False, True])
    assert metrics.oscr([0.9, 0.8, 0.95, 0.7], right, [0.1, 0.2]).area == pytest.approx(0.75)
    with pytest.raises(InputError, match="0 unknown images"):
        metrics.oscr([0.5], [True], np.zeros(0))


def test_confidences_are_the_largest_score_or_probability() -> None:
    logits = np.array([[1.0, 3.0], [2.0, 2.0]])
    assert metrics.confidences(logits, "logit").tolist() == [3.0, 2.0]
    np.testing.assert_allclose(metrics.confidences(logits, "probability"), [1 / (1 + math.exp(-2.0)), 0.5])
    with pytest.raises(InputError, match="kind must be"):
        metrics.confidences(logits, "entropy")


@pytest.mark.parametrize(("right", "total"), [(0, 10), (10, 10), (3, 7), (500, 1000)])
def test_wilson_equals_scipy(right: int, total: int) -> None:
    found = metrics.wilson_interval(right, total)
    expected = stats.binomtest(right, total).proportion_ci(method="wilson")
    assert (found.low, found.high, found.mean) == pytest.approx((expected.low, expected.high, right / total))
    with pytest.raises(InputError, match="0 <= right <= total"):
        metrics.wilson_interval(total + 1, total)


@pytest.mark.parametrize("people", [40, 41])
def test_the_interval_over_identities_draws_people_not_pictures(people: int) -> None:
    groups = np.repeat(np.arange(people), 25)
    values = np.repeat(np.random.default_rng(1).normal(size=people), 25)
    found = metrics.identity_interval(lambda rows: float(values[rows].mean()), groups, rounds=800)
    spread = values[::25].std(ddof=1) / math.sqrt(people)
    assert found.mean == pytest.approx(values.mean())
    assert found.half_width == pytest.approx(1.96 * spread, rel=0.15)
    assert metrics.identity_interval(lambda rows: float(values[rows].mean()), groups, rounds=800) == found


def test_an_interval_does_not_mind_that_halves_are_easier() -> None:
    values, groups = np.random.default_rng(1).normal(size=40), np.arange(40)
    plain = metrics.identity_interval(lambda rows: float(values[rows].mean()), groups)
    easier = metrics.identity_interval(lambda rows: float(values[rows].mean()) + 5.0 * (len(rows) < 40), groups)
    assert (easier.low, easier.high) == pytest.approx((plain.low, plain.high))


def test_the_interval_holds_a_number_of_pairs_that_chance_makes() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(120, 8)), np.repeat(np.arange(60), 2)
    found = metrics.identity_interval(lambda rows: metrics.recall_at_k(x[rows], y[rows]), y)
    assert found.low <= found.mean <= found.high < 0.2


def test_halves_without_a_number_are_left_out() -> None:
    scores, positive = np.linspace(0, 1, 8), np.array([0, 0, 0, 1, 0, 1, 1, 1])
    found = metrics.identity_interval(lambda rows: metrics.roc_auc(scores[rows], positive[rows]), np.arange(8))
    assert found.mean == pytest.approx(15 / 16)
    with pytest.raises(InputError, match="no half"):
        metrics.identity_interval(lambda rows: math.nan, np.arange(8))
    with pytest.raises(InputError, match="one identity"):
        metrics.identity_interval(lambda rows: 1.0, np.zeros(8))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: metrics.brier_score([[0.5, 0.6]], [0]), "row 0 of the probabilities sums to 1.1"),
        (lambda: metrics.brier_score([[0.5, 0.5]], [2]), "label 2 in row 0"),
        (lambda: metrics.reliability([1.2], [True]), "from 0 to 1"),
        (lambda: metrics.reliability([0.5], [True], binning="log"), "binning must be"),
        (lambda: metrics.fit_isotonic([0.5], [True]), "two at least"),
        (lambda: metrics.conformal_sets([[0.5, 0.5]], [3]), "label 3"),
        (lambda: metrics.measured_coverage(metrics.conformal_sets([[0.5, 0.5]], [0]), [[0.5, 0.5]], [-1]), "label -1"),
        (lambda: metrics.brier_score(np.zeros((1, 1_000_001)), [0]), "sums to 0"),
        (lambda: metrics.fit_isotonic([0.5, math.inf], [True, False]), "all finite"),
        (lambda: metrics.divergence([0.5, 0.5], [0.2, 0.3, 0.5]), "over 2 and over 3 outcomes"),
        (lambda: metrics.entropy([0.5, 0.5], base=1.0), "base must be"),
        (lambda: metrics.conformal_bound([math.nan], 0.5), "NaN"),
        (lambda: metrics.conformal_bound([0.1], 1.0), "strictly between"),
        (lambda: metrics.fit_temperature([[0.5, 0.5]], [-1]), "label -1"),
        (lambda: metrics.identity_interval(lambda rows: 0.0, []), "one for each item"),
    ],
)
def test_what_cannot_be_trusted_is_said(call, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call()


def test_doubt_keeps_the_temperature_of_logits_that_are_never_wrong_from_zero() -> None:
    labels = np.repeat(np.arange(4), 25)
    logits = 8.0 * np.eye(4)[labels]
    assert metrics.fit_temperature(logits, labels) == pytest.approx(1e-3)
    found = metrics.fit_temperature(logits, labels, doubt=1 / 102)
    # One of 102 for three other classes together: that is what softmax then says.
    assert metrics.softmax(logits / found)[0, 0] == pytest.approx(101 / 102)
    noisy, truth = classifier(4000, 3.0)
    assert metrics.fit_temperature(noisy, truth, doubt=1 / 4002) == pytest.approx(3.0, rel=0.1)
    with pytest.raises(InputError, match="doubt must be at least 0"):
        metrics.fit_temperature(noisy, truth, doubt=1.0)


def test_weights_make_an_isotonic_curve_one_at_even_odds() -> None:
    generator = np.random.default_rng(0)
    scores = np.concatenate([generator.normal(1.0, 1.0, 6000), generator.normal(-1.0, 1.0, 60_000)])
    same = np.arange(len(scores)) < 6000
    even = metrics.fit_isotonic(scores, same, np.where(same, 0.5 / 6000, 0.5 / 60_000))
    # Normal scores at +-1: the odds at x are exp(2 x).
    for x in (-0.5, 0.0, 0.5):
        assert even([x])[0] == pytest.approx(1 / (1 + np.exp(-2 * x)), abs=0.08)
    assert metrics.fit_isotonic(scores, same)([0.0])[0] < 0.2
    with pytest.raises(InputError, match="positive numbers"):
        metrics.fit_isotonic([0.0, 1.0], [True, False], [1.0, 0.0])


@pytest.mark.parametrize(
    ("of_seeds", "of_items", "rest", "least"), [(0.02, 0.3, 0.4, 0.93), (0.02, 0.0, 0.4, 0.93), (0.0, 0.3, 0.4, 0.93)]
)
def test_crossed_intervals_hold_the_mean_of_new_seeds_and_new_items(
    of_seeds: float, of_items: float, rest: float, least: float
) -> None:
    generator, held = np.random.default_rng(0), 0
    for _ in range(400):
        values = generator.normal(0, of_seeds, (3, 1)) + generator.normal(0, of_items, (1, 150))
        found = metrics.crossed_interval(values + generator.normal(0, rest, (3, 150)))
        held += found.low <= 0.0 <= found.high
    assert held / 400 >= least


def test_crossed_intervals_of_a_few_values_by_hand() -> None:
    values = np.array([[1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0]])
    found = metrics.crossed_interval(values)
    seeds = np.var([0.5, 0.75], ddof=1) / 2
    items = np.var([1.0, 0.5, 1.0, 0.0], ddof=1) / 4
    rest = values - np.array([[0.5], [0.75]]) - np.array([[1.0, 0.5, 1.0, 0.0]]) + 0.625
    variance = max(seeds + items - (rest**2).sum() / 3 / 8, items)
    freedom = (seeds + items) ** 2 / (seeds**2 / 1 + items**2 / 3)
    assert found.mean == 0.625
    assert found.half_width == pytest.approx(stats.t.ppf(0.975, freedom) * math.sqrt(variance))
    assert metrics.crossed_interval(np.full((2, 3), 0.25)) == metrics.Interval(0.25, 0.25, 0.25)
    with pytest.raises(InputError, match="two seeds and two items"):
        metrics.crossed_interval(values[:1])
