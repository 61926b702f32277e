"""Numbers in words: what each is called, and what it means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steradian.plots.report import Cell, Table
from steradian.studies.closed import formatted
from steradian.studies.measurement import flat

UNTOLD = ("provenance", "most_confused", "notes", "per_class")
"""Parts of the numbers that are no numbers, or one of each class."""

MEANINGS: dict[str, tuple[str, ...]] = {
    "closed": (
        "Accuracy is the share of images whose answer is their class; balanced accuracy gives every class the same "
        "weight, however many images it has. If the two are far apart, small classes fare worse than large ones.",
        "Precision: of the images that were called so, how many are. Recall: of those that are, how many were called "
        "so. F1 is high only when both are. Macro averages classes, micro images; a class that was never named has "
        "precision 0.",
        "The area under the ROC curve is the chance that an image of a class scores higher for it than an image of "
        "another; 0.5 is guessing. Average precision says the same of a rare class more strictly.",
        "Score AUC, of answers with a score: the chance that a right one scores higher than a wrong one.",
    ),
    "calibration": (
        "Calibration error is how far, on average, confidence is from the share that is right: at 0.05, answers given "
        "with 90 % confidence are right about 85 or 95 % of the time.",
        "A set of candidates promises to hold the truth: 'covered' is how often it did, 'size' how many classes it "
        "took on average. The promise is for images like those that were held out to fit it.",
    ),
    "neighbors": ("Nearest neighbors: each image is named by the five training images whose directions are nearest.",),
    "clustering": (
        "Clusters are found without any label, as many as there are classes; 'majority' names each by its most "
        "frequent class, 'one to one' lets every class be one cluster only. Mutual information is 1 where clusters are "
        "the classes and 0 (adjusted) where they are chance.",
    ),
    "verification": (
        "FAR is the share of pairs of two identities that are wrongly accepted, TAR the share of pairs of one that are "
        "rightly accepted. The threshold is chosen so that at most the stated share of impostors passes; "
        "a pair must score higher.",
        "At the equal error rate as many impostors are accepted, in proportion, as genuine pairs are rejected.",
        "A rate that the impostor pairs are too few for has no number: with a thousand of them, one in a million "
        "cannot be measured.",
    ),
    "identification": (
        "Identification: one image of each identity is enrolled, and the others look for it. Rank 5 is the share that "
        "find their own identity among the first five.",
        "Detection and identification at a false-alarm rate: the share that is found first and above a threshold "
        "that at most so many images of identities that are not enrolled pass.",
    ),
    "retrieval": (
        "Recall at k: the share of images with one of their class among the k nearest others. MAP@R also asks that all "
        "of its class come before any other.",
    ),
    "open_set": (
        "Known or unknown: AUROC is the chance that an image of a known class is surer than one of an unknown class, "
        "FPR at 95 the share of unknown ones that pass when 95 % of the known ones do, OSCR the area under right "
        "answers against unknown ones that pass.",
    ),
    "landmarks": (
        "GAP ranks all answers together by confidence: a wrong answer, or one for an image that shows nothing known, "
        "costs the more the surer it was.",
    ),
    "unseen": (
        "Unseen: the same numbers on classes that no training image shows, which is what an enrolled gallery meets.",
    ),
}


def meanings(numbers: Mapping[str, Any]) -> list[str]:
    """What the protocols in ``numbers`` measure, a paragraph each."""
    return [text for name, texts in MEANINGS.items() if name in numbers for text in texts]


def in_words(numbers: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(words, formatted value) of every number that is not of one class."""
    told = {key: value for key, value in numbers.items() if key not in UNTOLD}
    rows = [
        (key, value)
        for key, value in flat(told)
        if isinstance(value, float | int) and not any(f".{part}." in f".{key}." for part in UNTOLD)
    ]
    return [(key.replace("_", " ").replace(".", ": "), formatted(value)) for key, value in rows]


def numbers_table(numbers: Mapping[str, Any]) -> Table:
    """`in_words` as a table."""
    return Table(("", ""), [(Cell(words), Cell(value)) for words, value in in_words(numbers)])
