"""Logsumexp over classes without the N x C matrix: tile by tile, three matrix products in all.

Forward, each tile of the class weights is multiplied with the embeddings and added to running sums with a true running
maximum, so that no row underflows whatever its cosines are. Backward, the exact softmax of each tile is made from its
products, which were kept (three products in all, one N x C buffer) or are made again (four, no buffer), and both
gradients are written at once; W / |W| is never formed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from steradian.losses.head.dense import safe_norm
from steradian.losses.head.kernels import Kernels, Wanted, no_classes
from steradian.losses.head.sinks import Gradient, Sink
from steradian.losses.head.workspace import Workspace
from steradian.losses.head.wrong_logits import RowInputs


@dataclass(frozen=True, eq=False)
class Stream:
    """How a batch goes through the classes.

    Attributes:
        kernels: the elementwise part.
        tile: classes at a time.
        kept: tiles, from the first, whose products are kept for the backward pass.
        sink: where the gradient of the weight goes.
        with_total: also give the plain sum of the wrong logits.
        product_dtype: of the matrix products; everything else has the dtype of the weight.
    """

    kernels: Kernels
    tile: int
    kept: int
    sink: Sink
    workspace: Workspace = field(default_factory=Workspace)
    with_total: bool = False
    product_dtype: torch.dtype | None = None

    def spans(self, num_classes: int) -> list[tuple[int, int]]:
        """First and last + 1 class of each tile."""
        return [(start, min(start + self.tile, num_classes)) for start in range(0, num_classes, self.tile)]


class Streamed(NamedTuple):
    """What the classes say to each row.

    Attributes:
        own_products, own_norms: [N, K] of the row's own class; 0 where it is not among these classes.
        log_sum: [N] logsumexp of the wrong logits; -inf without any.
        highest: [N] largest of the wrong logits, without gradient.
        total: [N] sum of the wrong logits, or None.
    """

    own_products: Tensor
    own_norms: Tensor
    log_sum: Tensor
    highest: Tensor
    total: Tensor | None


def stream(
    how: Stream, x: Tensor, weight: Tensor, labels: Tensor, rows: RowInputs, bias: Tensor | None = None
) -> Streamed:
    """Pass ``x`` over all classes of ``weight``; differentiable once.

    Args:
        x: [N, D], unit vectors or raw embeddings, as `WrongLogits` wants them.
        weight: [C * K, D].
        labels: [N] int64 in 0..C-1, or -1: the own class is not here.
        rows: what each row brings.
        bias: [C] or None.
    """
    own_products, own_norms, log_sum, highest, *total = _Stream.apply(
        how, x, weight, labels, bias, rows.target, rows.scale, *rows.parameters
    )
    return Streamed(own_products, own_norms, log_sum, highest, total[0] if total else None)


def own_rows(weight: Tensor, labels: Tensor, subcenters: int) -> tuple[Tensor, Tensor]:
    """Centers [N, K, D] of each row's own class and their norms [N, K]; some center where the label is -1."""
    if len(weight) == 0:
        return weight.new_zeros(len(labels), subcenters, weight.shape[1]), weight.new_ones(len(labels), subcenters)
    index = labels.clamp(min=0)[:, None] * subcenters + torch.arange(subcenters, device=labels.device)
    centers = weight[index]
    return centers, safe_norm(centers.flatten(0, 1)).view(index.shape)


