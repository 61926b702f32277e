"""Enroll, look, rename, merge, remove over HTTP; kept pictures come and go with them."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from steradian.errors import StorageError
from steradian.gallery import Gallery
from steradian.gallery.exchange import rebuild
from steradian.gallery.pictures import AGE, Pictures
from steradian.service.app import build_app
from steradian.service.identities import principal

from .conftest import drawing, files, serving

Start = Callable[..., httpx.Client]


def test_somebody_comes_is_changed_and_goes(served: Start, gallery: Gallery) -> None:
    client = served()
    done = client.post("/v1/identities", data={"name": " Ana ", "metadata": '{"a": 1}'}, files=files(drawing("ring")))
    assert done.status_code == 201 and done.json()["identity"]["name"] == "Ana" and done.json()["added"] == 1
    number = done.json()["identity"]["id"]
    again = client.post(
        "/v1/identities", data={"name": "Ana"}, files=files(drawing("cross"), drawing("ring", 2))
    ).json()
    assert again["identity"]["id"] == number and again["identity"]["images"] == 3
    assert any("unlike the other images of 'Ana'" in hint for hint in again["hints"])
    other = client.post("/v1/identities", data={"name": "Bob"}, files=files(drawing("square"))).json()["identity"]["id"]
    listed = client.get("/v1/identities").json()
    assert listed["total"] == 2 and [one["name"] for one in listed["identities"]] == ["Ana", "Bob"]
    assert [one["name"] for one in client.get("/v1/identities?containing=BO").json()["identities"]] == ["Bob"]
    assert [one["name"] for one in client.get("/v1/identities?after=Ana&limit=1").json()["identities"]] == ["Bob"]
    whole = client.get(f"/v1/identities/{number}").json()
    assert len(whole["enrolled"]) == 3 and whole["metadata"] == {"a": 1}
    picture = client.get(f"/v1/images/{whole['enrolled'][0]['id']}")
    shown = Image.open(io.BytesIO(picture.content))
    assert picture.headers["content-type"] == "image/jpeg" and shown.size == (60, 60)
    renamed = client.patch(f"/v1/identities/{number}", json={"name": "Ana M.", "metadata": {"b": 2}}).json()
    assert renamed["name"] == "Ana M." and renamed["metadata"] == {"b": 2}
    taken = client.patch(f"/v1/identities/{number}", json={"name": "Bob"})
    assert taken.status_code == 422 and "'Bob' is already taken" in taken.json()["detail"]
    merged = client.post(f"/v1/identities/{other}/merge", json={"into": number}).json()
    assert merged["images"] == 4 and len(list(gallery.pictures.folder.iterdir())) == 4
    assert client.delete(f"/v1/identities/{number}").status_code == 204
    assert list(gallery.pictures.folder.iterdir()) == [] and client.get("/v1/identities").json()["total"] == 0
    for gone in (client.delete, client.get):
        refused = gone(f"/v1/identities/{number}")
        assert refused.status_code == 404 and str(gallery.register.backend.path) not in refused.text
    assert client.get("/v1/images/1").status_code == 404


def test_all_images_of_an_enrollment_or_none(served: Start, gallery: Gallery) -> None:
    client = served()
    refused = client.post("/v1/identities", data={"name": "Ana"}, files=files(drawing("ring"), b"no image"))
    assert refused.status_code == 422 and "1.png: it is not a readable image. Nothing was enrolled." in refused.text
    for data, words in (
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "U+000A"),
        ({"name": "a\u202eb"}, "U+202E"),
        ({"name": "x" * 300}, "1 to 256 characters"),
        ({"name": "x" * 20_000}, "name: "),
        ({"name": "Ana", "metadata": "[]"}, "JSON object"),
        ({"name": "Ana", "metadata": "{"}, "not JSON"),
        ({"name": "Ana", "metadata": "[" * 50_000}, "not JSON"),
    ):
        refused = client.post("/v1/identities", data=data, files=files(drawing("ring")))
        assert refused.status_code == 422 and words in refused.json()["detail"], refused.text
    assert len(gallery) == 0 and not (gallery.pictures.folder.is_dir() and any(gallery.pictures.folder.iterdir()))


@pytest.mark.parametrize(
    "name", ["'; DROP TABLE images; --", "<script>alert(1)</script>", "../../etc/passwd", "=cmd()"]
)
def test_a_name_is_only_a_name(served: Start, gallery: Gallery, name: str) -> None:
    client = served()
    number = client.post("/v1/identities", data={"name": name}, files=files(drawing("ring"))).json()["identity"]["id"]
    answer = client.post("/v1/identify", files=files(drawing("ring", 1)))
    assert answer.json()["answers"][0]["label"] == name and answer.headers["content-type"] == "application/json"
    assert client.get(f"/v1/identities/{number}").json()["name"] == name
    kept = list(gallery.pictures.folder.iterdir())
    assert len(kept) == 1 and kept[0].parent == gallery.pictures.folder


def test_kept_pictures_are_embedded_anew(served: Start, gallery: Gallery, glyphs) -> None:
    served().post("/v1/identities", data={"name": "Ana"}, files=files(drawing("ring"), drawing("cross")))
    before = gallery.snapshot().vectors.copy()
    assert rebuild(gallery.register.backend.path, glyphs, lambda items, total, what: items) == (2, [])
    np.testing.assert_allclose(gallery.snapshot().vectors, before, atol=1e-6)


def test_without_pictures_there_are_none(served: Start, gallery: Gallery) -> None:
    client = served(keep_pictures=False)
    client.post("/v1/identities", data={"name": "Ana"}, files=files(drawing("ring")))
    assert not gallery.pictures.folder.exists()
    refused = client.get("/v1/images/1")
    assert refused.status_code == 404 and "was not kept" in refused.json()["detail"]


def test_pictures_that_nobody_refers_to_are_swept_when_old(tmp_path: Path) -> None:
    pictures = Pictures(tmp_path / "g.db")
    assert pictures.sweep([]) == 0
    old, young, used = (pictures.keep(bytes([place])) for place in range(3))
    foreign = tmp_path / "elsewhere.image"
    foreign.write_bytes(b"")
    for path in (old, used):
        os.utime(path, (0, 0))
    assert pictures.sweep([str(used)]) == 1 and not old.exists() and young.exists() and used.exists()
    pictures.forget([str(foreign), "", str(pictures.folder / ".." / "elsewhere.image")])
    assert foreign.exists() and used.exists() and young.stat().st_mtime + AGE > 0
    # Gallery and pictures move together; what was kept is found by its name.
    (tmp_path / "moved").mkdir()
    pictures.folder.rename(tmp_path / "moved" / pictures.folder.name)
    moved = Pictures(tmp_path / "moved" / "g.db")
    assert moved.sweep([str(used)]) == 0 and moved.find(str(used)).read_bytes() == b"\x02"
    assert moved.find("/photos/a.png") == Path("/photos/a.png")
    moved.forget([str(used)])
    assert not moved.find(str(used)).exists() and moved.find(str(young)).exists()


def test_what_cannot_be_told_of_an_enrollment_takes_nothing_back(
    served: Start, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, told = served(), {"data": {"name": "Ana"}, "files": files(drawing("ring"))}
    with monkeypatch.context() as broken:
        broken.setattr(
            gallery.register, "add", lambda *_: (_ for _ in ()).throw(StorageError("full disk at /secret/place"))
        )
        refused = client.post("/v1/identities", **told)
        assert refused.status_code == 503 and "secret" not in refused.text
        assert not any(gallery.pictures.folder.iterdir())
    with monkeypatch.context() as broken:
        broken.setattr(gallery._search, "pool", lambda *_: (_ for _ in ()).throw(StorageError("locked")))
        done = client.post("/v1/identities", **told)
        assert done.status_code == 201 and done.json()["hints"] == []
    assert len(list(gallery.pictures.folder.iterdir())) == 1 and len(gallery) == 1


def test_a_change_is_whole_or_nothing(served: Start, gallery: Gallery) -> None:
    client = served()
    number = client.post("/v1/identities", data={"name": "Ana"}, files=files(drawing("ring"))).json()["identity"]["id"]
    deep: object = {}
    for _ in range(600):
        deep = {"a": deep}
    for facts, words in (({"a": "x" * 70_000}, "characters"), (deep, "nested"), ({"a": "\ud800"}, "plain JSON")):
        sent = json.dumps({"name": "Bob", "metadata": facts})
        refused = client.patch(f"/v1/identities/{number}", content=sent, headers={"Content-Type": "application/json"})
        assert refused.status_code in (400, 422), refused.text
        assert client.get(f"/v1/identities/{number}").json()["name"] == "Ana"
        assert words in refused.text or refused.status_code == 400
    for path in ("identities", "images"):
        assert client.get(f"/v1/{path}/{10**30}").status_code == 422
    assert client.post(f"/v1/identities/{number}/merge", json={"into": 10**30}).status_code == 422
    assert client.get("/v1/map?limit=1").json()["shown"] == 1


def test_the_map_keeps_angles_in_three_dimensions(served: Start) -> None:
    client = served()
    assert client.get("/v1/map").json() == {"points": [], "shown": 0, "total": 0, "kept": 1.0}
    for kind in ("ring", "cross"):
        client.post("/v1/identities", data={"name": kind}, files=files(*[drawing(kind, shift) for shift in range(2)]))
    told = client.get("/v1/map").json()
    assert told["shown"] == told["total"] == 4 and {one["label"] for one in told["points"]} == {"ring", "cross"}
    assert 0.9 < told["kept"] <= 1.0
    vectors = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 3)))[0].T[:, :8].astype(np.float32)
    places, kept = principal(vectors)
    np.testing.assert_allclose(places @ places.T, vectors @ vectors.T, atol=1e-6)
    assert kept == pytest.approx(1.0)


def test_one_picture_is_removed_or_given_to_another(served: Start, gallery: Gallery) -> None:
    client = served()
    sent = files(drawing("ring"), drawing("ring", 1), drawing("cross"))
    done = client.post("/v1/identities", data={"name": "Ana"}, files=sent).json()
    ana, (first, second, bad) = done["identity"]["id"], done["images"]
    assert client.get("/v1/identities").json()["identities"][0]["picture"] == first
    moved = client.post("/v1/images/move", json={"images": [bad], "name": "Ben", "metadata": {"site": 1}}).json()
    assert moved["name"] == "Ben" and moved["images"] == 1 and moved["metadata"] == {"site": 1}
    assert (
        client.post("/v1/identify?threshold=0.9", files=files(drawing("cross"))).json()["answers"][0]["label"] == "Ben"
    )
    assert client.post("/v1/images/move", json={"images": [bad], "name": "Ana"}).status_code == 422
    client.post(f"/v1/identities/{moved['id']}/merge", json={"into": ana})
    assert client.delete(f"/v1/images/{bad}").status_code == 204
    assert len(list(gallery.pictures.folder.iterdir())) == 2
    assert client.get(f"/v1/identities/{ana}").json()["images"] == 2
    assert client.delete(f"/v1/images/{bad}").status_code == 404
    assert client.delete(f"/v1/images/{second}").status_code == 204
    last = client.delete(f"/v1/images/{first}")
    assert last.status_code == 422 and "would have no picture left" in last.json()["detail"]


def test_a_gallery_that_is_gone_is_told(served: Start, gallery: Gallery) -> None:
    client = served()
    assert client.get("/healthz").status_code == 200
    gallery.register.backend.path.unlink()
    for answer in (
        client.get("/healthz"),
        client.get("/v1/identities"),
        client.post("/v1/identities", data={"name": "Late"}, files=files(drawing("ring"))),
    ):
        assert answer.status_code == 503 and "cannot be used now" in answer.json()["detail"]
    assert not gallery.pictures.folder.exists(), "nothing is written for what is not enrolled"
    assert client.post("/v1/embed", files=files(drawing("ring"))).status_code == 200


def test_a_read_only_gallery_answers_and_refuses_changes(
    glyphs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "g.db"
    with Gallery.open(path, glyphs) as writable:
        writable.enroll("Ana", [np.asarray(Image.open(io.BytesIO(drawing("ring"))))])
    monkeypatch.setattr("steradian.gallery.backends.sqlite_file.is_read_only", lambda _: True)
    with Gallery.open(path, glyphs) as gallery, serving(build_app(glyphs, gallery, far=0.01)) as client:
        assert client.post("/v1/identify", files=files(drawing("ring"))).json()["answers"][0]["label"] == "Ana"
        for answer in (
            client.post("/v1/identities", data={"name": "Late"}, files=files(drawing("ring"))),
            client.delete("/v1/identities/1"),
        ):
            assert answer.status_code == 503 and "read-only" in answer.json()["detail"]
