"""Load the built-in data sets."""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from steradian.data.cache_folder import cache_folder
from steradian.data.images import ArrayItems, ImageSet
from steradian.errors import DataError, UsageError
from steradian.files import atomic_folder

SAMPLE = "sample"

DESCRIPTIONS = {
    SAMPLE: "200 photographs of clothing, up to 208 pixels, 10 classes; shipped with steradian, CC0",
    "digits": "1,797 handwritten digits, 8x8 gray, 10 classes; shipped with scikit-learn",
    "mnist": "70,000 handwritten digits, 28x28 gray, 10 classes",
    "fashion-mnist": "70,000 articles of clothing, 28x28 gray, 10 classes",
    "cifar10": "60,000 small photos, 32x32 RGB, 10 classes",
}
NAMES = tuple(DESCRIPTIONS)


def data_root(root: Path | None = None) -> Path:
    """Return the folder of built-in sets: ``root``, else ``STERADIAN_DATA``, else a folder in the user's cache."""
    configured = os.environ.get("STERADIAN_DATA")
    return root or (Path(configured) if configured else cache_folder())


def load(name: str, root: Path | None = None) -> ImageSet | Path:
    """Return the set ``name``, or the path of an .npz, .zip or image folder that holds it.

    These are tried in order: torchvision's layout under the root; a folder called ``name`` under the root, or
    ``root`` itself if given, with exactly one .npz or .zip, or with train/ or test/ folders; a download.
    """
    if name == "digits":
        return _digits()
    if name == SAMPLE:
        return sample_archive()
    folder = data_root(root)
    try:
        return _from_torchvision(name, folder, download=False)
    except (RuntimeError, OSError, ValueError, EOFError) as error:
        reason = _first_line(error)
    for candidate in (folder / name, folder) if root is not None else (folder / name,):
        if (copy := _local_copy(candidate)) is not None:
            return copy
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _from_torchvision(name, folder, download=True)
    except (RuntimeError, OSError, ValueError, EOFError) as error:
        raise DataError(
            f"The data set {name!r} is not in {folder} ({reason}) and could not be downloaded "
            f"({_first_line(error)}). Connect to the network, or give the folder that holds it with "
            "--root or the environment variable STERADIAN_DATA."
        ) from error


def sample_archive() -> Path:
    """Return the zip of the photographs that are part of steradian."""
    return Path(__file__).with_name("clothing.zip")


def copy_sample(folder: str | Path) -> int:
    """Write the built-in photographs into ``folder``, one folder per class, whole or not at all; return how many.

    Copying to the same folder again does nothing.

    Raises:
        UsageError: ``folder`` holds something else.
    """
    target = Path(folder)
    with zipfile.ZipFile(sample_archive()) as archive:
        members = archive.namelist()
        images = sum(name.endswith(".jpg") for name in members)
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            if all((target / name).is_file() for name in members):
                return images
            raise UsageError(f"{target} already exists and holds something else: choose another folder.")
        with atomic_folder(target) as temporary:
            for name in members:
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                (temporary / name).write_bytes(archive.read(name))
    return images


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _local_copy(folder: Path) -> Path | None:
    """Return a user's copy of a set in ``folder``: its only .npz or .zip, or the folder if it has train/ or test/."""
    if not folder.is_dir():
        return None
    for suffix in (".npz", ".zip"):
        files = sorted(folder.glob(f"*{suffix}"))
        if len(files) == 1:
            return files[0]
    return folder if (folder / "train").is_dir() or (folder / "test").is_dir() else None


def _digits() -> ImageSet:
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = (digits.images * (255.0 / 16.0)).round().astype(np.uint8)
    return ImageSet("digits", ArrayItems("digits", pixels), digits.target.astype(np.int64), tuple("0123456789"))


def _from_torchvision(name: str, folder: Path, download: bool) -> ImageSet:
    """Load both official parts with torchvision, which checks the md5 of CIFAR's pickles before opening them."""
    from torchvision import datasets

    makers: dict[str, Callable[..., Any]] = {
        "mnist": datasets.MNIST,
        "fashion-mnist": datasets.FashionMNIST,
        "cifar10": datasets.CIFAR10,
    }
    with warnings.catch_warnings():
        # torchvision reads pickles with old numpy dtypes; numpy 2 warns that they are deprecated.
        warnings.simplefilter("ignore")
        parts = [makers[name](str(folder), train=train, download=download) for train in (True, False)]
    pixels = np.concatenate([np.asarray(part.data, dtype=np.uint8) for part in parts])
    labels = np.concatenate([np.asarray(part.targets, dtype=np.int64) for part in parts])
    splits = np.repeat(["train", "test"], [len(part) for part in parts])
    return ImageSet(name, ArrayItems(name, pixels), labels, tuple(str(label) for label in parts[0].classes), splits)
