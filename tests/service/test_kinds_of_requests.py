"""Requests of the wrong kind are told what is right: methods, addresses, bodies."""

from __future__ import annotations

import base64
from collections.abc import Callable

import httpx
import pytest

from .conftest import drawing

Start = Callable[..., httpx.Client]


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/v1/about", "/"])
def test_head_has_the_headers_of_get_and_no_body(served: Start, path: str) -> None:
    client = served()
    head, get = client.head(path), client.get(path)
    assert head.status_code == get.status_code == 200 and head.content == b""
    assert head.headers["content-type"] == get.headers["content-type"]


def test_a_wrong_method_names_the_right_ones(served: Start) -> None:
    client = served()
    answer = client.put("/v1/identities")
    assert answer.status_code == 405 and answer.headers["allow"] == "GET, HEAD, POST"
    assert answer.json() == {"detail": "PUT is not for this address: use GET, HEAD, POST."}
    assert client.get("/v1/classify").headers["allow"] == "POST"
    assert client.get("/v1/nothing").status_code == 404


def test_a_picture_that_is_not_in_a_form(served: Start) -> None:
    client, picture = served(), drawing("ring")
    raw = client.post("/v1/identify", content=picture, headers={"content-type": "image/png"})
    assert raw.status_code == 415 and "multipart/form-data" in raw.json()["detail"]
    assert "This body is image/png" in raw.json()["detail"]
    large = client.post("/v1/identify", content=b"x" * 2**21, headers={"content-type": "image/jpeg"})
    assert large.status_code == 415 and "multipart/form-data" in large.json()["detail"]
    for size in (10, 2**21):
        coded = client.post("/v1/identify", json={"file": base64.b64encode(b"x" * size).decode()})
        assert coded.status_code in (413, 415) and "multipart/form-data" in coded.json()["detail"]
    named = client.post("/v1/identify", files={"file": (None, "person_1.jpg")})
    assert named.status_code == 422 and "holds a text and no picture" in named.json()["detail"]


def test_hints_name_the_files_that_were_sent(served: Start) -> None:
    client = served()
    client.post("/v1/identities", data={"name": "Ana"}, files=[("file", ("ana.png", drawing("ring")))])
    files = [("file", ("ben.png", drawing("cross"))), ("file", ("oops.png", drawing("ring")))]
    hints = client.post("/v1/identities", data={"name": "Ben"}, files=files).json()["hints"]
    assert any(hint.startswith("oops.png is like 'Ana'") for hint in hints)
