"""How good it is: array math on scores, labels and embeddings, without modules or files."""

from steradian.metrics.classification import accuracy, top_k_accuracy, true_ranks
from steradian.metrics.clustering import cluster_accuracy, spherical_clusters, spherical_silhouette
from steradian.metrics.geometry import ClassAngles, VolumeRatios, class_angles, class_means, volume_ratios
from steradian.metrics.intervals import Interval, normal_interval, t_interval
from steradian.metrics.neighbors import knn_accuracy, knn_predict
from steradian.metrics.verification import OperatingPoint, PairScores, equal_error_rate, pair_scores, tar_at_far

__all__ = [
    "ClassAngles",
    "Interval",
    "OperatingPoint",
    "PairScores",
    "VolumeRatios",
    "accuracy",
    "class_angles",
    "class_means",
    "cluster_accuracy",
    "equal_error_rate",
    "knn_accuracy",
    "knn_predict",
    "normal_interval",
    "pair_scores",
    "spherical_clusters",
    "spherical_silhouette",
    "t_interval",
    "tar_at_far",
    "top_k_accuracy",
    "true_ranks",
    "volume_ratios",
]
