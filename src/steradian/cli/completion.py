"""What the tab key completes: names that are built in, and paths beside them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def data_names(incomplete: str) -> list[str]:
    """Return built-in data sets and paths."""
    from steradian.data.catalog import NAMES

    return [*_beginning(NAMES, incomplete), *paths(incomplete)]


def model_names(incomplete: str) -> list[str]:
    """Return built-in models and paths."""
    from steradian.models.locations import BUILT_IN

    return [*_beginning(BUILT_IN, incomplete), *paths(incomplete)]


def loss_names(incomplete: str) -> list[str]:
    """Return losses; in a list with commas, the last one is completed."""
    from steradian.losses import names

    before, comma, last = incomplete.rpartition(",")
    chosen = before.split(",")
    return [f"{before}{comma}{name}" for name in _beginning(names(), last) if name not in chosen]


def encoder_names(incomplete: str) -> list[str]:
    """Return the encoders that need no other package."""
    from steradian.models.encoders import OWN
    from steradian.models.weight_packages import PACKAGES

    return _beginning([*PACKAGES, *OWN], incomplete)


def weight_origins(incomplete: str) -> list[str]:
    """Return the origins of weights that have a name, and paths."""
    return [*_beginning(("package", "hub"), incomplete), *paths(incomplete)]


def export_formats(incomplete: str) -> list[str]:
    """Return the formats of ``export``."""
    return _beginning(("onnx", "openvino", "pt2"), incomplete)


def protocols(incomplete: str) -> list[str]:
    """Return protocols of ``evaluate``; in a list with commas, the last one is completed."""
    from steradian.studies.evaluation.protocols import PROTOCOLS

    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in _beginning(PROTOCOLS, last)]


def paths(incomplete: str) -> list[str]:
    """Return files and folders that begin like this; folders end with a slash."""
    folder, _, beginning = incomplete.rpartition("/")
    where = Path(folder or ("/" if incomplete.startswith("/") else "."))
    if not where.is_dir():
        return []
    prefix = f"{folder}/" if "/" in incomplete else ""
    entries = sorted(entry for entry in where.iterdir() if entry.name.startswith(beginning))
    hidden = beginning.startswith(".")
    return [
        f"{prefix}{entry.name}{'/' if entry.is_dir() else ''}"
        for entry in entries
        if hidden or not entry.name.startswith(".")
    ]


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
