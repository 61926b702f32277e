"""Move layers between vehicles and animals, beside mixed halves of the same classes; then to small targets.

    python benchmarks/transfer/halves.py --omniglot omniglot_background_28.npz --cifar10 cifar10_jpg.zip --out data
    python benchmarks/transfer/unlike.py --data data/cifar10 --seeds 3
    python benchmarks/transfer/unlike.py

The first run trains the networks that unlike.json lacks; without --data it only prints the tables.
Half A has four classes, half B six. "unlike": the four vehicles against the six animals. "mixed": two vehicles and two
animals, drawn by the seed, against the others. Every target is tried in both directions.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from steradian.metrics import t_interval
from steradian.studies.evaluation.inputs import embed_pixels
from steradian.studies.transferability.halves import HALVES, halves_of, of_classes
from steradian.studies.transferability.networks import train_network
from steradian.studies.transferability.result import TransferSpec
from steradian.studies.transferability.transfer import default_recipe
from steradian.training import Recipe, TrainingData, load_data
from steradian.training.resources import environment

RESULTS = Path(__file__).with_name("unlike.json")
VEHICLES = ("airplane", "automobile", "ship", "truck")
ANIMALS = ("bird", "cat", "deer", "dog", "frog", "horse")
KINDS = ("unlike", "mixed")
CLASSES = {"A": 4, "B": 6}

LAYERS, LAST = (3, 5, 7), 7
"""Numbers of frozen layers, of seven below the classifier's own; small targets get all seven."""
SIZES = (5, 10, 20, 50, 100)
"""Training images per class of a small target."""
SMALL_BATCH, SMALL_STEPS, SMALL_PASSES = 20, 200, 20
"""A small target is trained for so many steps and so many passes over its images at least."""
GENTLE = 0.5
"""Factor on the learning rate from each layer to the one below, for tuning that changes early layers little."""
SETTINGS: dict[str, Any] = {
    "data.image_size": 24, "data.validation": 0.0, "training.batch_size": 64, "training.epochs": 10,
}  # fmt: skip

Row = dict[str, Any]
Key = tuple[int, str]
"""Seed and target half."""


def half_a(kind: str, seed: int) -> tuple[str, ...]:
    """Return the four classes of half A."""
    if kind == "unlike":
        return VEHICLES
    generator = np.random.default_rng(seed)
    return tuple(sorted(str(name) for names in (VEHICLES, ANIMALS) for name in generator.choice(names, 2, False)))


