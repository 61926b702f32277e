"""The rate of strangers: thresholds from the gallery's own images, from the model, and from pairs."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from steradian.errors import InputError
from steradian.gallery import Gallery, own_images
from steradian.gallery.search.snapshot import Snapshot
from steradian.gallery.strangers import (
    UNREACHABLE,
    WIDENING,
    OwnStrangers,
    own_scores,
    relative_limit,
    relative_scores,
    stranger_threshold,
)
from steradian.gallery.strategy import Comparison, choose_comparison
from steradian.metrics.checks import unit
from steradian.models.calibration import StrangerScores, Threshold, Thresholds, nearest_size
from steradian.models.fitted_calibration import fit_strangers


def asked(identities: int, images: int) -> OwnStrangers:
    """A gallery whose own images say nothing."""
    return OwnStrangers(images, "nearest", np.zeros(0), identities, images)


def faces(identities: int, each: int, seed: int, size: int = 24, spread: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors around random directions, new ones for every seed."""
    generator = np.random.default_rng(seed)
    centers = unit(generator.normal(size=(identities, size)))
    labels = np.repeat(np.arange(identities), each)
    noise = generator.normal(size=(len(labels), size)) * spread / size**0.5
    return unit(centers[labels] + noise).astype(np.float32), labels


def measured() -> tuple[StrangerScores, ...]:
    parts = [faces(20, 12, seed) for seed in (100, 101, 102)]
    return fit_strangers(parts, "others")


class Model:
    """What a gallery needs of a model, without images."""

    model_id, embedding_size = "m" * 64, 24
    calibration, classes = None, ()
    strangers: tuple[StrangerScores, ...] = ()
    thresholds = Thresholds()


def filled(path: Path, model: Model, identities: int, each: int, seed: int) -> Gallery:
    gallery = Gallery.open(path, model)
    vectors, labels = faces(identities, each, seed)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        gallery.enroll_vectors(f"p{label}", vectors[rows], [f"{row}.png" for row in rows])
    return gallery


@pytest.mark.parametrize("identities", [8, 40, 120])
@pytest.mark.parametrize("rate", [0.1, 0.01])
def test_the_promised_share_of_strangers_gets_a_name(tmp_path: Path, identities: int, rate: float) -> None:
    model, shares = Model(), []
    model.strangers = measured()
    for draw in range(4):
        with filled(tmp_path / f"{draw}.db", model, identities, 5, draw) as gallery:
            probes, _ = faces(150, 4, 1000 + draw)
            answers = gallery.identify_vectors(probes, strangers=rate)
            shares.append(np.mean([answer.decision != "unknown" for answer in answers]))
    # 600 probes of 150 strangers and four draws of a gallery: the mean share is within a factor of two.
    assert rate / 4 < np.mean(shares) < 2 * rate


def test_one_in_a_hundred_strangers_is_the_default(tmp_path: Path) -> None:
    with filled(tmp_path / "g.db", Model(), 60, 5, 0) as gallery:
        threshold = gallery.stranger_threshold()
        assert (threshold.rate, threshold.identities) == (
            0.01,
            60,
        ) and "300 images of the gallery" in threshold.measured_on
        assert gallery.identify_vectors(faces(1, 1, 5)[0])[0].threshold == threshold.cosine
        assert gallery.stranger_threshold(0.1).cosine < threshold.cosine
        for both in ({"far": 0.1, "strangers": 0.1}, {"strangers": 0.1, "threshold": 0.5}):
            with pytest.raises(InputError, match="give one of them"):
                gallery.identify_vectors(faces(1, 1, 5)[0], **both)
        for wrong in (0.0, 1.0, float("nan")):
            with pytest.raises(InputError, match="above 0 and below 1"):
                gallery.stranger_threshold(wrong)


def test_the_threshold_follows_the_gallery(tmp_path: Path) -> None:
    model = Model()
    model.strangers = measured()
    with filled(tmp_path / "g.db", model, 10, 5, 0) as gallery:
        small = gallery.stranger_threshold(0.05)
        vectors, labels = faces(300, 5, 7)
        for label in np.unique(labels):
            gallery.enroll_vectors(f"new {label}", vectors[labels == label], [""] * 5)
        large = gallery.stranger_threshold(0.05)
    assert large.cosine > small.cosine and (small.identities, large.identities) == (10, 310)


