"""Write a model card in Markdown: data, metrics with intervals, intended use and limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from steradian.models.calibration import Threshold
from steradian.models.manifest import ModelManifest

NAMED = 40
"""Maximum number of class names that are listed."""


def readme_text(manifest: ModelManifest, numbers: Sequence[tuple[str, str]] = ()) -> str:
    """Return the model card, with the header that hubs read; ``numbers`` are pairs (metric, value) on new images."""
    color = "gray" if manifest.preprocessing.channels == 1 else "color"
    names = manifest.classes
    listed = ", ".join(f"`{name}`" for name in names[:NAMED]) + (", …" if len(names) > NAMED else "")
    parts = [
        "---\nlibrary_name: steradian\ntags: [image-feature-extraction, image-classification]\n---\n",
        f"# A recognizer of {len(names)} classes\n",
        f"Embeds {color} images of {manifest.preprocessing.size} pixels in {manifest.embedding_size} dimensions "
        f"(encoder `{manifest.encoder}`, loss `{manifest.loss}`), names its classes, and tells whether two images show "
        f"the same. Model id `{manifest.id}`.\n",
        '## Use\n\n```python\nimport steradian as st\n\nmodel = st.Recognizer.load("FOLDER")  # or hf-hub:OWNER/NAME\n'
        'model.classify(["image.jpg"])\nmodel.embed(["image.jpg"])  # unit vectors\n```\n',
        f"## Data\n\n{_data(manifest.provenance)}\n\nClasses: {listed}\n",
        f"## Measured\n\n{_table(('', ''), numbers) if numbers else 'Nothing was measured yet.'}\n",
        _thresholds(manifest.thresholds),
        "## Intended use\n\nImages like the training images: to classify them, and to enroll new classes of the "
        "same kind with a few images each.\n",
        f"## Limits\n\n{_limits(manifest)}\n",
        f"## Made by\n\n{_made(manifest.provenance)}\n",
    ]
    return "\n".join(part for part in parts if part)


def _data(origin: dict[str, Any]) -> str:
    data = origin.get("data") or {}
    parts = [f"Trained on `{data['source']}`" if "source" in data else "The training data are unknown"]
    if "images" in data:
        parts.append(f"{data['images']:,} images")
    if "digest" in data:
        parts.append(f"SHA-256 of all pixels and labels `{data['digest']}`")
    return ", ".join(parts) + "."


def _thresholds(thresholds: Sequence[Threshold]) -> str:
    if not thresholds:
        return ""
    rows = [(f"{one.far:g}", f"{one.cosine:.3f}", f"{one.low:.3f} to {one.high:.3f}") for one in thresholds]
    table = _table(("false-accept rate", "cosine threshold", "95 % interval"), rows)
    return f"Verification thresholds, measured on {thresholds[0].measured_on}:\n\n{table}"


def _limits(manifest: ModelManifest) -> str:
    lines = [
        "- Probabilities and thresholds hold for images like those they were measured on; for others, measure "
        "again (`steradian evaluate`) and calibrate the gallery.",
        "- A match is not a proof of identity: false accepts occur, and every threshold has an interval.",
    ]
    if manifest.calibration is None:
        lines.insert(0, "- It was not calibrated: its probabilities only rank the classes.")
    if not manifest.thresholds:
        lines.insert(0, "- It has no thresholds to verify two images.")
    return "\n".join(lines)


def _made(origin: dict[str, Any]) -> str:
    if not origin:
        return "Unknown."
    command = f"`{origin['command']}`" if origin.get("command") else "unknown"
    versions = ", ".join(f"{name} {origin[name]}" for name in ("steradian", "torch", "python") if origin.get(name))
    parts = [f"Command: {command}", f"seed {origin.get('seed', 'unknown')}", versions, str(origin.get("date", ""))]
    return ", ".join(part for part in parts if part) + "."


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"
