"""The one module behind the softmax family: a margin, an emphasis, a weighting and a scale.

L = g( -log  e^{s f(m, theta_y)} / ( e^{s f(m, theta_y)} + sum_{k != y} h(t, theta_k) e^{s cos theta_k} ) )
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from steradian.errors import InputError
from steradian.losses import margins
from steradian.losses.adaptive import AdaptiveMargin
from steradian.losses.annealing import LambdaAnnealing
from steradian.losses.bounds import warn_if_unwise
from steradian.losses.centers import ClassCenters
from steradian.losses.checks import check_sizes
from steradian.losses.emphasis import Emphasis, Observer
from steradian.losses.head.classes import Classes
from steradian.losses.head.dense import safe_norm, unit_rows
from steradian.losses.head.engine import HeadEngine
from steradian.losses.head.plan import Matrices, Plan
from steradian.losses.head.sharded import gather_batch, own_part, same_draws
from steradian.losses.head.smooth_curve import SmoothCurve
from steradian.losses.head.streaming import Streamed
from steradian.losses.head.wrong_logits import Curve, ModuleCurve, RowInputs, WrongLogits
from steradian.losses.margins import Gradient, Margin
from steradian.losses.penalties import Penalty
from steradian.losses.ranges import flag, in_range, one_of, whole_number
from steradian.losses.scales import NormScale, RowScale, Scale, make_scale
from steradian.losses.scores import ProjectedScore
from steradian.losses.softplus import softplus
from steradian.losses.weighting import Mean, Weighting

SCORE_MATRICES = 100.0
"""N x C matrices that the networks of `scores` hold while they are differentiated, as measured."""


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
        head: str = "auto",
        sample_rate: float | None = None,
        hard_share: float | None = None,
    ) -> None:
        check_sizes(num_classes, embedding_size)
        whole_number("subcenters", subcenters)
        engine = HeadEngine(head, num_classes, embedding_size, subcenters, sample_rate, hard_share)
        super().__init__(num_classes, embedding_size, subcenters=subcenters, centers=centers, rows=engine.rows)
        self.engine = engine
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
        self._curve = None if score is None else ModuleCurve(score)
        self._smooth = None if score is None else SmoothCurve(score)
        self.normalize_weight = normalize_weight
        self.gradient: Gradient = gradient
        self.annealing = annealing
        self.label_smoothing = label_smoothing
        self.margin_strength = 1.0
        self.scale_strength = 1.0
        self.bias = nn.Parameter(torch.zeros(len(self.weight) // subcenters)) if bias else None
        if annealing is not None:
            self.register_buffer("iteration", torch.zeros((), dtype=torch.int64))

    @property
    def scale(self) -> float | str:
        """The scale in use now, or "norm"."""
        return self.row_scale.reported

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The loss of the batch; with classes divided over processes, of the batches of all of them together."""
        if self.engine.shard is None:
            return super().forward(embeddings, labels)
        if len(embeddings):
            self.check(embeddings, labels)
        if torch.is_grad_enabled() and not embeddings.requires_grad:
            # Every process must take part in the sums of the backward pass, one without rows too.
            embeddings = embeddings.detach().requires_grad_()
        with torch.autocast(embeddings.device.type, enabled=False), same_draws():
            everything, all_labels = gather_batch(self.full_precision(embeddings), labels)
            return (self.training_loss if self.training else self.evaluation_loss)(everything, all_labels)

    def plan(self, batch_size: int) -> Plan:
        """How batches of ``batch_size`` rows (of all processes) meet the classes; print it.

        Raises:
            InputError: no way fits in memory; the message says what would.
        """
        whole_number("batch_size", batch_size)
        raw = self._is_raw and not self.normalize_weight
        network = SCORE_MATRICES * (self.score is not None)
        held = Matrices(
            products=(3.1 if raw else 6.1) + 0.5 * (self.emphasis is not None) + network,
            weights=1.0 if raw else 2.0,
            tile=12.0 if network and self._may_be_polynomial(self.weight.dtype) else 8.0 + network,
        )
        return self.engine.plan(batch_size, self.weight, held, self.training)

    def training_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """With all dials; a training step of the stateful ones."""
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
            everything, all_labels = gather_batch(embeddings, labels)
            losses, right = self.evaluated(everything, all_labels)
            own = own_part(len(labels))
            return losses[own], right[own]

    def evaluated(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        plan = self.plan(len(embeddings))
        if plan.path == "dense":
            return super().evaluated(embeddings, labels)
        classes = self.engine.classes(self.weight, labels, self.bias)
        scale = None if self._is_raw else self.row_scale(embeddings)
        own, wrong = self._streamed(classes, plan, embeddings, scale)
        return softplus(wrong.log_sum - own), own.detach() > wrong.highest

    def logits(self, embeddings: Tensor) -> Tensor:
        """Margin-free logits [N, C] for prediction, at full scale.

        Raises:
            InputError: the classes are divided over processes: no one has all logits. `evaluate` works there.
        """
        if self.engine.shard is not None:
            raise InputError(
                "this head holds a part of the classes (head='sharded'), so it has no logits of all of them. Load the "
                "trained model in one process, or use evaluate(), which all processes call together."
            )
        with torch.autocast(embeddings.device.type, enabled=False):
            embeddings = self.full_precision(embeddings)
            if self._is_linear:
                return self._linear(embeddings)
            cosine = self.cosines(embeddings)
            logits: Tensor = (cosine if self.score is None else self.score(cosine)) * self.row_scale(embeddings)
            return logits if self.bias is None else logits + self.bias

    def row_losses(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropies [N] and probabilities [N] of the target, of the logits with all dials."""
        plan = self.plan(len(embeddings))
        if plan.path == "tiled":
            return self._streamed_row_losses(embeddings, labels, plan)
        log_p = functional.log_softmax(self.margin_logits(embeddings, labels), dim=1)
        own = log_p.gather(1, labels[:, None]).squeeze(1)
        if self.label_smoothing == 0.0:
            return -own, own.exp()
        smooth = log_p.mean(dim=1)
        return -((1.0 - self.label_smoothing) * own + self.label_smoothing * smooth), own.exp()

    def _streamed_row_losses(self, embeddings: Tensor, labels: Tensor, plan: Plan) -> tuple[Tensor, Tensor]:
        strength = self._advance()
        x = self._direction(embeddings)
        classes = self.engine.classes(self.weight, labels, self.bias)
        if self.engine.sampling is not None and self.training:
            classes = classes.some(self.engine.sampling, x.detach())
        cosine = classes.own_cosines(x.detach(), self._divided)
        if self.row_scale.observes:
            self.row_scale.observe(cosine, lambda scale: self._plain_log_sum(classes, plan, x, scale))
        if isinstance(self.emphasis, Observer):
            self.emphasis.observe(cosine)
        margin, learned = self._of_batch(embeddings, labels, cosine)

        def margined(own: Tensor) -> Tensor:
            if margin is None:
                return own
            return margins.apply(margin, own, gradient=self.gradient, strength=strength, learned=learned)

        scale = None if self._is_raw else self._training_scale(embeddings)
        with torch.no_grad():
            target = margined(cosine)
        own, wrong = self._streamed(classes, plan, embeddings, scale, margined, target)
        cross_entropy = softplus(wrong.log_sum - own)
        probability = torch.exp(-cross_entropy)
        if wrong.total is None:
            return cross_entropy, probability
        log_sum = own + cross_entropy
        smooth = log_sum - (wrong.total + own) / classes.count
        return (1.0 - self.label_smoothing) * cross_entropy + self.label_smoothing * smooth, probability

    def _streamed(
        self,
        classes: Classes,
        plan: Plan,
        embeddings: Tensor,
        scale: Tensor | float | None,
        margined: Callable[[Tensor], Tensor] | None = None,
        target: Tensor | None = None,
    ) -> tuple[Tensor, Streamed]:
        """The own logit [N], and what the wrong classes say, with dials where ``margined`` and ``target`` are given."""
        lengthened = not self.normalize_weight and not self._is_raw
        curve, parameters = self._scored(embeddings)
        logits_of = WrongLogits(
            None if target is None else self.emphasis, curve, self._divided, lengthened, self.subcenters
        )
        scaled = None if scale is None else torch.as_tensor(scale, dtype=embeddings.dtype, device=embeddings.device)
        rows = RowInputs(target, scaled, parameters)
        smoothed = self.label_smoothing > 0.0 and target is not None
        wrong = self.engine.stream(classes, plan, logits_of, self._direction(embeddings), rows, smoothed)
        own = wrong.own_products / wrong.own_norms if self._divided else wrong.own_products
        own = own.amax(dim=1, keepdim=True)
        own = own if margined is None else margined(own)
        own = own if self.score is None else self.score(own)
        own = own if scaled is None else own * scaled
        own = own * wrong.own_norms if lengthened else own
        bias = classes.own_bias()
        own = own.squeeze(1)
        return own if bias is None else own + bias, wrong

    def _scored(self, embeddings: Tensor) -> tuple[Curve | None, tuple[Tensor, ...]]:
        """The score of wrong cosines and its inputs: polynomials where they are as exact as single precision."""
        if self.score is None or self._smooth is None:
            return None, ()
        smooth = self._smooth.inputs(embeddings) if self._may_be_polynomial(embeddings.dtype) else None
        return (self._curve, tuple(self.score.parameters())) if smooth is None else (self._smooth, smooth)

    def _may_be_polynomial(self, dtype: torch.dtype) -> bool:
        # An emphasis may leave [-1, 1].
        return dtype == torch.float32 and self.emphasis is None

    def _direction(self, embeddings: Tensor) -> Tensor:
        """What meets the classes: unit vectors, or the raw embeddings where their length is in the logits anyway."""
        return embeddings if self._is_raw else unit_rows(embeddings)

    @property
    def _divided(self) -> bool:
        return self.normalize_weight or not self._is_raw

    @torch.no_grad()
    def _plain_log_sum(self, classes: Classes, plan: Plan, x: Tensor, scale: Tensor) -> Tensor:
        plain = WrongLogits(subcenters=self.subcenters)
        return self.engine.stream(classes, plan, plain, x, RowInputs(scale=scale)).log_sum

    def margin_logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Logits [N, C] with margin, emphasis, score and scale: what training optimizes.

        In training mode the stateful dials move, in eval mode they stay.
        """
        strength = self._advance()
        if self._is_raw:
            return self._linear(embeddings)
        cosine = self.cosines(embeddings)
        own = labels[:, None]
        if self.row_scale.observes:
            plain = cosine.detach()
            self.row_scale.observe(
                plain.gather(1, own), lambda scale: (scale * plain).scatter(1, own, -torch.inf).logsumexp(dim=1)
            )
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
        margin, learned = self._of_batch(embeddings, labels, target)
        if margin is not None:
            target = margins.apply(margin, target, gradient=self.gradient, strength=strength, learned=learned)
        if self.emphasis is not None:
            cosine = self.emphasis(cosine, target.detach())
        return cosine.scatter(1, own, target)

    def _of_batch(self, embeddings: Tensor, labels: Tensor, cosine: Tensor) -> tuple[Margin | None, bool]:
        """The margin of this batch for its target cosines [N, 1], and whether a gradient flows through its numbers."""
        if not isinstance(self.margin, AdaptiveMargin):
            return self.margin, False
        norms = torch.linalg.vector_norm(embeddings, dim=1, keepdim=True)
        return self.margin.for_batch(norms, labels, cosine), self.margin.learned

    def _advance(self) -> float | Tensor:
        """Begin a step, in training mode, and return the margin's strength."""
        if self.training and isinstance(self.score, ProjectedScore):
            self.score.project()
        if self.annealing is None:
            return self.margin_strength
        if self.training:
            self.iteration += 1
        return self.margin_strength * self.annealing.strength(self.iteration).to(self.weight.dtype)

    @property
    def _is_linear(self) -> bool:
        """W x + b, with or without |W|: no cosine is needed."""
        return isinstance(self.row_scale, NormScale) and self.score is None

    @property
    def _is_raw(self) -> bool:
        """Linear, and no dial looks at an angle."""
        return self._is_linear and self.margin is None and self.emphasis is None

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
