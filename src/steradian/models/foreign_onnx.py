"""Use a face network from a user's own ONNX file, of the kind that insightface publishes, as an exported model.

Such a network takes RGB squares of 112 pixels, (x - 127.5) / 127.5, in which the eyes have fixed places, and returns
one vector. It takes the place of the network of the model `faces`; the file's license is its user's matter.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from steradian import data
from steradian.data import model_input
from steradian.data.pixels import Progress, load_pixels, no_progress
from steradian.errors import StorageError
from steradian.extras import require
from steradian.files import atomic_folder, explained, printable
from steradian.models.calibration import Calibration
from steradian.models.description import DESCRIPTION, Description, Input
from steradian.models.export import INPUT, check_out
from steradian.models.exported import GRAPH, ExportedModel
from steradian.models.fitted_calibration import fit_strangers, fit_thresholds, pair_curve

FINDER = "faces-arcface"
SIZE = 112
MOST_BYTES = 2**30
"""Larger files are not opened."""


def wrap(weights: Path, out: Path, people: str | None = None, progress: Progress = no_progress) -> Path:
    """Write the folder ``out``, in which galleries find a model with the network of ``weights``; return its graph.

    Args:
        weights: an ONNX file, float [N, 3, 112, 112] -> [N, D].
        people: photos in one folder a person, on which thresholds are measured; None: answers need a threshold then.

    Raises:
        UsageError: a package is missing, or ``out`` holds something else.
        StorageError: the file is damaged, too large, or another kind of network.
    """
    require("onnx", "A network in ONNX")
    require("faces", "Finding faces")
    check_out(out)
    graph = _read(weights)
    identity = hashlib.sha256(graph.SerializeToString(deterministic=True)).hexdigest()
    plain = _described(identity)
    with atomic_folder(out) as temporary:
        _write(temporary, graph, plain)
        model = ExportedModel.load(temporary)
        _check(model, weights)
        if people is not None:
            _write(temporary, graph, _measured(model, plain, people, progress))
            ExportedModel.load(temporary)
    return out / GRAPH


def _described(identity: str) -> Description:
    shape = Input(channels=3, size=SIZE, crop=1.0, interpolation="bilinear", finder=FINDER)
    return Description(model=identity, labels=["face"], input=shape, calibration=None, thresholds=())


def _write(folder: Path, graph: Any, description: Description) -> None:
    import onnx

    text = description.model_dump_json(indent=2)
    onnx.helper.set_model_props(graph, {"steradian": description.model_dump_json()})
    (folder / GRAPH).write_bytes(graph.SerializeToString())
    (folder / DESCRIPTION).write_text(text + "\n", encoding="utf-8")
    (folder / INPUT).write_bytes(Path(model_input.__file__).read_bytes())


def _read(path: Path) -> Any:
    """Return the network with samples in [0, 1] as its input, and unit vectors and an empty class as its outputs."""
    import onnx
    from onnx import TensorProto

    name = printable(path)
    with explained("read", path):
        size = path.stat().st_size
    if size > MOST_BYTES:
        raise StorageError(f"{name} has {size / 2**30:.1f} GiB, over the limit of {MOST_BYTES / 2**30:.0f}.")
    try:
        # Nothing beside the file is opened, whatever it names.
        model = onnx.load(path, load_external_data=False)
        onnx.checker.check_model(model)
    except Exception as error:
        # protobuf's and the checker's exceptions share no base class but Exception.
        raise StorageError(f"{name} is no ONNX file, or is damaged: {str(error).splitlines()[0][:200]}") from error
    graph = model.graph
    if any(one.data_location == TensorProto.EXTERNAL for one in graph.initializer):
        raise StorageError(f"{name} keeps its weights in other files. Save it as one file.")
    weights = {one.name for one in graph.initializer}
    inputs = [one for one in graph.input if one.name not in weights]
    shapes = [[one.dim_value for one in value.type.tensor_type.shape.dim] for value in (*inputs, *graph.output)]
    if len(inputs) != 1 or len(graph.output) != 1 or shapes[0][1:] != [3, SIZE, SIZE] or len(shapes[1]) != 2:
        raise StorageError(
            f"{name} is another kind of network: expected one input [N, 3, {SIZE}, {SIZE}] and one output [N, D], but "
            f"its inputs and outputs have the shapes {shapes}."
        )
    if shapes[1][1] < 1:
        raise StorageError(f"{name} does not say how many numbers its vectors have.")
    return _around(model, inputs[0].name, graph.output[0].name, shapes[1][1])


def _around(model: Any, samples: str, vectors: str, size: int) -> Any:
    """Put x -> 2 x - 1 before the network, and after it the division by the length, and logits of a single class."""
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    constants = {"two": np.float32(2.0), "one": np.float32(1.0), "nothing": np.zeros((size, 1), np.float32)}
    graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), f"steradian_{name}") for name, value in constants.items()
    )
    nodes = [
        helper.make_node("Mul", ["steradian_samples", "steradian_two"], ["steradian_doubled"]),
        helper.make_node("Sub", ["steradian_doubled", "steradian_one"], [samples]),
        *graph.node,
        helper.make_node("LpNormalization", [vectors], ["embedding"], axis=1, p=2),
        helper.make_node("MatMul", ["embedding", "steradian_nothing"], ["logits"]),
    ]
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend(nodes)
    graph.input.append(helper.make_tensor_value_info("steradian_samples", TensorProto.FLOAT, ["N", 3, SIZE, SIZE]))
    for output, width in (("embedding", size), ("logits", 1)):
        graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", width]))
    return model


def _check(model: ExportedModel, weights: Path) -> None:
    """Raise `StorageError` unless the network gives several images vectors of length 1, each its own."""
    noise = np.random.default_rng(0).integers(0, 256, (3, 3, SIZE, SIZE), np.uint8)
    try:
        together = model.embed_squares(noise)
        alone = model.embed_squares(noise[:1])
    except Exception as error:
        # The exceptions of ONNX Runtime share no base class but Exception.
        raise StorageError(f"{printable(weights)} cannot embed three images: {str(error)[:200]}") from error
    if not np.allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-3):
        raise StorageError(f"{printable(weights)} gives vectors that are not finite, or zero.")
    if not np.allclose(together[0], alone[0], atol=1e-3):
        raise StorageError(f"{printable(weights)} gives an image another vector when it is not alone.")


def _measured(model: ExportedModel, plain: Description, source: str, progress: Progress) -> Description:
    """Return the description with thresholds, measured on the people of a folder."""
    images = data.open(source)
    loaded = load_pixels(images, size=SIZE, channels=3, finder=FINDER, progress=progress)
    vectors = model.embed_squares(np.asarray(loaded.pixels))
    note = f"{len(loaded)} faces of {len(loaded.classes)} people"
    part = (vectors, loaded.labels)
    return plain.model_copy(
        update={
            "calibration": Calibration(temperature=1.0, pairs=pair_curve([part]), measured_on=note),
            "thresholds": fit_thresholds([part], note),
            "strangers": fit_strangers([part], note),
        }
    )
