"""Every recipe of `recipes/` is one that the code reads, and runs from end to end on a few files in its layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from steradian import Recognizer
from steradian.studies.evaluation.listed_pairs import measure_listed_pairs
from steradian.studies.evaluation.run import measure_model
from steradian.studies.single_run import train
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
    run = train(short, tmp_path / "run", quiet=True)
    assert run.evaluation is not None and run.evaluation.metrics.numbers["images"] == 6
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
    run = train(short, tmp_path / "run", quiet=True)
    assert len(run.model.spec.classes) == 4 * 4
    assert run.evaluation is not None and run.evaluation.metrics.numbers["unseen"]["images"] > 200


def test_digits_on_a_sphere(tmp_path: Path) -> None:
    recipe = read_recipe(next(path for path in RECIPES if path.stem == "digits-in-3d"))
    short = recipe.changed(**{**SHORT, "training.batch_size": 256, "data.source": "digits"})
    run = train(short, tmp_path / "run", quiet=True)
    assert run.model.spec.embedding_size == 3 and (tmp_path / "run" / "report.html").is_file()


def photo(path: Path, value: int, side: tuple[int, int] = (40, 32)) -> None:
    generator = np.random.default_rng(value)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(generator.integers(0, 256, (*side, 3), dtype=np.uint8)).save(path)


def test_landmarks_in_the_files_of_google_landmarks(tmp_path: Path) -> None:
    rows = {7: [f"{number:04x}0" for number in range(12)], 12: [f"{number:04x}1" for number in range(8)], 99: ["ffff9"]}
    for number, name in enumerate(name for names in rows.values() for name in names):
        photo(tmp_path / "train" / name[0] / name[1] / name[2] / f"{name}.jpg", number)
    lines = [f"{landmark},{' '.join(names)}" for landmark, names in rows.items()]
    (tmp_path / "train_clean.csv").write_text("\n".join(["landmark_id,images", *lines]))
    queries = {"aaaa": "7", "bbbb": "12 7", "cccc": "", "dddd": "99"}
    for number, name in enumerate(queries):
        photo(tmp_path / "test" / name[0] / name[1] / name[2] / f"{name}.jpg", 100 + number)
    lines = [f"{name},{landmarks},Public" for name, landmarks in queries.items()]
    (tmp_path / "solution.csv").write_text("\n".join(["id,landmarks,Usage", *lines]))
    recipe = read_recipe(next(path for path in RECIPES if path.stem == "landmarks"))
    # The hub is out of reach here: a small encoder of the same family with random weights.
    changes = {"data.source": str(tmp_path / "train_clean.csv"), "data.image_size": 32, "weights": None}
    short = recipe.changed(**{**SHORT, **changes, "encoder": "tf_efficientnet_lite0"})
    model = train(short, tmp_path / "run", quiet=True).model
    assert model.spec.classes == ("7", "12") and model.spec.pooling == "gem"
    counts = model.spec.loss_options["class_counts"]
    assert counts[0] > counts[1] > 1
    found = measure_model(tmp_path / "run", str(tmp_path / "solution.csv"), protocols=["landmarks"])
    assert found.metrics.numbers["landmarks"]["queries"] == 4
    assert found.metrics.numbers["landmarks"]["without_landmark"] == 2
    assert 0.0 <= found.metrics.numbers["landmarks"]["gap"] <= 1.0


def test_faces_and_the_pairs_of_lfw(tmp_path: Path) -> None:
    for number in range(16):
        person = ("Ana_Gil", "Bo_Ek")[number % 2]
        photo(tmp_path / "faces" / person / f"{number}.jpg", number, (112, 112))
    for number in range(3):
        for person in ("Cy_Ott", "Di_Roe"):
            photo(tmp_path / "lfw" / person / f"{person}_{number + 1:04d}.jpg", number, (112, 112))
    (tmp_path / "pairs.txt").write_text(
        "1\t2\nCy_Ott\t1\t2\nDi_Roe\t2\t3\nCy_Ott\t1\tDi_Roe\t1\nCy_Ott\t3\tDi_Roe\t2\n"
    )
    recipe = read_recipe(next(path for path in RECIPES if path.stem == "faces"))
    short = recipe.changed(**{**SHORT, "data.source": str(tmp_path / "faces"), "training.batch_size": 8})
    model = train(short, tmp_path / "run", quiet=True).model
    assert model.spec.encoder == "mobile-face" and model.spec.preprocessing.size == 112
    photos, listed = str(tmp_path / "lfw"), tmp_path / "pairs.txt"
    found = measure_listed_pairs(tmp_path / "run", photos, listed, out=tmp_path / "pairs", flip=True)
    assert found.numbers["images"] == 6 and 0.0 <= found.numbers["verification"]["auc"] <= 1.0
