"""enroll, identify, verify and gallery as people type them; and what is left after kill -9."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from steradian import Recognizer
from steradian.errors import StorageError
from steradian.gallery.backends.sqlite import SqliteBackend
from steradian.models.embedder import open_model
from steradian.models.exported import ExportedModel


def draw(path: Path, kind: str, shift: int = 0) -> Path:
    image = Image.new("L", (60, 60), 255)
    pen, box = ImageDraw.Draw(image), (12 + shift, 12, 46 + shift, 46)
    if kind == "ring":
        pen.ellipse(box, outline=0, width=3)
    elif kind == "cross":
        pen.line([box[:2], box[2:]], fill=0, width=3)
        pen.line([(box[0], box[3]), (box[2], box[1])], fill=0, width=3)
    else:
        pen.rectangle(box, outline=0, width=3)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


def test_enroll_identify_and_look_after_it(command, tmp_path: Path) -> None:
    for kind in ("ring", "cross"):
        for shift in range(3):
            draw(tmp_path / "symbols" / kind / f"{shift}.png", kind, shift)
    code, out, err = command("enroll", "glyphs", "symbols")
    assert code == 2 and "Name one with --gallery FILE" in err
    code, out, err = command("enroll", "glyphs", "symbols", "--gallery", "s.db", "--metadata", '{"hand": "left"}')
    assert code == 0 and "2 name(s) enrolled, 2 in s.db" in out, err
    again = ("enroll", "glyphs", "symbols/ring/0.png", "symbols/ring/0.png", "--gallery", "n.db", "--name", " e\u0301 ")
    for _ in range(2):
        code, out, err = command(*again)
        assert code == 0, err
    assert "1 image(s)" in command("gallery", "list", "n.db")[1]
    (tmp_path / "symbols" / "ring" / "bad.png").write_bytes(b"no picture")
    code, out, err = command("enroll", "glyphs", "symbols", "--gallery", "s.db", "--json")
    found = json.loads(out)
    assert code == 1 and found["skipped"] == 6 and found["added"] == {} and "bad.png" in found["failures"][0]["image"]
    code, out, err = command("enroll", "glyphs", "symbols/ring/0.png", "--gallery", "s.db")
    assert code == 2 and "is not in a subfolder that names it" in err
    (tmp_path / "index.csv").write_text("path,label\nsymbols/ring/0.png,ring\n")
    code, _, err = command("enroll", "glyphs", "index.csv", "--gallery", "s.db")
    assert code == 2 and "index.csv is a table" in err

    draw(tmp_path / "asked" / "a.png", "cross", 4)
    draw(tmp_path / "asked" / "b.png", "square")
    code, out, _ = command("identify", "glyphs", "asked", "--gallery", "s.db", "--far", "0.01", "--json")
    answers = json.loads(out)["answers"]
    assert code == 0 and [answer["decision"] for answer in answers] == ["match", "unknown"]
    assert set(answers[0]) == {*(["image", "decision", "label", "similarity", "threshold", "probability", "matches"])}
    assert answers[0]["label"] == "cross" and answers[0]["matches"][0]["similarity"] == answers[0]["similarity"]
    code, out, _ = command("identify", "glyphs", "asked", "--gallery", "s.db", "--threshold", "0.6")
    assert code == 0 and "cross (similarity 0." in out and "unknown: no enrolled identity reaches" in out
    code, _, err = command("identify", "glyphs", "asked", "--gallery", "s.db", "--far", "0.3")
    assert code != 0 and "no threshold for a false-accept rate of 0.3" in err

    code, out, _ = command("verify", "glyphs", "symbols/ring/0.png", "symbols/ring/2.png", "--far", "0.01", "--json")
    assert code == 0 and json.loads(out)["same"] is True
    code, out, _ = command("verify", "glyphs", "symbols/ring/0.png", "asked/b.png", "--far", "0.01")
    assert code == 0 and out.startswith("different\n  similarity 0.")

    assert command("gallery", "rename", "s.db", "ring", "wheel")[0] == 0
    code, out, _ = command("gallery", "list", "s.db", "--json")
    people = {one["name"]: one for one in json.loads(out)["identities"]}
    assert set(people) == {"cross", "wheel"} and people["wheel"]["metadata"] == {"hand": "left"}
    assert command("gallery", "export", "s.db", "out.zip")[0] == 0
    assert command("gallery", "import", "strange.db", "out.zip")[0] == 0
    code, out, err = command("gallery", "rebuild", "strange.db", "glyphs")
    assert code == 1 and "came with an imported file, and its picture is not here" in err
    assert command("gallery", "import", "other.db", "out.zip", "--trust-paths")[0] == 0
    code, out, err = command("gallery", "rebuild", "other.db", "glyphs")
    assert code == 0 and "6 image(s) re-embedded" in out, err
    assert command("gallery", "merge", "other.db", "wheel", "cross")[0] == 0
    code, out, _ = command("gallery", "list", "other.db")
    assert "cross  6 image(s)" in out
    assert command("gallery", "remove", "other.db", "cross")[0] == 0
    code, out, err = command("gallery", "remove", "other.db", "cross")
    assert code != 0 and "nobody called 'cross'" in err
    code, _, err = command("gallery", "calibrate", "s.db")
    assert code != 0 and "Enroll more" in err
    code, _, err = command("gallery", "list", "nowhere.db")
    assert code != 0 and "There is no gallery" in err


WRITER = """
import sys, numpy as np
from pathlib import Path
from steradian.gallery.backends.sqlite import SqliteBackend
from steradian.gallery.register import Register
store = Register(SqliteBackend(Path(sys.argv[1]), "m" * 64, 8))
first = int(sys.argv[2])
for number in range(first, first + 100000):
    vector = np.random.default_rng(number).normal(size=8).astype(np.float32)
    vectors = np.repeat(vector[None] / np.linalg.norm(vector), 3, axis=0)
    store.add(f"p{number}", vectors, ["a", "b", "c"])
    print(number, flush=True)
