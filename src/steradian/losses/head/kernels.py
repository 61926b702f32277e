"""The elementwise part of a tile: logits of wrong classes, their contribution to a logsumexp, and its gradient.

The logits are a function of one tile of products of embeddings and class centers, built from the dials. Both passes
are plain functions of one tile. The backward pass comes from automatic differentiation of `WrongLogits`, so it works
for every dial. When compiled, each pass reads the tile once; without a compiler they run eagerly.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from steradian.losses.dials import emphasized, scaled
from steradian.losses.emphasis import Emphasis

Curve = Callable[[Tensor, tuple[Tensor, ...]], Tensor]
"""A score as a function of its parameters: (cosines, parameters) -> logits before the scale."""


class RowInputs(NamedTuple):
    """Inputs of the wrong-class logits that belong to a row.

    Attributes:
        target: [N, 1] margined target logit in cosine units, for the emphasis; it carries no gradient.
        scale: s, [N, 1] or 0-dim; None: logits are not scaled.
        parameters: parameters of the score.
    """

    target: Tensor | None = None
    scale: Tensor | None = None
    parameters: tuple[Tensor, ...] = ()


@dataclass(frozen=True, eq=False)
class WrongLogits:
    """z_ij = s_i f(h(cos_ij; t_i)) + b_j, optionally with norms left in.

    Attributes:
        emphasis, score: dials; None changes nothing.
        divided: products are divided by |W_j| first.
        lengthened: logits are multiplied by |W_j| (L-Softmax).
        subcenters: K, the adjacent rows of the weight per class; the largest product is used.
    """

    emphasis: Emphasis | None = None
    score: Curve | None = None
    divided: bool = True
    lengthened: bool = False
    subcenters: int = 1

    def __call__(self, products: Tensor, norms: Tensor, rows: RowInputs, bias: Tensor | None) -> Tensor:
        """Return logits [N, c], in new memory, of products [N, c * K] with rows of the weight, and their norms."""
        cosine = products / norms if self.divided else products
        if self.subcenters > 1:
            cosine = cosine.view(len(cosine), -1, self.subcenters).amax(dim=2)
        score = emphasized(self.emphasis, cosine, rows.target)
        if self.score is not None:
            score = self.score(score, rows.parameters)
        logits = scaled(score, rows.scale, norms if self.lengthened else None, bias)
        return logits if logits is not products else products.clone()


@dataclass(frozen=True, eq=False)
class ModuleCurve:
    """Make an elementwise module a `Curve` of its parameters, in the order of `named_parameters`."""

    score: nn.Module

    def __call__(self, cosine: Tensor, parameters: tuple[Tensor, ...]) -> Tensor:
        names = [name for name, _ in self.score.named_parameters()]
        logits: Tensor = functional_call(self.score, dict(zip(names, parameters, strict=True)), (cosine,))
        return logits


class Sums(NamedTuple):
    """Running sums over the wrong classes of each row, all [N, 1].

    Attributes:
        highest: the largest logit so far; initially -inf.
        mass: sum of e^(z - highest).
        total: sum of z, if label smoothing needs it.
    """

    highest: Tensor
    mass: Tensor
    total: Tensor | None

    @property
    def log(self) -> Tensor:
        """The logsumexp; -inf without wrong classes."""
        return self.highest + torch.log(self.mass)


def no_classes(like: Tensor, with_total: bool) -> Sums:
    """Return the empty sums for the rows of ``like``."""
    zeros = like.new_zeros(len(like), 1)
    return Sums(torch.full_like(zeros, -math.inf), zeros, torch.zeros_like(zeros) if with_total else None)


class TileGradient(NamedTuple):
    """Gradients of products [N, c * K], norms [c * K], bias [c], scale (same shape) and parameters of the score."""

    products: Tensor
    norms: Tensor | None
    bias: Tensor | None
    scale: Tensor | None
    parameters: tuple[Tensor, ...]


class Wanted(NamedTuple):
    """Which gradients are needed besides those of products and norms."""

    bias: bool
    scale: bool
    parameters: bool


def absorb(
    logits_of: WrongLogits,
    products: Tensor,
    norms: Tensor,
    columns: Tensor,
    rows: RowInputs,
    bias: Tensor | None,
    sums: Sums,
) -> Sums:
    """Return ``sums`` with a tile added; ``columns`` [N, 1] is each row's own class in it, or outside 0..c-1."""
    logits = logits_of(products, norms, rows, bias)
    total = sums.total
    if total is not None:
        total = total + _without_own(logits.clone(), columns, 0.0).sum(dim=1, keepdim=True)
    logits = _without_own(logits, columns, -math.inf)
    highest = torch.maximum(sums.highest, logits.amax(dim=1, keepdim=True))
    # Without any wrong class so far, highest is -inf, and -inf - -inf is NaN.
    reference = torch.where(highest == -math.inf, 0.0, highest)
    mass = sums.mass * torch.exp(sums.highest - reference) + logits.sub_(reference).exp_().sum(dim=1, keepdim=True)
    return Sums(highest, mass, total)


