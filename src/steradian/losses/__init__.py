"""What is optimized: one softmax with three dials (margin, emphasis, weighting), and small losses beside it."""

from steradian.losses.adaptive import (
    AdaptiveMargin,
    ClassSizeAngle,
    ElasticAngle,
    ElasticCosine,
    MagneticAngle,
    QualityMargin,
)
from steradian.losses.annealing import LambdaAnnealing
from steradian.losses.binary import OneVersusRest, SigmoidLoss, SphereFace2Loss, UniFaceLoss
from steradian.losses.bounds import cosine_margin_bound
from steradian.losses.centers import ClassCenters
from steradian.losses.circle import CircleLoss
from steradian.losses.contrasts import CirclePairLoss, MultiSimilarityLoss, NPairLoss, SupConLoss
from steradian.losses.directions import angle_margin_bound, spread_directions, typical_spacing
from steradian.losses.emphasis import (
    Curriculum,
    Emphasis,
    InterClassFilter,
    MisclassifiedVectors,
    NarrowedAngles,
    SupportVectors,
)
from steradian.losses.fitted import fitted_options
from steradian.losses.margin_softmax import MarginSoftmaxLoss
from steradian.losses.margins import AdditiveAngle, AdditiveCosine, Combined, Margin, Multiplicative, SphereThenArc
from steradian.losses.pairs import ContrastiveLoss, TripletLoss
from steradian.losses.penalties import CenterPull, NormReward, Penalty
from steradian.losses.presets.rows import HEAD_OPTIONS, Preset
from steradian.losses.prototypes import PrototypeLoss
from steradian.losses.proxies import ProxyAnchorLoss, ProxyNCALoss
from steradian.losses.registry import create, names, preset
from steradian.losses.scales import adacos_scale, scale_bound
from steradian.losses.scores import PowerScore, ProjectedScore, StrictScore
from steradian.losses.unified_negatives import UnifiedNegativesLoss
from steradian.losses.weighting import Focal, HardMining, Mean, Weighting

__all__ = [
    "HEAD_OPTIONS",
    "AdaptiveMargin",
    "AdditiveAngle",
    "AdditiveCosine",
    "CenterPull",
    "CircleLoss",
    "CirclePairLoss",
    "ClassCenters",
    "ClassSizeAngle",
    "Combined",
    "ContrastiveLoss",
    "Curriculum",
    "ElasticAngle",
    "ElasticCosine",
    "Emphasis",
    "Focal",
    "HardMining",
    "InterClassFilter",
    "LambdaAnnealing",
    "MagneticAngle",
    "Margin",
    "MarginSoftmaxLoss",
    "Mean",
    "MisclassifiedVectors",
    "MultiSimilarityLoss",
    "Multiplicative",
    "NPairLoss",
    "NarrowedAngles",
    "NormReward",
    "OneVersusRest",
    "Penalty",
    "PowerScore",
    "Preset",
    "ProjectedScore",
    "PrototypeLoss",
    "ProxyAnchorLoss",
    "ProxyNCALoss",
    "QualityMargin",
    "SigmoidLoss",
    "SphereFace2Loss",
    "SphereThenArc",
    "StrictScore",
    "SupConLoss",
    "SupportVectors",
    "TripletLoss",
    "UniFaceLoss",
    "UnifiedNegativesLoss",
    "Weighting",
    "adacos_scale",
    "angle_margin_bound",
    "cosine_margin_bound",
    "create",
    "fitted_options",
    "names",
    "preset",
    "scale_bound",
    "spread_directions",
    "typical_spacing",
]
