"""Training steps of a classifier head, ours and others: forward and backward to embeddings and weight."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from steradian import losses
from steradian.losses.head.weight_gradient import InPlace

Step = Callable[[], object]
MARGIN, SCALE = 0.5, 64.0


class Case:
    """The embeddings [N, D], weight [C, D] and labels [N] that all candidates share."""

    def __init__(self, count: int, classes: int, size: int) -> None:
        torch.manual_seed(0)
        self.count, self.classes, self.size = count, classes, size
        self.x = torch.randn(count, size)
        self.weight = torch.empty(classes, size).normal_(0.0, 0.05)
        self.labels = torch.randint(0, classes, (count,))
        # Move embeddings toward their centers, as in a trained model; most target cosines become .2 to .8.
        self.x = functional.normalize(self.x) + 0.6 * functional.normalize(self.weight[self.labels])


def floor(case: Case, tile: int) -> Step:
    """Compute three products in tiles, row norms and a pass over dW, the least that an exact softmax must do."""
    x, weight = functional.normalize(case.x), case.weight
    dweight = torch.zeros_like(weight)

    def step() -> None:
        dx = torch.zeros_like(x)
        for start in range(0, case.classes, tile):
            rows = weight[start : start + tile]
            rows.norm(dim=1)
            products = x @ rows.T
            dx.addmm_(products, rows)
            torch.mm(products.T, x, out=dweight[start : start + tile])
            dweight[start : start + tile].mul_(1.0)

    return step


def ours(
    case: Case,
    name: str = "arcface",
    *,
    in_place: bool = True,
    kept: int | None = None,
    compiled: bool = True,
    head: str = "tiled",
    tile: int | None = None,
    **options: object,
) -> HeadStep:
    """Return the step of a steradian loss; ``kept=0`` computes the products twice."""
    known_options = losses.preset(name).options()
    defaults = {"scale": SCALE} if "scale" in known_options and name != "hyperspherical" else {}
    defaults |= {"margin": MARGIN} if "margin" in known_options and "cosface" not in name else {}
    loss = losses.create(name, case.classes, case.size, head=head, **{**defaults, **options})
    assert isinstance(loss, losses.MarginSoftmaxLoss)
    loss.weight = nn.Parameter(case.weight)
    if in_place and loss.engine.sampling is None:
        loss.engine.weight_gradient = InPlace(loss.weight)
    plan = loss.plan(case.count)
    if plan.path == "tiled":
        tile = plan.tile if tile is None else tile
        kept = plan.kept if kept is None else kept
        plan = replace(plan, tile=tile, kept=kept, compiled=plan.compiled and compiled)
        loss.engine.plan = lambda *_: plan  # type: ignore[method-assign]
    return HeadStep(loss, case)


class HeadStep:
    """Run forward and backward of ``loss`` to embeddings and parameters."""

    def __init__(self, loss: nn.Module, case: Case) -> None:
        self.loss, self.labels = loss, case.labels
        self.x = case.x.clone().requires_grad_()
        self.parameters = list(loss.parameters())

    def __call__(self) -> None:
        self.clear()
        self.loss(self.x, self.labels).backward()

    def clear(self) -> None:
        """Free the gradients."""
        for tensor in (self.x, *self.parameters):
            tensor.grad = None


class NaiveArcFace(nn.Module):
    """The straightforward formula: normalize both, multiply, replace the target logit, cross-entropy."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        cosine = functional.linear(functional.normalize(x), functional.normalize(self.weight))
        target = cosine.gather(1, labels[:, None]).clamp(-1 + 1e-7, 1 - 1e-7)
        sine = torch.sqrt(1.0 - target.square())
        shifted = target * math.cos(MARGIN) - sine * math.sin(MARGIN)
        return functional.cross_entropy(SCALE * cosine.scatter(1, labels[:, None], shifted), labels)


def naive(case: Case, compiled: bool = False) -> HeadStep:
    """Return the step of `NaiveArcFace`, optionally through torch.compile."""
    module: nn.Module = NaiveArcFace(case.weight)
    return HeadStep(torch.compile(module, dynamic=False) if compiled else module, case)  # type: ignore[arg-type]


def pml(case: Case) -> HeadStep:
    """Return the step of pytorch-metric-learning's ArcFaceLoss, whose weight is [D, C]."""
    from pytorch_metric_learning.losses import ArcFaceLoss

    loss = ArcFaceLoss(case.classes, case.size, margin=math.degrees(MARGIN), scale=SCALE)
    loss.W = nn.Parameter(case.weight.T.contiguous())
    return HeadStep(loss, case)
