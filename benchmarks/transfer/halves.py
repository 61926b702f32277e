"""Write the data of the two transfer studies, small enough for their networks to train within minutes.

    python benchmarks/transfer/halves.py --omniglot omniglot_background_28.npz --cifar10 cifar10_jpg.zip --out DIR

Writes DIR/omniglot.npz, the five alphabets that Lake et al. (2015) call "background small 1" (136 characters of 20
drawings), and DIR/cifar10/, the first images of each class in train/CLASS/ and test/CLASS/.
"""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path

import numpy as np

ALPHABETS = ("Balinese", "Early_Aramaic", "Greek", "Korean", "Latin")
TRAIN, TEST = 500, 1000


def omniglot(source: Path, out: Path) -> None:
    """Write the drawings of `ALPHABETS` with renumbered labels."""
    with np.load(source, allow_pickle=False) as content:
        pixels, labels, names = content["x"], content["y"], content["names"]
    chosen = np.array([str(name).split("/")[0] in ALPHABETS for name in names])
    new_label = np.cumsum(chosen) - 1
    selected = chosen[labels]
    np.savez(out, x=pixels[selected], y=new_label[labels[selected]], names=names[chosen])


def cifar10(source: Path, out: Path) -> None:
    """Write the first `TRAIN` and `TEST` images of each class as files in folders."""
    with zipfile.ZipFile(source) as archive:
        members = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        for part, count in (("train", TRAIN), ("test", TEST)):
            for label in sorted({name.split("/")[-2] for name in members}):
                class_members = [name for name in members if f"{part}/{label}/" in name]
                for name in class_members[:count]:
                    path = out / part / label / Path(name).name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(archive.read(name))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--omniglot", type=Path, required=True)
    parser.add_argument("--cifar10", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    omniglot(args.omniglot, args.out / "omniglot.npz")
    cifar10(args.cifar10, args.out / "cifar10")


if __name__ == "__main__":
    main()
