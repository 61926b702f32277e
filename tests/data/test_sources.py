"""Opening every kind of source, and what is said about bad ones."""

from __future__ import annotations

import pickle
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from steradian import data
from steradian.data.pixels import load_pixels
from steradian.data.sample import sample_images
from steradian.errors import DataError, UsageError


def loaded(source: Path, **options):
    return load_pixels(data.open(source), **{"size": 16, "channels": 1, **options})


def test_folder(image_folder) -> None:
    found = data.open(image_folder(3, 4))
    assert len(found) == 12 and found.classes == ("class-0", "class-1", "class-2") and found.splits is None
    assert (sample_images(found).sizes, sample_images(found).gray) == (((16, 16),) * 12, True)


def test_folder_with_splits(image_folder, tmp_path: Path) -> None:
    photos = image_folder(2, 4)
    for part in ("train", "val", "test"):
        shutil.copytree(photos, tmp_path / "parts" / part)
    found = data.open(tmp_path / "parts")
    assert found.classes == ("class-0", "class-1")
    assert sorted(set(found.splits)) == ["test", "train", "validation"]


def test_numbered_classes_are_in_order_of_value(image_folder, tmp_path: Path) -> None:
    photos = image_folder(3, 2)
    for old, new in (("class-0", "10"), ("class-1", "9"), ("class-2", "b")):
        (photos / old).rename(photos / new)
    assert data.open(photos).classes == ("9", "10", "b")


def test_zip_is_read_in_place(image_folder, tmp_path: Path) -> None:
    photos = image_folder(3, 4)
    archive = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", photos.parent, photos.name))
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("__MACOSX/photos/class-0/._000.png", b"junk")
    whole = loaded(photos)
    np.testing.assert_array_equal(loaded(archive).pixels, whole.pixels)
    assert loaded(archive).digest() == whole.digest()


def test_npz(tmp_path: Path, digit_images) -> None:
    pixels, labels = digit_images
    np.savez(tmp_path / "d.npz", x=pixels[:50], y=labels[:50])
    found = data.open(tmp_path / "d.npz")
    assert found.classes == tuple("0123456789") and len(found) == 50
    np.savez(tmp_path / "deep.npz", x=pixels[:50, :, :, None], y=labels[:50])
    np.testing.assert_array_equal(data.open(tmp_path / "deep.npz").pixels(7), pixels[7])
    np.savez(tmp_path / "named.npz", x=pixels[:50], y=labels[:50], names=[f"digit {n}" for n in range(10)])
    assert data.open(tmp_path / "named.npz").classes[3] == "digit 3"


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": np.zeros((3, 4, 4), np.uint8)}, "no array 'y'"),
        ({"x": np.zeros((3, 4, 4), np.uint8), "y": np.array([0, 1, -1])}, r"y\[2\] is -1"),
        ({"x": np.zeros((3, 4, 4), np.uint8), "y": np.array([0, 1, 7]), "names": ["a", "b"]}, r"y\[2\] is 7.*0 to 1"),
        ({"x": np.zeros((3, 4, 4), np.float32), "y": np.array([0, 1, 1])}, "x must be uint8"),
        ({"x": np.zeros((3, 4, 4), np.uint8), "y": np.array([0.5, 1, 1])}, "must be integers"),
        ({"x": np.zeros((3, 4, 4), np.uint8), "y": np.array([0, 1])}, "one per image"),
    ],
)
def test_bad_npz(tmp_path: Path, arrays: dict, words: str) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(DataError, match=words):
        data.open(tmp_path / "bad.npz")


def test_npz_is_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "evil.npz", x=np.array([object()], dtype=object), y=np.array([0]))
    with pytest.raises(DataError, match="readable"):
        data.open(tmp_path / "evil.npz")


def test_csv(image_folder, tmp_path: Path) -> None:
    photos = image_folder(2, 3)
    rows = [
        (path, path.parent.name, "test" if path.stem == "002" else "train") for path in sorted(photos.rglob("*.png"))
    ]
    text = "\n".join(f"{path.relative_to(tmp_path)},{label},{split}" for path, label, split in rows)
    (tmp_path / "list.csv").write_text("path,label,split\n" + text)
    found = data.open(tmp_path / "list.csv")
    assert len(found) == 6 and found.splits.tolist().count("test") == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,label\na.png,x\n", "no column 'path'.*file, label"),
        ("path,label\nnone.png,x\nnada.png,y\n", "2 file.*do not exist"),
        ("path,label\nphotos/class-0/000.png,\n", "line 2: both path and label"),
        ("path,label,split\nphotos/class-0/000.png,x,later\n", "line 2: split is 'later'"),
        ("path,label\n", "no images"),
        ("", "no column 'path'"),
    ],
)
def test_bad_csv(image_folder, tmp_path: Path, text: str, words: str) -> None:
    image_folder(1, 1)
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        data.open(tmp_path / "list.csv")


