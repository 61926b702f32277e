"""The head's choices kept together: what was asked for, the plan of each batch size, and memory that is used again."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from steradian.errors import InputError
from steradian.losses.head.classes import Classes
from steradian.losses.head.kernels import Kernels
from steradian.losses.head.plan import HEADS, Matrices, Plan, Sizes, free_memory, make_plan, smaller
from steradian.losses.head.sampled import Sampling
from steradian.losses.head.sharded import Shard, shard_of
from steradian.losses.head.sinks import Returned, Sink
from steradian.losses.head.streaming import Stream, Streamed
from steradian.losses.head.workspace import Workspace
from steradian.losses.head.wrong_logits import RowInputs, WrongLogits
from steradian.losses.ranges import one_of

MOST_KERNELS = 8
"""Formulas and batch sizes that are compiled; further ones run uncompiled."""


class HeadEngine:
    """Plans and runs the product of embeddings and classes.

    Args:
        head: "auto", "dense", "tiled", "sampled" or "sharded".
        sample_rate, hard_share: see `Sampling`; for "sampled", and for "sharded" if the shards are to be sampled.

    Attributes:
        sink: where the gradient of the weight goes; `sinks.Returned` unless a trainer says otherwise.
        shard: the classes of this process, or None for all.
        reserved: bytes that something else, such as an optimizer's moments, will take; set before the first plan.
        product_dtype: of the matrix products, such as bfloat16 on a GPU; targets, sums and gradients keep the dtype of
            the weight. None: that dtype throughout.
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
            raise InputError("sample_rate and hard_share are for head='sampled' or 'sharded'.")
        given = {"rate": sample_rate, "hard_share": hard_share}
        chosen = {name: value for name, value in given.items() if value is not None}
        self.sampling = Sampling(**chosen) if head == "sampled" or chosen else None
        self.shard: Shard | None = None
        if head == "sharded" and (shard := shard_of(num_classes, embedding_size)).ranks > 1:
            self.shard = shard
        self.head = head
        self.num_classes = num_classes
        self.embedding_size = embedding_size
        self.subcenters = subcenters
        self._sink: Sink = Returned()
        self.reserved = 0
        self.product_dtype: torch.dtype | None = None
        self._workspace = Workspace()
        self._plans: dict[tuple[int, torch.dtype, torch.device, bool], Plan] = {}
        self._kernels: dict[tuple[object, ...], Kernels] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Kernels are known by the identity of dials, which a copy does not share.
        return {**self.__dict__, "_kernels": {}}

    @property
    def sink(self) -> Sink:
        """Where the gradient of the weight goes."""
        return self._sink

    @sink.setter
    def sink(self, sink: Sink) -> None:
        self._sink = sink
        self._plans.clear()

    @property
    def rows(self) -> slice:
        """Rows of the logical [C * K, D] weight that this process holds."""
        start, stop = (0, self.num_classes) if self.shard is None else (self.shard.start, self.shard.stop)
        return slice(start * self.subcenters, stop * self.subcenters)

    def reserve(self, weight: Tensor, kind: str, half_precision: bool) -> None:
        """Leave memory for the moments that an optimizer of ``kind`` keeps; set the precision of the products."""
        self.reserved = weight.nbytes * (1 if kind == "sgd" else 2)
        if half_precision and weight.is_cuda:
            self.product_dtype = torch.bfloat16

    def plan(self, batch: int, like: Tensor, matrices: Matrices, training: bool) -> Plan:
        """The plan for batches of ``batch`` rows (of all processes) and a weight ``like`` this."""
        key = (batch, like.dtype, like.device, training)
        if key not in self._plans:
            here = self.num_classes if self.shard is None else self.shard.stop - self.shard.start
            sampled = here if self.sampling is None or not training else self._sampled(here, batch)
            sizes = Sizes(
                batch,
                here,
                sampled,
                self.subcenters,
                self.embedding_size,
                like.element_size(),
                matrices,
                self.sink.holds_gradient and like.requires_grad,
                0 if self.sampling is None or not training else self.sampling.candidates(here),
            )
            ranks = 1 if self.shard is None else self.shard.ranks
            free = max(0, free_memory(like.device) - self.reserved)
            self._plans[key] = make_plan(sizes, self.head, like.device.type, ranks, free)
        return self._plans[key]

    def _sampled(self, here: int, batch: int) -> int:
        return min(here, max(batch, self.sampling.count(here))) if self.sampling is not None else here

    def classes(self, weight: Tensor, labels: Tensor, bias: Tensor | None) -> Classes:
        """All classes, of all processes."""
        return Classes.all(weight, labels, bias, self.subcenters, self.shard)

    def stream(
        self, classes: Classes, plan: Plan, logits_of: WrongLogits, x: Tensor, rows: RowInputs, with_total: bool = False
    ) -> Streamed:
        """Pass ``x`` over ``classes``; when memory runs out, once more with smaller tiles, and so from then on."""
        while True:
            try:
                return classes.stream(self._how(plan, logits_of, with_total), x, rows)
            except (RuntimeError, MemoryError) as error:
                less = smaller(plan)
                if not _out_of_memory(error) or less is None:
                    raise
                warnings.warn(f"Out of memory ({plan}); going on with: {less}.", RuntimeWarning, stacklevel=2)
                self._workspace = Workspace()
                self._plans = {key: less if known is plan else known for key, known in self._plans.items()}
                plan = less

    def _how(self, plan: Plan, logits_of: WrongLogits, with_total: bool) -> Stream:
        sampled = self.sampling is not None
        shape = (plan.sizes.batch, plan.tile * self.subcenters) if plan.compiled else None
        # By identity: dials need not be hashable, and the kernels keep them alive.
        formula = (id(logits_of.emphasis), id(logits_of.score), logits_of.divided, logits_of.lengthened)
        if (formula, shape) not in self._kernels and len(self._kernels) >= MOST_KERNELS:
            shape = None
        key = (formula, shape)
        if key not in self._kernels:
            self._kernels[key] = Kernels(logits_of, shape)
        return Stream(
            self._kernels[key],
            plan.tile,
            plan.kept if torch.is_grad_enabled() else 0,
            Returned() if sampled else self.sink,
            self._workspace,
            with_total,
            self.product_dtype,
        )


def _out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
