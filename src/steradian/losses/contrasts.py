"""Losses by similarity that compare an anchor with all other images of the batch at once; circle loss for both uses."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from steradian.losses.angles import softplus
from steradian.losses.centers import ClassCenters
from steradian.losses.checks import check_batch
from steradian.losses.pair_table import PairLoss, masked_logsumexp, prepared, sums_and_counts
from steradian.losses.ranges import in_range, one_of


class SupConLoss(PairLoss):
    """-temperature / base_temperature * mean_i mean_{p in P(i)} ln e^{c_ip / T} / sum_{a != i} e^{c_ia / T}.

    Supervised contrastive loss (Khosla et al. 2020), the "out" form. An anchor without a positive adds 0 and stays in
    the mean, as in the authors' code.

    Args:
        temperature, base_temperature: (0, 100]; the paper uses 0.1 for CIFAR.
    """

    def __init__(self, *, temperature: float = 0.07, base_temperature: float = 0.07) -> None:
        super().__init__()
        in_range("temperature", temperature, 1e-6, 100.0, "divides the cosines")
        in_range("base_temperature", base_temperature, 1e-6, 100.0, "a factor")
        self.temperature, self.base_temperature = temperature, base_temperature

    def statistics(self, values: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        logits = values / self.temperature
        partners = positive.sum(dim=1)
        log_sum = masked_logsumexp(logits, positive | negative)
        mean = torch.where(positive, logits, 0.0).sum(dim=1) / partners.clamp(min=1)
        loss = torch.where(partners > 0, torch.where(partners > 0, log_sum, 0.0) - mean, 0.0)
        return (self.temperature / self.base_temperature * loss)[:, None]

    def reduce(self, table: Tensor) -> Tensor:
        return table.mean()


class MultiSimilarityLoss(PairLoss):
    """mean_i [ ln(1 + sum_P e^{-alpha (c - base)}) / alpha + ln(1 + sum_N e^{beta (c - base)}) / beta ].

    Wang et al. 2019. ``mining`` "informative" keeps negatives with c > min_P - epsilon and positives with
    c < max_N + epsilon, and only anchors left with both kinds, as in the paper; "none" keeps every pair.

    Args:
        alpha, beta: slopes for positives and negatives, above 0. base: a cosine. epsilon: mining tolerance, a cosine.
    """

    def __init__(
        self,
        *,
        alpha: float = 2.0,
        beta: float = 50.0,
        base: float = 0.5,
        epsilon: float = 0.1,
        mining: Literal["informative", "none"] = "informative",
    ) -> None:
        super().__init__()
        in_range("alpha", alpha, 1e-6, 1e6, "a slope")
        in_range("beta", beta, 1e-6, 1e6, "a slope")
        in_range("base", base, -1.0, 1.0, "a cosine")
        in_range("epsilon", epsilon, 0.0, 2.0, "cosine units")
        one_of("mining", mining, ("informative", "none"))
        self.alpha, self.beta, self.base, self.epsilon, self.mining = alpha, beta, base, epsilon, mining

    def statistics(self, values: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        if self.mining == "informative":
            least = torch.where(positive, values, math.inf).amin(dim=1, keepdim=True)
            most = torch.where(negative, values, -math.inf).amax(dim=1, keepdim=True)
            positive, negative = positive & (values < most + self.epsilon), negative & (values > least - self.epsilon)
            both = (positive.any(dim=1) & negative.any(dim=1))[:, None]
            positive, negative = positive & both, negative & both
        pull = softplus(masked_logsumexp(-self.alpha * (values - self.base), positive)) / self.alpha
        push = softplus(masked_logsumexp(self.beta * (values - self.base), negative)) / self.beta
        return (pull + push)[:, None]

    def reduce(self, table: Tensor) -> Tensor:
        return table.mean()


def pulled(cosine: Tensor, margin: float, gamma: float) -> Tensor:
    """Return gamma [1 + margin - c]_+ (c - 1 + margin) for same-class cosines; the weight [.]_+ has no gradient."""
    return gamma * (1.0 + margin - cosine.detach()).clamp(min=0.0) * (cosine - 1.0 + margin)


def pushed(cosine: Tensor, margin: float, gamma: float) -> Tensor:
    """Return gamma [c + margin]_+ (c - margin) for different-class cosines; the weight [.]_+ has no gradient."""
    return gamma * (cosine.detach() + margin).clamp(min=0.0) * (cosine - margin)


class CircleLoss(ClassCenters):
    """Softmax cross-entropy over z_y = gamma a_p (c_y - 1 + margin) and z_j = gamma a_n (c_j - margin).

    Args:
        num_classes, embedding_size: C, D.
        margin: relaxation, [0, 1]. The paper uses 0.25 for faces and re-identification, 0.4 for fine-grained classes.
        gamma: scale; 256 for faces, 128 for re-identification, 80 for fine-grained classes.
    """

    def __init__(self, num_classes: int, embedding_size: int, margin: float = 0.25, gamma: float = 256.0) -> None:
        super().__init__(num_classes, embedding_size)
        in_range("margin", margin, 0.0, 1.0, "cosine units")
        in_range("gamma", gamma, 1e-6, 1e6, "a scale")
        self.margin, self.gamma = margin, gamma

    def training_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        cosine, columns = self.cosines(embeddings), labels[:, None]
        positive = pulled(cosine.gather(1, columns), self.margin, self.gamma)
        negative = pushed(cosine, self.margin, self.gamma)
        return functional.cross_entropy(negative.scatter(1, columns, positive), labels)

    def logits(self, embeddings: Tensor) -> Tensor:
        """Return gamma * cos(theta), [N, C]."""
        return self.gamma * self.cosines(embeddings)


class CirclePairLoss(PairLoss):
    """softplus(ln sum_N e^{gamma a_n (c - margin)} + ln sum_P e^{-gamma a_p (c - 1 + margin)}) (Sun et al. 2020).

    The weights a are those of `pulled` and `pushed`, without gradient. ``variant`` "anchor" follows the
    paper: one term per anchor, averaged over anchors with both positive and negative pairs; "batch" puts all pairs of
    the batch, each once, into a single term (TinyZeaMays' code).

    Args:
        margin: relaxation, [0, 1]. gamma: scale, above 0. variant: see above.
    """

    def __init__(
        self, *, margin: float = 0.25, gamma: float = 256.0, variant: Literal["anchor", "batch"] = "anchor"
    ) -> None:
        super().__init__()
        in_range("margin", margin, 0.0, 1.0, "cosine units")
        in_range("gamma", gamma, 1e-6, 1e6, "a scale")
        one_of("variant", variant, ("anchor", "batch"))
        self.margin, self.gamma, self.variant = margin, gamma, variant

    def statistics(self, values: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        pulls = masked_logsumexp(-pulled(values, self.margin, self.gamma), positive)
        pushes = masked_logsumexp(pushed(values, self.margin, self.gamma), negative)
        if self.variant == "batch":
            return torch.stack([pulls, pushes], dim=1)
        both = pulls.isfinite() & pushes.isfinite()
        total = torch.where(both, pulls, 0.0) + torch.where(both, pushes, 0.0)
        return sums_and_counts(softplus(total)[:, None], both[:, None])

    def reduce(self, table: Tensor) -> Tensor:
        if self.variant == "anchor":
            return super().reduce(table)
        # The matrix contains each pair twice.
        totals = masked_logsumexp(table.T, table.T.isfinite()) - math.log(2.0)
        return softplus(torch.where(totals.isfinite().all(), totals, -torch.inf).sum())


class NPairLoss(nn.Module):
    """Cross-entropy of each anchor's inner products with one positive of every class (Sohn 2016).

    In each class with at least two images, the first is the anchor and the second the positive. Vectors are not
    normalized; the term l2_reg / 4 (mean |a|^2 + mean |p|^2) limits their norms, as in TensorFlow's npairs_loss.

    Args:
        l2_reg: weight of the norm term, at least 0.
    """

    def __init__(self, *, l2_reg: float = 0.002) -> None:
        super().__init__()
        in_range("l2_reg", l2_reg, 0.0, 1e6, "a weight")
        self.l2_reg = l2_reg

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the scalar loss of embeddings [B, D] and int64 labels [B]; 0 if no class has two images."""
        check_batch(embeddings, labels, None, None)
        with torch.autocast(embeddings.device.type, enabled=False):
            vectors = prepared(embeddings, normalize=False)
            first, second = _pairs_of_classes(labels)
            if len(first) == 0:
                return 0.0 * vectors.sum()
            anchors, positives = vectors[first], vectors[second]
            targets = torch.arange(len(first), device=labels.device)
            loss = functional.cross_entropy(anchors @ positives.T, targets)
            squared_norms = anchors.square().sum(dim=1).mean() + positives.square().sum(dim=1).mean()
            return loss + 0.25 * self.l2_reg * squared_norms

    def extra_repr(self) -> str:
        return f"l2_reg={self.l2_reg}"


def _pairs_of_classes(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the indices of the first and second image of each class with at least two."""
    order = labels.argsort(stable=True)
    ordered = labels[order]
    starts = torch.ones_like(ordered, dtype=torch.bool)
    starts[1:] = ordered[1:] != ordered[:-1]
    first = starts.nonzero().squeeze(1)
    first = first[first + 1 < len(order)]
    first = first[~starts[first + 1]]
    return order[first], order[first + 1]
