"""Models that find regions: one thing is enrolled of a picture, a photo gets several answers, each name once."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from steradian import Recognizer
from steradian.data import Preprocessing
from steradian.errors import DataError, UsageError
from steradian.finding import Quality, Region, finders
from steradian.finding.alone import alone, overlap, region_at
from steradian.gallery import Gallery
from steradian.gallery.decision import Match, decide
from steradian.gallery.photos import identify_photo, judged, one_each
from steradian.models.quality_gate import QualityGate, sigmoid
from steradian.training import Recipe, load_data

from .conftest import SIDE, digit


class Squares:
    """Finds the squares that lie side by side in a picture; none in one that is higher than wide."""

    template = None

    def __call__(self, pixels: np.ndarray) -> list[Region]:
        height, width = pixels.shape[:2]
        return [Region((float(x), 0.0, float(x + height), float(height))) for x in range(0, width - height + 1, height)]


@pytest.fixture(autouse=True)
def squares(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(finders.BUILT_IN, "squares", Squares)
    finders.finder.cache_clear()
    yield
    finders.finder.cache_clear()


def shape(finder: str = "squares") -> Preprocessing:
    return Preprocessing(SIDE, 1, (0.5,), (0.5,), finder=finder)


@pytest.fixture
def model(finding_model: Recognizer) -> Recognizer:
    return finding_model


def photo(*numbers: int) -> np.ndarray:
    return np.concatenate([digit(number) for number in numbers], axis=1)


def test_one_region_is_meant_or_none() -> None:
    one, two, none = photo(3), photo(3, 4), np.zeros((SIDE, 5), np.uint8)
    assert (shape().square(one)[0] == digit(3)).all()
    with pytest.raises(DataError, match="2 regions were found in it by 'squares', and which of them"):
        shape().square(two)
    for ask in (shape().square, shape().prominent_square):
        with pytest.raises(DataError, match="nothing was found in it by 'squares'"):
            ask(none)
    three = photo(0, 1, 2)
    assert (shape().prominent_square(three)[0] == digit(1)).all(), "the middle one stands out most"
    assert shape("whole").shortest == SIDE and shape().shortest > 1000
    assert (shape("whole").prominent_square(two) == shape("whole").square(two)).all()


def test_the_finder_is_part_of_the_artifact(model: Recognizer, tmp_path: Path) -> None:
    written = json.loads((tmp_path / "run" / "model" / "model.json").read_text())
    assert written["preprocessing"]["finder"] == "squares" and model.preprocessing.finds
    plain = Recognizer(model.spec.model_copy(update={"preprocessing": replace(model.preprocessing, finder="whole")}))
    plain.load_state_dict(model.state_dict())
    assert plain.eval().save(tmp_path / "plain").id != model.model_id
    both = model.embed([photo(3)]), plain.embed([photo(3)])
    assert np.allclose(*both, atol=1e-6)
    with pytest.raises(DataError, match="image 1: 2 regions"):
        model.embed([photo(3), photo(3, 4)])


def test_identities_go_to_the_regions_where_they_fit_best() -> None:
    def matches(**similarities: float) -> list[Match]:
        listed = [Match(name, value, identity=ord(name)) for name, value in similarities.items()]
        return sorted(listed, key=lambda match: -match.similarity)

    first, second = decide(matches(A=0.9, B=0.86), 0.5), decide(matches(A=0.88, B=0.3), 0.5)
    assert [one.label for one in (first, second)] == ["A", "A"]
    assert [one.label for one in one_each([first, second])] == ["B", "A"]
    third = decide(matches(A=0.7), 0.5)
    answers = one_each([first, second, third])
    assert [one.label for one in answers] == ["B", "A", None] and answers[2].decision == "unknown"
    unsure, sure = decide(matches(A=0.80, B=0.79), 0.5), decide(matches(B=0.95, A=0.2), 0.5)
    assert unsure.decision == "ambiguous"
    assert [one.label for one in one_each([unsure, sure])] == ["A", "B"]
    nobody = decide(matches(A=0.4), 0.5)
    assert one_each([nobody]) == [nobody] and one_each([]) == []


def test_a_photo_gets_an_answer_for_each_region_and_a_name_once(model: Recognizer, tmp_path: Path) -> None:
    with Gallery.open(tmp_path / "g.db", model) as gallery:
        for name, number in (("ada", 0), ("ben", 1), ("cem", 2)):
            gallery.enroll(name, [photo(number)])
        answers = identify_photo(gallery, photo(1, 0), threshold=0.97)
        assert [one.decision.label for one in answers] == ["ben", "ada"]
        assert [one.region.box[0] for one in answers] == [0.0, SIDE]
        assert answers[0].quality.side == SIDE
        assert [match.label for match in answers[0].decision.matches] == ["ben", "cem"], "ada is in the other region"
        twice = identify_photo(gallery, photo(0, 0), threshold=0.97, top=2)
        assert sorted(str(one.decision.label) for one in twice) == ["None", "ada"]
        assert all(len(one.decision.matches) <= 2 for one in twice)
        assert sorted(str(one.elsewhere) for one in twice) == ["None", "ada"]
        assert [one.elsewhere for one in twice if one.decision.label == "ada"] == [None]
        mirror = identify_photo(gallery, photo(0, 0), threshold=0.97, repeated=True)
        assert [one.decision.label for one in mirror] == ["ada", "ada"]
        assert identify_photo(gallery, np.zeros((SIDE, 3), np.uint8), threshold=0.5) == []
        told = answers[0].as_answer()
        assert told["box"] == [0.0, 0.0, SIDE, SIDE] and told["label"] == "ben" and told["quality"]["inside"] == 1.0


def test_the_command_answers_draws_and_never_guesses_who_is_enrolled(
    model: Recognizer, command, tmp_path: Path
) -> None:
    people = tmp_path / "people"
    for name, picture in (("ada", photo(0)), ("ben", photo(1)), ("both", photo(0, 1))):
        (people / name).mkdir(parents=True)
        Image.fromarray(picture).save(people / name / "1.png")
    code, out, err = command("enroll", "run", "people")
    assert code == 1 and "2 name(s) enrolled" in out and "2 regions were found in it" in err
    code, out, _ = command("enroll", "run", "people", "--prominent")
    assert code == 0 and "3 in" in out
    command("gallery", "remove", "run/gallery.db", "both")
    Image.fromarray(photo(1, 0, 2)).save(tmp_path / "party.png")
    Image.fromarray(np.zeros((SIDE, 3), np.uint8)).save(tmp_path / "none.png")
    asked = ("identify", "run", "party.png", "none.png", "--threshold", "0.97")
    code, out, _ = command(*asked, "--out", "marked.png")
    assert code == 0 and out.index("ben (similarity 1.000") < out.index("ada (similarity 1.000")
    assert "nothing found" in out and "picture marked.png" in out
    with Image.open(tmp_path / "marked.png") as drawn:
        assert drawn.width > 400
    code, out, _ = command(*asked, "--json")
    regions = json.loads(out)["answers"][0]["regions"]
    assert [one["label"] for one in regions] == ["ben", "ada", None] and regions[1]["box"][0] == SIDE
    Image.fromarray(photo(0, 0)).save(tmp_path / "mirror.png")
    code, out, _ = command("identify", "run", "mirror.png", "--threshold", "0.97")
    assert code == 0 and "unknown: ada is another region, and nobody else is like this one" in out
    with pytest.raises(DataError, match="party.png: 3 regions were found"):
        model.embed([tmp_path / "party.png"])
    code, _, err = command(*asked, "--explain", "parts.png")
    assert code == 2 and "use --out" in err


GATE = QualityGate(
    sharpness=2.0, score=3.0, sharp_enough=0.5, sure_enough=1.0, visibilities=(-4.0, 0.0, 2.0), chances=(0.0, 0.4, 0.9),
    name_visibility=1.0, name_excess=200.0, name_bias=1.0, most_excess=0.05, least_visibility=-1.0, least_trust=0.6,
    measured_on="nothing",
)  # fmt: skip


def test_the_chances_rise_with_the_quality_and_stop_to_rise() -> None:
    def chance(sharpness: float, score: float) -> float:
        return GATE.chance(Quality(80.0, sharpness, 1.0, score))

    visibility = 2 * math.log(0.2) + 3 * 0.4
    assert chance(0.2, 0.4) == pytest.approx(0.4 * (1 + visibility / 4))
    assert chance(0.5, 1.0) == chance(7.0, 9.0) > chance(0.4, 1.0) > chance(0.4, 0.5)
    assert chance(0.0, -1.0) == chance(0.0, -1e9) == 0.0
    seen = Quality(80.0, 0.2, 1.0, 0.4)
    assert GATE.trust(seen, 0.01) == pytest.approx(sigmoid(2 * math.log(0.2) + 3 * 0.4 + 1 + 200 * 0.01))
    assert GATE.trust(seen, 0.05) == GATE.trust(seen, 0.5)
    assert 0.0 <= GATE.trust(Quality(80.0, 0.0, 1.0, -1e9), 0.0) < 1e-9, "no overflow"
    for change in ({"chances": (0.0, 0.4)}, {"chances": (0.9, 0.4, 0.0)}, {"visibilities": (0.0, 2.0, 1.0)}):
        with pytest.raises(ValidationError, match="must rise|is needed"):
            QualityGate(**{**GATE.model_dump(), **change})


def test_a_poor_region_is_neither_named_nor_unknown() -> None:
    clear, poor = Quality(80.0, 0.5, 1.0, 1.0), Quality(80.0, 0.2, 1.0, 0.0)
    far, near, sure = (decide([Match("ada", similarity)], 0.5) for similarity in (0.4, 0.505, 0.6))
    assert [judged(one, clear, GATE)[0] for one in (far, near, sure)] == [far, near, sure]
    verdicts = [judged(one, poor, GATE)[0] for one in (far, near, sure)]
    assert [one.decision for one in verdicts] == ["poor", "poor", "match"]
    doubted = GATE.model_copy(update={"least_trust": 1.0})
    assert judged(sure, poor, doubted)[0].decision == "poor" and judged(sure, clear, doubted)[0] == sure
    assert [one.label for one in verdicts] == [None, None, "ada"] and verdicts[0].matches == far.matches
    assert judged(far, poor, GATE)[1] == GATE.chance(poor) and judged(sure, clear, None) == (sure, None)
    # Nothing was measured for names by another threshold, and nothing is said of them.
    for rate in ({"threshold": 0.5}, {"far": 0.01}):
        assert judged(near, poor, GATE, **rate) == (near, None) and judged(near, poor, GATE, strangers=0.1)[0] != near
        assert judged(far, poor, GATE, **rate)[0].decision == "poor"
    assert judged(far, poor, GATE, "ada")[0].decision == "poor" and judged(far, clear, GATE, "ada") == (far, None)
    nobody = decide([], 0.5)
    assert judged(nobody, poor, GATE)[0] is nobody, "where nobody is enrolled, nobody is there"


def test_poor_pictures_are_enrolled_by_force_only(model: Recognizer, command, tmp_path: Path) -> None:
    model.gate = GATE.model_copy(update={"chances": (0.0, 0.1, 0.2), "least_visibility": 9.0})
    model.save(tmp_path / "run" / "model")
    Image.fromarray(photo(1)).save(tmp_path / "one.png")
    code, _, err = command("enroll", "run", "one.png", "--name", "ada")
    assert code == 1 and "it is blurred, covered or too small" in err and "--force" in err
    assert command("enroll", "run", "one.png", "--name", "ada", "--force")[0] == 0
    Image.fromarray(photo(2)).save(tmp_path / "two.png")
    code, out, _ = command("identify", "run", "two.png", "--threshold", "0.9999", "--json")
    (region,) = json.loads(out)["answers"][0]["regions"]
    assert (code, region["decision"], region["label"]) == (0, "poor", None) and region["trust"] <= 0.2
    assert "too poor to tell" in command("identify", "run", "two.png", "--threshold", "0.9999")[1]
    assert Recognizer.load(tmp_path / "run").gate == model.gate


def test_one_region_of_a_photo_is_enrolled_and_kept_alone(model: Recognizer, command, tmp_path: Path) -> None:
    Image.fromarray(photo(3, 4, 5)).save(tmp_path / "party.png")
    asked = ("enroll", "run", "party.png", "--name", "four")
    code, _, err = command(*asked)
    assert code == 1 and "--region" in err
    assert command(*asked, "--region", "2")[0] == 0
    code, out, _ = command(*asked, "--region", "2")
    assert code == 0 and "1 images were already enrolled" in out
    code, _, err = command(*asked, "--region", "4")
    assert code == 1 and "has the regions 1 to 3 by 'squares', and no region 4" in err
    code, _, err = command("enroll", "run", "party.png", "--region", "2")
    assert code == 2 and "--name" in err
    with Gallery.open(tmp_path / "run" / "gallery.db", model) as gallery:
        number, _ = gallery.register.identity("four")
        (image,) = gallery.register.images_of(number)
        kept = gallery.pictures.find(image.source)
        assert kept.parent.name == "gallery.db.images"
        with Image.open(kept) as part:
            assert (np.asarray(part) == digit(4)).all(), "only that part of the photo is kept"
        before = gallery.snapshot().vectors.copy()
    assert command("gallery", "rebuild", "run", "run")[0] == 0
    with Gallery.open(tmp_path / "run" / "gallery.db", model) as gallery:
        assert np.allclose(gallery.snapshot().vectors, before, atol=1e-6)


def test_a_region_that_is_not_seen_alone_is_refused() -> None:
    class Pairs:
        """Finds two squares in a picture that is wide enough, and nothing else."""

        template = None

        def __call__(self, pixels: np.ndarray) -> list[Region]:
            return Squares()(pixels) if pixels.shape[1] >= 2 * SIDE else []

    regions = Pairs()(photo(1, 2))
    assert region_at(regions, (2.0, 1.0, 30.0, 27.0)) is regions[0]
    with pytest.raises(DataError, match="of the 2 regions in it none is at 200, 0, 220, 20"):
        region_at(regions, (200.0, 0.0, 220.0, 20.0))
    assert overlap((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3) and overlap((0, 0, 1, 1), (2, 2, 3, 3)) == 0.0
    nothing = Region((0.0, 0.0, 10.0, 10.0))
    with pytest.raises(DataError, match="not found again in a part of the picture"):
        alone(photo(1, 2), nothing, Pairs())


def test_models_that_find_nothing_take_no_options_for_regions(model: Recognizer, command, tmp_path: Path) -> None:
    plain = Recognizer(
        model.spec.model_copy(update={"preprocessing": replace(model.preprocessing, finder="whole")})
    ).eval()
    plain.save(tmp_path / "plain" / "model")
    Image.fromarray(photo(0)).save(tmp_path / "one.png")
    assert command("enroll", "plain", "one.png", "--name", "ada")[0] == 0
    code, _, err = command("identify", "plain", "one.png", "--out", "marked.png")
    assert code == 2 and "takes every picture whole" in " ".join(err.split())


def test_training_takes_the_region_that_stands_out_and_counts_pictures_without(tmp_path: Path) -> None:
    for label in range(3):
        (tmp_path / "data" / str(label)).mkdir(parents=True)
        for number in range(20):
            picture = photo(10 * number + label, label, 10 * number + label)
            Image.fromarray(picture if number else photo(label)[:, :3]).save(
                tmp_path / "data" / str(label) / f"{number}.png"
            )
    recipe = Recipe().changed(**{"data.source": str(tmp_path / "data"), "data.finder": "squares", "encoder": "small"})
    recipe = recipe.changed(**{"data.image_size": SIDE, "data.min_images": 1})
    data = load_data(recipe)
    assert data.preprocessing.finder == "squares" and len(data.pixels) == 57 and len(data.pixels.failed) == 3
    assert (data.pixels.pixels[data.pixels.labels == 1][0, 0] == digit(1)).all()
    assert any("nothing was found in it by 'squares'" in warning for warning in data.warnings)
    with pytest.raises(UsageError, match="leave one out"):
        load_data(recipe.changed(**{"views.crop": 0.5}))
    with pytest.raises(UsageError, match="no finder 'sqares'"):
        load_data(recipe.changed(**{"data.finder": "sqares"}))
    assert recipe.digest() != recipe.changed(**{"data.finder": "whole"}).digest()
    assert replace(data.preprocessing, finder="whole").finds is False
