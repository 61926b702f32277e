"""The command as people type it: answers on standard output, errors in words, exit codes 0, 1, 2."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from steradian import losses


def test_from_training_to_naming(command, image_folder, tmp_path: Path) -> None:
    photos = image_folder(3, 20)
    code, out, _ = command("train", str(photos), "--epochs", "2", "--embedding-size", "3", "--out", "run")
    assert code == 0 and "test images the model names" in out and "run/model" in out and "accuracy" not in out
    left = {"recipe.yaml", "model", "checkpoints", "history.csv", "predictions.csv", "metrics.json", "report.html"}
    assert {path.name for path in Path("run").glob("[!.]*")} == left
    code, out, err = command("train", str(photos), "--epochs", "2", "--embedding-size", "3", "--out", "run")
    assert code == 2 and "finished" in err and "--exist-ok" in err
    code, out, _ = command("train", "run/recipe.yaml", "--out", "again", "--json")
    assert code == 0
    assert json.loads(out)["model"] == json.loads(Path("run/model/model.json").read_text())["id"]

    code, out, _ = command("evaluate", "run", "--json")
    assert code == 0
    first, second = json.loads(Path("run/metrics.json").read_text()), json.loads(out)
    assert second["part"] == "the test part"
    assert all(second[key] == first[key] for key in ("closed", "clustering", "verification", "geometry", "neighbors"))
    code, out, _ = command("evaluate", "run", str(photos), "--out", "elsewhere")
    assert code == 0 and Path("elsewhere/report.html").is_file()
    code, out, _ = command("evaluate", "--predictions", "run/predictions.csv", "--out", "answers", "--json")
    assert code == 0 and json.loads(out)["closed"]["accuracy"] == first["closed"]["accuracy"]
    code, out, err = command("evaluate", "run", "--protocol", "retrieval,open_set", "--out", "some")
    assert code == 0 and "MAP@R" in out and "open_set was not measured" in err and "silhouette" not in out
    moved = photos.rename(tmp_path / "moved")
    code, out, _ = command("evaluate", "run", str(moved), "--out", "moved-result", "--json")
    assert code == 0 and json.loads(out)["part"] == "all images" and json.loads(out)["images"] == 60

    picture = next(moved.rglob("*.png"))
    code, out, err = command("classify", "run", str(picture), "--top", "2")
    assert code == 0 and "class-" in out and "not calibrated" in err
    (tmp_path / "bad.png").write_bytes(b"")
    code, out, err = command("classify", "run", str(picture), str(tmp_path / "bad.png"), "--json")
    assert code == 1 and len(json.loads(out)["answers"]) == 1 and "bad.png" in err
    code, _, err = command("classify", "run", "nowhere.png")
    assert code == 2 and "does not exist" in err
    code, _, err = command("evaluate", "nowhere")
    assert code == 2 and "'nowhere' does not exist" in err
    Path("empty").mkdir()
    code, _, err = command("evaluate", "empty")
    assert code == 1 and "holds no model" in err


def test_a_model_with_a_calibration_part_promises_and_lists_of_pairs_are_verified(command, image_folder) -> None:
    photos = image_folder(3, 60)
    code, out, err = command(
        "train", str(photos), "--epochs", "8", "--embedding-size", "8", "--out", "run", "--set", "data.calibration=0.2"
    )
    assert code == 0, err
    numbers = json.loads(Path("run/metrics.json").read_text())
    assert 0.7 <= numbers["calibration"]["sets"]["0.9"]["covered"] <= 1.0
    picture = next(photos.rglob("*.png"))
    code, out, err = command("classify", "run", str(picture))
    assert (
        code == 0
        and ("in this list 95 % of the time" in out or "Possibly none of these" in out)
        and "not calibrated" not in err
    )
    code, out, _ = command("classify", "run", str(picture), "--coverage", "0.9", "--json")
    answer = json.loads(out)["answers"][0]
    assert answer["coverage"] == 0.9 and len(answer["candidates"]) >= 1 and answer["known"] in (True, False)
    code, _, err = command("classify", "run", str(picture), "--coverage", "0.7")
    assert code == 1 and "it has 0.8, 0.9" in err

    lines = ["10\t2"]
    for n in range(10):
        lines += [f"class-{n % 3}\t{n}\t{n + 20}", f"class-{(n + 1) % 3}\t{n}\t{n + 30}"]
        lines += [f"class-{n % 3}\t{n}\tclass-{(n + 1) % 3}\t{n + 1}", f"class-0\t{n}\tclass-2\t{n + 5}"]
    Path("pairs.txt").write_text("\n".join(lines))
    code, out, err = command("evaluate", "run", str(photos), "--pairs", "pairs.txt", "--flip", "--json")
    assert code == 0, err
    found = json.loads(out)["verification"]
    assert found["genuine_pairs"] == found["impostor_pairs"] == 20 and 0.5 < found["fold_accuracy"] <= 1.0
    assert found["tar_at_far"]["1e-03"] is None
    Path("pairs.txt").write_text("1\nclass-0\t1\t2\nclass-0\t1\tclass-9\t2\n")
    code, _, err = command("evaluate", "run", str(photos), "--pairs", "pairs.txt", "--out", "p")
    assert code == 1 and "line 3: class-9 2" in err and "--skip-missing" in err and not Path("p").exists()
    code, _, err = command("evaluate", "run", "--pairs", "pairs.txt")
    assert code == 2 and "--pairs needs DATA" in err
    code, _, err = command("evaluate", "run", "--flip")
    assert code == 2 and "go with --pairs" in err


def test_compare_prints_the_report(command) -> None:
    code, out, _ = command(
        "compare", "digits", "--losses", "softmax,arcface", "--dims", "2", "--epochs", "1", "--jobs", "1"
    )
    assert code == 0 and "runs/compare-digits/report.html" in out and "arcface" in out
    code, out, _ = command(
        "compare", "digits", "--losses", "softmax,arcface", "--dims", "2", "--epochs", "1", "--jobs", "1", "--json"
    )
    found = json.loads(out)
    assert code == 0 and len(found["cells"]) == 2 and found["failures"] == {}


def test_dry_run_keeps_nothing(command, tmp_path: Path) -> None:
    assert command("train", "digits", "--dry-run")[0] == 0
    assert command("compare", "digits", "--dry-run", "--losses", "arcface", "--dims", "2", "--json")[0] == 0
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["compare", "digts"], 2, "Did you mean 'digits'"),
        (["compare", "digits", "--losses", "arcfase"], 2, "Did you mean 'arcface'"),
        (["compare", "digits", "--dims", "two"], 2, "expected whole numbers"),
        (["compare", "digits", "--encoder", "resnet_18"], 2, "Did you mean 'resnet18'"),
        (["train", "digits", "--loss", "cosfase"], 2, "Did you mean 'cosface'"),
        (["train", "digits", "--set", "training.epoch=1"], 2, "Did you mean 'training.epochs'"),
        (["train", "digits", "--set", "nonsense"], 2, "expected KEY=VALUE"),
        (["train", "digits", "--epochs", "1", "--lr", "1e30", "--out", "diverged"], 1, "Lower the learning rate"),
        (["train", "digits", "--set", "data.test=1.5"], 2, "less than 1"),
        (["train", "none.yaml"], 2, "does not exist"),
        (["losses", "triplett"], 2, "Did you mean 'triplet'"),
        (["data", "empty"], 1, "holds no images"),
        (["compare"], 2, "Missing argument"),
        (["trian"], 2, "No such command"),
    ],
)
def test_mistakes(command, tmp_path: Path, words: list[str], code: int, message: str) -> None:
    (tmp_path / "empty").mkdir()
    found, out, err = command(*words)
    assert (found, out) == (code, "") and message in " ".join(err.split()) and "Traceback" not in err
    assert {path.name for path in tmp_path.iterdir()} <= {"empty", "diverged"}
    assert not list(tmp_path.glob("diverged/m*"))


def test_looking_at_data(command, image_folder) -> None:
    photos = image_folder(2, 30)
    (photos / "class-0" / "000.png").write_bytes(b"broken")
    code, out, err = command("data", str(photos))
    assert code == 0 and "class-1" in out and "cannot be decoded" in out and "1 of 60" in err
    assert json.loads(command("data", str(photos), "--json")[1])["per_class"] == {"class-0": 30, "class-1": 30}
    assert set(json.loads(command("data", "--json")[1])) == {"sample", "digits", "mnist", "fashion-mnist", "cifar10"}


def test_listing_losses(command) -> None:
    code, out, _ = command("losses")
    assert code == 0 and all(name in out for name in losses.names())
    assert {row["name"] for row in json.loads(command("losses", "--json")[1])} == set(losses.names())
    assert json.loads(command("losses", "arcface", "--json")[1])["options"]["margin"] == 0.5
    assert "ArcFace" in command("losses", "arcface")[1]


def test_names_that_are_not_utf8_are_escaped(command, image_folder) -> None:
    photos = image_folder(2, 30)
    (photos / "class-1").rename(photos / os.fsdecode(b"cl\xff"))
    (photos / "class-0" / "003.png").rename(photos / "class-0" / os.fsdecode(b"\xff.png"))
    (photos / "class-0" / "000.png").write_bytes(b"broken")
    code, out, err = command("data", str(photos))
    assert code == 0 and "cl\\xff" in out, err
    code, _, err = command("compare", str(photos), "--losses", "arcface", "--dims", "2", "--epochs", "1", "--jobs", "1")
    assert code == 0 and Path("runs/compare-photos/report.html").is_file(), err
    odd = photos.rename(photos.with_name(os.fsdecode(b"ph\xff")))
    code, _, err = command("train", odd.name)
    assert code == 2 and "not UTF-8" in err


def test_names_with_markup_are_harmless(command, tmp_path: Path) -> None:
    for name in ("<script>alert(1)</script>", 'quote",comma', "ünï $x$ 日本", "tab\tescape\x1b[31m", "a" * 200):
        folder = tmp_path / "odd" / name.replace("/", "⁄")
        folder.mkdir(parents=True)
        for count in range(6):
            Image.effect_noise((12, 12), 60).save(folder / f"{count}.png")
    code, _, err = command("train", "odd", "--epochs", "1", "--out", "run", "--embedding-size", "2")
    assert code == 0, err
    assert "<script>alert" not in Path("run/report.html").read_text()


def test_help_needs_no_torch_and_has_examples() -> None:
    listing = (
        "import sys; sys.argv = ['steradian', '--help']\n"
        "from steradian.cli.main import main\n"
        "try: main()\n"
        "finally: print('torch' in sys.modules, 'sklearn' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True)
    assert "False False" in shown.stdout and "steradian compare digits" in shown.stdout
    for verb in ("compare", "train", "evaluate", "classify", "data", "losses"):
        helped = subprocess.run([sys.executable, "-m", "steradian", verb, "--help"], capture_output=True, text=True)
        assert helped.returncode == 0 and f"steradian {verb}" in helped.stdout, helped.stderr


def test_full_disk_is_a_sentence(tmp_path: Path) -> None:
    """A file-size limit stands in for a full disk: the command fails in words and leaves nothing half-written."""
    limit = (
        "import resource, signal, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from steradian.cli.main import main\n"
        "sys.argv = ['steradian', 'train', 'digits', '--epochs', '1', '--out', 'run']\n"
        "main()"
    )
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    shown = subprocess.run([sys.executable, "-c", limit], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert shown.returncode == 1 and "Traceback" not in shown.stderr and "Could not write" in shown.stderr
    assert not list(tmp_path.rglob("*.tmp")) and not (tmp_path / "run" / "model").exists()


def test_losses_in_detail(command) -> None:
    code, out, _ = command("losses", "sv-x-arc", "--out", "x.png")
    assert code == 0 and "sv-arcface" in out and "gradient factor" in out
    assert Path("x.png").read_bytes()[:4] == b"\x89PNG"
    code, out, _ = command("losses", "arcface", "--json")
    assert json.loads(out)["curve"][3]["target_logit"] == pytest.approx(math.cos(math.radians(60) + 0.5))
    code, out, err = command("losses", "triplet", "--out", "y.png")
    assert code == 2 and "no curve to draw" in err and not out


def test_compare_takes_its_techniques_by_losses(command) -> None:
    code, _, err = command("compare", "digits", "--set", "loss.name=cosface", "--dry-run")
    assert code == 2 and "--losses" in err
    code, out, _ = command("compare", "digits", "--losses", "am-softmax,cosface", "--dims", "2", "--dry-run")
    assert code == 0 and out.count("cosface") == 1


@pytest.mark.filterwarnings("default::steradian.errors.OptionWarning")
def test_numbers_with_exponents_and_warnings_in_a_line(command) -> None:
    margin = ("--set", "loss.options.margin=19e-1")
    code, _, err = command("train", "digits", "--loss", "cosface", "--embedding-size", "2", *margin, "--dry-run")
    assert code == 0 and "! AdditiveCosine(margin=1.9" in err and ".py:" not in err
