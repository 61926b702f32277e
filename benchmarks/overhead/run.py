"""What the framework costs over a bare PyTorch loop that does the same steps: their ratio, interleaved.

    python benchmarks/overhead/run.py [--rounds 15]

Both train the small encoder with ArcFace in 3-D on the digits at 28 pixels, from the same weights, on the same batches,
with the same views, auxiliary head, gradient clipping and schedule. A round is one epoch of each, in alternating order.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from steradian.data.sampling import step_seed
from steradian.files import write_json
from steradian.training import Recipe, prepare
from steradian.training.loop import fit
from steradian.training.progress import Progress
from steradian.training.resources import environment
from steradian.training.run import make_batches, start
from steradian.training.schedules import auxiliary_weight, ramp_value, rate_factor


def bare_epoch(state, settings, batches, epoch: int) -> None:
    """One epoch as one would write it in a script, with nothing checked, recorded or shown."""
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
        x, y = pixels[batch].float() / 255.0, labels[batch]
        if progress < batches.views_until:
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
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
    prepared = prepare(recipe.data)
    ours = start(recipe, prepared)
    bare = copy.deepcopy(ours)
    batches = make_batches(recipe, prepared, prepared.splits.train)

    class EndOfEpoch(Exception):
        pass

    def stop(_: object) -> None:
        raise EndOfEpoch

    def our_epoch(epoch: int) -> None:
        with Progress(len(batches), "training") as bar:
            try:
                fit(ours, recipe.training, batches, on_step=lambda *_: bar.advance(), on_epoch=stop)
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
    ratios = [a / b for a, b in zip(seconds["ours"], seconds["bare"], strict=True)]
    result = {
        "ratio_of_medians": statistics.median(seconds["ours"]) / statistics.median(seconds["bare"]),
        "median_of_ratios": statistics.median(ratios),
        "seconds_per_epoch": {name: statistics.median(found) for name, found in seconds.items()},
        "rounds": rounds,
        "steps_per_epoch": len(batches),
        "weights_equal_afterwards": same,
        **environment(),
    }
    write_json(Path(__file__).parent / "result.json", result)
    print("\n".join(f"{key}: {value}" for key, value in result.items()))


if __name__ == "__main__":
    main()