def test_what_cannot_be_kept_is_unknown_and_says_why(tmp_path: Path) -> None:
    with filled(tmp_path / "g.db", Model(), 8, 5, 0) as gallery:
        threshold = gallery.stranger_threshold(1e-4)
        assert threshold.cosine > 1.0 and "cannot tell a rate of 0.0001" in threshold.measured_on
        known = faces(8, 5, 0)[0]
        assert {answer.decision for answer in gallery.identify_vectors(known, strangers=1e-4)} == {"unknown"}
    with filled(tmp_path / "few.db", Model(), 2, 2, 0) as gallery, pytest.raises(InputError, match="nothing is known"):
        gallery.stranger_threshold(0.1)


def test_identical_strangers_and_one_identity(tmp_path: Path) -> None:
    model = Model()
    model.strangers = measured()
    with Gallery.open(tmp_path / "g.db", model) as gallery:
        one = faces(1, 1, 0)[0]
        gallery.enroll_vectors("only", np.repeat(one, 30, axis=0), [""] * 30)
        assert gallery.stranger_threshold(0.01).measured_on == "others"
        for name in "abcdef":
            gallery.enroll_vectors(name, np.repeat(one, 5, axis=0), [""] * 5)
        # Strangers look exactly like the enrolled: nobody can be told apart.
        assert {answer.decision for answer in gallery.identify_vectors(one, strangers=0.1)} == {"unknown"}


def test_pairs_bound_the_rate_where_nothing_else_is_known() -> None:
    pairs = Thresholds(
        tuple(
            Threshold(far=far, cosine=cosine, low=0, high=1, measured_on="x")
            for far, cosine in ((0.1, 0.3), (0.01, 0.5))
        )
    )
    assert stranger_threshold(0.1, asked(1, 1), (), pairs).cosine == pytest.approx(0.3)
    assert stranger_threshold(0.1, asked(10, 10), (), pairs).cosine == pytest.approx(0.5)
    assert stranger_threshold(0.1, asked(10, 100), (), pairs).cosine == pytest.approx(0.7)
    assert stranger_threshold(0.01, asked(10, 10**9), (), pairs).cosine > 1.0


def test_scores_of_the_model_by_hand() -> None:
    scores = StrangerScores(identities=4, rates=[0.5, 0.1, 0.01], cosines=[0.2, 0.4, 0.6], measured_on="x")
    assert scores.cosine(0.1, 4) == pytest.approx(0.4) and scores.cosine(0.01, 4) == pytest.approx(0.6)
    # One minus .9 to the power of 2 strangers of 8 pass at what one of 4 passes.
    assert scores.cosine(1 - 0.9**2, 8) == pytest.approx(0.4)
    assert scores.cosine(0.001, 4) == pytest.approx(0.8) and scores.cosine(1e-9, 4) == 1.0
    for wrong in ({"rates": [0.1, 0.5, 0.6]}, {"cosines": [0.6, 0.4, 0.2]}, {"cosines": [0.1, 0.2]}):
        with pytest.raises(ValidationError):
            StrangerScores.model_validate({**scores.model_dump(), **wrong})


def test_scores_leave_out_the_own_class_and_are_of_several_sizes() -> None:
    vectors, labels = faces(30, 20, 3)
    everything = fit_strangers([(vectors, labels)], "x")
    scores = [one for one in everything if one.strategy == "nearest"]
    assert [one.identities for one in everything if one.strategy == "mean"] == [one.identities for one in scores]
    # An asked image of an enrolled class has one class fewer against it.
    assert [round(one.identities) for one in scores] == [5, 10, 19, 29]
    cosines = vectors @ vectors.T
    cosines[labels[:, None] == labels[None, :]] = -1
    assert max(scores[-1].cosines) <= cosines.max() + 1e-6
    middle = [np.interp(np.log(10), -np.log(one.rates), one.cosines) for one in scores]
    assert middle == sorted(middle)
    assert nearest_size(scores, 12) is scores[1] and nearest_size(scores, 10**6) is scores[-1]
    assert nearest_size((), 5) is None
    assert fit_strangers([(vectors[:20], labels[:20])], "one class") == ()


def test_own_images_are_asked_as_strangers(tmp_path: Path) -> None:
    with filled(tmp_path / "g.db", Model(), 6, 5, 0) as gallery:
        snapshot = gallery.snapshot()
        cosines = snapshot.vectors @ snapshot.vectors.T
        cosines[snapshot.identities[:, None] == snapshot.identities[None, :]] = -2
        np.testing.assert_allclose(np.sort(own_scores(snapshot)), np.sort(cosines.max(axis=1)), atol=1e-5)
        means, numbers = snapshot.means
        to_means = snapshot.vectors @ means.T
        to_means[snapshot.identities[:, None] == numbers[None, :]] = -2
        np.testing.assert_allclose(np.sort(own_scores(snapshot, "mean")), np.sort(to_means.max(axis=1)), atol=1e-5)