def networks(seed: int, half: tuple[str, ...], recipe: Recipe) -> Iterator[tuple[str, int | None, TransferSpec]]:
    """Yield the networks of one pair of halves: the arm, training images per class (None: all), and the settings."""
    for target in HALVES:
        yield "base", None, TransferSpec(seed, target, "base", 0, None, half, recipe)
    for target in HALVES:
        for layers in LAYERS:
            yield "AnB", None, TransferSpec(seed, target, "AnB", layers, None, half, recipe)
        yield "BnB", None, TransferSpec(seed, target, "BnB", LAST, None, half, recipe)
        for size in SIZES:
            images = size * CLASSES[target]
            passes = max(SMALL_PASSES, -(-SMALL_STEPS * SMALL_BATCH // images))
            small = recipe.changed(**{"training.batch_size": SMALL_BATCH, "training.epochs": passes})
            gentle = small.changed(**{"training.layer_decay": GENTLE})
            yield "base", size, TransferSpec(seed, target, "base", 0, images, half, small)
            yield "AnB", size, TransferSpec(seed, target, "AnB", LAST, images, half, small)
            yield "AnB+", size, TransferSpec(seed, target, "AnB+", LAST, images, half, small)
            yield "AnB+ gentle", size, TransferSpec(seed, target, "AnB+", LAST, images, half, gentle)


def base_of(spec: TransferSpec, recipe: Recipe) -> TransferSpec:
    """Return the base that ``spec`` takes its layers from, which learns all images by ``recipe``."""
    target = spec.target if spec.arm.startswith("BnB") else HALVES[1 - HALVES.index(spec.target)]
    return replace(spec, target=target, arm="base", layers=0, images=None, recipe=recipe)


def measured(arm: str, spec: TransferSpec, data: TrainingData, cells: Path) -> Row:
    """Train one network and return its accuracies on test and training images, and its CPU seconds."""
    started = time.process_time()
    classes = halves_of(data.pixels.classes, spec.seed, spec.half)[spec.target]
    half_data = of_classes(data, classes, spec.images, spec.seed)
    folder = cells / (spec.name + arm.removeprefix(spec.arm).replace(" ", "-"))
    model = train_network(spec.trained_by(cells), half_data, folder, "unlike.py", lambda steps: None)
    splits = half_data.splits
    test, train = (embed_pixels(model, half_data.pixels, part).right.mean() for part in (splits.test, splits.train))
    numbers = {"accuracy": round(float(test), 4), "train_accuracy": round(float(train), 4)}
    counts = {"test_images": len(splits.test), "train_images": len(splits.train)}
    return {**numbers, **counts, "cpu_seconds": round(time.process_time() - started, 1)}


def train_missing(source: str, seeds: int, cells: Path, sizes: Sequence[int]) -> None:
    """Train what `RESULTS` lacks, on whole targets and small ones of ``sizes``, and write each result as it comes."""
    record: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {"rows": []}
    rows: list[Row] = record["rows"]
    names = ("kind", "seed", "target", "arm", "layers", "per_class")
    done = {tuple(row[name] for name in names) for row in rows}
    recipe = default_recipe().changed(**{"data.source": source, **SETTINGS})
    data = load_data(recipe)
    # Half of the test images, which measuring hundreds of networks would otherwise spend a third of the time on.
    data = replace(data, splits=replace(data.splits, test=data.splits.test[::2]))
    jobs = [
        (kind, arm, size, spec)
        for seed in range(seeds)
        for kind in KINDS
        for arm, size, spec in networks(seed, half_a(kind, seed), recipe)
        if size is None or size in sizes
    ]
    # Whole targets before small ones, so that a run that is stopped has finished the first question.
    for kind, arm, size, spec in sorted(jobs, key=lambda job: job[2] or 0):
        key = (kind, spec.seed, spec.target, arm, spec.layers, size)
        if key not in done:
            if spec.source is not None and not (cells / kind / spec.source / "model").exists():
                measured("base", base_of(spec, recipe), data, cells / kind)
            row = dict(zip(names, key, strict=True))
            rows.append({**row, "half_a": list(spec.half), **measured(arm, spec, data, cells / kind)})
            lines = ",\n".join(json.dumps(one) for one in rows)
            made = json.dumps({**environment(), "digest": data.digest})
            RESULTS.write_text(f'{{"made": {made}, "rows": [\n{lines}\n]}}\n')


def accuracies(
    rows: list[Row], kind: str, arm: str, layers: int, size: int | None, part: str = "accuracy"
) -> dict[Key, float]:
    """Map seed and target half to the accuracy of an arm, on test images or another ``part``."""
    wanted = (kind, arm, layers, size)
    return {
        (row["seed"], row["target"]): row[part]
        for row in rows
        if (row["kind"], row["arm"], row["layers"], row["per_class"]) == wanted
    }


def minus(first: dict[Key, float], second: dict[Key, float]) -> dict[Key, float]:
    """Return differences of the same seed and target half."""
    return {key: first[key] - second[key] for key in sorted(first.keys() & second.keys())}


def above_chance_lost(moved: dict[Key, float], base: dict[Key, float]) -> dict[Key, float]:
    """Return the share of the base's accuracy above chance that the moved layers lose."""
    return {key: (base[key] - moved[key]) / (base[key] - 1 / CLASSES[key[1]]) for key in moved.keys() & base.keys()}


def described(values: dict[Key, float]) -> str:
    """Return the mean with half its 95 % interval over pairs of seed and target half, and, in brackets, over seeds.

    Bold if neither interval holds 0. The two directions of a seed share their base networks, so the first interval may
    be too short.
    """
    pairs = t_interval(list(values.values()))
    by_seed = [
        [values[seed, target] for target in HALVES]
        for seed in sorted({seed for seed, _ in values})
        if all((seed, target) in values for target in HALVES)
    ]
    if len(by_seed) < 2:
        return f"{pairs.mean:+.3f}"
    seeds = t_interval([float(np.mean(both)) for both in by_seed])
    text = f"{pairs.mean:+.3f} ± {pairs.half_width:.3f} ({seeds.half_width:.3f})"
    return f"**{text}**" if pairs.excludes_zero and seeds.excludes_zero else text


def whole_targets(rows: list[Row]) -> Iterator[str]:
    """Yield the lines of the table of frozen layers on whole targets."""
    arms = [("base", 0), *(("AnB", layers) for layers in LAYERS), ("BnB", LAST)]
    found = {(kind, *arm): accuracies(rows, kind, *arm, None) for kind in KINDS for arm in arms}
    yield "| | unlike | mixed | unlike − mixed |"
    yield "|---" * 4 + "|"
    bases = [f"{np.mean(list(found[kind, 'base', 0].values())):.3f}" for kind in KINDS]
    yield f"| base | {' | '.join(bases)} | |"
    compared = [(*arm, *arms[0]) for arm in arms[1:]] + [("AnB", LAST, "BnB", LAST)]
    for arm, layers, other, other_layers in compared:
        unlike, mixed = (minus(found[kind, arm, layers], found[kind, other, other_layers]) for kind in KINDS)
        cells = [described(values) for values in (unlike, mixed, minus(unlike, mixed))]
        yield f"| {arm} − {other}, n = {layers} | {' | '.join(cells)} |"
    unlike, mixed = (above_chance_lost(found[kind, "AnB", LAST], found[kind, "base", 0]) for kind in KINDS)
    cells = [described(values) for values in (unlike, mixed, minus(unlike, mixed))]
    yield f"| share above chance that AnB loses, n = {LAST} | {' | '.join(cells)} |"


def small_targets(rows: list[Row]) -> Iterator[str]:
    """Yield the lines of the table of small targets: accuracies on test (and training) images, and differences."""
    arms = {"scratch": ("base", 0), "frozen": ("AnB", LAST), "tuned": ("AnB+", LAST), "gentle": ("AnB+ gentle", LAST)}
    others = [name for name in arms if name != "frozen"]
    columns = ["halves, images per class", *arms, *(f"frozen − {name}" for name in others)]
    yield f"| {' | '.join(columns)} |"
    yield "|---" * len(columns) + "|"
    for kind in KINDS:
        for size in SIZES:
            found = {name: accuracies(rows, kind, *arm, size) for name, arm in arms.items()}
            trained = {name: accuracies(rows, kind, *arm, size, "train_accuracy") for name, arm in arms.items()}
            pairs = sorted(set.intersection(*(set(values) for values in found.values())))
            if not pairs:
                continue
            found = {name: {pair: values[pair] for pair in pairs} for name, values in found.items()}
            means = [[np.mean([part[name][pair] for pair in pairs]) for part in (found, trained)] for name in arms]
            cells = [f"{test:.3f} ({train:.2f})" for test, train in means]
            cells += [described(minus(found["frozen"], found[name])) for name in others]
            yield f"| {kind}, {size} ({len(pairs)} pairs) | {' | '.join(cells)} |"


def main() -> None:
    """Train what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder that halves.py wrote")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, choices=SIZES, help="small targets to train")
    parser.add_argument("--cells", type=Path, default=Path("runs/unlike"))
    args = parser.parse_args()
    if args.data is not None:
        torch.set_num_threads(1)
        train_missing(args.data, args.seeds, args.cells, args.sizes)
    rows = json.loads(RESULTS.read_text())["rows"]
    print("\n".join([*whole_targets(rows), "", *small_targets(rows)]))


if __name__ == "__main__":
    main()
