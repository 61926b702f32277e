"""Find a model: a model or run folder, a built-in name, or a repository on the Hugging Face hub."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from steradian.errors import StorageError, UsageError
from steradian.models.description import DESCRIPTION
from steradian.models.hub import PREFIX, fetch

MANIFEST = "model.json"

BUILT_IN = ("glyphs",)
"""Names of the models in the package."""


def is_name(location: str | Path) -> bool:
    """Return whether ``location`` names a built-in model or a repository on the hub, rather than a folder."""
    return (str(location) in BUILT_IN or str(location).startswith(PREFIX)) and not Path(location).exists()


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
    if str(path) in BUILT_IN and not path.exists():
        path = Path(str(resources.files("steradian.models"))) / str(path)
    for folder in (path, path / "model"):
        if (folder / MANIFEST).is_file():
            return folder
    if (path / DESCRIPTION).is_file():
        raise StorageError(
            f"{path} is an exported model, for identify and for other programs. Name the run that it was exported from."
        )
    raise StorageError(f"{path} holds no model: {MANIFEST} was expected in it or in its subfolder model/.")


def holds_model(path: str | Path) -> bool:
    """Return whether ``path`` is a model folder, or a run folder with a model."""
    return any((folder / MANIFEST).is_file() for folder in (Path(path), Path(path) / "model"))
