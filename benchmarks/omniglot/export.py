"""Make the built-in artifact `glyphs` from a run of its recipe.

    python benchmarks/omniglot/export.py --run runs/glyphs --data omniglot.npz --to src/steradian/models/glyphs

Characters that were turned taught the encoder and are left out of the head. Probabilities of classes are fitted on the
run's calibration part; thresholds and the curve for pairs on the alphabets that were never seen, because that is what
somebody's own symbols are.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from steradian import Recognizer
from steradian.data.pixels import TURNS
from steradian.models import artifact
from steradian.models.fitted_calibration import fit_calibration, fit_thresholds, pair_curve
from steradian.training import read_recipe
from steradian.training.dataset import prepare


def without_turns(model: Recognizer) -> Recognizer:
    """The same encoder and neck with the classes that are upright."""
    count = len(model.spec.classes) // len(TURNS)
    spec = replace(model.spec, classes=model.spec.classes[:count])
    upright = Recognizer(spec)
    tensors = dict(model.state_dict())
    tensors["head.weight"] = tensors["head.weight"][:count]
    upright.load_state_dict(tensors)
    return upright.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, type=Path)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--to", required=True, type=Path)
    chosen = parser.parse_args()
    prepared = prepare(read_recipe(chosen.run / "recipe.yaml").changed(**{"data.source": str(chosen.data)}))
    trained = Recognizer.load(chosen.run)
    model = without_turns(trained)
    held = prepared.splits.calibration
    held = held[prepared.pixels.labels[held] < len(model.spec.classes)]
    raw = model.embed(torch.from_numpy(np.ascontiguousarray(prepared.pixels.pixels[held])), normalize=False)
    unseen = prepared.unseen
    if unseen is None:
        raise SystemExit("the recipe keeps no alphabet unseen")
    strange = model.embed(torch.from_numpy(np.ascontiguousarray(unseen.pixels)), normalize=False).numpy()
    words = f"{len(held)} drawings of trained characters, kept for nothing else"
    cosine = model.center_cosines(raw).amax(dim=1).numpy()
    fitted = fit_calibration(model.logits(raw).numpy(), cosine, raw.numpy(), prepared.pixels.labels[held], words)
    if fitted is None:
        raise SystemExit("too few drawings to calibrate on")
    new = f"{len(strange)} drawings of {len(unseen.classes)} characters of alphabets that were never seen"
    model.calibration = fitted.model_copy(
        update={"pairs": pair_curve(strange, unseen.labels), "measured_on": f"{words}; pairs: {new}"}
    )
    model.thresholds = fit_thresholds(strange, unseen.labels, new)
    origin = trained.card.provenance if trained.card is not None else {}
    kept = {name: origin[name] for name in ("date", "recipe", "seed", "steradian", "torch", "python") if name in origin}
    source = "Omniglot background set (Lake et al. 2015, MIT), 24 of its 30 alphabets"
    card = artifact.save(model, chosen.to, {**kept, "data": {"source": source}, "from": origin.get("command")})
    print(card.id)


if __name__ == "__main__":
    main()
