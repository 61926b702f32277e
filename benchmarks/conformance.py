"""Write docs/conformance.md: compare every preset with float64 references and with another library.

    pip install pytorch-metric-learning
    python benchmarks/conformance.py

The references are those of the tests (tests/losses/oracle.py): formulas as plain loops, differentiated through acos.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests" / "losses"))
import oracle  # noqa: E402
from pytorch_metric_learning import distances, miners  # noqa: E402
from pytorch_metric_learning import losses as theirs  # noqa: E402

from steradian import losses  # noqa: E402

CLASSES, SIZE, ROWS = 7, 5, 14


def create_loss(name: str, options: dict[str, object]) -> nn.Module:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return losses.create(name, CLASSES, SIZE, **options)


def data(opposite: bool, loss: nn.Module) -> tuple[Tensor, Tensor]:
    """Return embeddings and labels, two rows per class: random, or nearly opposite to their own center."""
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(ROWS, SIZE, generator=generator)
    labels = torch.arange(CLASSES).repeat(2)
    if not opposite or not hasattr(loss, "weight"):
        return 3.0 * noise, labels
    centers = loss.weight.detach().view(CLASSES, -1, SIZE)[:, 0]
    return -centers.repeat(2, 1) + 0.05 * noise, labels


def gradients(
    value: Callable[[Tensor], Tensor], x: Tensor, weight: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return (value, dX, dW)."""
    x = x.clone().requires_grad_()
    if weight is not None:
        weight.grad = None
    loss = value(x)
    loss.backward()
    return loss.detach(), x.grad, None if weight is None or weight.grad is None else weight.grad.clone()


def error(actual: Tensor | None, expected: Tensor | None) -> float:
    """Return the largest difference divided by the largest entry of the reference."""
    if actual is None or expected is None:
        return 0.0
    return float((actual.double() - expected).abs().max() / expected.abs().max().clamp(min=1e-12))


def against_oracle(label: str, opposite: bool, dtype: torch.dtype) -> tuple[float, float]:
    """Return the relative differences of the value and of the gradients."""
    name, options, reference = oracle.CASES[label]
    torch.set_default_dtype(torch.float64)
    loss = create_loss(name, options).double()
    x, y = data(opposite, loss)
    weight = loss.weight.detach().clone().requires_grad_() if hasattr(loss, "weight") else torch.zeros(0)
    torch.manual_seed(5)
    expected = gradients(lambda e: reference(loss, e, weight, y), x, weight)
    loss = loss.to(dtype)
    parameter = loss.weight if isinstance(getattr(loss, "weight", None), nn.Parameter) else None
    torch.manual_seed(5)
    actual = gradients(lambda e: loss(e.to(dtype), y), x, parameter)
    torch.set_default_dtype(torch.float32)
    expected_dw = expected[2] if parameter is not None else None
    return error(actual[0], expected[0]), max(error(actual[1], expected[1]), error(actual[2], expected_dw))


@dataclass(frozen=True)
class Peer:
    """One of our losses and the corresponding loss of pytorch-metric-learning."""

    name: str
    options: dict[str, Any]
    make: Callable[[], nn.Module]
    words: str
    miner: Callable[[], nn.Module] | None = None
    draws: int = 1
    weights: Callable[[Tensor], dict[str, Tensor]] = field(default=lambda w: {})


def columns(weight: Tensor) -> dict[str, Tensor]:
    return {"W": weight.T.contiguous()}


def proxies(weight: Tensor) -> dict[str, Tensor]:
    return {"proxies": weight}


