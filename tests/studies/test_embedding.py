"""A data set as shards of vectors: gone on with, shared out, and loaded into a gallery."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from steradian import Recognizer, data
from steradian.errors import StorageError, UsageError
from steradian.files import read_json, write_json
from steradian.gallery import Gallery
from steradian.gallery.exchange import import_file
from steradian.studies import embedding as room
from steradian.studies.embedding import embed_data


def quietly(items, total, what):
    return items


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "SHARD", 7)
    monkeypatch.setattr(room, "AT_ONCE", 3)


def vectors_in(out: Path) -> dict[str, np.ndarray]:
    tables = [parquet.read_table(path) for path in sorted(out.glob("part-*.parquet"))]
    rows = [row for table in tables for row in table.to_pylist()]
    assert set(rows[0]) == {"id", "label", "split", "vector"}
    return {row["id"]: np.array(row["vector"], np.float32) for row in rows}


def test_shards_hold_the_vectors_and_are_gone_on_with(image_folder, tmp_path: Path, small_shards) -> None:
    photos = image_folder(3, 9, size=30)
    (photos / "class-1" / "004.png").write_bytes(b"damaged")
    model, images = Recognizer.load("glyphs"), data.open(photos)
    found = embed_data(model, images, tmp_path / "out", progress=quietly)
    assert (found.shards, found.made, len(found.skipped)) == (4, 4, 1) and "004.png" in found.skipped[0].name
    held = vectors_in(tmp_path / "out")
    assert len(held) == 26
    for path in (photos / "class-0" / "000.png", photos / "class-2" / "008.png"):
        np.testing.assert_allclose(held[str(path)], model.embed([path])[0], atol=1e-5)
    # What a kill leaves: some shards whole, others absent.
    stamp = (tmp_path / "out" / "part-00000.parquet").stat().st_mtime_ns
    (tmp_path / "out" / "part-00002.parquet").unlink()
    again = embed_data(model, images, tmp_path / "out", progress=quietly)
    assert again.made == 1 and (tmp_path / "out" / "part-00000.parquet").stat().st_mtime_ns == stamp
    assert vectors_in(tmp_path / "out").keys() == held.keys()


def test_two_processes_share_the_shards_and_a_gallery_takes_them(image_folder, tmp_path: Path, small_shards) -> None:
    photos = image_folder(2, 10, size=30)
    model, images = Recognizer.load("glyphs"), data.open(photos)
    made = [embed_data(model, images, tmp_path / "out", part=part, parts=2, progress=quietly).made for part in (0, 1)]
    assert made == [2, 1] and len(vectors_in(tmp_path / "out")) == 20
    assert import_file(tmp_path / "g.db", tmp_path / "out") == 20
    with Gallery.open(tmp_path / "g.db", model) as gallery:
        assert {one.name: one.images for one in gallery.identities()} == {"class-0": 10, "class-1": 10}
        assert gallery.identify([photos / "class-1" / "003.png"], threshold=0.9)[0].matches[0].label == "class-1"


def test_vectors_of_pictures_that_changed_are_refused(image_folder, tmp_path: Path, small_shards) -> None:
    model, photos = Recognizer.load("glyphs"), image_folder(2, 3, "a", size=30)
    embed_data(model, data.open(photos), tmp_path / "out", progress=quietly)
    picture = next(photos.rglob("*.png"))
    Image.fromarray(np.asarray(Image.open(picture))[::-1, :20]).save(picture)
    with pytest.raises(UsageError, match="of other images"):
        embed_data(model, data.open(photos), tmp_path / "out", progress=quietly)
    # A folder of an earlier version, which did not notice, is still gone on with.
    recorded = read_json(tmp_path / "out" / "embedding.json")
    write_json(tmp_path / "out" / "embedding.json", {key: recorded[key] for key in recorded if key != "content"})
    assert embed_data(model, data.open(photos), tmp_path / "out", progress=quietly).made == 0


def test_a_folder_of_other_vectors_is_refused(image_folder, tmp_path: Path, small_shards) -> None:
    model = Recognizer.load("glyphs")
    embed_data(model, data.open(image_folder(2, 3, "a", size=30)), tmp_path / "out", progress=quietly)
    with pytest.raises(UsageError, match="holds another set of embeddings"):
        embed_data(model, data.open(image_folder(2, 4, "b", size=30)), tmp_path / "out", progress=quietly)
    with pytest.raises(StorageError, match="holds no embedding.json"):
        import_file(tmp_path / "g.db", tmp_path / "a")
    (tmp_path / "out" / "part-00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(StorageError, match="is damaged"):
        import_file(tmp_path / "g.db", tmp_path / "out")
