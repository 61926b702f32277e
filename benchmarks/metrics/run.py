"""Time metrics on large data against the bare matrix products they need and against pytorch-metric-learning.

    python benchmarks/metrics/run.py --out benchmarks/metrics/result.json
    python benchmarks/metrics/run.py --only crowd --share 0.1

Each case runs in its own process, so that peak memory is measured per case; the timed calls alternate.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from steradian import metrics
from steradian.training.resources import environment, peak_memory_bytes, reset_peak_memory

Record = dict[str, Any]
FARS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def in_turns(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each call."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(seconds(call))
    return {name: round(statistics.median(values), 3) for name, values in times.items()}


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def identity_embeddings(count: int, size: int, each: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return embeddings and labels of ``each`` images per identity, with more noise than signal."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) // each
    centers = generator.standard_normal((labels[-1] + 1, size), dtype=np.float32)
    return centers[labels] + 1.3 * generator.standard_normal((count, size), dtype=np.float32), labels


def products(queries: torch.Tensor, references: torch.Tensor, triangle: bool = False) -> None:
    """Compute the bare products in tiles; with ``triangle`` only those from the diagonal on."""
    memory = torch.empty(1024, 8192)
    for top in range(0, len(queries), 1024):
        block = queries[top : top + 1024]
        for left in range(top if triangle else 0, len(references), 8192):
            part = references[left : left + 8192]
            torch.mm(block, part.T, out=memory.view(-1)[: len(block) * len(part)].view(len(block), len(part)))


def sorting(share: float) -> Record:
    """Compare all pairs of 20,000 embeddings in tiles with sorting every score."""
    x, y = identity_embeddings(int(20_000 * share), 128, 5, seed=1)
    scores = metrics.pair_scores(x, y, max_items=len(x))
    rows = []
    for point in metrics.verify_all_pairs(x, y, FARS, curve=False).accepted:
        exact = metrics.tar_at_far(scores, point.far)
        rows.append([point.far, point.tar, exact.tar, point.threshold, exact.threshold])
    return {"far, tar in tiles, tar by sorting, threshold in tiles, threshold by sorting": rows}


def verification(share: float) -> Record:
    """Time verification over all pairs of 100,000 embeddings."""
    x, y = identity_embeddings(int(100_000 * share), 128, 5)
    unit = torch.nn.functional.normalize(torch.from_numpy(x))
    reset_peak_memory()
    before = resident_bytes()
    metrics.verify_all_pairs(x, y, FARS, curve=False)
    peak = peak_memory_bytes()
    times = in_turns(
        {
            "bare products": lambda: products(unit, unit, triangle=True),
            "TAR at six FARs": lambda: metrics.verify_all_pairs(x, y, FARS, curve=False),
            "and the whole curve": lambda: metrics.verify_all_pairs(x, y, FARS),
        },
        3,
    )
    memory = {"peak_mib": round(peak / 2**20), "added_mib": round((peak - before) / 2**20)}
    return {**memory, "seconds": times}


def retrieval(share: float) -> Record:
    """Time Recall@1 and MAP@R of 120,000 x 128, and half of them against pytorch-metric-learning, which needs N x N."""
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    x, y = identity_embeddings(int(120_000 * share), 128, 5)
    unit, half = torch.nn.functional.normalize(torch.from_numpy(x)), len(x) // 2
    names = {"recall_at_1": "precision_at_1", "map_at_r": "mean_average_precision_at_r", "r_precision": "r_precision"}
    peer = AccuracyCalculator(include=tuple(names.values()), k="max_bin_count", device=torch.device("cpu"))
    answers: Record = {}

    def ours(count: int) -> None:
        answers["ours"] = metrics.retrieval_sums(x[:count], y[:count], ks=(1,)).means()

    def theirs() -> None:
        answers["theirs"] = peer.get_accuracy(unit[:half], torch.from_numpy(y[:half]))

    reset_peak_memory()
    before = resident_bytes()
    ours(len(x))
    added = peak_memory_bytes() - before
    times = in_turns({"bare products": lambda: products(unit, unit), "ours": lambda: ours(len(x))}, 3)
    times |= in_turns({"half: ours": lambda: ours(half), "half: pytorch-metric-learning": theirs}, 3)
    same = {name: [answers["ours"][name], float(answers["theirs"][other])] for name, other in names.items()}
    return {"half: ours, theirs": same, "added_mib": round(added / 2**20), "seconds": times}


def crowd(share: float) -> Record:
    """Time the rank-1 rate of 10,000 probes against 1,000,000 distractors."""
    x, y = identity_embeddings(10_000, 128, 5)
    distractors = np.random.default_rng(2).standard_normal((int(1_000_000 * share), 128), dtype=np.float32)
    unit, unit_distractors = (torch.nn.functional.normalize(torch.from_numpy(vectors)) for vectors in (x, distractors))
    times = in_turns(
        {
            "bare products": lambda: products(unit, unit_distractors),
            "ours": lambda: metrics.rank_1_with_distractors(x, y, distractors),
        },
        3,
    )
    return {"rank_1": metrics.rank_1_with_distractors(x, y, distractors), "seconds": times}


def closed(share: float) -> Record:
    """Time every closed-set metric of 50,000 images x 1,000 classes from logits."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 1000, int(50_000 * share))
    logits = generator.standard_normal((len(labels), 1000), dtype=np.float32)
    logits[np.arange(len(labels)), labels] += 3.0
    answers: Record = {}

    def measure() -> None:
        result = metrics.closed_set(logits, labels)
        counts = result.confusion.per_class()
        probs = metrics.softmax(logits)
        answers.update(
            accuracy=result.confusion.accuracy,
            balanced_accuracy=result.confusion.balanced_accuracy,
            top_5=result.top_k(5),
            averages={how: counts.average(how)._asdict() for how in ("macro", "micro", "weighted")},
            auc=[result.macro.auc, result.micro.auc],
            average_precision=[result.macro.average_precision, result.micro.average_precision],
            confused=len(result.confusion.most_confused()),
            calibration=[metrics.expected_calibration_error(probs, labels, binning=by) for by in ("width", "mass")],
            brier=metrics.brier_score(probs, labels),
            likelihood=metrics.negative_log_likelihood(logits, labels),
        )

    times = in_turns({"every number": measure}, 3)
    return {"answers": answers, "seconds": times, "peak_mib": round(peak_memory_bytes() / 2**20)}


CASES = {"sorting": sorting, "verification": verification, "retrieval": retrieval, "crowd": crowd, "closed": closed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(CASES))
    parser.add_argument("--share", type=float, default=1.0, help="fraction of the items to use")
    parser.add_argument("--one", help="run this case in this process")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(CASES[args.one](args.share)))
        return
    record = {"share": args.share, **environment()}
    for name in args.only.split(","):
        command = [sys.executable, "-W", "ignore", __file__, "--one", name, "--share", str(args.share)]
        output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        record[name] = json.loads(output.splitlines()[-1])
        print(name, json.dumps(record[name], indent=2), flush=True)
        if args.out is not None:
            args.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
