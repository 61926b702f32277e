"""Probabilities and information: softmax, entropy, cross-entropy, divergence; in nats, or in bits with ``base=2``."""

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
"""By which single-precision probabilities of many classes may miss their sum of 1."""


def softmax(logits: ArrayLike) -> Floats:
    """e^z_j / sum_k e^z_k along the last axis; any shape, finite."""
    shares: Floats = _softmax(_logits(logits), axis=-1)
    return shares


def log_softmax(logits: ArrayLike) -> Floats:
    """z_j - log sum_k e^z_k along the last axis; any shape, finite."""
    logs: Floats = _log_softmax(_logits(logits), axis=-1)
    return logs


def _logits(values: ArrayLike) -> Floats:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim == 0 or found.shape[-1] == 0 or not np.isfinite(found).all():
        raise InputError("logits must be finite numbers [..., C], C > 0.")
    return found


def self_information(probability: ArrayLike, base: float = math.e) -> Floats:
    """-log p of each probability; infinite at 0."""
    found = _probabilities(probability)
    with np.errstate(divide="ignore"):
        surprise: Floats = -np.log(found) / _log(base)
    return surprise + 0.0


def entropy(probabilities: ArrayLike, base: float = math.e) -> Floats:
    """-sum_j p_j log p_j along the last axis, with 0 log 0 = 0 (Shannon 1948)."""
    found = as_distributions(probabilities)
    spread: Floats = -xlogy(found, found).sum(axis=-1) / _log(base)
    return spread + 0.0


def bernoulli_entropy(probability: ArrayLike, base: float = math.e) -> Floats:
    """Entropy of a yes with ``probability`` and a no; at most log 2, at 1/2."""
    found = _probabilities(probability)
    return entropy(np.stack([found, 1.0 - found], axis=-1), base)


def cross_entropy(truth: ArrayLike, predicted: ArrayLike, base: float = math.e) -> Floats:
    """-sum_j p_j log q_j along the last axis: infinite where q is 0 and p is not."""
    p, q = as_distributions(truth), as_distributions(predicted)
    if p.shape[-1] != q.shape[-1]:
        raise InputError(f"distributions over {p.shape[-1]} and over {q.shape[-1]} outcomes cannot be compared.")
    with np.errstate(divide="ignore"):
        cost: Floats = -xlogy(p, q).sum(axis=-1) / _log(base)
    return cost + 0.0


def divergence(truth: ArrayLike, predicted: ArrayLike, base: float = math.e) -> Floats:
    """sum_j p_j log(p_j / q_j) along the last axis, at least 0 (Kullback and Leibler 1951)."""
    return np.maximum(cross_entropy(truth, predicted, base) - entropy(truth, base), 0.0)


def _probabilities(values: ArrayLike) -> Floats:
    found = np.asarray(values, dtype=np.float64)
    if not ((found >= 0.0) & (found <= 1.0)).all():
        raise InputError("a probability must be a number from 0 to 1.")
    return found


def _log(base: float) -> float:
    if not base > 0.0 or base == 1.0:
        raise InputError(f"base must be a positive number other than 1, such as 2 for bits, but is {base}.")
    return math.log(base)


def as_distributions(values: ArrayLike) -> Floats:
    """float64 [..., C] from 0 to 1 that sum to 1 along the last axis, within `SLACK`, or `InputError`."""
    found = _probabilities(values)
    if found.ndim == 0 or ((sums := found.sum(axis=-1)).size and np.abs(sums - 1.0).max() > SLACK):
        raise InputError("probabilities along the last axis must sum to 1; divide by their sum, or take softmax first.")
    return found
