"""Measure reading: a table of landmark size, images a second beside bare calls, timm and torchvision, flat memory.

python benchmarks/loading/run.py table --set /data/landmarks      # see landmark_set.py
python benchmarks/loading/run.py speed --archive dogs60.zip
python benchmarks/loading/run.py memory --set /data/landmarks
python benchmarks/loading/run.py crops --archive imagewoof_train.zip
"""

from __future__ import annotations

import argparse
import datetime
import io
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from steradian import data
from steradian.data.loading.crops import cut, drawn_crop
from steradian.data.loading.reader import Views
from steradian.data.pixels import stream_pixels
from steradian.data.preprocessing import Preprocessing
from steradian.training import Recipe, load_data, make_plan, train

HERE = Path(__file__).parent
COLOR = Preprocessing(224, 3, (0.5,) * 3, (0.5,) * 3)
WORKERS, BATCH, ROUNDS = 2, 64, 5


def unpack(archive: Path, folder: Path, enlarge: int = 1) -> Path:
    """Write the photographs of a zip below ``folder``, a folder for each class, ``enlarge`` times as large."""
    with zipfile.ZipFile(archive) as source:
        for info in source.infolist():
            if info.filename.lower().endswith((".jpg", ".jpeg")):
                name = Path(info.filename)
                target = folder / name.parent.name / name.name
                target.parent.mkdir(parents=True, exist_ok=True)
                content = source.read(info)
                if enlarge > 1:
                    picture = Image.open(io.BytesIO(content)).convert("RGB")
                    picture = picture.resize((picture.width * enlarge, picture.height * enlarge))
                    buffer = io.BytesIO()
                    picture.save(buffer, "jpeg", quality=90)
                    content = buffer.getvalue()
                target.write_bytes(content)
    return folder


def measure_table(options: argparse.Namespace) -> dict[str, Any]:
    """Time and peak memory of opening the table, and of a dry run of the whole command."""
    table = str(options.set / "train.csv")
    opening = (
        "import time, resource, json; from steradian import data; began = time.time(); "
        f"found = data.open({table!r}); print(json.dumps([len(found), len(found.classes), time.time() - began, "
        "resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20]))"
    )
    images, classes, seconds, peak = json.loads(
        subprocess.run([sys.executable, "-c", opening], check=True, capture_output=True, text=True).stdout
    )
    command = ["train", table, "--image-size", "240", "--encoder", "tf_efficientnet_b1", "--dry-run"]
    began = time.perf_counter()
    subprocess.run([sys.executable, "-W", "ignore", "-m", "steradian", *command], check=True, capture_output=True)
    dry = time.perf_counter() - began
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    return {
        "images": images,
        "classes": classes,
        "open_seconds": seconds,
        "open_gib": peak,
        "dry_run_seconds": dry,
        "dry_run_gib": most,
    }


def bare(paths: list[str]) -> int:
    """Make the same calls as a reader, and nothing else."""
    torch.set_num_threads(1)
    batch = np.empty((len(paths), 224, 224, 3), dtype=np.uint8)
    for number, path in enumerate(paths):
        batch[number] = cut(*drawn_crop(Path(path), 224, 0.35), 224, 3, "bilinear").transpose(1, 2, 0)
    return len(paths)


def bare_loop(paths: list[str], pool: ProcessPoolExecutor) -> Iterator[int]:
    """Read all files with a process per core."""
    yield from pool.map(bare, [paths[start : start + BATCH] for start in range(0, len(paths), BATCH)])


def measure_speed(options: argparse.Namespace) -> dict[str, Any]:
    """Images a second, decoded and cut to 224 px at random, in turns: these, bare calls, timm and torchvision."""
    from timm.data import create_dataset, create_loader
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    results: dict[str, Any] = {}
    for enlarge in (1, 4):
        with tempfile.TemporaryDirectory() as scratch:
            folder = unpack(options.archive, Path(scratch), enlarge)
            images = data.open(folder)
            paths = [images.items.name(index) for index in range(len(images))]
            pixels = stream_pixels(images, COLOR, WORKERS).pixels
            views = Views(None, 0.35, 0, 0)
            rows = np.arange(len(images))
            crop = v2.Compose([v2.RandomResizedCrop(224, scale=(0.35, 1.0), antialias=True), v2.PILToTensor()])
            plain = DataLoader(
                ImageFolder(str(folder), crop), BATCH, num_workers=WORKERS, persistent_workers=True, shuffle=True
            )
            timms = create_loader(
                create_dataset("", str(folder)), (3, 224, 224), BATCH, is_training=True, use_prefetcher=False,
                no_aug=False, scale=(0.35, 1.0), hflip=0.0, color_jitter=None, interpolation="bilinear",
                num_workers=WORKERS, persistent_workers=True, device=torch.device("cpu"),
            )  # fmt: skip

            requests = [
                pixels.request(part, part, views) for part in np.array_split(rows, math.ceil(len(rows) / BATCH))
            ]

            with ProcessPoolExecutor(WORKERS) as pool:
                ways: dict[str, Callable[[], Iterator[int]]] = {
                    "steradian": lambda: (len(loaded.kept) for loaded in pixels.pool.read(requests)),  # noqa: B023
                    "bare calls": lambda: bare_loop(paths, pool),  # noqa: B023
                    "torchvision": lambda: (len(labels) for _, labels in plain),  # noqa: B023
                    "timm": lambda: (len(labels) for _, labels in timms),  # noqa: B023
                }
                rates: dict[str, list[float]] = {name: [] for name in ways}
                for turn in range(ROUNDS + 1):
                    for name, way in ways.items():
                        began, count = time.perf_counter(), sum(way())
                        if turn:
                            rates[name].append(count / (time.perf_counter() - began))
            sides = [Image.open(path).size for path in paths[:50]]
            results[f"{int(np.median([min(size) for size in sides]))} px"] = {
                "images": len(images),
                "images_per_second": {name: statistics.median(values) for name, values in rates.items()},
                "ratio": {
                    name: statistics.median(a / b for a, b in zip(rates["steradian"], values, strict=True))
                    for name, values in rates.items()
                },
            }
    return results