class _Stream(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        how: Stream,
        x: Tensor,
        weight: Tensor,
        labels: Tensor,
        bias: Tensor | None,
        target: Tensor | None,
        scale: Tensor | None,
        *parameters: Tensor,
    ) -> tuple[Tensor, ...]:
        subcenters = how.kernels.logits_of.subcenters
        given = (x, weight, labels, bias, target, scale, *parameters)
        x, weight, labels, bias, target, scale, *fixed = map(_detached, given)
        rows = RowInputs(target, scale, tuple(fixed))
        sums = no_classes(x, how.with_total)
        norms = weight.new_empty(len(weight))
        spans = how.spans(len(weight) // subcenters)
        kept = min(how.kept, len(spans)) if any(ctx.needs_input_grad) else 0
        ctx.kept = _Kept(how, x, weight, kept, ctx.needs_input_grad[2]) if kept else None
        for number, (start, stop) in enumerate(spans):
            tile = weight[start * subcenters : stop * subcenters]
            norms[start * subcenters : stop * subcenters] = safe_norm(tile).squeeze(1)
            place = ctx.kept.place(number, len(tile)) if number < kept else None
            products = _products(x, tile, how.product_dtype, place)
            sums = how.kernels.absorb(
                products,
                norms[start * subcenters : stop * subcenters],
                (labels - start)[:, None],
                rows,
                None if bias is None else bias[start:stop],
                sums,
            )
        centers, own_norms = own_rows(weight, labels, subcenters)
        absent = labels[:, None] < 0
        own_products = (centers @ x[:, :, None]).squeeze(2).masked_fill(absent, 0.0)
        own_norms = own_norms.masked_fill(absent, 0.0)
        log_sum, highest = sums.log.squeeze(1), sums.highest.squeeze(1)
        ctx.mark_non_differentiable(highest)
        ctx.how = how
        ctx.save_for_backward(norms, log_sum, *given)
        found = (own_products, own_norms, log_sum, highest)
        return found if sums.total is None else (*found, sums.total.squeeze(1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        how: Stream = ctx.how
        norms, log_sum, x, weight, labels, bias, target, scale, *parameters = map(_detached, ctx.saved_tensors)
        _, wants_x, wants_weight, _, wants_bias, _, wants_scale, *wants_parameters = ctx.needs_input_grad
        of_products, of_norms, of_log, _, *of_total = outer
        subcenters = how.kernels.logits_of.subcenters
        wanted = Wanted(wants_bias, wants_scale, any(wants_parameters))
        # Without a wrong class there is nothing to pull on, and -inf - -inf is not a number.
        finite = torch.where(log_sum == -torch.inf, 0.0, log_sum)[:, None]
        own = _OwnRows(x, weight, labels, subcenters, of_products, of_norms)
        dx = own.gradient_of_x() if wants_x else None
        dbias = torch.zeros_like(bias) if wants_bias else None
        dscale = torch.zeros_like(scale) if wants_scale else None
        dparameters = [torch.zeros_like(parameter) for parameter in parameters] if wanted.parameters else []
        kept, ctx.kept = ctx.kept, None
        gradient = None if kept is None else kept.gradient
        if gradient is None and wants_weight:
            gradient = how.sink.start(weight)
        # From the last tile to the first: see `_Kept`.
        for number, (start, stop) in reversed(list(enumerate(how.spans(len(weight) // subcenters)))):
            first, last = start * subcenters, stop * subcenters
            tile = weight[first:last]
            known = kept is not None and number < kept.count
            pulled = how.kernels.differentiate(
                kept.place(number, len(tile)) if known else _products(x, tile, how.product_dtype),
                norms[first:last],
                (labels - start)[:, None],
                RowInputs(target, scale, tuple(parameters)),
                None if bias is None else bias[start:stop],
                wanted,
                finite,
                of_log[:, None],
                of_total[0][:, None] if of_total else None,
            )
            if dbias is not None and pulled.bias is not None:
                dbias[start:stop] = pulled.bias
            if dscale is not None and pulled.scale is not None:
                dscale += pulled.scale
            for sum_, part in zip(dparameters, pulled.parameters, strict=True):
                sum_ += part
            if dx is not None:
                _add_product(dx, pulled.products, tile, how.product_dtype)
            if gradient is not None:
                written = gradient.open(first, last)
                _write_product(written, pulled.products.T, x, how.product_dtype)
                if pulled.norms is not None:
                    written.addcmul_(tile, (pulled.norms / norms[first:last])[:, None])
                own.add_to(written, start, stop)
                gradient.close(first, last, written)
            # Or two tiles of it would be there during the next one.
            del pulled
        dweight = None if gradient is None else gradient.result()
        found = dparameters if wanted.parameters else [None] * len(parameters)
        return None, dx, dweight, None, dbias, None, dscale, *found


def _detached(tensor: Any) -> Any:
    """A compiler must not see who else wants a gradient of ``tensor``; None stays None."""
    return None if tensor is None else tensor.detach()


class _Kept:
    """Products of the first ``count`` tiles, for the backward pass.

    They lie where the gradient of the weight will be, if there is such a place and D >= N: tile t of the gradient then
    begins behind the products of all tiles before t, so going from the last tile to the first nothing is overwritten
    that is still to be read. Else they take memory of their own.
    """

    def __init__(self, how: Stream, x: Tensor, weight: Tensor, count: int, wants_weight: bool) -> None:
        self.count = count
        self._rows = len(x)
        self._columns = how.tile * how.kernels.logits_of.subcenters
        fits = wants_weight and len(x) <= weight.shape[1]
        self.gradient: Gradient | None = how.sink.start(weight) if fits else None
        room = None if self.gradient is None else self.gradient.room
        self._lease = how.workspace.lend((count, len(x), self._columns), x) if room is None else None
        self._memory = (self._lease.tensor if self._lease is not None else cast("Tensor", room)).view(-1)

    def place(self, number: int, columns: int) -> Tensor:
        """Products [N, columns] of a tile."""
        start = number * self._rows * self._columns
        return self._memory[start : start + self._rows * columns].view(self._rows, columns)


class _OwnRows:
    """The gradient that comes through each row's own class."""

    def __init__(
        self, x: Tensor, weight: Tensor, labels: Tensor, subcenters: int, of_products: Tensor, of_norms: Tensor
    ) -> None:
        self._centers, norms = own_rows(weight, labels, subcenters)
        self._of_products = of_products.masked_fill(labels[:, None] < 0, 0.0)[:, :, None]
        lengths = (of_norms / norms)[:, :, None] * self._centers
        self._of_centers = self._of_products * x[:, None, :] + lengths
        self._sorted, self._order = labels.sort()
        self._subcenters = subcenters

    def gradient_of_x(self) -> Tensor:
        """[N, D]."""
        return (self._of_products * self._centers).sum(dim=1)

    def add_to(self, tile: Tensor, start: int, stop: int) -> None:
        """Add to the gradient [(stop - start) * K, D] of classes ``start`` to ``stop``."""
        ends = torch.tensor([start, stop], device=self._sorted.device)
        first, last = torch.searchsorted(self._sorted, ends).tolist()
        if first == last:
            return
        rows = self._order[first:last]
        classes = tile.view(stop - start, self._subcenters, -1)
        classes.index_add_(0, self._sorted[first:last] - start, self._of_centers[rows])


def _products(x: Tensor, tile: Tensor, dtype: torch.dtype | None, out: Tensor | None = None) -> Tensor:
    """<x_i, W_j>, [N, rows of the tile]."""
    if dtype is None:
        return torch.mm(x, tile.T, out=out)
    products = (x.to(dtype) @ tile.to(dtype).T).to(x.dtype)
    return products if out is None else out.copy_(products)


def _add_product(sum_: Tensor, left: Tensor, right: Tensor, dtype: torch.dtype | None) -> None:
    if dtype is None:
        sum_.addmm_(left, right)
    else:
        sum_ += (left.to(dtype) @ right.to(dtype)).to(sum_.dtype)


def _write_product(out: Tensor, left: Tensor, right: Tensor, dtype: torch.dtype | None) -> None:
    if dtype is None:
        torch.mm(left, right, out=out)
    else:
        out.copy_(left.to(dtype) @ right.to(dtype))
