"""A model for other runtimes: preprocessing inside, what it knows beside it, and checked before it is kept.

The exported graph takes samples in [0, 1], float32 [N, channels, size, size], of the middle square of an image, and
gives

* ``embedding`` float32 [N, D], unit vectors,
* ``logits`` float32 [N, C], margin-free, to be divided by the temperature before the softmax.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from steradian.data.preprocessing import Preprocessing
from steradian.errors import StorageError, UsageError
from steradian.files import atomic_folder
from steradian.losses.head.dense import unit_rows
from steradian.models.description import DESCRIPTION, Description, Input, read_description
from steradian.models.recognizer import Recognizer
from steradian.models.runtimes import onnx_bytes, silence

LEAST_COSINE, MOST_APART = 1.0 - 1e-4, 1e-3
"""An exported model gives the embeddings of this one, and its logits in parts of the greatest, to so much, or is not
written."""

OUTPUTS = ("embedding", "logits")


class Exported(nn.Module):
    """Samples in [0, 1] -> (embedding, logits)."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: Recognizer) -> None:
        super().__init__()
        self.encoder, self.neck, self.head = model.encoder, model.neck, model.as_head
        self.mirrored = model.spec.mirrored
        shape = model.spec.preprocessing
        self.register_buffer("mean", torch.tensor(shape.mean)[:, None, None])
        self.register_buffer("std", torch.tensor(shape.std)[:, None, None])

    def forward(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        raw = self._raw(samples)
        if self.mirrored:
            raw = (raw + self._raw(samples.flip(3))) / 2.0
        return unit_rows(raw), self.head.logits(raw)

    def _raw(self, samples: Tensor) -> Tensor:
        found: Tensor = self.neck(self.encoder((samples - self.mean) / self.std))
        return found


def export(model: Recognizer, out: Path, to: str) -> Path:
    """Write ``out``, a folder with the model in the format ``to`` (of `WRITERS`) and `DESCRIPTION`, or nothing.

    An earlier export that is there is replaced: after a training it is of another model.

    Returns:
        The file to load.

    Raises:
        UsageError: an unknown format, or one whose library is not installed; something else is at ``out``.
        StorageError: the exported model does not give the embeddings and logits of this one.
    """
    if to not in WRITERS:
        raise UsageError(f"There is no format {to!r}: choose one of {', '.join(WRITERS)}.")
    if out.exists() and not _is_export(out):
        raise UsageError(f"{out} exists already and is no export, or holds more than one: choose another --out.")
    shape = model.spec.preprocessing
    module = Exported(model.eval()).cpu().eval()
    samples = torch.from_numpy(photographs(shape)).float() / 255.0
    with torch.no_grad():
        expected, logits = (part.numpy() for part in module(samples))
    with atomic_folder(out) as temporary:
        name, run = WRITERS[to](module, samples, temporary, describe(model))
        found, told = run(samples.numpy())
        cosine = np.einsum("ij,ij->i", found, expected)
        if not (np.isfinite(found).all() and cosine.min() >= LEAST_COSINE):
            raise StorageError(
                f"The exported model is not the same: a photograph has a cosine of {cosine.min():.6f} to its embedding "
                f"by torch. Nothing was written. Choose another format than {to!r}."
            )
        apart = float(np.abs(told - logits).max() / max(1.0, np.abs(logits).max()))
        if not apart <= MOST_APART:
            raise StorageError(
                f"The exported model is not the same: its logits differ by {apart:.1e} of the greatest. Nothing was "
                f"written. Choose another format than {to!r}."
            )
        text = describe(model).model_dump_json(indent=2)
        (temporary / DESCRIPTION).write_text(text + "\n", encoding="utf-8")
    return out / name


def _is_export(folder: Path) -> bool:
    """Whether nothing but an export is in ``folder``: a gallery that lies beside it is not to be replaced."""
    try:
        read_description(folder)
    except StorageError:
        return False
    return all(entry.name == DESCRIPTION or entry.name.startswith("model.") for entry in folder.iterdir())


def describe(model: Recognizer) -> Description:
    """What a program needs beside the graph."""
    shape = model.preprocessing
    return Description(
        model=model.card.id if model.card is not None else None,
        labels=list(model.classes),
        input=Input(channels=shape.channels, size=shape.size, crop=shape.crop, interpolation=shape.interpolation),
        calibration=model.calibration,
        thresholds=list(model.thresholds),
    )


def photographs(shape: Preprocessing) -> NDArray[np.uint8]:
    """Four squares of two photographs that come with scikit-learn, as ``shape`` wants them."""
    from sklearn.datasets import load_sample_images

    found = []
    for photograph in load_sample_images().images:
        height, width = photograph.shape[:2]
        found += [shape.square(photograph), shape.square(photograph[: height // 2, width // 2 :])]
    return np.stack(found)


Run = Callable[[NDArray[np.float32]], "list[NDArray[np.float32]]"]
"""Samples -> embeddings and logits."""


def _onnx(module: nn.Module, samples: Tensor, folder: Path, description: Description) -> tuple[str, Run]:
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 - torch asks for it when it has traced the model
    except ImportError as error:
        raise UsageError(
            "Export to ONNX needs onnx, onnxruntime and onnxscript: pip install 'steradian[onnx]'."
        ) from error
    graph = onnx.load_from_string(onnx_bytes(module, samples, OUTPUTS))
    graph.metadata_props.add(key="steradian", value=description.model_dump_json())
    onnx.save(graph, folder / "model.onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return "model.onnx", lambda values: session.run(list(OUTPUTS), {name: values})


def _openvino(module: nn.Module, samples: Tensor, folder: Path, description: Description) -> tuple[str, Run]:
    try:
        import openvino
    except ImportError as error:
        raise UsageError("Export to OpenVINO needs it: pip install 'steradian[fast]'.") from error
    with silence():
        graph = openvino.convert_model(module, example_input=samples)
    graph.reshape({0: [-1, *samples.shape[1:]]})
    for output, name in zip(graph.outputs, OUTPUTS, strict=True):
        output.tensor.set_names({name})
    graph.set_rt_info(description.model_dump_json(), ["steradian"])
    openvino.save_model(graph, folder / "model.xml", compress_to_fp16=False)
    compiled = openvino.Core().compile_model(folder / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(values: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        found = compiled(values)
        return [np.array(found[name]) for name in OUTPUTS]

    return "model.xml", run


def _pt2(module: nn.Module, samples: Tensor, folder: Path, description: Description) -> tuple[str, Run]:
    with silence(), torch.no_grad():
        program = torch.export.export(module, (samples,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    extra = {"steradian.json": description.model_dump_json()}
    torch.export.save(program, folder / "model.pt2", extra_files=extra)
    again = torch.export.load(folder / "model.pt2").module()
    return "model.pt2", lambda values: [part.detach().numpy() for part in again(torch.from_numpy(values))]


WRITERS: dict[str, Callable[[nn.Module, Tensor, Path, Description], tuple[str, Run]]] = {
    "onnx": _onnx,
    "openvino": _openvino,
    "pt2": _pt2,
}
