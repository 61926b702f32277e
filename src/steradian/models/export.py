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
from steradian.models.description import DESCRIPTION, Description, Input
from steradian.models.recognizer import Recognizer
from steradian.models.runtimes import onnx_bytes, silence

LEAST_COSINE = 1.0 - 1e-4
"""An exported model gives the embeddings of this one to so much, or is not written."""


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

    Returns:
        The file to load.

    Raises:
        UsageError: an unknown format, or one whose library is not installed; a folder that exists.
        StorageError: the exported model does not give the embeddings of this one.
    """
    if to not in WRITERS:
        raise UsageError(f"There is no format {to!r}: choose one of {', '.join(WRITERS)}.")
    if out.exists():
        raise UsageError(f"{out} exists already: choose another --out.")
    shape = model.spec.preprocessing
    module = Exported(model.eval()).cpu().eval()
    samples = torch.from_numpy(photographs(shape)).float() / 255.0
    with torch.no_grad():
        expected = module(samples)[0].numpy()
    with atomic_folder(out) as temporary:
        name, run = WRITERS[to](module, samples, temporary, describe(model))
        found = run(samples.numpy())
        cosine = np.einsum("ij,ij->i", found, expected)
        if not (np.isfinite(found).all() and cosine.min() >= LEAST_COSINE):
            raise StorageError(
                f"The exported model is not the same: a photograph has a cosine of {cosine.min():.6f} to its embedding "
                f"by torch. Nothing was written. Choose another format than {to!r}."
            )
        text = describe(model).model_dump_json(indent=2)
        (temporary / DESCRIPTION).write_text(text + "\n", encoding="utf-8")
    return out / name


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


Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def _onnx(module: nn.Module, samples: Tensor, folder: Path, description: Description) -> tuple[str, Run]:
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise UsageError("Export to ONNX needs onnx and onnxruntime: pip install 'steradian[onnx]'.") from error
    graph = onnx.load_from_string(onnx_bytes(module, samples, ("embedding", "logits")))
    graph.metadata_props.add(key="steradian", value=description.model_dump_json())
    onnx.save(graph, folder / "model.onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return "model.onnx", lambda values: np.asarray(session.run(["embedding"], {name: values})[0])


def _openvino(module: nn.Module, samples: Tensor, folder: Path, description: Description) -> tuple[str, Run]:
    try:
        import openvino
    except ImportError as error:
        raise UsageError("Export to OpenVINO needs it: pip install 'steradian[fast]'.") from error
    with silence():
        graph = openvino.convert_model(module, example_input=samples)
    graph.reshape({0: [-1, *samples.shape[1:]]})
    for output, name in zip(graph.outputs, ("embedding", "logits"), strict=True):
        output.tensor.set_names({name})
    graph.set_rt_info(description.model_dump_json(), ["steradian"])
    openvino.save_model(graph, folder / "model.xml", compress_to_fp16=False)
    compiled = openvino.Core().compile_model(folder / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return "model.xml", lambda values: np.array(compiled(values)["embedding"])


def _pt2(module: nn.Module, samples: Tensor, folder: Path, description: Description) -> tuple[str, Run]:
    with silence(), torch.no_grad():
        program = torch.export.export(module, (samples,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    extra = {"steradian.json": description.model_dump_json()}
    torch.export.save(program, folder / "model.pt2", extra_files=extra)
    again = torch.export.load(folder / "model.pt2").module()
    return "model.pt2", lambda values: again(torch.from_numpy(values))[0].detach().numpy()


WRITERS: dict[str, Callable[[nn.Module, Tensor, Path, Description], tuple[str, Run]]] = {
    "onnx": _onnx,
    "openvino": _openvino,
    "pt2": _pt2,
}
