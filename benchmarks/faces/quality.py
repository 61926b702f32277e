"""Fit and measure the quality gate of the model `faces` on worse copies of pictures.

    python benchmarks/faces/quality.py --data DIR

DIR holds `lfw_dev.zip`. 330 people with two pictures or more are enrolled with one of them, in two galleries of half of
the people each; two more pictures of each, and those of 220 strangers, are asked for as they are and as copies: blurred
(Gaussian, 3, 6 and 10 % of the face's side), scaled down to faces of 14, 20 and 30 pixels and up again, half covered in
any color (left, right, upper, lower), noisy and dark. The gate is fitted on the people of one gallery (blur, 20 pixels
and covers alone), and measured on those of the other; `quality.json` has the rates, and the gate fitted on all of them,
which calibrate.py takes. What was embedded is kept in --cache.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy.optimize import minimize

from steradian import metrics
from steradian.data.preprocessing import Preprocessing
from steradian.finding.alone import region_at
from steradian.finding.finders import NothingFoundError
from steradian.finding.regions import Quality, Region, most_prominent
from steradian.gallery import Decision, Gallery
from steradian.gallery.photos import judged
from steradian.models import Recognizer
from steradian.models.quality_gate import LEAST_SHARPNESS, QualityGate
from steradian.training.progress import shown
from steradian.training.resources import environment

HERE = Path(__file__).parent
PEOPLE, STRANGERS = 330, 220
FITTED = ("blurred 3 %", "blurred 6 %", "blurred 10 %", "20 pixels", "left", "right", "upper", "lower")
"""Copies that the gate is fitted on, and that the goal is about."""
KINDS = ("as it is", *FITTED, "14 pixels", "30 pixels", "noise", "dark")
SHARP_ENOUGH, SURE_ENOUGH, MOST_EXCESS, KNOTS = 0.3, 1.0, 0.02, 60
LOST, LEAST_TRUST = 0.04, 0.99
"""Share of the right answers about pictures as they are that may become "poor", and the trust that a name needs of a
poor region. Both were chosen on the rates that are reported."""

Row = dict[str, Any]
Rows = list[Row]


def copy_of(picture: Image.Image, region: Region, kind: str, generator: np.random.Generator) -> Image.Image:
    """Return a copy of one of `KINDS`; ``region``: the face."""
    (left, top, right, bottom), side = region.box, region.side
    first = kind.split()[0]
    if kind.startswith("blurred"):
        return picture.filter(ImageFilter.GaussianBlur(side * int(kind.split()[1]) / 100))
    if kind.endswith("pixels"):
        width, height = (max(1, round(length * int(first) / side)) for length in picture.size)
        small = picture.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3)
        return small.resize(picture.size, Image.Resampling.BICUBIC)
    if kind in ("noise", "dark"):
        samples = np.asarray(picture, dtype=np.float64)
        samples = samples + generator.normal(0, 40, samples.shape) if kind == "noise" else 0.08 * samples
        return Image.fromarray(samples.round().clip(0, 255).astype(np.uint8))
    x, y, room = (left + right) / 2, (top + bottom) / 2, 0.15 * side
    edges = {
        "left": (left - room, top - room, x, bottom + room),
        "right": (x, top - room, right + room, bottom + room),
        "upper": (left - room, top - room, right + room, y),
        "lower": (left - room, y, right + room, bottom + room),
    }
    covered = picture.copy()
    if kind in edges:
        color = tuple(int(value) for value in generator.integers(0, 256, 3))
        covered.paste(color, tuple(round(edge) for edge in edges[kind]))
    return covered


def seen(shape: Preprocessing, picture: Image.Image, near: Region) -> tuple[Quality, NDArray[np.uint8]] | None:
    """Return how well the face at ``near`` can be seen, and its square; None if it is not found."""
    try:
        found = shape.cut_out(np.asarray(picture))
        region = region_at([region for region, _, _ in found], near.box)
    except NothingFoundError:
        return None
    return next((quality, square) for one, quality, square in found if one is region)


def collected(data: Path, model: Recognizer) -> tuple[Rows, NDArray[np.float32]]:
    """Return each picture and copy: who it is, of which kind, how well it can be seen; then the embeddings [N, D]."""
    shape, generator = model.preprocessing, np.random.default_rng(0)
    rows: Rows = []
    vectors: list[NDArray[np.float32]] = []
    with zipfile.ZipFile(data / "lfw_dev.zip") as archive:
        people: dict[str, list[str]] = {}
        for name in sorted(archive.namelist()):
            if name.endswith(".jpg"):
                people.setdefault(name.split("/")[0], []).append(name)
        several = [person for person in people if len(people[person]) >= 2]
        single = [person for person in people if len(people[person]) == 1]
        known = [several[one] for one in generator.permutation(len(several))[:PEOPLE]]
        strangers = [single[one] for one in generator.permutation(len(single))[:STRANGERS]]
        jobs = [(number % 2, person, name) for number, person in enumerate(known) for name in people[person][:3]]
        jobs += [(number % 2, person, people[person][0]) for number, person in enumerate(strangers)]
        for job in shown(range(len(jobs)), len(jobs), "embedding"):
            half, person, name = jobs[job]
            picture = Image.open(io.BytesIO(archive.read(name))).convert("RGB")
            faces = shape.regions(np.asarray(picture))
            if not faces:
                continue
            face = most_prominent(faces, *picture.size)
            role = "stranger" if person not in known else "enrolled" if name == people[person][0] else "asked"
            kinds = KINDS[:1] if role == "enrolled" else KINDS
            found = [seen(shape, copy_of(picture, face, kind, generator), face) for kind in kinds]
            squares = [one[1] for one in found if one is not None]
            vectors += list(model.embed_squares(np.stack(squares))) if squares else []
            for kind, one in zip(kinds, found, strict=True):
                quality = None if one is None else one[0]
                rows.append({"half": half, "person": person, "role": role, "kind": kind, "quality": quality})
    return rows, np.stack(vectors)


def answered(model: Recognizer, rows: Rows, vectors: NDArray[np.float32]) -> Rows:
    """Return what is asked and found, with the decision of a gallery of its half."""
    there = [row for row in rows if row["quality"] is not None]
    asked: Rows = []
    for half in (0, 1):
        with (
            tempfile.TemporaryDirectory(prefix="steradian-") as scratch,
            Gallery.open(Path(scratch) / "g.db", model) as gallery,
        ):
            for row, vector in zip(there, vectors, strict=True):
                if row["half"] == half and row["role"] == "enrolled":
                    gallery.enroll_vectors(row["person"], vector[None], [""])
            names = {one.name for one in gallery.identities()}
            chosen = [number for number, row in enumerate(there) if row["half"] == half and row["role"] != "enrolled"]
            decisions = gallery.identify_vectors(vectors[chosen], top=5)
            for number, decision in zip(chosen, decisions, strict=True):
                known = there[number]["person"] in names
                asked.append({**there[number], "decision": decision, "known": known})
    return asked


def is_right(row: Row, decision: Decision) -> bool:
    """Return whether an answer is right: the name, or "unknown" for a stranger."""
    return decision.label == (row["person"] if row["known"] else None) and decision.decision != "ambiguous"


def logistic(inputs: NDArray[np.float64], right: NDArray[np.bool_]) -> list[float]:
    """Return weights, at least 0 each, and the bias of the logistic curve that fits best, with a little decay."""
    middle, spread = inputs.mean(axis=0), inputs.std(axis=0)
    scaled = np.column_stack([(inputs - middle) / spread, np.ones(len(inputs))])

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = scaled @ weights
        decay = 0.05 * np.append(weights[:-1], 0.0)
        chance = 0.5 * (1.0 + np.tanh(0.5 * logits))
        value = np.logaddexp(0.0, np.where(right, -logits, logits)).sum() + 0.5 * decay @ weights
        return float(value), scaled.T @ (chance - right) + decay

    bounds = [(0.0, None)] * inputs.shape[1] + [(None, None)]
    weights = minimize(loss, np.zeros(scaled.shape[1]), jac=True, bounds=bounds, method="L-BFGS-B").x
    slopes = weights[:-1] / spread
    return [*slopes.tolist(), float(weights[-1] - slopes @ middle)]


def fitted(asked: Rows, note: str) -> QualityGate:
    """Fit a gate on answers about pictures as they are and about `FITTED` copies."""
    used = [row for row in asked if row["kind"] in ("as it is", *FITTED)]
    known = [row for row in used if row["known"]]
    inputs = np.array([visible(row["quality"]) for row in known])
    right = np.array([is_right(row, row["decision"]) for row in known])
    sharpness, score, _ = logistic(inputs, right)
    curve = metrics.fit_isotonic(inputs @ [sharpness, score], right, np.ones(len(known)))
    knots = np.unique(np.linspace(0, len(curve.knots) - 1, min(len(curve.knots), KNOTS)).astype(int))
    named = [row for row in used if row["decision"].label is not None]
    visibilities = np.array([visible(row["quality"]) for row in named]) @ [sharpness, score]
    over = np.array([min(row["decision"].similarity - row["decision"].threshold, MOST_EXCESS) for row in named])
    right = np.array([is_right(row, row["decision"]) for row in named])
    name_visibility, name_excess, name_bias = logistic(np.column_stack([visibilities, over]), right)
    gate = QualityGate(
        sharpness=sharpness, score=score, sharp_enough=SHARP_ENOUGH, sure_enough=SURE_ENOUGH,
        visibilities=tuple(curve.knots[knots].tolist()), chances=tuple(curve.probabilities[knots].tolist()),
        name_visibility=name_visibility, name_excess=name_excess, name_bias=name_bias, most_excess=MOST_EXCESS,
        least_visibility=-100.0, least_trust=LEAST_TRUST, measured_on=note,
    )  # fmt: skip
    # The largest least visibility that loses no more of the right answers about pictures as they are.
    as_it_is = [row for row in asked if row["kind"] == "as it is" and is_right(row, row["decision"])]
    tried = np.sort([gate.visibility(row["quality"]) for row in as_it_is])
    lost = [np.mean([is_poor(row, gate, least) for row in as_it_is]) for least in tried]
    least = float(max(one for one, share in zip(tried, lost, strict=True) if share <= LOST))
    return gate.model_copy(update={"least_visibility": least})


def visible(quality: Quality) -> list[float]:
    """Return what `QualityGate.visibility` weighs."""
    sharpness = min(max(quality.sharpness, LEAST_SHARPNESS), SHARP_ENOUGH)
    return [float(np.log(sharpness)), min(quality.score, SURE_ENOUGH)]


def is_poor(row: Row, gate: QualityGate, least: float) -> bool:
    """Return whether an answer becomes "poor" by a gate with another least visibility."""
    changed = gate.model_copy(update={"least_visibility": least})
    return judged(row["decision"], row["quality"], changed)[0].decision == "poor"


def rates(asked: Rows, gates: dict[int, QualityGate]) -> dict[str, Any]:
    """Count what the gate of the other half makes of the answers of each half."""
    for row in asked:
        gate = gates[1 - row["half"]]
        row["poor"] = judged(row["decision"], row["quality"], gate)[0].decision == "poor"
        row["right"] = is_right(row, row["decision"])
        row["chance"] = gate.chance(row["quality"])
        label = row["decision"].label
        row["wrong name"] = label is not None and not row["right"]
    by_kind = {kind: counts([row for row in asked if row["kind"] == kind]) for kind in KINDS}
    known = [row for row in asked if row["known"] and row["kind"] in ("as it is", *FITTED)]
    tenths = np.array_split(sorted(known, key=lambda row: float(row["chance"])), 10)
    calibration = [[float(np.mean([one[key] for one in tenth])) for key in ("chance", "right")] for tenth in tenths]
    return {
        "the goal's copies": counts([row for row in asked if row["kind"] in FITTED]),
        "by kind": by_kind,
        "said chance and share right, by tenths": calibration,
    }


def counts(rows: Rows) -> dict[str, Any]:
    """Count right and wrong answers, and how many of them become "poor"."""
    wrong = [row for row in rows if not row["right"]]
    names = [row for row in rows if row["wrong name"]]
    right = [row for row in rows if row["right"]]
    return {
        "answers": len(rows),
        "wrong": len(wrong),
        "wrong that become poor": share(wrong),
        "wrong names": len(names),
        "wrong names that become poor": share(names),
        "right": len(right),
        "right that become poor": share(right),
        "right names": sum(row["known"] for row in right),
        "right names that become poor": share([row for row in right if row["known"]]),
    }


def share(rows: Rows) -> float | None:
    """Return which share of the answers becomes "poor"."""
    return float(np.mean([row["poor"] for row in rows])) if rows else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--cache", type=Path, default=Path("runs/faces"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = Recognizer.load("faces")
    model.accelerate()
    cache = args.cache / "quality.npz"
    if not cache.is_file():
        rows, vectors = collected(args.data, model)
        args.cache.mkdir(parents=True, exist_ok=True)
        plain = [{**row, "quality": row["quality"] and vars(row["quality"])} for row in rows]
        np.savez(cache, vectors=vectors, rows=np.array(json.dumps(plain)))
    kept = np.load(cache)
    rows = [{**row, "quality": row["quality"] and Quality(**row["quality"])} for row in json.loads(str(kept["rows"]))]
    asked = answered(model, rows, kept["vectors"])
    gates = {half: fitted([row for row in asked if row["half"] == half], "") for half in (0, 1)}
    pictures = [row for row in rows if row["role"] != "enrolled"]
    found = {kind: sum(row["quality"] is not None for row in pictures if row["kind"] == kind) for kind in KINDS}
    note = f"{len(asked)} pictures and worse copies of {PEOPLE} enrolled people and {STRANGERS} strangers"
    record = {
        **environment(),
        "pictures asked": len(pictures) // len(KINDS),
        "found": found,
        **rates(asked, gates),
        "gate": fitted(asked, note).model_dump(),
    }
    (HERE / "quality.json").write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
