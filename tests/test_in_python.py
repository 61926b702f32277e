"""One line each in Python: the command's defaults and folders, images of any kind, short reprs, HTML for notebooks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import steradian as st
from steradian.errors import UsageError


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two kinds of the built-in photographs, eight each."""
    folder = tmp_path_factory.mktemp("sample") / "photos"
    assert st.data.copy_sample(folder) == 200
    assert st.data.copy_sample(folder) == 200, "copying again does nothing"
    small = folder.parent / "small"
    for kind in ("hat", "shoes"):
        (small / kind).mkdir(parents=True)
        for number in range(1, 9):
            (folder / kind / f"{number:02}.jpg").rename(small / kind / f"{number:02}.jpg")
    return small


def test_the_sample_is_ten_kinds_of_twenty(tmp_path: Path) -> None:
    images = st.data.open("sample")
    assert images.source == "sample" and np.bincount(images.labels).tolist() == [20] * 10
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(UsageError, match="holds something else"):
        st.data.copy_sample(tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["mine.txt"]


def test_one_line_each(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    run = st.train(photos)
    assert run.folder.path == Path("runs/small") and run.report.is_file()
    assert run.metrics["images"] == 4 and 0.0 <= run.metrics["closed"]["accuracy"] <= 1.0
    assert "encoder: tf_efficientnet_lite0" in capsys.readouterr().err, "what the command says is said here"
    again = st.evaluate(run.model, photos)
    assert again.report == Path("runs/evaluate-small/report.html") and again.report.is_file()
    compared = st.compare("digits", losses=["softmax"], dims=[2], out="compared", quiet=True)
    assert compared.report == Path("compared/report.html") and compared.report.is_file()
    quiet = st.train(photos, "quiet", settings={"training.seed": 3}, quiet=True)
    assert quiet.folder.read_recipe().training.seed == 3 and capsys.readouterr().err == ""
    for one in (run, again, compared, run.model, st.data.open(photos)):
        assert len(repr(one)) < 200 and "\n" not in repr(one), repr(one)
        assert "<table>" in one._repr_html_()


def test_images_of_any_kind_are_taken_wherever_images_are(photos: Path) -> None:
    model = st.Recognizer.load("general")
    path = photos / "hat" / "01.jpg"
    image = Image.open(path)
    array = np.asarray(image)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    expected = model.embed([path])
    for one in (str(path), path, image, array, array[None], tensor, tensor / 255.0, [tensor]):
        np.testing.assert_allclose(model.embed(one), expected, atol=1e-6)
    assert model.embed(photos / "hat").shape == (8, 1280)
    assert model.embed([photos / "hat", path]).shape == (9, 1280)
    assert model.classify(image)[0].ranking == model.classify([path])[0].ranking
    assert model.verify(path, tensor).similarity == pytest.approx(1.0)
    with pytest.raises(UsageError, match="check the spelling"):
        model.embed("phtos/")


def test_a_gallery_takes_them_too(photos: Path, tmp_path: Path) -> None:
    model = st.Recognizer.load("general")
    with st.Gallery.open(tmp_path / "one.db", model) as gallery:
        assert gallery.enroll("hat", photos / "hat").images == 8
        assert gallery.enroll("shoes", Image.open(photos / "shoes" / "01.jpg")).images == 1
        answer = gallery.identify(photos / "hat" / "02.jpg", threshold=0.9)[0]
        assert answer.label == "hat"
        assert "2 enrolled" in repr(gallery) and "8 images" in gallery._repr_html_()


def test_displays_show_themselves_in_a_notebook() -> None:
    display = st.plots.HistoryDisplay.from_histories(
        {"a": [[{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0}]]}, "loss"
    )
    assert display._repr_html_().startswith('<img alt="HistoryDisplay" src="data:image/png;base64,')
