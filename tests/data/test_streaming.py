"""Sets that are read from their files when they are needed: the same squares, crops of originals, damage, addresses."""

from __future__ import annotations

import io
import os
import signal
import sys
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torch.utils.data import get_worker_info

from steradian import data
from steradian.data import remote
from steradian.data.images import FileItems
from steradian.data.loading.crops import cut, drawn_crop
from steradian.data.loading.plan import ReadingSettings, reading_plan
from steradian.data.loading.reader import Views
from steradian.data.loading.stream import ReadingPool, StreamedPixels
from steradian.data.pixels import joined, load_for, stream_pixels, with_quarter_turns
from steradian.data.preprocessing import Preprocessing
from steradian.data.progressive import HarderView, ProgressiveViews
from steradian.data.views import RandomView
from steradian.errors import DataError, ReaderError, UnreachableError, UsageError

GRAY = Preprocessing(16, 1, (0.5,), (0.5,))
COLOR = Preprocessing(64, 3, (0.5,) * 3, (0.5,) * 3)
STREAMED = ReadingSettings(decoded_gib=0.0, workers=0)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STERADIAN_CACHE", str(tmp_path / "cache"))


def jpeg(picture: Image.Image, **options: object) -> bytes:
    content = io.BytesIO()
    picture.save(content, "jpeg", quality=95, **options)
    return content.getvalue()


def flower() -> Image.Image:
    return Image.fromarray(load_sample_image("flower.jpg"))


def test_streamed_squares_are_those_that_are_decoded_at_once(image_folder) -> None:
    images = data.open(image_folder(3, 20))
    decoded, plan = load_for(images, GRAY)
    streamed, other = load_for(images, GRAY, settings=replace(STREAMED, workers=2))
    assert not plan.streams and "decoded once" in plan.why
    assert other.streams and "by 2 processes, because decoded, 60 images of 16 px would take" in other.why
    assert isinstance(streamed.pixels, StreamedPixels) and streamed.pixels.shape == decoded.pixels.shape
    np.testing.assert_array_equal(streamed.pixels[:], decoded.pixels)
    np.testing.assert_array_equal(streamed.pixels[7], decoded.pixels[7])
    chosen = np.array([40, 3, 59, 3])
    rows, blocks = zip(*streamed.blocks(chosen, 3), strict=True)
    assert np.concatenate(rows).tolist() == chosen.tolist()
    np.testing.assert_array_equal(np.concatenate(blocks), decoded.pixels[chosen])
    assert list(streamed.names) == list(decoded.names) and streamed.statistics(chosen) == decoded.statistics(chosen)
    turned, expected = with_quarter_turns(streamed), with_quarter_turns(decoded)
    np.testing.assert_array_equal(np.concatenate([b for _, b in turned.blocks(np.arange(240), 50)]), expected.pixels)
    np.testing.assert_array_equal(turned.pixels[[70, 130]], expected.pixels[[70, 130]])
    assert list(turned.names) == list(expected.names) and turned.classes == expected.classes
    both = joined(streamed, streamed)
    assert both.names[61] == decoded.names[1] and both.classes[3] == "class-0*"
    np.testing.assert_array_equal(both.pixels[[59, 61]], decoded.pixels[[59, 1]])
    with pytest.raises(UsageError, match=r"data\.decoded_gib=0"):
        joined(streamed, decoded)


