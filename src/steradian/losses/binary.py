"""Losses with one binary classifier per class: sigmoid cross-entropy, SphereFace2, UniFace."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from steradian.errors import InputError
from steradian.losses.angles import softplus
from steradian.losses.centers import ClassCenters
from steradian.losses.checks import check_embeddings, readable
from steradian.losses.ranges import in_range, one_of


class OneVersusRest(ClassCenters):
    """Base class: the sigmoid of each logit is the independent probability that its class is present.

    Attributes:
        thresholds: [C] buffer of the probabilities at which `predict` decides, initially 0.5.
    """

    thresholds: Tensor
    independent_classes = True

    def __init__(self, num_classes: int, embedding_size: int) -> None:
        super().__init__(num_classes, embedding_size)
        self.register_buffer("thresholds", torch.full((num_classes,), 0.5))

    def probabilities(self, embeddings: Tensor) -> Tensor:
        """Return sigmoid(logits), [N, C]; a row need not add up to 1."""
        return torch.sigmoid(self.logits(embeddings))

    def predict(self, embeddings: Tensor) -> Tensor:
        """Return which classes are present, bool [N, C]: those with probabilities at or above ``thresholds``."""
        return self.probabilities(embeddings) >= self.thresholds


class SigmoidLoss(OneVersusRest):
    """mean over rows and classes of -[y log p + (1 - y) log(1 - p)], p = sigmoid(W_j x + b_j).

    For images with several labels or none. Labels are int64 [N] (one class per row) or multi-hot [N, C].

    Args:
        num_classes, embedding_size: C, D.
        label_smoothing: e in [0, 1): targets 1 and 0 become 1 - e / 2 and e / 2.
    """

    def __init__(self, num_classes: int, embedding_size: int, label_smoothing: float = 0.0) -> None:
        super().__init__(num_classes, embedding_size)
        in_range("label_smoothing", label_smoothing, 0.0, 0.999, "a fraction")
        self.label_smoothing = label_smoothing
        self.bias = nn.Parameter(torch.zeros(num_classes))

    def check(self, embeddings: Tensor, labels: Tensor) -> None:
        """Check the batch; labels may also be multi-hot: [N, C] of zeros and ones, any dtype."""
        if not isinstance(labels, Tensor) or labels.ndim != 2:
            super().check(embeddings, labels)
            return
        check_embeddings(embeddings, self.embedding_size)
        expected = (len(embeddings), self.num_classes)
        if labels.shape != expected:
            raise InputError(f"multi-hot labels must be {list(expected)}, but are {list(labels.shape)}.")
        invalid = (labels != 0) & (labels != 1)
        if readable(labels) and bool(invalid.any()):
            row = int(torch.nonzero(invalid.any(dim=1))[0])
            raise InputError(f"multi-hot labels must be zeros and ones, but row {row} has another value.")

    def training_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        targets = self._multi_hot(labels) * (1.0 - self.label_smoothing) + 0.5 * self.label_smoothing
        return functional.binary_cross_entropy_with_logits(self.logits(embeddings), targets)

    def evaluation_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return functional.binary_cross_entropy_with_logits(self.logits(embeddings), self._multi_hot(labels))

    def _multi_hot(self, labels: Tensor) -> Tensor:
        hot = functional.one_hot(labels, self.num_classes) if labels.ndim == 1 else labels
        return hot.to(self.weight.dtype)

    def logits(self, embeddings: Tensor) -> Tensor:
        with torch.autocast(embeddings.device.type, enabled=False):
            return functional.linear(self.full_precision(embeddings), self.weight, self.bias)


class _ShiftedOneVersusRest(OneVersusRest):
    """Base class: the margin shifts the logits in training and is left out in evaluation."""

    margin: float
    scale: float

    def training_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return self.shifted_loss(embeddings, labels, self.scale * self.margin)

    def evaluation_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return self.shifted_loss(embeddings, labels, 0.0)

    def shifted_loss(self, embeddings: Tensor, labels: Tensor, shift: float) -> Tensor:
        """Return the loss with the margin ``shift``, in logit units."""
        raise NotImplementedError


class SphereFace2Loss(_ShiftedOneVersusRest):
    """C binary classifiers on the sphere (SphereFace2, type C; Wen et al. 2022).

    With g(c) = 2 ((c + 1) / 2)^t - 1, z_y = s (g(c_y) - margin) + b for the target and z_j = s (g(c_j) + margin) + b,

        L = loss_weight / s * mean_i [ alpha softplus(-z_iy) + (1 - alpha) sum_{j != y} softplus(z_ij) ].

    Args:
        num_classes, embedding_size: C, D.
        margin: [0, 2], in g. scale: s (the paper's r). t: exponent, [1, 10]. alpha: weight of the target, (0, 1).
        loss_weight: the paper's lambda, a factor on the whole loss.
        bias: initial b; None uses the paper's value, which minimizes the loss at cosine 0.

    Attributes:
        bias: b, shared by all classes.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        margin: float = 0.4,
        scale: float = 40.0,
        t: float = 3.0,
        alpha: float = 0.7,
        loss_weight: float = 50.0,
        bias: float | None = None,
    ) -> None:
        super().__init__(num_classes, embedding_size)
        in_range("margin", margin, 0.0, 2.0, "score units")
        in_range("scale", scale, 1e-6, 1e6, "a scale")
        in_range("t", t, 1.0, 10.0, "an exponent")
        in_range("alpha", alpha, 1e-6, 1.0 - 1e-6, "a fraction")
        in_range("loss_weight", loss_weight, 1e-6, 1e6, "a factor")
        self.margin, self.scale, self.t, self.alpha, self.loss_weight = margin, scale, t, alpha, loss_weight
        start = _bias_start(bias, _optimal_bias(num_classes, margin, scale, t, alpha))
        self.bias = nn.Parameter(torch.tensor(start))

    def shifted_loss(self, embeddings: Tensor, labels: Tensor, shift: float) -> Tensor:
        logits, columns = self.logits(embeddings), labels[:, None]
        target = logits.gather(1, columns)
        others = softplus(logits + shift).scatter(1, columns, 0.0).sum(dim=1)
        rows = self.alpha * softplus(shift - target).squeeze(1) + (1.0 - self.alpha) * others
        return self.loss_weight / self.scale * rows.mean()

    def logits(self, embeddings: Tensor) -> Tensor:
        cosine = self.cosines(embeddings).clamp(-1.0, 1.0)
        return self.scale * (2.0 * ((cosine + 1.0) / 2.0) ** self.t - 1.0) + self.bias


