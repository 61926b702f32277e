"""The newcomer's command on photographs: adapted in closed form, measured on new classes, enrolled into at once."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps
from typer.testing import CliRunner

import steradian as st
from steradian.cli.main import app
from steradian.errors import UsageError
from steradian.models.weight_packages import PACKAGED
from steradian.studies.single_run import Run, train
from steradian.training import Dataset, Recipe, make_plan
from steradian.training.adapted import encoder_features
from steradian.training.run_folder import RunFolder


def photographs(folder: Path, classes: int, each: int, seed: int = 0, size: int = 32) -> Path:
    """Color images whose classes are textures of a direction, a wavelength and a color."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:size, 0:size] / size
    for label in range(classes):
        angle, waves, color = generator.uniform(0, np.pi), generator.uniform(2, 7), generator.uniform(60, 195, 3)
        (folder / f"kind {label}").mkdir(parents=True)
        for number in range(each):
            turned = angle + generator.normal() * 0.08
            wave = np.sin(
                2 * np.pi * waves * (rows * np.sin(turned) + columns * np.cos(turned)) + generator.uniform(0, 6)
            )
            pixels = color + 60 * wave[..., None] + generator.normal(size=(size, size, 3)) * 25
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"kind {label}" / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    folder = tmp_path_factory.mktemp("adapted")
    photographs(folder / "photos", 8, 10)
    return folder, train(str(folder / "photos"), folder / "run", quiet=True)


def test_small_color_photographs_start_from_the_pretrained_encoder(adapted) -> None:
    _, run = adapted
    recipe = run.folder.read_recipe()
    assert recipe is not None and (recipe.encoder, recipe.weights, recipe.adapt) == (PACKAGED, "package", "auto")
    assert run.model.spec.neck == "affine" and run.model.spec.preprocessing.size == 224
    assert run.evaluation is not None and run.evaluation.metrics.numbers["closed"]["accuracy"] > 0.8


def test_new_classes_are_measured_beside_the_untrained_encoder(adapted) -> None:
    _, run = adapted
    numbers = json.loads(run.folder.metrics.read_text())
    model, untrained = (numbers["new_classes"][name] for name in ("model", "untrained"))
    assert model["recall_at_1"] >= untrained["recall_at_1"] - 0.003 and model["tar"] >= untrained["tar"] - 0.003
    assert any("classes left out in turn" in note for note in numbers["notes"])
    page = run.folder.report.read_text()
    assert "untrained encoder" in page and "What was compared" in page and "whitened class means" in page


def test_every_image_but_the_test_part_was_fitted_on_and_calibrated(adapted) -> None:
    _, run = adapted
    manifest = run.model.manifest
    assert manifest is not None and manifest.calibration is not None and manifest.strangers
    # A class whose images are near copies of each other is one group, and has no image beside it.
    assert re.fullmatch(r"(48|56|64) images whose group was left out of the fit", manifest.calibration.measured_on)
    assert "classes that were left out of the fit" in manifest.thresholds[0].measured_on


def test_the_artifact_answers_as_the_run_did_and_is_enrolled_into(adapted, tmp_path: Path) -> None:
    folder, run = adapted
    model = st.Recognizer.load(folder / "run")
    pictures = sorted((folder / "photos" / "kind 3").iterdir())
    np.testing.assert_allclose(model.embed(pictures), run.model.embed(pictures), atol=1e-5)
    assert model.strangers == run.model.strangers
    new = photographs(tmp_path / "new", 12, 6, seed=9)
    with st.Gallery.open(tmp_path / "g.db", model) as gallery:
        for kind in sorted(new.iterdir())[:6]:
            gallery.enroll(kind.name, sorted(kind.iterdir())[:5])
        answers = gallery.identify([kind / "5.png" for kind in sorted(new.iterdir())], strangers=0.2)
    assert sum(answer.decision != "unknown" for answer in answers[6:]) <= 3


def test_the_command_says_what_it_does_for_new_classes(adapted, tmp_path: Path) -> None:
    folder, _ = adapted
    shown = CliRunner().invoke(app, ["train", str(folder / "photos"), "--out", str(tmp_path / "run")])
    assert shown.exit_code == 0, shown.output
    assert "new things named right" in shown.output and "recall at 1" not in shown.output
    again = CliRunner().invoke(app, ["train", str(folder / "photos"), "--out", str(tmp_path / "again"), "--all"])
    assert "new classes: recall at 1, untrained encoder" in again.output and "note: New classes" in again.output


