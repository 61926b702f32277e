"""Regions of pictures: where they are, how they are cut out, and what can be seen of them."""

from __future__ import annotations

import io
import json
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from matplotlib import cbook
from PIL import Image, ImageFilter
from typer.testing import CliRunner

from steradian.cli.main import app
from steradian.data import Preprocessing
from steradian.errors import InputError, UsageError
from steradian.finding import Quality, Region, cut, find, finder_names, similarity, warp
from steradian.finding import faces as faces_file
from steradian.finding import finders as finders_file
from steradian.finding.faces import MEAN_FACE, Faces
from steradian.finding.finders import finder
from steradian.finding.regions import sharpness
from steradian.plots.regions import Marked, drawn

BOX = (161.0, 137.0, 377.0, 353.0)
"""The face of `portrait`."""


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    """A portrait in the public domain, which matplotlib brings along, uint8 [600, 512, 3]."""
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        return np.asarray(Image.open(file).convert("RGB"))


def test_a_similarity_transform_is_found_again_and_never_mirrors() -> None:
    generator = np.random.default_rng(0)
    source = generator.normal(size=(7, 2))
    angle, scale, shift = 0.7, 2.5, np.array([3.0, -4.0])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    assert np.allclose(similarity(source, source @ turn.T + shift), np.column_stack([turn, shift]))
    mirrored = similarity(source, source * [-1.0, 1.0])
    assert np.linalg.det(mirrored[:, :2]) > 0
    noisy = source @ turn.T + shift + generator.normal(scale=0.3, size=source.shape)
    best = similarity(source, noisy)

    def error(matrix: np.ndarray) -> float:
        return float(((source @ matrix[:, :2].T + matrix[:, 2] - noisy) ** 2).sum())

    for _ in range(20):
        a, b = generator.normal(scale=0.05, size=2)
        step = np.array([[a, -b, 0.0], [b, a, 0.0]])
        assert error(best) < error(best + step)


def test_points_without_extent_are_refused() -> None:
    with pytest.raises(InputError, match="no direction"):
        similarity(np.ones((3, 2)), np.zeros((3, 2)))
    with pytest.raises(InputError, match="two or more points"):
        similarity(np.ones((1, 2)), np.ones((1, 2)))
    with pytest.raises(InputError, match="goes from left"):
        cut(np.zeros((9, 9), np.uint8), Region((3.0, 3.0, 3.0, 8.0)), 4)


def test_warp_takes_the_right_pixels_and_skips_none() -> None:
    generator = np.random.default_rng(1)
    picture = generator.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    same = np.array([[1.0, 0.0, -10.0], [0.0, 1.0, -5.0]])
    assert (warp(picture, same, 20) == picture[5:25, 10:30]).all()
    # In a ninth of the size every pixel of the checkers counts, so that they become gray.
    checkers = np.indices((90, 90)).sum(axis=0).astype(np.uint8) % 2 * 255
    small = warp(checkers, np.array([[1 / 9, 0.0, 0.0], [0.0, 1 / 9, 0.0]]), 10)
    assert np.abs(small.astype(int) - 127).max() <= 3
    outside = warp(picture, np.array([[1.0, 0.0, 100.0], [0.0, 1.0, 0.0]]), 20)
    assert not outside.any()


def test_whole_and_center_are_squares_in_the_middle() -> None:
    picture = np.zeros((40, 60), np.uint8)
    assert [one.box for one in find(picture, "whole")] == [(10.0, 0.0, 50.0, 40.0)]
    (center,) = find(picture, "center")
    assert center.box == pytest.approx((18.0, 8.0, 42.0, 32.0)) and center.inside(60, 40) == 1.0


