"""Loss functions: one softmax loss with three dials (margin, emphasis, weighting), and smaller separate losses."""

from steradian.losses import constructors
from steradian.losses.adaptive import (
    AdaFaceMargin,
    AdaptiveMargin,
    ClassSizeAngle,
    ElasticArcMargin,
    ElasticCosMargin,
    MagFaceMargin,
)
from steradian.losses.annealing import LambdaAnnealing
from steradian.losses.binary import OneVersusRest, SigmoidLoss, SphereFace2Loss, UniFaceLoss
from steradian.losses.bounds import cosine_margin_bound
from steradian.losses.centers import ClassCenters
from steradian.losses.constructors import *  # noqa: F403  the typed constructors of the table
from steradian.losses.contrasts import CircleLoss, CirclePairLoss, MultiSimilarityLoss, NPairLoss, SupConLoss
from steradian.losses.dialed_centers import typical_dials
from steradian.losses.dials import Dials
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
from steradian.losses.presets import RECOMMENDED
from steradian.losses.presets.preset_types import HEAD_OPTIONS, Preset
from steradian.losses.proxies import PrototypeLoss, ProxyAnchorLoss, ProxyNCALoss
from steradian.losses.registry import create, names, preset
from steradian.losses.scales import adacos_scale, scale_bound
from steradian.losses.scores import PowerScore, ProjectedScore, StrictScore
from steradian.losses.trainable import Head
from steradian.losses.unified_negatives import UnifiedNegativesLoss
from steradian.losses.weighting import Focal, HardMining, Mean, Weighting

__all__ = [
    "HEAD_OPTIONS", "RECOMMENDED", "AdaFaceMargin", "AdaptiveMargin", "AdditiveAngle", "AdditiveCosine",
    "CenterPull", "CircleLoss", "CirclePairLoss", "ClassCenters", "ClassSizeAngle", "Combined", "ContrastiveLoss",
    "Curriculum", "Dials", "ElasticArcMargin", "ElasticCosMargin", "Emphasis", "Focal", "HardMining", "Head",
    "InterClassFilter", "LambdaAnnealing", "MagFaceMargin", "Margin", "MarginSoftmaxLoss", "Mean",
    "MisclassifiedVectors", "MultiSimilarityLoss", "Multiplicative", "NPairLoss", "NarrowedAngles", "NormReward",
    "OneVersusRest", "Penalty", "PowerScore", "Preset", "ProjectedScore", "PrototypeLoss", "ProxyAnchorLoss",
    "ProxyNCALoss", "SigmoidLoss", "SphereFace2Loss", "SphereThenArc", "StrictScore", "SupConLoss",
    "SupportVectors", "TripletLoss", "UniFaceLoss", "UnifiedNegativesLoss", "Weighting", "adacos_scale",
    "angle_margin_bound", "cosine_margin_bound", "create", "fitted_options", "names", "preset", "scale_bound",
    "spread_directions", "typical_dials", "typical_spacing",
]  # fmt: skip
__all__ += constructors.__all__


def __dir__() -> list[str]:
    return sorted(__all__)