def test_two_classes_and_two_images(tmp_path: Path) -> None:
    run = train(str(photographs(tmp_path / "photos", 2, 4)), tmp_path / "run", quiet=True)
    assert run.evaluation is not None and "cannot be told" in " ".join(run.evaluation.notes)


def test_a_training_option_means_training(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "photos", 3, 4)
    for changes in ({"training.epochs": 2}, {"loss.name": "cosface"}, {"embedding_size": 8}, {"adapt": "train"}):
        dataset = Dataset.open(Recipe().changed(**{"data.source": str(folder), **changes})).with_adaptation()
        assert not dataset.recipe.adapts and dataset.recipe.weights == "package"
    assert Dataset.open(Recipe().changed(**{"data.source": str(folder)})).with_adaptation().recipe.adapts
    for changes, words in (
        ({"loss.name": "cosface"}, "has no use for loss"),
        ({"encoder": "small"}, "needs all layers of a pretrained encoder"),
    ):
        recipe = Recipe().changed(**{"data.source": str(folder), "adapt": "auto", **changes})
        with pytest.raises(UsageError, match=words):
            Dataset.open(recipe).with_adaptation()


def test_a_size_that_was_asked_for_keeps_the_small_encoder(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "photos", 3, 4)
    recipe = Dataset.open(Recipe().changed(**{"data.source": str(folder), "data.image_size": 32})).recipe
    assert recipe.encoder is None and recipe.weights is None


def test_recipes_without_a_choice_keep_their_digest() -> None:
    plain = Recipe()
    assert plain.digest() == plain.changed(adapt="train").digest() != plain.changed(adapt="auto").digest()
    assert RunFolder(Path("nowhere")).read_recipe() is None


def test_a_comparison_trains_by_its_losses(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "photos", 3, 6)
    recipe = Recipe().changed(**{"data.source": str(folder), "weights": "package", "adapt": "auto"})
    with pytest.raises(UsageError, match="'compare' trains by the loss"):
        st.studies.compare(recipe, losses=["softmax"], dims=[2], out=tmp_path / "runs", quiet=True)


def test_evaluating_again_gives_the_same_numbers(adapted, tmp_path: Path) -> None:
    folder, run = adapted
    again = st.studies.evaluate(folder / "run", out=tmp_path / "again")
    assert run.evaluation is not None
    assert again.metrics.numbers["closed"]["accuracy"] == run.evaluation.metrics.numbers["closed"]["accuracy"]
    # The training measured with the features that it had kept in half precision.
    unit = [raw / np.linalg.norm(raw, axis=1, keepdims=True) for raw in (
        again.inputs.images.raw, run.evaluation.inputs.images.raw)]  # fmt: skip
    assert (unit[0] * unit[1]).sum(axis=1).min() > 1 - 1e-5


def drawings(folder: Path, kinds: int, each: int, dark: bool = False) -> Path:
    """Lines through random points of their own for every kind, by an unsteady hand."""
    for label in range(kinds):
        points = np.random.default_rng(label).uniform(12, 48, (4, 2))
        (folder / f"kind {label:02d}").mkdir(parents=True)
        for number in range(each):
            generator = np.random.default_rng([label, number])
            page = Image.new("L", (60, 60), 255)
            line = [tuple(point) for point in points + generator.normal(0, 1.5, (4, 2))]
            ImageDraw.Draw(page).line(line, fill=0, width=4, joint="curve")
            page = ImageOps.invert(page) if dark else page
            page.save(folder / f"kind {label:02d}" / f"{number}.png")
    return folder


@pytest.mark.parametrize("dark", [False, True])
def test_drawings_of_many_kinds_start_from_the_model_of_symbols(tmp_path: Path, dark: bool) -> None:
    run = train(str(drawings(tmp_path / "symbols", 20, 5, dark)), tmp_path / "run", quiet=True)
    recipe = run.folder.read_recipe()
    assert recipe is not None and (recipe.encoder, recipe.weights, recipe.adapt) == ("residual-wide", "glyphs", "auto")
    shape, glyphs = run.model.spec.preprocessing, st.Recognizer.load("glyphs").spec.preprocessing
    assert shape == (glyphs.inverted() if dark else glyphs)
    assert run.evaluation is not None and run.evaluation.metrics.numbers["closed"]["accuracy"] > 0.9


