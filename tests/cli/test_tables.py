"""`steradian evaluate` of somebody else's answers: numbers under their names, a page, and words for mistakes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as reference

from steradian.cli import main as entry

CLASSES = ("cat", "dog, small", '"ü"')


@pytest.fixture
def evaluate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """Run ``steradian evaluate``: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["steradian", "evaluate", *words])
        with pytest.raises(SystemExit) as exit_:
            entry.main()
            raise SystemExit(0)
        shown = capsys.readouterr()
        return int(exit_.value.code or 0), shown.out, shown.err

    return run


def table(path: Path) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels, logits = generator.integers(0, 3, 80), generator.normal(size=(80, 3))
    logits[np.arange(80), labels] += 1.0
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    quoted = ['"' + name.replace('"', '""') + '"' for name in CLASSES]
    rows = [",".join([str(i), quoted[labels[i]], *(f"{p:.9f}" for p in chances[i])]) for i in range(80)]
    path.write_text("\n".join([",".join(["id", "label", *quoted]), *rows]) + "\n", encoding="utf-8")
    return labels, chances


def test_a_table_of_probabilities_has_every_closed_set_number(evaluate, tmp_path: Path) -> None:
    labels, chances = table(tmp_path / "answers.csv")
    code, out, _ = evaluate("--predictions", "answers.csv", "--json")
    assert code == 0
    said, kept = json.loads(out), json.loads((tmp_path / "answers-evaluation/metrics.json").read_text())
    closed = kept["closed"]
    assert said["closed"] == closed
    answers = chances.argmax(axis=1)
    assert closed["accuracy"] == pytest.approx(reference.accuracy_score(labels, answers))
    low, high = closed["accuracy_interval"]
    assert low < closed["accuracy"] < high
    assert closed["macro"]["f1"] == pytest.approx(reference.f1_score(labels, answers, average="macro"))
    assert closed["macro"]["auc"] == pytest.approx(reference.roc_auc_score(labels, chances, multi_class="ovr"))
    assert closed["per_class"]["dog, small"]["tp"] == int(((labels == 1) & (answers == 1)).sum())
    assert kept["calibration"]["nll"] == pytest.approx(reference.log_loss(labels, chances))
    assert kept["provenance"]["sha256"] and kept["provenance"]["command"].startswith("steradian evaluate")
    page = (tmp_path / "answers-evaluation/report.html").read_text()
    assert "dog, small" in page and "What this means" in page and "<script>alert" not in page


def test_answers_alone_and_pairs_are_measured_in_words(evaluate, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,label,prediction\n1,x,x\n2,x,y\n3,y,\n")
    (tmp_path / "s.csv").write_text("id,label,prediction,score\n1,x,x,.9\n2,x,y,.4\n3,y,y,.3\n4,y,,\n")
    code, out, _ = evaluate("--predictions", "s.csv", "--json")
    assert code == 0 and json.loads(out)["closed"]["score_auc"] == 0.5
    code, out, err = evaluate("--predictions", "a.csv", "--out", "a")
    assert code == 0 and "closed: accuracy" in out and "0.3333" in out and "threads" not in out
    assert "1 of 3 images have no prediction" in err
    generator = np.random.default_rng(0)
    rows = [f"a{i},b{i},{i % 2},{generator.normal() * 0.2 + 0.5 * (i % 2):.6f}" for i in range(400)]
    (tmp_path / "p.csv").write_text("a,b,same,score\n" + "\n".join(rows))
    code, out, err = evaluate("--scores", "p.csv", "--out", "p")
    assert code == 0 and "verification: auc" in out and "fold accuracy" in out
    assert "TAR at FAR 0.001 is undefined: 200 impostor pairs are too few to measure it" in err
    found = json.loads((tmp_path / "p/metrics.json").read_text())["verification"]
    assert found["tar_at_far"]["1e-03"] is None
    assert found["threshold_at_far"]["1e-02"] > found["eer_threshold"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "exactly one of RUN, --predictions FILE and --scores FILE"),
        (("--predictions", "a.csv", "--scores", "a.csv"), "exactly one of"),
        (("run", "--predictions", "a.csv"), "exactly one of"),
        (("--predictions", "a.csv", "--root", "."), "--root works only with a RUN"),
        (("--predictions", "none.csv"), "does not exist"),
        (("--scores", "a.csv"), "no column 'a'"),
    ],
)
def test_requests_that_mean_nothing(evaluate, tmp_path: Path, words: tuple[str, ...], complaint: str) -> None:
    (tmp_path / "a.csv").write_text("id,label,prediction\n1,x,x\n")
    code, _, err = evaluate(*words)
    assert code in (1, 2) and complaint in err.replace("\n", " ")
    assert not list(tmp_path.glob("*-evaluation"))


def test_results_are_not_written_over_something_else(evaluate, tmp_path: Path) -> None:
    table(tmp_path / "answers.csv")
    (tmp_path / "there").mkdir()
    (tmp_path / "there/letter.txt").write_text("mine")
    code, _, err = evaluate("--predictions", "answers.csv", "--out", "there")
    assert code == 2 and "--exist-ok" in err


def test_distances_are_recognized_by_their_direction_and_measured(evaluate, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    same = generator.random(200) < 0.4
    distances = 1.0 + 0.3 * generator.normal(size=200) - 0.6 * same
    rows = [
        f"a{i},b{i},{int(one)},{distance:.6f}" for i, (one, distance) in enumerate(zip(same, distances, strict=True))
    ]
    (tmp_path / "p.csv").write_text("a,b,same,score\n" + "\n".join(rows) + "\n")
    code, _, said = evaluate("--scores", "p.csv", "--out", "before")
    assert code == 0 and "They seem distances: measure them with --distance" in said
    code, _, said = evaluate("--scores", "p.csv", "--distance", "--out", "after")
    assert code == 0 and "their sign was changed" in said and "below 0.5" not in said
    auc = json.loads((tmp_path / "after" / "metrics.json").read_text())["verification"]["auc"]
    assert auc == pytest.approx(reference.roc_auc_score(same, -distances.round(6)), abs=1e-9)
    assert evaluate("--predictions", "p.csv", "--distance")[0] == 2
