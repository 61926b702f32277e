"""A gallery of a million: opening, enrolling in bulk and one by one, approximate search, and a cold start.

    python benchmarks/recognition/gallery.py --record benchmarks/recognition/gallery.json
    python benchmarks/recognition/gallery.py --count 20000 --parts durable,cold

Vectors are clustered: ten images around each identity. Every ratio is of turns taken one after the other.
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
from steradian.gallery.index import index_file
from steradian.gallery.store import Store
from steradian.models.export import export
from steradian.training.resources import environment

MODEL, IMAGES = "m" * 64, 10
PARTS = ("bulk", "open", "ann", "durable", "cold")


def clustered(count: int, dimensions: int, seed: int = 0) -> np.ndarray:
    """Unit vectors float32 [count, D], `IMAGES` around each center at a cosine of about .7 to it."""
    generator = np.random.default_rng(seed)
    centers = generator.normal(size=(-(-count // IMAGES), dimensions)).astype(np.float32)
    found = np.repeat(centers, IMAGES, axis=0)[:count]
    found += generator.normal(size=found.shape).astype(np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found


def timed(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def bulk(path: Path, vectors: np.ndarray) -> dict[str, float]:
    """Enroll all vectors, a thousand identities a transaction."""
    store = Store(path, MODEL, vectors.shape[1])
    step = 1000 * IMAGES

    def work() -> None:
        for start in range(0, len(vectors), step):
            own = vectors[start : start + step]
            people = [(f"p{(start + at) // IMAGES}", own[at : at + IMAGES]) for at in range(0, len(own), IMAGES)]
            store.add_many([(name, rows, [""] * len(rows), None) for name, rows in people])

    seconds = timed(work)
    store.close()
    return {"seconds": seconds, "per_second": len(vectors) / seconds}


def opening(path: Path) -> dict[str, float]:
    """Until the first question is answered; the file is in the system's cache."""

    def work() -> None:
        with Gallery.open(path) as gallery:
            gallery.memory()

    return {"seconds": statistics.median(timed(work) for _ in range(3))}


