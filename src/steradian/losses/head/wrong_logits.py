"""What becomes of the product of an embedding and the center of a wrong class: its logit.

One function of a tile of products, made of the dials of the loss. `kernels` sums it up and differentiates it.
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
"""A score of cosines with its parameters: (cosines, parameters) -> logits before the scale."""


class RowInputs(NamedTuple):
    """What a row brings to its wrong logits.

    Attributes:
        target: [N, 1] margined target logit in units of a cosine, for the emphasis; it carries no gradient.
        scale: s, [N, 1] or 0-dim; None: logits are not scaled.
        parameters: of the score.
    """

    target: Tensor | None = None
    scale: Tensor | None = None
    parameters: tuple[Tensor, ...] = ()


@dataclass(frozen=True, eq=False)
class WrongLogits:
    """z_ij = s_i f(h(cos_ij; t_i)) + b_j, or with lengths left in.

    Attributes:
        emphasis, score: dials; None changes nothing.
        divided: products are divided by |W_j| first.
        lengthened: logits are multiplied by |W_j| (L-Softmax).
        subcenters: K neighboring rows of the weight are one class; the largest counts.
    """

    emphasis: Emphasis | None = None
    score: Curve | None = None
    divided: bool = True
    lengthened: bool = False
    subcenters: int = 1

    def __call__(self, products: Tensor, norms: Tensor, rows: RowInputs, bias: Tensor | None) -> Tensor:
        """Logits [N, c], never ``products`` itself.

        Args:
            products: [N, c * K] of embeddings and rows of the weight.
            norms: [c * K], the lengths of those rows.
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
    """Any elementwise module as a `Curve` of its parameters, in the order that it names them."""

    score: nn.Module

    def __call__(self, cosine: Tensor, parameters: tuple[Tensor, ...]) -> Tensor:
        """The module with ``parameters`` in place of its own."""
        names = [name for name, _ in self.score.named_parameters()]
        logits: Tensor = functional_call(self.score, dict(zip(names, parameters, strict=True)), (cosine,))
        return logits
