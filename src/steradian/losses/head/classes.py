"""The classes that this process compares a batch with: all classes, its shard, or a sample of either."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from steradian.losses.head import sharded
from steradian.losses.head.kernels import RowInputs
from steradian.losses.head.sampled import Sampling, picked
from steradian.losses.head.sharded import Shard
from steradian.losses.head.streaming import Stream, Streamed, own_rows, stream


@dataclass(frozen=True)
class Classes:
    """Class centers in this process, and the index of each row's own class among them.

    Attributes:
        weight: [R * K, D].
        labels: [N] int64 in 0..R-1, or -1 for a class of another process.
        bias: [R] or None.
        count: number of classes that take part, over all processes.
        shard: None if this process holds all classes.
    """

    weight: Tensor
    labels: Tensor
    bias: Tensor | None
    subcenters: int
    count: int
    shard: Shard | None

    def some(self, sampling: Sampling, embeddings: Tensor) -> Classes:
        """Return the classes of the batch and a newly drawn sample of the others."""
        generator = None
        if self.shard is not None:
            # Each process draws different classes, while the global generators stay in step.
            seed = int(torch.randint(2**62, (1,))) + self.shard.rank
            generator = torch.Generator(self.weight.device).manual_seed(seed)
        chosen = sampling.choose(self.weight, self.labels, embeddings, self.subcenters, generator)
        rows = chosen[:, None] * self.subcenters + torch.arange(self.subcenters, device=chosen.device)
        index = torch.searchsorted(chosen, self.labels)
        count = torch.tensor([len(chosen)], device=chosen.device)
        return replace(
            self,
            weight=picked(self.weight, rows.flatten()),
            labels=torch.where(self.labels < 0, -1, index),
            bias=None if self.bias is None else self.bias[chosen],
            count=int(count if self.shard is None else sharded.summed(count)),
        )

    @torch.no_grad()
    def own_cosines(self, x: Tensor, divided: bool) -> Tensor:
        """Return products [N, 1] of ``x`` [N, D] with the nearest own-class center, optionally divided by its norm."""
        centers, norms = own_rows(self.weight, self.labels, self.subcenters)
        products = (centers @ x[:, :, None]).squeeze(2)
        own = (products / norms if divided else products).amax(dim=1, keepdim=True)
        own = own.masked_fill(self.labels[:, None] < 0, 0.0)
        return own if self.shard is None else sharded.summed(own)

    def own_bias(self) -> Tensor | None:
        """Return b_y, [N], differentiable."""
        if self.bias is None:
            return None
        if len(self.bias) == 0:
            own = self.bias.sum().expand(len(self.labels))
        else:
            own = self.bias[self.labels.clamp(min=0)].masked_fill(self.labels < 0, 0.0)
        return own if self.shard is None else sharded.out_of_shards(own)

    def stream(self, options: Stream, x: Tensor, rows: RowInputs) -> Streamed:
        if self.shard is None:
            return stream(options, x, self.weight, self.labels, rows, self.bias)
        rows = rows._replace(
            scale=None if rows.scale is None else sharded.into_shards(rows.scale),
            parameters=tuple(sharded.into_shards(parameter) for parameter in rows.parameters),
        )
        part = stream(options, sharded.into_shards(x), self.weight, self.labels, rows, self.bias)
        return Streamed(
            sharded.out_of_shards(part.own_products),
            sharded.out_of_shards(part.own_norms),
            sharded.out_of_shards_log(part.log_sum),
            sharded.greatest(part.highest),
            None if part.total is None else sharded.out_of_shards(part.total),
        )
