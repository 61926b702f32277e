"""The interface that a gallery needs of a model. Imports torch only if the model needs it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from steradian.data.preprocessing import Preprocessing
from steradian.errors import StorageError
from steradian.files import read_json
from steradian.models.calibration import Calibration, StrangerScores, Thresholds
from steradian.models.description import DESCRIPTION
from steradian.models.locations import MANIFEST
from steradian.models.quality_gate import QualityGate


class Embedder(Protocol):
    """A `Recognizer`, or an `ExportedModel` that needs no torch."""

    @property
    def model_id(self) -> str: ...
    @property
    def embedding_size(self) -> int: ...
    @property
    def preprocessing(self) -> Preprocessing: ...
    @property
    def calibration(self) -> Calibration | None: ...
    @property
    def thresholds(self) -> Thresholds: ...
    @property
    def strangers(self) -> tuple[StrangerScores, ...]: ...
    @property
    def gate(self) -> QualityGate | None:
        """When an answer about a region cannot be trusted; None where that was not measured."""

    @property
    def classes(self) -> tuple[str, ...]: ...
    def class_centers(self) -> NDArray[np.float32]:
        """Return one center of each class, [C, D]. Raises `InputError` for an export, which holds none."""

    def accelerate_for(self, images: int) -> None:
        """Get ready to embed this many images, if that takes any time that pays off."""

    def embed(self, images: Any) -> NDArray[np.float32]:
        """Return unit embeddings, float32 [N, D]."""

    def embed_squares(self, squares: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return unit embeddings, float32 [N, D], of what `Preprocessing.square` made, [N, channels, size, size]."""


def open_model(run: str | Path) -> Embedder:
    """Open the model of a run or model folder; if it has an ONNX export, run that with ONNX Runtime if installed.

    ``steradian export RUN`` writes the export to ``RUN/onnx``, where this function looks for it. An outdated export of
    an earlier training is ignored. ``run`` may also be the folder of an export.
    """
    path = Path(run)
    exported = path if (path / DESCRIPTION).is_file() else path / "onnx"
    if (exported / "model.onnx").is_file() and (exported == path or _exported_from(exported, path)):
        from steradian.models.exported import ExportedModel

        return ExportedModel.load(exported)
    from steradian.models.recognizer import Recognizer

    return Recognizer.load(path)


def _exported_from(exported: Path, run: Path) -> bool:
    if importlib.util.find_spec("onnxruntime") is None:
        return False
    try:
        folder = run if (run / MANIFEST).is_file() else run / "model"
        manifest, description = read_json(folder / MANIFEST), read_json(exported / DESCRIPTION)
    except StorageError:
        return False
    if not (isinstance(manifest, dict) and isinstance(description, dict)):
        return False
    # Refitting thresholds does not change the id, so compare them too.
    same = ("calibration", "thresholds", "strangers", "gate")
    pairs = (("id", "model"), *((name, name) for name in same))
    return all(manifest.get(key) == description.get(exported_key) for key, exported_key in pairs)
