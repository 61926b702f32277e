"""What strong practitioners do: each practice against one baseline, paired by seed, on three sets.

    python benchmarks/practices/run.py --data DIR            (train what is missing, then print the table)
    python benchmarks/practices/run.py --data DIR --table    (print the table)

The arm "schedule-free AdamW" needs `pip install schedulefree`. Results are kept one by one in practices.json: run it
again to go on.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from arms import (
    Distilled,
    Growing,
    HardClasses,
    MixStyle,
    MuonRate,
    Practice,
    ScheduleFree,
    ensemble,
    trained,
    with_wrong_labels,
    without_farthest,
)  # fmt: skip
from numpy.typing import NDArray
from tqdm import tqdm

from steradian.data.splits import groups_by
from steradian.metrics import t_interval
from steradian.models.recognizer import Recognizer
from steradian.training import Recipe, TrainingData, load_data, make_plan
from steradian.training.batches import Indices

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "promises"))

import sets  # noqa: E402 - of the benchmark beside this one

SETS = {"monuments": 0.2, "gtsrb": 0.2, "clothing": 0.3}
"""Share of the classes that are held out."""
MOST = {"monuments": 16, "gtsrb": 30, "clothing": 90}
"""Most training images of a class, so that a training takes about ten CPU seconds on each set."""
SEEDS, MORE_SEEDS = range(3), range(3, 5)
"""All arms get the first seeds, then more; then the long trainings in the same order."""
EPOCHS, LONG_EPOCHS = 16, 40
"""The second is what the product does by default."""
TUNED_ON, TUNED_PART = "monuments", 0.25
"""Strengths are chosen on the validation part of this set and seed 0."""
FEWEST = 3
"""Differences of fewer seeds get no verdict."""
WRONG = 0.2
TEACHERS = 3
SETTINGS: dict[str, Any] = {
    "encoder": "small", "adapt": "train", "data.image_size": 32, "data.calibration": 0.0, "data.validation": 0.0,
    "training.batch_size": 64, "training.bf16": True, "training.deterministic": False,
}  # fmt: skip
BASELINE, NOISY, NOISY_SUBCENTERS = "baseline", "wrong labels", "wrong labels: 3 sub-centers"


@dataclass
class Study:
    """One set and one seed: its images, and the models trained on them so far.

    Attributes:
        models: trained model and its CPU seconds, by arm and number of the repetition.
    """

    recipe: Recipe
    data: TrainingData
    seed: int
    chosen: dict[str, str]
    models: dict[tuple[str, int], tuple[Recognizer, float]] = field(default_factory=dict)

    def model(self, arm: str, repetition: int = 0) -> tuple[Recognizer, float]:
        """Return the model of an arm and the CPU seconds of its training; it is trained once."""
        key = (arm, repetition)
        if key not in self.models:
            self.models[key] = self.train(arm, self.chosen.get(arm, ""), repetition)
        return self.models[key]

    def train(self, arm: str, strength: str, repetition: int = 0) -> tuple[Recognizer, float]:
        """Train an arm at one of its strengths."""
        epochs, like = EPOCHS, ARMS[arm].like
        if like:
            epochs, arm, strength = LONG_EPOCHS, like, self.chosen[like]
        variant = ARMS[arm].strengths[strength]
        changes = {**variant.settings, "training.epochs": epochs, "training.seed": self.seed + 100 * repetition}
        return trained(make_plan(self.recipe.changed(**changes), variant.data(self)), variant.practice(self))

    @property
    def noisy(self) -> TrainingData:
        """The images with wrong labels in the training part."""
        return with_wrong_labels(self.data, WRONG, self.seed)

    def dropped(self, arm: str, share: float) -> TrainingData:
        """The images with wrong labels, without those that the model of ``arm`` finds farthest from their class."""
        model, _ = self.model(arm)
        return without_farthest(self.noisy, model, self.embed(model, self.data.splits.train), share)

    @torch.no_grad()
    def embed(self, model: Recognizer, part: Indices | None) -> NDArray[np.float32]:
        """Return raw embeddings of the images ``part``; None: of those of the unseen classes."""
        return np.concatenate([model(images).numpy() for images in self.images(part)])

    def images(self, part: Indices | None) -> list[torch.Tensor]:
        """Return the preprocessed images ``part`` in blocks; None: those of the unseen classes."""
        if part is None and self.data.unseen is None:
            raise ValueError("this study holds no class out")
        pixels: Any = self.data.unseen.pixels if self.data.unseen is not None and part is None else None
        pixels = self.data.pixels.pixels[part] if pixels is None else pixels
        samples = torch.from_numpy(np.ascontiguousarray(pixels)).float().div_(255.0)
        return list(self.data.preprocessing.normalize(samples).split(256))

    def accuracy(self, answers: NDArray[np.float32], part: Indices) -> float:
        """Return the share of the images ``part`` whose class has the highest of ``answers`` [N, C]."""
        return float((answers.argmax(axis=1) == self.data.pixels.labels[part]).mean())

    def measure(self, model: Recognizer, part: Indices) -> dict[str, float]:
        """Return the accuracy on ``part`` and the recall@1 of unseen classes."""
        logits = model.logits(torch.from_numpy(self.embed(model, part))).detach().numpy()
        return {"accuracy": self.accuracy(logits, part), "recall": self.recall(self.embed(model, None))}

    def recall(self, embeddings: NDArray[np.float32]) -> float:
        """Return the share of the unseen classes' images whose nearest image of another group is of their class."""
        unseen = self.data.unseen
        if unseen is None:
            raise ValueError("this study holds no class out")
        pattern = self.recipe.data.group_by
        groups = groups_by(pattern, unseen.names) if pattern else np.array(unseen.names)
        other = groups[:, None] != groups[None, :]
        alike = unseen.labels[:, None] == unseen.labels[None, :]
        units = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
        nearest = np.where(other, units @ units.T, -2.0).argmax(axis=1)
        # A class that is a single group has no other image to find.
        asked = (other & alike).any(axis=1)
        return float(alike[np.arange(len(alike)), nearest][asked].mean())


