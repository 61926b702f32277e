"""Export a model to other runtimes: the graph normalizes, a description and the reading of images lie beside it.

The exported graph takes samples in [0, 1], float32 [N, channels, size, size], of the center crop of an image, and
returns

* ``embedding`` float32 [N, D], unit vectors,
* ``logits`` float32 [N, C], margin-free, to be divided by the temperature before the softmax.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from steradian.data import model_input
from steradian.data.preprocessing import Preprocessing
from steradian.errors import StorageError, UsageError
from steradian.extras import install
from steradian.files import atomic_folder
from steradian.finding.finders import WHOLE
from steradian.losses.cosines import unit_rows
from steradian.models.description import DESCRIPTION, Description, Input, read_description
from steradian.models.looks import looks
from steradian.models.recognizer import Recognizer
from steradian.models.runtimes import PreprocessedEncoder, onnx_bytes, silence

FILES = frozenset({DESCRIPTION, "model_input.py", "model.onnx", "model.xml", "model.bin", "model.pt2"})
"""All files of an export, of any format."""

LEAST_COSINE, MOST_APART = 1.0 - 1e-4, 1e-3
"""An export is written only if its embeddings have at least this cosine to torch's embeddings, and its logits differ by
at most this share of the largest logit."""

OUTPUTS = ("embedding", "logits")

INPUT = "model_input.py"
"""Turns image files into samples as the model was trained with; a copy of the file that this package uses."""


class Exported(nn.Module):
    """Samples in [0, 1] -> (embedding, logits)."""

    def __init__(self, model: Recognizer) -> None:
        super().__init__()
        self.encoder = PreprocessedEncoder(model.encoder, model.spec.preprocessing)
        self.neck, self.head = model.neck, model.head
        self.flip_tta, self.zooms = model.spec.flip_tta, model.spec.zooms

    def forward(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        views = [self.neck(self.encoder(view)) for view in looks(samples, self.flip_tta, self.zooms)]
        raw = torch.stack(views).mean(dim=0)
        return unit_rows(raw), self.head.logits(raw)


def export(model: Recognizer, out: Path, to: str) -> Path:
    """Write the folder ``out`` with the model in the format ``to`` (a key of `WRITERS`); return the file to load.

    An earlier export in ``out`` is replaced: it may be outdated. If the outputs differ from those of ``model``, nothing
    is written.
    """
    if to not in WRITERS:
        raise UsageError(f"There is no format {to!r}: choose one of {', '.join(WRITERS)}.")
    check_out(out)
    shape = model.spec.preprocessing
    module = Exported(model.eval()).cpu().eval()
    samples = torch.from_numpy(photographs(shape)).float() / 255.0
    with torch.no_grad():
        expected, logits = (part.numpy() for part in module(samples))
    with atomic_folder(out) as temporary:
        name, run = WRITERS[to](module, samples, temporary, describe(model))
        embeddings, exported_logits = run(samples.numpy())
        cosine = np.einsum("ij,ij->i", embeddings, expected)
        if not (np.isfinite(embeddings).all() and cosine.min() >= LEAST_COSINE):
            raise StorageError(
                f"The exported model and torch give different embeddings: their cosine is {cosine.min():.6f} for a "
                f"photograph. Nothing was written. Choose another format than {to!r}."
            )
        difference = float(np.abs(exported_logits - logits).max() / max(1.0, np.abs(logits).max()))
        if not difference <= MOST_APART:
            raise StorageError(
                f"The exported model and torch give different logits: they differ by {difference:.1e} of the "
                f"largest. Nothing was written. Choose another format than {to!r}."
            )
        text = describe(model).model_dump_json(indent=2)
        (temporary / DESCRIPTION).write_text(text + "\n", encoding="utf-8")
        (temporary / INPUT).write_bytes(Path(model_input.__file__).read_bytes())
    return out / name


def check_out(out: Path) -> None:
    """Raise `UsageError` if a folder holds something else than an export, which could be lost."""
    if out.exists() and not _is_export(out):
        raise UsageError(f"{out} already exists and is not an export, or holds other files too: choose another --out.")


def _is_export(folder: Path) -> bool:
    """Return whether ``folder`` holds an export and nothing else; other files, such as a gallery, must not be lost."""
    try:
        read_description(folder)
    except StorageError:
        return False
    return all(entry.name in FILES for entry in folder.iterdir())


def describe(model: Recognizer) -> Description:
    """Return the description that programs need besides the graph."""
    shape = model.preprocessing
    return Description(
        model=model.manifest.id if model.manifest is not None else None,
        labels=list(model.classes),
        input=Input(
            channels=shape.channels,
            size=shape.size,
            crop=shape.crop,
            interpolation=shape.interpolation,
            finder=shape.finder,
        ),
        calibration=model.calibration,
        thresholds=model.thresholds.items,
        strangers=model.strangers,
        gate=model.gate,
    )


def photographs(shape: Preprocessing) -> NDArray[np.uint8]:
    """Return four square crops of scikit-learn's two sample photographs, preprocessed by ``shape``."""
    from sklearn.datasets import load_sample_images

    crops = []
    # The graph is compared with torch on any pictures, with a finder's regions in them or not.
    shape = replace(shape, finder=WHOLE)
    for photograph in load_sample_images().images:
        height, width = photograph.shape[:2]
        crops += [shape.square(photograph), shape.square(photograph[: height // 2, width // 2 :])]
    return np.stack(crops)


Run = Callable[[NDArray[np.float32]], "list[NDArray[np.float32]]"]
"""Samples -> embeddings and logits."""


def _onnx(module: nn.Module, samples: Tensor, folder: Path, description: Description) -> tuple[str, Run]:
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 - torch asks for it when it has traced the model
    except ImportError as error:
        raise UsageError(f"Export to ONNX needs onnx, onnxruntime and onnxscript: {install('onnx')}") from error
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
        raise UsageError(f"Export to OpenVINO needs openvino: {install('fast')}") from error
    with silence():
        graph = openvino.convert_model(module, example_input=samples)
    graph.reshape({0: [-1, *samples.shape[1:]]})
    for output, name in zip(graph.outputs, OUTPUTS, strict=True):
        output.tensor.set_names({name})
    graph.set_rt_info(description.model_dump_json(), ["steradian"])
    openvino.save_model(graph, folder / "model.xml", compress_to_fp16=False)
    compiled = openvino.Core().compile_model(folder / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(values: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        outputs = compiled(values)
        return [np.array(outputs[name]) for name in OUTPUTS]

    return "model.xml", run


def _pt2(module: nn.Module, samples: Tensor, folder: Path, description: Description) -> tuple[str, Run]:
    with silence(), torch.no_grad():
        program = torch.export.export(module, (samples,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    extra = {"steradian.json": description.model_dump_json()}
    torch.export.save(program, folder / "model.pt2", extra_files=extra)
    reloaded = torch.export.load(folder / "model.pt2").module()
    return "model.pt2", lambda values: [part.detach().numpy() for part in reloaded(torch.from_numpy(values))]


WRITERS: dict[str, Callable[[nn.Module, Tensor, Path, Description], tuple[str, Run]]] = {
    "onnx": _onnx,
    "openvino": _openvino,
    "pt2": _pt2,
}
