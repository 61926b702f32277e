"""Tune margin and scale of every technique with the same budget, on validation images only.

"A Metric Learning Reality Check" (Musgrave et al. 2020) found that much of the progress of a decade was tuning that the
baselines did not get. Here each technique searches margin and scale around the values fitted to the number of
classes and dimensions, with equally many trials; the first trial is the fit itself.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steradian import metrics
from steradian.errors import InputError, OptionWarning, SteradianError, TrainingError, UsageError
from steradian.extras import install
from steradian.files import read_json, write_json
from steradian.losses import fitted_options, preset
from steradian.losses.ranges import is_finite_number
from steradian.studies.evaluation.inputs import embed_pixels
from steradian.training.dataset import TrainingData
from steradian.training.plan import make_plan
from steradian.training.progress import step_counter
from steradian.training.recipe import Recipe
from steradian.training.run import train

TRIALS = "trials.json"
REACH = 3.0
"""Factors are searched between 1 / REACH and REACH."""

MARGINS = ("margin", "m2", "m3", "m_a", "m_min", "m_max", "l_m", "u_m", "std")
"""Options that the margin factor multiplies; std is the spread of a margin."""

STRETCHING = ("l-softmax", "sphereface", "sphereface-r", "focal-sphereface", "hm-sphereface", "sv-sphereface")
"""Losses whose margin multiplies the angle, as m_s does in every loss: the factor scales the excess over 1."""

SCALES = ("scale", "slope", "gamma", "loss_weight")
TEMPERATURES = ("temperature", "base_temperature")
"""A scale is 1 over a temperature."""


@dataclass(frozen=True)
class TuningSpec:
    """One technique in one dimension, to be tuned in ``trials`` trials; ``recipe`` holds all other options."""

    loss: str
    dims: int
    trials: int
    recipe: Recipe

    @property
    def name(self) -> str:
        """Name of the search's folder."""
        return f"{self.loss}-{self.dims}d"


@dataclass(frozen=True)
class Trial:
    """One trial: factors, the resulting loss options, and MAP@R on validation images.

    ``score`` is NaN if the setting is invalid or training failed; ``why`` then gives the reason.
    """

    factors: dict[str, float]
    options: dict[str, Any]
    score: float
    why: str = ""


def tuned_kinds(loss: str, options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return which of "margin" and "scale" a technique with these fitted options has."""
    moved = {kind: scaled_options(loss, options, {kind: 2.0}) != dict(options) for kind in ("margin", "scale")}
    return tuple(kind for kind, has in moved.items() if has)


def scaled_options(loss: str, options: Mapping[str, Any], factors: Mapping[str, float]) -> dict[str, Any]:
    """Return the fitted options with the factors of "margin" and "scale" applied."""
    margin, scale = factors.get("margin", 1.0), factors.get("scale", 1.0)
    scaled = dict(options)
    for name, value in options.items():
        if not is_finite_number(value):
            continue
        if name == "m_s" or (name == "margin" and preset(loss).name in STRETCHING):
            scaled[name] = 1.0 + margin * (value - 1.0)
        elif name in MARGINS:
            scaled[name] = margin * value
        elif name in SCALES:
            scaled[name] = scale * value
        elif name in TEMPERATURES:
            scaled[name] = value / scale
    return scaled


def tune_technique(
    spec: TuningSpec, data: TrainingData, folder: Path, command: str, on_step: Callable[[int], None]
) -> None:
    """Run the trials of one technique and store them in ``folder``; stored trials are not repeated.

    Each suggestion depends only on the earlier trials and on the trial number, so an interrupted search resumes
    with the same suggestions.
    """
    count = len(data.pixels.classes)
    fit = fitted_options(spec.loss, count, spec.dims, **spec.recipe.loss.options)
    kinds = tuned_kinds(spec.loss, fit)
    trials = read_trials(folder)
    while len(trials) < (spec.trials if kinds else 1):
        factors = _suggest_factors(kinds, trials)
        options = scaled_options(spec.loss, fit, factors)
        trials.append(_run_trial(spec, data, factors, options, on_step))
        content = [trial.__dict__ for trial in trials]
        write_json(folder / TRIALS, {"loss": spec.loss, "dims": spec.dims, "command": command, "trials": content})


def read_trials(folder: Path) -> list[Trial]:
    """Return the trials stored in ``folder``."""
    if not (folder / TRIALS).is_file():
        return []
    stored = read_json(folder / TRIALS)["trials"]
    return [Trial(**{**trial, "score": math.nan if trial["score"] is None else trial["score"]}) for trial in stored]


def best_trial(trials: list[Trial]) -> Trial:
    """Return the trial with the highest score, the first one of ties.

    Raises:
        TrainingError: none has a score.
    """
    scored = [trial for trial in trials if not math.isnan(trial.score)]
    if not scored:
        raise TrainingError("no setting could be trained: " + (trials[0].why if trials else "none was tried."))
    return max(scored, key=lambda trial: trial.score)


def _suggest_factors(kinds: tuple[str, ...], trials: list[Trial]) -> dict[str, float]:
    """Suggest the next factors with Optuna's tree-structured Parzen estimator."""
    if not trials:
        return dict.fromkeys(kinds, 1.0)
    optuna = require_optuna()
    space = {kind: optuna.distributions.FloatDistribution(1.0 / REACH, REACH, log=True) for kind in kinds}
    sampler = optuna.samplers.TPESampler(seed=len(trials), n_startup_trials=6)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for trial in trials:
        # A setting that cannot be trained is worse than any that can.
        score = 0.0 if math.isnan(trial.score) else trial.score
        study.add_trial(optuna.trial.create_trial(params=trial.factors, distributions=space, value=score))
    suggestion: dict[str, float] = dict(study.ask(space).params)
    return suggestion


def require_optuna() -> Any:
    """Import Optuna and silence its log. Raises `UsageError` if it is not installed."""
    try:
        import optuna
    except ImportError as error:
        raise UsageError(f"Tuning needs Optuna. Leave out --tune, or install it: {install('tune')}") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _run_trial(
    spec: TuningSpec,
    data: TrainingData,
    factors: dict[str, float],
    options: dict[str, Any],
    on_step: Callable[[int], None],
) -> Trial:
    recipe = spec.recipe.changed(**{"loss.options": {**spec.recipe.loss.options, **options}})
    try:
        with warnings.catch_warnings():
            # The search itself finds out which settings are bad.
            warnings.simplefilter("ignore", OptionWarning)
            model = train(make_plan(recipe, data), on_batch=step_counter(on_step)).model
    except (InputError, TrainingError) as error:
        return Trial(factors, options, math.nan, str(error).splitlines()[0])
    chosen, pixels = data.splits.validation, data.pixels
    embedded = embed_pixels(model, pixels, chosen)
    return Trial(factors, options, metrics.map_at_r(embedded.raw, embedded.labels))


def check_tunable(data: TrainingData) -> None:
    """Raise `SteradianError` if Optuna is missing or the validation images do not allow MAP@R."""
    require_optuna()
    labels = data.pixels.labels[data.splits.validation]
    if len(labels) == 0 or len(set(labels.tolist())) in (1, len(labels)):
        raise SteradianError(
            f"Tuning needs validation images of two classes, one class with two; {len(labels)} images do not suffice. "
            "Set data.validation higher."
        )
