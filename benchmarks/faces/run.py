"""Faces from whole pictures: found, aligned and embedded by the product's own pipeline.

    python benchmarks/faces/run.py pairs --data DIR
    python benchmarks/faces/run.py groups --data DIR
    python benchmarks/faces/run.py nobody --data DIR

``pairs``: the official pairs of LFW's development folds, every pair counted. Where no face is found the middle of the
picture is taken. ``groups``: photos composed of two to eight of those faces on photographs of monuments. ``nobody``:
pictures of monuments, road signs and dogs, in which faces are found all the same.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import steradian as st
from steradian import metrics
from steradian.finding import Region, find
from steradian.finding.regions import most_prominent
from steradian.gallery import Gallery
from steradian.gallery.photos import identify_photo
from steradian.training.resources import environment

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "quality"))

from run import FOLDS, Pair, accuracy_by_folds, read_pairs  # noqa: E402 - of the benchmark beside this one

Squares = dict[str, NDArray[np.uint8]]

PHOTOS, ENROLLED, PASTED, CANVAS = 150, 200, (2, 8), (1600, 1200)
"""Composed photos, people in the gallery, faces of a photo, and its size."""


def pictures(data: Path, names: list[str]) -> dict[str, NDArray[np.uint8]]:
    """Return pictures of the archive by name."""
    with zipfile.ZipFile(data / "lfw_dev.zip") as archive:
        return {name: np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB")) for name in names}


def accepted(scores: NDArray[np.float64], same: NDArray[np.bool_], far: float) -> float:
    """Return the share of the pairs of one person that are accepted where a share ``far`` of the others is."""
    return metrics.tar_at_far(metrics.PairScores(scores[same], scores[~same]), far).tar


def measured(
    model: st.Recognizer, squares: Squares, pairs: list[Pair], generator: np.random.Generator
) -> dict[str, Any]:
    """Compare the pairs by the squares of their pictures; intervals resample pairs."""
    names = sorted(squares)
    vectors = dict(zip(names, model.embed_squares(np.stack([squares[name] for name in names])), strict=True))
    scores = np.array([float(vectors[a] @ vectors[b]) for _, a, b, _ in pairs])
    same, folds = np.array([pair[3] for pair in pairs]), np.array([pair[0] for pair in pairs])
    tar = {far: accepted(scores, same, far) for far in (1e-2, 1e-3)}
    drawn = [generator.integers(0, len(pairs), len(pairs)) for _ in range(1000)]
    again = [accepted(scores[rows], same[rows], 1e-3) for rows in drawn]
    by_fold = [accuracy_of(scores, same, folds, fold) for fold in range(FOLDS)]
    return {
        "accuracy": accuracy_by_folds(scores, same, folds),
        "accuracy_by_fold": by_fold,
        "tar": {f"{far:g}": value for far, value in tar.items()},
        "tar_interval_at_1e-3": np.nanquantile(again, [0.025, 0.975]).tolist(),
        "far_of_thresholds": {f"{one.far:g}": float((scores[~same] > one.cosine).mean()) for one in model.thresholds},
        "tar_of_thresholds": {f"{one.far:g}": float((scores[same] > one.cosine).mean()) for one in model.thresholds},
    }


def accuracy_of(scores: NDArray[np.float64], same: NDArray[np.bool_], folds: NDArray[np.int64], fold: int) -> float:
    """Return the accuracy of one fold with the threshold that is best on the others."""
    others = folds != fold
    candidates = np.unique(scores[others])
    right = [((scores[others] > one) == same[others]).mean() for one in candidates]
    best = candidates[int(np.argmax(right))]
    return float(((scores[~others] > best) == same[~others]).mean())


def pairs(data: Path) -> dict[str, Any]:
    """Compare LFW's pairs, with aligned faces and with the squares of the boxes."""
    listed = read_pairs(data / "lfw_dev_pairs.txt")
    names = sorted({name for pair in listed for name in pair[1:3]})
    model = st.Recognizer.load("faces")
    shape = model.preprocessing
    shown = pictures(data, names)
    aligned, boxed, missed, several = {}, {}, [], 0
    finding = embedding = 0.0
    for name, pixels in shown.items():
        begun = time.process_time()
        regions = find(pixels, shape.finder)
        several += len(regions) > 1
        if not regions:
            missed.append(name)
            (region,) = find(pixels, "center")
        else:
            region = most_prominent(regions, pixels.shape[1], pixels.shape[0])
        aligned[name] = shape.cut(pixels, region)
        finding += time.process_time() - begun
        # The box alone, with the room around it that the aligned square has.
        boxed[name] = shape.cut(pixels, _roomy(region))
    model.accelerate()
    begun = time.process_time()
    model.embed_squares(np.stack([aligned[name] for name in names[:500]]))
    embedding = (time.process_time() - begun) / 500
    generator = np.random.default_rng(0)
    found = {one for one in names if one not in missed}
    both = [pair for pair in listed if pair[1] in found and pair[2] in found]
    return {
        "pairs": len(listed),
        "pictures": len(names),
        "not_found": len(missed),
        "several": several,
        "ms_to_find_and_cut": 1000 * finding / len(names),
        "ms_to_embed": 1000 * embedding,
        "aligned": measured(model, aligned, listed, generator),
        "boxes": measured(model, boxed, listed, generator),
        "aligned_where_both_are_found": {"pairs": len(both), **measured(model, aligned, both, generator)},
    }


def _roomy(region: Region) -> Region:
    left, top, right, bottom = region.box
    room = 0.1 * region.side
    return Region((left - room, top - room, right + room, bottom + room))


