"""Write real photographs in the layout of Google Landmarks v2: index files, and images in PART/a/b/c/abc….jpg.

    python benchmarks/landmarks/layout.py --data DIR --out gldv2

DIR holds monuments49.zip, dogs60.zip and clothing_small. Each seed divides anew: 41 monuments are landmarks, of whose
images 60 % are in its train.csv, 20 % are queries to choose with (public) and 20 % to report (private). Four of the
other monuments, which no train.csv of the seed names, are strangers among each of the queries, beside clothing and
dogs. Options are chosen by the public queries of the first seed, which are no private queries of any seed. Clothing and
dogs are made as small as the monuments, so that sharpness does not tell them apart.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

SEEDS = range(5)
SIDE = 64
UNSEEN = 4
"""Monuments that are strangers among the public queries, and as many among the private ones."""

MOST_DOGS = {"public": 400, "private": 840}
ARRANGEMENTS = ("even", "tail")
"""Training images of a landmark: all, or from all down to two by the power law of `TAIL`, as in the competition."""

TAIL = -0.75


def image_id(name: str) -> str:
    """Return 16 hexadecimal digits, as the images of Google Landmarks are named."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def landmark_id(name: str) -> int:
    """Return a number below 203,094, the number of landmarks of Google Landmarks v2."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % 203_094


def photographs(data: Path) -> Iterator[tuple[str, str, str, bytes]]:
    """Yield kind, class, name and file of each photograph."""
    for kind, archive in (("monument", "monuments49.zip"), ("dogs", "dogs60.zip")):
        with zipfile.ZipFile(data / archive) as opened:
            for name in sorted(opened.namelist()):
                if name.endswith(".jpg"):
                    yield kind, name.split("/")[-2], f"{archive}/{name}", opened.read(name)
    for file in sorted((data / "clothing_small").glob("*/*/*.jpg")):
        name = str(file.relative_to(data))
        if "/train/" not in name:
            yield "clothing", file.parent.name, name, file.read_bytes()


def small(content: bytes) -> bytes:
    """Return the middle square of a picture in `SIDE` pixels."""
    square = ImageOps.fit(Image.open(io.BytesIO(content)).convert("RGB"), (SIDE, SIDE), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    square.save(written, "JPEG", quality=90)
    return written.getvalue()


def write_images(data: Path, out: Path) -> dict[str, list[tuple[str, str, str]]]:
    """Write the images; return by kind the class, the id and the name of each."""
    rows: dict[str, list[tuple[str, str, str]]] = {"monument": [], "dogs": [], "clothing": []}
    generator = np.random.default_rng(0)
    chosen: list[tuple[str, str, str, bytes]] = []
    every = list(photographs(data))
    for part, most in MOST_DOGS.items():
        folder = "/test/" if part == "private" else "/train/"
        dogs = [one for one in every if one[0] == "dogs" and folder in one[2]]
        chosen += [dogs[index] for index in sorted(generator.permutation(len(dogs))[:most])]
    chosen += [one for one in every if one[0] != "dogs"]
    for kind, label, name, content in chosen:
        key = image_id(name)
        file = out / ("train" if kind == "monument" else "test") / key[0] / key[1] / key[2] / f"{key}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if kind == "monument" else small(content))
        rows[kind].append((label, key, name))
    return rows


def write_csv(file: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table."""
    with file.open("w", newline="", encoding="utf-8") as opened:
        csv.writer(opened).writerows([header, *rows])


def write_indices(out: Path, rows: dict[str, list[tuple[str, str, str]]], seed: int, chosen_by: set[str]) -> set[str]:
    """Write the index files of one seed: train-even, train-tail, public and private; return the public images.

    ``chosen_by`` are images that options were chosen by: they are no private queries.
    """
    generator = np.random.default_rng(seed)
    names = sorted({label for label, _, _ in rows["monument"]})
    order = generator.permutation(len(names))
    strangers = {"public": order[:UNSEEN], "private": order[UNSEEN : 2 * UNSEEN]}
    train: dict[str, list[tuple[str, str, int]]] = {kind: [] for kind in ARRANGEMENTS}
    queries: dict[str, list[tuple[str, object, str]]] = {"public": [], "private": []}
    for place, number in enumerate(order[2 * UNSEEN :]):
        own = [(key, name) for label, key, name in rows["monument"] if label == names[number]]
        own = [own[index] for index in generator.permutation(len(own))]
        first, second = round(0.6 * len(own)), round(0.8 * len(own))
        few = max(2, round(first * (place + 1) ** TAIL))
        landmark = landmark_id(names[number])
        for kind, count in (("even", first), ("tail", few)):
            train[kind] += [(key, f"file:{name}", landmark) for key, name in own[:count]]
        queries["public"] += [(key, landmark, "Public") for key, _ in own[first:second]]
        queries["private"] += [(key, landmark, "Private") for key, _ in own[second:]]
    for part, chosen in strangers.items():
        picked = {names[number] for number in chosen}
        usage = part.capitalize()
        queries[part] += [(key, landmark_id(label), usage) for label, key, _ in rows["monument"] if label in picked]
        folders = ("/test/",) if part == "private" else ("/train/", "/validation/")
        queries[part] += [
            (key, "", usage)
            for _, key, name in rows["dogs"] + rows["clothing"]
            if any(folder in name for folder in folders)
        ]
    for kind, lines in train.items():
        write_csv(out / f"train-{kind}-{seed}.csv", ("id", "url", "landmark_id"), sorted(lines))
    queries["private"] = [row for row in queries["private"] if row[0] not in chosen_by]
    for part, asked in queries.items():
        write_csv(out / f"{part}-{seed}.csv", ("id", "landmarks", "Usage"), sorted(asked))
    return {key for key, _, _ in queries["public"]}


def main() -> None:
    """Write the images once and the index files of every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    rows = write_images(args.data, args.out)
    everything = [
        (key, landmark_id(label) if kind == "monument" else "", "")
        for kind, found in rows.items()
        for label, key, _ in found
    ]
    write_csv(args.out / "everything.csv", ("id", "landmarks", "Usage"), everything)
    labels = sorted({label for label, _, _ in rows["monument"]})
    write_csv(args.out / "categories.csv", ("landmark_id", "category"), [(landmark_id(one), one) for one in labels])
    chosen_by: set[str] = set()
    for seed in SEEDS:
        public = write_indices(args.out, rows, seed, chosen_by)
        chosen_by = chosen_by or public
    print({kind: len(found) for kind, found in rows.items()})


if __name__ == "__main__":
    main()