def test_a_few_identities_predict_strangers_by_the_formula() -> None:
    scores = np.tanh(np.array([0.1, 0.2, 0.3, 0.4, 0.5] * 2))
    own = OwnStrangers(10, "nearest", scores, 6, 10)
    # Student's t with 5 degrees of freedom exceeds 1.4759 with probability .1; the deviation is sqrt(.02).
    expected = np.tanh(0.3 + WIDENING * 1.4759 * (7 / 6) ** 0.5 * 0.02**0.5)
    threshold = stranger_threshold(0.1, own, (), Thresholds())
    assert threshold.cosine == pytest.approx(expected, abs=1e-5)
    assert threshold.low < threshold.cosine < threshold.high
    # A rate below the measured ones is not extrapolated to.
    assert stranger_threshold(0.001, own, (), Thresholds()).cosine > 1.0
    # The model's measurement counts as much as the gallery's own.
    model = StrangerScores(identities=6, rates=[0.5, 0.1], cosines=[0.0, 0.8], measured_on="model")
    both = stranger_threshold(0.1, own, (model,), Thresholds())
    assert both.cosine == pytest.approx(np.tanh((np.arctanh(expected) + np.arctanh(0.8)) / 2), abs=1e-5)
    measured = StrangerScores(identities=6, rates=[0.5, 0.1, 0.001], cosines=[0.0, 0.8, 0.9], measured_on="model")
    alone = stranger_threshold(0.005, own, (measured,), Thresholds())
    assert (alone.low, alone.high, alone.measured_on) == (-1.0, 1.0, "model")
    # For another strategy it says nothing.
    assert stranger_threshold(0.1, replace(own, strategy="mean"), (model,), Thresholds()).cosine == threshold.cosine


def test_means_are_compared_where_they_name_more_images_right(tmp_path: Path) -> None:
    """Noisy images of one kind each have better means; identities of two kinds each are far from their means."""
    vectors, labels = faces(20, 6, 0, spread=1.6)
    two_kinds, _ = faces(60, 12, 0, spread=0.9)
    kinds = np.repeat(np.arange(30), 24)
    for name, some, whose, expected in (("one", vectors, labels, "mean"), ("two", two_kinds, kinds, "nearest")):
        with Gallery.open(tmp_path / f"{name}.db", Model()) as gallery:
            for label in np.unique(whose):
                gallery.enroll_vectors(f"p{label}", some[whose == label], [""] * int((whose == label).sum()))
            assert gallery.comparison() == Comparison(expected)
            answer = gallery.identify_vectors(some[:1], strangers=0.1)[0]
            assert answer.matches[0].similarity == pytest.approx(
                gallery.identify_vectors(some[:1], strangers=0.1, strategy=expected)[0].matches[0].similarity
            )
            assert answer.threshold == gallery.stranger_threshold(0.1).cosine
            assert answer.matches[0].image is not None
            # A rate of pairs and a given threshold are of single images.
            nearest = gallery.identify_vectors(some[:1], threshold=0.5, strategy="nearest")
            assert gallery.identify_vectors(some[:1], threshold=0.5) == nearest


def test_few_images_choose_the_nearest(tmp_path: Path) -> None:
    with filled(tmp_path / "g.db", Model(), 4, 9, 0) as few, filled(tmp_path / "h.db", Model(), 9, 1, 0) as single:
        assert few.comparison() == single.comparison() == Comparison("nearest")