@pytest.mark.parametrize("progressive", [False, True])
def test_views_depend_on_seed_epoch_position_and_view_alone(image_folder, progressive: bool) -> None:
    images = data.open(image_folder(2, 10, size=40))
    first = RandomView(flip=0.5, erasing=0.5)
    view = ProgressiveViews(first, HarderView(), 3) if progressive else first

    def read(workers: int, views: Views, rows: list[int], positions: list[int]) -> torch.Tensor:
        pixels = stream_pixels(images, GRAY, workers).pixels
        (loaded,) = pixels.pool.read([pixels.request(np.array(rows), np.array(positions), views)])
        return loaded.samples.view(views.count, len(rows), 1, 16, 16)

    views = Views(view, 0.4, seed=1, epoch=2)
    here = read(0, views, [3, 8, 5], [0, 1, 2])
    assert torch.equal(read(2, views, [3, 8, 5], [0, 1, 2]), here)
    # Another company or place in the batch changes nothing; another position, epoch or seed changes all.
    assert torch.equal(read(0, views, [8], [1])[:, 0], here[:, 1])
    for other in (replace(views, epoch=3), replace(views, seed=0)):
        assert not torch.equal(read(0, other, [8], [1])[:, 0], here[:, 1])
    assert not torch.equal(read(0, views, [8], [7])[:, 0], here[:, 1])
    if progressive:
        assert not torch.equal(here[0], here[1]) and not torch.equal(here[1], here[2])
    # What the training draws from its own generator stays as it is.
    before = torch.get_rng_state()
    read(0, views, [3], [0])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_crop_is_cut_from_the_original_at_the_scale_that_it_needs() -> None:
    big = flower().resize((1600, 1200))
    for seed in range(6):
        torch.manual_seed(seed)
        picture, box = drawn_crop(jpeg(big), 64, 0.5)
        torch.manual_seed(seed)
        whole, exact = drawn_crop(np.asarray(big), 64, 0.5)
        assert whole.width == 1600 and picture.width in (200, 400) and min(box[2] - box[0], box[3] - box[1]) >= 64
        shares = [side / length for side, length in zip(box, (picture.width, picture.height) * 2, strict=True)]
        assert shares == pytest.approx([side / length for side, length in zip(exact, (1600, 1200) * 2, strict=True)])
        area = (exact[2] - exact[0]) * (exact[3] - exact[1]) / (1600 * 1200)
        assert 0.499 <= area <= 1.0
        small, large = (cut(*one, 64, 3, "bilinear").astype(int) for one in ((picture, box), (whole, exact)))
        assert np.abs(small - large).mean() < 4.0


def test_a_crop_of_a_turned_photograph_is_upright() -> None:
    upright = flower().resize((400, 300))
    exif = Image.Exif()
    exif[0x0112] = 6  # Shown, it is to be turned by 90 degrees to the right.
    turned = jpeg(upright.transpose(Image.Transpose.ROTATE_90), exif=exif)
    for seed in range(4):
        torch.manual_seed(seed)
        first = cut(*drawn_crop(turned, 64, 0.4), 64, 3, "bilinear").astype(int)
        torch.manual_seed(seed)
        second = cut(*drawn_crop(jpeg(upright), 64, 0.4), 64, 3, "bilinear").astype(int)
        assert np.abs(first - second).mean() < 3.0


def test_plans_say_why_and_crops_are_read_from_originals(image_folder) -> None:
    images = data.open(image_folder(2, 10))
    crops = reading_plan(images, GRAY, ReadingSettings(crops=True, workers=1))
    assert crops.streams and "by 1 process, because random crops come from the original pictures" in crops.why
    assert "by the main process" in reading_plan(images, GRAY, STREAMED).why
    hungry = reading_plan(images, COLOR, ReadingSettings(decoded_gib=0.0, workers=200, batch_images=10**7))
    assert hungry.workers < 200 and f"({hungry.workers} instead of 200 processes: each keeps 3 batches" in hungry.why
    assert not reading_plan(
        data.open("digits"), Preprocessing(8, 1, (0.5,), (0.5,)), ReadingSettings(crops=True)
    ).streams


