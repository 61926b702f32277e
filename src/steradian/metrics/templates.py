"""One vector for several pictures of one person: flip fusion, and templates as in IJB-B and IJB-C."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from steradian.errors import InputError
from steradian.metrics.checks import Floats, Ints, as_labels, as_rows, unit


def flip_fusion(embeddings: ArrayLike, flipped: ArrayLike, *, normalize_first: bool = False) -> Floats:
    """Unit vectors [N, D] of f(image) + f(mirrored image).

    Args:
        embeddings, flipped: float [N, D].
        normalize_first: give both the same weight; as published the longer counts for more.
    """
    first, second = np.asarray(embeddings), np.asarray(flipped)
    if first.shape != second.shape:
        raise InputError(f"embeddings {list(first.shape)} and flipped {list(second.shape)} must be of one shape.")
    first, second = (as_rows(found, np.arange(len(found)), "embeddings") for found in (first, second))
    return unit(unit(first) + unit(second)) if normalize_first else unit(first + second)


def template_embeddings(
    embeddings: ArrayLike,
    templates: ArrayLike,
    media: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    keep_norm: bool = True,
) -> tuple[Floats, Ints]:
    """Unit vectors [T, D] of templates and their names [T], sorted: the sum over media of the mean over each medium.

    Frames of one video are averaged first, so that a long video does not drown single pictures (IJB-B, Whitelam et al.
    2017).

    Args:
        embeddings: float [N, D].
        templates: int [N], which template a picture belongs to.
        media: int [N], which medium (a still, or a video); a medium belongs to one template at a time.
        weights: [N] factors, such as detector scores.
        keep_norm: let longer embeddings count for more; False takes unit vectors.
    """
    names = as_labels(templates, "templates")
    vectors = as_rows(embeddings, names, "embeddings").astype(np.float64)
    parts = as_labels(media, "media")
    if len(parts) != len(names):
        raise InputError(f"{len(parts)} media came with {len(names)} templates; one each is needed.")
    vectors = vectors if keep_norm else unit(vectors).astype(np.float64)
    if weights is not None:
        factors = np.asarray(weights, dtype=np.float64)
        if factors.shape != names.shape or not np.isfinite(factors).all():
            raise InputError(f"weights must be {len(names)} finite numbers, but came as {list(factors.shape)}.")
        vectors = vectors * factors[:, None]
    pairs, of_pair = np.unique(
        np.stack([names.astype(np.int64), parts.astype(np.int64)], axis=1), axis=0, return_inverse=True
    )
    of_pair = of_pair.reshape(-1)
    means = _sums(vectors, of_pair, len(pairs)) / np.bincount(of_pair)[:, None]
    known, of_template = np.unique(pairs[:, 0], return_inverse=True)
    return unit(_sums(means, of_template, len(known))), known


def _sums(vectors: Floats, groups: Ints, count: int) -> Floats:
    found = np.zeros((count, vectors.shape[1]))
    np.add.at(found, groups, vectors)
    return found