def crowded(identities: int, images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images with more or less of a direction that all share, as plain or blurred pictures have."""
    generator = np.random.default_rng(seed)
    vectors, labels = faces(identities, images, seed, spread=0.9)
    shared = np.zeros(vectors.shape[1], np.float32)
    shared[0] = 1.0
    amount = generator.uniform(0.0, 2.5, (len(vectors), 1)).astype(np.float32)
    return unit(vectors + amount * shared), labels


def test_images_are_blended_where_that_names_more_right() -> None:
    """Identities of two loose kinds each: one image is noisy, and the mean is of neither kind."""
    vectors, _ = faces(60, 12, 0, spread=1.2)
    snapshot = Snapshot(np.arange(720), np.repeat(np.arange(30), 24), vectors, {})
    assert choose_comparison(snapshot).strategy == "blended"
    # Eleven identities alone tell too little about strangers for it.
    first = Snapshot(np.arange(264), snapshot.identities[:264], vectors[:264], {})
    assert choose_comparison(first).strategy in ("mean", "nearest")


def test_thresholds_are_relative_where_some_images_are_like_everybody(tmp_path: Path) -> None:
    vectors, labels = crowded(120, 6, 0)
    enrolled = labels < 60
    with Gallery.open(tmp_path / "g.db", Model()) as gallery:
        for label in range(60):
            rows = labels == label
            gallery.enroll_vectors(f"p{label}", vectors[rows][:4], [""] * 4, {"first": label < 30})
        chosen = gallery.comparison()
        assert chosen.relative
        base = gallery.stranger_threshold(0.1)
        assert base.relative
        known = vectors[enrolled].reshape(60, 6, -1)[:, 4:].reshape(120, -1)
        answers = gallery.identify_vectors(known, strangers=0.1, top=6)
        for answer in answers:
            following = np.mean([match.similarity for match in answer.matches[1:6]])
            assert answer.threshold == pytest.approx(base.cosine + 0.5 * following)
        named = [answer.label == f"p{row // 2}" for row, answer in enumerate(answers)]
        common = gallery.identify_vectors(known, strangers=0.1, strategy=chosen.strategy)
        assert len({answer.threshold for answer in common}) == 1
        assert sum(named) > 1.2 * sum(answer.label == f"p{row // 2}" for row, answer in enumerate(common))
        strangers_named = [one.label is not None for one in gallery.identify_vectors(vectors[~enrolled], strangers=0.1)]
        assert np.mean(strangers_named) < 0.14
        # Fewer matches are listed than the threshold looks at.
        assert len(gallery.identify_vectors(known[:1], strangers=0.1, top=1)[0].matches) <= 2
        some = gallery.identify_vectors(known[:2], strangers=0.1, where={"first": True})
        told = gallery.stranger_threshold(0.1, filtered=True)
        assert some[0].threshold == some[1].threshold == told.cosine and not told.relative


def test_what_own_images_cannot_tell_is_compared_plainly(tmp_path: Path) -> None:
    """Below 1 % few images tell nothing about relative scores; the model's measurement is of plain ones."""
    vectors, labels = crowded(20, 6, 0)
    model = Model()
    model.strangers = measured()
    with Gallery.open(tmp_path / "g.db", model) as gallery:
        for label in range(20):
            gallery.enroll_vectors(f"p{label}", vectors[labels == label], [""] * 6)
        chosen = gallery.comparison()
        assert chosen.relative or chosen.strategy == "blended"
        rare = gallery.stranger_threshold(0.005)
        assert not rare.relative and rare.cosine < UNREACHABLE
        assert {one.threshold for one in gallery.identify_vectors(vectors[:3], strangers=0.005)} == {rare.cosine}
        gallery.check_rates(0.005, None)


def test_a_gallery_that_shrinks_is_asked_again(tmp_path: Path) -> None:
    vectors, labels = crowded(12, 30, 0)
    with Gallery.open(tmp_path / "g.db", Model()) as gallery:
        for label in range(12):
            gallery.enroll_vectors(f"p{label}", vectors[labels == label], [""] * 30)
        assert gallery.comparison().relative
        gallery.identify_vectors(vectors[:2], strangers=0.05)
        # No image is less, but eleven identities tell nothing about relative scores.
        gallery.merge("p0", "p1")
        assert not gallery.comparison().relative and gallery.comparison().strategy != "blended"
        assert len(gallery.identify_vectors(vectors[:2], strangers=0.05)) == 2


def test_first_questions_at_once_choose_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def choose(*_: object, **__: object) -> Comparison:
        calls.append(1)
        time.sleep(0.05)
        return Comparison("mean")

    monkeypatch.setattr(own_images, "choose_comparison", choose)
    with filled(tmp_path / "g.db", Model(), 12, 4, 0) as gallery, ThreadPoolExecutor(8) as pool:
        asked = np.asarray(faces(1, 1, 3)[0])
        for one in [pool.submit(gallery.identify_vectors, asked, strangers=0.1) for _ in range(16)]:
            one.result()
    assert len(calls) == 1


def test_relative_scores() -> None:
    scores = np.array([[0.9, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05], [0.8, 0.8, 0.8, 0.8, 0.8, 0.8, -1.0]])
    assert relative_scores(scores) == pytest.approx([0.9 - 0.15, 0.4])
    assert relative_scores(scores[:, :1]) == pytest.approx([0.9, 0.8])
    assert relative_limit(0.5, scores[0].tolist()) == pytest.approx(0.65)
    assert relative_limit(0.5, []) == 0.5
    assert relative_limit(UNREACHABLE, [-0.1, -0.9]) == UNREACHABLE
