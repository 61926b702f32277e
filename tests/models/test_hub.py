"""Models on a hub: a local server that answers as the hub does takes them and gives them back."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants, file_download, hf_api

from steradian import Recognizer
from steradian.errors import StorageError, UsageError
from steradian.models.hub import FILES

COMMIT = "c" * 40


class Hub(BaseHTTPRequestHandler):
    """The few routes that pushing and fetching use, for one repository in memory."""

    files: dict[str, bytes]
    status = 200

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, content: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _json(self, value: object) -> None:
        self._answer(json.dumps(value).encode(), Content_Type="application/json")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        if self.server.status != 200:
            self._answer(b"{}", self.server.status)
        elif "/resolve/" in self.path:
            content = self.server.files.get(self.path.rsplit("/", 1)[1], b"")
            tag = hashlib.sha256(content).hexdigest()
            self._answer(content, ETag=f'"{tag}"', X_Repo_Commit=COMMIT, Accept_Ranges="none")
        else:
            names = [{"rfilename": name} for name in self.server.files]
            tree = [
                {"type": "file", "path": name, "oid": "0" * 40, "size": len(content)}
                for name, content in self.server.files.items()
            ]
            self._json(tree if "/tree/" in self.path else {"id": "me/mine", "sha": COMMIT, "siblings": names})

    def do_POST(self) -> None:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.status != 200:
            self._answer(b"{}", self.server.status)
        elif self.path.endswith("/api/repos/create"):
            self.server.made = json.loads(body)
            self._json({"url": f"{self.server.address}/me/mine"})
        elif "/preupload/" in self.path:
            wanted = [one["path"] for one in json.loads(body)["files"]]
            self._json({"files": [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in wanted]})
        elif "/commit/" in self.path:
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    self.server.files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            self._json({"commitUrl": f"{self.server.address}/me/mine/commit/{COMMIT}", "commitOid": COMMIT})
        else:
            self._json({"errors": [], "warnings": []})


def turn_to(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (constants, hf_api, file_download):
        if hasattr(module, "ENDPOINT"):
            monkeypatch.setattr(module, "ENDPOINT", address)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.files, server.status, server.paths = {}, 200, []
    server.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    turn_to(server.address, monkeypatch)
    template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 30)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_is_pushed_comes_back(hub: ThreadingHTTPServer, tmp_path: Path) -> None:
    model = Recognizer.load("glyphs")
    address = model.push_to_hub("me/mine")
    assert address == f"{hub.address}/me/mine/commit/{COMMIT}" and set(hub.files) == set(FILES)
    assert hub.files["README.md"] == (model.readme or "").encode() and b"Omniglot" in hub.files["README.md"]
    assert hub.made.get("private") or hub.made.get("visibility") == "private", hub.made
    hub.files["evil.pkl"] = b"never fetched"
    found = Recognizer.load("hf-hub:me/mine")
    assert found.model_id == model.model_id and Recognizer.load("hf-hub:me/mine").model_id == model.model_id
    assert not any("v2" in path for path in hub.paths)
    Recognizer.load("hf-hub:me/mine", revision="v2")
    assert any("v2" in path for path in hub.paths)
    images = torch.rand(2, 1, 28, 28)
    np.testing.assert_allclose(found.embed(images), model.embed(images), rtol=1e-5, atol=1e-6)
    assert not list((tmp_path / "cache").rglob("evil.pkl"))
    model.save(tmp_path / "twin")
    assert {path.name: path.read_bytes() for path in (tmp_path / "twin").iterdir()} == {
        name: content for name, content in hub.files.items() if name in FILES
    }
    assert Recognizer.load(tmp_path / "twin").model_id == model.model_id


def test_a_damaged_repository_is_refused(hub: ThreadingHTTPServer) -> None:
    Recognizer.load("glyphs").push_to_hub("me/mine")
    hub.files["model.json"] = hub.files["model.json"].replace(b'"residual-wide"', b'"small"')
    with pytest.raises(StorageError, match="do not belong together|does not match"):
        Recognizer.load("hf-hub:me/mine")


def test_what_goes_wrong_is_a_sentence(hub: ThreadingHTTPServer, command, tmp_path: Path) -> None:
    model = Recognizer.load("glyphs")
    for name in ("mine", "hf-hub:", "a/b/c", "/x"):
        with pytest.raises(UsageError, match="expected hf-hub:OWNER/NAME"):
            model.push_to_hub(name)
    hub.status = 404
    with pytest.raises(UsageError, match="the hub answered 404"):
        Recognizer.load("hf-hub:me/none")
    hub.status = 401
    with pytest.raises(UsageError, match="your permission"):
        model.push_to_hub("me/mine")
    (tmp_path / "x.png").write_bytes(b"")
    code, _, err = command("classify", "hf-hub:me/none", str(tmp_path / "x.png"))
    assert code == 2 and "the hub answered 401" in err and "Traceback" not in err


def test_a_hub_that_cannot_be_reached_is_a_sentence(hub: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    turn_to("http://127.0.0.1:9", monkeypatch)
    with pytest.raises(StorageError, match="could not be fetched from the hub"):
        Recognizer.load("hf-hub:me/mine")
    with pytest.raises(StorageError, match="or sent to it"):
        Recognizer.load("glyphs").push_to_hub("me/mine")
    with pytest.raises(UsageError, match="no revisions"):
        Recognizer.load(".", revision="main")
