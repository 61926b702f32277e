"""Time the newcomer's first command as a whole process: python benchmarks/digits/run.py"""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from steradian.files import write_json
from steradian.training.resources import environment


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "steradian", "compare", "digits", "--out", "out"]
        started = time.perf_counter()
        subprocess.run(command, cwd=scratch, check=True)
        seconds = time.perf_counter() - started
        out = Path(scratch) / "out"
        rows = list(csv.DictReader((out / "results.csv").read_text().splitlines()))
        result = {
            "command": "steradian compare digits",
            "wall_seconds": seconds,
            "cells": len(rows),
            "report_mib": (out / "report.html").stat().st_size / 2**20,
            "kmeans_accuracy": {f"{row['loss']} {row['dims']}-D": float(row["clustering.majority"]) for row in rows},
            **environment(),
        }
    write_json(Path(__file__).parent / "result.json", result)
    print(f"{seconds:.1f} s, report {result['report_mib']:.1f} MiB")


if __name__ == "__main__":
    main()
