"""The routes answer what the library answers."""

from __future__ import annotations

import functools
import io
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from matplotlib import cbook
from PIL import Image, ImageFilter, ImageOps

from steradian import Recognizer
from steradian.gallery import Gallery, calibrate
from steradian.gallery.search.exact import unit
from steradian.models.calibration import Threshold
from steradian.service import uploads
from steradian.service.app import build_app

from .conftest import drawing, files, pixels, serving

Start = Callable[..., httpx.Client]


def test_classify_embed_and_verify_are_those_of_the_model(served: Start, glyphs: Recognizer) -> None:
    client, sent = served(), [drawing("ring"), drawing("cross")]
    told = client.post("/v1/classify", params={"top": 3, "coverage": 0.9}, files=files(*sent)).json()
    expected = glyphs.classify([pixels(one) for one in sent], top=3, coverage=0.9)
    assert told["failures"] == [] and [one["image"] for one in told["answers"]] == ["0.png", "1.png"]
    for answer, one in zip(told["answers"], expected, strict=True):
        assert answer["calibrated"] and answer["coverage"] == 0.9 and answer["known"] is one.known
        assert answer["candidates"] == list(one.candidates or ())
        assert [entry["label"] for entry in answer["ranking"]] == [label for label, _ in one.ranking]
        told_values = [entry["probability"] for entry in answer["ranking"]]
        np.testing.assert_allclose(told_values, [value for _, value in one.ranking], rtol=1e-4)
    told = client.post("/v1/embed", files=files(*sent)).json()
    assert told["model"] == glyphs.model_id
    np.testing.assert_allclose(told["vectors"], glyphs.embed([pixels(one) for one in sent]), atol=1e-6)
    told = client.post("/v1/verify", params={"far": 0.01}, files=files(drawing("ring"), drawing("ring", 3))).json()
    assert told["same"] is True and told["far"] == 0.01 and told["similarity"] > told["threshold"]
    for params, count, words in (({}, 1, "exactly two images"), ({"far": 0.5}, 2, "no threshold")):
        refused = client.post("/v1/verify", params=params, files=files(*[drawing("ring")] * count))
        assert refused.status_code == 422 and words in refused.json()["detail"]


def test_identify_is_that_of_the_gallery(served: Start, gallery: Gallery) -> None:
    gallery.enroll("ring", [pixels(drawing("ring"))], metadata={"site": "north"})
    gallery.enroll("cross", [pixels(drawing("cross"))])
    client = served()
    told = client.post("/v1/identify", files=files(drawing("ring", 4), b"no image", drawing("square")))
    answers = told.json()["answers"]
    assert told.status_code == 200 and [one["decision"] for one in answers] == ["match", "unknown"]
    expected = gallery.identify([pixels(drawing("ring", 4))], far=0.01)[0]
    assert answers[0]["label"] == "ring" and answers[0]["similarity"] == pytest.approx(expected.similarity, abs=1e-6)
    assert [one["label"] for one in answers[0]["matches"]] == [one.label for one in expected.matches]
    assert answers[0]["matches"][0]["image"] == expected.matches[0].image
    assert told.json()["failures"] == [{"image": "1.png", "reason": "it is not a readable image"}]
    only = client.post("/v1/identify", params={"where": '{"site": "north"}'}, files=files(drawing("cross"))).json()
    assert [one["label"] for one in only["answers"][0]["matches"]] == ["ring"]
    centers = client.post(
        "/v1/identify", params={"strategy": "centers", "top": 2}, files=files(drawing("cross"))
    ).json()
    assert len(centers["answers"][0]["matches"]) == 2 and centers["answers"][0]["matches"][0]["identity"] is None
    for params, words in (
        ({"where": "[1]"}, "JSON object"),
        ({"where": "["}, "where is not JSON"),
        ({"strategy": "best"}, "unknown strategy 'best'"),
        ({"far": "0.3"}, "no threshold"),
        ({"top": "0"}, "top: "),
        ({"threshold": "nan"}, "threshold: "),
    ):
        refused = client.post("/v1/identify", params=params, files=files(drawing("cross")))
        assert refused.status_code == 422 and words in refused.json()["detail"], refused.text


