"""Compute metrics from arrays of scores, labels and embeddings, without models or files."""

from steradian.metrics.all_pairs import Accepted, AllPairs, PairTally, verify_all_pairs
from steradian.metrics.calibration import (
    IsotonicScore,
    ReliabilityBins,
    brier_score,
    expected_calibration_error,
    fit_isotonic,
    fit_temperature,
    negative_log_likelihood,
    reliability,
)
from steradian.metrics.checks import unit
from steradian.metrics.closed_set import (
    Areas,
    ClosedSet,
    accuracy,
    closed_set,
    mean_true_rank,
    top_k_accuracy,
    true_ranks,
)
from steradian.metrics.clustering import (
    adjusted_mutual_information,
    cluster_accuracy,
    normalized_mutual_information,
    spherical_clusters,
    spherical_silhouette,
)
from steradian.metrics.conformal import (
    ConformalSets,
    Coverage,
    conformal_bound,
    conformal_sets,
    measured_coverage,
    unknown_p_values,
)
from steradian.metrics.confusion import ClassCounts, Confused, Confusion, Scores
from steradian.metrics.curves import (
    Chosen,
    PrecisionRecall,
    Roc,
    ScoreCounts,
    average_precision,
    precision_recall,
    roc,
    roc_auc,
    threshold_for_precision,
    threshold_for_recall,
    youden_threshold,
)
from steradian.metrics.distractors import (
    DistractorRank,
    DistractorRates,
    rank_1_with_distractors,
    rates_with_distractors,
)
from steradian.metrics.geometry import ClassAngles, VolumeRatios, class_angles, class_means, volume_ratios
from steradian.metrics.identification import Candidates, candidates, cmc, dir_at_far
from steradian.metrics.information import (
    bernoulli_entropy,
    cross_entropy,
    divergence,
    entropy,
    log_softmax,
    self_information,
    softmax,
)
from steradian.metrics.intervals import (
    Interval,
    crossed_interval,
    identity_interval,
    normal_interval,
    t_interval,
    wilson_interval,
)
from steradian.metrics.landmarks import Named, gap, mean_average_precision
from steradian.metrics.neighbors import Neighbors, knn_accuracy, knn_predict, nearest_neighbors
from steradian.metrics.open_set import OpenSet, Oscr, confidences, open_set_numbers, oscr
from steradian.metrics.retrieval import RetrievalSums, map_at_r, r_precision, recall_at_k, retrieval_sums
from steradian.metrics.templates import flip_fusion, template_embeddings
from steradian.metrics.verification import (
    FoldAccuracy,
    OperatingPoint,
    PairScores,
    contiguous_folds,
    equal_error_rate,
    fold_accuracy,
    impostor_threshold,
    pair_scores,
    tar_at_far,
)

__all__ = [
    "Accepted", "AllPairs", "Areas", "Candidates", "Chosen", "ClassAngles", "ClassCounts", "ClosedSet",
    "ConformalSets", "Confused", "Confusion", "Coverage", "DistractorRank", "DistractorRates", "FoldAccuracy",
    "Interval", "IsotonicScore", "Named", "Neighbors", "OpenSet", "OperatingPoint", "Oscr", "PairScores", "PairTally",
    "PrecisionRecall", "ReliabilityBins", "RetrievalSums", "Roc", "ScoreCounts", "Scores", "VolumeRatios", "accuracy",
    "adjusted_mutual_information", "average_precision", "bernoulli_entropy", "brier_score", "candidates",
    "class_angles", "class_means", "closed_set", "cluster_accuracy", "cmc", "confidences", "conformal_bound",
    "conformal_sets", "contiguous_folds", "cross_entropy", "crossed_interval", "dir_at_far", "divergence", "entropy",
    "equal_error_rate", "expected_calibration_error", "fit_isotonic", "fit_temperature", "flip_fusion",
    "fold_accuracy", "gap", "identity_interval", "impostor_threshold", "knn_accuracy", "knn_predict", "log_softmax",
    "map_at_r", "mean_average_precision", "mean_true_rank", "measured_coverage", "nearest_neighbors",
    "negative_log_likelihood", "normal_interval", "normalized_mutual_information", "open_set_numbers", "oscr",
    "pair_scores", "precision_recall", "r_precision", "rank_1_with_distractors", "rates_with_distractors",
    "recall_at_k", "reliability", "retrieval_sums", "roc", "roc_auc", "self_information", "softmax",
    "spherical_clusters", "spherical_silhouette", "t_interval", "tar_at_far", "template_embeddings",
    "threshold_for_precision", "threshold_for_recall", "top_k_accuracy", "true_ranks", "unit", "unknown_p_values",
    "verify_all_pairs", "volume_ratios", "wilson_interval", "youden_threshold",
]  # fmt: skip


def __dir__() -> list[str]:
    return sorted(__all__)