@dataclass(frozen=True)
class Variant:
    """An arm at one strength: changed settings of the recipe, a practice, or other training data."""

    settings: dict[str, Any] = field(default_factory=dict)
    practice: Callable[[Study], Practice] = lambda study: Practice()
    data: Callable[[Study], TrainingData] = lambda study: study.data


@dataclass(frozen=True)
class Arm:
    """One or more strengths, of which one is chosen.

    Attributes:
        against: the arm that it is compared with.
        before: models that it needs, as arm and repetition.
        like: the arm that it is at its chosen strength, with `LONG_EPOCHS` epochs.
    """

    strengths: dict[str, Variant]
    against: str = BASELINE
    before: tuple[tuple[str, int], ...] = ()
    like: str = ""


def single(**fields: Any) -> dict[str, Variant]:
    return {"": Variant(**fields)}


def _noisy(study: Study) -> TrainingData:
    return study.noisy


def _drop(arm: str) -> dict[str, Variant]:
    # As many as are wrong, which a user would have to guess.
    return single(data=lambda study: study.dropped(arm, WRONG))


def _distilled(weight: float) -> Variant:
    return Variant(
        practice=lambda study: Distilled([study.model(BASELINE, number)[0] for number in range(TEACHERS)], weight)
    )


MUON = {"training.optimizer": "muon"}
SUBCENTERS = {"loss.options": {"subcenters": 3}}
ALL_TEACHERS = tuple((BASELINE, number) for number in range(TEACHERS))
ARMS: dict[str, Arm] = {
    BASELINE: Arm({f"rate {rate:g}": Variant({"training.learning_rate": rate}) for rate in (4e-3, 8e-3)}, against=""),
    "mean of the weights (EMA)": Arm(
        {f"decay {decay:g}": Variant({"training.average": decay}) for decay in (0.95, 0.99)}
    ),
    "RandAugment": Arm(
        {
            f"{count} of magnitude {strength}": Variant({"views.operations": count, "views.magnitude": strength})
            for count, strength in ((1, 5), (2, 9))
        }
    ),
    "mixup 0.2": Arm(single(settings={"training.mixup": 0.2})),
    "3 sub-centers": Arm(single(settings=SUBCENTERS)),
    "schedule-free AdamW": Arm(
        {
            f"rate {rate:g}": Variant(
                {"training.learning_rate": rate, "training.schedule": "constant"}, lambda study: ScheduleFree()
            )
            for rate in (4e-3, 1e-2)
        }
    ),
    "Muon for filters": Arm(
        {
            "rate of AdamW": Variant(MUON, lambda study: MuonRate(1.0)),
            "3 times the rate": Variant(MUON, lambda study: MuonRate(3.0)),
        }
    ),
    "images that grow, 20 to 32 px": Arm(single(practice=lambda study: Growing())),
    "MixStyle": Arm(
        {
            "after one layer": Variant(practice=lambda study: MixStyle(1)),
            "after two layers": Variant(practice=lambda study: MixStyle(2)),
        }
    ),
    "batches of near classes": Arm(
        {
            "4 classes": Variant(practice=lambda study: HardClasses(4)),
            "8 classes": Variant(practice=lambda study: HardClasses(8)),
        }
    ),
    "distilled from 3": Arm({f"weight {weight:g}": _distilled(weight) for weight in (1.0, 3.0)}, before=ALL_TEACHERS),
    NOISY: Arm(single(data=_noisy), against=BASELINE),
    NOISY_SUBCENTERS: Arm(single(settings=SUBCENTERS, data=_noisy), against=NOISY),
    "wrong labels: far ones dropped": Arm(_drop(NOISY), against=NOISY, before=((NOISY, 0),)),
    "wrong labels: far ones dropped by 3 sub-centers": Arm(
        _drop(NOISY_SUBCENTERS), against=NOISY, before=((NOISY_SUBCENTERS, 0),)
    ),
}
LONG = f"{LONG_EPOCHS} epochs"
LONG_ARMS = (LONG, f"{LONG}: Muon for filters", f"{LONG}: schedule-free AdamW")
"""Whether what learns faster also ends higher."""
for _arm, _short in zip(LONG_ARMS, (BASELINE, "Muon for filters", "schedule-free AdamW"), strict=True):
    ARMS[_arm] = Arm(single(), against=BASELINE if _arm == LONG else LONG, like=_short)
