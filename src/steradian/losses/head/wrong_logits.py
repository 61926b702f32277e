"""Compute the logits of wrong classes from the products of embeddings and class centers.

The logits are a function of one tile of products, built from the dials of the loss. `kernels` sums and differentiates
them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

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
        """Return logits [N, c], always in new memory, never ``products`` itself.

        Args:
            products: [N, c * K] of embeddings and rows of the weight.
            norms: [c * K], the norms of those rows.
            bias: [c] or None.
        """
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
        """Apply the module with ``parameters`` instead of its own."""
        names = [name for name, _ in self.score.named_parameters()]
        logits: Tensor = functional_call(self.score, dict(zip(names, parameters, strict=True)), (cosine,))
        return logits
