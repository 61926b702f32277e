"""Compute softmax, entropy, cross-entropy and divergence, in nats, or in bits with ``base=2``."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_softmax as _log_softmax
from scipy.special import softmax as _softmax
from scipy.special import xlogy

from steradian.errors import InputError
from steradian.metrics.checks import Floats

SLACK = 1e-4
"""Largest deviation from a sum of 1, as in single-precision probabilities of many classes."""


def softmax(logits: ArrayLike) -> Floats:
    """Return e^z_j / sum_k e^z_k along the last axis of finite logits of any shape."""
    shares: Floats = _softmax(_logits(logits), axis=-1)
    return shares


def log_softmax(logits: ArrayLike) -> Floats:
    """Return z_j - log sum_k e^z_k along the last axis of finite logits of any shape."""
    logs: Floats = _log_softmax(_logits(logits), axis=-1)
    return logs


def _logits(values: ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 0 or array.shape[-1] == 0 or not np.isfinite(array).all():
        raise InputError(f"logits must be finite numbers of shape [..., C], C > 0, but came as {list(array.shape)}.")
    return array


def self_information(probability: ArrayLike, base: float = math.e) -> Floats:
    """Return -log p of each probability; infinite at 0."""
    p = _probabilities(probability)
    with np.errstate(divide="ignore"):
        surprise: Floats = -np.log(p) / _log(base)
    return surprise + 0.0


def entropy(probabilities: ArrayLike, base: float = math.e) -> Floats:
    """Return -sum_j p_j log p_j along the last axis, with 0 log 0 = 0 (Shannon 1948)."""
    p = as_distributions(probabilities)
    spread: Floats = -xlogy(p, p).sum(axis=-1) / _log(base)
    return spread + 0.0


def bernoulli_entropy(probability: ArrayLike, base: float = math.e) -> Floats:
    """Return the entropy of a Bernoulli variable with ``probability`` of success; at most log 2, at 1/2."""
    p = _probabilities(probability)
    return entropy(np.stack([p, 1.0 - p], axis=-1), base)


def cross_entropy(p: ArrayLike, q: ArrayLike, base: float = math.e) -> Floats:
    """Return -sum_j p_j log q_j along the last axis; infinite where q is 0 and p is not."""
    first, second = as_distributions(p), as_distributions(q)
    if first.shape[-1] != second.shape[-1]:
        raise InputError(
            f"distributions over {first.shape[-1]} and over {second.shape[-1]} outcomes cannot be compared."
        )
    with np.errstate(divide="ignore"):
        cost: Floats = -xlogy(first, second).sum(axis=-1) / _log(base)
    return cost + 0.0


def divergence(p: ArrayLike, q: ArrayLike, base: float = math.e) -> Floats:
    """Return sum_j p_j log(p_j / q_j) along the last axis, at least 0 (Kullback and Leibler 1951)."""
    return np.maximum(cross_entropy(p, q, base) - entropy(p, base), 0.0)


def _probabilities(values: ArrayLike) -> Floats:
    p = np.asarray(values, dtype=np.float64)
    if not ((p >= 0.0) & (p <= 1.0)).all():
        raise InputError("a probability is outside 0..1 or NaN: every probability must be from 0 to 1.")
    return p


def _log(base: float) -> float:
    if not base > 0.0 or base == 1.0:
        raise InputError(f"base must be a positive number other than 1, such as 2 for bits, but is {base}.")
    return math.log(base)


def as_distributions(values: ArrayLike) -> Floats:
    """Return float64 [..., C]; raise `InputError` unless all are from 0 to 1 and sum to 1 within `SLACK`."""
    p = _probabilities(values)
    if p.ndim == 0 or ((sums := p.sum(axis=-1)).size and np.abs(sums - 1.0).max() > SLACK):
        raise InputError("probabilities along the last axis must sum to 1; divide by their sum, or take softmax first.")
    return p