ENSEMBLE = "mean of 3 models"
"""Not a practice of training: what distillation could reach, at three times the cost of every answer."""


def open_study(name: str, folder: Path, seed: int, results: dict[str, Any], **settings: Any) -> Study:
    """Load a set, divided by ``seed``, with at most `MOST` training images of a class."""
    changes = {**SETTINGS, "data.unseen": SETS[name], "data.split_seed": seed, **settings}
    if name in sets.GROUPED:
        changes["data.group_by"] = sets.GROUPED[name]
    chosen = results["chosen"]
    if BASELINE in chosen:
        changes.update(ARMS[BASELINE].strengths[chosen[BASELINE]].settings)
    recipe = Recipe().changed(**{"data.source": str(folder / sets.FILES[name]), **changes})
    data = load_data(recipe)
    generator = np.random.default_rng([seed, 14])
    order = generator.permutation(data.splits.train)
    labels = data.pixels.labels[order]
    parts = [order[labels == label][: MOST[name]] for label in np.unique(labels)]
    splits = replace(data.splits, train=np.sort(np.concatenate(parts)))
    return Study(recipe, replace(data, splits=splits), seed, chosen)


def choose(folder: Path, results: dict[str, Any], save: Callable[[], None]) -> None:
    """Choose the strength of each arm that has several by the accuracy on the validation part."""
    study = None
    for arm, described in ARMS.items():
        if arm in results["chosen"] or len(described.strengths) == 1:
            continue
        if study is None or arm != BASELINE:
            study = study or open_study(TUNED_ON, folder, 0, results, **{"data.validation": TUNED_PART})
        scores = {}
        for strength in tqdm(described.strengths, desc=f"choosing: {arm}"):
            model, _ = study.train(arm, strength)
            scores[strength] = study.measure(model, study.data.splits.validation)["accuracy"]
        results["validation"][arm] = scores
        results["chosen"][arm] = max(scores, key=lambda strength: scores[strength])
        if arm == BASELINE:
            study = None
        save()


def measured(study: Study, arm: str) -> dict[str, Any]:
    """Return what an arm reached on the test part, with its CPU seconds and those of the models that it needs."""
    test = study.data.splits.test
    if arm == ENSEMBLE:
        models = [study.model(*key) for key in ALL_TEACHERS]
        answers = [ensemble([model for model, _ in models], images) for images in study.images(test)]
        joined = np.concatenate([
            embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
            for embeddings in (study.embed(model, None) for model, _ in models)
        ], axis=1)  # fmt: skip
        row: dict[str, Any] = {
            "accuracy": study.accuracy(torch.cat(answers).numpy(), test),
            "recall": study.recall(joined),
        }
        row["single"] = [study.measure(model, test)["accuracy"] for model, _ in models]
        return {**row, "seconds": sum(seconds for _, seconds in models), "before": 0.0}
    before = sum(study.model(*key)[1] for key in ARMS[arm].before)
    model, seconds = study.model(arm)
    row = {**study.measure(model, test), "seconds": seconds, "before": before}
    if arm.startswith(NOISY) and ARMS[arm].before:
        kept = ARMS[arm].strengths[""].data(study).splits.train
        wrong = study.noisy.pixels.labels != study.data.pixels.labels
        row["wrong_kept"] = float(wrong[kept].sum() / wrong.sum())
    return row


