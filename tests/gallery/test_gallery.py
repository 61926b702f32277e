"""A gallery as its users have it: enroll, identify, rename, merge, export, rebuild, and other processes."""

from __future__ import annotations

import json
import math
import sqlite3
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from steradian import Recognizer
from steradian.errors import DataError, InputError, NotFoundError, StorageError, UsageError
from steradian.gallery import Gallery, calibrate
from steradian.gallery.backends import open_backend
from steradian.gallery.backends.sqlite import SqliteBackend
from steradian.gallery.calibrating import strangers
from steradian.gallery.exchange import export, import_file, rebuild
from steradian.gallery.pictures import Pictures
from steradian.gallery.records import checked_name
from steradian.models.calibration import Threshold

MODEL, D = "m" * 64, 6


def unit(*shape: int, seed: int = 0) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return found / np.linalg.norm(found, axis=-1, keepdims=True)


def around(center: np.ndarray, count: int, spread: float = 0.1, seed: int = 0) -> np.ndarray:
    found = center + spread * np.random.default_rng(seed).normal(size=(count, len(center)))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return Gallery(SqliteBackend(tmp_path / "g.db", MODEL, D), None)


@pytest.fixture(params=["file", "milvus"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gallery]:
    """A gallery in a file, and one on Milvus: they must answer alike."""
    place = tmp_path / "g.db" if request.param == "file" else f"milvus:{tmp_path / 'm.db'}"
    with Gallery(open_backend(place, MODEL, D), None) as opened:
        yield opened


def fill(gallery: Gallery, people: int = 6, images: int = 5) -> np.ndarray:
    centers = unit(people, D, seed=1)
    for number, center in enumerate(centers):
        vectors = around(center, images, seed=number)
        gallery.enroll_vectors(f"p{number}", vectors, [f"{number}-{place}.png" for place in range(images)])
    return centers


def test_who_is_enrolled_is_found_and_others_are_unknown(either: Gallery) -> None:
    centers = fill(either)
    answers = either.identify_vectors(around(centers[2], 3, seed=9), threshold=0.8, top=3)
    assert [answer.decision for answer in answers] == ["match"] * 3 and answers[0].label == "p2"
    assert len(answers[0].matches) == 3 and len({match.label for match in answers[0].matches}) == 3
    falling = [match.similarity for match in answers[0].matches]
    assert falling == sorted(falling, reverse=True) and answers[0].similarity == falling[0]
    stranger = -centers[2:3]
    assert either.identify_vectors(stranger, threshold=0.99)[0].decision == "unknown"
    assert either.identify_vectors(unit(0, D), threshold=0.5) == []


def test_an_empty_gallery_knows_nobody(either: Gallery) -> None:
    answer = either.identify_vectors(unit(1, D), threshold=0.5)[0]
    assert answer.decision == "unknown" and answer.matches == () and len(either) == 0


def test_two_who_are_alike_are_ambiguous_unless_votes_decide(either: Gallery) -> None:
    center = unit(1, D)[0]
    either.enroll_vectors("ana", np.stack([center, center]), ["", ""])
    either.enroll_vectors("ana's twin", around(center, 1, 0.01), [""])
    assert either.identify_vectors(center[None], threshold=0.5)[0].decision == "ambiguous"
    assert either.identify_vectors(center[None], threshold=0.5, strategy="vote")[0].label == "ana"
    with pytest.raises(InputError, match="unknown strategy 'best'"):
        either.identify_vectors(center[None], threshold=0.5, strategy="best")


def test_means_are_one_vector_an_identity(either: Gallery) -> None:
    centers = fill(either)
    held, numbers = either.snapshot().means
    assert held.shape == (6, D) and len(numbers) == 6
    np.testing.assert_allclose(np.linalg.norm(held, axis=1), 1.0, rtol=1e-5)
    answer = either.identify_vectors(centers[4:5], threshold=0.8, strategy="mean")[0]
    assert answer.label == "p4" and answer.similarity > 0.95


def test_all_of_one_before_any_other_still_lists_others(either: Gallery) -> None:
    center = unit(1, D)[0]
    either.enroll_vectors("many", around(center, 200, 0.01), [""] * 200)
    either.enroll_vectors("one", -center[None], [""])
    answer = either.identify_vectors(center[None], threshold=0.5, top=2)[0]
    assert [match.label for match in answer.matches] == ["many", "one"]


def test_rename_merge_remove(either: Gallery) -> None:
    centers = fill(either, people=3)
    either.rename("p0", "Ana ☕")
    assert either.identify_vectors(centers[:1], threshold=0.7)[0].label == "Ana ☕"
    with pytest.raises(InputError, match="'p1' is already taken"):
        either.rename("Ana ☕", "p1")
    either.merge("p1", "Ana ☕")
    found = {identity.name: identity.images for identity in either.identities()}
    assert found == {"Ana ☕": 10, "p2": 5}
    assert either.identify_vectors(centers[1:2], threshold=0.7)[0].label == "Ana ☕"
    either.remove("Ana ☕")
    assert [identity.name for identity in either.identities()] == ["p2"]
    assert {match.label for match in either.identify_vectors(centers, threshold=2.0)[0].matches} == {"p2"}
    for call in (lambda: either.remove("nobody"), lambda: either.merge("p2", "nobody")):
        with pytest.raises(InputError, match="nobody called 'nobody' is enrolled"):
            call()
    with pytest.raises(InputError, match="into itself"):
        either.merge("p2", "p2")


def test_metadata_are_joined_and_filter(either: Gallery) -> None:
    centers = unit(2, D)
    either.enroll_vectors("a", centers[:1], [""], {"site": "north", "age": 3})
    either.enroll_vectors("b", centers[1:], [""], {"site": "south"})
    either.enroll_vectors("a", centers[:1], [""], {"age": 4})
    assert either.identities()[0].metadata == {"site": "north", "age": 4}
    answer = either.identify_vectors(centers[:1], threshold=0.5, where={"site": "south"})[0]
    assert [match.label for match in answer.matches] == ["b"]
    assert either.identify_vectors(centers[:1], threshold=0.5, where={"site": "east"})[0].matches == ()
    means = either.identify_vectors(centers[:1], threshold=0.5, where={"site": "south"}, strategy="mean")[0]
    assert [match.label for match in means.matches] == ["b"]
    with pytest.raises(InputError, match="plain JSON"):
        either.enroll_vectors("c", centers[:1], [""], {"x": {1, 2}})
    assert len(either) == 2


def test_only_some_names_are_asked(either: Gallery) -> None:
    centers = fill(either)
    answer = either.identify_vectors(centers[2:3], threshold=0.5, labels=["p1", "p4", "nobody"])[0]
    assert {match.label for match in answer.matches} == {"p1", "p4"}
    assert either.identify_vectors(centers[2:3], threshold=0.5, labels=[])[0].matches == ()
    with pytest.raises(InputError, match=r"use \['p1'\]"):
        either.identify_vectors(centers[2:3], threshold=0.5, labels="p1")


def test_a_decision_does_not_depend_on_how_many_are_listed(gallery: Gallery) -> None:
    base = np.eye(D, dtype=np.float32)
    near = [0.9 * base[0] + math.sqrt(1 - 0.81) * base[axis] for axis in (1, 2)]
    half = [0.5 * base[0] + math.sqrt(0.75) * base[axis] for axis in (3, 4)]
    gallery.enroll_vectors("a", np.stack(near[:1]), [""])
    gallery.enroll_vectors("b", np.stack(half), ["", ""])
    for top in (1, 2, 5):
        answer = gallery.identify_vectors(base[:1], threshold=0.6, strategy="vote", top=top)[0]
        assert answer.label == "a" and len(answer.matches) == min(top, 2)
    gallery.enroll_vectors("c", np.stack(near[1:]), [""])
    for top in (1, 2, 5):
        answer = gallery.identify_vectors(base[:1], threshold=0.6, top=top)[0]
        assert answer.decision == "ambiguous" and {one.label for one in answer.matches[:2]} == {"a", "c"}


def test_hints_take_the_rate_that_there_is(gallery: Gallery) -> None:
    gallery.set_thresholds([Threshold(far=0.1, cosine=0.9, low=0.8, high=1.0, measured_on="few")])
    vectors = unit(1, D)
    assert gallery.enroll_vectors("a", vectors, ["a.png"]).hints == ()
    assert "is like 'a'" in str(gallery.enroll_vectors("b", vectors, ["a.png"]).hints[0])
    assert gallery.thresholds.at().far == 0.1 and gallery.identify_vectors(vectors, far=0.1)[0].threshold == 0.9


@pytest.mark.parametrize("name", ["", "   ", "x" * 257, "a\nb", "a\x00b", "a\u202eb", "a\u200bb"])
def test_names_that_cannot_be_shown_are_refused(gallery: Gallery, name: str) -> None:
    with pytest.raises(InputError, match="characters|character U"):
        gallery.enroll_vectors(name, unit(1, D), [""])
    assert len(gallery) == 0


@pytest.mark.parametrize("name", ["'; DROP TABLE images; --", "<script>alert(1)</script>", "../../etc/passwd", "名前"])
def test_names_are_only_names(gallery: Gallery, name: str) -> None:
    gallery.enroll_vectors(name, unit(1, D), [""])
    assert gallery.identify_vectors(unit(1, D), threshold=0.5)[0].label == name


def test_another_process_is_seen_at_once(gallery: Gallery, tmp_path: Path) -> None:
    centers = fill(gallery, people=2)
    gallery.identify_vectors(centers, threshold=0.5)
    other = Gallery(SqliteBackend(tmp_path / "g.db", MODEL, D), None)
    other.enroll_vectors("new", -centers[:1], [""])
    assert gallery.identify_vectors(-centers[:1], threshold=0.9)[0].label == "new"
    other.remove("p0")
    assert all(match.label != "p0" for match in gallery.identify_vectors(centers[:1], threshold=0.5)[0].matches)
    assert len(gallery.snapshot().vectors) == 6


def test_a_view_in_use_is_left_alone(gallery: Gallery) -> None:
    fill(gallery, people=1)
    before = gallery.snapshot()
    kept = before.vectors.copy()
    fill(gallery, people=3)
    gallery.remove("p0")
    gallery.snapshot()
    np.testing.assert_array_equal(before.vectors, kept)


def test_thresholds_of_strangers(gallery: Gallery) -> None:
    with pytest.raises(InputError, match="5 identities with 20 images in all"):
        calibrate(gallery)
    fill(gallery, people=90, images=4)
    memory = gallery.snapshot()
    highest = strangers(memory.vectors, memory.identities, memory.vectors, memory.identities)
    whole = memory.vectors @ memory.vectors.T
    whole[memory.identities[:, None] == memory.identities[None]] = -2
    np.testing.assert_allclose(highest, whole.max(axis=1), rtol=1e-5)
    found = calibrate(gallery)
    assert [one.far for one in found] == [1e-1, 1e-2]
    for one in found:
        assert np.mean(highest > one.cosine) <= one.far and one.low <= one.cosine <= one.high
    assert (
        gallery.thresholds.at(1e-2)
        == found[1]
        == Gallery(SqliteBackend(gallery.register.backend.path)).thresholds.at(1e-2)
    )
    with pytest.raises(InputError, match=r"this gallery has no threshold .* 1e-05; it has thresholds for 0\.1, 0\.01"):
        gallery.thresholds.at(1e-5)


def test_export_and_import(gallery: Gallery, tmp_path: Path) -> None:
    fill(gallery, people=3)
    gallery.enroll_vectors("p0", unit(1, D), ["x.png"], {"a": 1})
    gallery.set_thresholds([Threshold(far=0.1, cosine=0.9, low=0.8, high=1.0, measured_on="few")])
    assert export(gallery, tmp_path / "out.zip") == 16
    other = Gallery(SqliteBackend(tmp_path / "other.db", MODEL, D), None)
    other.enroll_vectors("p0", unit(1, D, seed=5), [""])
    assert import_file(tmp_path / "other.db", tmp_path / "out.zip") == 16
    assert {one.name: one.images for one in other.identities()} == {"p0": 7, "p1": 5, "p2": 5}
    assert other.identities()[0].metadata == {"a": 1}
    SqliteBackend(tmp_path / "foreign.db", "n" * 64, D).close()
    with pytest.raises(StorageError, match="vectors of another model"):
        import_file(tmp_path / "foreign.db", tmp_path / "out.zip")
    assert import_file(tmp_path / "new.db", tmp_path / "out.zip") == 16
    assert import_file(tmp_path / "new.db", tmp_path / "out.zip") == 0
    gallery.enroll_vectors("p1", unit(1, D, seed=8), ["y.png"], {"b": 2})
    export(gallery, tmp_path / "later.zip")
    assert import_file(tmp_path / "new.db", tmp_path / "later.zip") == 1
    assert [one.metadata for one in Gallery.open(tmp_path / "new.db").identities()] == [{"a": 1}, {"b": 2}, {}]
    assert other.own_thresholds() == ()
    assert Gallery.open(tmp_path / "new.db").own_thresholds() == gallery.own_thresholds() != ()
    new, old = SqliteBackend(tmp_path / "new.db").rows().vectors, gallery.snapshot().vectors
    np.testing.assert_array_equal(new[np.lexsort(new.T)], old[np.lexsort(old.T)])


@pytest.mark.parametrize("damage", ["no zip", "no vectors", "card", "pickled", "short", "not finite"])
def test_exported_files_of_strangers(gallery: Gallery, tmp_path: Path, damage: str) -> None:
    fill(gallery, people=2)
    export(gallery, tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        card, vectors = archive.read("gallery.json"), archive.read("vectors.npy")
    if damage == "card":
        card = card.replace(b'"name"', b'"nome"')
    if damage in ("pickled", "short", "not finite"):
        held = {"pickled": np.array([{}], dtype=object), "short": unit(3, D), "not finite": np.full((10, D), np.nan)}
        with (tmp_path / "v.npy").open("wb") as file:
            np.save(file, held[damage].astype(np.float32) if damage != "pickled" else held[damage], allow_pickle=True)
        vectors = (tmp_path / "v.npy").read_bytes()
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("gallery.json", card)
        if damage != "no vectors":
            archive.writestr("vectors.npy", vectors)
    if damage == "no zip":
        (tmp_path / "bad.zip").write_bytes(b"PK nonsense")
    with pytest.raises(StorageError, match="not an exported gallery, or is damaged"):
        import_file(gallery.register.backend.path, tmp_path / "bad.zip")
    assert len(gallery.snapshot().vectors) == 10


def test_files_that_are_no_gallery_of_this_model(gallery: Gallery, tmp_path: Path) -> None:
    path = gallery.register.backend.path
    with pytest.raises(StorageError, match="vectors of another model"):
        SqliteBackend(path, "n" * 64, D)
    with pytest.raises(StorageError, match="There is no gallery"):
        SqliteBackend(tmp_path / "nowhere.db")
    (tmp_path / "text.db").write_text("hello " * 1000)
    with pytest.raises(StorageError, match="damaged or not a gallery"):
        SqliteBackend(tmp_path / "text.db", MODEL, D)
    foreign = sqlite3.connect(tmp_path / "foreign.db")
    foreign.execute("CREATE TABLE t (x)")
    foreign.close()
    with pytest.raises(StorageError, match="is not a gallery"):
        SqliteBackend(tmp_path / "foreign.db", MODEL, D)
    gallery.register.backend._connection.execute("PRAGMA user_version = 7")
    with pytest.raises(StorageError, match="newer steradian .format 7; this one reads 1"):
        SqliteBackend(path, MODEL, D)
    with pytest.raises(InputError, match=r"\[M, 6\], but these are \[1, 5\]"):
        gallery.enroll_vectors("x", unit(1, 5), [""])


def test_a_gallery_that_is_held_by_another_writer_says_so(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steradian.gallery.backends.sqlite_file.WAIT_SECONDS", 0.2)
    other = sqlite3.connect(gallery.register.backend.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match="another process is writing to it"):
        gallery.enroll_vectors("x", unit(1, D), [""])
    other.execute("ROLLBACK")
    gallery.enroll_vectors("x", unit(1, D), [""])


def draw(path: Path, kind: int, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    image = Image.new("L", (60, 60), 255)
    pen, jitter = ImageDraw.Draw(image), rng.integers(-3, 4, 4)
    box = [12 + int(jitter[0]), 12 + int(jitter[1]), 46 + int(jitter[2]), 46 + int(jitter[3])]
    if kind == 0:
        pen.ellipse(box, outline=0, width=3)
    elif kind == 1:
        pen.line([(box[0], box[1]), (box[2], box[3])], fill=0, width=3)
        pen.line([(box[0], box[3]), (box[2], box[1])], fill=0, width=3)
    else:
        pen.rectangle(box, outline=0, width=3)
        pen.line([(box[0], box[1]), (box[2], box[1])], fill=0, width=3)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


def test_drawn_symbols_are_enrolled_once_and_known_again(tmp_path: Path) -> None:
    model = Recognizer.load("glyphs")
    with Gallery.open(tmp_path / "g.db", model) as gallery:
        gallery.enroll("ring", [draw(tmp_path / "a.png", 0, 1)])
        gallery.enroll("cross", [draw(tmp_path / "b.png", 1, 2)])
        answers = gallery.identify([draw(tmp_path / f"c{kind}.png", kind, 7) for kind in (0, 1, 2)], far=1e-3)
        assert [answer.label for answer in answers] == ["ring", "cross", None]
        assert answers[2].decision == "unknown" and 0 <= (answers[0].probability or -1) <= 1
        hinted = gallery.enroll("ring", [draw(tmp_path / "d.png", 1, 3)])
        assert len(hinted.hints) == 2 and "unlike the other images of 'ring'" in str(hinted.hints[0])
        assert "like 'cross'" in str(hinted.hints[1])
        with pytest.raises(UsageError, match="check the spelling"):
            gallery.enroll("junk", [tmp_path / "nowhere.png"])
        with pytest.raises(InputError, match="no image of 'nobody'"):
            gallery.enroll("nobody", [])
        assert {one.name for one in gallery.identities()} == {"ring", "cross"}
    with Gallery.open(tmp_path / "g.db") as looked_at:
        assert len(looked_at) == 2
        with pytest.raises(UsageError, match="opened without a model"):
            looked_at.identify([tmp_path / "a.png"], threshold=0.5)


def test_rebuilt_by_another_model_from_its_files(tmp_path: Path) -> None:
    model = Recognizer.load("glyphs")
    with Gallery.open(tmp_path / "g.db", model) as gallery:
        gallery.enroll("ring", [draw(tmp_path / "a.png", 0, 1), draw(tmp_path / "gone.png", 0, 2)])
        gallery.enroll("cross", [draw(tmp_path / "b.png", 1, 2)])
        gallery.set_thresholds([])
        old = gallery.snapshot().vectors.copy()
        (tmp_path / "gone.png").unlink()
        other = Recognizer.load("glyphs")
        other.neck.normalization.bias.data += 0.3
        other.save(tmp_path / "other")
        other = Recognizer.load(tmp_path / "other")
        with pytest.raises(InputError, match=r"(?s)1 of the 3 images .* nothing was changed.*--drop-lost"):
            rebuild(tmp_path / "g.db", other, lambda items, total, what: items)
        np.testing.assert_array_equal(gallery.snapshot().vectors, old)
        count, lost = rebuild(tmp_path / "g.db", other, lambda items, total, what: items, drop_lost=True)
        assert count == 2 and len(lost) == 1 and "gone.png" in lost[0]
        with pytest.raises(StorageError, match="by another model meanwhile"):
            gallery.identify([tmp_path / "a.png"], threshold=0.5)
    with Gallery.open(tmp_path / "g.db", other) as again:
        found = again.snapshot().vectors
        assert found.shape == (2, old.shape[1]) and np.abs(found[0] - old[0]).max() > 1e-3
        assert again.identify([tmp_path / "b.png"], threshold=0.9)[0].label == "cross"
    facts = dict(sqlite3.connect(tmp_path / "g.db").execute("SELECT name, value FROM facts"))
    assert facts["model"] == other.model_id and json.loads(facts["thresholds"]) == []


@pytest.mark.parametrize(
    ("words", "free", "writable", "expected"),
    [
        ("disk I/O error", 0, True, "is full"),
        ("unable to open database file", 10**9, False, "is read-only"),
        ("attempt to write a readonly database", 10**9, True, "is read-only"),
        ("unable to open database file", 10**9, True, "unable to open"),
    ],
)
def test_why_a_file_cannot_be_used(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch, words: str, free: int, writable: bool, expected: str
) -> None:
    monkeypatch.setattr(
        "steradian.gallery.backends.sqlite_file.shutil.disk_usage", lambda _: SimpleNamespace(free=free)
    )
    monkeypatch.setattr("steradian.gallery.backends.sqlite_file.os.access", lambda *_: writable)
    with pytest.raises(StorageError, match=expected), gallery.register.backend._storage_errors():
        raise sqlite3.OperationalError(words)


def test_places_where_no_gallery_can_be(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is no folder"):
        SqliteBackend(tmp_path / "nowhere" / "g.db", MODEL, D)
    with pytest.raises(StorageError, match="it is a folder"):
        SqliteBackend(tmp_path, MODEL, D)


def test_a_full_disk_takes_nothing_half(gallery: Gallery) -> None:
    fill(gallery, people=1)
    pages = gallery.register.backend._connection.execute("PRAGMA page_count").fetchone()[0]
    gallery.register.backend._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageError, match="full"):
        gallery.enroll_vectors("many", unit(2000, D), [""] * 2000)
    assert [identity.name for identity in gallery.identities()] == ["p0"]
    gallery.register.backend._connection.execute("PRAGMA max_page_count = 100000")
    gallery.enroll_vectors("many", unit(2000, D), [""] * 2000)
    assert len(gallery.snapshot().vectors) == 2005


def test_vectors_that_are_not_finite_are_refused(gallery: Gallery) -> None:
    fill(gallery, people=2)
    bad = np.full((1, D), np.nan, np.float32)
    with pytest.raises(InputError, match="not finite"):
        gallery.enroll_vectors("x", bad, [""])
    with pytest.raises(InputError, match="not finite"):
        gallery.identify_vectors(bad, threshold=0.5)
    assert len(gallery) == 2


def test_who_is_enrolled_during_a_rebuild_is_not_lost(gallery: Gallery) -> None:
    fill(gallery, people=1)
    seen = dict.fromkeys(gallery.register.backend.rows().ids.tolist(), unit(1, D)[0])
    gallery.enroll_vectors("late", unit(1, D), [""])
    with pytest.raises(StorageError, match="enrolled in .* meanwhile"):
        gallery.register.backend.replace_vectors("n" * 64, seen, D, list(seen))
    assert len(gallery) == 2 and gallery.register.backend.setting("model") == MODEL


def test_sources_of_any_bytes_are_kept(gallery: Gallery) -> None:
    gallery.enroll_vectors("x", unit(1, D), ["caf\udce9.png"])
    assert list(gallery.register.backend.sources().values()) == [("x", "caf\\udce9.png")]


def test_a_header_that_claims_too_much_is_refused(gallery: Gallery, tmp_path: Path) -> None:
    fill(gallery, people=2)
    export(gallery, tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        card, vectors = archive.read("gallery.json"), archive.read("vectors.npy")
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("gallery.json", card)
        archive.writestr("vectors.npy", vectors.replace(b"(10, 6)", b"(10, 99999)"))
    with pytest.raises(StorageError, match="not an exported gallery, or is damaged"):
        import_file(tmp_path / "new.db", tmp_path / "bad.zip")
    assert not (tmp_path / "new.db").exists()


def test_centers_are_the_classes_that_the_model_was_trained_on(tmp_path: Path) -> None:
    model = Recognizer.load("glyphs")
    with Gallery.open(tmp_path / "c.db", model) as gallery:
        own = model.head.weight.detach().numpy()[3]
        answer = gallery.identify_vectors((own / np.linalg.norm(own))[None], threshold=0.5, strategy="centers")[0]
        assert answer.label == model.classes[3] and answer.similarity > 0.999
        assert answer.matches[0].identity is None and len(answer.matches) == 5
        # The threshold of classes is theirs, whatever pairs of enrolled images have.
        known = gallery.identify_vectors((own / np.linalg.norm(own))[None], strategy="centers")[0]
        assert known.threshold == model.calibration.known_cosine(0.95)
        with pytest.raises(InputError, match="no metadata"):
            gallery.identify_vectors(own[None], strategy="centers", where={"a": 1})


def test_somebody_is_named_by_number_searched_and_paged(either: Gallery) -> None:
    fill(either, people=4, images=2)
    either.rename("p3", "Ärger")
    store = either.register
    number, one = store.identity("p1")
    assert store.identity(number)[1] == one and one.images == 2
    assert [kept.source for kept in store.images_of(number)] == ["1-0.png", "1-1.png"]
    assert store.image(store.images_of(number)[0].id).identity == number
    assert [identity.name for _, identity in store.identities(containing="ä")] == ["Ärger"]
    assert [identity.name for _, identity in store.identities(after="p0", limit=1)] == ["p1"]
    store.edit(number, metadata={"a": 1})
    assert store.identity("p1")[1].metadata == {"a": 1} and len(either) == 4
    held = either.snapshot()
    for row in (3, 4):
        best = either.identify_vectors(held.vectors[row : row + 1], threshold=0.1)[0].matches
        assert best[0].identity == held.identities[row] and best[0].image == held.ids[row]
        assert all(held.identities[held.ids == match.image] == match.identity for match in best)
    assert store.number(held.identities[0]) == held.identities[0] and held.present == 4
    either.remove(number)
    with pytest.raises(InputError, match=f"nobody with the number {number}"):
        either.rename(number, "x")
    with pytest.raises(InputError, match="there is no image 999"):
        store.image(999)


def test_thresholds_of_the_gallery_come_before_those_of_the_model(tmp_path: Path) -> None:
    from steradian.models.calibration import Threshold

    with Gallery.open(tmp_path / "t.db", "glyphs") as gallery:
        own = gallery.thresholds.at(0.01)
        gallery.set_thresholds([Threshold(far=0.01, cosine=own.cosine + 0.1, low=0.0, high=1.0, measured_on="here")])
        assert gallery.thresholds.at(0.01).measured_on == "here"


def test_centers_of_any_length_are_compared_by_direction() -> None:
    from steradian.gallery.search.pool import centers_of

    centers = np.array([[3.0, 0.0], [0.0, 0.2]], np.float32)
    found = centers_of(centers, ("a", "b")).nearest(np.array([[0.6, 0.8]], np.float32), 2, "nearest", lambda _: None)
    assert [(match.label, round(match.similarity, 5)) for match in found[0]] == [("b", 0.8), ("a", 0.6)]


def test_a_gallery_on_milvus_is_used_as_any_other(tmp_path: Path, command) -> None:
    image = Image.new("L", (60, 60), 255)
    ImageDraw.Draw(image).ellipse((12, 12, 46, 46), outline=0, width=3)
    (tmp_path / "people" / "ring").mkdir(parents=True)
    image.save(tmp_path / "people" / "ring" / "a.png")
    place = "milvus:many.db"
    code, out, err = command("enroll", "glyphs", "people", "--gallery", place)
    assert code == 0 and "1 name(s) enrolled, 1 in milvus:many.db" in out, err
    code, out, err = command("identify", "glyphs", "people", "--gallery", place, "--far", "0.01", "--json")
    assert code == 0 and json.loads(out)["answers"][0]["label"] == "ring", err
    assert command("gallery", "rename", place, "ring", "wheel")[0] == 0
    assert command("gallery", "export", place, "out.zip")[0] == 0
    assert command("gallery", "import", "copy.db", "out.zip")[0] == 0
    assert "wheel  1 image(s)" in command("gallery", "list", "copy.db")[1]
    code, _, err = command("gallery", "index", place)
    assert code == 2 and "has its own index" in err
    assert command("gallery", "remove", place, "wheel")[0] == 0
    assert "Nobody is enrolled" in command("gallery", "list", place)[1]
    for wrong, words in (("milvus:nowhere", "give milvus:HOST:PORT/NAME"), ("milvus:x/a b", "give milvus:")):
        code, _, err = command("enroll", "glyphs", "people", "--gallery", wrong)
        assert code == 2 and words in err
    other = Recognizer.load("glyphs")
    other.head.weight.data[0, 0] += 0.5
    other.save(tmp_path / "other")
    code, _, err = command("enroll", "other", "people", "--gallery", place)
    assert code == 1 and "another model" in err


def test_numbers_of_milvus_rise_and_are_exact_in_json() -> None:
    from steradian.gallery.backends.milvus import ImageNumbers

    numbers = ImageNumbers()
    found = [numbers.next() for _ in range(3000)]
    assert found == sorted(set(found)) and found[-1] < 2**53


def test_paths_of_an_imported_file_are_not_opened(gallery: Gallery, tmp_path: Path) -> None:
    secret = draw(tmp_path / "secret.png", 0, 1)
    gallery.enroll_vectors("Ana", unit(1, D), [str(secret)])
    export(gallery, tmp_path / "out.zip")
    import_file(tmp_path / "new.db", tmp_path / "out.zip")
    pictures = Pictures(tmp_path / "new.db")
    ((_, source),) = SqliteBackend(tmp_path / "new.db").sources().values()
    assert source == f"elsewhere:{secret}"
    with pytest.raises(DataError, match="came with an imported file"):
        pictures.find(source)
    kept = pictures.keep(b"a picture that was enrolled here")
    pictures.forget([source, f"elsewhere:{kept}"])
    assert secret.is_file() and kept.is_file(), "an imported image owns no picture"
    import_file(tmp_path / "trusted.db", tmp_path / "out.zip", trust_paths=True)
    ((_, source),) = SqliteBackend(tmp_path / "trusted.db").sources().values()
    assert Pictures(tmp_path / "trusted.db").find(source) == secret


@pytest.mark.parametrize("vectors", [22 * unit(2, D), np.zeros((1, D), np.float32), unit(1, D) * 0.9])
def test_vectors_that_are_not_of_unit_length_are_refused(gallery: Gallery, vectors: np.ndarray) -> None:
    with pytest.raises(InputError, match="of 'Ana' has the length .* no cosines"):
        gallery.enroll_vectors("Ana", vectors, [""] * len(vectors))
    gallery.enroll_vectors("Ana", unit(1, D), [""])
    with pytest.raises(InputError, match="to identify has the length"):
        gallery.identify_vectors(vectors, threshold=0.5)


@pytest.mark.parametrize(
    "name",
    ["\u0639\u0644\u06cc\u200c\u0631\u0636\u0627", "\u0dc1\u0dca\u200d\u0dbb\u0dd3", "\U0001f468\u200d\U0001f469"],
)
def test_joiners_that_belong_to_a_script_are_kept(name: str) -> None:
    assert checked_name(name) == name


@pytest.mark.parametrize("name", ["An\u200da", "\u200cAna", "Ana\u200d", "\u0639\u200c \u0631", "a\u200d\u200db"])
def test_joiners_that_nobody_sees_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="control character U\\+200"):
        checked_name(name)


def test_one_image_is_removed_or_moved(either: Gallery) -> None:
    fill(either, people=2)
    other = unit(1, D, seed=77)
    bad = either.enroll_vectors("p0", other, [""]).added
    assert either.register.image(bad[0]).identity == either.register.number("p0")
    either.register.move_images(bad, "new", {"site": "north"})
    assert either.identify_vectors(other, threshold=0.95)[0].label == "new"
    assert either.register.identity("new")[1].metadata == {"site": "north"}
    with pytest.raises(InputError, match="'new' would have no picture left"):
        either.remove_images(bad)
    with pytest.raises(InputError, match="'new' would have no picture left"):
        either.register.move_images(bad, "p1")
    either.enroll_vectors("new", unit(1, D, seed=78), [""])
    either.remove_images(bad)
    assert either.identify_vectors(other, threshold=0.95)[0].decision == "unknown"
    assert {one.name: one.images for one in either.identities()} == {"p0": 5, "p1": 5, "new": 1}
    with pytest.raises(NotFoundError):
        either.remove_images(bad)


def test_the_kept_picture_of_a_removed_image_goes_too(gallery: Gallery) -> None:
    fill(gallery, people=1)
    kept = gallery.pictures.keep(b"bad")
    gallery.remove_images(gallery.enroll_vectors("p0", unit(1, D, seed=77), [str(kept)]).added)
    assert not kept.exists()


def test_filters_follow_every_change(either: Gallery) -> None:
    centers = fill(either, people=2)

    def label(**where: str) -> str | None:
        return either.identify_vectors(centers[1:], threshold=0.5, where=where)[0].label

    assert label(site="north") is None
    either.register.edit("p1", metadata={"site": "north"})
    assert label(site="north") == "p1"
    either.register.edit("p1", metadata={"site": "south"})
    assert (label(site="north"), label(site="south")) == (None, "p1")
    assert either.identify_vectors(centers[1:], threshold=0.5, labels=["p0", "nobody"])[0].label is None
    assert either.identify_vectors(centers[1:], threshold=0.5, labels=["p1"], where={"site": "south"})[0].label == "p1"
    either.remove("p1")
    assert label(site="south") is None


def test_filters_follow_the_changes_of_others(gallery: Gallery) -> None:
    centers = fill(gallery, people=2)
    with Gallery.open(gallery.register.backend.path) as other:
        for site in ("north", "south"):
            other.register.edit("p1", metadata={"site": site})
            assert gallery.identify_vectors(centers[1:], threshold=0.5, where={"site": site})[0].label == "p1"


@pytest.mark.parametrize(
    "name",
    [
        "ജോണ്\u200d", "മോഹന്\u200d പോള്\u200d", "می\u200cخواهم", "👩\u200d🔬", "❤\ufe0f", "1\ufe0f\u20e3", "葛\ufe00",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "ᠮᠣᠩᠭᠣᠯ\u180eᠠ",
    ],
)  # fmt: skip
def test_names_whose_spelling_has_invisible_characters(name: str) -> None:
    assert checked_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["\u3164", "\u2800", "\u115f", "Ana\ufe0f", "Ana\u034f", "Ana\u200d", "Ana\u200d Maria", "a\U000e0067", "A\u180ea"],
)
def test_names_that_would_look_like_another(name: str) -> None:
    with pytest.raises(InputError, match="control character"):
        checked_name(name)


def test_filters_are_of_json(gallery: Gallery) -> None:
    centers = fill(gallery, people=2)
    gallery.register.edit("p0", metadata={"a": True, "b": None})

    def found(**where: object) -> bool:
        return gallery.identify_vectors(centers[:1], threshold=0.5, where=where)[0].label == "p0"

    assert found(a=True) and not found(a=1)
    assert found(b=None) and not found(c=None)


def test_an_image_that_is_named_twice_counts_once(gallery: Gallery) -> None:
    fill(gallery, people=1, images=2)
    first = gallery.register.images_of("p0")[0].id
    gallery.register.move_images([first, first], "new")
    assert [one.images for one in gallery.identities()] == [1, 1]


def test_vectors_of_half_precision_come_with_length_one(gallery: Gallery, tmp_path: Path) -> None:
    gallery.enroll_vectors("p0", unit(1, D) * np.float32(1.009), [""])
    export(gallery, tmp_path / "out.zip")
    import_file(tmp_path / "new.db", tmp_path / "out.zip")
    lengths = np.linalg.norm(Gallery.open(tmp_path / "new.db").snapshot().vectors, axis=1)
    np.testing.assert_allclose(lengths, 1.0, atol=1e-6)
