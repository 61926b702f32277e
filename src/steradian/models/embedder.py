"""What a gallery asks of a model, whatever runs it; no torch unless the model needs it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import ArrayLike

from steradian.data.preprocessing import Preprocessing
from steradian.errors import StorageError
from steradian.files import read_json
from steradian.models.calibration import Calibration, Threshold
from steradian.models.description import DESCRIPTION

CARD = "model.json"


class Embedder(Protocol):
    """A `Recognizer`, or an `ExportedModel` that needs no torch."""

    @property
    def saved_id(self) -> str: ...
    @property
    def embedding_size(self) -> int: ...
    @property
    def preprocessing(self) -> Preprocessing: ...
    @property
    def calibration(self) -> Calibration | None: ...
    @property
    def thresholds(self) -> tuple[Threshold, ...]: ...
    def embed(self, images: Any) -> ArrayLike:
        """Unit vectors float32 [N, D]."""


def open_model(run: str | Path) -> Embedder:
    """The model of a run or model folder, by ONNX Runtime where it was exported for it and that is installed.

    ``steradian export RUN`` puts the export where this looks, in ``RUN/onnx``; one of another model, which was left by
    an earlier training, is passed over. A folder of ``steradian export`` may also be named itself.

    Raises:
        StorageError: missing, damaged or foreign files.
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
        folder = run if (run / CARD).is_file() else run / "model"
        known, told = read_json(folder / CARD), read_json(exported / DESCRIPTION)
    except StorageError:
        return False
    if not (isinstance(known, dict) and isinstance(told, dict)):
        return False
    # Thresholds may be fitted anew, which leaves the id as it is.
    pairs = (("id", "model"), ("calibration", "calibration"), ("thresholds", "thresholds"))
    return all(known.get(own) == told.get(other) for own, other in pairs)
