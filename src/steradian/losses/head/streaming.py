"""Compute the logsumexp over classes tile by tile, without the logits matrix, with three or four matrix products.

The forward pass multiplies each tile of the class weights with the embeddings and adds it to running sums with a
running maximum, so that no row underflows. The backward pass computes the exact softmax of each tile from its products,
which are saved (three products in all, one N x C buffer) or recomputed (four, no buffer), and computes both gradients
from it. W / |W| is never formed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from steradian.losses.cosines import safe_norm
from steradian.losses.head.kernels import Kernels, RowInputs, Wanted, no_classes
from steradian.losses.head.weight_gradient import Gradient, WeightGradient
from steradian.losses.head.workspace import Workspace


@dataclass(frozen=True, eq=False)
class Stream:
    """Options for passing a batch over the classes.

    Attributes:
        kernels: the elementwise part.
        tile: classes per tile.
        kept: number of tiles, from the first, whose products are saved for the backward pass.
        weight_gradient: receives the gradient of the weight.
        with_total: also return the sum of the wrong logits.
        product_dtype: dtype of the matrix products; everything else has the dtype of the weight.
    """

    kernels: Kernels
    tile: int
    kept: int
    weight_gradient: WeightGradient
    workspace: Workspace = field(default_factory=Workspace)
    with_total: bool = False
    product_dtype: torch.dtype | None = None

    def spans(self, num_classes: int) -> list[tuple[int, int]]:
        """Return the first class and one past the last class of each tile."""
        return [(start, min(start + self.tile, num_classes)) for start in range(0, num_classes, self.tile)]


class Streamed(NamedTuple):
    """Result of `stream` for each row.

    Attributes:
        own_products, own_norms: [N, K] of the row's own class; 0 if it is not among these classes.
        log_sum: [N] logsumexp of the wrong logits; -inf without any.
        highest: [N] largest wrong logit, without gradient.
        total: [N] sum of the wrong logits, or None.
    """

    own_products: Tensor
    own_norms: Tensor
    log_sum: Tensor
    highest: Tensor
    total: Tensor | None


def stream(
    options: Stream, x: Tensor, weight: Tensor, labels: Tensor, rows: RowInputs, bias: Tensor | None = None
) -> Streamed:
    """Pass ``x`` [N, D] over all classes of ``weight`` [C * K, D]; differentiable once.

    ``x`` has unit vectors or raw embeddings, as `WrongLogits` expects; ``labels`` are -1 for an own class elsewhere.
    """
    own_products, own_norms, log_sum, highest, *total = _Stream.apply(
        options, x, weight, labels, bias, rows.target, rows.scale, *rows.parameters
    )
    return Streamed(own_products, own_norms, log_sum, highest, total[0] if total else None)


def own_rows(weight: Tensor, labels: Tensor, subcenters: int) -> tuple[Tensor, Tensor]:
    """Return centers [N, K, D] of each row's own class and their norms [N, K]; an arbitrary center for label -1."""
    if len(weight) == 0:
        return weight.new_zeros(len(labels), subcenters, weight.shape[1]), weight.new_ones(len(labels), subcenters)
    index = labels.clamp(min=0)[:, None] * subcenters + torch.arange(subcenters, device=labels.device)
    centers = weight[index]
    return centers, safe_norm(centers.flatten(0, 1)).view(index.shape)


