"""The state of a classifier head: its options, the plan of each batch size, and reusable memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from steradian.errors import InputError
from steradian.losses.head.classes import Classes
from steradian.losses.head.kernels import Kernels, RowInputs, WrongLogits
from steradian.losses.head.plan import HEADS, Matrices, Plan, Sizes, free_memory, is_small, make_plan, smaller
from steradian.losses.head.row_optimizer import RowOptimizer
from steradian.losses.head.sampled import Sampling
from steradian.losses.head.sharded import Shard, shard_of
from steradian.losses.head.streaming import Stream, Streamed
from steradian.losses.head.weight_gradient import Dense, FusedUpdate, InPlace, WeightGradient
from steradian.losses.head.workspace import Workspace
from steradian.losses.process_group import any_rank
from steradian.losses.ranges import one_of
from steradian.losses.trainable import OptimizerName

MOST_KERNELS = 8
"""Maximum number of compiled combinations of formula and batch size; further ones run uncompiled."""


class HeadEngine:
    """Plan and run the product of embeddings and class centers; `MarginSoftmaxLoss` explains the options.

    Attributes:
        weight_gradient: receives the gradient of the weight; `weight_gradient.Dense` unless a trainer sets another.
        shard: the classes of this process, or None for all.
        reserved: bytes to leave for other uses, such as an optimizer's moments; set before the first plan.
        product_dtype: dtype of the matrix products, such as bfloat16 on a GPU; targets, sums and gradients keep the
            dtype of the weight. None: use the dtype of the weight throughout.
    """

    def __init__(
        self,
        head: str,
        num_classes: int,
        embedding_size: int,
        subcenters: int,
        sample_rate: float | None,
        hard_share: float | None,
    ) -> None:
        one_of("head", head, HEADS)
        if head not in ("sampled", "sharded") and (sample_rate is not None or hard_share is not None):
            raise InputError(
                f"sample_rate and hard_share are for head='sampled' or 'sharded', but head is {head!r}. "
                "Change head or omit both options."
            )
        options = {"rate": sample_rate, "hard_share": hard_share}
        chosen = {name: value for name, value in options.items() if value is not None}
        self.sampling = Sampling(**chosen) if head == "sampled" or chosen else None
        self.shard: Shard | None = None
        if head == "sharded" and (shard := shard_of(num_classes, embedding_size)).ranks > 1:
            self.shard = shard
        self.head = head
        self.num_classes = num_classes
        self.embedding_size = embedding_size
        self.subcenters = subcenters
        self._weight_gradient: WeightGradient = Dense()
        self.reserved = 0
        self.product_dtype: torch.dtype | None = None
        self._workspace = Workspace()
        self._plans: dict[tuple[int, torch.dtype, torch.device, bool], Plan] = {}
        self._kernels: dict[tuple[object, ...], Kernels] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Kernels are keyed by the id() of the dials, which a copy does not share.
        return {**self.__dict__, "_kernels": {}}

    @property
    def weight_gradient(self) -> WeightGradient:
        """The receiver of the weight gradient."""
        return self._weight_gradient

    @weight_gradient.setter
    def weight_gradient(self, weight_gradient: WeightGradient) -> None:
        self._weight_gradient = weight_gradient
        self._plans.clear()

    @property
    def rows(self) -> slice:
        """The rows of the full [C * K, D] weight that this process holds."""
        start, stop = (0, self.num_classes) if self.shard is None else (self.shard.start, self.shard.stop)
        return slice(start * self.subcenters, stop * self.subcenters)

    def reserve(self, weight: Tensor, kind: str, half_precision: bool) -> None:
        """Leave memory for the moments that an optimizer of ``kind`` keeps; set the precision of the products."""
        self.reserved = weight.nbytes * (1 if kind == "sgd" else 2)
        if half_precision and weight.is_cuda:
            self.product_dtype = torch.bfloat16

    def plan(self, batch: int, like: Tensor, matrices: Matrices, training: bool) -> Plan:
        """Return the plan for batches of ``batch`` rows (over all processes) and a weight like ``like``."""
        key = (batch, like.dtype, like.device, training)
        if key not in self._plans:
            classes = self.num_classes if self.shard is None else self.shard.stop - self.shard.start
            sampling = self.sampling if training else None
            sampled = classes if sampling is None else min(classes, max(batch, sampling.count(classes)))
            candidates = 0 if sampling is None else sampling.candidates(classes)
            held = self.weight_gradient.holds_gradient and like.requires_grad
            shape = (self.subcenters, self.embedding_size, like.element_size())
            sizes = Sizes(batch, classes, sampled, *shape, matrices, held, candidates)
            ranks = 1 if self.shard is None else self.shard.ranks
            free = max(0, free_memory(like.device) - self.reserved)
            self._plans[key] = make_plan(sizes, self.head, like.device.type, ranks, free)
        return self._plans[key]

    def is_dense(self, batch: int) -> bool:
        """Return whether the path is dense by its sizes alone: what ``torch.compile`` can trace, without a plan."""
        rows = self.num_classes * self.subcenters
        return self.head == "dense" or (self.head == "auto" and is_small(batch * rows, rows * self.embedding_size))

    def classes(self, weight: Tensor, labels: Tensor, bias: Tensor | None) -> Classes:
        """Return all classes of all processes, for ``labels`` of the data set."""
        local = labels if self.shard is None else self.shard.local(labels)
        return Classes(weight, local, bias, self.subcenters, self.num_classes, self.shard)

    def stream(
        self, classes: Classes, plan: Plan, logits_of: WrongLogits, x: Tensor, rows: RowInputs, with_total: bool = False
    ) -> Streamed:
        """Pass ``x`` over ``classes``; if memory runs out, retry with smaller tiles and keep using those."""
        while True:
            try:
                return classes.stream(self._stream_options(plan, logits_of, with_total), x, rows)
            except (RuntimeError, MemoryError) as error:
                retry = smaller(plan)
                if not _out_of_memory(error) or retry is None:
                    raise
                warnings.warn(f"Out of memory ({plan}); continuing with: {retry}.", RuntimeWarning, stacklevel=2)
                self._workspace = Workspace()
                self._plans = {key: retry if cached is plan else cached for key, cached in self._plans.items()}
                plan = retry

    def center_optimizer(
        self, weight: nn.Parameter, plan: Callable[[], Plan], kind: OptimizerName, lr: float, momentum: float
    ) -> RowOptimizer:
        """Return an optimizer for tiled, sampled or sharded centers, and send their gradient where it costs least."""
        optimizer = RowOptimizer(weight, kind, lr=lr, momentum=momentum)
        if self.sampling is None:
            self.weight_gradient = InPlace(weight)
            chosen = plan()
            if any_rank(chosen.kept == 0 and chosen.tiles > 0):
                # Memory is short: the whole gradient need not exist, at the price that it is not clipped.
                self.weight_gradient = FusedUpdate(optimizer)
        return optimizer

    def _stream_options(self, plan: Plan, logits_of: WrongLogits, with_total: bool) -> Stream:
        shape = (plan.sizes.batch, plan.tile * self.subcenters) if plan.compiled else None
        # Use id(), because dials need not be hashable; the kernels keep them alive.
        formula = (id(logits_of.emphasis), id(logits_of.score), logits_of.divided, logits_of.lengthened)
        if (formula, shape) not in self._kernels and len(self._kernels) >= MOST_KERNELS:
            shape = None
        key = (formula, shape)
        if key not in self._kernels:
            self._kernels[key] = Kernels(logits_of, shape)
        kept = plan.kept if torch.is_grad_enabled() else 0
        gradient = self.weight_gradient if self.sampling is None else Dense()
        return Stream(self._kernels[key], plan.tile, kept, gradient, self._workspace, with_total, self.product_dtype)


def _out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