def test_an_empty_gallery_knows_nobody_and_says_so_in_json(served: Start) -> None:
    answer = served().post("/v1/identify", files=files(drawing("ring"))).json()["answers"][0]
    assert answer["decision"] == "unknown" and answer["similarity"] is None and answer["matches"] == []


def test_nothing_readable_is_an_error_of_the_client(served: Start) -> None:
    client = served()
    for route in ("classify", "embed", "identify"):
        refused = client.post(f"/v1/{route}", files=files(b"", b"<svg onload=alert(1)>"))
        assert (
            refused.status_code == 422
            and "0.png: it is empty; 1.png: it is not a readable image" in refused.json()["detail"]
        )
    assert "multipart/form-data" in client.post("/v1/classify").json()["detail"]
    assert client.get("/v1/nothing").status_code == 404 and client.get("/v1/classify").status_code == 405


def test_about_describes_itself_and_what_its_gallery_measured(served: Start, gallery: Gallery) -> None:
    client = served()
    told = client.get("/v1/about").json()
    assert told["channels"] == 1 and told["classes"] == 964 and told["gallery"] is True and told["far"] == 0.01
    assert {one["far"] for one in told["thresholds"]} == {0.1, 0.01, 0.001, 0.0001, 0.00001}
    for number, kind in enumerate(["ring", "cross", "square"] * 2):
        for shift in range(4):
            gallery.enroll(f"p{number}", [pixels(drawing(kind, shift + number))])
    calibrate(gallery)
    measured = client.get("/v1/about").json()["thresholds"]
    own = {one["far"] for one in measured if "a probe not enrolled" in one["measured_on"]}
    assert own and {one["far"] for one in measured} == own | {0.1, 0.01, 0.001, 0.0001, 0.00001}
    assert min(own) > max({one["far"] for one in measured} - own)
    described = client.get("/v1/openapi.json").json()["paths"]
    assert {"/v1/classify", "/v1/identify", "/v1/verify", "/v1/embed", "/v1/identities", "/healthz"} <= described.keys()


def test_without_a_gallery_nobody_is_identified(glyphs: Recognizer) -> None:
    with serving(build_app(glyphs)) as client:
        assert client.get("/v1/about").json()["gallery"] is False
        assert client.post("/v1/identify", files=files(drawing("ring"))).status_code in (404, 405)
        assert client.post("/v1/classify", files=files(drawing("ring"))).status_code == 200


def test_rates_that_nobody_named_are_those_of_whoever_answers(glyphs: Recognizer, gallery: Gallery) -> None:
    two = files(drawing("ring"), drawing("ring", 3))
    with serving(build_app(glyphs, gallery)) as client:
        assert client.get("/v1/about").json()["far"] == 1e-3
        gallery.set_thresholds([Threshold(far=0.1, cosine=0.9, low=0.8, high=1.0, measured_on="few")])
        assert client.get("/v1/about").json()["far"] == 1e-3
        assert client.post("/v1/verify", files=two).json()["far"] == 1e-3
        asked = client.post("/v1/identify", params={"far": 0.1}, files=two)
        assert asked.json()["answers"][0]["threshold"] == 0.9
        # A rate that a small gallery cannot tell is still answered, by the model, and never by a laxer threshold.
        lower = client.post("/v1/identify", params={"far": 0.01}, files=two)
        assert lower.json()["answers"][0]["threshold"] == max(0.9, glyphs.thresholds.at(0.01).cosine)
        assert client.get("/v1/about").json()["strangers"] == 0.01
        strict, loose = (
            client.post("/v1/identify", params={"strangers": rate}, files=two).json()["answers"][0]["threshold"]
            for rate in (0.001, 0.1)
        )
        usual = client.post("/v1/identify", files=two).json()["answers"][0]["threshold"]
        assert strict > usual > loose
        refused = client.post("/v1/identify", params={"strangers": 0.1, "far": 0.1}, files=two)
        assert refused.status_code == 422 and "give one of them" in refused.json()["detail"]


