"""Shards, parquet files, Google Landmarks' indexes, groups and small classes."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from steradian import data
from steradian.data.pixels import load_pixels
from steradian.data.splits import groups_by, make_splits
from steradian.errors import DataError, InputError, UsageError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STERADIAN_CACHE", str(tmp_path / "cache"))


def png(value: int, size: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (size, size), value).save(buffer, "png")
    return buffer.getvalue()


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def values(found: data.ImageSet) -> list[int]:
    return [int(found.pixels(index)[0, 0]) for index in range(len(found))]


def test_shards_of_webdataset_are_read_in_any_order(tmp_path: Path) -> None:
    for shard, first in (("train-000.tar", 0), ("train-001.tar", 3), ("test-000.tar", 6)):
        with tarfile.open(tmp_path / shard, "w") as archive:
            for number in range(first, first + 3):
                add(archive, f"{number:04d}.png", png(10 * number))
                kind = "cat" if number % 2 else "dog"
                if number < 3:
                    add(archive, f"{number:04d}.cls", f"{kind}\n".encode())
                else:
                    add(archive, f"{number:04d}.json", json.dumps({"label": kind, "width": 8}).encode())
    found = data.open(tmp_path)
    assert found.classes == ("cat", "dog")
    assert found.splits is not None and found.splits.tolist() == ["test"] * 3 + ["train"] * 6
    assert values(found) == [60, 70, 80, 0, 10, 20, 30, 40, 50]
    assert found.labels.tolist() == [1, 0, 1, 1, 0, 1, 0, 1, 0]
    assert values(pickle.loads(pickle.dumps(found))) == values(found)  # noqa: S301 - our own bytes
    # The second time the index comes from the cache: what it says goes, even where a label in the shard is another.
    assert len(list((tmp_path / "cache" / "shards-3").iterdir())) == 3
    assert data.open(tmp_path).labels.tolist() == found.labels.tolist()


def test_an_index_of_another_shard_is_not_used(tmp_path: Path) -> None:
    for kinds in (("cat", "dog"), ("cow", "pig")):
        with tarfile.open(tmp_path / "one.tar", "w") as archive:
            for number, kind in enumerate(kinds):
                add(archive, f"{kind}/{number}.png", png(number))
        assert data.open(tmp_path / "one.tar").classes == kinds


def test_shards_that_cannot_be_read(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "packed.tar", "w:gz") as archive:
        add(archive, "cat/0.png", png(1))
    with pytest.raises(DataError, match="gunzip"):
        data.open(tmp_path / "packed.tar")
    with tarfile.open(tmp_path / "bare.tar", "w") as archive:
        add(archive, "0.png", png(1))
    with pytest.raises(DataError, match=r"0\.png has no class.*0\.cls"):
        data.open(tmp_path / "bare.tar")
    with tarfile.open(tmp_path / "cut.tar", "w") as archive:
        for number, kind in enumerate(("cat", "dog")):
            add(archive, f"{kind}/{number}.png", png(number, 64))
    whole = (tmp_path / "cut.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[:1100])
    with pytest.raises(DataError):
        found = data.open(tmp_path / "cut.tar")
        values(found)


def write_parquet(path: Path, labels: list[int] | list[str], first: int, names: list[str] | None = None) -> None:
    images = [{"bytes": png(10 * (first + place)), "path": f"{place}.png"} for place in range(len(labels))]
    table = pa.table({"image": images, "label": labels})
    if names is not None:
        told = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(told)})
    path.parent.mkdir(exist_ok=True)
    parquet.write_table(table, path, row_group_size=2)


def test_parquet_as_the_hub_keeps_it(tmp_path: Path) -> None:
    write_parquet(tmp_path / "data" / "train-00000-of-00001.parquet", [0, 1, 1, 0, 1], 0, ["cat", "dog"])
    write_parquet(tmp_path / "data" / "test-00000-of-00001.parquet", [1, 0], 5, ["cat", "dog"])
    found = data.open(tmp_path)
    assert found.classes == ("cat", "dog") and found.labels.tolist() == [1, 0, 0, 1, 1, 0, 1]
    assert found.splits is not None and found.splits.tolist() == ["test"] * 2 + ["train"] * 5
    assert values(found) == [50, 60, 0, 10, 20, 30, 40]
    assert values(pickle.loads(pickle.dumps(found))) == values(found)  # noqa: S301 - our own bytes
    backwards = [int(found.pixels(index)[0, 0]) for index in range(6, -1, -1)]
    assert backwards == values(found)[::-1]


def test_parquet_that_cannot_be_used(tmp_path: Path) -> None:
    write_parquet(tmp_path / "over.parquet", [0, 2], 0, ["cat", "dog"])
    with pytest.raises(DataError, match="row 1: the label is 2, but the metadata names 2 classes"):
        data.open(tmp_path / "over.parquet")
    (tmp_path / "junk.parquet").write_bytes(b"PAR1junk")
    with pytest.raises(DataError, match="not a readable"):
        data.open(tmp_path / "junk.parquet")
    parquet.write_table(pa.table({"image": [png(1)], "class": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match="no column 'label'"):
        data.open(tmp_path / "other.parquet")


def test_a_parquet_of_paths_is_a_csv(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(png(7))
    parquet.write_table(pa.table({"path": ["a.png", "b.png"], "label": ["x", "y"]}), tmp_path / "t.parquet")
    assert data.open(tmp_path / "t.parquet").classes == ("x", "y")


def landmark(folder: Path, name: str, value: int) -> None:
    path = folder / name[0] / name[1] / name[2] / f"{name}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 9), (value, 0, 0)).save(path)


def test_the_indexes_of_google_landmarks(tmp_path: Path) -> None:
    for number, name in enumerate(("0001aa", "00f2bb", "1a03cc")):
        landmark(tmp_path / "train", name, number)
    (tmp_path / "train.csv").write_text(
        "id,url,landmark_id\n0001aa,http://a,7\n00f2bb,http://b,12\n1a03cc,http://c,7\nffffff,http://d,9\n"
    )
    found = data.open(tmp_path / "train.csv")
    assert found.classes == ("7", "12") and found.labels.tolist() == [0, 1, 0]
    (tmp_path / "train_clean.csv").write_text("landmark_id,images\n7,0001aa 1a03cc\n12,00f2bb eeeeee\n")
    assert data.open(tmp_path / "train_clean.csv").labels.tolist() == [0, 0, 1]
    (tmp_path / "solution.csv").write_text("id,landmarks,Usage\n0001aa,7 9,Public\n00f2bb,,Private\n../../x,1,Public\n")
    solution = data.open(tmp_path / "solution.csv")
    assert solution.classes == ("7", "(no landmark)")
    assert any("Usage" in note and "not used" in note for note in solution.notes)
    (tmp_path / "none.csv").write_text("id,landmarks,Usage\nabc,7,Public\n")
    with pytest.raises(DataError, match="none of them exists"):
        data.open(tmp_path / "none.csv")


def test_groups_of_a_table_are_not_divided(tmp_path: Path) -> None:
    rows = ["path,label,group"]
    for number in range(60):
        (tmp_path / f"{number}.png").write_bytes(png(number))
        rows.append(f"{number}.png,{'ab'[number % 2]},person{number // 6}")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    found = load_pixels(data.open(tmp_path / "t.csv"), size=8, channels=1)
    assert found.groups is not None
    parts = make_splits(found.labels, validation=0.2, calibration=0.2, test=0.2, groups=found.groups)
    held = [set(found.groups[part]) for part in (parts.train, parts.validation, parts.calibration, parts.test)]
    assert sum(map(len, held)) == 10 == len(set.union(*held)) and all(held)
    assert 6 <= len(parts.test) <= 18
    (tmp_path / "t.csv").write_text("\n".join([*rows[:5], "4.png,a,"]))
    with pytest.raises(DataError, match="line 6: the group is empty"):
        data.open(tmp_path / "t.csv")


def test_groups_never_take_the_last_images_of_a_class() -> None:
    labels = np.array([0] * 10 + [1] * 4)
    groups = np.array(["a"] * 5 + ["b"] * 5 + ["c"] * 4)
    for seed in range(20):
        found = make_splits(labels, test=0.5, validation=0.0, seed=seed, groups=groups)
        assert set(labels[found.train]) == {0, 1}


def test_given_parts_that_divide_a_group() -> None:
    parts, groups = np.array(["train", "train", "test"]), np.array(["x", "y", "x"])
    with pytest.raises(DataError, match="'x' occurs in test and train"):
        make_splits(np.array([0, 1, 0]), parts, groups=groups)


def test_groups_by_a_pattern() -> None:
    names = ("cat/anna_1.jpg", "cat/anna_2.jpg", "dog/ben_1.jpg", "dog/other.jpg")
    found = groups_by(r"(\w+)_\d", names)
    assert found[0] == found[1] and len(set(found.tolist())) == 3
    with pytest.raises(InputError, match="regular expression"):
        groups_by("(", names)
    with pytest.raises(InputError, match="matches no image name"):
        groups_by("zebra", names)


def test_small_classes_are_left_out(image_folder) -> None:
    photos = image_folder(3, 6)
    for path in sorted((photos / "class-1").iterdir())[2:]:
        path.unlink()
    found = data.open(photos).with_min_images(3)
    assert found.classes == ("class-0", "class-2") and np.bincount(found.labels).tolist() == [6, 6]
    assert "class-2" in found.items.name(11) and found.pixels(11).shape == (16, 16)
    with pytest.raises(DataError, match=r"0 of 3 classes have 7.*data\.min_images"):
        data.open(photos).with_min_images(7)


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "t.parquet").write_bytes(b"")
    with pytest.raises(UsageError, match=r"pip install .pyarrow"):
        data.open(tmp_path / "t.parquet")


def test_a_shard_that_breaks_off_is_not_taken_for_a_short_one(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "one.tar", "w") as archive:
        for number in range(6):
            add(archive, f"{'ab'[number % 2]}/{number}.png", png(number))
    whole = bytearray((tmp_path / "one.tar").read_bytes())
    assert len(data.open(tmp_path / "one.tar")) == 6
    whole[3 * 1024 + 150] ^= 0xFF
    (tmp_path / "one.tar").write_bytes(whole)
    with pytest.raises(DataError, match="damaged at byte 3,072"):
        data.open(tmp_path / "one.tar")
