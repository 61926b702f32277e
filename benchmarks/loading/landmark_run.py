"""A run of the landmark recipe through 200,000 photographs: killed in the middle, gone on with, its memory flat.

python benchmarks/loading/landmark_set.py --archive monuments49.zip --images 200000 --classes 10000 /data/landmarks
python benchmarks/loading/landmark_run.py --set /data/landmarks
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent
SMALLER = ("encoder=small", "weights=null", "pooling=average", "data.image_size=32", "embedding_size=64")
"""What differs from the recipe, so that two cores need minutes: B1 at 240 px needs more than a second per image."""
SETTINGS = (*SMALLER, "training.epochs=1", "training.batch_size=128")
KILL_AT = 0.4
STEP = re.compile(r"training: step ([\d,]+)/([\d,]+)")


def resident(pid: int) -> float:
    """Resident memory of a process, MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def follow(command: list[str], kill_at: float | None) -> tuple[int, list[tuple[int, float]], int, list[str]]:
    """Run ``command``: its exit code, (step, MiB) of each line of progress, the steps in all, and what it printed.

    It is killed once a share ``kill_at`` of its steps is done.
    """
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert running.stdout is not None
    seen: list[tuple[int, float]] = []
    printed: list[str] = []
    total = 0
    for line in running.stdout:
        printed.append(line.rstrip())
        print(printed[-1], flush=True)
        if found := STEP.search(line):
            step, total = (int(number.replace(",", "")) for number in found.groups())
            seen.append((step, resident(running.pid)))
            if kill_at is not None and step >= kill_at * total:
                running.kill()
                break
    return running.wait(), seen, total, printed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", type=Path, required=True, help="folder of landmark_set.py")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        sets = [word for one in (f"data.source={options.set / 'train.csv'}", *SETTINGS) for word in ("--set", one)]
        recipe = str(HERE.parents[1] / "recipes" / "landmarks.yaml")
        command = [sys.executable, "-W", "ignore", "-m", "steradian", "train", recipe, *sets, "--out", f"{scratch}/run"]
        began = time.perf_counter()
        killed, before, _, _ = follow(command, KILL_AT)
        code, after, total, printed = follow(command, None)
        assert (killed, code) == (-9, 0), (killed, code)
        history = Path(f"{scratch}/run/history.csv").read_text().splitlines()
    (first, at_100), (last, at_end) = next(pair for pair in after if pair[0] >= after[0][0] + 100), after[-1]
    result: dict[str, Any] = {
        "command": "python benchmarks/loading/landmark_run.py --set FOLDER",
        "settings": SETTINGS,
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "torch": torch.__version__,
        "steps": total,
        "killed_at_step": before[-1][0],
        "gone_on_from_about_step": after[0][0],
        "mib": {f"step {first}": at_100, f"step {last}": at_end},
        "growth": at_end / at_100 - 1.0,
        "minutes": (time.perf_counter() - began) / 60,
        "history": history,
        "said": [line for line in printed if line.startswith(("data:", "head:", "time:"))],
    }
    print(json.dumps(result, indent=1))
    (HERE / "landmark_run.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
