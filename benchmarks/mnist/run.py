"""Measure k-means accuracy of 2-D and 3-D embeddings of MNIST, three seeds: python benchmarks/mnist/run.py --root DIR

DIR holds 10,000 images as one .npz (or MNIST in torchvision's layout). It runs the command of the README; a
second call resumes where the first stopped. Results are copied beside this file.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from steradian.metrics import t_interval

HERE = Path(__file__).parent


def table(rows: list[dict[str, str]]) -> str:
    """Return a Markdown table: technique, then mean, interval and seeds for each number of dimensions."""
    accuracies: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        accuracies[row["loss"]][row["dims"]].append(float(row["clustering.majority"]))
    lines = ["| technique | 2-D mean ± | 2-D seeds | 3-D mean ± | 3-D seeds |", "|---|---|---|---|---|"]
    for name, dims in accuracies.items():
        cells = []
        for size in ("2", "3"):
            interval = t_interval(dims[size])
            cells += [f"{interval.mean:.4f} ± {interval.half_width:.4f}", " ".join(f"{v:.4f}" for v in dims[size])]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True)
    parser.add_argument("--out", default="runs/mnist")
    args = parser.parse_args()
    options = ["--seeds", "3", "--epochs", "50", "--set", "data.validation=0"]
    command = ["compare", "mnist", "--root", args.root, *options, "--out", args.out]
    subprocess.run([sys.executable, "-m", "steradian", *command], check=True)
    shutil.copy(Path(args.out) / "results.csv", HERE / "results.csv")
    print(table(list(csv.DictReader((HERE / "results.csv").read_text().splitlines()))))


if __name__ == "__main__":
    main()
