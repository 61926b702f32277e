"""Say what an adaptation compared and chose, and what the model does for classes that it was not fitted on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from steradian.plots.report import Block, Cell, Section, Table
from steradian.training.adaptation.adapt import Adaptation
from steradian.training.adaptation.folds import FEWEST_CLASSES

LISTED = 12
"""Number of candidates in the table of the report."""

COLUMNS = {
    "recall_at_1": ("recall at 1", "{:.3f}"),
    "tar": ("TAR at FAR 1e-2", "{:.3f}"),
    "mean_rank": ("mean rank", "{:.1f}"),
    "identified": ("named right, 1 % of strangers named", "{:.3f}"),
}


def adaptation_numbers(adaptation: Adaptation) -> dict[str, Any]:
    """Return what was chosen, what was compared, and the numbers of classes that were left out, as plain values."""
    embedding, classification = adaptation.embedding, adaptation.classification
    numbers: dict[str, Any] = {
        "adaptation": {
            "embedding": str(embedding.whitening),
            "classifier": list(classification.members),
            "classifiers": [asdict(one) for one in classification.tried],
            "embeddings": {name: asdict(score) for name, score in embedding.tried.items()},
        }
    }
    if embedding.chosen is not None and embedding.untrained is not None:
        numbers["new_classes"] = {
            "model": asdict(embedding.chosen),
            "untrained": asdict(embedding.untrained),
            "images": embedding.images,
        }
    return numbers


def new_classes_sentence(numbers: Mapping[str, Any], pretrained: bool) -> str:
    """Return what is known about classes that the model was not trained on, or why nothing is."""
    if "new_classes" in numbers:
        model, untrained = (numbers["new_classes"][name] for name in ("model", "untrained"))
        return (
            f"New classes: with a third of the classes left out in turn, recall at 1 on these is "
            f"{model['recall_at_1']:.3f} with this embedding and {untrained['recall_at_1']:.3f} with the features of "
            "the untrained encoder."
        )
    if "adaptation" in numbers:
        return (
            "What the model does for new classes cannot be told: this takes "
            f"{FEWEST_CLASSES} classes, some of them with two images that are no near copies. Its embedding is that of "
            "the encoder."
        )
    if pretrained:
        return (
            "What the model does for new classes was not measured: its layers learned from all classes. It may do "
            "worse there than the untrained encoder. Hold classes out with --set data.unseen=0.3, or use --adapt auto."
        )
    return (
        "What the model does for new classes cannot be told: it was trained from nothing on all classes. Hold some "
        "out with --set data.unseen=0.3."
    )


def adaptation_sections(numbers: Mapping[str, Any]) -> list[Section]:
    """Return the sections of the report on new classes and on what was compared; none without an adaptation."""
    if "adaptation" not in numbers:
        return []
    adaptation = numbers["adaptation"]
    blocks: list[Block] = []
    if "new_classes" in numbers:
        rows = {"this model": numbers["new_classes"]["model"], "untrained encoder": numbers["new_classes"]["untrained"]}
        blocks.append(_table("embedding", rows))
    tried = [
        [Cell(one["name"]), Cell(f"{one['accuracy']:.4f}"), Cell(f"{one['log_likelihood']:.4f}")]
        for one in adaptation["classifiers"][:LISTED]
    ]
    compared: list[Block] = []
    if tried:
        compared.append(Table(("classifier", "accuracy", "log-likelihood"), tried))
    if adaptation["embeddings"]:
        best = sorted(adaptation["embeddings"].items(), key=lambda item: -item[1]["recall_at_1"] - item[1]["tar"])
        compared.append(_table("embedding", dict(best[:LISTED])))
    if numbers.get("fine_tuning", {}).get("attempts"):
        attempts = [
            [Cell(f"{one['name']}, {one['blend']:.0%} tuned" if one["blend"] else one["name"]),
             Cell(f"{one['accuracy']:.4f}"), Cell(f"{one['minutes']:.1f}")]
            for one in numbers["fine_tuning"]["attempts"]
        ]  # fmt: skip
        compared.append(
            Table(("encoder", "accuracy, held out", "minutes"), attempts, [numbers["fine_tuning"]["verdict"]])
        )
    return [
        Section(
            "New classes",
            [
                "Numbers for classes that the model was not fitted on: a part of the classes is left out in turn. Mean "
                "rank is the place of the first image of the right class among all others."
            ],
            blocks,
        ),
        Section(
            "What was compared",
            [
                f"Embedding: {adaptation['embedding']}. Classifier: {', '.join(adaptation['classifier'])}. "
                "All candidates were fitted on frozen features and cross-validated; near copies stay together.",
            ],
            compared,
        ),
    ]


def _table(first: str, rows: Mapping[str, Mapping[str, float]]) -> Table:
    names = (first, *(label for label, _ in COLUMNS.values()))
    cells = [
        [Cell(name), *(Cell(form.format(row[key])) for key, (_, form) in COLUMNS.items())] for name, row in rows.items()
    ]
    return Table(names, cells)
