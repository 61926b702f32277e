"""The one module behind the softmax family: a margin, an emphasis, a weighting and a scale.

L = g( -log  e^{s f(m, theta_y)} / ( e^{s f(m, theta_y)} + sum_{k != y} h(t, theta_k) e^{s cos theta_k} ) )
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from steradian.errors import InputError
from steradian.losses.adaptive import AdaptiveMargin
from steradian.losses.annealing import LambdaAnnealing
from steradian.losses.bounds import warn_if_unwise
from steradian.losses.checks import check_sizes
from steradian.losses.dialed_centers import DialedCenters
from steradian.losses.emphasis import Emphasis
from steradian.losses.head.engine import HeadEngine
from steradian.losses.head.sharded import gather_batch, own_part, same_draws
from steradian.losses.margins import Gradient, Margin
from steradian.losses.penalties import Penalty
from steradian.losses.ranges import flag, in_range, one_of, whole_number
from steradian.losses.scales import NormScale, Scale, make_scale
from steradian.losses.weighting import Mean, Weighting


class MarginSoftmaxLoss(DialedCenters):
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
        centers: [C, D], or [C * K, D], fixed centers in place of learned ones.
        head: how embeddings meet the classes. "auto": the whole N x C matrix where that is small, else tiles of
            classes; "dense", "tiled": one of the two; "sampled": a share of the classes at each step; "sharded":
            classes divided over the processes of torch.distributed, with the batches of all of them.
        sample_rate, hard_share: with "sampled" or "sharded", the share of classes a step sees, 0.1 for "sampled", and
            the share of its wrong classes that are picked for being near (0).

    Attributes:
        weight: [C, D] parameter, the class centers; [C * K, D] with sub-centers. With "sharded" the rows of this
            process; with "sampled" its gradient is a sparse tensor.
        margin_strength, scale_strength: factors in [0, 1] and (0, 1] that a trainer may ramp up.
    """

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
        head: str = "auto",
        sample_rate: float | None = None,
        hard_share: float | None = None,
    ) -> None:
        check_sizes(num_classes, embedding_size)
        whole_number("subcenters", subcenters)
        one_of("gradient", gradient, ("exact", "detached"))
        in_range("label_smoothing", label_smoothing, 0.0, 0.999, "a share")
        row_scale = make_scale(scale, num_classes)
        flag("normalize_weight", normalize_weight)
        flag("bias", bias)
        if margin is not None and not isinstance(margin, Margin | AdaptiveMargin):
            raise InputError(f"margin must be a margin such as AdditiveAngle(0.5), but is {margin!r}.")
        if not normalize_weight and (score is not None or not isinstance(row_scale, NormScale)):
            raise InputError("a fixed scale or a score needs normalized weights: leave normalize_weight=True.")
        if subcenters > 1 and not normalize_weight:
            raise InputError("sub-centers compete by their cosines: leave normalize_weight=True.")
        warn_if_unwise(margin, None if score is not None else row_scale, num_classes, embedding_size)
        super().__init__(
            num_classes,
            embedding_size,
            HeadEngine(head, num_classes, embedding_size, subcenters, sample_rate, hard_share),
            margin=margin,
            emphasis=emphasis,
            score=score,
            row_scale=row_scale,
            normalize_weight=normalize_weight,
            bias=bias,
            gradient=gradient,
            annealing=annealing,
            subcenters=subcenters,
            label_smoothing=label_smoothing,
            centers=centers,
        )
        self.weighting = weighting if weighting is not None else Mean()
        self.penalty = penalty

    @property
    def scale(self) -> float | str:
        """The scale in use now, or "norm"."""
        return self.row_scale.reported

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of the batch; with sharded classes, of the batches of all processes together."""
        if self.engine.shard is None:
            return super().forward(embeddings, labels)
        if len(embeddings):
            self.check(embeddings, labels)
        if torch.is_grad_enabled() and not embeddings.requires_grad:
            # Every process must take part in the sums of the backward pass, including one without rows.
            embeddings = embeddings.detach().requires_grad_()
        with torch.autocast(embeddings.device.type, enabled=False), same_draws():
            gathered, all_labels = gather_batch(self.full_precision(embeddings), labels)
            return (self.training_loss if self.training else self.evaluation_loss)(gathered, all_labels)

    def training_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the loss with all dials; in training mode the stateful ones take a step."""
        losses, probabilities = self.row_losses(embeddings, labels)
        value = self.weighting(losses, probabilities)
        return value if self.penalty is None else value + self.penalty(embeddings, labels)

    def evaluation_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return self.evaluated(embeddings, labels)[0].mean()

    def evaluate(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if len(embeddings) or self.engine.shard is None:
            self.check(embeddings, labels)
        with torch.autocast(embeddings.device.type, enabled=False):
            embeddings = self.full_precision(embeddings)
            if self.engine.shard is None:
                return self.evaluated(embeddings, labels)
            gathered, all_labels = gather_batch(embeddings, labels)
            losses, correct = self.evaluated(gathered, all_labels)
            part = own_part(len(labels))
            return losses[part], correct[part]

    def evaluated(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if self.is_dense(len(embeddings)):
            return super().evaluated(embeddings, labels)
        return self.tiled_evaluation(embeddings, labels, self.plan(len(embeddings)))

    def logits(self, embeddings: Tensor) -> Tensor:
        """Return margin-free logits [N, C] for prediction, at full scale.

        Raises:
            InputError: the classes are sharded over processes, so no process has all logits; use `evaluate` there.
        """
        if self.engine.shard is not None:
            raise InputError(
                "this head holds only a part of the classes (head='sharded'), so it has no logits of all of them. Load "
                "the trained model in one process, or use evaluate(), which all processes call together."
            )
        with torch.autocast(embeddings.device.type, enabled=False):
            embeddings = self.full_precision(embeddings)
            if self._is_linear:
                return self._linear(embeddings)
            dials = self.dials()
            logits: Tensor = dials.scored(self.cosines(embeddings)) * dials.scale(embeddings)
            return logits if self.bias is None else logits + self.bias

    def target_logit(self, theta: Tensor) -> Tensor:
        """Return f(m, theta), the target's logit over the scale, of a typical row at the end of annealing.

        Args:
            theta: angles to the own center in radians, [0, pi], any shape, float32 or float64.

        >>> loss = MarginSoftmaxLoss(10, 4)
        >>> loss.target_logit(torch.tensor([0.0]))
        tensor([1.])
        """
        dials = self.typical_dials(theta)
        with torch.no_grad():
            return dials.scored(dials.target(torch.cos(theta)))

    def extra_repr(self) -> str:
        dials = (f"{name}={getattr(self, name)}" for name in ("margin", "emphasis", "weighting"))
        return f"{super().extra_repr()}, scale={self.scale}, {', '.join(dials)}"
