"""Presets of losses that have their own class because they do not fit the three-dial softmax."""

from __future__ import annotations

from steradian.losses.binary import SigmoidLoss, SphereFace2Loss, UniFaceLoss
from steradian.losses.contrasts import CircleLoss, CirclePairLoss, MultiSimilarityLoss, NPairLoss, SupConLoss
from steradian.losses.pairs import ContrastiveLoss, TripletLoss
from steradian.losses.presets.preset_types import ModulePreset
from steradian.losses.proxies import PrototypeLoss, ProxyAnchorLoss, ProxyNCALoss
from steradian.losses.unified_negatives import UnifiedNegativesLoss

PAIR_AND_PROXY_PRESETS = (
    ModulePreset(
        name="sigmoid",
        formula="mean over classes of -[y·log σ(z_j) + (1 - y)·log(1 - σ(z_j))],  z = W·x + b",
        paper="logistic regression, one versus rest",
        year=1958,
        sensible="no numbers to set",
        advice="For images with several labels or none: labels [N] or multi-hot [N, C]; thresholds per class.",
        module=SigmoidLoss,
    ),
    ModulePreset(
        name="sphereface2",
        formula="λ/s·[α·ζ(-z_y) + (1-α)·Σ ζ(z_j)],  z = s·(2((c+1)/2)^t - 1 ∓ m) + b,  ζ = softplus",
        paper="Wen et al., SphereFace2",
        year=2022,
        sensible="margin 0.2..0.5, scale 30..64, t 3, alpha 0.7..0.9",
        advice="One binary classifier per class: classes do not compete, and each probability is independent.",
        module=SphereFace2Loss,
    ),
    ModulePreset(
        name="circle",
        formula="γ·[1 + m - c_y]_+·(c_y - 1 + m), others γ·[c_k + m]_+·(c_k - m)",
        paper="Sun et al., Circle Loss",
        year=2020,
        sensible="(margin, gamma): faces (0.25, 256), re-identification (0.25, 128), fine-grained (0.4, 80)",
        advice="The farther a cosine is from its goal, the larger its weight. The weights carry no gradient.",
        module=CircleLoss,
    ),
    ModulePreset(
        name="uniface",
        formula="ζ(b - s·(c_y - m)) + l·Σ ζ(s·c_k - b),  ζ = softplus",
        paper="Zhou et al., UniFace",
        year=2023,
        sensible="margin 0.2..0.5, scale 64",
        advice="One threshold b for all classes: positives lie above it and negatives below, also across classes.",
        module=UniFaceLoss,
    ),
    ModulePreset(
        name="unpg",
        formula="-log e^{z_y}/(Σ_j e^{z_j} + Σ e^{s·c_n}), c_n the cosines of pairs of different classes in the batch",
        paper="Jung et al., Unified Negative Pair Generation",
        year=2022,
        sensible="wisk 0..1.5; margin and scale as cosface or arcface",
        advice="Pushes images away from images of other classes too, not only from centers. base: cosface, arcface.",
        module=UnifiedNegativesLoss,
    ),
    ModulePreset(
        name="prototypes",
        formula="mean (1 - cos(θ_y))², to fixed centers",
        paper="Mettes et al., Hyperspherical Prototype Networks",
        year=2019,
        sensible="D at least C - 1 gives the simplex",
        advice="Centers are spread before training and stay fixed.",
        module=PrototypeLoss,
    ),
    ModulePreset(
        name="proxy-nca",
        formula="-log e^{-s·d(x, p_y)}/Σ_{j≠y} e^{-s·d(x, p_j)},  d = |x - p|² of unit vectors",
        paper="Movshovitz-Attias et al., No Fuss Distance Metric Learning",
        year=2017,
        sensible="scale 1..32",
        advice="variant: published (target not in the sum, may be negative), softmax (in the sum).",
        module=ProxyNCALoss,
    ),
    ModulePreset(
        name="proxy-anchor",
        formula="mean_{p present} log(1 + Σ e^{-s·(c - m)}) + mean_p log(1 + Σ e^{s·(c + m)})",
        paper="Kim et al., Proxy Anchor Loss",
        year=2020,
        sensible="scale 32, margin 0.1",
        advice="Compares proxies with all images of a batch. Proxies need about 100 times the encoder's learning rate.",
        module=ProxyAnchorLoss,
    ),
    ModulePreset(
        name="triplet",
        formula="[d(a, p) - d(a, n) + m]_+",
        paper="Schroff et al., FaceNet",
        year=2015,
        sensible="margin 0.1..1, or 'soft'; FaceNet: squared=True, margin 0.2",
        advice="Needs several images per class and batch. mining: batch-all, batch-hard, semi-hard, semi-hard-drop.",
        module=TripletLoss,
    ),
    ModulePreset(
        name="contrastive",
        formula="½·d² for pairs of one class, ½·[m - d]_+² for others",
        paper="Hadsell et al., Dimensionality Reduction by Learning an Invariant Mapping",
        year=2006,
        sensible="margin 0.5..1.4 between unit vectors",
        advice="Needs several images per class and batch. variant: hadsell, linear.",
        module=ContrastiveLoss,
    ),
    ModulePreset(
        name="n-pair",
        formula="cross-entropy of x_a·x_p over one pair per class, + l2_reg/4·(|x_a|² + |x_p|²)",
        paper="Sohn, Improved Deep Metric Learning with Multi-class N-pair Loss",
        year=2016,
        sensible="l2_reg 0.0002..0.02",
        advice="Uses two images of each class; norms matter. Best with batches of P classes and 2 images each.",
        module=NPairLoss,
    ),
    ModulePreset(
        name="supcon",
        formula="-mean_p log e^{c_ip/T}/Σ_{a≠i} e^{c_ia/T}",
        paper="Khosla et al., Supervised Contrastive Learning",
        year=2020,
        sensible="temperature 0.05..0.5",
        advice="Large batches help. Every image of the class is a positive.",
        module=SupConLoss,
    ),
    ModulePreset(
        name="multi-similarity",
        formula="log(1 + Σ_P e^{-α(c - b)})/α + log(1 + Σ_N e^{β(c - b)})/β",
        paper="Wang et al., Multi-Similarity Loss",
        year=2019,
        sensible="alpha 2, beta 40..50, base 0.5..1, epsilon 0.1",
        advice="mining: informative (as published), none.",
        module=MultiSimilarityLoss,
    ),
    ModulePreset(
        name="circle-pair",
        formula="ζ(log Σ_N e^{γ·a_n·(c - m)} + log Σ_P e^{-γ·a_p·(c - 1 + m)}),  ζ = softplus",
        paper="Sun et al., Circle Loss",
        year=2020,
        sensible="as circle",
        advice="variant: anchor (one term per image), batch (one term for all pairs).",
        module=CirclePairLoss,
    ),
)