def test_explain_shows_both_pictures(served: Start, gallery: Gallery, tmp_path: Path) -> None:
    client = served()
    for kind in ("ring", "cross"):
        form = {"files": files(drawing(kind)), "data": {"name": kind}}
        assert client.post("/v1/identities", **form).status_code == 201
    found = client.post("/v1/identify", files=files(drawing("ring", 3))).json()["answers"][0]["matches"][0]
    assert found["label"] == "ring"
    told = client.post("/v1/explain", params={"identity": found["identity"]}, files=files(drawing("ring", 3)))
    assert told.status_code == 200 and told.headers["content-type"] == "image/jpeg"
    both = np.asarray(Image.open(io.BytesIO(told.content)).convert("L"))
    assert both.shape == (224, 448) and min((both[:, :224] < 60).sum(), (both[:, 224:] < 60).sum()) > 200
    for params, sent, status in (
        ({"identity": 99}, files(drawing("ring")), 404),
        ({"identity": 0}, files(drawing("ring")), 422),
        ({"identity": found["identity"]}, files(drawing("ring"), drawing("cross")), 422),
        ({"identity": found["identity"]}, files(b"no image"), 422),
    ):
        assert client.post("/v1/explain", params=params, files=sent).status_code == status
    # The picture of an image that was enrolled without one, or is gone, is not found; no path is told.
    secret = tmp_path / "secret.png"
    number = gallery.enroll("square", [pixels(drawing("square"))], sources=[str(secret)]).number
    question = {"params": {"identity": number}, "files": files(drawing("square", 2))}
    for lies_there in ("nothing", "a pipe", "another picture"):
        if lies_there == "a pipe":
            os.mkfifo(secret)
        elif lies_there == "another picture":
            secret.unlink()
            secret.write_bytes(drawing("cross"))
        refused = client.post("/v1/explain", **question)
        assert refused.status_code == 404 and "secret" not in refused.text, lies_there
    secret.write_bytes(drawing("square"))
    assert client.post("/v1/explain", **question).status_code == 200


def test_one_explanation_at_a_time(served: Start, gallery: Gallery) -> None:
    client = served()
    number = client.post("/v1/identities", files=files(drawing("ring")), data={"name": "ring"}).json()["identity"]["id"]
    with ThreadPoolExecutor(8) as pool:
        ask = functools.partial(client.post, "/v1/explain", params={"identity": number}, files=files(drawing("ring")))
        answers = [one.result() for one in [pool.submit(ask) for _ in range(8)]]
    codes = {one.status_code for one in answers}
    assert 200 in codes and codes <= {200, 503}
    assert client.post("/v1/identify", files=files(drawing("ring"))).status_code == 200


