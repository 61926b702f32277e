"""A gallery whose files are moved, removed, replaced, changed or read-only, and single images that are taken out."""

from __future__ import annotations

import shutil
import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from steradian import Recognizer
from steradian.data.pixels import no_progress
from steradian.errors import ReadOnlyError, StorageError
from steradian.gallery import Gallery
from steradian.gallery.backends import open_file
from steradian.gallery.enrolling import enroll_files, told_gone
from steradian.gallery.exchange import export, import_file
from steradian.gallery.pictures import Pictures


@pytest.fixture(scope="module")
def glyphs() -> Recognizer:
    return Recognizer.load("glyphs")


def drawn(kind: str) -> Image.Image:
    image = Image.new("L", (60, 60), 255)
    pen = ImageDraw.Draw(image)
    if kind == "ring":
        pen.ellipse((12, 12, 46, 46), outline=0, width=3)
    else:
        pen.line((12, 12, 46, 46), fill=0, width=3)
        pen.line((12, 46, 46, 12), fill=0, width=3)
    return image


def vectors(count: int, seed: int = 0, dimensions: int = 128) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, dimensions))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def enrolled(path: Path, model: Recognizer, names: str = "ab") -> Gallery:
    gallery = Gallery.open(path, model)
    for seed, name in enumerate(names):
        gallery.enroll_vectors(name, vectors(2, seed, model.embedding_size), ["", ""])
    return gallery


def test_pictures_are_found_and_forgotten_under_another_name(tmp_path: Path) -> None:
    kept = [str(Pictures(tmp_path / "people.db").keep(content)) for content in (b"one", b"two")]
    (tmp_path / "people.db.images").rename(tmp_path / "staff.db.images")
    renamed = Pictures(tmp_path / "staff.db")
    assert renamed.find(kept[0]).read_bytes() == b"one"
    renamed.forget(kept[:1])
    assert [path.read_bytes() for path in renamed.folder.iterdir()] == [b"two"]


def test_pictures_that_were_left_behind_are_forgotten_too(tmp_path: Path) -> None:
    left = str(Pictures(tmp_path / "people.db").keep(b"one"))
    renamed = Pictures(tmp_path / "staff.db")
    (tmp_path / "people.db").touch()
    renamed.forget([left])
    assert Path(left).is_file(), "they belong to the gallery that lies beside them"
    (tmp_path / "people.db").unlink()
    renamed.forget([left])
    assert not Path(left).exists()


@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_what_cannot_be_kept_is_not_acknowledged(tmp_path: Path, glyphs: Recognizer, suffix: str) -> None:
    with enrolled(tmp_path / "g.db", glyphs) as gallery:
        gallery.register.backend.check()
        (tmp_path / f"g.db{suffix}").unlink()
        with pytest.raises(StorageError, match="removed or replaced"):
            gallery.enroll_vectors("late", vectors(1, 9, glyphs.embedding_size), [""])
        with pytest.raises(StorageError, match="removed or replaced"):
            gallery.identities()
        with pytest.raises(StorageError, match="removed or replaced"):
            gallery.register.backend.check()


def test_a_gallery_that_was_replaced_is_not_acknowledged(tmp_path: Path, glyphs: Recognizer) -> None:
    enrolled(tmp_path / "other.db", glyphs, "x").close()
    with enrolled(tmp_path / "g.db", glyphs) as gallery:
        (tmp_path / "other.db").replace(tmp_path / "g.db")
        with pytest.raises(StorageError, match="removed or replaced"):
            gallery.enroll_vectors("late", vectors(1, 9, glyphs.embedding_size), [""])


def test_replaced_between_writing_and_committing(tmp_path: Path, glyphs: Recognizer) -> None:
    with enrolled(tmp_path / "g.db", glyphs) as gallery:
        backend = gallery.register.backend
        with pytest.raises(StorageError, match="removed or replaced"), backend.change():
            backend.set_setting("thresholds", "[]")
            (tmp_path / "g.db").unlink()


