"""Adaptation in closed form: scatter, classifiers, the embedding chosen by unseen classes, folds, and the whole."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from steradian.metrics.checks import unit
from steradian.training.adaptation.adapt import adapt
from steradian.training.adaptation.blocks import ALL, EARLIER, FINAL, Blocks
from steradian.training.adaptation.classification import choose_classifier
from steradian.training.adaptation.classifiers import (
    Linear,
    Training,
    candidates,
    discriminant,
    logistic,
    means_of_directions,
    whitened_cosine,
)
from steradian.training.adaptation.embedding import SLACK, Whitening, choose_embedding, score_unseen
from steradian.training.adaptation.folds import class_folds, grouped_folds
from steradian.training.adaptation.groups import grouped
from steradian.training.adaptation.reduction import COMPONENTS, Reduction, reduced
from steradian.training.adaptation.scatter import Scatter, class_means


def made(classes: int = 6, each: int = 8, size: int = 12, seed: int = 0, noise: float = 1.0):
    """Features with classes apart, whose noise is ten times stronger in half of the directions."""
    generator = np.random.default_rng(seed)
    centers = generator.normal(size=(classes, size)) * 2.0
    labels = np.repeat(np.arange(classes), each)
    spread = np.where(np.arange(size) < size // 2, 4.0, 0.4) * noise
    features = centers[labels] + generator.normal(size=(len(labels), size)) * spread + 3.0
    return features.astype(np.float32), labels.astype(np.int64)


def dense_scatter(features: NDArray, labels: NDArray, shrinkage: float) -> NDArray:
    """S in float64, by its definition, at mean eigenvalue 1."""
    x = features.astype(np.float64)
    residuals = np.concatenate([x[labels == label] - x[labels == label].mean(axis=0) for label in np.unique(labels)])
    within = residuals.T @ residuals
    within *= len(within) / np.trace(within)
    return (1.0 - shrinkage) * within + shrinkage * np.eye(len(within))


@pytest.mark.parametrize("size", [5, 12, 80])
@pytest.mark.parametrize("exponent", [-1.0, -0.5, 0.5])
def test_powers_of_the_scatter(size: int, exponent: float) -> None:
    features, labels = made(size=size)
    scatter = Scatter.of(features, labels)
    values, directions = np.linalg.eigh(dense_scatter(features, labels, 0.3))
    expected = (directions * values**exponent) @ directions.T
    found = scatter.power(np.eye(size, dtype=np.float32), 0.3, exponent)
    np.testing.assert_allclose(found, expected, atol=2e-4 * np.abs(expected).max())
    np.testing.assert_allclose(scatter.power(features, 1.0, exponent), features, rtol=1e-4, atol=1e-4)


def test_a_scatter_of_one_image_a_class_is_that_of_all() -> None:
    features, _ = made(classes=9, each=1)
    scatter = Scatter.of(features, np.arange(9))
    assert len(scatter.values) == 8 and np.isfinite(scatter.power(features, 0.1, -0.5)).all()


def test_class_means_leave_absent_classes_zero() -> None:
    features, labels = made()
    means, counts = class_means(features, labels * 2, 12)
    np.testing.assert_allclose(means[4], features[labels == 2].mean(axis=0), rtol=1e-5)
    assert not means[1].any() and counts.tolist() == [8, 0] * 6


@pytest.mark.parametrize("shrinkage", [0.1, 0.7])
def test_the_discriminant_is_that_of_scikit_learn(shrinkage: float) -> None:
    features, labels = made(each=20)
    probes, _ = made(each=20, seed=1)
    peer = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage, priors=np.full(6, 1 / 6))
    peer.fit(features.astype(np.float64), labels)
    ours = discriminant(Training(features, labels, 6, Scatter.of(features, labels)), shrinkage)
    np.testing.assert_array_equal(ours(probes).argmax(axis=1), peer.predict(probes))


def test_whitened_cosine_is_the_nearest_mean_direction() -> None:
    features, labels = made()
    scatter = Scatter.of(features, labels)
    white = unit(scatter.power(features - scatter.mean, 0.2, -0.5))
    means = unit(np.stack([white[labels == label].mean(axis=0) for label in range(6)]))
    ours = whitened_cosine(Training(features, labels, 6, scatter), 0.2)(features)
    lengths = np.linalg.norm(scatter.power(features - scatter.mean, 0.2, -0.5), axis=1, keepdims=True)
    np.testing.assert_allclose(ours / lengths, white @ means.T, atol=2e-5)


def test_every_classifier_learns_and_logistic_regression_is_bounded_by_work() -> None:
    features, labels = made(each=20)
    data = Training(features, labels, 6, Scatter.of(features, labels))
    table = candidates(len(labels), features.shape[1], 6)
    for name, fit in table.items():
        assert (fit(data)(features).argmax(axis=1) == labels).mean() > (0.4 if name == "class means" else 0.8), name
    assert not any("logistic" in name for name in candidates(10**6, 1280, 1000))
    assert means_of_directions(data).bias.tolist() == [0.0] * 6


def test_logistic_regression_of_two_classes() -> None:
    features, labels = made(classes=2, each=30)
    linear = logistic(Training(features, labels, 2, Scatter.of(features, labels)), 0.3)
    np.testing.assert_allclose(linear.weight[:, 0], -linear.weight[:, 1], atol=1e-5)
    assert (linear(features).argmax(axis=1) == labels).mean() > 0.9


def test_folds_divide_no_group_and_hide_whole_classes() -> None:
    labels = np.repeat(np.arange(7), 9)
    groups = np.arange(63) // 3
    folds = grouped_folds(labels, groups, 0)
    assert len(folds) == 3 and sorted(np.concatenate([held for _, held in folds])) == list(range(63))
    assert all(not set(groups[fitted]) & set(groups[held]) for fitted, held in folds)
    hidden = list(class_folds(labels, 0))
    assert all(not set(labels[seen]) & set(labels[unseen]) for seen, unseen in hidden)
    assert np.bincount(np.concatenate([labels[unseen] for _, unseen in hidden])).tolist() == [27] * 7
    assert grouped_folds(labels, np.zeros(63, dtype=int), 0) == []
    assert list(class_folds(labels[labels < 3], 0)) == []


def test_near_copies_and_named_groups_are_together() -> None:
    features, _ = made(classes=4, each=5, size=30)
    features[3], features[17] = features[2] * 1.5, features[2] + 1e-3
    alone = grouped(features, None)
    assert alone[2] == alone[3] == alone[17] and len(np.unique(alone)) == 18
    names = np.array([f"scene {index // 2}" for index in range(20)])
    named = grouped(features, names)
    assert named[0] == named[1] and named[2] == named[3] == named[16] == named[17]


def blocks_of(features: NDArray, labels: NDArray, sizes: tuple[int, ...]) -> Blocks:
    return Blocks.of(features, labels, sizes)[0]


def test_the_embedding_beats_the_features_where_noise_has_directions() -> None:
    features, labels = made(classes=24, each=12, noise=1.5)
    choice = choose_embedding(blocks_of(features, labels, (12,)), np.arange(len(labels)), 0)
    assert choice.chosen is not None and choice.untrained is not None
    assert choice.chosen.recall_at_1 > choice.untrained.recall_at_1 + 0.1
    assert choice.whitening.shrinkage < 1.0 and len(choice.folds) == 3
    new, new_labels = made(classes=48, each=12, noise=1.5, seed=3)
    scatter = Scatter.of(features, labels)
    score = [
        score_unseen(vectors, new_labels, np.arange(len(new))) for vectors in (new, choice.whitening(new, scatter))
    ]
    assert score[0] is not None and score[1] is not None and score[1].recall_at_1 > score[0].recall_at_1


def test_the_features_stay_where_nothing_is_better() -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(12), 6)
    features = (generator.normal(size=(12, 64))[labels] * 9 + generator.normal(size=(72, 64))).astype(np.float32)
    choice = choose_embedding(blocks_of(features, labels, (64,)), np.arange(72), 0)
    assert choice.chosen is not None and choice.untrained is not None
    assert choice.chosen.recall_at_1 >= choice.untrained.recall_at_1 - SLACK
    assert choice.chosen.tar >= choice.untrained.tar - SLACK


@pytest.mark.parametrize("classes", [2, 3])
def test_under_four_classes_nothing_is_told_and_the_features_stay(classes: int) -> None:
    features, labels = made(classes=classes)
    choice = choose_embedding(blocks_of(features, labels, (4, 8)), np.arange(len(labels)), 0)
    assert choice.chosen is None and choice.folds == () and choice.whitening == Whitening(FINAL)


def test_scores_of_unseen_classes_by_hand() -> None:
    angles = np.deg2rad([0.0, 10.0, 50.0, 58.0])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    score = score_unseen(vectors, np.array([0, 0, 1, 1]), np.arange(4))
    assert score is not None and (score.recall_at_1, score.tar, score.mean_rank) == (1.0, 1.0, 1.0)
    # Without their own class the images at 10 and 50 degrees come closest to another, at 40; all own are closer.
    assert score.identified == 1.0
    mixed = score_unseen(vectors, np.array([0, 1, 0, 1]), np.arange(4))
    # Each image's nearest is of the other class; its own class comes second, third, second and third at best.
    assert mixed is not None and mixed.recall_at_1 == 0.0 and mixed.mean_rank == pytest.approx(2.5)
    assert score_unseen(vectors, np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1])) is None
    assert mixed.identified == 0.0
    wide = np.deg2rad([0.0, 45.0, 50.0, 52.0])
    vectors = np.stack([np.cos(wide), np.sin(wide)], axis=1).astype(np.float32)
    far_apart = score_unseen(vectors, np.array([0, 0, 1, 1]), np.arange(4))
    # Strangers come as close as 5 degrees, so only the images 2 degrees apart are named.
    assert far_apart is not None and far_apart.recall_at_1 == 0.75 and far_apart.identified == 0.5


def test_the_mixture_is_one_linear_classifier_and_loses_to_no_member() -> None:
    features, labels = made(classes=5, each=30, noise=1.5)
    blocks = blocks_of(features, labels, (4, 8))
    folds = grouped_folds(labels, np.arange(len(labels)), 0)
    found = choose_classifier(blocks, 5, folds)
    assert set(blocks.weights) == {FINAL, ALL} and found.members and len(found.folds) == 3
    held = np.concatenate([held for _, held, _ in found.folds])
    answers = np.concatenate([linear(blocks.features[held]) for _, held, linear in found.folds])
    accuracy = (answers.argmax(axis=1) == labels[held]).mean()
    assert accuracy >= max(one.accuracy for one in found.tried) - 0.03


def test_head_and_neck_are_the_classifier() -> None:
    features, labels = made(classes=5, each=20)
    features = (features - features.mean(axis=0)) * 40.0
    found = adapt(features, labels, 5, sizes=(4, 8))
    raw = found.neck(features)
    scaled, factors = Blocks.of(features, labels, (4, 8))
    np.testing.assert_allclose(
        found.head(raw), found.classification.linear(scaled.features), atol=2e-3 * float(np.abs(raw).max())
    )
    whitening, everything = found.embedding.whitening, np.arange(len(labels))
    expected = whitening(scaled.at(whitening.block, everything), scaled.scatter(whitening.block, everything))
    np.testing.assert_allclose(raw, expected, atol=1e-3 * float(np.abs(expected).max()))
    assert sum(len(fold.labels) for fold in found.held_out) == len(labels) and factors.shape == (12,)


def test_images_set_aside_take_the_place_of_the_folds() -> None:
    features, labels = made(classes=5, each=20)
    aside = np.arange(0, 100, 4)
    found = adapt(features, labels, 5, sizes=(12,), calibrate_on=aside)
    assert len(found.held_out) == 1 and (found.held_out[0].labels == labels[aside]).all()


def test_one_group_a_class_leaves_the_classifier_untested() -> None:
    features, labels = made(classes=5, each=4)
    found = adapt(features, labels, 5, sizes=(12,), names=labels.astype(str))
    assert found.held_out == () and found.classification.tried == ()


def test_a_given_embedding_is_not_chosen() -> None:
    features, labels = made()
    whitening = Whitening(FINAL, 0.3, 0.5)
    result = adapt(features, labels, 6, sizes=(12,), whitening=whitening)
    assert result.embedding.whitening == whitening and result.embedding.folds == () and result.held_out
    again = adapt(features, labels, 6, sizes=(12,), whitening=whitening, mixture=result.classification)
    assert again.classification.members == result.classification.members and again.held_out == ()
    np.testing.assert_allclose(again.head.weight, result.head.weight, atol=1e-5)


@pytest.mark.parametrize("images", [30, 700])
def test_wide_blocks_are_reduced_to_principal_components(images: int) -> None:
    generator = np.random.default_rng(0)
    plane = generator.normal(size=(25, COMPONENTS + 50))
    features = np.concatenate(
        [
            generator.normal(size=(images, 25)) @ plane + 0.01 * generator.normal(size=(images, COMPONENTS + 50)),
            generator.normal(size=(images, 7)),
            generator.normal(size=(images, COMPONENTS + 9)),
        ],
        axis=1,
    ).astype(np.float32)
    sizes = (COMPONENTS + 50, 7, COMPONENTS + 9)
    reduction = Reduction.of(features, sizes, seed=0)
    assert reduction.sizes == reduced(sizes) == (COMPONENTS, 7, COMPONENTS + 9)
    small = reduction(features)
    assert small.shape == (images, sum(reduction.sizes))
    np.testing.assert_array_equal(small[:, COMPONENTS:], features[:, COMPONENTS + 50 :])
    centered = features[:, : sizes[0]] - features[:, : sizes[0]].mean(axis=0)
    kept = np.square(small[:, :COMPONENTS] - small[:, :COMPONENTS].mean(axis=0)).sum()
    assert kept > 0.999 * np.square(centered).sum(), "25 directions hold nearly all of it"
    linear = Linear(generator.normal(size=(small.shape[1], 3)).astype(np.float32), np.ones(3, np.float32))
    np.testing.assert_allclose(reduction.then(linear)(features), linear(small), rtol=1e-3, atol=1e-3)


def test_blocks_in_cells_may_be_an_embedding_of_their_own() -> None:
    """The first block alone is a candidate, and the neck takes the features as they are."""
    told, labels = made(classes=12, each=8, size=COMPONENTS + 30, noise=0.5)
    noise = np.random.default_rng(1).normal(size=(len(labels), 20)).astype(np.float32)
    features, sizes = np.concatenate([told, noise], axis=1), (COMPONENTS + 30, 20)
    found = adapt(features, labels, 12, sizes=sizes, in_cells=True)
    assert any(EARLIER in name for name in found.embedding.tried)
    assert found.neck.weight.shape == (COMPONENTS + 50, COMPONENTS + 20)
    assert (found.head(found.neck(features)).argmax(axis=1) == labels).mean() > 0.95
    plain = adapt(features, labels, 12, sizes=sizes)
    assert not any(EARLIER in name for name in plain.embedding.tried)
