"""The elementwise part of a tile: its share of a logsumexp, and the gradient of that share.

Both passes are plain functions of one tile; the second is derived from `WrongLogits` by automatic differentiation, so
that every dial has it. Compiled, each is a sweep over the tile; where that cannot be, they run as they stand.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from steradian.losses.head.wrong_logits import RowInputs, WrongLogits


class Sums(NamedTuple):
    """Running sums over the wrong classes of each row, all [N, 1].

    Attributes:
        highest: the largest logit so far; -inf at first.
        mass: sum of e^(z - highest).
        total: sum of z, where label smoothing asks for it.
    """

    highest: Tensor
    mass: Tensor
    total: Tensor | None

    @property
    def log(self) -> Tensor:
        """logsumexp; -inf where there is no wrong class."""
        return self.highest + torch.log(self.mass)


def no_classes(like: Tensor, with_total: bool) -> Sums:
    """Sums over nothing, for the rows of ``like``."""
    zeros = like.new_zeros(len(like), 1)
    return Sums(torch.full_like(zeros, -math.inf), zeros, torch.zeros_like(zeros) if with_total else None)


class TileGradient(NamedTuple):
    """Gradients of products [N, c * K], norms [c * K], bias [c], scale (its own shape), parameters of the score."""

    products: Tensor
    norms: Tensor | None
    bias: Tensor | None
    scale: Tensor | None
    parameters: tuple[Tensor, ...]


class Wanted(NamedTuple):
    """Which gradients are, besides those of products and norms."""

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
    """``sums`` with a tile added.

    Args:
        products: [N, c * K]; norms [c * K]; bias [c].
        columns: [N, 1] int64, where in the tile the row's own class is; outside of 0..c-1: not in this tile.
    """
    logits = logits_of(products, norms, rows, bias)
    total = sums.total
    if total is not None:
        total = total + _without_own(logits.clone(), columns, 0.0).sum(dim=1, keepdim=True)
    logits = _without_own(logits, columns, -math.inf)
    highest = torch.maximum(sums.highest, logits.amax(dim=1, keepdim=True))
    # With no wrong class yet the highest is -inf, and -inf - -inf is not a number.
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
    wanted: Wanted,
    log_sum: Tensor,
    of_log: Tensor,
    of_total: Tensor | None,
) -> TileGradient:
    """The gradient of sum_i (a_i logsumexp_i + b_i total_i) with respect to all that a tile is made of.

    Args:
        log_sum: [N, 1] over all wrong classes of all tiles; finite.
        of_log, of_total: a and b, [N, 1].
    """
    given: dict[str, Tensor] = {"products": products}
    if logits_of.divided or logits_of.lengthened:
        given["norms"] = norms
    if wanted.bias and bias is not None:
        given["bias"] = bias
    if wanted.scale and rows.scale is not None:
        given["scale"] = rows.scale
    learned = rows.parameters if wanted.parameters else ()
    given |= {str(index): parameter for index, parameter in enumerate(learned)}

    def logits_from(given: dict[str, Tensor]) -> Tensor:
        filled = rows._replace(
            scale=given.get("scale", rows.scale),
            parameters=tuple(given.get(str(index), fixed) for index, fixed in enumerate(rows.parameters)),
        )
        return logits_of(given["products"], given.get("norms", norms), filled, given.get("bias", bias))

    logits, pull_back = torch.func.vjp(logits_from, given)[:2]
    push = (logits - log_sum).exp_().mul_(of_log)
    if of_total is not None:
        push = push + of_total
    (found,) = pull_back(_without_own(push, columns, 0.0))
    return TileGradient(
        found["products"],
        found.get("norms"),
        found.get("bias"),
        found.get("scale"),
        tuple(found[str(index)] for index in range(len(learned))),
    )


def _without_own(values: Tensor, columns: Tensor, fill: float) -> Tensor:
    """``values`` [N, c], which may be written to, with ``fill`` in place of each row's own class."""
    if torch.compiler.is_compiling():
        return torch.where(torch.arange(values.shape[1], device=values.device) == columns, fill, values)
    here = ((columns >= 0) & (columns < values.shape[1])).squeeze(1).nonzero().squeeze(1)
    values[here, columns[here, 0]] = fill
    return values


def _own_copy(function: Callable[..., Any]) -> Callable[..., Any]:
    """The compiler allows a code object so many compilations; losses and batch sizes must not use up each other's."""
    copied = cast("FunctionType", function)
    return FunctionType(copied.__code__.replace(), copied.__globals__, copied.__name__, None, copied.__closure__)


class Kernels:
    """`absorb` and `differentiate` for one `WrongLogits`, compiled for tiles of one shape.

    Args:
        compiled_for: shape (N, c * K) of products that is worth a compilation; others, such as those of a ragged
            last tile or batch, run uncompiled. None: never.
    """

    def __init__(self, logits_of: WrongLogits, compiled_for: tuple[int, int] | None) -> None:
        self.logits_of = logits_of
        self.compiled_for = compiled_for
        self._compiled: dict[Callable[..., Any], Callable[..., Any]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_compiled": {}}

    def absorb(self, products: Tensor, *rest: Any) -> Sums:
        """See `absorb`."""
        found: Sums = self._run(absorb, products, *rest)
        return found

    def differentiate(self, products: Tensor, *rest: Any) -> TileGradient:
        """See `differentiate`."""
        found: TileGradient = self._run(differentiate, products, *rest)
        return found

    def _run(self, function: Callable[..., Any], products: Tensor, *rest: Any) -> Any:
        if tuple(products.shape) != self.compiled_for:
            return function(self.logits_of, products, *rest)
        if function not in self._compiled:
            self._compiled[function] = torch.compile(_own_copy(function), dynamic=False, fullgraph=True)
        try:
            return self._compiled[function](self.logits_of, products, *rest)
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001  whatever a compiler may raise, the loss goes on without it
            self.compiled_for = None
            cause = str(error).strip().splitlines()
            warnings.warn(
                f"The classifier head runs uncompiled, which is slower: {type(error).__name__}: "
                f"{cause[0] if cause else ''}",
                RuntimeWarning,
                stacklevel=2,
            )
            return function(self.logits_of, products, *rest)
