"""Time exact search of a gallery against the bare product and FAISS: median milliseconds of alternating rounds.

    python benchmarks/recognition/search.py --count 1000000 --record benchmarks/recognition/search.json

FAISS is optional; without it its columns are left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from steradian.gallery.search.exact import ROWS, SCORES, top
from steradian.training.resources import environment

D = 128
DEFAULT = 128_000
"""Default threshold of faiss 1.15: batches of fewer queries never use BLAS."""


def product(vectors: np.ndarray, queries: np.ndarray) -> float:
    """Compute all scores in the same tiles and discard them."""
    step, transposed = min(SCORES // len(queries), ROWS), np.ascontiguousarray(queries.T)
    checksum = 0.0
    for start in range(0, len(vectors), step):
        checksum += float((vectors[start : start + step] @ transposed)[0, 0])
    return checksum


def in_turns(tasks: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median milliseconds of each task; the tasks alternate in every round."""
    spent: dict[str, list[float]] = {name: [] for name in tasks}
    for task in tasks.values():
        task()
    for _ in range(rounds):
        for name, task in tasks.items():
            began = time.perf_counter()
            task()
            spent[name].append(1000 * (time.perf_counter() - began))
    return {name: round(statistics.median(values), 2) for name, values in spent.items()}


def by_faiss(faiss: Any, vectors: np.ndarray, queries: np.ndarray, k: int) -> dict[str, Callable[[], object]]:
    """Return searches of the flat index with the default threshold, and with BLAS for batches of 20 and more."""
    index = faiss.IndexFlatIP(D)
    index.add(vectors)

    def search(threshold: int) -> object:
        faiss.cvar.distance_compute_blas_threshold = threshold
        return index.search(queries, k)

    return {f"faiss, threshold {DEFAULT}": lambda: search(DEFAULT), "faiss, threshold 20": lambda: search(20)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--record", type=Path)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(args.count // 10, D)).astype(np.float32)
    vectors = np.repeat(centers, 10, axis=0)
    vectors += 0.5 * rng.normal(size=vectors.shape).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    record: dict[str, object] = {**environment(), "count": len(vectors), "dimensions": D}
    for batch, k in ((1, 5), (1, 20), (64, 5), (64, 20)):
        queries = vectors[rng.choice(len(vectors), batch)] + 0.05 * rng.normal(size=(batch, D)).astype(np.float32)
        tasks: dict[str, Callable[[], object]] = {
            "product": lambda queries=queries: product(vectors, queries),
            "search": lambda queries=queries, k=k: top(vectors, queries, k),
        }
        if importlib.util.find_spec("faiss") is not None:
            import faiss

            tasks |= by_faiss(faiss, vectors, queries, k)
        record[f"batch {batch}, the {k} nearest, ms"] = in_turns(tasks, args.rounds)
        rows = top(vectors, queries, k)[1]
        scores = queries @ vectors.T
        assert np.array_equal(np.sort(rows[:, 0]), np.sort(scores.argmax(axis=1)))
    print(json.dumps(record, indent=2))
    if args.record is not None:
        args.record.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
