"""Encoders run by what is fastest here: OpenVINO, ONNX Runtime, or torch with channels last, compiled on demand.

All take decoded pixels and give the features that the encoder gives in torch, to 1e-4 of a cosine. They hold a copy of
the weights, so a model that learns on needs a new one.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import logging
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from steradian.data.preprocessing import Preprocessing
from steradian.errors import UsageError
from steradian.losses.head.plan import has_compiler

Runtime = Literal["openvino", "onnxruntime", "torch", "compiled"]
RUNTIMES: tuple[Runtime, ...] = ("openvino", "onnxruntime", "torch", "compiled")
NEEDS = {"openvino": ("openvino",), "onnxruntime": ("onnxruntime", "onnx", "onnxscript")}

FEW = 256
"""Fewer images than this do not repay the making of a fast encoder."""

FastEncoder = Callable[[Tensor], Tensor]
"""uint8 pixels or floats in [0, 1], [N, channels, size, size] -> features float32, [N, F] or a map, on the CPU."""


def available_runtimes() -> tuple[Runtime, ...]:
    """Those that are installed, the fastest first; "compiled" comes last, for it takes a minute to make."""
    found = [name for name in RUNTIMES if all(importlib.util.find_spec(part) for part in NEEDS.get(name, ()))]
    return tuple(name for name in found if name != "compiled" or has_compiler("cpu"))


def chosen_runtime(name: Runtime | Literal["auto"]) -> Runtime:
    """``name``, or the fastest that is installed. Raises `UsageError` for one that is not."""
    found = available_runtimes()
    if name == "auto":
        return found[0]
    if name not in found:
        if name == "compiled":
            raise UsageError(f"The runtime 'compiled' needs a C++ compiler, and none is here: use {found[0]!r}.")
        extra = {"openvino": "fast", "onnxruntime": "onnx"}[name]
        raise UsageError(
            f"The runtime {name!r} is not installed: pip install 'steradian[{extra}]', or use {found[0]!r}."
        )
    return name


class Prepared(nn.Module):
    """An encoder behind its preprocessing: floats in [0, 1] -> features."""

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("mean", torch.tensor(preprocessing.mean)[:, None, None])
        self.register_buffer("std", torch.tensor(preprocessing.std)[:, None, None])

    def forward(self, samples: Tensor) -> Tensor:
        features: Tensor = self.encoder((samples - self.mean) / self.std)
        return features


def fast_encoder(
    encoder: nn.Module, preprocessing: Preprocessing, runtime: Runtime | Literal["auto"] = "auto", callers: int = 1
) -> FastEncoder:
    """``encoder``, as it is now, in a runtime.

    Args:
        callers: threads that will call it at the same time; each is given as many threads as torch has.
    """
    chosen = chosen_runtime(runtime)
    training, device = encoder.training, next(encoder.parameters()).device
    prepared = Prepared(encoder, preprocessing).cpu().eval()
    example = torch.zeros(2, preprocessing.channels, preprocessing.size, preprocessing.size)
    try:
        run = MAKERS[chosen](prepared, example, callers)
    finally:
        encoder.to(device).train(training)

    def features(pixels: Tensor) -> Tensor:
        if pixels.dtype == torch.uint8:
            # In this thread alone: torch's other threads and those of a runtime take the cores from each other.
            return run(torch.from_numpy(np.divide(pixels.numpy(), np.float32(255.0), order="C")))
        return run(pixels.float().contiguous())

    return features


def _openvino(prepared: Prepared, example: Tensor, callers: int) -> FastEncoder:
    import openvino

    with silence():
        model = openvino.convert_model(prepared, example_input=example)
    model.reshape({0: [-1, *example.shape[1:]]})
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": str(callers * torch.get_num_threads()),
        "NUM_STREAMS": str(callers),
    }
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    own = threading.local()

    def run(samples: Tensor) -> Tensor:
        if not hasattr(own, "request"):
            own.request = compiled.create_infer_request()
        own.request.infer({0: samples.numpy()}, share_inputs=True)
        return torch.from_numpy(np.array(own.request.get_output_tensor(0).data))

    return run


def _onnxruntime(prepared: Prepared, example: Tensor, callers: int) -> FastEncoder:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Callers work themselves, helped by one pool for all.
    options.intra_op_num_threads = callers * (torch.get_num_threads() - 1) + 1
    if callers > 1:
        # A thread that has nothing to do must not keep a core from another caller.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(onnx_bytes(prepared, example), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(samples: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {name: samples.numpy()})[0])

    return run


def onnx_bytes(module: nn.Module, example: Tensor, outputs: Sequence[str] | None = None) -> bytes:
    """``module`` as an ONNX model of any batch size, its outputs named ``outputs``."""
    buffer = io.BytesIO()
    with silence():
        program: Any = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            output_names=outputs,
            verbose=False,
        )
        program.save(buffer)
    return buffer.getvalue()


def _torch(prepared: Prepared, example: Tensor, callers: int) -> FastEncoder:
    own = copy.deepcopy(prepared).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def run(samples: Tensor) -> Tensor:
        found: Tensor = own(samples.contiguous(memory_format=torch.channels_last)).clone()
        return found

    return run


def _compiled(prepared: Prepared, example: Tensor, callers: int) -> FastEncoder:
    own: Any = torch.compile(copy.deepcopy(prepared).to(memory_format=torch.channels_last))

    @torch.inference_mode()
    def run(samples: Tensor) -> Tensor:
        found: Tensor = own(samples.contiguous(memory_format=torch.channels_last)).clone()
        return found

    # Code for one image, and for any number of them, is made now rather than while somebody waits.
    for count in (1, 2):
        run(example[:1].expand(count, -1, -1, -1))
    return run


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Exporters tell their own stories; what matters to a user is whether the answers agree."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


MAKERS: dict[Runtime, Callable[[Prepared, Tensor, int], FastEncoder]] = {
    "openvino": _openvino,
    "onnxruntime": _onnxruntime,
    "torch": _torch,
    "compiled": _compiled,
}
