"""The first hour on the command line: plain words first, and mistakes that are told at once."""

from __future__ import annotations

import html
import io
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import steradian as st
from steradian.data import copy_sample
from steradian.errors import InputError
from steradian.waiting import waiting

JARGON = (
    "FAR", "TAR", "FPIR", "DIR", "EER", "ROC", "AUC", "AUROC", "MAP@R", "ECE", "GAP", "k-means", "silhouette", "logit",
    "logits", "neck", "margin", "shrinkage", "whitened", "cosine", "conformal", "quantile", "temperature", "MiB",
    "tiled", "dense", "hull ratio", "recall at 1", "calibration error", "radians",
)  # fmt: skip
"""Words that may appear only behind --all, --json or a fold."""


@pytest.fixture(scope="module")
def steradian(programs: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*words: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        program = [programs / "python", "-m", "steradian", *words]
        settings = {**os.environ, **environment}
        return subprocess.run(program, cwd=folder, env=settings, capture_output=True, text=True, timeout=300)

    return run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sample, a run on it, and a comparison."""
    folder = tmp_path_factory.mktemp("hour")
    copy_sample(folder / "photos")
    return folder


@pytest.fixture(scope="module")
def said(steradian, place: Path) -> dict[str, str]:
    """What each of the first commands prints."""
    commands = {
        "train": ["train", "photos/"],
        "classify": ["classify", "runs/photos", "photos/hat/01.jpg"],
        "evaluate": ["evaluate", "runs/photos"],
        "enroll": ["enroll", "runs/photos", "photos/shoes/01.jpg", "photos/shoes/02.jpg", "photos/shoes/03.jpg",
                   "photos/shoes/04.jpg", "photos/shoes/05.jpg", "--name", "My shoes"],
        "identify": ["identify", "runs/photos", "photos/shoes/15.jpg", "photos/dress/02.jpg"],
        "compare": ["compare", "digits", "--epochs", "1", "--losses", "softmax,arcface", "--dims", "2", "--jobs", "1",
                    "--out", "runs/compared"],
    }  # fmt: skip
    printed = {}
    for name, words in commands.items():
        result = steradian(*words, folder=place)
        assert result.returncode == 0, result.stderr
        printed[name] = result.stdout + result.stderr
    return printed


def words_of(text: str) -> list[str]:
    return [word for word in JARGON if re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text)]


def test_plain_words_come_first(said: dict[str, str], place: Path) -> None:
    assert {name: words_of(text) for name, text in said.items() if words_of(text)} == {}
    for report in ("runs/photos/report.html", "runs/photos/evaluation/report.html", "runs/compared/report.html"):
        page = (place / report).read_text(encoding="utf-8")
        page = re.sub(r"<(script|style|details).*?</\1>", "", page, flags=re.DOTALL)
        text = html.unescape(re.sub(r"<[^>]+>", " ", re.sub(r"<nav.*?</nav>", "", page, flags=re.DOTALL)))
        first = text.partition("2 dimensions")[0]
        assert words_of(first) == [], report


def test_a_verdict_with_percentages_and_intervals_and_what_to_do_next(said: dict[str, str]) -> None:
    for name in ("train", "evaluate"):
        assert re.search(r"Of 40 test images the model names \d+ right: \d+ %, and \d+ to [\d.]+ % of more", said[name])
        assert len(re.findall(r"^ +[\d.]+ %  ", said[name], re.MULTILINE)) == 3
    assert "next    steradian classify runs/photos" in said["train"]
    assert re.search(r"^(Take|No technique is clearly best)", said["compare"], re.MULTILINE)


def test_what_was_shown_has_a_name_and_what_was_not_is_unknown(said: dict[str, str]) -> None:
    assert re.search(r"photos/shoes/15.jpg\n  My shoes \(", said["identify"])
    assert re.search(r"photos/dress/02.jpg\n  unknown:", said["identify"])


VERDICT = """
from steradian.cli.output import print_verdict
from steradian.studies.evaluation.verdict import Headline, Verdict
headline = Headline("new things named right, where 1 % of strangers get a name", .76, .69, .82, "160 images")
print_verdict(Verdict("Of 40 test images the model names 38 right: 95 %, and 83 to 99 % of more.", (headline,), ""))
"""


@pytest.mark.parametrize(("setting", "colored"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colors_are_for_terminals_that_have_them_and_lines_fit(
    programs: Path, setting: dict[str, str], colored: bool, tmp_path: Path
) -> None:
    (tmp_path / "verdict.py").write_text(VERDICT)
    without_width = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    shown = subprocess.run(
        ["script", "-qec", f"stty cols 60; {programs}/python verdict.py", "/dev/null"],
        cwd=tmp_path, env={**without_width, "TERM": "xterm", **setting}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stdout
    assert ("\x1b[1m" in shown.stdout) == colored
    assert max(map(len, re.sub(r"\x1b\[\d*m", "", shown.stdout).splitlines())) <= 60
    piped = subprocess.run(
        [programs / "python", "verdict.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "\x1b" not in piped.stdout and len(piped.stdout.splitlines()) == 3


@pytest.mark.parametrize(
    "words",
    [
        ["train", "phtos/"], ["compare", "phtos"], ["evaluate", "runs/photos", "phtos/"], ["data", "phtos"],
        ["classify", "runs/potos", "photos/hat/01.jpg"], ["identify", "genral", "photos/hat/01.jpg"],
        ["embed", "runs/photos", "phtos", "--out", "x"], ["export", "runs/potos"], ["transfer", "phtos"],
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_a_misspelt_path_is_told_before_torch_is_imported(words: list[str], said: dict[str, str], place: Path) -> None:
    script = (
        "import sys; from steradian.cli import main; sys.argv = ['steradian', *sys.argv[1:]]\n"
        "try: main.main()\nfinally: print('torch' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", script, *words], cwd=place, capture_output=True, text=True)
    assert shown.returncode == 2 and "does not exist. Did you mean" in shown.stderr, shown.stderr
    assert shown.stdout.strip() == "False"


def test_a_folder_of_one_class_says_what_to_do(steradian, place: Path) -> None:
    (place / "one" / "hat").mkdir(parents=True)
    (place / "one" / "hat" / "1.jpg").write_bytes((place / "photos" / "hat" / "02.jpg").read_bytes())
    shown = steradian("train", "one", folder=place)
    assert shown.returncode == 1 and "steradian enroll general FOLDER" in shown.stderr


def test_a_recipe_with_windows_line_ends(steradian, place: Path) -> None:
    (place / "recipe.yaml").write_bytes(b"data:\r\n  source: digits\r\ntraining:\r\n  epochs: 1\r\n")
    shown = steradian("train", "recipe.yaml", "--dry-run", folder=place)
    assert shown.returncode == 0, shown.stderr


def test_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    script = "from steradian.data.catalog import cache_folder; print(cache_folder(), cache_folder().is_dir())"
    settings = {"HOME": str(tmp_path / "file" / "home"), "XDG_CACHE_HOME": str(tmp_path / "file" / "cache")}
    shown = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "STERADIAN_CACHE": "", **settings},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shown.stdout.endswith("True\n") and "cannot be written, so features are kept in" in shown.stderr


def test_steradian_alone_shows_five_verbs_and_help_is_whole(steradian) -> None:
    shown = steradian(folder=Path("/"))
    assert shown.returncode == 0
    assert re.findall(r"^  steradian (\w+)", shown.stdout, re.MULTILINE) == [
        "data", "train", "classify", "enroll", "identify",
    ]  # fmt: skip
    for words in ([], ["gallery"]):
        page = steradian(*words, "--help", folder=Path("/"), COLUMNS="80").stdout
        assert "..." not in page.partition("Commands:")[2], "no summary is cut"
    assert "'general'" in steradian("classify", "--help", folder=Path("/")).stdout


def test_a_table_and_the_folder_of_a_gallery_are_looked_for_before_torch_is_imported(tmp_path: Path) -> None:
    script = "import sys; from steradian.cli.main import main\ntry: main()\nfinally: print('torch' in sys.modules)"
    for words in (["measure", "nowhere.csv"], ["evaluate", "--scores", "nowhere.csv"]):
        told = subprocess.run([sys.executable, "-c", script, *words], cwd=tmp_path, capture_output=True, text=True)
        assert told.returncode == 2 and told.stdout == "False\n" and "nowhere.csv does not exist" in told.stderr
    words = ["serve", "general", "--gallery", "nowhere/g.db"]
    told = subprocess.run([sys.executable, "-c", script, *words], cwd=tmp_path, capture_output=True, text=True)
    assert told.returncode == 2 and told.stdout == "False\n" and "folder nowhere of the gallery" in told.stderr


def test_texts_about_the_pictures_are_not_counted(tmp_path: Path) -> None:
    copy_sample(tmp_path / "photos")
    assert (tmp_path / "photos" / "README.txt").is_file()
    assert st.data.open(tmp_path / "photos").notes == ()
    (tmp_path / "photos" / "hat" / "readme.pdf").write_bytes(b"%PDF")
    assert "1 file is passed over" in st.data.open(tmp_path / "photos").notes[0]


def test_a_wait_counts_its_seconds_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for quiet in (False, True):
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        with waiting("thinking", quiet):
            time.sleep(1.3)
        shown = terminal.getvalue()
        assert shown == "" if quiet else ("thinking … 1 s" in shown and shown.endswith("\r"))


def test_what_is_no_labeled_image_set_says_what_to_do(tmp_path: Path) -> None:
    for source in (np.zeros((4, 8, 8)), ["a.jpg"], (np.zeros((4, 8, 8)), [0, 1, 0, 1])):
        for function in (st.train, st.compare, st.data.open):
            with pytest.raises(InputError, match="np.savez"):
                function(source)
    opened = st.data.open("digits")
    run = st.train(opened, tmp_path / "run", settings={"training.epochs": 1}, quiet=True)
    assert run.folder.read_recipe().data.source == "digits"
    numbers = st.evaluate(run, quiet=True).metrics.numbers
    assert numbers["closed"] == run.metrics["closed"]
