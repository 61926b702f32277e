"""Class centers whose cosines pass through the dials: the dense way, and the tiled way for many classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from steradian.losses.adaptive import AdaptiveMargin
from steradian.losses.angles import softplus
from steradian.losses.annealing import LambdaAnnealing
from steradian.losses.centers import ClassCenters
from steradian.losses.cosines import safe_norm, unit_rows
from steradian.losses.dials import Dials, scaled
from steradian.losses.emphasis import Emphasis
from steradian.losses.head.classes import Classes
from steradian.losses.head.engine import HeadEngine
from steradian.losses.head.kernels import Curve, ModuleCurve, RowInputs, WrongLogits
from steradian.losses.head.plan import Matrices, Plan
from steradian.losses.head.row_optimizer import RowOptimizer
from steradian.losses.head.sharded import gather_batch
from steradian.losses.head.smooth_curve import SmoothCurve
from steradian.losses.head.streaming import Streamed
from steradian.losses.margins import Gradient, Margin
from steradian.losses.process_group import is_distributed
from steradian.losses.ranges import whole_number
from steradian.losses.scales import NormScale, RowScale
from steradian.losses.scores import ProjectedScore
from steradian.losses.trainable import OptimizerName

SCORE_MATRICES = 100.0
"""N x C matrices that the networks of `scores` hold while they are differentiated, as measured."""


class DialedCenters(ClassCenters):
    """C classes, the dials between their cosines and the logits, and the engine that multiplies.

    See `MarginSoftmaxLoss` for the arguments, which are checked there.
    """

    iteration: Tensor

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        engine: HeadEngine,
        *,
        margin: Margin | AdaptiveMargin | None,
        emphasis: Emphasis | None,
        score: nn.Module | None,
        row_scale: RowScale,
        normalize_weight: bool,
        bias: bool,
        gradient: Gradient,
        annealing: LambdaAnnealing | None,
        subcenters: int,
        label_smoothing: float,
        centers: Tensor | None,
    ) -> None:
        super().__init__(num_classes, embedding_size, subcenters=subcenters, centers=centers, rows=engine.rows)
        self.engine = engine
        self.row_scale = row_scale
        self.margin = margin
        self.emphasis = emphasis
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

    def plan(self, batch_size: int) -> Plan:
        """Return how batches of ``batch_size`` rows (over all processes) meet the classes; print it.

        Raises:
            InputError: no way fits in memory; the message says what would.
        """
        whole_number("batch_size", batch_size)
        raw = self._is_raw and not self.normalize_weight
        network = SCORE_MATRICES * (self.score is not None)
        matrices = Matrices(
            products=(3.1 if raw else 6.1) + 0.5 * (self.emphasis is not None) + network,
            weights=1.0 if raw else 2.0,
            tile=12.0 if network and self._may_be_polynomial(self.weight.dtype) else 8.0 + network,
        )
        return self.engine.plan(batch_size, self.weight, matrices, self.training)

    def is_dense(self, batch_size: int) -> bool:
        """Return whether a batch builds the whole matrix of logits. A compiled graph decides that by the sizes."""
        if torch.compiler.is_compiling():
            return self.engine.is_dense(batch_size)
        return self.plan(batch_size).path == "dense"

    def dials(self, strength: float | Tensor = 1.0, scale_strength: float = 1.0) -> Dials:
        """Return the dials of this loss, at these shares of margin and scale."""
        return Dials(self.margin, self.emphasis, self.score, self.row_scale, self.gradient, strength, scale_strength)

    def typical_dials(self, like: Tensor) -> Dials:
        """Return the dials of a typical row at the end of annealing, in the dtype of ``like``: for pictures."""
        return self.dials(1.0 if self.annealing is None else self.annealing.last_strength).typical(like)

    def _step_dials(self) -> Dials:
        """Begin a step, in training mode, and return its dials."""
        if self.training and isinstance(self.score, ProjectedScore):
            self.score.project()
        strength: float | Tensor = self.margin_strength
        if self.annealing is not None:
            if self.training:
                # Not in place: a compiled backward pass would use the margin of the next step.
                self.iteration = self.iteration + 1
            strength = self.margin_strength * self.annealing.strength(self.iteration).to(self.weight.dtype)
        return self.dials(strength, self.scale_strength)

    def margin_logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return logits [N, C] with margin, emphasis, score and scale: what training optimizes.

        In training mode the stateful dials move; in eval mode they stay.
        """
        dials = self._step_dials()
        if self._is_raw:
            return self._linear(embeddings)
        cosine, own = self.cosines(embeddings), labels[:, None]
        plain = cosine.detach()
        dials.observe(plain.gather(1, own), lambda scale: (scale * plain).scatter(1, own, -torch.inf).logsumexp(dim=1))
        if dials.margin is not None or dials.emphasis is not None:
            target = cosine.gather(1, own)
            dials = dials.for_batch(embeddings, labels, target)
            target = dials.target(target)
            cosine = dials.wrong(cosine, target.detach()).scatter(1, own, target)
        lengths = None if self.normalize_weight else torch.linalg.vector_norm(self.weight, dim=1)
        return scaled(dials.scored(cosine), dials.scale(embeddings), lengths, self.bias)

    def row_losses(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return cross-entropies [N] and probabilities [N] of the target, from the logits with all dials."""
        if not self.is_dense(len(embeddings)):
            return self._tiled_row_losses(embeddings, labels, self.plan(len(embeddings)))
        log_p = functional.log_softmax(self.margin_logits(embeddings, labels), dim=1)
        own = log_p.gather(1, labels[:, None]).squeeze(1)
        if self.label_smoothing == 0.0:
            return -own, own.exp()
        smooth = log_p.mean(dim=1)
        return -((1.0 - self.label_smoothing) * own + self.label_smoothing * smooth), own.exp()

    def _tiled_row_losses(self, embeddings: Tensor, labels: Tensor, plan: Plan) -> tuple[Tensor, Tensor]:
        dials = self._step_dials()
        x = self._direction(embeddings)
        classes = self.engine.classes(self.weight, labels, self.bias)
        if self.engine.sampling is not None and self.training:
            classes = classes.some(self.engine.sampling, x.detach())
        cosine = classes.own_cosines(x.detach(), self._divides_by_norm)
        dials.observe(cosine, lambda scale: self._plain_log_sum(classes, plan, x, scale))
        dials = dials.for_batch(embeddings, labels, cosine)
        with torch.no_grad():
            target = dials.target(cosine)
        own, wrong = self._tiled(classes, plan, embeddings, dials, target)
        cross_entropy = softplus(wrong.log_sum - own)
        probability = torch.exp(-cross_entropy)
        if wrong.total is None:
            return cross_entropy, probability
        log_sum = own + cross_entropy
        smooth = log_sum - (wrong.total + own) / classes.count
        return (1.0 - self.label_smoothing) * cross_entropy + self.label_smoothing * smooth, probability

    def tiled_evaluation(self, embeddings: Tensor, labels: Tensor, plan: Plan) -> tuple[Tensor, Tensor]:
        """Return margin-free losses [N] and whether the own class has the largest logit, tile by tile."""
        classes = self.engine.classes(self.weight, labels, self.bias)
        own, wrong = self._tiled(classes, plan, embeddings, self.dials(), None)
        return softplus(wrong.log_sum - own), own.detach() > wrong.highest

    def _tiled(
        self, classes: Classes, plan: Plan, embeddings: Tensor, dials: Dials, target: Tensor | None
    ) -> tuple[Tensor, Streamed]:
        """Return own logits [N] and the sums of wrong logits; without ``target``, margin and emphasis are left out."""
        lengthened = not self.normalize_weight and not self._is_raw
        curve, parameters = self._score_curve(embeddings)
        emphasis = None if target is None else dials.emphasis
        logits_of = WrongLogits(emphasis, curve, self._divides_by_norm, lengthened, self.subcenters)
        scale = None
        if not self._is_raw:
            scale = torch.as_tensor(dials.scale(embeddings), dtype=embeddings.dtype, device=embeddings.device)
        rows = RowInputs(target, scale, parameters)
        smoothed = self.label_smoothing > 0.0 and target is not None
        wrong = self.engine.stream(classes, plan, logits_of, self._direction(embeddings), rows, smoothed)
        own = wrong.own_products / wrong.own_norms if self._divides_by_norm else wrong.own_products
        own = own.amax(dim=1, keepdim=True)
        own = own if target is None else dials.target(own)
        own = scaled(dials.scored(own), scale, wrong.own_norms if lengthened else None).squeeze(1)
        bias = classes.own_bias()
        return own if bias is None else own + bias, wrong

    def _score_curve(self, embeddings: Tensor) -> tuple[Curve | None, tuple[Tensor, ...]]:
        """Return the score of wrong cosines and its inputs: polynomials where they are exact to single precision."""
        if self.score is None or self._smooth is None:
            return None, ()
        smooth = self._smooth.inputs(embeddings) if self._may_be_polynomial(embeddings.dtype) else None
        return (self._curve, tuple(self.score.parameters())) if smooth is None else (self._smooth, smooth)

    def _may_be_polynomial(self, dtype: torch.dtype) -> bool:
        # An emphasis may leave [-1, 1], where the polynomials end.
        return dtype == torch.float32 and self.emphasis is None

    def _direction(self, embeddings: Tensor) -> Tensor:
        """Return what meets the classes: unit vectors, or raw embeddings where their length is in the logits anyway."""
        return embeddings if self._is_raw else unit_rows(embeddings)

    @torch.no_grad()
    def _plain_log_sum(self, classes: Classes, plan: Plan, x: Tensor, scale: Tensor) -> Tensor:
        plain = WrongLogits(subcenters=self.subcenters)
        return self.engine.stream(classes, plan, plain, x, RowInputs(scale=scale)).log_sum

    @property
    def _divides_by_norm(self) -> bool:
        return self.normalize_weight or not self._is_raw

    @property
    def _is_linear(self) -> bool:
        """Whether the logits are W x + b, with or without |W|, so that no cosine is needed."""
        return isinstance(self.row_scale, NormScale) and self.score is None

    @property
    def _is_raw(self) -> bool:
        """Whether the logits are linear and no dial uses an angle."""
        return self._is_linear and self.margin is None and self.emphasis is None

    def _linear(self, embeddings: Tensor) -> Tensor:
        logits = functional.linear(embeddings, self.weight)
        if self.normalize_weight:
            logits = logits / safe_norm(self.weight).T
        logits = self.nearest(logits)
        return logits if self.bias is None else logits + self.bias

    def describe_plan(self, batch_size: int) -> str:
        return str(self.plan(batch_size))

    def builds_all_logits(self, batch_size: int) -> bool:
        return self.engine.sampling is None and self.plan(batch_size).path == "dense"

    @property
    def can_imprint(self) -> bool:
        return isinstance(self.weight, nn.Parameter)

    @torch.no_grad()
    def imprint(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        if not self.can_imprint:
            super().imprint(batches)
            return
        shard, size = self.engine.shard, self.embedding_size
        sums = torch.zeros(len(self.weight) // self.subcenters, size, device=self.weight.device)
        for embeddings, labels in batches:
            if is_distributed():
                embeddings, labels = gather_batch(embeddings, labels)
            local = labels if shard is None else shard.local(labels)
            sums.index_add_(0, local[local >= 0], unit_rows(embeddings)[local >= 0])
        spread = 0.1 * torch.randn_like(self.weight) / size**0.5 if self.subcenters > 1 else 0.0
        self.weight.copy_(unit_rows(sums).repeat_interleave(self.subcenters, dim=0) + spread)

    def center_optimizer(
        self, batch_size: int, kind: OptimizerName, *, lr: float, momentum: float, half_precision: bool
    ) -> RowOptimizer | None:
        if not isinstance(self.weight, nn.Parameter):
            return None
        self.train()
        self.engine.reserve(self.weight, kind, half_precision)
        if self.plan(batch_size).path == "dense":
            return None
        return self.engine.center_optimizer(self.weight, lambda: self.plan(batch_size), kind, lr, momentum)

    @property
    def sharded_names(self) -> frozenset[str]:
        if self.engine.shard is None:
            return frozenset()
        return frozenset(("weight",) if self.bias is None else ("weight", "bias"))

    def start_step(self, margin_strength: float, scale_strength: float) -> None:
        self.margin_strength, self.scale_strength = margin_strength, scale_strength

    def finish(self, training_embeddings: Callable[[], tuple[Tensor, Tensor]]) -> None:
        """Let go of the options and the memory of training: from now on the head chooses its way by itself."""
        self.start_step(1.0, 1.0)
        if self.engine.shard is None:
            self.engine = HeadEngine("auto", self.num_classes, self.embedding_size, self.subcenters, None, None)


def typical_dials(loss: nn.Module, like: Tensor) -> Dials | None:
    """Return the dials of a typical row of ``loss`` (see `DialedCenters.typical_dials`), or None if it has none."""
    return loss.typical_dials(like) if isinstance(loss, DialedCenters) else None