"""
KILLS = 6


def test_nothing_acknowledged_is_lost_and_nothing_is_half_there(programs: Path, tmp_path: Path) -> None:
    """kill -9 of the enrolling process, again and again (STERADIAN_KILLS: how often)."""
    (tmp_path / "writer.py").write_text(WRITER)
    moments = random.Random(int(os.environ.get("STERADIAN_KILL_SEED", "0")))
    said: set[int] = set()
    for turn in range(int(os.environ.get("STERADIAN_KILLS", str(KILLS)))):
        command = [programs / "python", tmp_path / "writer.py", tmp_path / "g.db", str(10**6 * turn)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        said.add(int(writer.stdout.readline()))
        time.sleep(0.3 * moments.random())
        writer.send_signal(signal.SIGKILL)
        said |= {int(line) for line in writer.communicate()[0].splitlines(keepends=True) if line.endswith("\n")}
        store = SqliteBackend(tmp_path / "g.db", "m" * 64, 8)
        people = {identity.name: (number, identity.images) for number, identity in store.identities()}
        assert {f"p{number}" for number in said} <= set(people)
        assert all(images == 3 for _, images in people.values())
        rows = store.rows()
        names = {number: name for name, (number, _) in people.items()}
        drawn = [
            np.random.default_rng(int(names[who][1:])).normal(size=8).astype(np.float32)
            for who in rows.identities.tolist()
        ]
        np.testing.assert_array_equal(rows.vectors, [vector / np.linalg.norm(vector) for vector in drawn])
        assert store._connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        store.close()
    assert len(said) > KILLS


def test_identify_by_an_exported_model_needs_no_torch(command, tmp_path: Path) -> None:
    code = """
import sys
from steradian.cli.main import main
sys.argv = ["steradian", *sys.argv[1:]]
try:
    main()
finally:
    print("torch" in sys.modules, file=sys.stderr)
"""
    for shift in range(3):
        draw(tmp_path / "symbols" / "ring" / f"{shift}.png", "ring", shift)
        draw(tmp_path / "symbols" / "cross" / f"{shift}.png", "cross", shift)
    Recognizer.load("glyphs").save(tmp_path / "run" / "model")
    assert command("enroll", "run", "symbols")[0] == 0
    assert isinstance(open_model("run"), Recognizer)
    sent = [f"symbols/ring/{shift}.png" for shift in range(3)] * 30
    asked = ("identify", "run", *sent, "--threshold", "0.5", "--json")
    expected = json.loads(command(*asked)[1])["answers"]
    assert command("export", "run", "--to", "onnx")[0] == 0
    done = subprocess.run([sys.executable, "-c", code, *asked], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr.splitlines()[-1] == "False", done.stderr
    found = json.loads(done.stdout)["answers"]
    assert [one["label"] for one in found] == ["ring"] * 90
    assert all(abs(a["similarity"] - b["similarity"]) < 1e-4 for a, b in zip(found, expected, strict=True))
    code_of, out, _ = command("identify", "run", sent[0], "--strategy", "centers", "--json")
    assert code_of == 0 and "/character" in json.loads(out)["answers"][0]["matches"][0]["label"]
    told = json.loads((tmp_path / "run" / "onnx" / "description.json").read_text())

    def with_description(**changes: object) -> object:
        (tmp_path / "run" / "onnx" / "description.json").write_text(json.dumps({**told, **changes}))
        return open_model("run")

    assert isinstance(with_description(), ExportedModel)
    with pytest.raises(StorageError, match="do not belong together"):
        with_description(labels=["other"])
    # An export of an earlier training, or calibration, is passed over.
    assert isinstance(with_description(thresholds=[]), Recognizer)
    assert isinstance(with_description(model="0" * 64), Recognizer)


def test_explained_answers_are_drawn(command, tmp_path: Path) -> None:
    for kind in ("ring", "cross"):
        draw(tmp_path / "symbols" / kind / "0.png", kind)
        draw(tmp_path / "asked" / f"{kind}.png", kind, 4)
    assert command("enroll", "glyphs", "symbols", "--gallery", "s.db")[0] == 0
    asked = ("identify", "glyphs", "asked", "--gallery", "s.db")
    code, out, err = command(*asked, "--explain", "parts.png")
    assert code == 0 and "parts   parts.png" in out, err
    both = np.asarray(Image.open(tmp_path / "parts.png").convert("L")).astype(float)
    # Two rows of two pictures, and the ink of both is there.
    middle = both.shape[1] // 2
    assert (both[:, :middle] < 60).sum() > 500 and (both[:, middle:] < 60).sum() > 500
    code, _, err = command(*asked, "--explain", "parts.png")
    assert code == 2 and "already exists" in err
    for options, words in (
        (("--explain", "p.jpg"), "none"),
        (("--explain", "p.png", "--strategy", "centers"), "enrolled"),
    ):
        code, _, err = command(*asked, *options)
        assert code == 2 and words in err
    # An enrolled picture that is gone is said to be, and compared by its embedding.
    (tmp_path / "symbols" / "cross" / "0.png").unlink()
    code, out, _ = command("identify", "glyphs", "asked/cross.png", "--gallery", "s.db", "--explain", "q.png", "--json")
    assert code == 0 and json.loads(out)["explained"] == "q.png"
    alone = np.asarray(Image.open(tmp_path / "q.png").convert("L")).astype(float)
    assert (alone[:, :middle] < 60).sum() > 250 > (alone[:, middle + 40 :] < 20).sum()
