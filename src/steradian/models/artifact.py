"""One trained model as two files: ``model.safetensors`` (tensors) and ``model.json`` (everything else).

Format version 1. Calibration and thresholds stay empty until something measures them; they do not enter the id, so
that a model measured again keeps its gallery. Nothing is ever unpickled, and shapes are compared before memory is
taken.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from steradian.data.preprocessing import Interpolation, Preprocessing
from steradian.errors import SteradianError, StorageError
from steradian.files import atomic_folder, finite, read_json, sha256_of
from steradian.models.calibration import Calibration, Threshold
from steradian.models.card import card_text
from steradian.models.description import DESCRIPTION
from steradian.models.embedder import CARD
from steradian.models.hub import PREFIX, fetch
from steradian.models.necks import NeckName
from steradian.models.pooling import PoolingName
from steradian.models.recognizer import ModelSpec, Recognizer
from steradian.models.tensors import load_tensors, save_tensors, tensor_shapes
from steradian.version import __version__

TENSORS = "model.safetensors"
README, LARGEST_README = "README.md", 2**20
LATER = {"neck": "auto", "stages": 0, "pooling": "average", "mirrored": False, "crop": 1.0, "interpolation": "bilinear"}
FORMAT: Literal["steradian.recognizer"] = "steradian.recognizer"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PreprocessingCard(_Strict):
    """The fields of `Preprocessing`, with the bounds that untrusted files must keep."""

    size: int = Field(ge=1, le=4096)
    channels: Literal[1, 3]
    mean: list[float] = Field(min_length=1, max_length=3)
    std: list[float] = Field(min_length=1, max_length=3)
    crop: float = Field(1.0, gt=0, le=1)
    interpolation: Interpolation = "bilinear"

    def built(self) -> Preprocessing:
        """As the data room knows it."""
        return Preprocessing(self.size, self.channels, tuple(self.mean), tuple(self.std), self.crop, self.interpolation)


class ModelCard(_Strict):
    """The content of ``model.json``."""

    format: Literal["steradian.recognizer"] = FORMAT
    version: Literal[1] = 1
    id: str = Field(pattern=r"^[0-9a-f]{64}$")
    steradian: str
    encoder: str
    neck: NeckName = "auto"
    stages: int = Field(0, ge=0, le=64)
    pooling: PoolingName = "average"
    mirrored: bool = False
    embedding_size: int = Field(ge=1, le=65536)
    loss: str
    loss_options: dict[str, Any]
    classes: list[str] = Field(min_length=1)
    preprocessing: PreprocessingCard
    calibration: Calibration | None = None
    thresholds: list[Threshold] = []
    provenance: dict[str, Any] = {}


def model_id(spec: ModelSpec, tensors: dict[str, torch.Tensor]) -> str:
    """A hash of what decides the model's answers: its spec and every tensor."""
    facts = _described(spec)
    # What came after version 1 began is hashed only where it is used, so that older models keep their ids.
    for place in (facts, facts["preprocessing"]):
        for name in [name for name, value in LATER.items() if place.get(name) == value]:
            del place[name]
    described = json.dumps(facts, sort_keys=True, ensure_ascii=False)
    parts = [described.encode()]
    for name in sorted(tensors):
        tensor = tensors[name]
        parts += [
            f"{name} {tensor.dtype} {list(tensor.shape)}".encode(),
            tensor.reshape(-1).view(torch.uint8).numpy().tobytes(),
        ]
    return sha256_of(*parts)


def _described(spec: ModelSpec) -> dict[str, Any]:
    return {
        "encoder": spec.encoder,
        "neck": spec.neck,
        "stages": spec.stages,
        "pooling": spec.pooling,
        "mirrored": spec.mirrored,
        "embedding_size": spec.embedding_size,
        "loss": spec.loss,
        "loss_options": spec.loss_options,
        "classes": list(spec.classes),
        "preprocessing": {
            name: list(v) if isinstance(v, tuple) else v for name, v in asdict(spec.preprocessing).items()
        },
    }


