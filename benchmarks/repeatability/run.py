"""Same seed, same machine, same numbers: train four small runs and one comparison, and compare with the recorded ones.

    python benchmarks/repeatability/run.py --record numbers.json     before a change
    python benchmarks/repeatability/run.py --check numbers.json      after it: every number must be equal

Only the command line is used, so the script measures any version of the package. Times and memory are left out.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

RUNS: dict[str, list[str]] = {
    "softmax": ["digits", "--loss", "softmax", "--epochs", "3"],
    "arcface": ["digits", "--loss", "arcface", "--epochs", "3", "--embedding-size", "16"],
    "triplet": ["digits", "--loss", "triplet", "--epochs", "2", "--set", "training.images_per_class=4"],
    "staged-pretrained": [
        "PHOTOGRAPHS", "--loss", "cosface", "--weights", "package", "--image-size", "64", "--epochs", "3",
        "--freeze", "5", "--set", "training.head_epochs=2", "--set", "training.batch_size=16",
    ],
}  # fmt: skip
COMPARISON = ["digits", "--losses", "softmax,arcface,triplet", "--dims", "2,3", "--epochs", "2", "--jobs", "1"]
VARYING = ("cost.seconds", "cost.seconds_per_epoch", "cost.peak_memory_mib", "images_per_second", "waiting")


def make_photographs(folder: Path) -> None:
    """Write 4 classes of 16 color images: noise around a color and a stripe of each class."""
    generator = np.random.default_rng(0)
    for label in range(4):
        (folder / f"class-{label}").mkdir(parents=True)
        for number in range(16):
            pixels = generator.normal(128, 40, (96, 96, 3))
            pixels[..., label % 3] += 60
            pixels[20 * label : 20 * label + 24] -= 70
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"class-{label}" / f"{number}.png")


def run_command(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "steradian", *arguments, "--json"], check=True, stdout=subprocess.DEVNULL)


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [{key: value for key, value in row.items() if key not in VARYING} for row in csv.DictReader(file)]


def measure(scratch: Path) -> dict[str, object]:
    """Train everything in ``scratch`` and return the histories, the headline metrics and the comparison's rows."""
    photographs = scratch / "photographs"
    make_photographs(photographs)
    numbers: dict[str, object] = {}
    for name, options in RUNS.items():
        arguments = [str(photographs) if option == "PHOTOGRAPHS" else option for option in options]
        run_command("train", *arguments, "--out", str(scratch / name))
        content = json.loads((scratch / name / "metrics.json").read_text(encoding="utf-8"))
        content.pop("provenance")
        numbers[name] = {"history": read_rows(scratch / name / "history.csv"), "metrics": content}
    run_command("compare", *COMPARISON, "--out", str(scratch / "comparison"))
    numbers["comparison"] = read_rows(scratch / "comparison" / "results.csv")
    return numbers


def differences(recorded: object, measured: object, where: str = "") -> list[str]:
    """Return a line for every number that is not equal."""
    if isinstance(recorded, dict) and isinstance(measured, dict):
        keys = sorted(recorded.keys() | measured.keys())
        return [line for key in keys for line in differences(recorded.get(key), measured.get(key), f"{where}/{key}")]
    if isinstance(recorded, list) and isinstance(measured, list) and len(recorded) == len(measured):
        pairs = enumerate(zip(recorded, measured, strict=True))
        return [line for index, (a, b) in pairs for line in differences(a, b, f"{where}/{index}")]
    return [] if recorded == measured else [f"{where}: {recorded} recorded, {measured} now"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--record", type=Path, metavar="FILE")
    action.add_argument("--check", type=Path, metavar="FILE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        numbers = json.loads(json.dumps(measure(Path(scratch))))
    if options.record is not None:
        options.record.write_text(json.dumps(numbers, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        print(f"recorded {', '.join(numbers)} in {options.record}")
        return
    lines = differences(json.loads(options.check.read_text(encoding="utf-8")), numbers)
    print("\n".join(lines) if lines else f"every number is equal: {', '.join(numbers)}")
    sys.exit(1 if lines else 0)


if __name__ == "__main__":
    main()
