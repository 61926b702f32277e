"""Every recipe of `recipes/` is one that the code reads, and runs from end to end on a few files in its layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from steradian import Recognizer
from steradian.studies.single_run import train_run
from steradian.training import read_recipe

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))
SHORT = {"training.epochs": 1, "training.batch_size": 16, "data.calibration": 0.0}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_say_where_they_come_from_and_can_be_read(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "Source:" in text and "steradian train recipes/" in text
    read_recipe(path)


def test_dogs_in_the_layout_of_stanford(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for breed in ("n02085620-Chihuahua", "n02085782-Japanese_spaniel", "n02116738-African_hunting_dog"):
        folder = tmp_path / "Images" / breed
        folder.mkdir(parents=True)
        for number in range(8):
            pixels = generator.integers(0, 256, (70, 90, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{breed.split('-')[0]}_{number}.jpg")
    recipe = read_recipe(next(path for path in RECIPES if path.stem == "dogs"))
    # The hub is out of reach here: the same encoder with random weights.
    short = recipe.changed(**{**SHORT, "data.source": str(tmp_path / "Images"), "data.image_size": 32, "weights": None})
    run = train_run(short, tmp_path / "run", command="test", quiet=True)
    assert run.evaluated is not None and run.evaluated.measured.numbers["images"] == 6
    model = Recognizer.load(tmp_path / "run")
    assert model.spec.neck == "mlp" and model.spec.loss == "hyperspherical" and model.spec.embedding_size == 32


def test_glyphs_in_the_layout_of_omniglot(tmp_path: Path) -> None:
    digits = load_digits()
    pixels = np.kron((255 - digits.images * 255 / 16).astype(np.uint8), np.ones((1, 3, 3), np.uint8))
    unseen = ["N_Ko", "Ojibwe_(Canadian)", "Sanskrit", "Syriac_(Estrangelo)", "Tagalog", "Tifinagh"]
    alphabets = ["Greek", "Greek", "Latin", "Latin", *unseen]
    names = [f"{name}/character{place:02d}" for place, name in enumerate(alphabets)]
    np.savez(tmp_path / "omniglot.npz", x=pixels[:400], y=digits.target[:400], names=np.array(names))
    recipe = read_recipe(next(path for path in RECIPES if path.stem == "glyphs"))
    short = recipe.changed(**{**SHORT, "data.source": str(tmp_path / "omniglot.npz"), "training.batch_size": 128})
    run = train_run(short, tmp_path / "run", command="test", quiet=True)
    assert len(run.trained.model.spec.classes) == 4 * 4
    assert run.evaluated is not None and run.evaluated.measured.numbers["unseen"]["images"] > 200


def test_digits_on_a_sphere(tmp_path: Path) -> None:
    recipe = read_recipe(next(path for path in RECIPES if path.stem == "digits-in-3d"))
    short = recipe.changed(**{**SHORT, "training.batch_size": 256, "data.source": "digits"})
    run = train_run(short, tmp_path / "run", command="test", quiet=True)
    assert run.trained.model.spec.embedding_size == 3 and (tmp_path / "run" / "report.html").is_file()