def questions(vectors: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """Unit vectors: nearly a picture that is enrolled, at a cosine of .9 to it, and new ones of somebody who is."""
    generator = np.random.default_rng(5)
    noise = generator.normal(size=(2, count, vectors.shape[1])).astype(np.float32) / vectors.shape[1] ** 0.5
    places = generator.permutation(len(vectors) // IMAGES)[:count] * IMAGES
    centers = np.stack([vectors[place : place + IMAGES].mean(axis=0) for place in places])
    centers /= np.linalg.norm(centers, axis=1, keepdims=True)
    asked = {"near a picture": vectors[places] + 0.5 * noise[0], "a new picture": centers + noise[1]}
    return {name: rows / np.linalg.norm(rows, axis=1, keepdims=True) for name, rows in asked.items()}


def approximate(path: Path, count: int = 500) -> dict[str, Any]:
    """One question at a time, exactly and by each kind of index: the same first image, and how much sooner."""
    with Gallery.open(path) as gallery:
        asked = questions(gallery.memory().vectors, count)

        def answers() -> dict[str, tuple[np.ndarray, float]]:
            found = {}
            for name, queries in asked.items():
                firsts, times = [], []
                for query in queries:
                    started = time.perf_counter()
                    answer = gallery.identify_vectors(query[None], threshold=0.0, top=1)[0]
                    times.append(time.perf_counter() - started)
                    firsts.append(answer.matches[0].image)
                found[name] = np.array(firsts), statistics.median(times)
            return found

        exact = answers()
        record: dict[str, Any] = {"exact_ms": {name: round(1000 * spent, 2) for name, (_, spent) in exact.items()}}
        for kind in ("hnsw", "ivf", "sq8"):
            seconds = timed(lambda: gallery.index(kind))  # type: ignore[arg-type] # noqa: B023 - called at once
            record[kind] = {
                "build_seconds": round(seconds, 1),
                "bytes_an_image": round(index_file(path).stat().st_size / len(gallery.memory().ids)),
            }
            gallery.identify_vectors(asked["a new picture"][:20], threshold=0.0)
            for name, (firsts, spent) in answers().items():
                record[kind][name] = {
                    "ms": round(1000 * spent, 3),
                    "times_faster": round(exact[name][1] / spent, 1),
                    "recall_at_1": round(float(np.mean(firsts == exact[name][0])), 4),
                }
        return record


def durable(folder: Path, dimensions: int, count: int = 300) -> dict[str, float]:
    """Enrollments that are on the disk one by one, beside bare commits of as many bytes with the same settings."""
    vectors = clustered(count, dimensions, 3)

    def ours(place: Path) -> None:
        with Gallery(Store(place, MODEL, dimensions), None) as gallery:
            for number, vector in enumerate(vectors):
                gallery.enroll_vectors(f"p{number}", vector[None], [""])

    def bare(place: Path) -> None:
        connection = sqlite3.connect(place, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE images (id INTEGER PRIMARY KEY, vector BLOB)")
        for vector in vectors:
            connection.execute("INSERT INTO images (vector) VALUES (?)", (vector.tobytes(),))
        connection.close()

    ratios, rates = [], []
    for turn in range(5):
        own, other = timed(lambda t=turn: ours(folder / f"o{t}.db")), timed(lambda t=turn: bare(folder / f"b{t}.db"))  # type: ignore[misc]
        ratios.append(other / own)
        rates.append(count / own)
    return {"of_bare_commits": statistics.median(ratios), "per_second": statistics.median(rates)}


def cold(folder: Path) -> dict[str, float]:
    """``steradian identify`` from nothing on 10,000 identities, by torch and without it, beside its bare imports."""
    model = Recognizer.load("glyphs")
    model.save(folder / "run" / "model")
    vectors = clustered(10_000 * IMAGES, model.embedding_size)
    store = Store(folder / "run" / "gallery.db", model.model_id, model.embedding_size)
    people = [(f"p{at}", vectors[at * IMAGES : (at + 1) * IMAGES]) for at in range(10_000)]
    store.add_many([(name, rows, [""] * IMAGES, None) for name, rows in people])
    store.close()
    Image.new("L", (60, 60), 255).save(folder / "asked.png")
    asked = [sys.executable, "-m", "steradian", "identify", str(folder / "run"), str(folder / "asked.png")]
    loaded = subprocess.run(
        [sys.executable, "-X", "importtime", *asked[1:]], capture_output=True, text=True, check=True
    ).stderr
    names = {line.rpartition("|")[2].strip().split(".")[0] for line in loaded.splitlines() if line.startswith("import")}
    wanted = sorted(names & {"torch", "torchvision", "timm", "numpy", "PIL", "scipy", "sklearn", "pydantic", "typer"})
    imports = [
        sys.executable,
        "-c",
        f"import {', '.join(wanted)}, steradian.gallery.gallery, steradian.models.recognizer",
    ]

    def run(words: list[str]) -> float:
        return timed(lambda: subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    run(asked), run(imports)
    turns = [(run(asked), run(imports)) for _ in range(5)]
    export(model, folder / "run" / "onnx", "onnx")
    run(asked)
    return {
        "imports": ", ".join(wanted),  # type: ignore[dict-item]
        "seconds": statistics.median(own for own, _ in turns),
        "of_bare_imports": statistics.median(own / other for own, other in turns),
        "without_torch_seconds": statistics.median(run(asked) for _ in range(5)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--dimensions", type=int, default=128)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--folder", type=Path, help="where the galleries are made (default: a temporary folder)")
    parser.add_argument("--record", type=Path)
    chosen = parser.parse_args()
    parts, record = chosen.parts.split(","), {**environment(), "cores": os.cpu_count(), "count": chosen.count}
    with tempfile.TemporaryDirectory(dir=chosen.folder) as scratch:
        folder, path = Path(scratch), Path(scratch) / "large.db"
        if {"bulk", "open", "ann"} & set(parts):
            record["bulk"] = bulk(path, clustered(chosen.count, chosen.dimensions))
        if "open" in parts:
            record["open"] = opening(path)
        if "ann" in parts:
            record["ann"] = approximate(path)
        if "durable" in parts:
            record["durable"] = durable(folder, chosen.dimensions)
        if "cold" in parts:
            record["cold"] = cold(folder)
    print(json.dumps(record, indent=2))
    if chosen.record is not None:
        chosen.record.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
