"""Find a model: a model or run folder, a built-in name, or a repository on the Hugging Face hub."""

from __future__ import annotations

import difflib
from importlib import resources
from pathlib import Path

from steradian.errors import StorageError, UsageError
from steradian.models.description import DESCRIPTION
from steradian.models.hub import PREFIX, fetch

MANIFEST = "model.json"

BUILT_IN = {"general": "lite0", "lite0": "lite0", "lite2": "lite2", "glyphs": "glyphs", "faces": "faces"}
"""Name of a built-in model -> its folder in this package."""


def is_name(location: str | Path) -> bool:
    """Return whether ``location`` names a built-in model or a repository on the hub, rather than a folder.

    A built-in name goes first, unless a folder of that name holds a model.
    """
    if str(location) in BUILT_IN:
        return not holds_model(location)
    return str(location).startswith(PREFIX) and not Path(location).exists()


def is_built_in(folder: Path) -> bool:
    """Return whether ``folder`` is that of a built-in model."""
    return folder.parent == _package_folder() and folder.name in BUILT_IN.values()


def check_location(location: str | Path) -> None:
    """Raise `UsageError` unless ``location`` names a model or is an existing path. Opens nothing."""
    path = Path(location)
    if is_name(location) or path.exists():
        return
    beside = [*BUILT_IN, *(str(path.parent / entry.name) for entry in _entries(path.parent))]
    close = difflib.get_close_matches(str(path), beside, n=1, cutoff=0.6)
    hint = f" Did you mean {close[0]!r}?" if close else f" Built-in models are {', '.join(BUILT_IN)}."
    raise UsageError(f"{str(location)!r} does not exist.{hint}")


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def model_folder(location: str | Path, revision: str | None = None) -> Path:
    """Return the folder that holds the model at ``location``, of a hub repository at a ``revision``.

    A location is a model folder, a run folder with one called ``model``, a name of `BUILT_IN` or ``hf-hub:OWNER/NAME``.
    """
    path = Path(location)
    on_hub = str(location).startswith(PREFIX) and not path.exists()
    if revision is not None and not on_hub:
        raise UsageError(f"{location} is not on the hub, so it has no revisions: leave revision={revision!r} out.")
    if on_hub:
        path = fetch(str(location), revision)
    elif is_name(location):
        path = _package_folder() / BUILT_IN[str(location)]
    for folder in (path, path / "model"):
        if (folder / MANIFEST).is_file():
            return folder
    if (path / DESCRIPTION).is_file():
        raise StorageError(
            f"{path} is an exported model, for identify and for other programs. Name the run that it was exported from."
        )
    raise StorageError(f"{path} holds no model: {MANIFEST} was expected in it or in its subfolder model/.")


def _package_folder() -> Path:
    return Path(str(resources.files("steradian.models")))


def names_model(location: str | Path) -> bool:
    """Return whether ``location`` is the name of a built-in model, a model folder or a run folder with a model."""
    return str(location) in BUILT_IN or holds_model(location)


def holds_model(path: str | Path) -> bool:
    """Return whether ``path`` is a model folder, or a run folder with a model."""
    return any((folder / MANIFEST).is_file() for folder in (Path(path), Path(path) / "model"))
