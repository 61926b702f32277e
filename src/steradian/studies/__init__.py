"""Many steps, one report: train a model, evaluate it, compare techniques, move layers.

Each function writes a folder with a report and returns what it measured, from Python as from the command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from steradian.lazy import lazy

if TYPE_CHECKING:
    from steradian.studies.comparison.compare import compare
    from steradian.studies.comparison.result import ComparisonResult
    from steradian.studies.discovery.near_copies import near_copies
    from steradian.studies.evaluation.listed_pairs import measure_listed_pairs
    from steradian.studies.evaluation.report import evaluate
    from steradian.studies.evaluation.run import EvaluationResult
    from steradian.studies.evaluation.tables import measure_predictions, measure_scores
    from steradian.studies.single_run import Run, train
    from steradian.studies.transferability.freezing import study_freezing
    from steradian.studies.transferability.freezing_result import FreezingResult
    from steradian.studies.transferability.result import TransferResult
    from steradian.studies.transferability.transfer import transfer

__all__ = [
    "ComparisonResult", "EvaluationResult", "FreezingResult", "Run", "TransferResult", "compare", "evaluate",
    "measure_listed_pairs", "measure_predictions", "measure_scores", "near_copies", "study_freezing", "train",
    "transfer",
]  # fmt: skip

__getattr__, __dir__ = lazy(
    __name__,
    {
        "comparison.compare": "compare",
        "comparison.result": "ComparisonResult",
        "discovery.near_copies": "near_copies",
        "evaluation.listed_pairs": "measure_listed_pairs",
        "evaluation.report": "evaluate",
        "evaluation.run": "EvaluationResult",
        "evaluation.tables": "measure_predictions measure_scores",
        "single_run": "Run train",
        "transferability.freezing": "study_freezing",
        "transferability.freezing_result": "FreezingResult",
        "transferability.result": "TransferResult",
        "transferability.transfer": "transfer",
    },
)
