"""The same search budget for every technique: margin and scale by validation images, test images unseen.

"A Metric Learning Reality Check" (Musgrave et al. 2020) found that much of the progress of a decade was tuning that the
baselines did not get. Here each technique may move its margin and its scale around the values that fit the number of
classes and dimensions, in equally many trials, the first of which is the fit itself.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steradian import metrics
from steradian.errors import InputError, SteradianError, TrainingError, UnwiseOption, UsageError
from steradian.files import read_json, write_json
from steradian.losses import fitted_options, preset
from steradian.losses.ranges import is_finite_number
from steradian.studies.measurement import embed_pixels
from steradian.training.prepared import Prepared
from steradian.training.recipe import Recipe
from steradian.training.run import train

RESULT = "trials.json"
REACH = 3.0
"""A factor is sought between 1 / this and this."""

MARGINS = ("margin", "m2", "m3", "m_a", "m_min", "m_max", "l_m", "u_m", "std")
"""Options that a factor of the margin multiplies; std spreads a margin."""

STRETCHING = ("l-softmax", "sphereface", "sphereface-r", "focal-sphereface", "hm-sphereface", "sv-sphereface")
"""Losses whose margin multiplies the angle, as m_s does anywhere: the factor is on what exceeds 1."""

SCALES = ("scale", "slope", "gamma", "loss_weight")
TEMPERATURES = ("temperature", "base_temperature")
"""A scale is 1 over a temperature."""


@dataclass(frozen=True)
class TuningSpec:
    """One technique in one dimension, to be tuned in ``trials`` trials; ``recipe`` holds the rest."""

    loss: str
    dims: int
    trials: int
    recipe: Recipe

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.loss}-{self.dims}d"


@dataclass(frozen=True)
class Trial:
    """One setting that was tried: factors, what they made of the options, and MAP@R of validation images.

    ``score`` is NaN where the setting is impossible or training failed; ``why`` then says so.
    """

    factors: dict[str, float]
    options: dict[str, Any]
    score: float
    why: str = ""


def tuned_kinds(loss: str, options: Mapping[str, Any]) -> tuple[str, ...]:
    """Which of "margin" and "scale" a technique with these fitted options has."""
    moved = {kind: scaled_options(loss, options, {kind: 2.0}) != dict(options) for kind in ("margin", "scale")}
    return tuple(kind for kind, has in moved.items() if has)


def scaled_options(loss: str, options: Mapping[str, Any], factors: Mapping[str, float]) -> dict[str, Any]:
    """Fitted options with the factors of "margin" and "scale" applied."""
    margin, scale = factors.get("margin", 1.0), factors.get("scale", 1.0)
    found = dict(options)
    for name, value in options.items():
        if not is_finite_number(value):
            continue
        if _stretches(loss, name):
            found[name] = 1.0 + margin * (value - 1.0)
        elif name in MARGINS:
            found[name] = margin * value
        elif name in SCALES:
            found[name] = scale * value
        elif name in TEMPERATURES:
            found[name] = value / scale
    return found


def _stretches(loss: str, option: str) -> bool:
    return option == "m_s" or (option == "margin" and preset(loss).name in STRETCHING)


def tune_technique(
    spec: TuningSpec, prepared: Prepared, folder: Path, command: str, on_step: Callable[[int], None]
) -> None:
    """Try settings of one technique into ``folder``; trials that stand there are not repeated.

    Each trial's suggestion depends on the trials before it and on its number alone, so that a search that was stopped
    goes on as if it had not been.
    """
    count = len(prepared.pixels.classes)
    fit = fitted_options(spec.loss, count, spec.dims, **spec.recipe.loss.options)
    kinds = tuned_kinds(spec.loss, fit)
    trials = read_trials(folder)
    while len(trials) < (spec.trials if kinds else 1):
        factors = _suggested(kinds, trials)
        options = scaled_options(spec.loss, fit, factors)
        trials.append(_tried(spec, prepared, factors, options, on_step))
        content = [trial.__dict__ for trial in trials]
        write_json(folder / RESULT, {"loss": spec.loss, "dims": spec.dims, "command": command, "trials": content})


def read_trials(folder: Path) -> list[Trial]:
    """Trials that stand in ``folder``."""
    if not (folder / RESULT).is_file():
        return []
    found = read_json(folder / RESULT)["trials"]
    return [Trial(**{**trial, "score": math.nan if trial["score"] is None else trial["score"]}) for trial in found]


def best_trial(trials: list[Trial]) -> Trial:
    """The one with the highest score, of equal ones the first.

    Raises:
        TrainingError: none has a score.
    """
    scored = [trial for trial in trials if not math.isnan(trial.score)]
    if not scored:
        raise TrainingError("no setting could be trained: " + (trials[0].why if trials else "none was tried."))
    return max(scored, key=lambda trial: trial.score)


def _suggested(kinds: tuple[str, ...], trials: list[Trial]) -> dict[str, float]:
    """Factors to try next, by Optuna's tree-structured Parzen estimator."""
    if not trials:
        return dict.fromkeys(kinds, 1.0)
    optuna = demand_optuna()
    space = {kind: optuna.distributions.FloatDistribution(1.0 / REACH, REACH, log=True) for kind in kinds}
    sampler = optuna.samplers.TPESampler(seed=len(trials), n_startup_trials=6)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for trial in trials:
        # A setting that cannot be trained is worse than any that can.
        score = 0.0 if math.isnan(trial.score) else trial.score
        study.add_trial(optuna.trial.create_trial(params=trial.factors, distributions=space, value=score))
    found: dict[str, float] = dict(study.ask(space).params)
    return found


def demand_optuna() -> Any:
    """Optuna, silent. Raises `UsageError` where it is not installed."""
    try:
        import optuna
    except ImportError as error:
        raise UsageError("Tuning needs Optuna: pip install 'steradian[tune]', or leave out --tune.") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _tried(
    spec: TuningSpec,
    prepared: Prepared,
    factors: dict[str, float],
    options: dict[str, Any],
    on_step: Callable[[int], None],
) -> Trial:
    done = 0

    def on_batch(step: int, total: int, note: str) -> None:
        nonlocal done
        on_step(step - done)
        done = step

    recipe = spec.recipe.changed(**{"loss.options": {**spec.recipe.loss.options, **options}})
    try:
        with warnings.catch_warnings():
            # That a setting is unwise is for the search to find out.
            warnings.simplefilter("ignore", UnwiseOption)
            model = train(recipe, prepared, on_batch=on_batch).model
    except (InputError, TrainingError) as error:
        return Trial(factors, options, math.nan, str(error).splitlines()[0])
    chosen, pixels = prepared.splits.validation, prepared.pixels
    found = embed_pixels(model, pixels, chosen)
    return Trial(factors, options, metrics.map_at_r(found.raw, found.labels))


def check_tunable(prepared: Prepared) -> None:
    """Raise `SteradianError` where there is nothing to tune on: no Optuna, or no two validation images of a class."""
    demand_optuna()
    labels = prepared.pixels.labels[prepared.splits.validation]
    if len(labels) == 0 or len(set(labels.tolist())) in (1, len(labels)):
        raise SteradianError(
            f"Tuning chooses by {len(labels)} validation images, of which no two are of one class beside another. "
            "Set data.validation higher."
        )
