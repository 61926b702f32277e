"""Loss functions: one softmax loss with three dials (margin, emphasis, weighting), and smaller separate losses."""

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
from steradian.losses.circle import CircleLoss
from steradian.losses.constructors import (
    AdaCosLoss,
    AdaFaceLoss,
    ArcFaceLoss,
    CenterLoss,
    CocoLoss,
    CombinedLoss,
    CosFaceLoss,
    CurricularFaceLoss,
    DynamicArcFaceLoss,
    ElasticArcFaceLoss,
    ElasticCosFaceLoss,
    FocalArcFaceLoss,
    FocalCosFaceLoss,
    FocalLoss,
    FocalSphereFaceLoss,
    HMArcFaceLoss,
    HMCosFaceLoss,
    HMSoftmaxLoss,
    HMSphereFaceLoss,
    HypersphericalLoss,
    LSoftmaxLoss,
    MagFaceLoss,
    MVArcFaceLoss,
    MVCosFaceLoss,
    NormFaceLoss,
    SoftmaxLoss,
    SphereArcLoss,
    SphereFaceLoss,
    SphereFaceRLoss,
    SubCenterArcFaceLoss,
    SVArcFaceLoss,
    SVCosFaceLoss,
    SVSoftmaxLoss,
    SVSphereFaceLoss,
)
from steradian.losses.contrasts import CirclePairLoss, MultiSimilarityLoss, NPairLoss, SupConLoss
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
from steradian.losses.prototypes import PrototypeLoss
from steradian.losses.proxies import ProxyAnchorLoss, ProxyNCALoss
from steradian.losses.registry import create, names, preset
from steradian.losses.scales import adacos_scale, scale_bound
from steradian.losses.scores import PowerScore, ProjectedScore, StrictScore
from steradian.losses.trainable import Head
from steradian.losses.unified_negatives import UnifiedNegativesLoss
from steradian.losses.weighting import Focal, HardMining, Mean, Weighting

__all__ = [
    "HEAD_OPTIONS", "RECOMMENDED", "AdaCosLoss", "AdaFaceLoss", "AdaFaceMargin", "AdaptiveMargin", "AdditiveAngle",
    "AdditiveCosine", "ArcFaceLoss", "CenterLoss", "CenterPull", "CircleLoss", "CirclePairLoss", "ClassCenters",
    "ClassSizeAngle", "CocoLoss", "Combined", "CombinedLoss", "ContrastiveLoss", "CosFaceLoss", "CurricularFaceLoss",
    "Curriculum", "Dials", "DynamicArcFaceLoss", "ElasticArcFaceLoss", "ElasticArcMargin", "ElasticCosFaceLoss",
    "ElasticCosMargin", "Emphasis", "Focal", "FocalArcFaceLoss", "FocalCosFaceLoss", "FocalLoss",
    "FocalSphereFaceLoss", "HMArcFaceLoss", "HMCosFaceLoss", "HMSoftmaxLoss", "HMSphereFaceLoss", "HardMining",
    "Head", "HypersphericalLoss", "InterClassFilter", "LSoftmaxLoss", "LambdaAnnealing", "MVArcFaceLoss",
    "MVCosFaceLoss", "MagFaceLoss", "MagFaceMargin", "Margin", "MarginSoftmaxLoss", "Mean", "MisclassifiedVectors",
    "MultiSimilarityLoss", "Multiplicative", "NPairLoss", "NarrowedAngles", "NormFaceLoss", "NormReward",
    "OneVersusRest", "Penalty", "PowerScore", "Preset", "ProjectedScore", "PrototypeLoss", "ProxyAnchorLoss",
    "ProxyNCALoss", "SVArcFaceLoss", "SVCosFaceLoss", "SVSoftmaxLoss", "SVSphereFaceLoss", "SigmoidLoss",
    "SoftmaxLoss", "SphereArcLoss", "SphereFace2Loss", "SphereFaceLoss", "SphereFaceRLoss", "SphereThenArc",
    "StrictScore", "SubCenterArcFaceLoss", "SupConLoss", "SupportVectors", "TripletLoss", "UniFaceLoss",
    "UnifiedNegativesLoss", "Weighting", "adacos_scale", "angle_margin_bound", "cosine_margin_bound", "create",
    "fitted_options", "names", "preset", "scale_bound", "spread_directions", "typical_dials", "typical_spacing",
]  # fmt: skip


def __dir__() -> list[str]:
    return sorted(__all__)
