"""Measure the training time of the framework relative to a bare PyTorch loop with the same steps, interleaved.

    python benchmarks/overhead/run.py [--processes 6] [--rounds 30]

A process may favor one of the two by some percent for its whole lifetime because of its memory layout. Therefore the
ratio is the median over several processes, and in every second one the two models swap positions in memory. Both
train the small encoder with ArcFace in 3-D on the digits at 28 pixels, from the same weights, on the same batches, with
the same views, auxiliary head, gradient clipping and schedule. A round is one epoch of each, in alternating order.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from steradian.data.sampling import step_seed
from steradian.files import write_json
from steradian.training import Recipe, load_data, make_plan
from steradian.training.loop import fit
from steradian.training.progress import Progress
from steradian.training.resources import environment
from steradian.training.run import start
from steradian.training.schedules import auxiliary_weight, ramp_value, rate_factor
from steradian.training.stages import Stage


def bare_epoch(state, settings, batches, epoch: int) -> None:
    """Train one epoch as in a plain script, without checks, records or progress display."""
    model, auxiliary, optimizer = state.model, state.auxiliary, state.optimizer
    pixels, labels = torch.from_numpy(batches.pixels.pixels), torch.from_numpy(batches.pixels.labels)
    total = len(batches) * settings.epochs
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    model.train()
    for step, batch in enumerate(batches.epoch(epoch), start=epoch * len(batches)):
        progress = step / total
        model.head.margin_strength = ramp_value(settings.margin_ramp, progress)
        model.head.scale_strength = ramp_value(settings.scale_ramp, progress)
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * group["factor"] * rate_factor(settings, progress)
        x, y = pixels[batch.rows].float() / 255.0, labels[batch.rows]
        if batch.step is not None:
            x = batches.view(x, torch.Generator().manual_seed(step_seed(settings.seed, step)))
        x = batches.preprocessing.normalize(x).contiguous(memory_format=torch.channels_last)
        features = model.encoder(x)
        loss = model.head(model.neck(features), y)
        weight = auxiliary_weight(settings, progress)
        loss = loss + weight * functional.cross_entropy(auxiliary(features.mean(dim=(2, 3))), y)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, settings.clip, foreach=True)
        optimizer.step()


def measure(rounds: int, swapped: bool) -> dict[str, object]:
    """Return the results of one process."""
    torch.set_num_threads(1)
    recipe = Recipe().changed(
        **{
            "embedding_size": 3,
            "data.image_size": 28,
            "data.validation": 0.0,
            "training.epochs": rounds + 1,
            "training.deterministic": False,
        }
    )
    prepared = load_data(recipe)
    plan = make_plan(recipe, prepared)
    first = start(plan)
    second = copy.deepcopy(first)
    ours, bare = (second, first) if swapped else (first, second)
    batches = plan.batches(prepared.splits.train)

    class EndOfEpoch(Exception):
        pass

    def stop(_: object) -> None:
        raise EndOfEpoch

    def our_epoch(epoch: int) -> None:
        with Progress(len(batches), "training") as bar:
            try:
                fit(
                    ours,
                    recipe.training,
                    [Stage(recipe.training.epochs, 0, batches)],
                    on_step=lambda *_: bar.advance(),
                    on_epoch=stop,
                )
            except EndOfEpoch:
                return

    def timed(epoch_of, epoch: int) -> float:
        started = time.perf_counter()
        epoch_of(epoch)
        return time.perf_counter() - started

    seconds: dict[str, list[float]] = {"ours": [], "bare": []}
    for epoch in range(rounds + 1):
        runs = {"ours": our_epoch, "bare": lambda epoch: bare_epoch(bare, recipe.training, batches, epoch)}
        for name in sorted(runs, reverse=epoch % 2 == 0):
            spent = timed(runs[name], epoch)
            if epoch > 0:  # the first epoch warms up
                seconds[name].append(spent)
    pairs = zip(ours.model.parameters(), bare.model.parameters(), strict=True)
    same = all(torch.allclose(a, b, atol=1e-5) for a, b in pairs)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {"ratio": medians["ours"] / medians["bare"], "seconds_per_epoch": medians, "same_weights": same}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--one", choices=("straight", "swapped"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.rounds, args.one == "swapped")))
        return
    results = []
    for number in range(args.processes):
        layout = "swapped" if number % 2 else "straight"
        command = [sys.executable, __file__, "--one", layout, "--rounds", str(args.rounds)]
        completed = subprocess.run(command, check=True, capture_output=True, text=True)
        results.append(json.loads(completed.stdout))
        print(f"process {number + 1}: {results[-1]['ratio']:.4f}", flush=True)
    result = {
        "median_ratio": statistics.median(process["ratio"] for process in results),
        "processes": results,
        "rounds": args.rounds,
        **environment(),
    }
    write_json(Path(__file__).parent / "result.json", result)
    print(f"median {result['median_ratio']:.4f}")


if __name__ == "__main__":
    main()
