"""Compare mining, margin and both (system E) at small scale, with equal budgets and three seeds.

    python benchmarks/sv_softmax/run.py --root DIR

DIR holds cifar10/ (train/<class>/*.jpg and test/<class>/*.jpg in a zip) and omniglot/omniglot_background_28.npz. Closed
set: CIFAR-10 accuracy. Unseen classes: verification of Omniglot characters from ten alphabets left out of training.
All runs use the same small CNN and one thread. A second call resumes where the first stopped.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from steradian import data, losses
from steradian.data.pixels import load_pixels
from steradian.metrics import equal_error_rate, pair_scores, t_interval, tar_at_far
from steradian.studies.comparison.noise import verdicts

HERE = Path(__file__).parent
SCALE = 30.0
TECHNIQUES: dict[str, tuple[str, dict[str, Any]]] = {
    "softmax": ("softmax", {}),
    "normface": ("cocoloss", {"scale": SCALE}),
    "focal": ("focal", {"scale": SCALE}),
    "hm-softmax": ("hm-softmax", {"scale": SCALE}),
    "cosface": ("cosface", {"scale": SCALE}),
    "arcface": ("arcface", {"scale": SCALE}),
    "focal-cosface (naive)": ("focal-cosface", {"scale": SCALE}),
    **{f"sv-softmax t={t}": ("sv-softmax", {"scale": SCALE, "t": t}) for t in (1.05, 1.1, 1.2, 1.4)},
    "sv-cosface": ("sv-cosface", {"scale": SCALE}),
    "sv-arcface": ("sv-arcface", {"scale": SCALE}),
}
EPOCHS = {"cifar10": 8, "omniglot": 15}
BATCH, SIZE, RATE, SHIFT = 128, 64, 2e-3, 3


@dataclass(frozen=True)
class Run:
    task: str
    technique: str
    seed: int

    @property
    def file(self) -> str:
        return f"{self.task}-{self.technique}-{self.seed}.json".replace(" ", "_")


def encoder(channels: int, pixels: int) -> nn.Sequential:
    """Build three convolutions and a linear layer to 64 dimensions."""
    layers: list[nn.Module] = []
    widths = (channels, 16, 32, 64)
    for before, after in itertools.pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        layers += [nn.MaxPool2d(2)]
    side = pixels // 8
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * side * side, SIZE), nn.BatchNorm1d(SIZE))


def cached_cifar(root: Path, cache: Path) -> dict[str, np.ndarray]:
    """Return CIFAR-10, decoded once and cached."""
    file = cache / "cifar10.npz"
    if not file.exists():
        pixels = load_pixels(data.open("cifar10", root / "cifar10"), size=32, channels=3)
        train = np.array([split == "train" for split in pixels.splits])
        np.savez(file, x=pixels.pixels, y=pixels.labels, train=train)
    return dict(np.load(file))


def omniglot(root: Path) -> dict[str, np.ndarray]:
    """Return Omniglot's background set with the alphabet of each image."""
    content = np.load(root / "omniglot" / "omniglot_background_28.npz", allow_pickle=False)
    return {"x": content["x"][:, None], "y": content["y"], "alphabet": content["alphabet"][content["y"]]}


