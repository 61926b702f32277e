"""Describe an exported model for the programs that run it. Does not import torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from steradian.data.model_input import Interpolation
from steradian.data.preprocessing import Preprocessing
from steradian.errors import StorageError
from steradian.files import read_json
from steradian.finding.finders import WHOLE
from steradian.models.calibration import Calibration, StrangerScores, Threshold
from steradian.models.quality_gate import QualityGate

DESCRIPTION = "description.json"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Input(_Strict):
    """How an image becomes the input of the graph. The graph itself normalizes it.

    With a ``finder`` other than "whole" the input is a region that it found, cut out and aligned.
    """

    samples: str = "float32 [N, channels, size, size] in [0, 1]"
    channels: Literal[1, 3]
    size: int = Field(ge=1, le=4096)
    crop: float = Field(gt=0, le=1)
    interpolation: Interpolation
    finder: str = WHOLE

    @property
    def preprocessing(self) -> Preprocessing:
        """The same settings as a `Preprocessing` without normalization."""
        no_normalization = (0.0,) * self.channels, (1.0,) * self.channels
        return Preprocessing(self.size, self.channels, *no_normalization, self.crop, self.interpolation, self.finder)


class Description(_Strict):
    """The content of ``description.json``: model id, labels, input settings, calibration and thresholds."""

    format: Literal["steradian.exported"] = "steradian.exported"
    version: Literal[1] = 1
    model: str | None
    labels: list[str] = Field(min_length=1)
    input: Input
    calibration: Calibration | None
    thresholds: tuple[Threshold, ...]
    strangers: tuple[StrangerScores, ...] = ()
    gate: QualityGate | None = None


def read_description(folder: Path) -> Description:
    """Read the description of an exported model. Raises `StorageError` for a missing, damaged or foreign file."""
    if not (folder / DESCRIPTION).is_file():
        raise StorageError(f"{folder} holds no exported model: expected {DESCRIPTION} in it.")
    try:
        return Description.model_validate(read_json(folder / DESCRIPTION))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise StorageError(
            f"{folder / DESCRIPTION} does not describe an exported model: {field}: {first['msg']}. Export it again."
        ) from error