def test_a_photo_of_several_faces_gets_an_answer_for_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        portrait = Image.open(file).convert("RGB")
    both = Image.fromarray(np.hstack([np.asarray(portrait), np.asarray(ImageOps.mirror(portrait))]))
    alone, pair, nobody = (_png(one) for one in (portrait, both, Image.new("RGB", (200, 200), "gray")))
    model = Recognizer.load("faces")
    with Gallery.open(tmp_path / "g.db", model) as gallery, serving(build_app(model, gallery)) as client:
        gallery.enroll("Grace", [portrait])
        told = client.post("/v1/identify", params={"threshold": 0.9}, files=files(pair, nobody)).json()
        first, second = told["answers"]
        assert [first["label"], second["label"]] == ["Grace", None] and second["elsewhere"] == "Grace"
        assert first["elsewhere"] is None and first["image"] == second["image"] == "0.png"
        assert first["region"]["box"] == [161, 137, 377, 353] and second["region"]["box"][0] > 512
        assert first["region"]["quality"]["side"] == 216 and len(first["region"]["points"]) == 5
        assert told["failures"] == [{"image": "1.png", "reason": "nothing was found in it by 'faces'"}]
        apart = client.post("/v1/identify", params={"threshold": 0.9}, files=files(alone, alone)).json()["answers"]
        assert [one["label"] for one in apart] == ["Grace", "Grace"], "each picture has its own answers"
        params = {"threshold": 0.9, "repeated": True, "top": 1}
        mirror = client.post("/v1/identify", params=params, files=files(pair)).json()["answers"]
        assert [one["label"] for one in mirror] == ["Grace", "Grace"] and len(mirror[0]["matches"]) == 1
        # One of the two is enrolled by its box; only that part of the picture is kept.
        mirrored = {"name": "Mirror", "region": json.dumps(second["region"]["box"])}
        added = client.post("/v1/identities", files=files(pair), data=mirrored)
        assert added.status_code == 201 and added.json()["added"] == 1
        source = gallery.register.image(added.json()["images"][0]).source
        with Image.open(gallery.pictures.find(source)) as kept:
            # The face, with half of its side as room on each side.
            assert kept.size == (2 * second["region"]["quality"]["side"],) * 2
        again = client.post("/v1/identify", params={"threshold": 0.9}, files=files(pair)).json()["answers"]
        assert {one["label"] for one in again} == {"Grace", "Mirror"}
        for data, sent, told in (
            ({"name": "x", "region": "[1, 2, 3]"}, (pair,), "four numbers"),
            ({"name": "x", "region": "[1, 2, 3, 1e999]"}, (pair,), "four numbers"),
            ({"name": "x", "region": "[0, 0, 20, 20]"}, (pair,), "of the 2 regions in it none is at 0, 0, 20, 20"),
            ({"name": "x", "region": "[0, 0, 20, 20]"}, (pair, alone), "A region is of one picture; 2 came"),
            ({"name": "x"}, (pair,), "2 regions were found"),
            ({"name": "x", "region": "[0, 0, 20, 20]"}, (b"no image",), "0.png"),
        ):
            refused = client.post("/v1/identities", files=files(*sent), data=data)
            assert refused.status_code == 422 and told in refused.json()["detail"], data
        assert "x" not in {one.name for one in gallery.identities()}
        refused = client.post("/v1/embed", files=files(pair))
        assert refused.status_code == 422 and "2 regions were found" in refused.json()["detail"]
        monkeypatch.setattr(uploads, "MOST_REGIONS", 1)
        many = client.post("/v1/identify", files=files(pair))
        assert many.status_code == 422 and "at most 1 are answered" in many.json()["detail"]


def test_a_face_that_is_too_poor_is_neither_named_nor_enrolled(tmp_path: Path) -> None:
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        portrait = Image.open(file).convert("RGB")
    blurred = portrait.filter(ImageFilter.GaussianBlur(9))
    model = Recognizer.load("faces")
    with Gallery.open(tmp_path / "g.db", model) as gallery, serving(build_app(model, gallery)) as client:
        gallery.enroll_vectors("Ada", unit(np.ones((1, model.embedding_size), np.float32)), [""])
        question = {"params": {"threshold": 0.999}, "files": files(_png(portrait), _png(blurred))}
        clear, poor = client.post("/v1/identify", **question).json()["answers"]
        assert (clear["decision"], poor["decision"], poor["label"]) == ("unknown", "poor", None)
        assert clear["trust"] > 0.7 > 0.5 > poor["trust"] and poor["matches"][0]["label"] == "Ada"
        enrolled = {"files": files(_png(blurred)), "data": {"name": "Grace"}}
        refused = client.post("/v1/identities", **enrolled)
        assert refused.status_code == 422 and "blurred, covered or too small" in refused.json()["detail"]
        enrolled["data"]["force"] = "true"
        assert client.post("/v1/identities", **enrolled).status_code == 201


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