def test_a_finder_of_your_own(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = np.zeros((40, 60), np.uint8)
    right, left = Region((30.0, 0.0, 70.0, 40.0), 0.5), Region((0.0, 0.0, 20.0, 20.0), 0.9)
    found = find(picture, lambda pixels: [right, left])
    assert found == (left, right) and found[1].inside(60, 40) == 0.75
    with pytest.raises(InputError, match="goes from left"):
        find(picture, lambda pixels: [Region((5.0, 5.0, 5.0, 9.0))])
    with pytest.raises(InputError, match="float64"):
        find(np.zeros((4, 4)), "whole")
    with pytest.raises(UsageError, match="no finder 'fases'. Did you mean 'faces'"):
        find(picture, "fases")

    class Point:
        name = "corners"

        @staticmethod
        def load() -> object:
            return lambda: lambda pixels: [left]

    monkeypatch.setattr(metadata, "entry_points", lambda group, name="corners": [Point] if name == "corners" else [])
    finder.cache_clear()
    assert "corners" in finder_names() and find(picture, "corners") == (left,)
    shape = Preprocessing(8, 1, (0.5,), (0.5,), finder="corners")
    ((region, quality, square),) = shape.cut_out(picture)
    assert region == left and quality.side == 20 and square.shape == (1, 8, 8), "a function needs no template"
    finder.cache_clear()


def test_blur_lowers_sharpness_and_contrast_does_not(portrait: np.ndarray) -> None:
    image = Image.fromarray(portrait[137:353, 161:377])
    blurred = [sharpness(np.asarray(image.filter(ImageFilter.GaussianBlur(radius)))) for radius in (0, 4, 8, 16)]
    assert blurred == sorted(blurred, reverse=True) and blurred[0] > 3 * blurred[-1]
    pale = (np.asarray(image).astype(float) * 0.4 + 100).astype(np.uint8)
    assert sharpness(pale) == pytest.approx(blurred[0], rel=0.02)
    assert sharpness(np.full((30, 30), 7, np.uint8)) == 0.0


@pytest.mark.parametrize("turned", range(4))
def test_a_face_is_found_and_cut_out_upright_however_the_picture_lies(portrait: np.ndarray, turned: int) -> None:
    picture = np.ascontiguousarray(np.rot90(portrait, turned))
    (face,) = find(picture)
    assert face.turned == (4 - turned) % 4 and face.points is not None
    upright = cut(portrait, find(portrait)[0], 150, Faces.template)
    square = cut(picture, face, 150, Faces.template)
    assert np.abs(square.astype(int) - upright).mean() < 2
    corners = np.array([face.box[:2], face.box[2:]])
    assert (face.points > corners.min(axis=0)).all() and (face.points < corners.max(axis=0)).all()
    quality = Quality.of(face, square, picture)
    assert quality.side == pytest.approx(216, abs=3) and quality.inside == 1.0 and quality.score > 1


def test_the_square_of_a_face_is_what_its_network_was_trained_on(portrait: np.ndarray) -> None:
    import dlib

    from steradian.finding.faces import POINTS_FILE, weights_file

    (face,) = find(portrait)
    detected = dlib.rectangle(161, 137, 376, 352)
    chip = dlib.get_face_chip(
        portrait, dlib.shape_predictor(str(weights_file(POINTS_FILE)))(portrait, detected), 150, 0.25
    )
    square = cut(portrait, face, 150, (0.25 + MEAN_FACE) / 1.5)
    assert face.box == BOX and np.abs(square.astype(int) - chip).mean() < 1
    assert MEAN_FACE[0, 0] > MEAN_FACE[2, 0]


def test_faces_of_any_size_and_number(portrait: np.ndarray) -> None:
    head = Image.fromarray(portrait[60:400, 100:440])
    wide = Image.new("RGB", (1200, 420), "gray")
    for number, side in enumerate((60, 340, 160)):
        wide.paste(head.resize((side, side)), (30 + 380 * number, 40))
    found = find(np.asarray(wide))
    assert len(found) >= 2 and [face.box[0] for face in found] == sorted(face.box[0] for face in found)
    tiny = np.asarray(head.resize((90, 90)))
    assert len(find(tiny)) == 1, "small pictures are searched at twice their size"
    large = np.asarray(Image.fromarray(portrait).resize((2560, 3000)))
    (face,) = find(large)
    assert face.box == pytest.approx([5 * edge for edge in BOX], abs=60)
    assert find(np.full((300, 300, 3), 90, np.uint8)) == ()
    assert len(find(np.asarray(Image.fromarray(portrait).convert("L")))) == 1


def test_a_face_that_is_hard_to_see_is_found_where_there_is_no_other(
    portrait: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    blurred = np.asarray(Image.fromarray(portrait).filter(ImageFilter.GaussianBlur(10)))
    (face,) = find(blurred)
    assert faces_file.UNSURE < face.score < 0
    monkeypatch.setattr(faces_file, "UNSURE", 0.0)
    assert find(blurred) == ()


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    finder.cache_clear()
    with pytest.raises(UsageError, match="The finder 'faces' needs dlib-bin: .*pip install"):
        find(np.zeros((9, 9), np.uint8))
    monkeypatch.undo()
    finder.cache_clear()
    assert finders_file.BUILT_IN.keys() == {"whole", "center", "faces", "faces-arcface"}


def test_the_command_prints_draws_and_counts(portrait: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(portrait).save(tmp_path / "one.png")
    Image.new("RGB", (200, 100), "gray").save(tmp_path / "none.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    names = [str(tmp_path / name) for name in ("one.png", "none.png", "broken.png")]
    result = CliRunner().invoke(app, ["find", *names[:2], "--out", str(tmp_path / "marked.png")])
    assert result.exit_code == 0, result.output
    assert "161, 137, 377, 353" in result.stdout and "nothing found by 'faces'" in result.stdout
    with Image.open(tmp_path / "marked.png") as picture:
        assert picture.width > 500
    again = CliRunner().invoke(app, ["find", *names, "--json", "--finder", "center"])
    assert again.exit_code == 1
    answer = json.loads(again.stdout)
    assert [len(one["regions"]) for one in answer["answers"]] == [1, 1] and len(answer["failures"]) == 1
    assert answer["answers"][0]["regions"][0]["quality"]["side"] == pytest.approx(307.2)
    taken = CliRunner().invoke(app, ["find", names[0], "--out", str(tmp_path / "marked.jpg")])
    assert taken.exit_code != 0 and "ends in .png" in str(taken.exception)


def test_names_are_drawn_as_they_are_whatever_they_hold() -> None:
    pixels = np.full((60, 90, 3), 200, np.uint8)
    names = ["$$", r"$\frac$", "Ana \N{GRINNING FACE}", "a_b^{"]
    picture = Marked(pixels, [(5.0, 5.0, 40.0, 40.0)] * len(names), names, [None] * len(names), "$caption_{.png")
    with Image.open(io.BytesIO(drawn([picture]))) as image:
        assert image.format == "PNG" and image.width > 500
