"""Metrics at size against the bare matrix products they need, and against pytorch-metric-learning.

    python benchmarks/metrics/run.py --out benchmarks/metrics/result.json
    python benchmarks/metrics/run.py --only crowd --share 0.1

Each case runs in a process of its own, so that its peak memory is its own; times are taken in turns.
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
    """Median seconds of each."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(seconds(call))
    return {name: round(statistics.median(found), 3) for name, found in times.items()}


def resident_bytes() -> int:
    """What the process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def people(count: int, size: int, each: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of ``each`` images a person, with more noise than signal."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) // each
    centers = generator.standard_normal((labels[-1] + 1, size), dtype=np.float32)
    return centers[labels] + 1.3 * generator.standard_normal((count, size), dtype=np.float32), labels


def products(queries: torch.Tensor, references: torch.Tensor, triangle: bool = False) -> None:
    """The bare products, in tiles; of a triangle only what lies right of the diagonal."""
    memory = torch.empty(1024, 8192)
    for top in range(0, len(queries), 1024):
        block = queries[top : top + 1024]
        for left in range(top if triangle else 0, len(references), 8192):
            part = references[left : left + 8192]
            torch.mm(block, part.T, out=memory.view(-1)[: len(block) * len(part)].view(len(block), len(part)))


def sorting(share: float) -> Record:
    """All pairs of 20,000 embeddings, in tiles and by sorting every score."""
    x, y = people(int(20_000 * share), 128, 5, seed=1)
    scores = metrics.pair_scores(x, y, max_items=len(x))
    rows = []
    for found in metrics.verify_all_pairs(x, y, FARS, curve=False).accepted:
        exact = metrics.tar_at_far(scores, found.far)
        rows.append([found.far, found.tar, exact.tar, found.threshold, exact.threshold])
    return {"far, tar in tiles, tar by sorting, threshold in tiles, threshold by sorting": rows}


def verification(share: float) -> Record:
    """All pairs of 100,000 embeddings."""
    x, y = people(int(100_000 * share), 128, 5)
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
    """Recall@1 and MAP@R of 120,000 x 128, and of half of them beside pytorch-metric-learning, which needs N x N."""
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    x, y = people(int(120_000 * share), 128, 5)
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
    """Rank 1 of 10,000 probes against 1,000,000 strangers."""
    x, y = people(10_000, 128, 5)
    strangers = np.random.default_rng(2).standard_normal((int(1_000_000 * share), 128), dtype=np.float32)
    unit, others = (torch.nn.functional.normalize(torch.from_numpy(found)) for found in (x, strangers))
    times = in_turns(
        {
            "bare products": lambda: products(unit, others),
            "ours": lambda: metrics.rank_1_in_crowds(x, y, strangers),
        },
        3,
    )
    return {"rank_1": metrics.rank_1_in_crowds(x, y, strangers), "seconds": times}


def closed(share: float) -> Record:
    """Every closed-set number of 50,000 images x 1,000 classes from scores."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 1000, int(50_000 * share))
    logits = generator.standard_normal((len(labels), 1000), dtype=np.float32)
    logits[np.arange(len(labels)), labels] += 3.0
    answers: Record = {}

    def measure() -> None:
        found = metrics.closed_set(logits, labels)
        counts = found.confusion.per_class()
        chances = metrics.softmax(logits)
        answers.update(
            accuracy=found.confusion.accuracy,
            balanced_accuracy=found.confusion.balanced_accuracy,
            top_5=found.top_k(5),
            averages={how: counts.average(how)._asdict() for how in ("macro", "micro", "weighted")},
            auc=[found.macro.auc, found.micro.auc],
            average_precision=[found.macro.average_precision, found.micro.average_precision],
            confused=len(found.confusion.most_confused()),
            calibration=[metrics.expected_calibration_error(chances, labels, binning=by) for by in ("width", "mass")],
            brier=metrics.brier_score(chances, labels),
            likelihood=metrics.negative_log_likelihood(logits, labels),
        )

    took = in_turns({"every number": measure}, 3)
    return {"answers": answers, "seconds": took, "peak_mib": round(peak_memory_bytes() / 2**20)}


CASES = {"sorting": sorting, "verification": verification, "retrieval": retrieval, "crowd": crowd, "closed": closed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(CASES))
    parser.add_argument("--share", type=float, default=1.0, help="of the items")
    parser.add_argument("--one", help="run this case here")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(CASES[chosen.one](chosen.share)))
        return
    record = {"share": chosen.share, **environment()}
    for name in chosen.only.split(","):
        command = [sys.executable, "-W", "ignore", __file__, "--one", name, "--share", str(chosen.share)]
        said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        record[name] = json.loads(said.splitlines()[-1])
        print(name, json.dumps(record[name], indent=2), flush=True)
        if chosen.out is not None:
            chosen.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