SIZES = {"num_classes": CLASSES, "embedding_size": SIZE}
DEGREES = 0.5 * 180.0 / torch.pi
OFF = {"lambda_base": 0.0, "lambda_min": 0.0}
SAME = "the same"
PEERS = [
    Peer("cosface", {}, lambda: theirs.CosFaceLoss(**SIZES), SAME, weights=columns),
    Peer(
        "arcface",
        {"past_pi": "linear"},
        lambda: theirs.ArcFaceLoss(**SIZES, margin=DEGREES),
        "the same (its margin is in degrees; the default of 28.6 is 0.49916 rad)",
        weights=columns,
    ),
    Peer(
        "arcface",
        {},
        lambda: theirs.ArcFaceLoss(**SIZES, margin=DEGREES),
        "differs only beyond θ + m = π: it jumps and continues linearly, ours continues without a jump",
        weights=columns,
    ),
    Peer(
        "subcenter-arcface",
        {"past_pi": "linear"},
        lambda: theirs.SubCenterArcFaceLoss(**SIZES, margin=DEGREES),
        SAME,
        weights=columns,
    ),
    Peer(
        "sphereface",
        {**OFF},
        lambda: theirs.SphereFaceLoss(**SIZES),
        "the same without λ annealing, which the peer lacks",
        weights=columns,
    ),
    Peer(
        "l-softmax",
        {"margin": 4.0, **OFF},
        lambda: theirs.LargeMarginSoftmaxLoss(**SIZES),
        "the same without λ annealing, which the peer lacks",
        weights=columns,
    ),
    Peer(
        "cocoloss",
        {"scale": 20.0},
        lambda: theirs.NormalizedSoftmaxLoss(**SIZES),
        "the same at s = 1/T",
        weights=columns,
    ),
    Peer("contrastive", {"variant": "linear"}, theirs.ContrastiveLoss, SAME),
    Peer(
        "contrastive",
        {},
        theirs.ContrastiveLoss,
        "another definition: ours is squared and averaged over all pairs (Hadsell et al.)",
    ),
    Peer("triplet", {"mining": "batch-all", "margin": 0.05}, theirs.TripletMarginLoss, SAME),
    Peer(
        "triplet",
        {"mining": "batch-all", "margin": "soft"},
        lambda: theirs.TripletMarginLoss(margin=0.0, smooth_loss=True),
        SAME,
    ),
    Peer(
        "triplet",
        {"mining": "semi-hard", "margin": 0.2},
        lambda: theirs.TripletMarginLoss(margin=0.2),
        "another rule: its miner keeps every negative within the margin and drops the others; for each pair ours takes "
        "the nearest negative beyond the positive (or else the farthest), as TensorFlow Addons does",
        miner=lambda: miners.TripletMarginMiner(margin=0.2, type_of_triplets="semihard"),
    ),
    Peer("multi-similarity", {"mining": "none"}, theirs.MultiSimilarityLoss, SAME),
    Peer(
        "multi-similarity",
        {},
        theirs.MultiSimilarityLoss,
        "the same with its miner",
        miner=lambda: miners.MultiSimilarityMiner(epsilon=0.1),
    ),
    Peer(
        "supcon",
        {"temperature": 0.1, "base_temperature": 0.1},
        theirs.SupConLoss,
        "the same when every row has a positive",
    ),
    Peer(
        "n-pair",
        {"l2_reg": 0.0},
        lambda: theirs.NPairsLoss(distance=distances.DotProductSimilarity(normalize_embeddings=False)),
        "the same for the same pair roles: it draws them at random, ours takes the first two images in order",
        draws=400,
    ),
    Peer(
        "circle-pair", {"margin": 0.4, "gamma": 80.0}, theirs.CircleLoss, "the same; it leaves out anchors with loss 0"
    ),
    Peer(
        "proxy-nca",
        {"variant": "softmax", "scale": 1.0},
        lambda: theirs.ProxyNCALoss(**SIZES, distance=distances.LpDistance(power=2)),
        "the same; the paper's sum leaves the target out (variant 'published')",
        weights=proxies,
    ),
    Peer("proxy-anchor", {}, lambda: theirs.ProxyAnchorLoss(**SIZES), SAME, weights=proxies),
]


def against_peer(peer: Peer, opposite: bool) -> tuple[float, float]:
    """Return the relative differences of the value and of dX to ours, for the closest of the peer's random draws."""
    torch.set_default_dtype(torch.float64)
    ours = create_loss(peer.name, peer.options).double()
    x, y = data(opposite, ours)
    expected = gradients(lambda e: ours(e, y), x, None)
    best = (float("inf"), float("inf"))
    for draw in range(peer.draws):
        torch.manual_seed(draw)
        other = peer.make().double()
        with torch.no_grad():
            for name, value in peer.weights(ours.weight.detach() if hasattr(ours, "weight") else x).items():
                getattr(other, name).copy_(value)
        mined = () if peer.miner is None else (peer.miner()(normalize(x), y),)
        actual = gradients(lambda e, other=other, mined=mined: other(e, y, *mined), x, None)
        best = min(best, (error(actual[0], expected[0]), error(actual[1], expected[1])))
    torch.set_default_dtype(torch.float32)
    return best


def number(value: float) -> str:
    return "0" if value == 0 else f"{value:.0e}" if value < 0.01 else f"{value:.2f}" if value == value else "NaN"


def page() -> str:
    lines = [
        "# Conformance",
        "",
        f"Written by `python benchmarks/conformance.py` on {date.today().isoformat()} from real runs: PyTorch "
        f"{version('torch').split('+')[0]}, pytorch-metric-learning {version('pytorch-metric-learning')}, on the CPU. "
        f"{ROWS} rows, {CLASSES} classes, {SIZE} dimensions. Embeddings are random, or nearly opposite to their own "
        "center, where angular margins pass π. Differences are relative to the largest entry of the reference.",
        "",
        "## Against the formulas",
        "",
        "The reference is the formula as plain loops in float64, differentiated by autograd through acos. Gradients",
        "are those of embeddings and centers: in float64, where both should agree to rounding, and in float32, as",
        "used in training. Some papers stop gradients on purpose (the weights of circle loss, the scale of",
        "AdaCos, the quality of AdaFace, the t of CurricularFace); the references stop them too.",
        "",
        "| loss | value, float64 | gradient, float64 | value, float32 | gradient, float32 |",
        "|---|---|---|---|---|",
    ]
    for label in sorted(oracle.CASES):
        cells = []
        for dtype in (torch.float64, torch.float32):
            pairs = [against_oracle(label, opposite, dtype) for opposite in (False, True)]
            cells += [number(max(pair[0] for pair in pairs)), number(max(pair[1] for pair in pairs))]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    lines += [
        "",
        "## Against pytorch-metric-learning",
        "",
        "Same centers, same batch, float64.",
        "",
        "| ours | theirs | anywhere: value | gradient | opposite: value | gradient | what differs |",
        "|---|---|---|---|---|---|---|",
    ]
    for peer in PEERS:
        options = ", ".join(f"{key}={value}" for key, value in peer.options.items())
        cells = [number(value) for opposite in (False, True) for value in against_peer(peer, opposite)]
        kind = type(peer.make()).__name__
        lines.append(
            f"| {peer.name}{f' ({options})' if options else ''} | {kind} | {' | '.join(cells)} | {peer.words} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (ROOT / "docs" / "conformance.md").write_text(page(), encoding="utf-8")