def measure_memory(options: argparse.Namespace) -> dict[str, Any]:
    """Resident memory of the training process from step 100 to the end of an epoch of 200,000 files."""

    def resident() -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

    recipe = Recipe().changed(
        **{
            "data.source": str(options.set / "train.csv"), "data.image_size": 32, "encoder": "small", "adapt": "train",
            "data.decoded_gib": 0, "training.epochs": 1, "training.batch_size": 256, "embedding_size": 32,
            "views.crop": 0.5, "data.validation": 0.0, "data.calibration": 0.0, "data.test": 0.8,
            "training.centers": "means",
        }
    )  # fmt: skip
    found = load_data(recipe)
    train_part = found.splits.train[: options.images]
    plan = make_plan(recipe, replace(found, splits=replace(found.splits, train=np.sort(train_part))))
    seen: list[float] = []
    began = time.perf_counter()
    train(plan, on_batch=lambda *_: seen.append(resident()))
    return {
        "images": len(train_part),
        "steps": len(seen),
        "mib_at_step_100": seen[99],
        "mib_at_the_end": seen[-1],
        "growth": seen[-1] / seen[99] - 1.0,
        "images_per_second": len(train_part) / (time.perf_counter() - began),
    }


def squares_of(folder: Path, target: Path, size: int) -> Path:
    """Write the center squares of photographs, of ``size`` pixels: what training saw before it read originals."""
    shape = Preprocessing(size, 3, (0.5,) * 3, (0.5,) * 3)
    images = data.open(folder)
    for index in range(len(images)):
        place = target / images.classes[images.labels[index]] / f"{index:06d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(shape.square(images.pixels(index)).transpose(1, 2, 0)).save(place)
    return target


def measure_crops(options: argparse.Namespace) -> dict[str, Any]:
    """Accuracy after equal steps from nothing: crops of originals beside crops of their squares, over seeds."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        originals = unpack(options.archive, Path(scratch) / "originals")
        sets = {"originals": originals, "squares": squares_of(originals, Path(scratch) / "squares", 128)}
        for seed in range(options.seeds):
            for name, folder in sets.items():
                recipe = Recipe().changed(
                    **{
                        "data.source": str(folder), "encoder": options.encoder, "adapt": "train",
                        "data.image_size": 128, "training.epochs": options.epochs,
                        "training.batch_size": 32, "loss.name": "softmax",
                        "views": {"crop": 0.35, "rotation": 0, "scale": 0, "shear": 0, "shift": 0, "until": 1.0},
                        "data.decoded_gib": 0, "training.seed": seed, "data.test": 0.3,
                        "data.validation": 0.0, "data.calibration": 0.0,
                    }
                )  # fmt: skip
                plan = make_plan(recipe, load_data(recipe))
                model = train(plan).model
                right = []
                for chosen, block in plan.data.pixels.blocks(plan.data.splits.test, 32):
                    logits = model.logits(model.raw_embeddings(torch.from_numpy(block)))
                    right.append(logits.argmax(1).numpy() == plan.data.pixels.labels[chosen])
                rows.append({"seed": seed, "of": name, "accuracy": float(np.concatenate(right).mean())})
                print(rows[-1], flush=True)
    by = {name: np.array([row["accuracy"] for row in rows if row["of"] == name]) for name in sets}
    gain = by["originals"] - by["squares"]
    spread = 4.303 * gain.std(ddof=1) / len(gain) ** 0.5 if len(gain) == 3 else float("nan")
    return {
        "encoder": options.encoder,
        "epochs": options.epochs,
        "runs": rows,
        "gain": float(gain.mean()),
        "interval": [float(gain.mean() - spread), float(gain.mean() + spread)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("table", "speed", "memory", "crops"))
    parser.add_argument("--set", type=Path, help="folder of landmark_set.py")
    parser.add_argument("--archive", type=Path, help="a zip of photographs, one folder per class")
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--encoder", default="resnet10t")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    ways = {"table": measure_table, "speed": measure_speed, "memory": measure_memory, "crops": measure_crops}
    result = {
        "command": " ".join(["python", "benchmarks/loading/run.py", options.what]),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cores": len(os.sched_getaffinity(0)),
        **ways[options.what](options),
    }
    print(json.dumps(result, indent=1))
    (HERE / f"{options.what}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
