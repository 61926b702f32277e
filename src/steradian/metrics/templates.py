"""Combine the embeddings of several images into one: flip fusion, and templates as in IJB-B and IJB-C."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from steradian.errors import InputError
from steradian.metrics.checks import Floats, Ints, as_labels, as_rows, sums_by_group, unit


def flip_fusion(embeddings: ArrayLike, flipped: ArrayLike, *, normalize_first: bool = False) -> Floats:
    """Return the unit vectors [N, D] of f(image) + f(mirrored image).

    Args:
        embeddings, flipped: float [N, D].
        normalize_first: normalize both before adding, so that both weigh the same; the published rule does not.
    """
    first, second = np.asarray(embeddings), np.asarray(flipped)
    if first.shape != second.shape:
        raise InputError(f"embeddings {list(first.shape)} and flipped {list(second.shape)} must have the same shape.")
    first, second = (as_rows(rows, np.arange(len(rows)), "embeddings") for rows in (first, second))
    return unit(unit(first) + unit(second)) if normalize_first else unit(first + second)


def template_embeddings(
    embeddings: ArrayLike,
    templates: ArrayLike,
    media: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    keep_norm: bool = True,
) -> tuple[Floats, Ints]:
    """Return the unit vectors [T, D] and the sorted names [T] of templates: the sum over media of each medium's mean.

    Frames of one video are averaged first, so that a long video does not outweigh single images (IJB-B, Whitelam et
    al. 2017).

    Args:
        embeddings: float [N, D].
        templates: int [N], the template of each image.
        media: int [N], the medium of each image (a still or a video), numbered within its template or globally.
        weights: [N], factors such as detector scores.
        keep_norm: weigh embeddings by their norm; False normalizes them first.
    """
    names = as_labels(templates, "templates")
    vectors = as_rows(embeddings, names, "embeddings").astype(np.float64)
    media_ids = as_labels(media, "media")
    if len(media_ids) != len(names):
        raise InputError(f"{len(media_ids)} media came with {len(names)} templates; give one of each per image.")
    vectors = vectors if keep_norm else unit(vectors).astype(np.float64)
    if weights is not None:
        factors = np.asarray(weights, dtype=np.float64)
        if factors.shape != names.shape or not np.isfinite(factors).all():
            raise InputError(f"weights must be {len(names)} finite numbers [N], but came as {list(factors.shape)}.")
        vectors = vectors * factors[:, None]
    pairs, pair_index = np.unique(
        np.stack([names.astype(np.int64), media_ids.astype(np.int64)], axis=1), axis=0, return_inverse=True
    )
    pair_index = pair_index.reshape(-1)
    means = sums_by_group(vectors, pair_index, len(pairs)) / np.bincount(pair_index)[:, None]
    template_names, template_index = np.unique(pairs[:, 0], return_inverse=True)
    return unit(sums_by_group(means, template_index, len(template_names))), template_names