def parts(task: str, root: Path, cache: Path) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return training and test images in [-1, 1] with labels; Omniglot: 20 alphabets to train on, 10 unseen to test."""
    if task == "cifar10":
        content = cached_cifar(root, cache)
        train = content["train"]
        labels = content["y"]
    else:
        content = omniglot(root)
        names = sorted(set(content["alphabet"].tolist()))
        trained = set(np.random.default_rng(0).permutation(names)[:20].tolist())
        train = np.array([name in trained for name in content["alphabet"].tolist()])
        labels = np.unique(content["y"], return_inverse=True)[1]
        labels[train] = np.unique(labels[train], return_inverse=True)[1]
    x = torch.from_numpy(content["x"]).float().div_(127.5).sub_(1.0).contiguous(memory_format=torch.channels_last)
    y = torch.from_numpy(labels.astype(np.int64))
    is_train = torch.from_numpy(train)
    return x[is_train], y[is_train], x[~is_train], y[~is_train]


def view(images: Tensor, generator: torch.Generator, flip: bool) -> Tensor:
    """Shift the batch, and mirror half of its images if ``flip``."""
    shift = torch.randint(-SHIFT, SHIFT + 1, (2,), generator=generator).tolist()
    images = images.roll(shift, dims=(2, 3))
    if flip:
        mirrored = torch.rand(len(images), generator=generator) < 0.5
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    return images


def run(job: Run, root: Path, out: Path) -> dict[str, Any]:
    """Train one technique and measure it."""
    torch.set_num_threads(1)
    torch.manual_seed(job.seed)
    x, y, test_x, test_y = parts(job.task, root, out)
    name, options = TECHNIQUES[job.technique]
    body = encoder(x.shape[1], x.shape[2]).to(memory_format=torch.channels_last)
    loss = losses.create(name, int(y.max()) + 1, SIZE, **options)
    optimizer = torch.optim.Adam([*body.parameters(), *loss.parameters()], RATE)
    steps = EPOCHS[job.task] * (len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    generator = torch.Generator().manual_seed(job.seed)
    started = time.perf_counter()
    for _ in range(EPOCHS[job.task]):
        order = torch.randperm(len(x), generator=generator)
        for batch in order[: len(x) // BATCH * BATCH].view(-1, BATCH):
            optimizer.zero_grad()
            loss(body(view(x[batch], generator, job.task == "cifar10")), y[batch]).backward()
            optimizer.step()
            schedule.step()
    seconds = time.perf_counter() - started
    body.eval()
    loss.eval()
    with torch.no_grad():
        raw = torch.cat([body(chunk) for chunk in test_x.split(1000)])
    result: dict[str, Any] = {**asdict(job), "seconds": seconds}
    if job.task == "cifar10":
        result["accuracy"] = float((loss.logits(raw).argmax(dim=1) == test_y).float().mean())
    scores = pair_scores(raw.numpy(), test_y.numpy(), max_items=4000)
    result["eer"] = equal_error_rate(scores).far
    result["tar@far=1e-3"] = tar_at_far(scores, 1e-3).tar
    return result


def table(results: list[dict[str, Any]], task: str, key: str, higher: bool) -> str:
    """Tabulate technique, mean with its 95 % interval over seeds, seeds, and standing against the best."""
    values: dict[str, dict[int, float]] = defaultdict(dict)
    for row in results:
        if row["task"] == task:
            values[row["technique"]][row["seed"]] = row[key]
    standing = verdicts(values, higher_is_better=higher)
    lines = [f"| technique | {key} | seeds | standing |", "|---|---|---|---|"]
    for technique in TECHNIQUES:
        if len(values[technique]) > 1:
            interval = t_interval(list(values[technique].values()))
            seeds = " ".join(f"{v:.4f}" for v in values[technique].values())
            verdict = standing[technique].standing
            lines.append(f"| {technique} | {interval.mean:.4f} ± {interval.half_width:.4f} | {seeds} | {verdict} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/sv_softmax"))
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    cached_cifar(args.root, args.out)
    jobs = [Run(task, name, seed) for seed in range(3) for task in EPOCHS for name in TECHNIQUES]
    waiting = [job for job in jobs if not (args.out / job.file).exists()]
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(run, job, args.root, args.out): job for job in waiting}
        for done in tqdm(as_completed(futures), total=len(waiting), unit="run"):
            (args.out / futures[done].file).write_text(json.dumps(done.result()))
    results = [json.loads((args.out / job.file).read_text()) for job in jobs]
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    for task, key, higher in (
        ("cifar10", "accuracy", True),
        ("omniglot", "tar@far=1e-3", True),
        ("omniglot", "eer", False),
    ):
        print(f"\n{task}\n{table(results, task, key, higher)}")
    print(f"\n{sum(row['seconds'] for row in results) / 60:.0f} core minutes of training")


if __name__ == "__main__":
    main()
