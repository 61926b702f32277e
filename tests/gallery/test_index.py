"""Approximate search: nearly the exact answers, kept up with the record, and never in the way of a right one."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from steradian.errors import UsageError
from steradian.gallery import Gallery
from steradian.gallery.backends.sqlite import SqliteBackend
from steradian.gallery.search.faiss_index import index_file

MODEL, D, PEOPLE = "m" * 64, 16, 400


def unit(*shape: int, seed: int = 0) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return found / np.linalg.norm(found, axis=-1, keepdims=True)


def opened(path: Path) -> Gallery:
    return Gallery(SqliteBackend(path, MODEL, D), None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with opened(tmp_path / "g.db") as gallery:
        centers = unit(PEOPLE, D)
        near = centers[:, None] + 0.15 * unit(PEOPLE, 3, D, seed=1)
        near /= np.linalg.norm(near, axis=2, keepdims=True)
        gallery.register.add_many([(f"p{who:03d}", vectors, [""] * 3, None) for who, vectors in enumerate(near)])
    return tmp_path / "g.db"


def best(gallery: Gallery, queries: np.ndarray) -> list[tuple[str, float]]:
    answers = gallery.identify_vectors(queries, threshold=0.5, top=3)
    return [(answer.matches[0].label, answer.matches[0].similarity) for answer in answers]


@pytest.mark.parametrize("kind", ["hnsw", "sq8"])
def test_answers_are_the_exact_ones_nearly_always(path: Path, kind: str) -> None:
    queries = unit(200, D, seed=7)
    with opened(path) as gallery:
        exact = best(gallery, queries)
        made = gallery.index(kind)  # type: ignore[arg-type]
        assert made.images == 3 * PEOPLE and made.kind == kind
        with opened(path) as again:
            found = best(again, queries)
    same = np.mean([one[0] == other[0] for one, other in zip(found, exact, strict=True)])
    assert same >= 0.97
    for (name, similarity), (other, expected) in zip(found, exact, strict=True):
        assert similarity <= expected + 1e-6 and (name != other or abs(similarity - expected) < 1e-6)


def test_an_index_of_few_is_right_for_many_that_come_later(tmp_path: Path) -> None:
    centers, queries = unit(PEOPLE, D), unit(100, D, seed=7)
    with opened(tmp_path / "g.db") as gallery:
        gallery.enroll_vectors("first", centers[:1], [""])
        gallery.index("sq8")
        gallery.register.add_many([(f"p{who:03d}", centers[who : who + 1], [""], None) for who in range(1, PEOPLE)])
        found = best(gallery, queries)
        gallery.drop_index()
        exact = best(gallery, queries)
    assert np.mean([one[0] == other[0] for one, other in zip(found, exact, strict=True)]) >= 0.97


def test_the_index_is_asked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(path) as gallery:
        gallery.index("sq8")
        monkeypatch.setattr("steradian.gallery.search.pool.top", lambda *_: pytest.fail("searched exactly"))
        best(gallery, unit(5, D))


def test_it_keeps_up_with_enrolling_renaming_and_removing(path: Path) -> None:
    with opened(path) as gallery:
        gallery.index("hnsw")
        fresh = unit(1, D, seed=99)
        gallery.enroll_vectors("new", fresh, [""])
        assert best(gallery, fresh) == [("new", pytest.approx(1.0, abs=1e-5))]
        with opened(path) as other:
            assert best(other, fresh)[0][0] == "new"
            other.rename("new", "newer")
            other.merge("p001", "p002")
        assert best(gallery, fresh)[0][0] == "newer"
        gone = gallery.register.images_of("p000")
        vector = gallery.snapshot().vectors[gallery.snapshot().ids == gone[0].id]
        assert best(gallery, vector)[0][0] == "p000"
        gallery.remove("p000")
        assert best(gallery, vector)[0][0] != "p000"
        merged = gallery.snapshot().vectors[gallery.snapshot().identities == gallery.register.number("p002")]
        assert {name for name, _ in best(gallery, merged)} == {"p002"} and len(merged) == 6


def test_a_filter_is_searched_exactly(path: Path) -> None:
    with opened(path) as gallery:
        gallery.register.edit("p007", metadata={"site": "north"})
        gallery.index("hnsw")
        answer = gallery.identify_vectors(unit(1, D, seed=5), threshold=0.0, where={"site": "north"})[0]
        assert [match.label for match in answer.matches] == ["p007"]


@pytest.mark.parametrize("harm", ["truncate", "flip", "header", "token", "size", "text"])
def test_a_damaged_or_foreign_index_is_passed_over(path: Path, harm: str) -> None:
    with opened(path) as gallery:
        exact = best(gallery, unit(5, D))
        gallery.index("sq8")
    file = index_file(path)
    content = file.read_bytes()
    line, _, rest = content.partition(b"\n")
    file.write_bytes(
        {
            "truncate": content[:-10],
            "flip": content[:-10] + bytes([content[-10] ^ 1]) + content[-9:],
            "header": line.replace(b'"version":1', b'"version":2') + b"\n" + rest,
            "token": line.replace(b'"token":"', b'"token":"0') + b"\n" + rest,
            "size": line.replace(b'"dimensions":16', b'"dimensions":8') + b"\n" + rest,
            "text": b"no index",
        }[harm]
    )
    with opened(path) as gallery:
        with pytest.warns(UserWarning, match=f"Search is exact until you run: steradian gallery index {path}"):
            assert best(gallery, unit(5, D)) == exact
        gallery.index("sq8")
        assert index_file(path).read_bytes()[:20] == content[:20]


def test_vectors_made_anew_or_put_back_are_not_searched_by_an_old_index(path: Path) -> None:
    copy = path.read_bytes()
    with opened(path) as gallery:
        gallery.enroll_vectors("later", unit(40, D, seed=3), [""] * 40)
        gallery.index("sq8")
        held = gallery.snapshot()
        assert best(gallery, held.vectors[:1])
        fresh = unit(len(held.ids), D, seed=11)
        vectors = dict(zip(held.ids.tolist(), fresh, strict=True))
        gallery.register.backend.replace_vectors(MODEL, vectors, D, list(vectors))
        with pytest.warns(UserWarning, match="other vectors"):
            found = best(gallery, fresh[:50])
        assert [similarity for _, similarity in found] == [pytest.approx(1.0, abs=1e-5)] * 50
        gallery.index("sq8")
    for file in (path.with_name("g.db-wal"), path.with_name("g.db-shm")):
        file.unlink(missing_ok=True)
    path.write_bytes(copy)
    with opened(path) as gallery:
        others = unit(100, D, seed=13)
        gallery.register.add_many([(f"o{place}", others[place : place + 1], [""], None) for place in range(100)])
        with pytest.warns(UserWarning, match="other vectors"):
            assert [name for name, _ in best(gallery, others)] == [f"o{place}" for place in range(100)]


def test_what_is_gone_does_not_crowd_out_what_is_there(tmp_path: Path) -> None:
    center = unit(1, D)
    with opened(tmp_path / "v.db") as gallery:
        near = center + 0.01 * unit(40, D, seed=1)
        near /= np.linalg.norm(near, axis=1, keepdims=True)
        people = [(f"gone{place}", near[place : place + 1], [""], None) for place in range(40)]
        far = center + 0.5 * unit(300, D, seed=2)
        far /= np.linalg.norm(far, axis=1, keepdims=True)
        people += [(f"p{place}", far[place * 3 : place * 3 + 3], [""] * 3, None) for place in range(100)]
        gallery.register.add_many(people)
        gallery.index("hnsw")
        for place in range(40):
            gallery.remove(f"gone{place}")
        found = [
            [
                match.label
                for match in gallery.identify_vectors(center, threshold=0.0, top=1, strategy=strategy)[0].matches
            ]
            for strategy in ("nearest", "vote")
        ]
        gallery.drop_index()
        assert found == [
            [
                match.label
                for match in gallery.identify_vectors(center, threshold=0.0, top=1, strategy=strategy)[0].matches
            ]
            for strategy in ("nearest", "vote")
        ]


def test_nobody_and_no_index(tmp_path: Path, command) -> None:
    with opened(tmp_path / "e.db") as gallery, pytest.raises(UsageError, match="Nobody is enrolled yet"):
        gallery.index()
    code, _, err = command("gallery", "index", "e.db", "--kind", "tree")
    assert code == 2 and "Unknown index kind 'tree'" in err


def test_made_and_dropped_on_the_command_line(path: Path, command) -> None:
    code, out, err = command("gallery", "index", str(path), "--kind", "sq8")
    assert code == 0 and "sq8 index of 1200 image(s)" in out, err
    assert index_file(path).is_file()
    assert command("gallery", "index", str(path), "--drop")[1].strip() == "Search is exact now."
    assert not index_file(path).exists()


def test_killed_while_it_is_made_the_old_one_or_the_new_one_is_there(programs: Path, path: Path) -> None:
    with opened(path) as gallery:
        gallery.index("sq8")
    for delay in (0.0, 0.02, 0.1):
        code = (
            "from pathlib import Path; from steradian.gallery import Gallery;"
            "from steradian.gallery.backends.sqlite import SqliteBackend;"
            f"g = Gallery(SqliteBackend(Path({str(path)!r}), {MODEL!r}, {D}), None); print(flush=True);"
            "[g.index('hnsw') for _ in range(1000)]"
        )
        running = subprocess.Popen([programs / "python", "-c", code], stdout=subprocess.PIPE)
        assert running.stdout is not None and running.stdout.readline()
        time.sleep(delay)
        os.kill(running.pid, signal.SIGKILL)
        running.communicate()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with opened(path) as gallery:
                assert best(gallery, unit(1, D)) and gallery._search._index is not None
                assert gallery._search._index.header.images == 3 * PEOPLE


def test_a_file_that_claims_more_than_it_holds_is_refused(path: Path) -> None:
    with opened(path) as gallery:
        gallery.index("sq8")
        expected = best(gallery, unit(3, D))
    line, content = index_file(path).read_bytes().split(b"\n", 1)
    # The first length of a vector in the file: of the ranges that the quantizer has learned.
    length = content.find((2 * D).to_bytes(8, "little"))
    assert length > 0
    content = content[:length] + (2**39).to_bytes(8, "little") + content[length + 8 :]
    header = json.loads(line) | {"sha256": hashlib.sha256(content).hexdigest()}
    index_file(path).write_bytes(json.dumps(header).encode() + b"\n" + content)
    with opened(path) as gallery, pytest.warns(UserWarning, match="is damaged"):
        assert [name for name, _ in best(gallery, unit(3, D))] == [name for name, _ in expected]
