"""System D's problem on a laptop: train a tiled head with one class per character that has three designs.

    python benchmarks/landmark_scale/render.py --out characters.npz
    python benchmarks/landmark_scale/run.py characters.npz --out runs/characters
    torchrun --nproc-per-node 2 benchmarks/landmark_scale/run.py characters.npz --out runs/divided --head sharded

One design of each class is held out. The script reports the parts of a step, memory, accuracy on the held-out design,
and GAP with unseen characters among the queries.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import date
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from steradian import Recognizer
from steradian.data.pixels import PixelSet
from steradian.data.preprocessing import Preprocessing, statistics
from steradian.data.splits import Splits
from steradian.losses import MarginSoftmaxLoss
from steradian.losses.cosines import unit_rows
from steradian.training import Recipe, RunFolder, TrainingData, make_plan, train
from steradian.training.distributed import is_rank_zero, process_group, world_size
from steradian.training.loop import train_step
from steradian.training.progress import Progress
from steradian.training.resources import environment, peak_memory_bytes
from steradian.training.run import start

DISTRACTORS = 20_000


def load(path: Path) -> tuple[TrainingData, NDArray[np.uint8]]:
    """Return the classes with their splits, and pictures of reserved characters."""
    with np.load(path) as file:
        pixels, codes, reserved = file["pixels"], file["codes"], file["reserved"]
    unseen = pixels[reserved]
    unseen = unseen[np.random.default_rng(0).permutation(len(unseen))[:DISTRACTORS]]
    pixels, codes = pixels[~reserved], codes[~reserved]
    classes, labels, counts = np.unique(codes, return_inverse=True, return_counts=True)
    # Images of a class are contiguous; hold out design number (c mod count) of class c.
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    held_out = first + np.arange(len(classes)) % counts
    training = np.setdiff1d(np.arange(len(codes)), held_out)
    names = tuple(f"U+{code:04X}" for code in classes)
    content = PixelSet(str(path), pixels, labels.astype(np.int64), names, None, tuple(names[label] for label in labels))
    mean, std = statistics(pixels, training[:: max(1, len(training) // 20_000)])
    validation = held_out[:: max(1, len(held_out) // 4000)]
    splits = Splits(training, validation, np.empty(0, dtype=np.int64), held_out)
    return TrainingData(content, splits, content.digest(), Preprocessing(32, 1, mean, std)), unseen


def parts_of_a_step(recipe: Recipe, prepared: TrainingData) -> dict[str, float]:
    """Return the milliseconds of the parts of a training step, medians of ten."""
    plan = make_plan(recipe, prepared)
    state, batches = start(plan), plan.batches(prepared.splits.train)
    epoch = batches.epoch(0)
    state.model.train()
    head = state.model.head
    times: dict[str, list[float]] = {"images": [], "encoder": [], "head": [], "step": []}
    for _ in range(12):
        batch = next(epoch)
        begin = time.perf_counter()
        images, labels = batches.images(batch), batches.labels(batch)
        decoded = time.perf_counter()
        embeddings = state.model(images)
        embeddings.backward(torch.zeros_like(embeddings))
        encoded = time.perf_counter()
        head(embeddings.detach().requires_grad_(), labels).backward()
        headed = time.perf_counter()
        train_step(state, recipe.training, batches, batch, 0.5, 0.5)
        stepped = time.perf_counter()
        times["images"].append(decoded - begin)
        times["encoder"].append(encoded - decoded)
        times["head"].append(headed - encoded)
        times["step"].append(stepped - headed)
    return {name: 1e3 * float(np.median(values[2:])) for name, values in times.items()}


@torch.no_grad()
def nearest(embeddings: torch.Tensor, centers: torch.Tensor, block: int = 512) -> tuple[torch.Tensor, torch.Tensor]:
    """Return cosine and index of the nearest center of each embedding."""
    centers = unit_rows(centers)
    best = [(part @ centers.T).max(dim=1) for part in embeddings.split(block)]
    return torch.cat([f.values for f in best]), torch.cat([f.indices for f in best])


def gap(confidence: NDArray[np.float32], correct: NDArray[np.bool_], queries: int) -> float:
    """Return the global average precision: the sum of the precision at each correct answer, by falling confidence, over
    the number of queries that have an answer."""
    hits = correct[np.argsort(-confidence, kind="stable")]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float((precision * hits).sum() / queries)


def measure(model: Recognizer, prepared: TrainingData, unseen: NDArray[np.uint8]) -> dict[str, float]:
    """Return accuracy on the held-out designs, and GAP with unseen characters."""
    held_out = prepared.splits.test
    seen = torch.from_numpy(model.embed(torch.from_numpy(prepared.pixels.pixels[held_out])))
    others = torch.from_numpy(model.embed(torch.from_numpy(unseen)))
    centers = model.head.weight.detach()
    score, prediction = nearest(seen, centers)
    other_score, _ = nearest(others, centers)
    correct = (prediction.numpy() == prepared.pixels.labels[held_out]).astype(bool)
    all_scores = np.concatenate([score.numpy(), other_score.numpy()])
    all_correct = np.concatenate([correct, np.zeros(len(others), dtype=bool)])
    return {
        "queries": len(correct),
        "unseen": len(others),
        "accuracy": float(correct.mean()),
        "gap_without_unseen": gap(score.numpy(), correct, len(correct)),
        "gap": gap(all_scores, all_correct, len(correct)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--steps-only", action="store_true", help="time the parts of a step without training")
    parser.add_argument("--head", default="auto")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a setting of the recipe"
    )
    args = parser.parse_args()
    overrides = {key: json.loads(value) for key, _, value in (item.partition("=") for item in args.set)}
    recipe = Recipe().changed(
        **{
            "embedding_size": 128,
            "loss.options": {"head": args.head, **overrides.pop("loss.options", {})},
            "training.epochs": args.epochs,
            "training.batch_size": 256,
            "training.deterministic": False,
            "views.rotation": 4.0,
            "views.shear": 0.08,
            "views.until": 1.0,
            **overrides,
        }
    )
    with process_group():
        prepared, unseen = load(args.data)
        record: dict[str, object] = {"date": date.today().isoformat(), "processes": world_size(), **environment()}
        record |= {"classes": len(prepared.pixels.classes), "images": len(prepared.splits.train)}
        record["data"] = prepared.digest
        record["milliseconds"] = parts_of_a_step(recipe, prepared) if world_size() == 1 else {}
        if args.steps_only:
            print(json.dumps(record, indent=2))
            return
        begin = time.perf_counter()
        with Progress(0, "training", quiet=not is_rank_zero()) as progress:
            trained = train(make_plan(recipe, prepared), RunFolder(args.out), on_batch=progress.at)
        record["minutes"] = (time.perf_counter() - begin) / 60.0
        record["peak_memory_mib"] = peak_memory_bytes() / 2**20
        if not is_rank_zero():
            return
        head = trained.model.head
        assert isinstance(head, MarginSoftmaxLoss)
        record["plan"] = str(head.plan(256))
        record["history"] = trained.history
        trained.model.save(args.out / "model")
        record |= measure(trained.model, prepared, unseen)
        (args.out / "result.json").write_text(json.dumps(record, indent=2) + "\n")
        print(json.dumps({key: value for key, value in record.items() if key != "history"}, indent=2))


if __name__ == "__main__":
    main()