def test_drawings_that_learn_by_a_loss_start_from_nothing(tmp_path: Path) -> None:
    folder = drawings(tmp_path / "symbols", 20, 2)
    for changes in ({"adapt": "train"}, {"loss.name": "cosface"}):
        dataset = Dataset.open(Recipe().changed(**{"data.source": str(folder), **changes})).with_adaptation()
        assert (dataset.recipe.encoder, dataset.recipe.weights, dataset.recipe.adapts) == ("residual-wide", None, False)
    few = drawings(tmp_path / "few", 3, 2)
    assert Dataset.open(Recipe().changed(**{"data.source": str(few)})).recipe.encoder is None


def test_the_choice_of_the_encoder_is_said(tmp_path: Path) -> None:
    symbols, photos = drawings(tmp_path / "symbols", 20, 2, dark=True), photographs(tmp_path / "photos", 3, 2)
    for folder, changes, words in (
        (symbols, {}, "residual-wide, pretrained as glyphs, because these are drawings of 20 kinds on a dark page"),
        (photos, {}, "tf_efficientnet_lite0, pretrained on ImageNet, because these are photographs"),
        (photos, {"data.image_size": 32}, "small, trained from nothing, because these are small images"),
    ):
        dataset = Dataset.open(Recipe().changed(**{"data.source": str(folder), **changes})).with_adaptation()
        assert words in dataset.encoder_choice
    assert Dataset.open(Recipe().changed(**{"data.source": str(photos), "encoder": "small"})).encoder_choice == ""


def test_lite2_by_name(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "photos", 3, 2)
    dataset = Dataset.open(Recipe().changed(**{"data.source": str(folder), "encoder": "lite2"})).with_adaptation()
    assert (dataset.recipe.encoder, dataset.recipe.weights) == ("tf_efficientnet_lite2", "package")
    assert dataset.recipe.adapts and dataset.input_shape.size == 260


def test_a_burst_is_not_tested_on_what_it_was_trained_on(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "photos", 3, 5)
    for path in sorted(folder.rglob("*.png")):
        shutil.copy(path, path.with_name(f"{path.stem} again.png"))
    data = Dataset.open(Recipe().changed(**{"data.source": str(folder)})).with_adaptation().decode()
    assert {*data.splits.train, *data.splits.test} == set(range(30))
    pictures = np.array([name.replace(" again", "") for name in data.pixels.names])
    assert not {*pictures[data.splits.test]} & {*pictures[data.splits.train]}
    assert len(data.splits.test) and any("near cop" in warning for warning in data.warnings)


def test_aligned_pictures_are_compared_cell_by_cell(tmp_path: Path) -> None:
    """Kinds that differ by where a spot is: an average over the whole picture cannot tell them apart."""
    generator = np.random.default_rng(0)
    for label in range(6):
        folder = tmp_path / "aligned" / f"kind {label}"
        folder.mkdir(parents=True)
        for number in range(9):
            image = Image.fromarray(generator.integers(90, 130, (64, 64, 3), dtype=np.uint8))
            place = (12 + 20 * (label % 3), 16 + 26 * (label // 3))
            ImageDraw.Draw(image).circle(place, 7 + generator.uniform(-1, 1), fill=(230, 60, 40))
            image.save(folder / f"{number}.png")
    settings = {"grid": 4, "flip_tta": True, "data.image_size": 96}
    run = train(tmp_path / "aligned", tmp_path / "run", settings=settings, quiet=True)
    assert run.model.spec.grid == 4 and run.model.spec.flip_tta and run.training.adaptation is not None
    again = st.Recognizer.load(tmp_path / "run")
    pictures = sorted((tmp_path / "aligned").rglob("*.png"))[:5]
    np.testing.assert_allclose(again.embed(pictures), run.model.embed(pictures), rtol=1e-4, atol=1e-5)
    again.accelerate("onnxruntime")
    np.testing.assert_allclose(again.embed(pictures), run.model.embed(pictures), rtol=1e-3, atol=1e-4)
    assert run.evaluation is not None
    measured = run.evaluation.metrics.numbers["closed"]["accuracy"]
    assert st.evaluate(run, quiet=True).metrics.numbers["closed"]["accuracy"] == measured
    assert run.training.features is not None
    plain = Recipe().changed(**{**settings, "data.source": str(tmp_path / "aligned"), "flip_tta": False})
    dataset = Dataset.open(plain).with_adaptation()
    features = encoder_features(make_plan(dataset.recipe, dataset.decode()), run.training.features.indices)
    assert not np.allclose(features.values, run.training.features.values)
    with pytest.raises(UsageError, match="grid is for --adapt auto"):
        train(tmp_path / "aligned", tmp_path / "full", settings={**settings, "adapt": "full"}, quiet=True)
