"""Make a set as large as Google Landmarks: distinct paths that are hard links to a few thousand real photographs."""

from __future__ import annotations

import argparse
import os
import zipfile
from pathlib import Path

import numpy as np

IMAGES, CLASSES = 1_580_470, 81_313
LINKS = 50_000
"""Most names of one file, below what file systems allow."""


def labels_of(images: int, classes: int, seed: int = 0) -> np.ndarray:
    """Draw the class of each image, int64: every class at least once, sizes with the long tail of landmarks."""
    rng = np.random.default_rng(seed)
    weights = rng.pareto(1.2, classes) + 0.2
    drawn = rng.choice(classes, images - classes, p=weights / weights.sum())
    return rng.permutation(np.concatenate([np.arange(classes), drawn]))


def make(folder: Path, archive: Path, images: int = IMAGES, classes: int = CLASSES) -> Path:
    """Write ``folder/train.csv`` (path, label) and its files, which are links to those of ``archive``; return it."""
    table = folder / "train.csv"
    if table.is_file():
        return table
    originals = folder / "originals"
    originals.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive) as source:
        members = [info for info in source.infolist() if info.filename.lower().endswith(".jpg")]
        for number, info in enumerate(members):
            (originals / f"{number}.jpg").write_bytes(source.read(info))
    if images > LINKS * len(members):
        raise SystemExit(f"{archive} holds {len(members)} photographs, too few for {images:,} links.")
    labels = labels_of(images, classes)
    for first in range(4096):
        name = f"{first:03x}"
        (folder / "train" / name[0] / name[1] / name[2]).mkdir(parents=True, exist_ok=True)
    lines = ["path,label"]
    for number in range(images):
        key = f"{(number * 2654435761) % 2**32:08x}{number:08x}"
        path = f"train/{key[0]}/{key[1]}/{key[2]}/{key}.jpg"
        os.link(originals / f"{number % len(members)}.jpg", folder / path)
        lines.append(f"{path},{labels[number]}")
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archive", type=Path, required=True, help="a zip of photographs")
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--classes", type=int, default=CLASSES)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    print(make(options.folder, options.archive, options.images, options.classes))