class _Stream(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        options: Stream,
        x: Tensor,
        weight: Tensor,
        labels: Tensor,
        bias: Tensor | None,
        target: Tensor | None,
        scale: Tensor | None,
        *parameters: Tensor,
    ) -> tuple[Tensor, ...]:
        subcenters = options.kernels.logits_of.subcenters
        inputs = (x, weight, labels, bias, target, scale, *parameters)
        x, weight, labels, bias, target, scale, *fixed = map(_detached, inputs)
        rows = RowInputs(target, scale, tuple(fixed))
        sums = no_classes(x, options.with_total)
        norms = weight.new_empty(len(weight))
        spans = options.spans(len(weight) // subcenters)
        saved_count = min(options.kept, len(spans)) if any(ctx.needs_input_grad) else 0
        ctx.kept = _SavedProducts(options, x, weight, saved_count, ctx.needs_input_grad[2]) if saved_count else None
        for number, (start, stop) in enumerate(spans):
            tile = weight[start * subcenters : stop * subcenters]
            norms[start * subcenters : stop * subcenters] = safe_norm(tile).squeeze(1)
            buffer = ctx.kept.tile_buffer(number, len(tile)) if number < saved_count else None
            products = _products(x, tile, options.product_dtype, buffer)
            sums = options.kernels.absorb(
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
        ctx.options = options
        ctx.save_for_backward(norms, log_sum, *inputs)
        outputs = (own_products, own_norms, log_sum, highest)
        return outputs if sums.total is None else (*outputs, sums.total.squeeze(1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        options: Stream = ctx.options
        norms, log_sum, x, weight, labels, bias, target, scale, *parameters = map(_detached, ctx.saved_tensors)
        _, wants_x, wants_weight, _, wants_bias, _, wants_scale, *wants_parameters = ctx.needs_input_grad
        grad_products, grad_norms, grad_log_sum, _, *grad_total = grad_outputs
        subcenters = options.kernels.logits_of.subcenters
        needed = Wanted(wants_bias, wants_scale, any(wants_parameters))
        # Without wrong classes log_sum is -inf, and -inf - -inf is NaN.
        finite = torch.where(log_sum == -torch.inf, 0.0, log_sum)[:, None]
        own_class = _OwnClassGradient(x, weight, labels, subcenters, grad_products, grad_norms)
        dx = own_class.gradient_of_x() if wants_x else None
        dbias = torch.zeros_like(bias) if wants_bias else None
        dscale = torch.zeros_like(scale) if wants_scale else None
        dparameters = [torch.zeros_like(parameter) for parameter in parameters] if needed.parameters else []
        saved, ctx.kept = ctx.kept, None
        gradient = None if saved is None else saved.gradient
        if gradient is None and wants_weight:
            gradient = options.weight_gradient.start(weight)
        # Go from the last tile to the first; see `_SavedProducts`.
        for number, (start, stop) in reversed(list(enumerate(options.spans(len(weight) // subcenters)))):
            first, last = start * subcenters, stop * subcenters
            tile = weight[first:last]
            is_saved = saved is not None and number < saved.count
            gradients = options.kernels.differentiate(
                saved.tile_buffer(number, len(tile)) if is_saved else _products(x, tile, options.product_dtype),
                norms[first:last],
                (labels - start)[:, None],
                RowInputs(target, scale, tuple(parameters)),
                None if bias is None else bias[start:stop],
                needed,
                finite,
                grad_log_sum[:, None],
                grad_total[0][:, None] if grad_total else None,
            )
            if dbias is not None and gradients.bias is not None:
                dbias[start:stop] = gradients.bias
            if dscale is not None and gradients.scale is not None:
                dscale += gradients.scale
            for sum_, part in zip(dparameters, gradients.parameters, strict=True):
                sum_ += part
            if dx is not None:
                _add_product(dx, gradients.products, tile, options.product_dtype)
            if gradient is not None:
                tile_gradient = gradient.open(first, last)
                _write_product(tile_gradient, gradients.products.T, x, options.product_dtype)
                if gradients.norms is not None:
                    tile_gradient.addcmul_(tile, (gradients.norms / norms[first:last])[:, None])
                own_class.add_to(tile_gradient, start, stop)
                gradient.close(first, last, tile_gradient)
            # Free the tile now, or two tiles would be in memory during the next iteration.
            del gradients
        dweight = None if gradient is None else gradient.result()
        parameter_gradients = dparameters if needed.parameters else [None] * len(parameters)
        return None, dx, dweight, None, dbias, None, dscale, *parameter_gradients


def _detached(tensor: Any) -> Any:
    """Detach ``tensor``, so that a compiled function does not depend on its graph; None stays None."""
    return None if tensor is None else tensor.detach()


class _SavedProducts:
    """Products of the first ``count`` tiles, for the backward pass.

    They share the memory of the weight gradient if that exists and D >= N: tile t of the gradient then begins after the
    products of all tiles before t, so a pass from the last tile to the first overwrites no products that are still
    needed. Otherwise they use separate memory.
    """

    def __init__(self, options: Stream, x: Tensor, weight: Tensor, count: int, wants_weight: bool) -> None:
        self.count = count
        self._rows = len(x)
        self._columns = options.tile * options.kernels.logits_of.subcenters
        fits = wants_weight and len(x) <= weight.shape[1]
        self.gradient: Gradient | None = options.weight_gradient.start(weight) if fits else None
        buffer = None if self.gradient is None else self.gradient.buffer
        size = count * len(x) * self._columns
        self._memory = options.workspace.lend(size, x) if buffer is None else buffer.view(-1)

    def tile_buffer(self, number: int, columns: int) -> Tensor:
        start = number * self._rows * self._columns
        return self._memory[start : start + self._rows * columns].view(self._rows, columns)


class _OwnClassGradient:
    """The gradient that flows through each row's own class."""

    def __init__(
        self, x: Tensor, weight: Tensor, labels: Tensor, subcenters: int, grad_products: Tensor, grad_norms: Tensor
    ) -> None:
        self._centers, norms = own_rows(weight, labels, subcenters)
        self._grad_products = grad_products.masked_fill(labels[:, None] < 0, 0.0)[:, :, None]
        through_norms = (grad_norms / norms)[:, :, None] * self._centers
        self._grad_centers = self._grad_products * x[:, None, :] + through_norms
        self._sorted, self._order = labels.sort()
        self._subcenters = subcenters

    def gradient_of_x(self) -> Tensor:
        return (self._grad_products * self._centers).sum(dim=1)

    def add_to(self, tile: Tensor, start: int, stop: int) -> None:
        """Add this gradient to ``tile`` [(stop - start) * K, D], the gradient of classes ``start`` to ``stop``."""
        ends = torch.tensor([start, stop], device=self._sorted.device)
        first, last = torch.searchsorted(self._sorted, ends).tolist()
        if first == last:
            return
        rows = self._order[first:last]
        classes = tile.view(stop - start, self._subcenters, -1)
        classes.index_add_(0, self._sorted[first:last] - start, self._grad_centers[rows])


def _products(x: Tensor, tile: Tensor, dtype: torch.dtype | None, out: Tensor | None = None) -> Tensor:
    """Return <x_i, W_j>, [N, rows of the tile]."""
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
