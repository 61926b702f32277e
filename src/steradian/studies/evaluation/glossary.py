"""Labels and explanations of metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steradian.plots.report import Table, facts
from steradian.studies.evaluation.closed_set import formatted
from steradian.studies.evaluation.inputs import flat

NOT_LISTED = ("provenance", "most_confused", "notes", "per_class", "adaptation", "fine_tuning")
"""Keys whose values are not numbers, or are per-class numbers."""

MEANINGS: dict[str, tuple[str, ...]] = {
    "closed": (
        "Accuracy is the share of images classified correctly; balanced accuracy gives every class the same "
        "weight, however many images it has. If the two are far apart, small classes fare worse than large ones.",
        "Precision is the share of images predicted as a class that belong to it, recall the share of its images that "
        "are predicted as it. F1 is high only if both are. Macro averages classes, micro images; a class never "
        "predicted has precision 0.",
        "The area under the ROC curve is the chance that an image of a class scores higher for it than an image of "
        "another; 0.5 is guessing. Average precision is stricter for a rare class.",
        "Score AUC is the chance that a correct answer scores higher than a wrong one.",
    ),
    "calibration": (
        "Calibration error is how far, on average, confidence is from accuracy: at 0.05, answers given "
        "with 90 % confidence are right about 85 or 95 % of the time.",
        "A prediction set should contain the true class: 'covered' is how often it did, 'size' is its mean number of "
        "classes. The coverage holds for images like those of the calibration part.",
    ),
    "neighbors": ("Nearest neighbors: each image is classified by a vote of the five nearest training images.",),
    "clustering": (
        "k-means forms as many clusters as there are classes, without labels; 'majority' assigns each its most "
        "frequent class, 'one to one' assigns each class one cluster. Mutual information is 1 if clusters equal "
        "the classes and 0 (adjusted) if they are random.",
    ),
    "verification": (
        "FAR is the share of impostor pairs (two identities) that are accepted, TAR the share of genuine pairs (one "
        "identity) that are accepted. The threshold is chosen so that at most the stated share of impostors passes; "
        "a pair must score higher.",
        "At the equal error rate as many impostors are accepted, in proportion, as genuine pairs are rejected.",
        "A rate is undefined if there are too few impostor pairs for it: with a thousand of them, one in a million "
        "cannot be measured.",
    ),
    "identification": (
        "Identification: one image of each identity is enrolled, and the others are probes. Rank 5 is the share of "
        "probes whose identity is among the first five.",
        "Detection and identification rate (DIR): the share of probes that rank first and score above the threshold, "
        "which at most the stated share of probes that are not enrolled exceeds.",
    ),
    "retrieval": (
        "Recall at k: the share of images with one of their class among the k nearest others. MAP@R is 1 only if all "
        "images of its class come before any other.",
    ),
    "open_set": (
        "Known or unknown: AUROC is the chance that an image of a known class gets a higher confidence than one of an "
        "unknown class, FPR at 95 the share of unknown ones that pass when 95 % of the known ones do, OSCR the area "
        "under correct answers plotted against unknown ones that pass.",
    ),
    "landmarks": (
        "GAP ranks all answers together by confidence: a wrong answer, or one for an image that shows nothing known, "
        "costs more the higher its confidence.",
    ),
    "new_classes": (
        "New classes: numbers of classes that were left out of the fit, a part of them in turn, beside those of the "
        "untrained encoder's own features. They are estimates for things enrolled later.",
    ),
    "unseen": ("Unseen: the same metrics on classes absent from training, as an enrolled gallery meets them.",),
}


def meanings(numbers: Mapping[str, Any]) -> list[str]:
    """Return one paragraph or more on each protocol in ``numbers``."""
    return [text for name, texts in MEANINGS.items() if name in numbers for text in texts]


def in_words(numbers: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (label, formatted value) of every number that is not per class."""
    listed = {key: value for key, value in numbers.items() if key not in NOT_LISTED}
    return [
        (key.replace("_", " ").replace(".", ": "), formatted(value))
        for key, value in flat(listed)
        if isinstance(value, float | int) and not any(f".{part}." in f".{key}." for part in NOT_LISTED)
    ]


def numbers_table(numbers: Mapping[str, Any]) -> Table:
    """Return `in_words` as a table."""
    return facts(dict(in_words(numbers)), align="right")