def test_nothing_and_one_class(image_folder, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no images\. Expected"):
        data.open(tmp_path / "empty")
    with pytest.raises(DataError, match="single class"):
        data.open(image_folder(1, 3))
    with pytest.raises(UsageError, match="Did you mean 'digits'"):
        data.open("digit")
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(UsageError, match="not supported"):
        data.open(tmp_path / "x.txt")
    (tmp_path / "x.zip").write_text("x")
    with pytest.raises(DataError, match="not a readable zip"):
        data.open(tmp_path / "x.zip")


def test_loose_image_is_named(image_folder) -> None:
    photos = image_folder(2, 2)
    shutil.copy(photos / "class-0" / "000.png", photos / "stray.png")
    with pytest.raises(DataError, match=r"stray\.png is not inside a class folder"):
        data.open(photos)


def test_damaged_files_are_skipped_and_listed(image_folder) -> None:
    photos = image_folder(3, 12)
    (photos / "class-1" / "003.png").write_bytes(b"")
    found = loaded(photos)
    assert len(found) == 35 and len(found.names) == 35 and "003.png" in found.skipped[0].name
    inspected = data.inspect(data.open(photos))
    assert inspected.images == 36 and len(inspected.skipped) == 1 and "skips them" in inspected.warnings[-1]


def test_too_many_damaged_files_are_an_error(image_folder) -> None:
    photos = image_folder(3, 12)
    for name in ("000.png", "001.png"):
        (photos / "class-1" / name).write_bytes(b"broken")
    with pytest.raises(DataError, match=r"2 of 36 images .* more than 5%"):
        loaded(photos)


def test_an_emptied_class_is_an_error(image_folder) -> None:
    photos = image_folder(3, 20)
    for path in sorted((photos / "class-2").glob("*.png"))[1:]:
        path.unlink()
    (photos / "class-2" / "000.png").write_bytes(b"broken")
    with pytest.raises(DataError, match="No image of class 'class-2'"):
        loaded(photos)


def write_idx(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def test_mnist_in_its_official_format(tmp_path: Path) -> None:
    for part, count in (("train", 20), ("t10k", 10)):
        raw = tmp_path / "MNIST" / "raw"
        write_idx(raw / f"{part}-images-idx3-ubyte", np.arange(count * 784).reshape(count, 28, 28) % 256)
        write_idx(raw / f"{part}-labels-idx1-ubyte", np.arange(count) % 10)
    found = data.open("mnist", tmp_path)
    assert len(found) == 30 and found.splits.tolist().count("test") == 10
    assert found.pixels(1)[0, :3].tolist() == [784 % 256, 785 % 256, 786 % 256]


def test_a_copy_of_ones_own_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mnist").mkdir()
    np.savez(tmp_path / "mnist" / "my.npz", x=np.zeros((4, 28, 28), np.uint8), y=np.array([0, 1, 0, 1]))
    assert len(data.open("mnist", tmp_path)) == len(data.open("mnist", tmp_path / "mnist")) == 4
    monkeypatch.setenv("STERADIAN_DATA", str(tmp_path))
    assert len(data.open("mnist")) == 4


def test_an_image_beside_the_splits_is_named(image_folder, tmp_path: Path) -> None:
    photos = image_folder(2, 4)
    shutil.copytree(photos, tmp_path / "parts" / "train")
    shutil.copytree(photos, tmp_path / "parts" / "test")
    shutil.copy(photos / "class-0" / "000.png", tmp_path / "parts" / "train" / "stray.png")
    with pytest.raises(DataError, match=r"train/stray\.png does not fit beside .*SPLIT/CLASS/"):
        data.open(tmp_path / "parts")


def test_an_npz_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (100000000000000, 28, 28), }".ljust(117) + b"\n"
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
        archive.writestr("y.npy", b"")
    with pytest.raises(DataError, match="claims .* bytes|readable"):
        data.open(tmp_path / "huge.npz")


def test_a_corrupt_stream_in_a_zip_is_a_damaged_image(image_folder, tmp_path: Path) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", image_folder(2, 30)))
    with zipfile.ZipFile(archive) as file:
        first = file.infolist()[2]
    content = bytearray(archive.read_bytes())
    start = first.header_offset + 30 + len(first.filename)
    content[start : start + 40] = b"\xff" * 40
    archive.write_bytes(bytes(content))
    assert len(loaded(archive).skipped) == 1


def test_cifar_with_a_wrong_checksum_is_never_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    batches = tmp_path / "cifar-10-batches-py"
    batches.mkdir()
    names = [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch", "batches.meta"]
    for name in names:
        (batches / name).write_bytes(pickle.dumps(Evil()))

    def offline(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", offline)
    with pytest.raises(DataError, match=r"could not be downloaded \(no network\).*--root"):
        data.open("cifar10", tmp_path)
    assert not (tmp_path / "executed").exists()


def test_color_images_become_gray_and_back(tmp_path: Path) -> None:
    for name, color in (("a", "red"), ("b", "blue")):
        (tmp_path / "c" / name).mkdir(parents=True)
        Image.new("RGB", (20, 30), color).save(tmp_path / "c" / name / "1.png")
    assert sample_images(data.open(tmp_path / "c")).gray is False
    assert loaded(tmp_path / "c", channels=3).pixels.shape == (2, 3, 16, 16)
    assert loaded(tmp_path / "c", channels=1).pixels.shape == (2, 1, 16, 16)


def test_copies_across_parts_and_classes_are_reported(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("a", "b"):
            folder = tmp_path / "set" / part / name
            folder.mkdir(parents=True)
            for number in range(3):
                Image.fromarray(generator.integers(0, 256, (9, 9), dtype=np.uint8)).save(folder / f"{number}.png")
    base = tmp_path / "set"
    assert data.inspect(data.open(base)).copies == ()
    shutil.copy(base / "train/a/0.png", base / "test/a/copy.png")
    Image.open(base / "train/b/1.png").save(base / "train/a/same.bmp")
    found = data.inspect(data.open(base))
    assert len(found.copies) == 2 and found.leaks == 1 and found.confused == 1
    text = " ".join(found.warnings)
    assert "2 pictures occur more than once" in text
    assert "1 of them occur in more than one part" in text and "1 of them occur in more than one class" in text
