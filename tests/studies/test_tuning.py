"""The search for margin and scale: the same budget for all, resumable, blind to test images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from steradian import losses
from steradian.errors import SteradianError, TrainingError, UsageError
from steradian.losses import fitted_options
from steradian.studies.comparison import tuning
from steradian.studies.comparison.compare import compare
from steradian.studies.comparison.report import build_report
from steradian.studies.comparison.result import Comparison, ComparisonResult
from steradian.studies.comparison.tuning import (
    TRIALS,
    Trial,
    TuningSpec,
    best_trial,
    read_trials,
    scaled_options,
    tuned_kinds,
)
from steradian.training import Recipe
from steradian.training.dataset import load_data

RECIPE = Recipe().changed(**{"training.epochs": 1, "training.batch_size": 256, "data.calibration": 0.0})


@pytest.mark.filterwarnings("ignore::steradian.errors.OptionWarning")
@pytest.mark.parametrize("name", losses.names())
def test_every_technique_moves_what_it_has_and_still_builds(name: str) -> None:
    fit = fitted_options(name, 10, 3)
    kinds = tuned_kinds(name, fit)
    for factor in (1 / tuning.REACH, tuning.REACH):
        found = scaled_options(name, fit, dict.fromkeys(kinds, factor))
        assert found.keys() == fit.keys() and (found != fit) == bool(kinds)
        try:
            losses.create(name, 10, 3, **found)
        except SteradianError as error:
            assert "must" in str(error)
    assert scaled_options(name, fit, {}) == fit


def test_what_factors_do() -> None:
    assert tuned_kinds("softmax", fitted_options("softmax", 10, 3)) == ()
    assert tuned_kinds("arcface", {"margin": 0.5, "scale": 8.0}) == ("margin", "scale")
    factors = {"margin": 2.0, "scale": 0.5}
    assert scaled_options("arcface", {"margin": 0.5, "scale": 8.0}, factors) == {"margin": 1.0, "scale": 4.0}
    assert scaled_options("sphereface", {"margin": 1.5, "scale": 8.0}, factors) == {"margin": 2.0, "scale": 4.0}
    assert scaled_options("sphereface2", {"margin": 0.2}, factors) == {"margin": 0.4}
    assert scaled_options("sphere-arc", {"m_s": 2.0, "m_a": 0.2}, factors) == {"m_s": 3.0, "m_a": 0.4}
    assert scaled_options("supcon", {"temperature": 0.1}, factors) == {"temperature": 0.2}


def test_a_search_that_was_stopped_goes_on_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[dict[str, float]] = []

    def pretend(spec, data, factors, options, on_step) -> Trial:
        tried.append(factors)
        return Trial(factors, options, float(np.exp(-abs(np.log(factors["margin"] * 2)))))

    monkeypatch.setattr(tuning, "_run_trial", pretend)
    prepared = load_data(RECIPE)
    spec = TuningSpec("arcface", 3, 9, RECIPE)
    tuning.tune_technique(spec, prepared, tmp_path / "whole", "test", lambda done: None)
    assert tried[0] == {"margin": 1.0, "scale": 1.0} and len(tried) == 9
    assert all(1 / 3 <= value <= 3 for factors in tried for value in factors.values())
    whole = read_trials(tmp_path / "whole")
    content = json.loads((tmp_path / "whole" / TRIALS).read_text())
    content["trials"] = content["trials"][:4]
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / TRIALS).write_text(json.dumps(content))
    tuning.tune_technique(spec, prepared, tmp_path / "part", "test", lambda done: None)
    assert read_trials(tmp_path / "part") == whole and len(tried) == 14
    assert best_trial(whole).score == max(trial.score for trial in whole)


def test_impossible_settings_are_trials_that_lost() -> None:
    failed = Trial({"margin": 9.0}, {}, float("nan"), "margin must lie in …")
    good = Trial({"margin": 1.0}, {}, 0.0)
    assert best_trial([failed, good]) is good
    with pytest.raises(TrainingError, match="no setting could be trained: margin must lie"):
        best_trial([failed])
    real = tuning._run_trial(
        TuningSpec("arcface", 3, 1, RECIPE), load_data(RECIPE), {"margin": 9.0}, {"margin": 9.0}, lambda done: None
    )
    assert np.isnan(real.score) and "margin" in real.why


def run(wanted: Comparison, out: Path) -> ComparisonResult:
    return compare(
        wanted.recipe,
        losses=wanted.losses,
        dims=wanted.dims,
        seeds=wanted.seeds,
        trials=wanted.trials,
        out=out,
        quiet=True,
        jobs=1,
    )


def test_a_comparison_is_tuned_and_measures_unseen_classes(tmp_path: Path) -> None:
    recipe = RECIPE.changed(**{"data.unseen": 0.3})
    wanted = Comparison(recipe, ("softmax", "arcface"), (3,), 2, trials=2)
    found = run(wanted, tmp_path / "out")
    assert not found.failures and len(found.cells) == 4 and len(found.classes) == 7
    searches = found.comparison.tuned
    assert len(read_trials(tmp_path / "out" / "tuning" / "softmax-3d")) == 1
    assert len(read_trials(tmp_path / "out" / "tuning" / "arcface-3d")) == 2
    for cell in found.cells:
        assert cell.spec.recipe.loss.options == searches[cell.spec.loss, 3].options
        assert 0 < cell.numbers["unseen"]["retrieval"]["recall_at_1"] <= 1
        assert 0 < cell.numbers["open_set"]["cosine"]["auroc"] < 1
    page = build_report(found).html()
    assert "margin ×" in page and "nothing to tune" in page and "unseen:" in page
    stamp = (tmp_path / "out" / "tuning" / "arcface-3d" / TRIALS).stat().st_mtime_ns
    run(wanted, tmp_path / "out")
    assert (tmp_path / "out" / "tuning" / "arcface-3d" / TRIALS).stat().st_mtime_ns == stamp
    with pytest.raises(UsageError, match="trials was 2 and is now 0"):
        run(Comparison(recipe, ("softmax",), (3,), 1), tmp_path / "out")
    nothing = Comparison(recipe.changed(**{"data.validation": 0.0}), ("arcface",), (3,), 1, trials=2)
    with pytest.raises(SteradianError, match="0 images do not suffice"):
        run(nothing, tmp_path / "none")
