"""The comparison from end to end on real digits, small: resumable, refusing, reporting."""

from __future__ import annotations

import csv
import functools
import json
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from steradian.errors import DataError, UsageError
from steradian.files import locked
from steradian.models import Recognizer
from steradian.studies.comparison.compare import compare, dry_run
from steradian.studies.comparison.report import build_report
from steradian.studies.comparison.result import Comparison
from steradian.training import Recipe, load_data


def comparison(
    losses: tuple[str, ...] = ("softmax", "arcface"), dims: tuple[int, ...] = (2,), seeds: int = 1, **changes
):
    recipe = Recipe().changed(**{"training.epochs": 1, "training.batch_size": 200, **changes})
    return Comparison(recipe, losses, dims, seeds)


def run(wanted: Comparison, out: Path, **options):
    return compare(
        wanted.recipe,
        losses=wanted.losses,
        dims=wanted.dims,
        seeds=wanted.seeds,
        trials=wanted.trials,
        out=out,
        quiet=True,
        **{"jobs": 1, **options},
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp("study") / "out"
    wanted = comparison(("softmax", "triplet", "arcface"), (2, 3), 2)
    return out, run(wanted, out, jobs=2)


def test_what_is_left(finished) -> None:
    out, found = finished
    assert len(found.cells) == 12 and not found.failures
    rows = list(csv.DictReader((out / "results.csv").read_text().splitlines()))
    assert len(rows) == 12 and {row["loss"] for row in rows} == {"softmax", "triplet", "arcface"}
    for row in rows:
        assert 0 <= float(row["clustering.majority"]) <= 1 and float(row["cost.seconds_per_epoch"]) > 0
        assert float(row["cost.peak_memory_mib"]) > 50
    cell = out / "cells" / "arcface-3d-seed1"
    assert {"metrics.json", "history.csv", "model", "embeddings.npz"} <= {path.name for path in cell.iterdir()}
    provenance = json.loads((cell / "metrics.json").read_text())["provenance"]
    assert (
        provenance["command"].startswith("from Python")
        and len(provenance["data"]["digest"]) == 64
        and provenance["date"]
    )


def test_workers_and_one_process_agree(finished, tmp_path: Path) -> None:
    _, found = finished
    alone = run(comparison(("arcface",), (2,), 1), tmp_path / "alone")
    same = next(cell for cell in found.cells if cell.spec.name == alone.cells[0].spec.name)
    np.testing.assert_array_equal(alone.cells[0].raw, same.raw)
    assert alone.cells[0].history == same.history


def test_a_finished_cell_is_not_run_again_and_more_may_be_added(finished) -> None:
    out, _ = finished
    before = {path: path.stat().st_mtime_ns for path in out.glob("cells/*/metrics.json")}
    again = run(comparison(("softmax", "arcface", "cosface"), (2,), 1), out)
    after = {path: path.stat().st_mtime_ns for path in out.glob("cells/*/metrics.json")}
    assert len(again.cells) == len(after) == 13
    assert again.comparison.losses == ("softmax", "arcface", "cosface", "triplet") and again.comparison.seeds == 2
    assert len(list(csv.DictReader((out / "results.csv").read_text().splitlines()))) == 13
    assert all(after[path] == stamp for path, stamp in before.items())


def test_another_comparison_is_refused(finished) -> None:
    out, _ = finished
    with pytest.raises(UsageError, match=r"another comparison \(recipe\.training\.epochs was 1 and is now 2\)"):
        run(comparison(**{"training.epochs": 2}), out)
    with pytest.raises(UsageError, match="of other images|split_seed"):
        run(comparison(**{"data.split_seed": 3}), out)


def test_foreign_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        run(comparison(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_mistakes_are_found_before_any_work(tmp_path: Path) -> None:
    for wanted, error, words in (
        (comparison(("arcfase",)), UsageError, "Did you mean 'arcface'"),
        (comparison(dims=(1,)), UsageError, "at least 2 dimensions"),
        (comparison(()), UsageError, "Nothing to compare"),
        (comparison(**{"encoder": "resnet_18"}), UsageError, "Did you mean 'resnet18'"),
        (comparison(**{"data.test": 0.0}), DataError, "test part is empty"),
    ):
        with pytest.raises(error, match=words):
            run(wanted, tmp_path / "out")
        assert not (tmp_path / "out").exists() or not any((tmp_path / "out" / "cells").glob("*"))


def test_two_at_once_are_refused(finished) -> None:
    out, _ = finished
    with locked(out), pytest.raises(UsageError, match="Another steradian process is writing"):
        run(comparison(), out)


def test_left_overs_of_killed_runs_are_swept(finished) -> None:
    out, _ = finished
    (out / "cells" / ".pixels-1.npy.tmp").write_bytes(b"x")
    (out / "cells" / "arcface-2d-seed0" / ".metrics.json.1-a.tmp").write_bytes(b"x")
    run(comparison(), out)
    assert not list(out.rglob("*.tmp"))


def test_as_many_clusters_as_images_are_no_result(image_folder, tmp_path: Path) -> None:
    found = run(comparison(("arcface",), (3,), **{"data.source": str(image_folder(5, 3))}), tmp_path / "out")
    assert np.isnan(found.cells[0].numbers["clustering"]["majority"])
    assert "test images named right" in build_report(found).html()
    assert any("Only 1 training step:" in warning for warning in found.warnings)


def test_report_tells_what_it_knows(finished) -> None:
    _, found = finished
    page = build_report(found).html()
    assert "2 dimensions" in page and "3 dimensions" in page and "paired over 2 seeds" in page
    assert "without bias" in page and len(page) < 12 * 2**20
    assert page.count('srcset="data:image/png') == page.count("<img alt=") > 10
    assert "https://" not in page.split("<script>", 1)[0]


def test_a_failed_technique_is_named_and_the_others_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from steradian.errors import TrainingError
    from steradian.studies.comparison import compare as study

    real = study.run_cell

    def sometimes(spec, *arguments):
        if spec.loss == "softmax":
            raise TrainingError("The loss is nan at step 3")
        real(spec, *arguments)

    monkeypatch.setattr(study, "run_cell", sometimes)
    found = run(comparison(), tmp_path / "out")
    assert [cell.spec.loss for cell in found.cells] == ["arcface"]
    assert "softmax-2d-seed0 failed and is left out: The loss is nan" in build_report(found).html()


def test_dry_run_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert dry_run(comparison(("triplet", "sphere-arc"), (2, 3))) == [
        "triplet-2d-seed0",
        "sphere-arc-2d-seed0",
        "triplet-3d-seed0",
        "sphere-arc-3d-seed0",
    ]
    assert not any(tmp_path.iterdir())


def test_large_dimension_and_lonely_class(image_folder, tmp_path: Path) -> None:
    photos = image_folder(3, 10)
    for path in sorted((photos / "class-2").glob("*.png"))[1:]:
        path.unlink()
    found = run(comparison(("arcface",), (16,), **{"data.source": str(photos)}), tmp_path / "out")
    assert "no projection" not in build_report(found).html()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_stopped_and_run_again(programs: Path, tmp_path: Path, number: int) -> None:
    """A killed study loses no finished cell, leaves no process, and ends as if nothing had happened."""
    command = [programs / "python", "-m", "steradian", "compare", "digits", "--losses", "softmax,arcface,cosface"]
    command += ["--dims", "2", "--epochs", "3", "--out", "out"]
    # Tests that run in the background of a shell are born with SIGINT ignored, and so would be their children.
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    first = subprocess.Popen(
        [*command, "--jobs", "2"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        preexec_fn=heard,
    )
    deadline = time.monotonic() + 90
    while not list(tmp_path.glob("out/cells/*/metrics.json")) and time.monotonic() < deadline and first.poll() is None:
        time.sleep(0.05)
    first.send_signal(number)
    error = first.communicate(timeout=60)[1]
    finished = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/cells/*/metrics.json")}
    assert finished and not (tmp_path / "out" / "report.html").exists()
    if number == signal.SIGINT:
        assert first.returncode == 130 and "Run the same command again" in error and "Traceback" not in error
    # One after the other: two processes more would import torch.
    second = subprocess.run([*command, "--jobs", "1"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert second.returncode == 0, second.stderr
    assert (tmp_path / "out" / "report.html").exists()
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in finished.items())
    assert len(list(tmp_path.glob("out/cells/*/metrics.json"))) == 3


def test_techniques_share_the_features_of_a_frozen_encoder(
    image_folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STERADIAN_CACHE", str(tmp_path / "cache"))
    encoder = {"encoder": "mobilenetv3_small_050", "data.image_size": 32, "training.freeze": "all"}
    wanted = comparison(dims=(4,), **{"data.source": str(image_folder(3, 12)), **encoder})
    found = run(wanted, tmp_path / "out")
    # One file each for the training, validation and test parts.
    assert len(found.cells) == 2 and len(list((tmp_path / "cache" / "features").glob("*.npy"))) == 3
    data = load_data(found.cells[0].spec.recipe)
    images = torch.from_numpy(data.pixels.pixels[data.splits.test])
    for cell in found.cells:
        model = Recognizer.load(tmp_path / "out" / "cells" / cell.spec.name / "model")
        expected = model.embed(images, normalize=False)
        # The cache has half precision.
        assert np.abs(cell.raw - expected).max() < 0.02 * expected.std(axis=0).min()
        np.testing.assert_array_equal(cell.labels, data.pixels.labels[data.splits.test])