def test_damaged_files_are_left_out_counted_once_and_refused_when_many(image_folder) -> None:
    photos = image_folder(2, 30)
    for name in ("003.png", "007.png"):
        (photos / "class-1" / name).write_bytes(b"broken")
    found = stream_pixels(data.open(photos), GRAY, 0)
    for _ in range(2):
        kept = np.concatenate([rows for rows, _ in found.blocks(np.arange(60), 16)])
        assert len(kept) == 58 and 33 not in kept
    assert [(Path(one.name).name, one.reason) for one in found.skipped] == [
        ("003.png", "it is not a readable image"),
        ("007.png", "it is not a readable image"),
    ]
    with pytest.raises(DataError, match=r"class-1/003\.png cannot be decoded"):
        found.pixels[33]
    for name in ("008.png", "009.png"):
        (photos / "class-1" / name).write_bytes(b"broken")
    again = stream_pixels(data.open(photos), GRAY, 0)
    with pytest.raises(DataError, match=r"4 of 60 images .* more than 5%"):
        list(again.blocks(np.arange(60), 16))


def test_a_class_without_a_readable_image_is_an_error_as_soon_as_it_is_known(image_folder) -> None:
    photos = image_folder(3, 20)
    for path in sorted((photos / "class-2").glob("*.png"))[1:]:
        path.unlink()
    (photos / "class-2" / "000.png").write_bytes(b"broken")
    found = stream_pixels(data.open(photos), GRAY, 0)
    list(found.blocks(np.arange(40), 16))
    with pytest.raises(DataError, match="No image of class 'class-2'"):
        list(found.blocks(np.array([40]), 16))


def test_a_file_that_changed_or_went_since_the_set_was_opened_is_left_out(image_folder) -> None:
    photos = image_folder(2, 30)
    found = stream_pixels(data.open(photos), GRAY, 0)
    Image.new("L", (90, 90)).save(photos / "class-0" / "004.png")
    (photos / "class-0" / "005.png").unlink()
    assert sum(len(rows) for rows, _ in found.blocks(np.arange(60), 16)) == 58
    assert [one.reason.split(" bytes")[0][:7] for one in found.skipped] == ["it had ", "it does"]


class Deadly(FileItems):
    """The system ends the process that reads the fifth image."""

    def content(self, index: int) -> Path:
        if index == 5 and get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().content(index)


def test_a_reader_that_the_system_ends_is_told_with_its_file(image_folder) -> None:
    opened = data.open(image_folder(2, 10))
    deadly = replace(opened, items=Deadly(opened.items.folder, opened.items.names, opened.items.sizes))
    found = stream_pixels(deadly, GRAY, 1)
    with pytest.raises(ReaderError, match=r"(?s)ended by the system.*class-0/005\.png.*data\.workers=1"):
        list(found.blocks(np.arange(20), 4))


def test_missing_files_of_a_table_are_listed_or_left_out_with_a_note(image_folder) -> None:
    photos = image_folder(2, 10)
    rows = [f"photos/class-{label}/{number:03d}.png,{label}" for label in range(2) for number in range(12)]
    table = photos.parent / "t.csv"
    table.write_text("path,label\n" + "\n".join(rows))
    with pytest.raises(DataError, match=r"(?s)names 4 file\(s\).*line 12: .*class-0/010\.png.*--skip-missing"):
        data.open(table)
    found = data.open(table, skip_missing=True)
    assert len(found) == 20 and found.notes[0].startswith("4 of 24 rows of") and "line 13" in found.notes[0]
    assert "4 of 24 rows" in data.inspect(found).warnings[0]


def memory(path: str, content: bytes) -> None:
    with fsspec.open(f"memory://{path}", "wb") as file:
        file.write(content)


def kinds(count: int = 3) -> dict[str, bytes]:
    return {
        f"{kind}/{number}.jpg": jpeg(Image.new("RGB", (40, 30), (50 * number, 90, value)))
        for kind, value in (("cat", 20), ("dog", 200))
        for number in range(count)
    }