def against(arm: str) -> str:
    return BASELINE if arm == ENSEMBLE else ARMS[arm].against


def table(rows: list[dict[str, Any]]) -> str:
    """Return the comparison of all arms as Markdown."""
    lines = []
    for number, title in (("accuracy", "Accuracy, seen classes"), ("recall", "Recall@1, unseen classes")):
        lines += [f"\n{title}\n", f"| arm | {' | '.join(SETS)} | CPU seconds |", "|---" * (len(SETS) + 2) + "|"]
        for arm in [*ARMS, ENSEMBLE]:
            cells = [_cell(rows, name, arm, number) for name in SETS]
            lines.append(f"| {arm} | {' | '.join(cells)} | {_cost(rows, arm)} |")
    return "\n".join(lines)


def _values(rows: list[dict[str, Any]], name: str, arm: str, number: str) -> dict[int, float]:
    return {row["seed"]: row[number] for row in rows if (row["set"], row["arm"]) == (name, arm)}


def _cell(rows: list[dict[str, Any]], name: str, arm: str, number: str) -> str:
    values = _values(rows, name, arm, number)
    if not values:
        return "not measured"
    other = _values(rows, name, against(arm), number)
    if not other:
        return f"{np.mean(list(values.values())):.3f} ({len(values)} seeds)"
    differences = [values[seed] - other[seed] for seed in values if seed in other]
    if len(differences) < FEWEST:
        return f"{np.mean(differences):+.3f}, {len(differences)} seed{'s' * (len(differences) != 1)}"
    interval = t_interval(differences)
    low, high = interval.mean - interval.half_width, interval.mean + interval.half_width
    verdict = "**helps**" if low > 0 else "**hurts**" if high < 0 else "too close to tell"
    return f"{interval.mean:+.3f} ± {interval.half_width:.3f}: {verdict}"


def _cost(rows: list[dict[str, Any]], arm: str) -> str:
    """Return the median ratio of CPU seconds to those of the arm compared with, without and with the models before."""
    if against(arm) == "":
        return "1"
    ratios = []
    for name in SETS:
        own, before = (_values(rows, name, arm, number) for number in ("seconds", "before"))
        other = _values(rows, name, against(arm), "seconds")
        ratios += [(own[seed] / other[seed], (own[seed] + before[seed]) / other[seed]) for seed in own if seed in other]
    if not ratios:
        return ""
    alone, together = np.median(ratios, axis=0)
    return f"× {alone:.2f}" + (f", with the models before × {together:.1f}" if together > alone else "")


def warm_up(folder: Path, results: dict[str, Any]) -> None:
    """Train for an epoch, as the first training of a process pays for what is prepared once."""
    study = open_study("gtsrb", folder, 0, results, **{"training.epochs": 1})
    trained(make_plan(study.recipe, study.data), Practice())


def main() -> None:
    """Choose strengths, train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--arms", nargs="+", help="train these arms only")
    args = parser.parse_args()
    torch.set_num_threads(1)
    path = HERE / "practices.json"
    results: dict[str, Any] = {"chosen": {}, "validation": {}, "rows": []}
    if path.is_file():
        results = json.loads(path.read_text())

    def save() -> None:
        path.write_text(json.dumps(results, indent=0) + "\n")

    if not args.table:
        warm_up(args.data, results)
        choose(args.data, results, save)
        rows = results["rows"]
        done = {(row["set"], row["arm"], row["seed"]) for row in rows}
        short = [arm for arm in (*ARMS, ENSEMBLE) if arm not in LONG_ARMS]
        for arms, seeds in itertools.product((short, LONG_ARMS), (SEEDS, MORE_SEEDS)):
            for seed, name in itertools.product(seeds, SETS):
                wanted = [arm for arm in arms if args.arms is None or arm in args.arms]
                missing = [arm for arm in wanted if (name, arm, seed) not in done]
                study = open_study(name, args.data, seed, results) if missing else None
                for arm in tqdm(missing, desc=f"{name}, seed {seed}"):
                    if study is not None:
                        rows.append({"set": name, "seed": seed, "arm": arm, **measured(study, arm)})
                        save()
    print(table(results["rows"]))


if __name__ == "__main__":
    main()
