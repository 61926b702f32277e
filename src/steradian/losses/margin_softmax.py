"""The one module behind the softmax family: a margin, an emphasis, a weighting and a scale.

L = g( -log  e^{s f(m, theta_y)} / ( e^{s f(m, theta_y)} + sum_{k != y} h(t, theta_k) e^{s cos theta_k} ) )
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from steradian.errors import InputError
from steradian.losses import margins
from steradian.losses.annealing import LambdaAnnealing
from steradian.losses.checks import check_batch, check_sizes
from steradian.losses.emphasis import Emphasis
from steradian.losses.head.dense import cosines, safe_norm, unit_rows
from steradian.losses.margins import Gradient, Margin
from steradian.losses.weighting import Mean, Weighting

Scale = float | Literal["norm"]


class MarginSoftmaxLoss(nn.Module):
    """Softmax cross-entropy over cosines to learned class centers, with three dials.

    In training mode ``forward`` applies the dials; in eval mode it is the margin-free cross-entropy at
    full scale, so that validation losses of different techniques mean the same thing.

    Args:
        num_classes: C.
        embedding_size: D.
        margin: f(m, theta), or None for cos(theta).
        emphasis: rewrite of wrong-class cosines, or None.
        weighting: (losses [N], p_y [N]) -> scalar.
        scale: s > 0, or "norm" for |x| (Softmax, SphereFace).
        normalize_weight: use W_j / |W_j|; without it |W_j| stays in the logit (plain softmax).
        bias: add a learned b_j to each logit.
        gradient: "exact", or "detached" (see `margins.apply`).
        annealing: eases the margin in by a count of training steps, kept in the buffer ``iteration``.

    Attributes:
        weight: [C, D] parameter, the class centers.
        margin_strength, scale_strength: factors in [0, 1] and (0, 1] that a trainer may ramp up.
    """

    iteration: Tensor

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        margin: Margin | None = None,
        emphasis: Emphasis | None = None,
        weighting: Weighting | None = None,
        scale: Scale = 64.0,
        normalize_weight: bool = True,
        bias: bool = False,
        gradient: Gradient = "exact",
        annealing: LambdaAnnealing | None = None,
    ) -> None:
        super().__init__()
        check_sizes(num_classes, embedding_size)
        if scale != "norm" and not (isinstance(scale, int | float) and math.isfinite(scale) and scale > 0):
            raise InputError(f"scale must be a positive number or 'norm', but is {scale!r}.")
        if scale != "norm" and not normalize_weight:
            raise InputError("a fixed scale needs normalized weights: leave normalize_weight=True.")
        if gradient not in ("exact", "detached"):
            raise InputError(f"gradient must be 'exact' or 'detached', but is {gradient!r}.")
        self.num_classes = num_classes
        self.embedding_size = embedding_size
        self.margin = margin
        self.emphasis = emphasis
        self.weighting = weighting if weighting is not None else Mean()
        self.scale: Scale = scale if scale == "norm" else float(scale)
        self.normalize_weight = normalize_weight
        self.gradient: Gradient = gradient
        self.annealing = annealing
        self.margin_strength = 1.0
        self.scale_strength = 1.0
        self.weight = nn.Parameter(unit_rows(torch.randn(num_classes, embedding_size)))
        self.bias = nn.Parameter(torch.zeros(num_classes)) if bias else None
        if annealing is not None:
            self.register_buffer("iteration", torch.zeros((), dtype=torch.int64))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The loss, a scalar in the dtype of ``weight`` (float32 unless changed), whatever autocast says.

        Args:
            embeddings: [N, D] raw neck output, any float dtype.
            labels: [N] int64 in 0..C-1.
        """
        check_batch(embeddings, labels, self.num_classes, self.embedding_size)
        with torch.autocast(embeddings.device.type, enabled=False):
            logits = self._margin_logits(embeddings, labels) if self.training else self.logits(embeddings)
            losses = functional.cross_entropy(logits, labels, reduction="none")
            return self.weighting(losses, torch.exp(-losses)) if self.training else losses.mean()

    def logits(self, embeddings: Tensor) -> Tensor:
        """Margin-free logits [N, C] for prediction, at full scale."""
        with torch.autocast(embeddings.device.type, enabled=False):
            embeddings = self._in_full_precision(embeddings)
            if self.scale != "norm":
                logits = self.scale * cosines(embeddings, self.weight)
            else:
                logits = functional.linear(embeddings, self.weight)
                if self.normalize_weight:
                    logits = logits / safe_norm(self.weight).T
            return logits if self.bias is None else logits + self.bias

    def _margin_logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        strength = self.margin_strength
        if self.annealing is not None:
            self.iteration += 1
            strength *= self.annealing.strength(int(self.iteration))
        if self.margin is None and self.emphasis is None and self.scale == "norm":
            return self.logits(embeddings)
        embeddings = self._in_full_precision(embeddings)
        cosine = cosines(embeddings, self.weight)
        own = labels[:, None]
        target = cosine.gather(1, own)
        if self.margin is not None:
            target = margins.apply(self.margin, target, gradient=self.gradient, strength=strength)
        if self.emphasis is not None:
            cosine = self.emphasis(cosine, target)
        if self.margin is not None or self.emphasis is not None:
            cosine = cosine.scatter(1, own, target)
        logits = cosine * self._row_scale(embeddings)
        if not self.normalize_weight:
            logits = logits * torch.linalg.vector_norm(self.weight, dim=1)
        return logits if self.bias is None else logits + self.bias

    def _row_scale(self, embeddings: Tensor) -> Tensor | float:
        if self.scale == "norm":
            norms: Tensor = torch.linalg.vector_norm(embeddings, dim=1, keepdim=True)
            return norms
        return self.scale * self.scale_strength

    def _in_full_precision(self, embeddings: Tensor) -> Tensor:
        """Half-precision cosines cannot tell angles below 2 degrees (fp16) or 5 (bf16) apart."""
        return embeddings.to(self.weight.dtype)

    def extra_repr(self) -> str:
        dials = [f"margin={self.margin}", f"emphasis={self.emphasis}", f"weighting={self.weighting}"]
        return f"{self.num_classes}, {self.embedding_size}, scale={self.scale}, " + ", ".join(dials)
