"""Export the built-in model `glyphs` from a run of its recipe on all alphabets.

    python benchmarks/omniglot/export.py --run runs/release --data all.npz --twin runs/glyphs --to GLYPHS

GLYPHS is src/steradian/models/glyphs.

With ``--run glyphs`` the built-in model keeps its weights, and only what is measured is measured again.

Rotated and made-up characters were classes in training and are dropped from the head. Class probabilities are
calibrated on the run's calibration part. The symbols of a user are unseen, but the run has seen all alphabets; so
thresholds and the curve for pairs are those of its twin, which the same recipe made without the last six alphabets, on
these six.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from made_up import MADE_UP

from steradian import Recognizer
from steradian.data.pixels import TURNS
from steradian.models.calibration import Thresholds
from steradian.models.fitted_calibration import fit_calibration, fit_strangers, fit_thresholds, pair_curve
from steradian.training import read_recipe
from steradian.training.dataset import load_data

RECIPE = Path(__file__).parents[2] / "recipes" / "glyphs.yaml"


def upright_alone(model: Recognizer) -> Recognizer:
    """Return the same encoder and neck with only the upright classes that people drew."""
    classes = model.spec.classes
    turned = tuple(turn for turn in TURNS if turn)
    kept = [row for row, name in enumerate(classes) if MADE_UP not in name and not name.endswith(turned)]
    upright = Recognizer(model.spec.model_copy(update={"classes": tuple(classes[row] for row in kept)}))
    tensors = dict(model.state_dict())
    tensors["head.weight"] = tensors["head.weight"][kept]
    upright.load_state_dict(tensors)
    return upright.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, type=Path)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--twin", required=True, type=Path, help="run or model without the last six alphabets")
    parser.add_argument("--to", required=True, type=Path)
    args = parser.parse_args()
    recipe = read_recipe(RECIPE).changed(**{"data.source": str(args.data)})
    prepared = load_data(recipe.changed(**{"data.unseen": []}))
    trained, twin = Recognizer.load(args.run), Recognizer.load(args.twin)
    model = upright_alone(trained)
    held_out = prepared.splits.calibration
    rows = {name: row for row, name in enumerate(model.spec.classes)}
    own = np.array([rows.get(name, -1) for name in prepared.pixels.classes])[prepared.pixels.labels]
    held_out = held_out[own[held_out] >= 0]
    raw = model.raw_embeddings(torch.from_numpy(np.ascontiguousarray(prepared.pixels.pixels[held_out])))
    unseen = load_data(recipe).unseen
    if unseen is None or set(unseen.classes) & set(twin.classes):
        raise SystemExit(f"expected a twin that has not seen the alphabets {recipe.data.unseen}, but {args.twin} has")
    unseen_raw = twin.raw_embeddings(torch.from_numpy(np.ascontiguousarray(unseen.pixels))).numpy()
    note = f"{len(held_out)} drawings of trained characters, kept for nothing else"
    cosine = model.center_cosines(raw).amax(dim=1).numpy()
    fitted = fit_calibration(model.logits(raw).numpy(), cosine, own[held_out], None, note)
    if fitted is None:
        raise SystemExit(f"too few drawings to calibrate on ({len(held_out)}); raise data.calibration in the recipe")
    pairs = [(unseen_raw, unseen.labels)]
    pairs_note = (
        f"{len(unseen_raw)} drawings of {len(unseen.classes)} characters of alphabets that were never seen, with a "
        "model of the same recipe that was trained without them"
    )
    model.calibration = fitted.model_copy(
        update={"pairs": pair_curve(pairs), "measured_on": f"{note}; pairs: {pairs_note}"}
    )
    model.thresholds = Thresholds(fit_thresholds(pairs, pairs_note))
    model.strangers = fit_strangers(pairs, pairs_note)
    origin = trained.manifest.provenance if trained.manifest is not None else {}
    readme = (args.to / "README.md").read_text(encoding="utf-8")
    info = {name: origin[name] for name in ("date", "recipe", "seed", "steradian", "torch", "python") if name in origin}
    source = "Omniglot background set (Lake et al. 2015, MIT), all 30 alphabets"
    model.save(args.to, {**info, "data": {"source": source}, "from": origin.get("command", origin.get("from"))})
    (args.to / "README.md").write_text(readme, encoding="utf-8")
    print(model.model_id)


if __name__ == "__main__":
    main()
