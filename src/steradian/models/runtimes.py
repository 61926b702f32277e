"""Run encoders in the fastest installed runtime: OpenVINO, ONNX Runtime, or torch (channels last, or compiled).

All take decoded pixels and return the features of the encoder in torch, to within 1e-4 in cosine. They hold a copy of
the weights, so build a new one after further training.
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
from steradian.extras import install
from steradian.losses.head.plan import has_compiler
from steradian.models.image_batch import images_at_once

Runtime = Literal["openvino", "onnxruntime", "torch", "compiled"]
RUNTIMES: tuple[Runtime, ...] = ("openvino", "onnxruntime", "torch", "compiled")
NEEDS = {"openvino": ("openvino",), "onnxruntime": ("onnxruntime", "onnx", "onnxscript")}

FEW = 512
"""For fewer images than this, building an encoder for OpenVINO or ONNX Runtime takes longer than it saves."""

FastEncoder = Callable[[Tensor], Tensor]
"""uint8 pixels or floats in [0, 1], [N, channels, size, size] -> features float32, [N, F] or a map, on the CPU."""


def available_runtimes() -> tuple[Runtime, ...]:
    """Return the installed runtimes, fastest first; "compiled" comes last because compiling takes a minute."""
    installed = [name for name in RUNTIMES if all(importlib.util.find_spec(part) for part in NEEDS.get(name, ()))]
    return tuple(name for name in installed if name != "compiled" or has_compiler("cpu"))


def runtime_for(images: int) -> Runtime:
    """Return the runtime that encodes this many images soonest, with the time to build it."""
    return available_runtimes()[0] if images >= FEW else "torch"


def chosen_runtime(name: Runtime | Literal["auto"]) -> Runtime:
    """Return ``name``, or the fastest installed runtime. Raises `UsageError` if ``name`` is not installed."""
    installed = available_runtimes()
    if name == "auto":
        return installed[0]
    if name not in installed:
        if name == "compiled":
            raise UsageError(f"The runtime 'compiled' needs a C++ compiler, but none was found: use {installed[0]!r}.")
        extra = {"openvino": "fast", "onnxruntime": "onnx"}[name]
        raise UsageError(
            f"The runtime {name!r} is not installed. Use {installed[0]!r}, or install it: {install(extra)}"
        )
    return name


class PreprocessedEncoder(nn.Module):
    """An encoder with its normalization in front: floats in [0, 1] -> features."""

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
    """Build a runtime for ``encoder`` with its current weights, for ``callers`` threads that call at the same time."""
    chosen = chosen_runtime(runtime)
    training, device = encoder.training, next(encoder.parameters()).device
    prepared = PreprocessedEncoder(encoder, preprocessing).cpu().eval()
    example = torch.zeros(2, preprocessing.channels, preprocessing.size, preprocessing.size)
    try:
        run = MAKERS[chosen](prepared, example, callers)
    finally:
        encoder.to(device).train(training)

    at_once = images_at_once(preprocessing.size)

    def features(pixels: Tensor) -> Tensor:
        if len(pixels) > at_once:
            starts = range(0, len(pixels), at_once)
            return torch.cat([features(pixels[start : start + at_once]) for start in starts])
        if pixels.dtype == torch.uint8:
            # NumPy converts in this thread alone: torch's threads would compete with the runtime's for the cores.
            return run(torch.from_numpy(np.divide(pixels.numpy(), np.float32(255.0), order="C")))
        return run(pixels.float().contiguous())

    return features


def _openvino(prepared: PreprocessedEncoder, example: Tensor, callers: int) -> FastEncoder:
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
    local = threading.local()

    def run(samples: Tensor) -> Tensor:
        if not hasattr(local, "request"):
            local.request = compiled.create_infer_request()
        local.request.infer({0: samples.numpy()}, share_inputs=True)
        return torch.from_numpy(np.array(local.request.get_output_tensor(0).data))

    return run


def _onnxruntime(prepared: PreprocessedEncoder, example: Tensor, callers: int) -> FastEncoder:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Each calling thread computes, helped by one shared thread pool.
    options.intra_op_num_threads = callers * (torch.get_num_threads() - 1) + 1
    if callers > 1:
        # An idle thread must not spin and take a core from another caller.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(onnx_bytes(prepared, example), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(samples: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {name: samples.numpy()})[0])

    return run


def onnx_bytes(module: nn.Module, example: Tensor, outputs: Sequence[str] | None = None) -> bytes:
    """Export ``module`` as an ONNX model for any batch size, with outputs named ``outputs``."""
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


def _torch(
    prepared: PreprocessedEncoder,
    example: Tensor,
    callers: int,
    compiler: Callable[[nn.Module], Any] = lambda model: model,
) -> FastEncoder:
    model = compiler(copy.deepcopy(prepared).to(memory_format=torch.channels_last))

    @torch.inference_mode()
    def run(samples: Tensor) -> Tensor:
        features: Tensor = model(samples.contiguous(memory_format=torch.channels_last)).clone()
        return features

    return run


def _compiled(prepared: PreprocessedEncoder, example: Tensor, callers: int) -> FastEncoder:
    run = _torch(prepared, example, callers, torch.compile)
    # Compile for one image and for any batch size now, not at the first request.
    for count in (1, 2):
        run(example[:1].expand(count, -1, -1, -1))
    return run


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Suppress the output, warnings and log lines of exporters; only the results matter to the user."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


MAKERS: dict[Runtime, Callable[[PreprocessedEncoder, Tensor, int], FastEncoder]] = {
    "openvino": _openvino,
    "onnxruntime": _onnxruntime,
    "torch": _torch,
    "compiled": _compiled,
}
