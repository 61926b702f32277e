"""Measure how well clusters, found without labels, agree with the classes."""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

from steradian.errors import InputError
from steradian.metrics.checks import Floats, Ints, as_labels, as_rows, sums_by_group, unit

Mapping = Literal["majority", "one-to-one"]


def spherical_clusters(embeddings: ArrayLike, count: int, seed: int = 0) -> Ints:
    """Return the k-means cluster index [N] (10 starts) of the unit vectors of ``embeddings`` [N, D]."""
    embeddings = np.asarray(embeddings)
    vectors = unit(as_rows(embeddings, np.zeros(len(embeddings), dtype=int), "embeddings"))
    if not 1 <= count <= len(vectors):
        raise InputError(f"{count} clusters were requested, but {len(vectors)} rows allow 1 to {len(vectors)}.")
    with warnings.catch_warnings():
        # Having fewer distinct points than clusters is a valid result here, so do not warn.
        warnings.simplefilter("ignore", ConvergenceWarning)
        clusters: Ints = KMeans(count, n_init=10, random_state=seed).fit_predict(vectors.astype(np.float64))
    return clusters


def cluster_accuracy(clusters: ArrayLike, labels: ArrayLike, mapping: Mapping = "majority") -> float:
    """Return the share of items whose cluster is mapped to their label.

    Args:
        clusters: int [N].
        labels: int [N].
        mapping: "majority" maps each cluster to its most frequent label (system B's rule, also called
            purity; two clusters may map to one label). "one-to-one" is the best matching of
            clusters and labels (Hungarian algorithm), never higher.
    """
    # The table is sparse, since there may be as many clusters and labels as items.
    sparse = contingency_matrix(*_paired(clusters, labels), sparse=True)
    if mapping == "majority":
        return float(sparse.max(axis=0).sum() / sparse.sum())
    if mapping == "one-to-one":
        counts = sparse.toarray()
        rows, columns = linear_sum_assignment(-counts)
        return float(counts[rows, columns].sum() / counts.sum())
    raise InputError(f"mapping must be 'majority' or 'one-to-one', but is {mapping!r}.")


def normalized_mutual_information(clusters: ArrayLike, labels: ArrayLike) -> float:
    """Compute the NMI (arithmetic mean) of two groupings int [N]; more clusters raise it by chance, so prefer AMI."""
    return float(normalized_mutual_info_score(*_paired(clusters, labels)))


def adjusted_mutual_information(clusters: ArrayLike, labels: ArrayLike) -> float:
    """Compute the AMI of two groupings int [N]: about 0 for a random one, 1 for equal ones (Vinh et al. 2010)."""
    return float(adjusted_mutual_info_score(*_paired(clusters, labels)))


def _paired(clusters: ArrayLike, labels: ArrayLike) -> tuple[Ints, Ints]:
    cluster_ids, names = as_labels(clusters, "clusters"), as_labels(labels)
    if len(cluster_ids) != len(names) or len(names) == 0:
        raise InputError(f"{len(cluster_ids)} clusters came with {len(names)} labels; give equal lengths above 0.")
    return names, cluster_ids


def spherical_silhouette(embeddings: ArrayLike, labels: ArrayLike) -> float:
    """Compute the mean silhouette with distance 1 - cosine (Rousseeuw 1987) of embeddings [N, D] with labels [N].

    The mean distance to a class follows from the sum of its unit vectors, so memory is N x C. A class of
    one item has silhouette 0. Raise `InputError` for fewer than two classes.
    """
    labels = as_labels(labels)
    vectors = unit(as_rows(embeddings, labels, "embeddings")).astype(np.float64)
    known, codes = np.unique(labels, return_inverse=True)
    if len(known) < 2:
        raise InputError(f"a silhouette needs at least two classes, but {len(known)} came.")
    sizes = np.bincount(codes)
    total: Floats = sizes[None, :] - vectors @ sums_by_group(vectors, codes, len(known)).T
    own_class = np.arange(len(labels)), codes
    self_distance = 1.0 - (vectors * vectors).sum(axis=1)
    inside = (total[own_class] - self_distance) / np.maximum(sizes[codes] - 1, 1)
    outside = total / sizes
    outside[own_class] = np.inf
    nearest = outside.min(axis=1)
    spread = np.maximum(inside, nearest)
    score = np.where(spread > 0, (nearest - inside) / np.where(spread > 0, spread, 1), 0.0)
    return float(np.where(sizes[codes] == 1, 0.0, score).mean())
