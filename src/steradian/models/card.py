"""What a model is, in Markdown: data, numbers with intervals, intended use and limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from steradian.models.calibration import Threshold

if TYPE_CHECKING:
    from steradian.models.artifact import ModelCard

NAMED = 40
"""Class names that are listed."""


def card_text(card: ModelCard, numbers: Sequence[tuple[str, str]] = ()) -> str:
    """The model card of an artifact, with the header that hubs read.

    Args:
        numbers: (words, value) of what was measured on images that it did not learn from.
    """
    color = "gray" if card.preprocessing.channels == 1 else "color"
    names = card.classes
    listed = ", ".join(f"`{name}`" for name in names[:NAMED]) + (", …" if len(names) > NAMED else "")
    parts = [
        "---\nlibrary_name: steradian\ntags: [image-feature-extraction, image-classification]\n---\n",
        f"# A recognizer of {len(names)} classes\n",
        f"Embeds {color} images of {card.preprocessing.size} pixels in {card.embedding_size} dimensions (encoder "
        f"`{card.encoder}`, loss `{card.loss}`), names its classes, and tells whether two images show the same. "
        f"Model id `{card.id}`.\n",
        '## Use\n\n```python\nimport steradian as st\n\nmodel = st.Recognizer.load("FOLDER")  # or hf-hub:OWNER/NAME\n'
        'model.classify(["image.jpg"])\nmodel.embed(["image.jpg"])  # unit vectors\n```\n',
        f"## Data\n\n{_data(card.provenance)}\n\nClasses: {listed}\n",
        f"## Measured\n\n{_table(('', ''), numbers) if numbers else 'Nothing was measured yet.'}\n",
        _thresholds(card.thresholds),
        "## Intended use\n\nImages like those that it learned from: to name their classes, and to enroll others of the "
        "same kind by a few images each.\n",
        f"## Limits\n\n{_limits(card)}\n",
        f"## Made by\n\n{_made(card.provenance)}\n",
    ]
    return "\n".join(part for part in parts if part)


def _data(origin: dict[str, Any]) -> str:
    data = origin.get("data") or {}
    words = [f"Learned from `{data['source']}`" if "source" in data else "The data are not told"]
    if "images" in data:
        words.append(f"{data['images']:,} images")
    if "digest" in data:
        words.append(f"SHA-256 of all pixels and labels `{data['digest']}`")
    return ", ".join(words) + "."


def _thresholds(found: Sequence[Threshold]) -> str:
    if not found:
        return ""
    rows = [(f"{one.far:g}", f"{one.cosine:.3f}", f"{one.low:.3f} to {one.high:.3f}") for one in found]
    table = _table(("different ones taken for the same", "cosine above", "95 %"), rows)
    return f"Thresholds for two images, measured on {found[0].measured_on}:\n\n{table}"


def _limits(card: ModelCard) -> str:
    found = [
        "- Probabilities and thresholds hold for images like those that they were measured on; for others, measure "
        "again (`steradian evaluate`) and calibrate the gallery.",
        "- A rare false accept is not a proof of identity, and every threshold has an interval.",
    ]
    if card.calibration is None:
        found.insert(0, "- It was not calibrated: its probabilities only rank.")
    if not card.thresholds:
        found.insert(0, "- It has no thresholds for two images.")
    return "\n".join(found)


def _made(origin: dict[str, Any]) -> str:
    if not origin:
        return "Not told."
    command = f"`{origin['command']}`" if origin.get("command") else "not told"
    versions = ", ".join(f"{name} {origin[name]}" for name in ("steradian", "torch", "python") if origin.get(name))
    facts = [f"Command: {command}", f"seed {origin.get('seed', 'not told')}", versions, str(origin.get("date", ""))]
    return ", ".join(fact for fact in facts if fact) + "."


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"
