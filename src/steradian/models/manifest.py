"""The spec that a recognizer is built from, and the manifest ``model.json``, which adds measurements to it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from steradian.data.preprocessing import Preprocessing
from steradian.models.calibration import Calibration, StrangerScores, Threshold
from steradian.models.necks import NeckName
from steradian.models.pooling import PoolingName
from steradian.models.quality_gate import QualityGate

FORMAT: Literal["steradian.recognizer"] = "steradian.recognizer"


class ModelSpec(BaseModel):
    """Everything needed to build a recognizer, without its weights.

    Attributes:
        encoder: a name of our own such as "small", or a timm name.
        embedding_size: D.
        loss, loss_options: for `steradian.losses.create`.
        classes: the C class names; ``classes[label]`` names a label.
        preprocessing: how pixels become the encoder's input.
        neck: how features become embeddings, a name of `necks.NECKS`; "auto" is the one that fits the encoder.
        stages: number of last stages of the encoder whose averages join its features.
        grid: cells per side in which those stages are averaged; 0: over the whole picture.
        pooling: how the last feature map of a timm encoder becomes a vector.
        flip_tta: whether to average the embeddings of an image and its mirror image.
        zooms: shares of the side at which the middle of an image is looked at; the embeddings are averaged. Empty: the
            image as it is.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoder: str
    embedding_size: int = Field(ge=1, le=65536)
    loss: str
    loss_options: dict[str, Any]
    classes: tuple[str, ...] = Field(min_length=1)
    preprocessing: Preprocessing
    neck: NeckName = "auto"
    stages: int = Field(0, ge=0, le=64)
    grid: int = Field(0, ge=0, le=16)
    pooling: PoolingName = "average"
    flip_tta: bool = Field(False, validation_alias=AliasChoices("flip_tta", "mirrored"), serialization_alias="mirrored")
    zooms: tuple[Annotated[float, Field(gt=0.1, le=1)], ...] = Field((), max_length=8)

    @property
    def looks(self) -> int:
        """Number of times that the encoder looks at an image."""
        return max(1, len(self.zooms)) * (2 if self.flip_tta else 1)

    def described(self) -> dict[str, Any]:
        """Return the fields of the spec as plain values, by the names that entered the ids of models from the start."""
        return self.model_dump(mode="json", include=set(ModelSpec.model_fields), by_alias=True)


class ModelManifest(ModelSpec):
    """The content of ``model.json``, format version 1: the spec, the model's id, and what was measured.

    Attributes:
        id: SHA-256 of the spec and all tensors (see `artifact.content_id`).
        steradian: version that wrote it.
        calibration, thresholds, strangers, gate: from held-out images; None and empty until measured. They do not
            enter the id.
        provenance: command, data, versions, date.
    """

    format: Literal["steradian.recognizer"] = FORMAT
    version: Literal[1] = 1
    id: str = Field(pattern=r"^[0-9a-f]{64}$")
    steradian: str
    calibration: Calibration | None = None
    thresholds: tuple[Threshold, ...] = ()
    strangers: tuple[StrangerScores, ...] = ()
    gate: QualityGate | None = None
    provenance: dict[str, Any] = {}
