"""Recognizers: encoder, neck and head in one module, and the artifact that holds one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steradian.lazy import lazy

if TYPE_CHECKING:
    from steradian.models.artifact import ModelCard
    from steradian.models.encoders import build_encoder
    from steradian.models.exported import ExportedModel
    from steradian.models.recognizer import Classification, ModelSpec, Recognizer

__all__ = ["Classification", "ExportedModel", "ModelCard", "ModelSpec", "Recognizer", "build_encoder"]

__getattr__ = lazy(
    __name__,
    {
        "Classification": "recognizer",
        "ExportedModel": "exported",
        "ModelCard": "artifact",
        "ModelSpec": "recognizer",
        "Recognizer": "recognizer",
        "build_encoder": "encoders",
    },
)
