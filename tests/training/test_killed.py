"""kill -9 at any moment, the same command again, the same weights: streamed, cached features, blends and dropout."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

SCRIPT = """
import sys, torch
from dataclasses import replace
from pathlib import Path
from steradian.training import Recipe, RunFolder, load_data, make_plan, train
from steradian.training import run as module
torch.set_num_threads(1)
module.CHECKPOINT_SECONDS = 0.0
recipe = Recipe().changed(**{
    "encoder": "mobilenetv3_small_050", "data.image_size": 32, "data.decoded_gib": 0, "data.workers": 1,
    "embedding_size": 8, "training.batch_size": 40,
    "training.epochs": 9, "training.head_epochs": 4, "training.freeze": 3, "training.layer_decay": 0.8,
    "training.cached_views": 2, "training.mixup": 0.5, "training.dropout": 0.2, "training.class_power": 0.5,
    "views.operations": 1, "views.crop": 0.7, "views.erasing": 0.3, "loss.name": "elastic-arcface"})
whole = load_data(recipe)
few = replace(whole.splits, train=whole.splits.train[:120], validation=whole.splits.validation[:40])
plan = make_plan(recipe, replace(whole, splits=few))
found = train(plan, RunFolder(Path(sys.argv[1])), on_batch=lambda *_: print("step", flush=True))
found.model.save(Path(sys.argv[1]) / "model")
"""
KILLS = 2


def test_killed_at_random_moments_ends_in_the_same_weights(programs: Path, tmp_path: Path, history) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    moments = random.Random(int(os.environ.get("STERADIAN_KILL_SEED", "0")))

    def run(folder: str) -> subprocess.Popen[bytes]:
        command = [programs / "python", str(tmp_path / "script.py"), str(tmp_path / folder)]
        environment = {**os.environ, "STERADIAN_CACHE": str(tmp_path / f"{folder}-cache")}
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    first = run("whole")
    began = time.monotonic()
    output, errors = first.communicate(timeout=180)
    assert first.returncode == 0, errors.decode()
    left = total = output.count(b"step")
    assert total > 20
    a_step = (time.monotonic() - began) / total
    for _ in range(int(os.environ.get("STERADIAN_KILLS", str(KILLS)))):
        killed = run("killed")
        assert killed.stdout is not None
        steps = moments.randrange(left)
        seen = [killed.stdout.readline() for _ in range(steps)]
        time.sleep(a_step * moments.random())
        killed.kill()
        seen += killed.communicate()[0].splitlines()
        assert killed.returncode == -signal.SIGKILL, "it was done before"
        left = max(1, left - len(seen))
    last = run("killed")
    output, errors = last.communicate(timeout=180)
    assert last.returncode == 0, errors.decode()
    assert left > total / 2 or output.count(b"step") < total, "it went on from a checkpoint"
    weights = [(tmp_path / folder / "model/model.safetensors").read_bytes() for folder in ("whole", "killed")]
    assert weights[0] == weights[1]
    assert history(tmp_path / "whole") == history(tmp_path / "killed")
