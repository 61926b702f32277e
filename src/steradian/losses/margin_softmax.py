"""The one module behind the softmax family: a margin, an emphasis, a weighting and a scale.

L = g( -log  e^{s f(m, theta_y)} / ( e^{s f(m, theta_y)} + sum_{k != y} h(t, theta_k) e^{s cos theta_k} ) )
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from steradian.errors import InputError
from steradian.losses import margins
from steradian.losses.adaptive import AdaptiveMargin
from steradian.losses.annealing import LambdaAnnealing
from steradian.losses.bounds import warn_if_unwise
from steradian.losses.centers import ClassCenters
from steradian.losses.emphasis import Emphasis, Observer
from steradian.losses.head.dense import safe_norm
from steradian.losses.margins import Gradient, Margin
from steradian.losses.penalties import Penalty
from steradian.losses.ranges import flag, in_range, one_of
from steradian.losses.scales import NormScale, RowScale, Scale, make_scale
from steradian.losses.weighting import Mean, Weighting


class MarginSoftmaxLoss(ClassCenters):
    """Softmax cross-entropy over cosines to class centers, with three dials.

    In training mode ``forward`` applies the dials; in eval mode it is the margin-free cross-entropy at
    full scale, so that validation losses of different techniques mean the same thing.

    Args:
        num_classes: C.
        embedding_size: D.
        margin: f(m, theta), or None for cos(theta).
        emphasis: rewrite of wrong-class cosines, or None.
        weighting: (losses [N], p_y [N]) -> scalar.
        penalty: a term of embeddings and labels that is added, or None.
        score: a strictly increasing module that maps every (margined, emphasized) cosine to a logit, which
            the scale then multiplies; or None for the identity.
        scale: s > 0; "norm" for |x| (softmax, SphereFace); "learnable", "adacos", "adacos-fixed", "bound",
            "clipped-norm" (see `scales`).
        normalize_weight: use W_j / |W_j|; without it |W_j| stays in the logit (plain softmax, L-Softmax).
        bias: add a learned b_j to each logit.
        gradient: "exact", or "detached" (see `margins.apply`).
        annealing: eases the margin in by a count of training steps, kept in the buffer ``iteration``.
        subcenters: K centers a class; the nearest counts.
        label_smoothing: e in [0, 1): (1 - e) of the target's loss and e of the mean over all classes.
        centers: [C, D] fixed centers in place of learned ones.

    Attributes:
        weight: [C, D] parameter, the class centers; [C * K, D] with sub-centers.
        margin_strength, scale_strength: factors in [0, 1] and (0, 1] that a trainer may ramp up.
    """

    iteration: Tensor

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        margin: Margin | AdaptiveMargin | None = None,
        emphasis: Emphasis | None = None,
        weighting: Weighting | None = None,
        penalty: Penalty | None = None,
        score: nn.Module | None = None,
        scale: Scale = 64.0,
        normalize_weight: bool = True,
        bias: bool = False,
        gradient: Gradient = "exact",
        annealing: LambdaAnnealing | None = None,
        subcenters: int = 1,
        label_smoothing: float = 0.0,
        centers: Tensor | None = None,
    ) -> None:
        super().__init__(num_classes, embedding_size, subcenters=subcenters, centers=centers)
        one_of("gradient", gradient, ("exact", "detached"))
        in_range("label_smoothing", label_smoothing, 0.0, 0.999, "a share")
        self.row_scale: RowScale = make_scale(scale, num_classes)
        flag("normalize_weight", normalize_weight)
        flag("bias", bias)
        if margin is not None and not isinstance(margin, Margin | AdaptiveMargin):
            raise InputError(f"margin must be a margin such as AdditiveAngle(0.5), but is {margin!r}.")
        if not normalize_weight and (score is not None or not isinstance(self.row_scale, NormScale)):
            raise InputError("a fixed scale or a score needs normalized weights: leave normalize_weight=True.")
        if subcenters > 1 and not normalize_weight:
            raise InputError("sub-centers compete by their cosines: leave normalize_weight=True.")
        warn_if_unwise(margin, None if score is not None else self.row_scale, num_classes, embedding_size)
        self.margin = margin
        self.emphasis = emphasis
        self.weighting = weighting if weighting is not None else Mean()
        self.penalty = penalty
        self.score = score
        self.normalize_weight = normalize_weight
        self.gradient: Gradient = gradient
        self.annealing = annealing
        self.label_smoothing = label_smoothing
        self.margin_strength = 1.0
        self.scale_strength = 1.0
        self.bias = nn.Parameter(torch.zeros(num_classes)) if bias else None
        if annealing is not None:
            self.register_buffer("iteration", torch.zeros((), dtype=torch.int64))

    @property
    def scale(self) -> float | str:
        """The scale in use now, or "norm"."""
        return self.row_scale.reported

    def training_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """With all dials; a training step of the stateful ones."""
        losses, probabilities = self.row_losses(embeddings, labels)
        value = self.weighting(losses, probabilities)
        return value if self.penalty is None else value + self.penalty(embeddings, labels)

    def logits(self, embeddings: Tensor) -> Tensor:
        """Margin-free logits [N, C] for prediction, at full scale."""
        with torch.autocast(embeddings.device.type, enabled=False):
            embeddings = self.full_precision(embeddings)
            if self._is_linear:
                return self._linear(embeddings)
            cosine = self.cosines(embeddings)
            logits: Tensor = (cosine if self.score is None else self.score(cosine)) * self.row_scale(embeddings)
            return logits if self.bias is None else logits + self.bias

    def row_losses(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropies [N] and probabilities [N] of the target, of the logits with all dials."""
        log_p = functional.log_softmax(self.margin_logits(embeddings, labels), dim=1)
        own = log_p.gather(1, labels[:, None]).squeeze(1)
        if self.label_smoothing == 0.0:
            return -own, own.exp()
        smooth = log_p.mean(dim=1)
        return -((1.0 - self.label_smoothing) * own + self.label_smoothing * smooth), own.exp()

    def margin_logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Logits [N, C] with margin, emphasis, score and scale: what training optimizes.

        In training mode the stateful dials move, in eval mode they stay.
        """
        strength = self._advance()
        if self._is_linear and self.margin is None and self.emphasis is None:
            return self._linear(embeddings)
        cosine = self.cosines(embeddings)
        self.row_scale.observe(cosine, labels)
        cosine = self._dialed(cosine, embeddings, labels, strength)
        if self.score is not None:
            cosine = self.score(cosine)
        logits = cosine * self._training_scale(embeddings)
        if not self.normalize_weight:
            logits = logits * torch.linalg.vector_norm(self.weight, dim=1)
        return logits if self.bias is None else logits + self.bias

    def _dialed(self, cosine: Tensor, embeddings: Tensor, labels: Tensor, strength: float | Tensor) -> Tensor:
        if self.margin is None and self.emphasis is None:
            return cosine
        own = labels[:, None]
        target = cosine.gather(1, own)
        if isinstance(self.emphasis, Observer):
            self.emphasis.observe(target)
        if self.margin is not None:
            target = self._margined(self.margin, target, embeddings, labels, strength)
        if self.emphasis is not None:
            cosine = self.emphasis(cosine, target)
        return cosine.scatter(1, own, target)

    def _margined(
        self,
        margin: Margin | AdaptiveMargin,
        target: Tensor,
        embeddings: Tensor,
        labels: Tensor,
        strength: float | Tensor,
    ) -> Tensor:
        learned = False
        if isinstance(margin, AdaptiveMargin):
            learned = margin.learned
            norms = torch.linalg.vector_norm(embeddings, dim=1, keepdim=True)
            margin = margin.for_batch(norms, labels, target)
        return margins.apply(margin, target, gradient=self.gradient, strength=strength, learned=learned)

    def _advance(self) -> float | Tensor:
        """Count a step, in training mode, and return the margin's strength."""
        if self.annealing is None:
            return self.margin_strength
        if self.training:
            self.iteration += 1
        return self.margin_strength * self.annealing.strength(self.iteration).to(self.weight.dtype)

    @property
    def _is_linear(self) -> bool:
        """W x + b, with or without |W|: no cosine is needed."""
        return isinstance(self.row_scale, NormScale) and self.score is None

    def _linear(self, embeddings: Tensor) -> Tensor:
        logits = functional.linear(embeddings, self.weight)
        if self.normalize_weight:
            logits = logits / safe_norm(self.weight).T
        logits = self.nearest(logits)
        return logits if self.bias is None else logits + self.bias

    def _training_scale(self, embeddings: Tensor) -> Tensor | float:
        scale: Tensor | float = self.row_scale(embeddings)
        return scale if self.scale_strength == 1.0 else scale * self.scale_strength

    def extra_repr(self) -> str:
        plain = (f"{name}={getattr(self, name)}" for name in ("margin", "emphasis", "weighting"))
        return f"{super().extra_repr()}, scale={self.scale}, {', '.join(plain)}"