def save(model: Recognizer, folder: Path, provenance: dict[str, Any] | None = None) -> ModelCard:
    """Write ``folder``, whole or not at all; also sets ``model.card``."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    kept = model.card.provenance if model.card is not None else {}
    card = ModelCard(
        id=model_id(model.spec, tensors),
        steradian=__version__,
        calibration=model.calibration,
        thresholds=list(model.thresholds),
        provenance=finite(provenance) if provenance is not None else kept,
        **_described(model.spec),
    )
    with atomic_folder(folder) as temporary:
        save_tensors(temporary / TENSORS, tensors, metadata={"format": FORMAT})
        (temporary / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
        kept_text = model.readme if _same(card, model.card) else None
        (temporary / README).write_text(kept_text or card_text(card), encoding="utf-8")
    model.card = card
    return card


BUILT_IN = ("glyphs",)
"""Models that come with the package, by name."""


def load(path: Path) -> Recognizer:
    """Load from a model folder, a run folder that holds one called ``model``, or by name.

    Names are those of `BUILT_IN`, and ``hf-hub:OWNER/NAME``.
    """
    if str(path).startswith(PREFIX) and not path.exists():
        path = fetch(str(path))
    if str(path) in BUILT_IN and not path.exists():
        path = Path(str(resources.files("steradian.models"))) / str(path)
    folder = path / "model" if not (path / CARD).is_file() and (path / "model" / CARD).is_file() else path
    if not (folder / CARD).is_file():
        if (path / DESCRIPTION).is_file():
            raise StorageError(
                f"{path} is an exported model, for identify and for other programs. Name the run that it was exported "
                "from."
            )
        raise StorageError(f"{path} holds no model: {CARD} was expected in it or in its subfolder model/.")
    card = _card(folder / CARD)
    try:
        spec = ModelSpec(
            encoder=card.encoder,
            neck=card.neck,
            stages=card.stages,
            pooling=card.pooling,
            mirrored=card.mirrored,
            embedding_size=card.embedding_size,
            loss=card.loss,
            loss_options=card.loss_options,
            classes=tuple(card.classes),
            preprocessing=card.preprocessing.built(),
        )
        _check_shapes(folder / TENSORS, spec)
        model = Recognizer(spec)
    except StorageError:
        raise
    except (SteradianError, TypeError, ValueError) as error:
        raise StorageError(f"{folder / CARD} describes no model that can be built: {error}") from error
    model.load_state_dict(load_tensors(folder / TENSORS))
    if model_id(spec, {name: tensor.cpu() for name, tensor in model.state_dict().items()}) != card.id:
        raise StorageError(f"{folder}: the content does not match its id; the files were changed or mixed up.")
    model.card, model.calibration, model.thresholds = card, card.calibration, tuple(card.thresholds)
    model.readme = _readme(folder / README)
    return model.eval()


def _same(card: ModelCard, old: ModelCard | None) -> bool:
    """Whether what was written of ``old`` holds for ``card``."""
    facts = [(one.id, one.calibration, one.thresholds) for one in (card, old) if one is not None]
    return len(facts) == 2 and facts[0] == facts[1]


def _readme(path: Path) -> str | None:
    if not path.is_file() or path.stat().st_size > LARGEST_README:
        return None
    return path.read_text(encoding="utf-8", errors="replace")


def _card(path: Path) -> ModelCard:
    content = read_json(path)
    try:
        return ModelCard.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise StorageError(
            f"{path} is not a model of this version of steradian ({__version__}): {place}: {first['msg']}."
        ) from error


def _check_shapes(path: Path, spec: ModelSpec) -> None:
    """Compare the file's header with the model, built without memory, before anything is read."""
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in Recognizer(spec).state_dict().items()}
    found = tensor_shapes(path)
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise StorageError(
                f"{path}: tensor {name!r} has shape {found.get(name, 'none')}, but {CARD} asks for "
                f"{expected.get(name, 'none')}. The two files do not belong together."
            )