def groups(data: Path) -> dict[str, Any]:
    """Paste faces into photographs, and count who is found and named, with and without one name for one region."""
    generator = np.random.default_rng(0)
    with zipfile.ZipFile(data / "lfw_dev.zip") as archive:
        people: dict[str, list[str]] = {}
        for name in archive.namelist():
            if name.endswith(".jpg"):
                people.setdefault(name.split("/")[0], []).append(name)
    with zipfile.ZipFile(data / "monuments49.zip") as archive:
        backgrounds = [name for name in archive.namelist() if name.lower().endswith((".jpg", ".jpeg", ".png"))]
        chosen = generator.permutation(backgrounds)[:PHOTOS]
        scenes = [Image.open(io.BytesIO(archive.read(name))).convert("RGB").resize(CANVAS) for name in chosen]
    known = [person for person in generator.permutation(sorted(people)) if len(people[person]) >= 2]
    enrolled, strangers = known[:ENROLLED], known[ENROLLED:]
    model = st.Recognizer.load("faces")
    model.accelerate()
    wanted = sorted({name for person in known for name in people[person][:2]})
    shown = pictures(data, wanted)
    totals = dict.fromkeys(("pasted", "found", "other"), 0)
    counts = {rule: {"right": 0, "wrong": 0, "missed": 0, "strangers": 0, "named": 0} for rule in ("once", "repeated")}
    seconds = 0.0
    with (
        tempfile.TemporaryDirectory(prefix="steradian-") as scratch,
        Gallery.open(Path(scratch) / "g.db", model) as gallery,
    ):
        for person in enrolled:
            pixels = shown[people[person][0]]
            regions = find(pixels)
            if regions:
                region = most_prominent(regions, pixels.shape[1], pixels.shape[0])
                vector = model.embed_squares(model.preprocessing.cut(pixels, region)[None])
                gallery.enroll_vectors(person, vector, [""])
        names = {one.name for one in gallery.identities()}
        for scene in scenes:
            truth, photo = _composed(scene.copy(), enrolled, strangers, people, shown, generator)
            begun = time.process_time()
            answers = {rule: identify_photo(gallery, photo, repeated=rule == "repeated") for rule in counts}
            seconds += (time.process_time() - begun) / 2
            totals["pasted"] += len(truth)
            for rule, regions_answered in answers.items():
                for answer in regions_answered:
                    person = _person_at(answer.region, truth)
                    if person is None:
                        totals["other"] += rule == "once"
                        continue
                    totals["found"] += rule == "once"
                    label, count = answer.decision.label, counts[rule]
                    if person in names:
                        count["right"] += label == person
                        count["wrong"] += label not in (person, None)
                        count["missed"] += label is None
                    else:
                        count["strangers"] += 1
                        count["named"] += label is not None
        enrolled_now = len(names)
    spent = seconds / len(scenes)
    return {"enrolled": enrolled_now, "photos": len(scenes), "seconds_a_photo": spent, **totals, **counts}


def _composed(
    scene: Image.Image,
    enrolled: list[str],
    strangers: list[str],
    people: dict[str, list[str]],
    shown: dict[str, NDArray[np.uint8]],
    generator: np.random.Generator,
) -> tuple[list[tuple[str, tuple[float, float, float, float]]], NDArray[np.uint8]]:
    """Paste second pictures of people, two of three enrolled, into a grid of the scene; return who is where."""
    count = int(generator.integers(PASTED[0], PASTED[1] + 1))
    cells = generator.permutation(12)[:count]
    pools = [enrolled if generator.random() < 2 / 3 else strangers for _ in range(count)]
    names = [str(pool[generator.integers(len(pool))]) for pool in pools]
    truth = []
    for name, cell in zip(dict.fromkeys(names), cells, strict=False):
        side = int(generator.integers(150, 380))
        left, top = int(cell % 4) * 400, int(cell // 4) * 400
        scene.paste(Image.fromarray(shown[people[name][1]]).resize((side, side)), (left, top))
        truth.append((name, (float(left), float(top), float(left + side), float(top + side))))
    return truth, np.asarray(scene)


def _person_at(region: Region, truth: list[tuple[str, tuple[float, float, float, float]]]) -> str | None:
    """Return whose picture has the region at its middle; None for a face elsewhere."""
    x, y = (region.box[0] + region.box[2]) / 2, (region.box[1] + region.box[3]) / 2
    for name, (left, top, right, bottom) in truth:
        side = right - left
        if abs(x - (left + right) / 2) < side / 5 and abs(y - (top + bottom) / 2) < side / 5:
            return name
    return None


def nobody(data: Path) -> dict[str, Any]:
    """Count in how many pictures of other things the finder sees a face, and in how many a sure one."""
    shares: dict[str, Any] = {}
    for name in ("monuments49", "gtsrb_dev", "imagewoof_train"):
        with zipfile.ZipFile(data / f"{name}.zip") as archive:
            images = [one for one in archive.namelist() if one.lower().endswith((".jpg", ".jpeg", ".png", ".ppm"))]
            chosen = np.random.default_rng(0).permutation(images)[:PHOTOS]
            found = [find(np.asarray(Image.open(io.BytesIO(archive.read(one))).convert("RGB"))) for one in chosen]
        sure = [any(region.score > 0.0 for region in regions) for regions in found]
        shares[name] = {"any": float(np.mean([len(one) > 0 for one in found])), "sure": float(np.mean(sure))}
    return shares


PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {"pairs": pairs, "groups": groups, "nobody": nobody}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--data", required=True, type=Path, help="folder with the sets that DATA lists")
    args = parser.parse_args()
    torch.set_num_threads(1)
    record = {**environment(), **PARTS[args.part](args.data)}
    (HERE / f"{args.part}.json").write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
