"""Time a gallery of a million: opening, enrolling in bulk and one by one, approximate search, and a cold start.

    python benchmarks/recognition/gallery.py --record benchmarks/recognition/gallery.json
    python benchmarks/recognition/gallery.py --count 20000 --parts durable,cold

Vectors are clustered: ten images around each identity. The two sides of every ratio alternate.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from steradian import Recognizer
from steradian.gallery import Gallery
from steradian.gallery.backends.sqlite import SqliteBackend
from steradian.gallery.register import Register
from steradian.gallery.search.faiss_index import index_file
from steradian.models.export import export
from steradian.training.resources import environment

MODEL, IMAGES = "m" * 64, 10
PARTS = ("bulk", "open", "ann", "durable", "cold")


def clustered(count: int, dimensions: int, seed: int = 0) -> np.ndarray:
    """Return unit vectors float32 [count, D], `IMAGES` around each center at a cosine of about .7 to it."""
    generator = np.random.default_rng(seed)
    centers = generator.normal(size=(-(-count // IMAGES), dimensions)).astype(np.float32)
    vectors = np.repeat(centers, IMAGES, axis=0)[:count]
    vectors += generator.normal(size=vectors.shape).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def timed(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def bulk(path: Path, vectors: np.ndarray) -> dict[str, float]:
    """Enroll all vectors, a thousand identities per transaction."""
    backend = SqliteBackend(path, MODEL, vectors.shape[1])
    register = Register(backend)
    step = 1000 * IMAGES

    def work() -> None:
        for start in range(0, len(vectors), step):
            batch = vectors[start : start + step]
            items = [(f"p{(start + row) // IMAGES}", batch[row : row + IMAGES]) for row in range(0, len(batch), IMAGES)]
            register.add_many([(name, rows, [""] * len(rows), None) for name, rows in items])

    seconds = timed(work)
    backend.close()
    return {"seconds": seconds, "per_second": len(vectors) / seconds}


def opening(path: Path) -> dict[str, float]:
    """Time until the first query can be answered; the file is in the system cache."""

    def work() -> None:
        with Gallery.open(path) as gallery:
            gallery.snapshot()

    return {"seconds": statistics.median(timed(work) for _ in range(3))}


def queries_by_kind(vectors: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """Return unit vectors near an enrolled image (at a cosine of .9) and new images of enrolled identities."""
    generator = np.random.default_rng(5)
    noise = generator.normal(size=(2, count, vectors.shape[1])).astype(np.float32) / vectors.shape[1] ** 0.5
    starts = generator.permutation(len(vectors) // IMAGES)[:count] * IMAGES
    centers = np.stack([vectors[start : start + IMAGES].mean(axis=0) for start in starts])
    centers /= np.linalg.norm(centers, axis=1, keepdims=True)
    queries = {"near a picture": vectors[starts] + 0.5 * noise[0], "a new picture": centers + noise[1]}
    return {name: rows / np.linalg.norm(rows, axis=1, keepdims=True) for name, rows in queries.items()}


def approximate(path: Path, count: int = 500) -> dict[str, Any]:
    """Compare each kind of index with exact search, one query at a time: recall of the first image, and speedup."""
    with Gallery.open(path) as gallery:
        queries_of = queries_by_kind(gallery.snapshot().vectors, count)

        def answers() -> dict[str, tuple[np.ndarray, float]]:
            result = {}
            for name, queries in queries_of.items():
                first_images, times = [], []
                for query in queries:
                    started = time.perf_counter()
                    answer = gallery.identify_vectors(query[None], threshold=0.0, top=1)[0]
                    times.append(time.perf_counter() - started)
                    first_images.append(answer.matches[0].image)
                result[name] = np.array(first_images), statistics.median(times)
            return result

        exact = answers()
        record: dict[str, Any] = {"exact_ms": {name: round(1000 * median, 2) for name, (_, median) in exact.items()}}
        for kind in ("hnsw", "sq8"):
            seconds = timed(lambda: gallery.index(kind))  # type: ignore[arg-type] # noqa: B023 - called immediately
            record[kind] = {
                "build_seconds": round(seconds, 1),
                "bytes_an_image": round(index_file(path).stat().st_size / len(gallery.snapshot().ids)),
            }
            gallery.identify_vectors(queries_of["a new picture"][:20], threshold=0.0)
            for name, (first_images, median) in answers().items():
                record[kind][name] = {
                    "ms": round(1000 * median, 3),
                    "times_faster": round(exact[name][1] / median, 1),
                    "recall_at_1": round(float(np.mean(first_images == exact[name][0])), 4),
                }
        return record


def durable(folder: Path, dimensions: int, count: int = 300) -> dict[str, float]:
    """Time durable enrollments one by one against bare commits of as many bytes with the same settings."""
    vectors = clustered(count, dimensions, 3)

    def ours(path: Path) -> None:
        with Gallery(SqliteBackend(path, MODEL, dimensions), None) as gallery:
            for number, vector in enumerate(vectors):
                gallery.enroll_vectors(f"p{number}", vector[None], [""])

    def bare(path: Path) -> None:
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE images (id INTEGER PRIMARY KEY, vector BLOB)")
        for vector in vectors:
            connection.execute("INSERT INTO images (vector) VALUES (?)", (vector.tobytes(),))
        connection.close()

    ratios, rates = [], []
    for turn in range(5):
        seconds = timed(lambda t=turn: ours(folder / f"o{t}.db"))  # type: ignore[misc]
        bare_seconds = timed(lambda t=turn: bare(folder / f"b{t}.db"))  # type: ignore[misc]
        ratios.append(bare_seconds / seconds)
        rates.append(count / seconds)
    return {"of_bare_commits": statistics.median(ratios), "per_second": statistics.median(rates)}


def cold(folder: Path) -> dict[str, float]:
    """Time a cold ``steradian identify`` on 10,000 identities, with and without torch, against its bare imports."""
    model = Recognizer.load("glyphs")
    model.save(folder / "run" / "model")
    vectors = clustered(10_000 * IMAGES, model.embedding_size)
    backend = SqliteBackend(folder / "run" / "gallery.db", model.model_id, model.embedding_size)
    identities = [(f"p{at}", vectors[at * IMAGES : (at + 1) * IMAGES]) for at in range(10_000)]
    Register(backend).add_many([(name, rows, [""] * IMAGES, None) for name, rows in identities])
    backend.close()
    Image.new("L", (60, 60), 255).save(folder / "asked.png")
    command = [sys.executable, "-m", "steradian", "identify", str(folder / "run"), str(folder / "asked.png")]
    loaded = subprocess.run(
        [sys.executable, "-X", "importtime", *command[1:]], capture_output=True, text=True, check=True
    ).stderr
    names = {line.rpartition("|")[2].strip().split(".")[0] for line in loaded.splitlines() if line.startswith("import")}
    modules = sorted(names & {"torch", "torchvision", "timm", "numpy", "PIL", "scipy", "sklearn", "pydantic", "typer"})
    imports = [
        sys.executable,
        "-c",
        f"import {', '.join(modules)}, steradian.gallery.gallery, steradian.models.recognizer",
    ]

    def run(argv: list[str]) -> float:
        return timed(lambda: subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    run(command), run(imports)
    turns = [(run(command), run(imports)) for _ in range(5)]
    export(model, folder / "run" / "onnx", "onnx")
    run(command)
    return {
        "imports": ", ".join(modules),  # type: ignore[dict-item]
        "seconds": statistics.median(seconds for seconds, _ in turns),
        "of_bare_imports": statistics.median(seconds / bare_seconds for seconds, bare_seconds in turns),
        "without_torch_seconds": statistics.median(run(command) for _ in range(5)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--dimensions", type=int, default=128)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--folder", type=Path, help="where to create the galleries (default: a temporary folder)")
    parser.add_argument("--record", type=Path)
    args = parser.parse_args()
    parts, record = args.parts.split(","), {**environment(), "cores": os.cpu_count(), "count": args.count}
    with tempfile.TemporaryDirectory(dir=args.folder) as scratch:
        folder, path = Path(scratch), Path(scratch) / "large.db"
        if {"bulk", "open", "ann"} & set(parts):
            record["bulk"] = bulk(path, clustered(args.count, args.dimensions))
        if "open" in parts:
            record["open"] = opening(path)
        if "ann" in parts:
            record["ann"] = approximate(path)
        if "durable" in parts:
            record["durable"] = durable(folder, args.dimensions)
        if "cold" in parts:
            record["cold"] = cold(folder)
    print(json.dumps(record, indent=2))
    if args.record is not None:
        args.record.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
