"""Run a model of ``steradian export --to onnx`` with ONNX Runtime. Does not import torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from steradian.data.cores import available_cores
from steradian.errors import InputError, StorageError, UsageError
from steradian.extras import install
from steradian.models.calibration import Thresholds
from steradian.models.description import Description, read_description
from steradian.models.image_batch import Pictures, images_at_once, square_batch

if TYPE_CHECKING:
    import onnxruntime

GRAPH = "model.onnx"


class ExportedModel:
    """Embed images like the `Recognizer` it was exported from, to within 1e-4 in cosine. Thread-safe.

    Attributes:
        description: labels, input settings, calibration and thresholds.
    """

    def __init__(self, session: onnxruntime.InferenceSession, description: Description, model_id: str) -> None:
        self._session, self._input = session, session.get_inputs()[0].name
        self.description, self.model_id = description, model_id
        self.embedding_size = int(session.get_outputs()[0].shape[1])
        self.classes, self.preprocessing = tuple(description.labels), description.input.preprocessing
        self.calibration, self.thresholds = description.calibration, Thresholds(description.thresholds)
        self.strangers = description.strangers
        self.gate = description.gate

    @classmethod
    def load(cls, folder: str | Path) -> ExportedModel:
        """Open a folder that holds ``model.onnx`` and ``description.json``.

        Raises:
            UsageError: ONNX Runtime is not installed.
            StorageError: missing or damaged files, or a graph and a description of different models.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise UsageError(f"An exported model needs onnxruntime: {install('onnx')}") from error
        folder = Path(folder)
        description = read_description(folder)
        if description.model is None:
            raise StorageError(f"{folder} was exported from a model that was never saved: save it and export it again.")
        if not (folder / GRAPH).is_file():
            raise StorageError(f"{folder} holds no {GRAPH}: export it again with --to onnx.")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = available_cores()
        try:
            session = onnxruntime.InferenceSession(folder / GRAPH, options, providers=["CPUExecutionProvider"])
            embedded_description = json.loads(session.get_modelmeta().custom_metadata_map["steradian"])
            outputs = [(one.name, len(one.shape)) for one in session.get_outputs()]
        except Exception as error:
            # The exceptions of ONNX Runtime share no base class but Exception.
            raise StorageError(
                f"{folder / GRAPH} was not written by steradian export, or is damaged ({error}). Export it again."
            ) from error
        expected = [("embedding", 2), ("logits", 2)]
        if embedded_description != json.loads(description.model_dump_json()) or outputs != expected:
            raise StorageError(f"{folder}: {GRAPH} and the description beside it do not belong together. Export again.")
        return cls(session, description, description.model)

    def class_centers(self) -> NDArray[np.float32]:
        """Raise `InputError`: class centers are not exported."""
        raise InputError("an exported model holds no class centers: give the run that it was exported from.")

    def embed(self, images: Pictures) -> NDArray[np.float32]:
        """Return unit embeddings, float32 [N, D].

        Raises:
            DataError: an image that cannot be decoded.
        """
        return self.embed_squares(square_batch(images, self.preprocessing))

    def accelerate_for(self, images: int) -> None:
        """Do nothing: ONNX Runtime runs the export already."""

    def embed_squares(self, squares: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return unit embeddings, float32 [N, D], of what `Preprocessing.square` made, [N, channels, size, size]."""
        parts: list[Any] = [np.zeros((0, self.embedding_size), np.float32)]
        at_once = images_at_once(self.preprocessing.size)
        for start in range(0, len(squares), at_once):
            samples = squares[start : start + at_once].astype(np.float32) / np.float32(255.0)
            parts.append(self._session.run(["embedding"], {self._input: samples})[0])
        return np.concatenate(parts)
