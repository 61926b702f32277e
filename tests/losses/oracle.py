"""Float64 references written from the formulas alone, with plain loops and autograd through acos.

One function a name: (loss, x [N, D], w [C, D] or [C * K, D], y [N]) -> scalar. Of the loss they read only numbers that
were chosen or learned (scale, bias, the weights of a score), never code.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

Oracle = Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor]


def psi(phi: Tensor) -> Tensor:
    """(-1)^k cos(phi) - 2k, piece by piece."""
    value = torch.cos(phi)
    for k in range(1, 20):
        value = torch.where(phi >= k * math.pi, (-1) ** k * torch.cos(phi) - 2 * k, value)
    return torch.where(phi < 0, 2 - torch.cos(phi), value)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b) / (a.norm() * b.norm())


def same(c: Tensor, target: Tensor) -> Tensor:
    return c


def mean(rows: Tensor, p: Tensor) -> Tensor:
    return rows.sum() / len(rows)


def softmax_rows(
    x: Tensor,
    w: Tensor,
    y: Tensor,
    target: Callable[[Tensor, int], Tensor],
    *,
    scale: Callable[[int], Tensor | float],
    wrong: Callable[[Tensor, Tensor], Tensor] = same,
    subcenters: int = 1,
    score: Callable[[Tensor], Tensor] = lambda c: c,
    lengths: bool = False,
    smoothing: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """(-log p_y, p_y), [N] each, row by row and class by class; target(theta, row) is in units of a cosine."""
    losses, probabilities = [], []
    classes = len(w) // subcenters
    for i, label in enumerate(y.tolist()):
        cosines = [
            torch.stack([cosine(x[i], w[j * subcenters + k]) for k in range(subcenters)]).max() for j in range(classes)
        ]
        own = target(torch.acos(cosines[label]), i)
        row = [score(own if j == label else wrong(cosines[j], own)) for j in range(classes)]
        row = [scale(i) * z * (w[j].norm() if lengths else 1.0) for j, z in enumerate(row)]
        log_p = torch.stack(row) - torch.logsumexp(torch.stack(row), 0)
        losses.append(-(1 - smoothing) * log_p[label] - smoothing * log_p.sum() / classes)
        probabilities.append(log_p[label].exp())
    return torch.stack(losses), torch.stack(probabilities)


def family(target, s=64.0, wrong=same, weigh=mean, subcenters=1, **options) -> Oracle:
    def oracle(loss: nn.Module, x: Tensor, w: Tensor, y: Tensor) -> Tensor:
        def scale(i: int):
            return x[i].norm() if s == "norm" else s

        return weigh(*softmax_rows(x, w, y, target, scale=scale, wrong=wrong, subcenters=subcenters, **options))

    return oracle


def plain(theta: Tensor, i: int) -> Tensor:
    return torch.cos(theta)


def arc(m: float):
    return lambda theta, i: psi(theta + m)


def cos(m: float):
    return lambda theta, i: torch.cos(theta) - m


def annealed(m: float):
    # One step of the published annealing: lambda = 1000 / 1.12, kept above 5.
    lam = 1000 / 1.12
    return lambda theta, i: (lam * torch.cos(theta) + psi(m * theta)) / (1 + lam)


def support(t: float):
    return lambda c, target: t * c + t - 1 if c > target else c


def focal(rows: Tensor, p: Tensor) -> Tensor:
    return sum((1 - q) ** 2 * value for q, value in zip(p, rows, strict=True)) / len(rows)


def hardest(rows: Tensor, p: Tensor) -> Tensor:
    kept = max(1, int(0.9 * len(rows)))
    return sum(sorted(rows, key=lambda v: float(v.detach()), reverse=True)[:kept]) / kept


def softmax(loss, x, w, y):
    rows = []
    for i, label in enumerate(y.tolist()):
        z = torch.stack([x[i] @ w[j] + loss.bias[j].detach() for j in range(len(w))])
        rows.append(torch.logsumexp(z, 0) - z[label])
    return sum(rows) / len(rows)


def center(loss, x, w, y):
    # The centers start at 0.
    return softmax(loss, x, w, y) + 0.5 * 0.008 * sum(v @ v for v in x) / len(x)


def adacos(loss, x, w, y):
    old = math.sqrt(2) * math.log(len(w) - 1)
    angles = torch.stack([torch.acos(cosine(v, w[j])) for v, j in zip(x, y, strict=True)]).detach()
    total = 0.0
    for v, label in zip(x, y, strict=True):
        total += sum(math.exp(old * float(cosine(v, w[k]).detach())) for k in range(len(w)) if k != label)
    lower_median = sorted(angles.tolist())[(len(x) - 1) // 2]
    s = math.log(total / len(x)) / math.cos(min(math.pi / 4, lower_median))
    return family(plain, max(1.0, s))(loss, x, w, y)


def strict_score(loss, x, w, y):
    f = loss.score

    def plus(v: Tensor) -> Tensor:
        return torch.log1p(torch.exp(v))

    def bend(h: list[Tensor]) -> list[Tensor]:
        return [plus(v) for v in h[:5]] + [-plus(-v) for v in h[5:10]] + [torch.tanh(v) for v in h[10:]]

    def score(c: Tensor) -> Tensor:
        first = bend([plus(f.raw_first[i, 0]) * c + f.first_bias[i] for i in range(16)])
        second = [sum(plus(f.raw_second[j, i]) * first[i] for i in range(16)) + f.second_bias[j] for j in range(16)]
        curved = sum(plus(f.raw_third[0, j]) * v for j, v in enumerate(bend(second)))
        return (plus(f.raw_slope) + 0.01) * c + curved

    return family(plain, 1.0, score=score)(loss, x, w, y)


def curricular(loss, x, w, y):
    t = 0.01 * sum(cosine(v, w[j]) for v, j in zip(x, y, strict=True)).detach() / len(x)
    return family(arc(0.5), wrong=lambda c, target: c * (t + c) if c > target else c)(loss, x, w, y)


def magface(loss, x, w, y):
    norms = [v.norm().clamp(10, 110) for v in x]

    def target(theta: Tensor, i: int) -> Tensor:
        return psi(theta + (0.8 - 0.45) / 100 * (norms[i] - 10) + 0.45)

    return family(target)(loss, x, w, y) + 35 * sum(a / 110**2 + 1 / a for a in norms) / len(x)


def adaface(loss, x, w, y):
    norms = torch.stack([v.norm() for v in x]).detach().clamp(0.001, 100)
    spread = ((norms - norms.mean()) ** 2).sum() / (len(x) - 1)
    mu, sigma = 0.99 * 20 + 0.01 * norms.mean(), 0.99 * 100 + 0.01 * spread.sqrt()
    z = ((norms - mu) / (sigma + 1e-3) * 0.333).clamp(-1, 1)

    def target(theta: Tensor, i: int) -> Tensor:
        return torch.cos((theta - 0.4 * z[i]).clamp(0, math.pi)) - 0.4 - 0.4 * z[i]

    return family(target)(loss, x, w, y)


def elastic(margin: float, target) -> Oracle:
    def oracle(loss, x, w, y):
        torch.manual_seed(5)
        drawn = (margin + 0.05 * torch.randn(len(x), 1, dtype=torch.float64))[:, 0]
        return family(lambda theta, i: target(theta, drawn[i]))(loss, x, w, y)

    return oracle


def sigmoid(loss, x, w, y):
    total = 0.0
    for v, label in zip(x, y, strict=True):
        for j in range(len(w)):
            p = 1 / (1 + torch.exp(-(v @ w[j] + loss.bias[j].detach())))
            total = total - torch.log(p if j == label else 1 - p)
    return total / (len(x) * len(w))


def sphereface2(loss, x, w, y):
    total, b = 0.0, loss.bias.detach()
    for v, label in zip(x, y, strict=True):
        for j in range(len(w)):
            g = 2 * ((cosine(v, w[j]) + 1) / 2) ** 3 - 1
            if j == label:
                total = total + 0.7 * torch.log1p(torch.exp(-(40 * (g - 0.4) + b)))
            else:
                total = total + 0.3 * torch.log1p(torch.exp(40 * (g + 0.4) + b))
    return 50 / 40 * total / len(x)


def uniface(loss, x, w, y):
    total, b = 0.0, math.log(10 * len(w))
    for v, label in zip(x, y, strict=True):
        for j in range(len(w)):
            c = cosine(v, w[j])
            exponent = b - 64 * (c - 0.4) if j == label else 64 * c - b
            total = total + torch.log1p(torch.exp(exponent))
    return total / len(x)


def circle(loss, x, w, y):
    rows = []
    for v, label in zip(x, y, strict=True):
        logits = []
        for j in range(len(w)):
            c = cosine(v, w[j])
            if j == label:
                logits.append(256 * (1.25 - c.detach()).clamp(min=0) * (c - 0.75))
            else:
                logits.append(256 * (c.detach() + 0.25).clamp(min=0) * (c - 0.25))
        row = torch.stack(logits)
        rows.append(torch.logsumexp(row, 0) - row[label])
    return sum(rows) / len(rows)


def unpg(loss, x, w, y):
    pairs = [cosine(x[i], x[j]) for i in range(len(x)) for j in range(i) if y[i] != y[j]]
    low, high = torch.stack(pairs).detach().quantile(torch.tensor([0.25, 0.75], dtype=torch.float64))
    reach = 1.5 * (high - low)
    kept = [c for c in pairs if low - reach <= c <= high + reach]
    rows = []
    for v, label in zip(x, y, strict=True):
        z = [64 * (cosine(v, w[j]) - (0.5 if j == label else 0.0)) for j in range(len(w))]
        rows.append(torch.logsumexp(torch.stack(z + [64 * c for c in kept]), 0) - z[label])
    return sum(rows) / len(rows)


def prototypes(loss, x, w, y):
    return sum((1 - cosine(v, w[j])) ** 2 for v, j in zip(x, y, strict=True)) / len(x)


def proxy_nca(loss, x, w, y):
    rows = []
    for v, label in zip(x, y, strict=True):
        d = [((v / v.norm() - p / p.norm()) ** 2).sum() for p in w]
        others = torch.logsumexp(torch.stack([-32 * d[j] for j in range(len(w)) if j != label]), 0)
        rows.append(32 * d[label] + others)
    return sum(rows) / len(rows)


def proxy_anchor(loss, x, w, y):
    pull, push, present = 0.0, 0.0, 0
    for j in range(len(w)):
        mine = [torch.exp(-32 * (cosine(v, w[j]) - 0.1)) for v, label in zip(x, y, strict=True) if label == j]
        others = [torch.exp(32 * (cosine(v, w[j]) + 0.1)) for v, label in zip(x, y, strict=True) if label != j]
        if mine:
            present += 1
            pull = pull + torch.log(1 + sum(mine))
        push = push + torch.log(1 + sum(others)) if others else push
    return pull / present + push / len(w)


def distance(x: Tensor, i: int, j: int) -> Tensor:
    return (x[i] / x[i].norm() - x[j] / x[j].norm()).norm()


def triplet(loss, x, w, y):
    rows, n = [], len(x)
    for a in range(n):
        negatives = [distance(x, a, k) for k in range(n) if y[k] != y[a]]
        for p in range(n):
            if p != a and y[p] == y[a] and negatives:
                d = distance(x, a, p)
                farther = [v for v in negatives if v > d]
                rows.append((d - (min(farther) if farther else max(negatives)) + 0.2).clamp(min=0))
    return sum(rows) / len(rows)


def contrastive(loss, x, w, y):
    rows = []
    for i in range(len(x)):
        for j in range(len(x)):
            if i != j:
                d = distance(x, i, j)
                rows.append(0.5 * d**2 if y[i] == y[j] else 0.5 * (1 - d).clamp(min=0) ** 2)
    return sum(rows) / len(rows)


def n_pair(loss, x, w, y):
    chosen = {}
    for i, label in enumerate(y.tolist()):
        chosen.setdefault(label, []).append(i)
    pairs = [(found[0], found[1]) for _, found in sorted(chosen.items()) if len(found) > 1]
    rows, size = [], 0.0
    for k, (a, p) in enumerate(pairs):
        z = torch.stack([x[a] @ x[q] for _, q in pairs])
        rows.append(torch.logsumexp(z, 0) - z[k])
        size = size + x[a] @ x[a] + x[p] @ x[p]
    return sum(rows) / len(rows) + 0.002 * 0.25 * size / len(pairs)


def supcon(loss, x, w, y):
    rows, n = [], len(x)
    for i in range(n):
        others = [k for k in range(n) if k != i]
        total = torch.logsumexp(torch.stack([cosine(x[i], x[k]) / 0.07 for k in others]), 0)
        terms = [total - cosine(x[i], x[k]) / 0.07 for k in others if y[k] == y[i]]
        rows.append(sum(terms) / len(terms) if terms else torch.zeros(()))
    return sum(rows) / n


def multi_similarity(loss, x, w, y):
    total, n = 0.0 * x.sum(), len(x)
    for i in range(n):
        positives = [cosine(x[i], x[k]) for k in range(n) if k != i and y[k] == y[i]]
        negatives = [cosine(x[i], x[k]) for k in range(n) if y[k] != y[i]]
        if not positives or not negatives:
            continue
        hard_p = [c for c in positives if c < max(negatives) + 0.1]
        hard_n = [c for c in negatives if c > min(positives) - 0.1]
        if hard_p and hard_n:
            total = total + torch.log(1 + sum(torch.exp(-2 * (c - 0.5)) for c in hard_p)) / 2
            total = total + torch.log(1 + sum(torch.exp(50 * (c - 0.5)) for c in hard_n)) / 50
    return total / n


def circle_pair(loss, x, w, y):
    rows, n = [], len(x)
    for i in range(n):
        pulls, pushes = [], []
        for k in range(n):
            c = cosine(x[i], x[k])
            if k != i and y[k] == y[i]:
                pulls.append(-256 * (1.25 - c.detach()).clamp(min=0) * (c - 0.75))
            elif y[k] != y[i]:
                pushes.append(256 * (c.detach() + 0.25).clamp(min=0) * (c - 0.25))
        if pulls and pushes:
            z = torch.logsumexp(torch.stack(pulls), 0) + torch.logsumexp(torch.stack(pushes), 0)
            rows.append(torch.nn.functional.softplus(z))
    return sum(rows) / len(rows)


def bound(loss, x, w, y):
    c = len(w)
    return family(plain, (c - 1) / c * math.log((c - 1) * 0.99 / 0.01))(loss, x, w, y)


def dynamic(loss, x, w, y):
    # No counts: all classes get the largest margin.
    return family(arc(0.5), 80.0, subcenters=3)(loss, x, w, y)


ORACLES: dict[str, Oracle] = {
    "softmax": softmax,
    "center": center,
    "normface": bound,
    "cocoloss": family(plain, 30.0),
    "adacos": adacos,
    "hyperspherical": strict_score,
    "l-softmax": family(annealed(2.0), "norm", lengths=True),
    "sphereface": family(annealed(4.0), "norm"),
    "sphereface-r": family(lambda theta, i: torch.cos((1.5 * theta).clamp(max=math.pi)), 30.0),
    "cosface": family(cos(0.35)),
    "arcface": family(arc(0.5)),
    "combined": family(lambda theta, i: psi(theta + 0.3) - 0.2),
    "sphere-arc": family(lambda theta, i: psi(theta + theta.clamp(max=0.4))),
    "subcenter-arcface": family(arc(0.5), subcenters=3),
    "dynamic-arcface": dynamic,
    "curricularface": curricular,
    "magface": magface,
    "adaface": adaface,
    "elastic-arcface": elastic(0.5, lambda theta, m: psi(theta + m)),
    "elastic-cosface": elastic(0.35, lambda theta, m: torch.cos(theta) - m),
    "focal": family(plain, 30.0, weigh=focal),
    "hm-softmax": family(plain, 30.0, weigh=hardest),
    "focal-sphereface": family(annealed(4.0), "norm", weigh=focal),
    "focal-cosface": family(cos(0.35), 30.0, weigh=focal),
    "focal-arcface": family(arc(0.5), 30.0, weigh=focal),
    "hm-sphereface": family(annealed(4.0), "norm", weigh=hardest),
    "hm-cosface": family(cos(0.35), 30.0, weigh=hardest),
    "hm-arcface": family(arc(0.5), 30.0, weigh=hardest),
    "sv-softmax": family(plain, 30.0, wrong=support(1.2)),
    "sv-cosface": family(cos(0.35), 30.0, wrong=support(1.2)),
    "sv-arcface": family(arc(0.5), 30.0, wrong=support(1.2)),
    "sv-sphereface": family(annealed(4.0), "norm", wrong=support(1.2)),
    "mv-cosface": family(cos(0.35), 32.0, wrong=lambda c, t: 1.2 * c + 0.2 if c > t else c),
    "mv-arcface": family(arc(0.5), 32.0, wrong=lambda c, t: 1.2 * c + 0.2 if c > t else c),
    "sigmoid": sigmoid,
    "sphereface2": sphereface2,
    "uniface": uniface,
    "circle": circle,
    "unpg": unpg,
    "prototypes": prototypes,
    "proxy-nca": proxy_nca,
    "proxy-anchor": proxy_anchor,
    "triplet": triplet,
    "contrastive": contrastive,
    "n-pair": n_pair,
    "supcon": supcon,
    "multi-similarity": multi_similarity,
    "circle-pair": circle_pair,
}
"""Preset at its published defaults -> reference."""


def power_score(loss, x, w, y):
    f = loss.score.power.detach()
    return family(plain, "norm", score=lambda c: (c + 1) ** f)(loss, x, w, y)


def clipped_norm(loss, x, w, y):
    def oracle_scale(i: int) -> Tensor:
        return (loss.row_scale.ratio.detach() * x[i].norm()).clamp(1.0, 1e9)

    return mean(*softmax_rows(x, w, y, plain, scale=oracle_scale, score=lambda c: c + 1))


def projected_score(loss, x, w, y):
    f = loss.score

    def layer(linear: nn.Linear, h: list[Tensor]) -> list[Tensor]:
        weight = linear.weight.clamp(min=0)
        return [sum(weight[j, i] * v for i, v in enumerate(h)) + linear.bias[j] for j in range(len(weight))]

    def score(c: Tensor) -> Tensor:
        first = [v.clamp(0, 6) for v in layer(f.first, [c])]
        return layer(f.third, [v.clamp(0, 6) for v in layer(f.second, first)])[0].clamp(min=0)

    return family(plain, 1.0, score=score)(loss, x, w, y)


def triplets(rule) -> Oracle:
    """Every (a, p), each with the distances to its negatives."""

    def oracle(loss, x, w, y):
        rows = []
        for a in range(len(x)):
            positives = [distance(x, a, p) for p in range(len(x)) if p != a and y[p] == y[a]]
            negatives = [distance(x, a, k) for k in range(len(x)) if y[k] != y[a]]
            if positives and negatives:
                rows += rule(positives, negatives)
        return sum(rows) / len(rows) if rows else 0.0 * x.sum()

    return oracle


def soft(gap: Tensor) -> Tensor:
    return torch.log(1 + torch.exp(gap))


def circle_batch(loss, x, w, y):
    pulls, pushes = [], []
    for i in range(len(x)):
        for k in range(i):
            c = cosine(x[i], x[k])
            if y[k] == y[i]:
                pulls.append(-256 * (1.25 - c.detach()).clamp(min=0) * (c - 0.75))
            else:
                pushes.append(256 * (c.detach() + 0.25).clamp(min=0) * (c - 0.25))
    return torch.nn.functional.softplus(
        torch.logsumexp(torch.stack(pulls), 0) + torch.logsumexp(torch.stack(pushes), 0)
    )


def elastic_plus(loss, x, w, y):
    torch.manual_seed(5)
    drawn = sorted((0.5 + 0.05 * torch.randn(len(x), 1, dtype=torch.float64))[:, 0].tolist())
    near_first = sorted(range(len(x)), key=lambda i: -float(cosine(x[i], w[y[i]]).detach()))
    margin = {i: drawn[place] for place, i in enumerate(near_first)}
    return family(lambda theta, i: psi(theta + margin[i]))(loss, x, w, y)


def contrastive_linear(loss, x, w, y):
    near, far = [], []
    for i in range(len(x)):
        for j in range(len(x)):
            d = distance(x, i, j) if i != j else torch.zeros(())
            if i != j and y[i] == y[j]:
                near.append(d)
            elif i != j and d < 1:
                far.append(1 - d)
    return sum(near) / len(near) + sum(far) / len(far)


def multi_similarity_all(loss, x, w, y):
    total, n = 0.0, len(x)
    for i in range(n):
        positives = [torch.exp(-2 * (cosine(x[i], x[k]) - 0.5)) for k in range(n) if k != i and y[k] == y[i]]
        negatives = [torch.exp(50 * (cosine(x[i], x[k]) - 0.5)) for k in range(n) if y[k] != y[i]]
        total = total + (torch.log(1 + sum(positives)) / 2 if positives else 0.0)
        total = total + (torch.log(1 + sum(negatives)) / 50 if negatives else 0.0)
    return total / n


def unpg_arc(loss, x, w, y):
    pairs = [cosine(x[i], x[j]) for i in range(len(x)) for j in range(i) if y[i] != y[j]]
    low, high = torch.stack(pairs).detach().quantile(torch.tensor([0.25, 0.75], dtype=torch.float64))
    kept = [c for c in pairs if low <= c <= high]
    rows = []
    for v, label in zip(x, y, strict=True):
        c = [cosine(v, p) for p in w]
        z = [64 * (psi(torch.acos(c[j]) + 0.5) if j == label else c[j]) for j in range(len(w))]
        rows.append(torch.logsumexp(torch.stack(z + [64 * q for q in kept]), 0) - z[label])
    return sum(rows) / len(rows)


def rule(name: str):
    """Additive angle 0.5 beyond pi."""

    def target(theta: Tensor, i: int) -> Tensor:
        past = theta + 0.5 > math.pi
        return {
            "linear": torch.cos(theta) - 0.5 * math.sin(0.5) if past else torch.cos(theta + 0.5),
            "base": torch.cos(theta) if past else torch.cos(theta + 0.5),
            "plain": torch.cos(theta + 0.5),
            "clamp": torch.cos((theta + 0.5).clamp(max=math.pi)),
            "easy": psi(theta + 0.5) if torch.cos(theta) > 0 else torch.cos(theta),
        }[name]

    return target


COUNTS = [1, 2, 5, 10, 100, 1000, 3]


def dynamic_counts(loss, x, w, y):
    rare = [n**-0.25 for n in COUNTS]
    margins = [(t - min(rare)) / (max(rare) - min(rare)) * 0.45 + 0.05 for t in rare]
    return family(lambda theta, i: psi(theta + margins[y[i]]), 80.0, subcenters=3)(loss, x, w, y)


VARIANTS: dict[str, tuple[str, dict[str, object], Oracle]] = {
    "hyperspherical v1": ("hyperspherical", {"variant": "v1"}, power_score),
    "hyperspherical v2": ("hyperspherical", {"variant": "v2"}, clipped_norm),
    "hyperspherical v3": ("hyperspherical", {"variant": "v3"}, projected_score),
    "sphereface-r v0": ("sphereface-r", {"variant": "v0"}, family(lambda t, i: psi(1.5 * t), 30.0)),
    "sphereface-r v2": (
        "sphereface-r",
        {"variant": "v2"},
        family(plain, 30.0, wrong=lambda c, t: torch.cos(torch.acos(c) / 1.5)),
    ),
    "adacos fixed": ("adacos", {"scale": "adacos-fixed"}, family(plain, math.sqrt(2) * math.log(6))),
    "cosface bound": (
        "cosface",
        {"scale": "bound"},
        family(cos(0.35), 6 / 7 * math.log(6 * 0.99 / 0.01)),
    ),
    "arcface linear": ("arcface", {"past_pi": "linear"}, family(rule("linear"))),
    "arcface base": ("arcface", {"past_pi": "base"}, family(rule("base"))),
    "arcface plain": ("arcface", {"past_pi": "plain"}, family(rule("plain"))),
    "arcface clamp": ("arcface", {"past_pi": "clamp"}, family(rule("clamp"))),
    "arcface easy": ("arcface", {"easy_margin": True}, family(rule("easy"))),
    "cosface easy": (
        "cosface",
        {"easy_margin": True},
        family(lambda t, i: torch.cos(t) - 0.35 if torch.cos(t) > 0 else torch.cos(t)),
    ),
    "arcface smoothed": ("arcface", {"label_smoothing": 0.1}, family(arc(0.5), smoothing=0.1)),
    "combined CM2": (
        "combined",
        {"m1": 0.9, "m2": 0.4, "m3": 0.15},
        family(lambda t, i: psi(0.9 * t + 0.4) - 0.15),
    ),
    "dynamic by counts": ("dynamic-arcface", {"class_counts": COUNTS}, dynamic_counts),
    "elastic plus": ("elastic-arcface", {"variant": "plus"}, elastic_plus),
    "mv fixed": (
        "mv-arcface",
        {"variant": "fixed"},
        family(arc(0.5), 32.0, wrong=lambda c, t: c + 0.2 if c > t else c),
    ),
    "sv fixed": (
        "sv-softmax",
        {"variant": "fixed", "t": 1.4},
        family(plain, 30.0, wrong=lambda c, t: c + 0.4 if c > t else c),
    ),
    "uniface per class": ("uniface", {"variant": "per-class"}, uniface),
    "unpg arc": ("unpg", {"base": "arcface", "wisk": 0.0}, unpg_arc),
    "proxy-nca softmax": (
        "proxy-nca",
        {"variant": "softmax", "scale": 8.0},
        family(plain, 16.0),
    ),
    "triplet batch-all": (
        "triplet",
        {"mining": "batch-all"},
        triplets(lambda ps, ns: [p - n + 0.2 for p in ps for n in ns if p - n + 0.2 > 0]),
    ),
    "triplet batch-all soft": (
        "triplet",
        {"mining": "batch-all", "margin": "soft"},
        triplets(lambda ps, ns: [soft(p - n) for p in ps for n in ns]),
    ),
    "triplet batch-hard": (
        "triplet",
        {"mining": "batch-hard"},
        triplets(lambda ps, ns: [(max(ps) - min(ns) + 0.2).clamp(min=0)]),
    ),
    "triplet batch-hard soft": (
        "triplet",
        {"mining": "batch-hard", "margin": "soft"},
        triplets(lambda ps, ns: [soft(max(ps) - min(ns))]),
    ),
    "triplet semi-hard-drop": (
        "triplet",
        {"mining": "semi-hard-drop"},
        triplets(
            lambda ps, ns: [
                p - min(n for n in ns if n > p) + 0.2
                for p in ps
                if any(n > p for n in ns) and min(n for n in ns if n > p) - p <= 0.2
            ]
        ),
    ),
    "contrastive linear": ("contrastive", {"variant": "linear"}, contrastive_linear),
    "circle-pair batch": ("circle-pair", {"variant": "batch"}, circle_batch),
    "multi-similarity all": ("multi-similarity", {"mining": "none"}, multi_similarity_all),
}
"""Further published forms: label -> (preset, options, reference)."""

CASES: dict[str, tuple[str, dict[str, object], Oracle]] = {
    **{name: (name, {}, oracle) for name, oracle in ORACLES.items()},
    **VARIANTS,
}