def test_a_read_only_gallery_answers(tmp_path: Path, glyphs: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "g.db"
    enrolled(path, glyphs).close()
    monkeypatch.setattr("steradian.gallery.backends.sqlite_file.is_read_only", lambda _: True)
    with Gallery.open(path, glyphs) as gallery:
        assert [one.name for one in gallery.identities()] == ["a", "b"]
        assert not (tmp_path / "g.db-wal").exists(), "nothing is written beside it"
        answer = gallery.identify_vectors(vectors(2, 1, glyphs.embedding_size), threshold=0.5)
        assert [one.label for one in answer] == ["b", "b"]
        with pytest.raises(ReadOnlyError, match="read-only"):
            gallery.enroll_vectors("late", vectors(1, 9, glyphs.embedding_size), [""])
        # Another machine may write what this one only reads.
        with sqlite3.connect(path) as other:
            other.execute("UPDATE identities SET name = 'c' WHERE name = 'b'")
        assert [one.name for one in gallery.identities()] == ["a", "c"]


def test_newest_changes_beside_a_read_only_gallery(tmp_path: Path, glyphs: Recognizer) -> None:
    with enrolled(tmp_path / "g.db", glyphs):
        for suffix in ("", "-wal"):
            shutil.copy(tmp_path / f"g.db{suffix}", tmp_path / f"copy.db{suffix}")
    connection = open_file.connect(tmp_path / "copy.db", True, 1.0)
    assert connection.execute("SELECT count(*) FROM identities").fetchone() == (2,)
    connection.close()


def test_a_new_picture_under_an_old_name(tmp_path: Path, glyphs: Recognizer) -> None:
    picture, other = tmp_path / "1.png", tmp_path / "2.png"
    drawn("ring").save(picture)
    drawn("ring").save(other)
    with Gallery.open(tmp_path / "g.db", glyphs) as gallery:
        people = {"Ana": [picture, other]}
        first = enroll_files(gallery, people, progress=no_progress)
        assert (first.added, first.skipped, first.replaced) == ({"Ana": 2}, 0, 0)
        time.sleep(0.01)
        drawn("cross").save(picture)
        other.touch()
        second = enroll_files(gallery, people, progress=no_progress)
        assert (second.added, second.skipped, second.replaced) == ({}, 1, 1)
        assert gallery.identify([picture], threshold=0.9)[0].decision == "match"
        third = enroll_files(gallery, people, progress=no_progress)
        assert (third.skipped, third.replaced) == (2, 0)


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
def test_links_and_shared_memory_are_watched_too(tmp_path: Path, glyphs: Recognizer, suffix: str) -> None:
    (tmp_path / "real").mkdir()
    enrolled(tmp_path / "real" / "g.db", glyphs).close()
    (tmp_path / "link.db").symlink_to(tmp_path / "real" / "g.db")
    with Gallery.open(tmp_path / "link.db", glyphs) as gallery:
        gallery.identities()
        (tmp_path / "real" / f"g.db{suffix}").unlink()
        with pytest.raises(StorageError, match="removed or replaced"):
            gallery.enroll_vectors("late", vectors(1, 9, glyphs.embedding_size), [""])


def test_pictures_enrolled_through_a_link_are_forgotten_by_the_file(tmp_path: Path) -> None:
    (tmp_path / "real.db").touch()
    (tmp_path / "link.db").symlink_to(tmp_path / "real.db")
    kept = Pictures(tmp_path / "link.db").keep(b"one")
    Pictures(tmp_path / "real.db").forget([str(kept)])
    assert not kept.exists()


def test_a_folder_that_takes_the_place_of_another(tmp_path: Path, glyphs: Recognizer) -> None:
    """The times of its files tell nothing: they are older than the enrollment."""
    for folder, kind in (("a", "ring"), ("b", "cross")):
        (tmp_path / folder).mkdir()
        drawn(kind).save(tmp_path / folder / "1.png")
    people = {"Ana": [tmp_path / "a" / "1.png"]}
    with Gallery.open(tmp_path / "g.db", glyphs) as gallery:
        enroll_files(gallery, people, progress=no_progress)
        (tmp_path / "a").rename(tmp_path / "old")
        (tmp_path / "b").rename(tmp_path / "a")
        assert enroll_files(gallery, people, progress=no_progress).replaced == 1
        assert gallery.identify([tmp_path / "a" / "1.png"], threshold=0.9)[0].decision == "match"
        (tmp_path / "a" / "1.png").unlink()
        (tmp_path / "a" / "1.png").symlink_to(tmp_path / "old" / "1.png")
        assert enroll_files(gallery, people, progress=no_progress).replaced == 1
        assert [one.images for one in gallery.identities()] == [1]


def test_a_file_of_an_image_that_is_removed_meanwhile(tmp_path: Path, glyphs: Recognizer) -> None:
    with enrolled(tmp_path / "g.db", glyphs) as gallery:
        number = gallery.register.number("a")
        present = gallery.register.images_of("a")[0].id
        gallery.register.note_files({present: "here", 999: "removed"})
        assert gallery.register.backend.origins(number) == {present: "here"}


def test_metadata_of_everybody_and_files_that_are_gone(tmp_path: Path, glyphs: Recognizer) -> None:
    for name in ("1.png", "2.png"):
        drawn("ring").save(tmp_path / name)
    with Gallery.open(tmp_path / "g.db", glyphs) as gallery:
        enroll_files(gallery, {"Ana": [tmp_path / "1.png", tmp_path / "2.png"]}, progress=no_progress)
        (tmp_path / "2.png").unlink()
        again = enroll_files(gallery, {"Ana": [tmp_path / "1.png"]}, {"site": "south"}, progress=no_progress)
        assert gallery.identities()[0].metadata == {"site": "south"}
        assert again.gone == (("Ana", str(tmp_path / "2.png")),) and "files that are gone" in told_gone(again.gone)[0]


def test_paths_of_an_imported_gallery_are_not_those_of_this_machine(tmp_path: Path, glyphs: Recognizer) -> None:
    drawn("cross").save(tmp_path / "1.png")
    with Gallery.open(tmp_path / "foreign.db", glyphs) as foreign:
        foreign.enroll_vectors("Ana", vectors(1, 3, glyphs.embedding_size), [str(tmp_path / "1.png")])
        export(foreign, tmp_path / "foreign.zip")
    import_file(tmp_path / "g.db", tmp_path / "foreign.zip")
    with Gallery.open(tmp_path / "g.db", glyphs) as gallery:
        result = enroll_files(gallery, {"Ana": [tmp_path / "1.png"]}, progress=no_progress)
        assert result.added == {"Ana": 1}
