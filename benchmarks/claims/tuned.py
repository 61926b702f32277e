"""System A's ranking claim with a tuned encoder: the learned score beside softmax.

    python benchmarks/claims/tuned.py --data DIR

DIR holds dogs60.zip, lfw_dev.zip and monuments49.zip. The upper layers of the pretrained encoder learn, together with
the hidden layer and the embedding of heads.py, from the maps of the frozen lower stages at 128 pixels, which are
computed once, of each image and of its mirror image. All arms have the same schedule and division; the options of a
loss are chosen by the validation accuracy of the first seed. Results are kept one by one in tuned.json: run it again to
go on.
"""

from __future__ import annotations

import argparse
import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from claims import ARMS
from heads import DIMENSIONS, FASTER, WIDTH, Split, divided, measured, scores
from run import HERE, enough, sets
from torch import Tensor, nn
from tqdm import tqdm

from steradian import losses
from steradian.models.efficientnet_lite import EfficientNetLite
from steradian.models.staged import bare
from steradian.training import Dataset, Recipe, make_plan

RESULTS = HERE / "tuned.json"
SETS, SEEDS = ("dogs60", "monuments", "lfw"), range(3)
TRIED = ("softmax", "learned score")
PIXELS, FROZEN = 128, 6
"""Size of the images; number of frozen stages, of seven."""
EPOCHS, BATCH, RATE, ENCODER_RATE = 10, 64, 1e-3, 3e-4


class Upper(nn.Module):
    """The layers of the encoder that learn, then the hidden layer and the embedding.

    Input float [N, 192, h, w]; output [N, 64].
    """

    def __init__(self, encoder: EfficientNetLite) -> None:
        super().__init__()
        self.encoder = nn.Sequential(*encoder.blocks[FROZEN:], encoder.conv_head, encoder.bn2, nn.ReLU6())
        width = encoder.num_features
        hidden = [nn.BatchNorm1d(width, affine=False), nn.Linear(width, WIDTH), nn.ReLU(), nn.BatchNorm1d(WIDTH)]
        self.neck = nn.Sequential(*hidden, nn.Linear(WIDTH, DIMENSIONS))

    def forward(self, maps: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            features = torch.cat([self.encoder(part).mean(dim=(2, 3)) for part in maps.split(256)])
        embeddings: Tensor = self.neck(features.float())
        return embeddings


@torch.no_grad()
def lower_maps(name: str, folder: Path, cache: Path) -> tuple[Tensor, Tensor, np.ndarray, EfficientNetLite]:
    """Return maps of the images and of their mirror images, labels, and the encoder."""
    settings = {"data.source": str(folder / sets.FILES[name]), "data.test": 0.0, "data.image_size": PIXELS}
    dataset = Dataset.open(Recipe().changed(**settings, weights="package", adapt="train"))
    file = cache / f"{name}-{PIXELS}-{FROZEN}.npz"
    plan = make_plan(dataset.recipe, dataset.decode())
    encoder = bare(plan.model.encoder).eval().to(memory_format=torch.channels_last)
    assert isinstance(encoder, EfficientNetLite)
    rows = enough(plan.data.pixels.labels)
    if not file.is_file():
        lower = nn.Sequential(encoder.conv_stem, encoder.bn1, nn.ReLU6(), *encoder.blocks[:FROZEN])
        images = torch.from_numpy(np.ascontiguousarray(plan.data.pixels.pixels[rows]))
        found: list[list[Tensor]] = [[], []]
        for part in tqdm(images.split(64), desc=name, unit="batch"):
            for view, flipped in zip(found, (part, part.flip(3)), strict=True):
                with torch.autocast("cpu", torch.bfloat16):
                    prepared = plan.model.prepare(flipped).contiguous(memory_format=torch.channels_last)
                    view.append(lower(prepared).half())
        np.savez(file, **{key: torch.cat(view).numpy() for key, view in zip(("plain", "mirror"), found, strict=True)})
    with np.load(file) as kept:
        plain, mirror = (torch.from_numpy(kept[key]).float() for key in ("plain", "mirror"))
    return plain, mirror, plan.data.pixels.labels[rows], encoder


def trained(
    name: str, options: dict[str, Any], data: Split, mirror: Tensor, encoder: EfficientNetLite, seed: int
) -> tuple[nn.Module, nn.Module]:
    """Return the network and the loss, ready to be measured; ``mirror``: mirror images of the training part."""
    torch.manual_seed(seed)
    x, y = data.train
    body, loss = Upper(copy.deepcopy(encoder)), losses.create(name, data.classes, DIMENSIONS, **options)
    own = [p for name, p in loss.named_parameters() if "score" in name or "scale" in name]
    other = [p for name, p in loss.named_parameters() if "score" not in name and "scale" not in name]
    rates = (
        (ENCODER_RATE, [*body.encoder.parameters()]),
        (RATE, [*body.neck.parameters(), *other]),
        (FASTER * RATE, own),
    )
    groups = [{"params": parameters, "lr": rate} for rate, parameters in rates if parameters]
    optimizer = torch.optim.Adam(groups)
    total = EPOCHS * (len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [group["lr"] for group in groups], total_steps=total)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(x))[: len(x) // BATCH * BATCH].view(-1, BATCH):
            flipped = torch.rand(BATCH) < 0.5
            maps = torch.where(flipped[:, None, None, None], mirror[batch], x[batch])
            optimizer.zero_grad()
            loss(body(maps), y[batch]).backward()
            optimizer.step()
            schedule.step()
    return body.eval(), loss.eval()


def main() -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path("runs/claims"))
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
    for name in SETS:
        jobs = [(seed, arm) for seed in SEEDS for arm in ARMS if arm.name in TRIED]
        done = {(row["seed"], row["arm"]) for row in rows if row["set"] == name}
        jobs = [(seed, arm) for seed, arm in jobs if (seed, f"{arm.name}, tuned") not in done]
        if not jobs:
            continue
        plain, mirror, labels, encoder = lower_maps(name, args.data, args.cache)
        for seed, arm in tqdm(jobs, desc=name, unit="arm"):
            parts, known = divided(labels, seed)
            codes = torch.from_numpy(np.searchsorted(known, labels))
            made = {part: (plain[chosen], codes[chosen]) for part, chosen in parts.items()}
            strangers = plain[np.flatnonzero(~np.isin(labels, known))]
            data, turned = Split(**made, strangers=strangers, classes=len(known), scaled=plain), mirror[parts["train"]]
            own = [row for row in rows if (row["set"], row["arm"]) == (name, f"{arm.name}, tuned")]
            row: dict[str, Any] = {"set": name, "few": None, "arm": f"{arm.name}, tuned", "seed": seed}
            tried = [own[0]["options"]] if own else list(arm.tries)
            networks = [trained(arm.loss, options, data, turned, encoder, seed) for options in tried]
            with torch.no_grad():
                x, y = data.validation
                right = [float((scores(*both, data, x).argmax(1) == y).float().mean()) for both in networks]
                best = int(np.argmax(right))
                rows.append({**row, "options": tried[best], "validation": right, **measured(*networks[best], data)})
            RESULTS.write_text(json.dumps(rows, indent=0) + "\n")


if __name__ == "__main__":
    main()
