"""Confusion counts and what follows from them, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from steradian import metrics
from steradian.errors import InputError

CLASSES = 5
ANSWERS = st.lists(st.tuples(st.integers(0, CLASSES - 1), st.integers(0, CLASSES - 1)), min_size=1, max_size=40)


def split(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([true for true, _ in pairs]), np.array([said for _, said in pairs])


@settings(max_examples=100, deadline=None)
@given(ANSWERS)
def test_counts_and_averages_equal_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    true, said = split(pairs)
    found = metrics.Confusion.of(said, true, CLASSES)
    np.testing.assert_array_equal(found.matrix(), reference.confusion_matrix(true, said, labels=range(CLASSES)))
    np.testing.assert_array_equal(found.transposed(), found.matrix().T)
    counts = found.per_class()
    expected = reference.multilabel_confusion_matrix(true, said, labels=range(CLASSES))
    for name, row, column in (("tn", 0, 0), ("fp", 0, 1), ("fn", 1, 0), ("tp", 1, 1)):
        np.testing.assert_array_equal(getattr(counts, name), expected[:, row, column])
    assert found.accuracy == pytest.approx(reference.accuracy_score(true, said))
    recalls = [np.mean(said[true == label] == label) for label in np.unique(true)]
    assert found.balanced_accuracy == pytest.approx(np.mean(recalls))
    for how in ("macro", "micro", "weighted"):
        wanted = reference.precision_recall_fscore_support(true, said, average=how, zero_division=0)[:3]
        average = counts.average(how)
        assert (average.precision, average.recall, average.f1) == pytest.approx(wanted)
    wanted = reference.precision_recall_fscore_support(true, said, labels=range(CLASSES), zero_division=0)
    for values, theirs in zip((counts.precision, counts.recall, counts.f1, counts.support), wanted, strict=True):
        np.testing.assert_allclose(values, theirs)


@settings(max_examples=50, deadline=None)
@given(ANSWERS, st.integers(0, 40))
def test_parts_add_up(pairs: list[tuple[int, int]], cut: int) -> None:
    true, said = split(pairs)
    whole = metrics.Confusion.of(said, true, CLASSES)
    sums = metrics.Confusion.of(said[:cut], true[:cut], CLASSES) + metrics.Confusion.of(said[cut:], true[cut:], CLASSES)
    np.testing.assert_array_equal(sums.matrix(), whole.matrix())
    parts = metrics.Confusion.of(said[:cut], true[:cut], CLASSES).per_class()
    rest = metrics.Confusion.of(said[cut:], true[cut:], CLASSES).per_class()
    np.testing.assert_array_equal((parts + rest).tn, whole.per_class().tn)


def test_an_answer_withheld_misses_its_class_and_is_nobodys_false_alarm() -> None:
    found = metrics.Confusion.of([0, -1, -1], [0, 0, 1], 2)
    counts = found.per_class()
    assert counts.fn.tolist() == [1, 1]
    assert counts.fp.tolist() == [0, 0]
    assert (found.accuracy, found.total, found.matrix().sum()) == (pytest.approx(1 / 3), 3, 1)
    assert counts.precision.tolist() == [1.0, 0.0]
    assert metrics.Confusion.of([-1], [0], 1).per_class().specificity.tolist() == [1.0]


def test_ten_thousand_classes_stay_sparse_and_list_what_is_confused() -> None:
    generator = np.random.default_rng(0)
    true = generator.integers(0, 10_000, 50_000)
    said = np.where(generator.random(50_000) < 0.9, true, (true + 1) % 10_000)
    true, said = np.append(true, [7] * 40), np.append(said, [9] * 40)
    found = metrics.Confusion.of(said, true, 10_000)
    assert len(found.counts) < 30_000
    assert found.most_confused(1) == [(7, 9, 40)]
    assert found.most_confused(3)[1].images >= found.most_confused(3)[2].images
    assert found.per_class().tp.sum() == np.sum(true == said)
    with pytest.raises(InputError, match="10,000 classes is too large"):
        found.matrix()


def test_multi_label_answers_are_counted_by_class() -> None:
    generator = np.random.default_rng(0)
    truth, said = generator.random((30, 4)) < 0.4, generator.random((30, 4)) < 0.4
    counts = metrics.ClassCounts.of_flags(said, truth)
    expected = reference.multilabel_confusion_matrix(truth, said)
    np.testing.assert_array_equal(counts.fp, expected[:, 0, 1])
    assert counts.average("micro").f1 == pytest.approx(reference.f1_score(truth, said, average="micro"))
    with pytest.raises(InputError, match="two bool arrays"):
        metrics.ClassCounts.of_flags(said, truth.astype(int))


@pytest.mark.parametrize(
    ("true", "said", "words"),
    [
        ([0, 5], [0, 0], "label 5 in row 1 is outside 0..2"),
        ([0, -1], [0, 0], "label -1 in row 1"),
        ([0, 1], [0, 3], "prediction 3 in row 1 is outside -1..2"),
        ([0], [0, 1], "1 labels came with 2 predictions"),
        ([0.5], [0], "whole numbers"),
    ],
)
def test_wrong_answers_are_named(true: object, said: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        metrics.Confusion.of(said, true, 3)


def test_nothing_to_count_is_said() -> None:
    empty = metrics.Confusion.of(np.zeros(0, int), np.zeros(0, int), 3)
    with pytest.raises(InputError, match="nothing to measure"):
        _ = empty.accuracy
    with pytest.raises(InputError, match="nothing to measure"):
        _ = empty.balanced_accuracy
    with pytest.raises(InputError, match="counts of 3 and of 1 classes"):
        _ = empty.per_class() + metrics.Confusion.of([0], [0], 1).per_class()
    with pytest.raises(InputError, match="nothing to average"):
        empty.per_class().average("micro")
    with pytest.raises(InputError, match="nothing to average"):
        empty.per_class().average("macro")
    with pytest.raises(InputError, match="cannot be added"):
        _ = empty + metrics.Confusion.of([0], [0], 2)
