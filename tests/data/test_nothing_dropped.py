"""Nothing is left out without a count, and no label is guessed: folders, archives, tables."""

from __future__ import annotations

import io
import json
import stat
import sys
import tarfile
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from steradian import data
from steradian.data import file_kinds
from steradian.data.answers import read_answers
from steradian.data.decode import decode
from steradian.data.image_files import image_files
from steradian.errors import DataError, InputError, UsageError
from steradian.gallery.enrolling import people_of


def picture(level: int = 0, kind: str = "PNG") -> bytes:
    found = io.BytesIO()
    Image.new("RGB", (8, 8), (level, 90, 20)).save(found, kind)
    return found.getvalue()


def decoding() -> Any:
    """The module, whose name is also that of its function."""
    return sys.modules["steradian.data.decode"]


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def classes(found: data.ImageSet) -> dict[str, int]:
    return dict(zip(found.classes, np.bincount(found.labels).tolist(), strict=True))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes beside what cameras and servers leave behind."""
    folder = tmp_path / "photos"
    for kind in ("cat", "dog"):
        put(folder / kind / "1.png", picture())
        put(folder / kind / "2.jfif", picture(9, "JPEG"))
        put(folder / kind / "._1.png", b"\0\5\x16\7")
        put(folder / kind / "@eaDir" / "1.png" / "SYNOPHOTO_THUMB_M.jpg", picture())
        put(folder / kind / "film.mov", b"film")
    put(folder / ".thumbnails" / "1.jpg", picture())
    put(folder / "__MACOSX" / "cat" / "1.png", picture())
    put(folder / "fish" / "IMG_1.HEIC", b"\0\0\0\x18ftypheic")
    return folder


def test_a_folder_is_read_without_what_systems_leave_and_says_so(photos: Path, monkeypatch) -> None:
    monkeypatch.setattr(file_kinds, "reads_heic", lambda: False)
    found = data.open(photos)
    assert classes(found) == {"cat": 2, "dog": 2}
    note, empty = found.notes
    assert empty == f"{photos}: 1 folder holds no image: fish."
    assert "9 files are passed over: 6 hidden, or left behind by a system" in note
    assert "2 of a kind that is no image (cat/film.mov, dog/film.mov)" in note
    assert "1 in HEIC, which needs: " in note and "fish/IMG_1.HEIC" in note
    assert len(image_files([photos]).files) == 4 and image_files([photos]).notes == found.notes
    named = people_of([photos], None)
    assert {name: len(files) for name, files in named.by_name.items()} == {"cat": 2, "dog": 2}
    assert named.notes == found.notes
    with pytest.raises(UsageError, match=r"Found no images.*1 file is passed over: 1 in HEIC"):
        image_files([photos / "fish"])


def test_links_in_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere" / "1.png", picture())
    put(tmp_path / "set" / "owl" / "1.png", picture())
    (tmp_path / "set" / "cat").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "owl" / "2.png").symlink_to(tmp_path / "elsewhere" / "1.png")
    (tmp_path / "set" / "owl" / "again").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "owl" / "3.png").symlink_to(tmp_path / "nothing.png")
    found = data.open(tmp_path / "set")
    assert classes(found) == {"cat": 1, "owl": 2}
    assert "1 linked to a folder above (owl/again)" in found.notes[0]
    assert "1 linked to nothing (owl/3.png)" in found.notes[0]


def test_links_in_archives_are_counted_and_never_followed(tmp_path: Path) -> None:
    secret = put(tmp_path / "secret.png", picture(200))
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive, tarfile.open(tmp_path / "s.tar", "w") as shard:
        for kind in ("cat", "dog"):
            archive.writestr(f"{kind}/1.png", picture())
            member = tarfile.TarInfo(f"{kind}/1.png")
            member.size = len(picture())
            shard.addfile(member, io.BytesIO(picture()))
        link = zipfile.ZipInfo("cat/2.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, str(secret))
        archive.writestr("cat/notes.txt", "no picture")
        member = tarfile.TarInfo("cat/2.png")
        member.type, member.linkname = tarfile.SYMTYPE, str(secret)
        shard.addfile(member)
    for name in ("s.zip", "s.tar"):
        found = data.open(tmp_path / name)
        assert classes(found) == {"cat": 1, "dog": 1}, name
        assert "1 linked, and links inside an archive are not followed (cat/2.png)" in found.notes[0], name
    assert data.open(tmp_path / "s.tar").notes == found.notes, "from the index in the cache"


def test_backslashes_of_windows(tmp_path: Path) -> None:
    for kind in "ab":
        put(tmp_path / "i" / kind / "0.png", picture())
    (tmp_path / "t.csv").write_text("path,label\ni\\a\\0.png,a\ni\\b\\0.png,b\n")
    found = data.open(tmp_path / "t.csv")
    assert len(found) == 2 and found.pixels(1).shape == (8, 8, 3)
    with zipfile.ZipFile(tmp_path / "w.zip", "w") as archive:
        for kind in "ab":
            member = zipfile.ZipInfo("x")
            member.filename = f"photos\\{kind}\\0.png"
            archive.writestr(member, picture())
    found = data.open(tmp_path / "w.zip")
    assert classes(found) == {"a": 1, "b": 1} and found.pixels(0).shape == (8, 8, 3)


def test_one_class_in_two_spellings_of_unicode(tmp_path: Path) -> None:
    put(tmp_path / "s" / "Café" / "1.png", picture())
    put(tmp_path / "s" / "Cafe\u0301" / "2.png", picture())
    put(tmp_path / "s" / "Cafe" / "1.png", picture())
    assert classes(data.open(tmp_path / "s")) == {"Cafe": 1, "Café": 2}


ROWS = "i/a/0.png{s}a\ni/b/0.png{s}b\n"


@pytest.mark.parametrize(
    ("separator", "encoding", "before"),
    [
        (";", "utf-8", ""),
        ("\t", "utf-8", ""),
        ("|", "utf-8-sig", ""),
        (",", "utf-16", ""),
        (";", "utf-8", "sep=;\r\n"),
        (",", "utf-32", ""),
    ],
)
def test_tables_whose_separator_and_encoding_are_certain(
    tmp_path: Path, separator: str, encoding: str, before: str
) -> None:
    for kind in "ab":
        put(tmp_path / "i" / kind / "0.png", picture())
    text = before + f"path{separator}label\n" + ROWS.format(s=separator)
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    assert classes(data.open(tmp_path / "t.csv")) == {"a": 1, "b": 1}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            b"path,label\ni/a/0.png,Labrador, black\n",
            "line 2: 3 cells, but the header has 2. Cells are",
        ),
        (b"path,label\ni/a/0.png\n", "line 2: 1 cells, but the header has 2"),
        (b"path,label,label\ni/a/0.png,a,b\n", "column 'label' twice"),
        ("path,label\ni/a/0.png,a\ni/b/0.png,Käfer\n".encode("cp1252"), r"line 3 is not UTF-8: byte 0xe4.*Käfer"),
        ("path,label\ni/a/0.png,a\n".encode("utf-16-le"), "perhaps UTF-16 without a byte order mark"),
        (b"path,label\ni/a/0.png,1.0\ni/b/0.png,nan\n", "line 3: the label is 'nan', which stands for a missing value"),
        (b"path,label\ni/a/0.png,a\n./i/a/0.png,b\n", "names i/a/0.png twice, with label 'a' in line 2 and 'b' in li"),
        (b"path,label,split\ni/a/0.png,a,train\ni/a/0.png,a,test\n", "with split 'train' in line 2 and 'test' in lin"),
    ],
)
def test_tables_that_would_be_guessed_at_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    for kind in "ab":
        put(tmp_path / "i" / kind / "0.png", picture())
    put(tmp_path / "t.csv", content)
    with pytest.raises(DataError, match=words):
        data.open(tmp_path / "t.csv")


def test_a_file_in_many_rows_is_taken_once(tmp_path: Path) -> None:
    for kind in "ab":
        put(tmp_path / "i" / kind / "0.png", picture())
    (tmp_path / "t.csv").write_text("path,label\n" + ROWS.format(s=",") * 3)
    found = data.open(tmp_path / "t.csv")
    assert len(found) == 2 and "4 of 6 rows name a file that an earlier row has named, such as line 4" in found.notes[0]


def test_numbers_as_labels(tmp_path: Path) -> None:
    for kind in "abc":
        put(tmp_path / "i" / kind / "0.png", picture())
    table = tmp_path / "t.csv"
    table.write_text("path,label\ni/a/0.png,1\ni/b/0.png,1.0\ni/c/0.png,2\n")
    assert classes(data.open(table)) == {"1": 2, "2": 1}
    table.write_text("path,label\ni/a/0.png,01\ni/b/0.png,1\ni/c/0.png,1.0\n")
    assert classes(data.open(table)) == {"1": 1, "01": 1, "1.0": 1}, "01 is a name, so that all are"
    table.write_text("path,label,split\ni/a/0.png,0,train\ni/b/0.png,1,train\ni/c/0.png,-1,test\n")
    found = data.open(table)
    assert classes(found) == {"0": 1, "1": 1} and "the class of 1 image is hidden (label -1)" in found.notes[0]
    table.write_text("path,label,split\ni/a/0.png,-1,train\ni/b/0.png,1,train\ni/c/0.png,-1,test\n")
    assert classes(data.open(table)) == {"-1": 2, "1": 1}, "it is a class of the training images"


def test_hidden_labels_of_the_hub(tmp_path: Path) -> None:
    features = {"info": {"features": {"label": {"names": ["cat", "dog"]}}}}
    for name, labels in (("train", [0, 1, 1]), ("test", [-1, -1])):
        table = pa.table({"image": [picture(50 * abs(label)) for label in labels], "label": labels})
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
        parquet.write_table(table, tmp_path / f"{name}-00000-of-00001.parquet")
    found = data.open(tmp_path)
    assert classes(found) == {"cat": 1, "dog": 2} and "the class of 2 images is hidden (label -1)" in found.notes[0]
    assert [int(found.pixels(index)[0, 0, 0]) for index in range(3)] == [0, 50, 50]
    with pytest.raises(DataError, match="Name the files of the other parts"):
        data.open(tmp_path / "test-00000-of-00001.parquet")


def test_names_with_dots_in_shards(tmp_path: Path) -> None:
    def shard(name: str, files: dict[str, bytes]) -> Path:
        with tarfile.open(tmp_path / name, "w") as archive:
            for inside, content in files.items():
                member = tarfile.TarInfo(inside)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return tmp_path / name

    dotted = {f"Track 2.{n}.{end}": picture() if end == "png" else str(n % 2).encode() for n in range(4) for end in ("png", "cls")}  # fmt: skip # noqa: E501
    assert data.open(shard("dotted.tar", dotted)).labels.tolist() == [0, 1, 0, 1]
    beside = {f"./{name}": content for name, content in dotted.items()}
    assert data.open(shard("beside.tar", beside)).labels.tolist() == [0, 1, 0, 1], "as tar packs the folder it is in"
    shared = {"a.left.png": picture(), "a.right.png": picture(), "a.cls": b"x", "b.png": picture(), "b.label.cls": b"y"}
    assert classes(data.open(shard("shared.tar", shared))) == {"x": 2, "y": 1}
    with pytest.raises(DataError, match=r"Track 2\.9\.png has no class"):
        data.open(shard("without.tar", {**dotted, "Track 2.9.png": picture()}))


def test_one_scale_for_each_kind_of_sample() -> None:
    def level(value: float, kind: type, form: str) -> int:
        found = io.BytesIO()
        Image.fromarray(np.full((4, 4), value, kind)).save(found, form)
        return int(decode(found.getvalue()).max())

    assert [level(value, np.uint16, "PNG") for value in (0, 255, 257, 4095, 65535)] == [0, 1, 1, 16, 255]
    assert [level(value, np.float32, "TIFF") for value in (0.0, 0.5, 1.0, 1.01)] == [0, 128, 255, 255]


@pytest.mark.parametrize("kind", ["AVIF", "JPEG2000", "TGA", "PCX", "DIB"])
def test_what_pillow_reads_is_read(kind: str) -> None:
    assert decode(picture(kind=kind)).shape == (8, 8, 3)


def test_heic_needs_an_extra_which_is_named_or_used(monkeypatch: pytest.MonkeyPatch) -> None:
    heic = b"\0\0\0\x18ftypheic" + b"\0" * 20
    asked = []
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    decoding()._register_heic.cache_clear()
    with pytest.raises(DataError, match="it is a HEIC picture, which needs: .*heif"):
        decode(heic)
    monkeypatch.setitem(
        sys.modules, "pillow_heif", types.SimpleNamespace(register_heif_opener=lambda: asked.append("heic"))
    )
    decoding()._register_heic.cache_clear()
    with pytest.raises(DataError):
        decode(heic)
    decoding()._register_heic.cache_clear()
    assert asked == ["heic"]


def test_decimal_commas_where_semicolons_separate(tmp_path: Path) -> None:
    table = tmp_path / "answers.csv"
    table.write_text("id;label;cat;dog\n1;cat;0,9;0,1\n2;dog;0,25;0,75\n")
    np.testing.assert_allclose(read_answers(table).probabilities, [[0.9, 0.1], [0.25, 0.75]], atol=1e-12)
    table.write_text("id;label;cat;dog\n1;cat;0,9;0,1\n2;dog;0.25;0,75\n")
    with pytest.raises(DataError, match="cat has a decimal comma in line 2 and a decimal point in line 3"):
        read_answers(table)


def test_folders_without_an_image_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for name in ("ana/1.png", "ben/1.png", "ben/2.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20, 20), 90, np.uint8)).save(folder / name)
    for name in ("empty", "films/2020", ".hidden", "ana/notes"):
        (folder / name).mkdir(parents=True)
    (folder / "films" / "2020" / "a.mp4").write_bytes(b"film")
    said = "3 folders hold no image: ana/notes, empty, films."
    assert data.open(folder).notes[-1] == f"{folder}: {said}"
    assert image_files([folder]).notes[-1] == f"{folder}: {said}"
    packed = tmp_path / "photos.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    assert data.open(packed).notes[-1] == f"{packed}: {said}"


def test_labels_of_no_image_are_counted(tmp_path: Path) -> None:
    shard, picture = tmp_path / "a.tar", io.BytesIO()
    Image.fromarray(np.full((20, 20), 90, np.uint8)).save(picture, "PNG")
    with tarfile.open(shard, "w") as archive:
        for name, content in (
            *((f"{key}.png", picture.getvalue()) for key in "ab"),
            *((f"{key}.cls", key.encode()) for key in "abc"),
            ("a.txt", b"a caption"),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    (note,) = data.open(shard).notes
    assert note.endswith("1 file is passed over: 1 a label of no image (c.cls).")


def table(folder: Path, *rows: str, header: str = "path,label") -> Path:
    for name in ("a/0.png", "a/1.png", "b/0.png", "b/1.png"):
        put(folder / name, picture(ord(name[0]) + int(name[2])))
    path = folder / "t.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (['a/0.png,"a', "a/1.png,a", "b/0.png,b"], "line 2: unexpected end of data"),
        (['a/0.png,"a', 'a/1.png,a"', "b/0.png,b"], "line 2: a cell goes on in the next line"),
        (['a/0.png,"a" x', "b/0.png,b"], "line 2: ',' expected after '\"'"),
        (["a/0.png,a", "path,label", "b/0.png,b"], "line 3 repeats the header"),
        (["a/0.png,a", "b/0.png,#N/A"], "the label is '#N/A', which stands for a missing value"),
        (["a/0.png,a", "a\\0.png,b", "b/0.png,b"], "names a/0.png twice, with label 'a' in line 2 and 'b' in line 3"),
    ],
)
def test_tables_that_would_be_read_wrongly(tmp_path: Path, rows: list[str], said: str) -> None:
    with pytest.raises(DataError) as told:
        data.open(table(tmp_path, *rows))
    assert said in str(told.value)


def test_one_file_in_three_spellings_is_taken_once(tmp_path: Path) -> None:
    rows = ["a/0.png,a", "a\\0.png,a", f"{tmp_path}/a/0.png,a", './b/0.png, "b"', "b/1.png,b"]
    found = data.open(table(tmp_path, *rows))
    assert classes(found) == {"a": 1, "b": 2} and "2 of 5 rows name a file" in found.notes[-1]


def test_spellings_of_one_part_agree(tmp_path: Path) -> None:
    rows = ["a/0.png,caf\u00e9,val", "a/0.png,cafe\u0301,validation", "b/0.png,b,train", "b/1.png,b,test"]
    assert len(data.open(table(tmp_path, *rows, header="path,label,split"))) == 3


def test_names_that_are_nearly_the_same_are_told(tmp_path: Path) -> None:
    rows = ["a/0.png,Cat", "a/1.png,cat", "b/0.png,dog\u200b", "b/1.png,dog"]
    (note,) = data.open(table(tmp_path, *rows)).notes
    assert "'Cat' and 'cat'; 'dog\\u200b' and 'dog'" in note
    numbers = data.open(table(tmp_path, "a/0.png,01", "a/1.png,1", "b/0.png,10", "b/1.png,x")).notes
    assert "'01' and '1'" in numbers[0]
    missing = data.open(table(tmp_path, "a/0.png,None", "b/0.png,b", "b/1.png,-1")).notes
    assert len(missing) == 2 and "'None' of 1 images is taken for the name of a class" in " ".join(missing)


def test_a_folder_that_holds_two_kinds_of_sets_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "cat" / "0.png", picture())
    for name in ("backup.tar", "train-0.parquet"):
        put(tmp_path / name, b"")
        with pytest.raises(UsageError, match=f"holds both .* such as {name}, and images, such as cat/0.png"):
            data.open(tmp_path)
        (tmp_path / name).unlink()


def shard_of(path: Path, members: list[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_shards_below_a_folder_and_what_lies_beside_them(tmp_path: Path) -> None:
    members = [("0.png", picture()), ("0.cls", b"cat"), ("1.png", picture(3)), ("1.cls", b"dog")]
    for name in ("train-0.tar", "deep/train-1.TAR", ".hidden/train-2.tar"):
        shard_of(tmp_path / "set" / name, members) if "/" not in name else put(
            tmp_path / "set" / name, shard_of(tmp_path / "made.tar", members).read_bytes()
        )
    put(tmp_path / "set" / "._train-0.tar", b"\0\5\x16\7")
    put(tmp_path / "set" / "train-3.tar.gz", b"\x1f\x8b")
    found = data.open(tmp_path / "set")
    assert len(found) == 4
    assert "1 compressed: unpack it first (train-3.tar.gz)" in found.notes[0] and "2 hidden" in found.notes[0]


def test_labels_of_shards_are_read_as_those_of_tables(tmp_path: Path) -> None:
    def opened(*labels: bytes) -> data.ImageSet:
        members = [m for i, one in enumerate(labels) for m in ((f"{i}.png", picture(i)), (f"{i}.cls", one))]
        return data.open(shard_of(tmp_path / f"{len(list(tmp_path.iterdir()))}.tar", members))

    with pytest.raises(DataError, match=r"0\.cls is not UTF-8: byte 0xe9"):
        opened(b"caf\xe9", b"caf\xe8")
    assert classes(opened(b"\xef\xbb\xbfcat", b"cat", "dog".encode("utf-16"))) == {"cat": 2, "dog": 1}
    assert classes(opened(b"1", b"1.0", b"2")) == {"1": 2, "2": 1}
    with pytest.raises(DataError, match="the label is 'nan'"):
        opened(b"nan", b"cat")


def test_the_last_member_of_a_name_is_taken(tmp_path: Path) -> None:
    members = [("x.png", picture(1)), ("x.cls", b"a"), ("y.png", picture(2)), ("y.cls", b"c")]
    found = data.open(shard_of(tmp_path / "a.tar", [*members, ("x.png", picture(9)), ("x.cls", b"b")]))
    assert classes(found) == {"b": 1, "c": 1} and "replaced by a later member" in found.notes[0]
    np.testing.assert_array_equal(found.pixels(list(found.items.names).index("x.png")), decode(picture(9)))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        for name, value in (("a/0.png", 1), ("b/0.png", 2), ("a/0.png", 9)):
            archive.writestr(name, picture(value))
    found = data.open(tmp_path / "a.zip")
    assert len(found) == 2 and "replaced by a later member" in found.notes[0]
    np.testing.assert_array_equal(found.pixels(0), decode(picture(9)))


def test_a_damaged_index_of_a_shard_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STERADIAN_CACHE", str(tmp_path / "cache"))
    members = [("0.png", picture()), ("0.cls", b"cat"), ("1.png", picture(3)), ("1.cls", b"dog")]
    shard = shard_of(tmp_path / "a.tar", members)
    data.open(shard)
    for content in (b"", b"junk"):
        (index,) = (tmp_path / "cache").rglob("*.npz")
        index.write_bytes(content)
        assert len(data.open(shard)) == 2


def test_a_picture_that_changed_but_not_its_size_is_noticed(tmp_path: Path) -> None:
    for number in range(2):
        put(tmp_path / "s" / f"{number}" / "0.bmp", picture(number, "BMP"))
    before = data.open(tmp_path / "s").items.fingerprint()
    assert data.open(tmp_path / "s").items.fingerprint() == before
    put(tmp_path / "s" / "0" / "0.bmp", picture(7, "BMP"))
    assert data.open(tmp_path / "s").items.fingerprint() != before


def test_pipes_are_refused_instead_of_waited_for(tmp_path: Path) -> None:
    import os

    for name in ("f.png", "f.csv", "f.zip", "f.tar"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(UsageError, match="neither a file nor a folder"):
            image_files([tmp_path / name]) if name.endswith("png") else data.open(tmp_path / name)


def test_two_classes_of_one_name_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "n.npz", x=np.zeros((9, 8, 8), np.uint8), y=np.arange(9) % 3, names=["cat", "cat", "dog"])
    with pytest.raises(DataError, match="has 'cat' 2 times"):
        data.open(tmp_path / "n.npz")


def test_samples_that_are_transparent_or_out_of_range() -> None:
    gray = np.array([[0, 128, 255]], np.uint8)
    for image, clear in ((Image.fromarray(gray), 0), (Image.fromarray(gray.astype(np.uint16) * 257), 0)):
        buffer = io.BytesIO()
        image.save(buffer, "PNG", transparency=clear)
        assert decode(buffer.getvalue()).tolist() == [[255, 128, 255]]
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8), 200, np.float32)).save(buffer, "TIFF")
    with pytest.raises(DataError, match="floats up to 200, but floats must be from 0 to 1"):
        decode(buffer.getvalue())


def test_a_persons_folder_without_a_valid_name_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "people" / "a\u200bb"
    put(folder / "1.png", picture())
    with pytest.raises(InputError, match=r"by the folder .*people/a.*control character U\+200B"):
        people_of([tmp_path / "people"], None)
