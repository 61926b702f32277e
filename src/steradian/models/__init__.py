"""Recognizers: encoder, neck and head in one module, and the artifact that holds one."""

from steradian.models.artifact import ModelCard
from steradian.models.encoders import build_encoder
from steradian.models.recognizer import Classification, ModelSpec, Recognizer

__all__ = ["Classification", "ModelCard", "ModelSpec", "Recognizer", "build_encoder"]