def _bias_start(bias: float | None, published: float) -> float:
    if bias is None:
        return published
    in_range("bias", bias, -1e6, 1e6, "a logit, or None")
    return float(bias)


def _optimal_bias(num_classes: int, margin: float, scale: float, t: float, alpha: float) -> float:
    """Return the b that minimizes the loss if all cosines are 0 (closed form of the authors' code)."""
    if num_classes < 2:
        return 0.0
    z = alpha / ((1.0 - alpha) * (num_classes - 1))
    score = 2.0 * math.pow(0.5, t) - 1.0
    target, other = scale * (score - margin), scale * (score + margin)
    gap = target - other
    root = math.sqrt((1.0 - z) ** 2 + 4.0 * z * math.exp(gap))
    if z < 1.0:
        return math.log(2.0 * z) - other - math.log(1.0 - z + root)
    # 1 - z + root, without the cancellation: (root^2 - (1 - z)^2) / (root - (1 - z)).
    half_sum = 0.5 * (root - (1.0 - z))
    return (math.log(half_sum) if half_sum > 0.0 else gap / 2.0) - other - gap


class UniFaceLoss(_ShiftedOneVersusRest):
    """One threshold b for all classes and all images (UniFace, Zhou et al. 2023).

    L = mean_i [ softplus(b - s (c_y - margin)) + negative_weight sum_{j != y} softplus(s c_j - b) ].

    The authors' code clamps exponents to [-s, s]. Softplus does not need this, and the loss does not saturate.

    Args:
        num_classes, embedding_size: C, D.
        margin: [0, 2], in cosine units. scale: s. negative_weight: the paper's l.
        sampling_rate: the paper's r, the fraction of classes per step; it affects the initial b only.
        bias: initial b; None uses the paper's ln(10 r C).
        variant: "shared" (USS / UCE) learns one b, "per-class" (the BCE baseline) learns one per class.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        margin: float = 0.4,
        scale: float = 64.0,
        negative_weight: float = 1.0,
        sampling_rate: float = 1.0,
        variant: Literal["shared", "per-class"] = "shared",
        bias: float | None = None,
    ) -> None:
        super().__init__(num_classes, embedding_size)
        in_range("margin", margin, 0.0, 2.0, "cosine units")
        in_range("scale", scale, 1e-6, 1e6, "a scale")
        in_range("negative_weight", negative_weight, 0.0, 1e6, "a weight")
        in_range("sampling_rate", sampling_rate, 1e-9, 1.0, "a fraction")
        one_of("variant", variant, ("shared", "per-class"))
        self.margin, self.scale, self.negative_weight = margin, scale, negative_weight
        start = _bias_start(bias, math.log(10.0 * sampling_rate * num_classes))
        self.bias = nn.Parameter(torch.full((1 if variant == "shared" else num_classes,), start))

    def shifted_loss(self, embeddings: Tensor, labels: Tensor, shift: float) -> Tensor:
        logits, columns = self.logits(embeddings), labels[:, None]
        target = logits.gather(1, columns).squeeze(1) - shift
        others = softplus(logits).scatter(1, columns, 0.0).sum(dim=1)
        return (softplus(-target) + self.negative_weight * others).mean()

    def logits(self, embeddings: Tensor) -> Tensor:
        return self.scale * self.cosines(embeddings) - self.bias