def differentiate(
    logits_of: WrongLogits,
    products: Tensor,
    norms: Tensor,
    columns: Tensor,
    rows: RowInputs,
    bias: Tensor | None,
    needed: Wanted,
    log_sum: Tensor,
    grad_log_sum: Tensor,
    grad_total: Tensor | None,
) -> TileGradient:
    """Return the gradient of sum_i (a_i logsumexp_i + b_i total_i) with respect to all inputs of a tile.

    ``log_sum`` is over the wrong classes of all tiles, finite; ``grad_log_sum`` and ``grad_total`` are a and b, [N, 1].
    """
    inputs: dict[str, Tensor] = {"products": products}
    if logits_of.divided or logits_of.lengthened:
        inputs["norms"] = norms
    if needed.bias and bias is not None:
        inputs["bias"] = bias
    if needed.scale and rows.scale is not None:
        inputs["scale"] = rows.scale
    learned = rows.parameters if needed.parameters else ()
    inputs |= {str(index): parameter for index, parameter in enumerate(learned)}

    def logits_from(inputs: dict[str, Tensor]) -> Tensor:
        filled = rows._replace(
            scale=inputs.get("scale", rows.scale),
            parameters=tuple(inputs.get(str(index), fixed) for index, fixed in enumerate(rows.parameters)),
        )
        return logits_of(inputs["products"], inputs.get("norms", norms), filled, inputs.get("bias", bias))

    logits, pull_back = torch.func.vjp(logits_from, inputs)[:2]
    grad_logits = (logits - log_sum).exp_().mul_(grad_log_sum)
    if grad_total is not None:
        grad_logits = grad_logits + grad_total
    (gradients,) = pull_back(_without_own(grad_logits, columns, 0.0))
    return TileGradient(
        gradients["products"],
        gradients.get("norms"),
        gradients.get("bias"),
        gradients.get("scale"),
        tuple(gradients[str(index)] for index in range(len(learned))),
    )


def _without_own(values: Tensor, columns: Tensor, fill: float) -> Tensor:
    """Replace each row's own class in ``values`` [N, c] by ``fill``; may write into ``values``."""
    if torch.compiler.is_compiling():
        return torch.where(torch.arange(values.shape[1], device=values.device) == columns, fill, values)
    rows = ((columns >= 0) & (columns < values.shape[1])).squeeze(1).nonzero().squeeze(1)
    values[rows, columns[rows, 0]] = fill
    return values


def _copy_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """Copy ``function``: the compiler limits compilations per code object, and losses must not share that limit."""
    copied = cast("FunctionType", function)
    return FunctionType(copied.__code__.replace(), copied.__globals__, copied.__name__, None, copied.__closure__)


class Kernels:
    """`absorb` and `differentiate` for one `WrongLogits`, compiled for products of the shape ``compiled_for``, if any.

    Other shapes, such as a smaller last tile or batch, run uncompiled.
    """

    def __init__(self, logits_of: WrongLogits, compiled_for: tuple[int, int] | None) -> None:
        self.logits_of = logits_of
        self.compiled_for = compiled_for
        self._compiled: dict[Callable[..., Any], Callable[..., Any]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_compiled": {}}

    def absorb(self, products: Tensor, *arguments: Any) -> Sums:
        result: Sums = self._run(absorb, products, *arguments)
        return result

    def differentiate(self, products: Tensor, *arguments: Any) -> TileGradient:
        result: TileGradient = self._run(differentiate, products, *arguments)
        return result

    def _run(self, function: Callable[..., Any], products: Tensor, *arguments: Any) -> Any:
        if tuple(products.shape) != self.compiled_for:
            return function(self.logits_of, products, *arguments)
        if function not in self._compiled:
            self._compiled[function] = torch.compile(_copy_function(function), dynamic=False, fullgraph=True)
        try:
            return self._compiled[function](self.logits_of, products, *arguments)
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001  a compiler may raise anything; continue without it
            self.compiled_for = None
            cause = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            warning = f"The classifier head runs uncompiled, which is slower: {cause}"
            warnings.warn(warning, RuntimeWarning, stacklevel=2)
            return function(self.logits_of, products, *arguments)
