"""Recognizers (encoder, neck and head in one module) and the artifact that stores one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steradian.lazy import lazy

if TYPE_CHECKING:
    from steradian.models.answers import Classification, Verification
    from steradian.models.calibration import Calibration, Threshold, Thresholds
    from steradian.models.encoders import build_encoder
    from steradian.models.exported import ExportedModel
    from steradian.models.manifest import ModelManifest, ModelSpec
    from steradian.models.recognizer import Recognizer

__all__ = [
    "Calibration", "Classification", "ExportedModel", "ModelManifest", "ModelSpec", "Recognizer", "Threshold",
    "Thresholds", "Verification", "build_encoder",
]  # fmt: skip

__getattr__, __dir__ = lazy(
    __name__,
    {
        "answers": "Classification Verification",
        "calibration": "Calibration Threshold Thresholds",
        "encoders": "build_encoder",
        "exported": "ExportedModel",
        "manifest": "ModelManifest ModelSpec",
        "recognizer": "Recognizer",
    },
)