def test_addresses_are_folders_tables_zips_and_tars() -> None:
    files = kinds()
    for name, content in files.items():
        memory(f"/set/photos/{name}", content)
    rows = "\n".join(f"photos/{name},{name.split('/')[0]}" for name in files)
    memory("/set/t.csv", f"path,label\n{rows}\n".encode())
    packed, tape = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive, tarfile.open(fileobj=tape, mode="w") as shard:
        for name, content in files.items():
            archive.writestr(name, content)
            member = tarfile.TarInfo(name)
            member.size = len(content)
            shard.addfile(member, io.BytesIO(content))
    memory("/set/photos.zip", packed.getvalue())
    memory("/set/photos.tar", tape.getvalue())
    for source in ("memory://set/photos", "memory://set/t.csv", "memory://set/photos.zip", "memory://set/photos.tar"):
        found = data.open(source)
        assert found.classes == ("cat", "dog") and found.labels.tolist() == [0, 0, 0, 1, 1, 1], source
        streamed, _ = load_for(found, COLOR, settings=replace(STREAMED, workers=1))
        assert streamed.pixels[4][0].mean() == pytest.approx(50, abs=3), source
        assert sum(len(rows) for rows, _ in streamed.blocks(np.arange(6), 2)) == 6, source


def test_an_index_of_landmarks_at_an_address() -> None:
    names = ["abc0123456789def", "abd0123456789def"]
    for name in names:
        memory(f"/gldv2/train/{name[0]}/{name[1]}/{name[2]}/{name}.jpg", jpeg(Image.new("RGB", (40, 30), (9, 9, 9))))
    memory("/gldv2/train.csv", f"id,url,landmark_id\n{names[0]},http://a,7\n{names[1]},http://b,12\n".encode())
    found = data.open("memory://gldv2/train.csv")
    assert found.classes == ("7", "12") and found.pixels(1).shape == (30, 40, 3)


def test_the_copies_of_remote_files_are_bounded(tmp_path: Path) -> None:
    cache = remote.RemoteCache(limit=2500)
    for number in range(6):
        memory(f"/many/{number}.bin", bytes([number]) * 1000)
        assert cache.read(remote.located(f"memory://many/{number}.bin")) == bytes([number]) * 1000
    assert len(list((tmp_path / "cache" / "remote").iterdir())) == 2
    fsspec.filesystem("memory").rm("/many", recursive=True)
    assert cache.read(remote.located("memory://many/5.bin")) == bytes([5]) * 1000
    with pytest.raises(DataError, match="does not exist"):
        cache.read(remote.located("memory://many/0.bin"))


def test_an_address_that_stops_answering_is_asked_again_and_then_told(monkeypatch) -> None:
    memory("/gone/0.bin", b"x")
    place, asked = remote.located("memory://gone/0.bin"), []
    monkeypatch.setattr(remote, "WAITS", (0.0, 0.0, 0.0))

    def refuse(*_: object, **__: object) -> bytes:
        asked.append(1)
        if len(asked) == 6:
            return b"late"
        raise ConnectionResetError("reset by peer")

    monkeypatch.setattr(type(place.fs), "cat_file", refuse)
    with pytest.raises(UnreachableError, match=r"reset by peer.*3 more attempts.*run the same command again"):
        remote.read(place)
    assert len(asked) == 4 and remote.read(place) == b"late"


def test_a_protocol_without_its_package_names_the_command(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(UsageError, match=r"reading from s3:// needs s3fs: .*pip install s3fs"):
        data.open("s3://bucket/photos.csv")
    with pytest.raises(UsageError, match="nothing here can read from nowhere://"):
        data.open("nowhere://bucket/photos.csv")


def test_a_tar_that_is_cut_short_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "photos.tar"
    with tarfile.open(path, "w") as shard:
        for name, content in kinds().items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            shard.addfile(member, io.BytesIO(content))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError, match="photos.tar"):
        data.open(path)


def test_a_pool_goes_to_another_process_without_its_workers(image_folder) -> None:
    import pickle

    pool = ReadingPool(data.open(image_folder(2, 5)), GRAY, 0)
    copied = pickle.loads(pickle.dumps(pool))  # noqa: S301 - our own bytes
    assert copied.workers == 0 and len(copied.images) == 10
