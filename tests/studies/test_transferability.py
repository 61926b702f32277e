"""The study of transfer: halves, sources, arms, pairing; resumable network by network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from steradian.errors import UsageError
from steradian.models import Recognizer
from steradian.studies.transferability import transfer as study
from steradian.studies.transferability.halves import halves_of
from steradian.studies.transferability.report import (
    build_report,
    differences,
    display_of,
    findings,
    numbers_of,
    unfinished,
)
from steradian.studies.transferability.result import Cell, Transfer, TransferResult
from steradian.studies.transferability.transfer import (
    half_of,
    open_domains,
    transfer,
)
from steradian.training.dataset import load_data

RECIPE = study.default_recipe().changed(**{"training.epochs": 1, "training.batch_size": 256})


def run(wanted: Transfer, out: Path) -> TransferResult:
    return transfer(
        wanted.recipe,
        layers=wanted.layers,
        seeds=wanted.seeds,
        half=wanted.half,
        other=wanted.other,
        target_images=wanted.target_images,
        arms=wanted.arms,
        out=out,
        quiet=True,
        jobs=1,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp("transfer") / "out"
    wanted = Transfer(RECIPE, layers=(2, 7), seeds=1, target_images=100)
    return out, wanted, run(wanted, out)


def test_every_network_is_there_and_has_the_layers_it_should(finished) -> None:
    out, wanted, found = finished
    assert not found.failures and len(found.cells) == 2 * (2 + 1) + 2 * 2 * 5
    cells = {spec.name: spec for spec in (*wanted.bases(), *wanted.moved())}
    assert {path.name for path in (out / "cells").iterdir()} == set(cells)
    for arm in ("BnB", "AnB", "BnB+", "random"):
        spec = next(s for s in cells.values() if s.arm == arm and s.layers == 2 and s.target == "A")
        model = Recognizer.load(out / "cells" / spec.name).encoder.state_dict()
        if spec.source is None:
            continue
        base = Recognizer.load(out / "cells" / spec.source).encoder.state_dict()
        layers = {name: int(name.split(".")[1]) for name in model}
        same = {layers[name] for name, tensor in model.items() if torch.equal(tensor, base[name])}
        assert same >= {0, 1} if arm != "BnB+" else not same & {0, 1}, arm
        assert not any(torch.equal(t, base[n]) for n, t in model.items() if layers[n] >= 2 and n.endswith("weight"))
    own = next(s for s in cells.values() if s.arm == "BnB" and s.target == "A")
    other = next(s for s in cells.values() if s.arm == "AnB" and s.target == "A")
    assert own.source == "seed0-A-base-100" and other.source == "seed0-B-base"


def test_the_same_command_trains_nothing_again_and_more_layers_add(finished) -> None:
    out, _, _ = finished
    stamps = {path: path.stat().st_mtime_ns for path in out.glob("cells/*/result.json")}
    more = Transfer(RECIPE, layers=(1, 2, 7), seeds=1, target_images=100, arms=("AnB",))
    found = run(more, out)
    assert len(found.accuracies("AnB", 1)) == 2
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    with pytest.raises(UsageError, match="another transfer study .target_images was 100 and is now None"):
        run(Transfer(RECIPE, seeds=1), out)


def test_the_page_tells_what_was_found(finished) -> None:
    _, _, found = finished
    page = build_report(found).html()
    for words in ("AnB, published", "Every target", "twice as long", "random halves"):
        assert (words in page) == (words != "Every target")
    assert set(display_of(found).values) == {"base", "base x2", *study.MOVED}
    assert len(findings(found)) == 5 and numbers_of(found)["base"]["networks"] == 2


def test_halves_are_disjoint_whole_and_directions_swap() -> None:
    classes = tuple("abcdefghi")
    for seed in range(5):
        found = halves_of(classes, seed)
        assert (found["A"] ^ found["B"]).all() and found["A"].sum() == 4
    assert (halves_of(classes, 0)["A"] != halves_of(classes, 1)["A"]).any()
    named = halves_of(classes, 3, ("b", "i"))
    assert np.flatnonzero(named["A"]).tolist() == [1, 8]
    with pytest.raises(UsageError, match="no class 'z'"):
        halves_of(classes, 0, ("z", "a"))
    with pytest.raises(UsageError, match="Halves of 1 and 2 classes"):
        halves_of("abc", 0)


def test_a_small_target_is_spread_over_its_classes() -> None:
    prepared = load_data(RECIPE)
    spec = Transfer(RECIPE, (2,), seeds=1, target_images=23).moved()[0]
    own = half_of(prepared, spec)
    counts = np.bincount(own.pixels.labels[own.splits.train])
    assert counts.sum() == 23 and counts.max() - counts.min() <= 1 and len(own.pixels.classes) == 5
    whole = half_of(prepared, Transfer(RECIPE, seeds=1).bases()[0])
    assert set(whole.splits.train) > set(own.splits.train) and (whole.splits.test == own.splits.test).all()
    inside = {prepared.pixels.names[i] for i in prepared.splits.test}
    assert {own.pixels.names[i] for i in own.splits.test} <= inside


def test_findings_are_judged_by_paired_intervals() -> None:
    cells = []
    for seed in range(3):
        for target, level in (("A", 0.6), ("B", 0.8)):
            noise = 0.002 * seed
            values = {("base", 0): 0.0, ("base x2", 0): 0.03, ("BnB", 4): -0.05, ("BnB+", 4): 0.0005, ("AnB", 4): -0.09}
            for (arm, n), shift in {**values, ("AnB+", 4): 0.02}.items():
                cells.append(Cell(seed, target, arm, n, None, level + shift + (noise if n else 0), 0.0, 100))
    found = TransferResult(Transfer(RECIPE, (4,), 3), 10, tuple(cells), {}, {})
    told = dict(findings(found))
    verdicts = [verdict.split(":")[0] for verdict in told.values()]
    assert unfinished(found)[0].startswith("The networks had not converged: trained twice as long, a base gains 0.030")
    assert verdicts == ["replicated"] * 4 + ["replicated", "not replicated, the other way round"]
    assert differences(found)["AnB"][4].mean == pytest.approx(-0.088)


def test_a_network_whose_base_failed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from steradian.errors import TrainingError

    real = study.run_network

    def sometimes(spec, *arguments):
        if spec.arm == "base" and spec.target == "B":
            raise TrainingError("The loss is nan at step 3")
        real(spec, *arguments)

    monkeypatch.setattr(study, "run_network", sometimes)
    found = run(Transfer(RECIPE, (7,), 1, arms=("AnB", "BnB")), tmp_path / "out")
    assert found.failures == {
        "seed0-B-base": "The loss is nan at step 3",
        "seed0-A-AnB-7": "its base failed",
        "seed0-B-BnB-7": "its base failed",
    }
    assert "its base failed" in build_report(found).html()


def test_another_domain_is_the_other_half(image_folder, tmp_path: Path) -> None:
    one, other = image_folder(3, 10, "photos"), image_folder(4, 10, "drawings")
    recipe = RECIPE.changed(**{"data.source": str(one)})
    prepared, wanted = open_domains(Transfer(recipe, other=str(other)))
    assert wanted.half == ("class-0", "class-1", "class-2") and wanted.layers == (1, 2, 3, 4, 5, 6, 7)
    assert prepared.pixels.classes[3:] == ("class-0*", "class-1*", "class-2*", "class-3*")
    specs = {spec.target: spec for spec in wanted.bases() if spec.arm == "base" and spec.seed == 0}
    a, b = (half_of(prepared, specs[target]) for target in ("A", "B"))
    assert len(a.pixels) == 30 and len(b.pixels) == 40 and a.preprocessing == b.preprocessing
    assert all("drawings" in name for name in b.pixels.names)
    found = run(Transfer(recipe, (2,), 1, other=str(other), arms=("AnB",)), tmp_path / "out")
    assert not found.failures and "half B" in build_report(found).html()
    with pytest.raises(UsageError, match="--half cannot be combined with --other"):
        open_domains(Transfer(recipe, half=("class-0", "class-1"), other=str(other)))
    with pytest.raises(UsageError, match=r"1 to 7 can be moved, not \[9\]"):
        open_domains(Transfer(RECIPE, (9,)))


def test_domains_of_other_colors_are_refused(image_folder, tmp_path: Path) -> None:
    for label in ("x", "y"):
        (tmp_path / "color" / label).mkdir(parents=True)
        for number in range(6):
            Image.new("RGB", (16, 16), (40 * number, 9, 9)).save(tmp_path / "color" / label / f"{number}.png")
    recipe = RECIPE.changed(**{"data.source": str(image_folder(2, 6))})
    with pytest.raises(UsageError, match="is gray and .* in color"):
        open_domains(Transfer(recipe, other=str(tmp_path / "color")))
