# Written from the table of losses by docs/reference/write.py; do not edit.
from collections.abc import Callable, Sequence
from typing import Literal

from steradian.losses.margin_softmax import MarginSoftmaxLoss
from steradian.losses.scales import Scale

CONSTRUCTORS: dict[str, Callable[..., MarginSoftmaxLoss]]
__all__: list[str]

def constructor_name(name: str) -> str: ...
def AdaCosLoss(
    num_classes: int, embedding_size: int, *, scale: Scale = "adacos", subcenters: int = 1,
    label_smoothing: float = 0.0, head: Literal["auto", "dense", "tiled", "sampled", "sharded"] = "auto",
    sample_rate: float | None = None, hard_share: float | None = None
) -> MarginSoftmaxLoss: ...
def AdaFaceLoss(
    num_classes: int, embedding_size: int, *, margin: float = 0.4, h: float = 0.333, t_alpha: float = 0.01,
    past_pi: str = "clamp", scale: Scale = 64.0, gradient: Literal["exact", "detached"] = "exact", subcenters: int = 1,
    label_smoothing: float = 0.0, head: Literal["auto", "dense", "tiled", "sampled", "sharded"] = "auto",
    sample_rate: float | None = None, hard_share: float | None = None
) -> MarginSoftmaxLoss: ...
def ArcFaceLoss(
    num_classes: int, embedding_size: int, *, margin: float = 0.5, past_pi: str = "extend", easy_margin: bool = False,
    scale: Scale = 64.0, gradient: Literal["exact", "detached"] = "exact", subcenters: int = 1,
    label_smoothing: float = 0.0, head: Literal["auto", "dense", "tiled", "sampled", "sharded"] = "auto",
    sample_rate: float | None = None, hard_share: float | None = None
) -> MarginSoftmaxLoss: ...
def CenterLoss(
    num_classes: int, embedding_size: int, *, center_weight: float = 0.008, alpha: float = 0.5, scale: Scale = "norm",
    normalize_weight: bool = False, bias: bool = True, label_smoothing: float = 0.0,
    head: Literal["auto", "dense", "tiled", "sampled", "sharded"] = "auto", sample_rate: float | None = None,
    hard_share: float | None = None
) -> MarginSoftmaxLoss: ...
def CocoLoss(
    num_classes: int, embedding_size: int, *, scale: Scale = 30.0, subcenters: int = 1, label_smoothing: float = 0.0,
    head: Literal["auto", "dense", "tiled", "sampled", "sharded"] = "auto", sample_rate: float | None = None,
    hard_share: float | None = None
) -> MarginSoftmaxLoss: ...
def CombinedLoss(
    num_classes: int, embedding_size: int, *, m1: float = 1.0, m2: float = 0.3, m3: float = 0.2,
    past_pi: str = "extend", scale: Scale = 64.0, gradient: Literal["exact", "detached"] = "exact", subcenters: int = 1,
    label_smoothing: float = 0.0, head: Literal["auto", "dense", "tiled", "sampled", "sharded"] = "auto",
    sample_rate: float | None = None, hard_share: float | None = None
) -> MarginSoftmaxLoss: ...
def CosFaceLoss(
    num_classes: int, embedding_size: int, *, margin: float = 0.35, easy_margin: bool = False, scale: Scale = 64.0,
    gradient: Literal["exact", "detached"] = "exact", subcenters: int = 1, label_smoothing: float = 0.0,
    head: Literal["auto", "dense", "tiled", "sampled", "sharded"] = "auto", sample_rate: float | None = None,
    hard_share: float | None = None
) -> MarginSoftmaxLoss: ...
def CurricularFaceLoss(
    num_classes: int, embedding_size: int, *, margin: float = 0.5, past_pi: str = "extend", easy_margin: bool = False,
    scale: Scale = 64.0, gradient: Literal["exact", "detached"] = "exact", subcenters: int = 1,
    label_smoothing: float = 0.0, head: Literal["auto", "dense", "tiled", "sampled", "sharded"] = "auto",
    sample_rate: float | None = None, hard_share: float | None = None
) -> MarginSoftmaxLoss: ...
def DynamicArcFaceLoss(
    num_classes: int, embedding_size: int, *, class_counts: Sequence[int] | None = None, m_min: float = 0.05,
    m_max: float = 0.5, past_pi: str = "extend", scale: Scale = 80.0, gradient: Literal["exact", "detached"] = "exact",
    subcenters: int = 3, label_smoothing: float = 0.0,
    head: Literal["auto", "dense", "tiled", "sampled", "sharded"] = "auto", sample_rate: float | None = None,
    hard_share: float | None = None
) -> MarginSoftmaxLoss: ...
def ElasticArcFaceLoss(
    num_classes: int, embedding_size: int, *, margin: float = 0.5, std: float = 0.05, variant: str = "plain",
    past_pi: str = "extend", scale: Scale = 64.0, gradient: Literal["exact", "detached"] = "exact", subcenters: int = 1,
    label_smoothing: float = 0.0, head: Literal["auto", "dense", "tiled", "sampled", "sharded"] = "auto",
    sample_rate: float | None = None, hard_share: float | None = None
) -> MarginSoftmaxLoss: ...
def ElasticCosFaceLoss(
    num_classes: int, embedding_size: int, *, margin: float = 0.35, std: float = 0.05, variant: str = "plain",
    scale: Scale = 64.0, gradient: Literal["exact", "detached"] = "exact", subcenters: int = 1,
    label_smoothing: float = 0.0, head: Literal["auto", "dense", "tiled", "sampled", "sharded"] = "auto",
    sample_rate: float | None = None, hard_share: float | None = None
) -> MarginSoftmaxLoss: ...
def FocalArcFaceLoss(
    num_classes: int, embedding_size: int, *, margin: float = 0.5, past_pi: str = "extend", easy_margin: bool = False,
    gamma: float = 2.0, scale: Scale = 30.0, gradient: Literal["exact", "detached"] = "exact", subcenters: int = 1,
    label_smoothing: float = 0.0, head: Literal["auto", "dense", "tiled", "sampled", "sharded"] = "auto",
    sample_rate: float | None = None, hard_share: float | None = None
) -> MarginSoftmaxLoss: ...
def FocalCosFaceLoss(
    num_classes: int, embedding_size: int, *, margin: float = 0.35, easy_margin: bool = False, gamma: float = 2.0,
    scale: Scale = 30.0, gradient: Literal["exact", "detached"] = "exact", subcenters: int = 1,
    label_smoothing: float = 0.0, head: Literal["auto", "dense", "tiled", "sampled", "sharded"] = "auto",
    sample_rate: float | None = None, hard_share: float | None = None
) -> MarginSoftmaxLoss: ...
def FocalLoss(
    num_classes: int, embedding_size: int, *, gamma: float = 2.0, scale: Scale = 30.0, subcenters: int = 1,
    label_smoothing: float = 0.0, head: Literal["auto", "dense", "tiled", "sampled", "sharded"] = "auto",
    sample_rate: float | None = None, hard_share: float | None = None
) -> MarginSoftmaxLoss: ...
def FocalSphereFaceLoss(
    num_classes: int, embedding_size: int, *, margin: float = 4.0, past_pi: str = "extend", lambda_base: float = 1000.0,
    lambda_gamma: float = 0.12, lambda_power: float = 1.0, lambda_min: float = 5.0, gamma: float = 2.0,
    scale: Scale = "norm", gradient: Literal["exact", "detached"] = "exact", subcenters: int = 1,
    label_smoothing: float = 0.0, head: Literal["auto", "dense", "tiled", "sampled", "sharded"] = "auto",
    sample_rate: float | None = None, hard_share: float | None = None
) -> MarginSoftmaxLoss: ...
def HMArcFaceLoss(
    num_classes: int, embedding_size: int, *, margin: float = 0.5, past_pi: str = "extend", easy_margin: bool = False,
    keep: float = 0.9, scale: Scale = 30.0, gradient: Literal["exact", "detached"] = "exact", subcenters: int = 1,
    label_smoothing: float = 0.0, head: Literal["auto", "dense", "tiled", "sampled", "sharded"] = "auto",
    sample_rate: float | None = None, hard_share: float | None = None
) -> MarginSoftmaxLoss: ...
def HMCosFaceLoss(
    num_classes: int, embedding_size: int, *, margin: float = 0.35, easy_margin: bool = False, keep: float = 0.9,
    scale: Scale = 30.0, gradient: Literal["exact", "detached"] = "exact", subcenters: int = 1,
    label_smoothing: float = 0.0, head: Literal["auto", "dense", "tiled", "sampled", "sharded"] = "auto",
    sample_rate: float | None = None, hard_share: float | None = None
) -> MarginSoftmaxLoss: ...
def HMSoftmaxLoss(
    num_classes: int, embedding_size: int, *, keep: float = 0.9, scale: Scale = 30.0, subcenters: int = 1,
    label_smoothing: float = 0.0, head: Literal["auto", "dense", "tiled", "sampled", "sharded"] = "auto",
    sample_rate: float | None = None, hard_share: float | None = None
) -> MarginSoftmaxLoss: ...
def HMSphereFaceLoss(
    num_classes: int, embedding_size: int, *, margin: float = 4.0, past_pi: str = "extend", lambda_base: float = 1000.0,
    lambda_gamma: float = 0.12, lambda_power: float = 1.0, lambda_min: float = 5.0, keep: float = 0.9,
    scale: Scale = "norm", gradient: Literal["exact", "detached"] = "exact", subcenters: int = 1,
    label_smoothing: float = 0.0, head: Literal["auto", "dense", "tiled", "sampled", "sharded"] = "auto",
    sample_rate: float | None = None, hard_share: float | None = None
) -> MarginSoftmaxLoss: ...
def HypersphericalLoss(
    num_classes: int, embedding_size: int, *, variant: str = "strict", slope: float = 16.0,
    label_smoothing: float = 0.0, head: Literal["auto", "dense", "tiled", "sampled", "sharded"] = "auto",
    sample_rate: float | None = None, hard_share: float | None = None
) -> MarginSoftmaxLoss: ...
def LSoftmaxLoss(
    num_classes: int, embedding_size: int, *, margin: float = 2.0, past_pi: str = "extend", lambda_base: float = 1000.0,
    lambda_gamma: float = 0.12, lambda_power: float = 1.0, lambda_min: float = 5.0, scale: Scale = "norm",
    normalize_weight: bool = False, gradient: Literal["exact", "detached"] = "exact", label_smoothing: float = 0.0,
    head: Literal["auto", "dense", "tiled", "sampled", "sharded"] = "auto", sample_rate: float | None = None,
    hard_share: float | None = None
) -> MarginSoftmaxLoss: ...
def MVArcFaceLoss(
    num_classes: int, embedding_size: int, *, margin: float = 0.5, past_pi: str = "extend", easy_margin: bool = False,
    t: float = 0.2, variant: str = "adaptive", scale: Scale = 32.0, gradient: Literal["exact", "detached"] = "exact",
    subcenters: int = 1, label_smoothing: float = 0.0,
    head: Literal["auto", "dense", "tiled", "sampled", "sharded"] = "auto", sample_rate: float | None = None,
    hard_share: float | None = None
) -> MarginSoftmaxLoss: ...
def MVCosFaceLoss(
    num_classes: int, embedding_size: int, *, margin: float = 0.35, easy_margin: bool = False, t: float = 0.2,
    variant: str = "adaptive", scale: Scale = 32.0, gradient: Literal["exact", "detached"] = "exact",
    subcenters: int = 1, label_smoothing: float = 0.0,
    head: Literal["auto", "dense", "tiled", "sampled", "sharded"] = "auto", sample_rate: float | None = None,
    hard_share: float | None = None
) -> MarginSoftmaxLoss: ...
def MagFaceLoss(
    num_classes: int, embedding_size: int, *, l_a: float = 10.0, u_a: float = 110.0, l_m: float = 0.45,
    u_m: float = 0.8, past_pi: str = "extend", easy_margin: bool = False, lambda_g: float = 35.0, scale: Scale = 64.0,
    gradient: Literal["exact", "detached"] = "exact", subcenters: int = 1, label_smoothing: float = 0.0,
    head: Literal["auto", "dense", "tiled", "sampled", "sharded"] = "auto", sample_rate: float | None = None,
    hard_share: float | None = None
) -> MarginSoftmaxLoss: ...
def NormFaceLoss(
    num_classes: int, embedding_size: int, *, scale: Scale = "learnable", subcenters: int = 1,
    label_smoothing: float = 0.0, head: Literal["auto", "dense", "tiled", "sampled", "sharded"] = "auto",
    sample_rate: float | None = None, hard_share: float | None = None
) -> MarginSoftmaxLoss: ...
def SVArcFaceLoss(
    num_classes: int, embedding_size: int, *, margin: float = 0.5, past_pi: str = "extend", easy_margin: bool = False,
    t: float = 1.2, variant: str = "adaptive", scale: Scale = 30.0, gradient: Literal["exact", "detached"] = "exact",
    subcenters: int = 1, label_smoothing: float = 0.0,
    head: Literal["auto", "dense", "tiled", "sampled", "sharded"] = "auto", sample_rate: float | None = None,
    hard_share: float | None = None
) -> MarginSoftmaxLoss: ...
def SVCosFaceLoss(
    num_classes: int, embedding_size: int, *, margin: float = 0.35, easy_margin: bool = False, t: float = 1.2,
    variant: str = "adaptive", scale: Scale = 30.0, gradient: Literal["exact", "detached"] = "exact",
    subcenters: int = 1, label_smoothing: float = 0.0,
    head: Literal["auto", "dense", "tiled", "sampled", "sharded"] = "auto", sample_rate: float | None = None,
    hard_share: float | None = None
) -> MarginSoftmaxLoss: ...
def SVSoftmaxLoss(
    num_classes: int, embedding_size: int, *, t: float = 1.2, variant: str = "adaptive", scale: Scale = 30.0,
    subcenters: int = 1, label_smoothing: float = 0.0,
    head: Literal["auto", "dense", "tiled", "sampled", "sharded"] = "auto", sample_rate: float | None = None,
    hard_share: float | None = None
) -> MarginSoftmaxLoss: ...
def SVSphereFaceLoss(
    num_classes: int, embedding_size: int, *, margin: float = 4.0, past_pi: str = "extend", lambda_base: float = 1000.0,
    lambda_gamma: float = 0.12, lambda_power: float = 1.0, lambda_min: float = 5.0, t: float = 1.2,
    variant: str = "adaptive", scale: Scale = "norm", gradient: Literal["exact", "detached"] = "exact",
    subcenters: int = 1, label_smoothing: float = 0.0,
    head: Literal["auto", "dense", "tiled", "sampled", "sharded"] = "auto", sample_rate: float | None = None,
    hard_share: float | None = None
) -> MarginSoftmaxLoss: ...
def SoftmaxLoss(
    num_classes: int, embedding_size: int, *, scale: Scale = "norm", normalize_weight: bool = False, bias: bool = True,
    label_smoothing: float = 0.0, head: Literal["auto", "dense", "tiled", "sampled", "sharded"] = "auto",
    sample_rate: float | None = None, hard_share: float | None = None
) -> MarginSoftmaxLoss: ...
def SphereArcLoss(
    num_classes: int, embedding_size: int, *, m_s: float = 2.0, m_a: float = 0.4, past_pi: str = "extend",
    scale: Scale = 64.0, gradient: Literal["exact", "detached"] = "exact", subcenters: int = 1,
    label_smoothing: float = 0.0, head: Literal["auto", "dense", "tiled", "sampled", "sharded"] = "auto",
    sample_rate: float | None = None, hard_share: float | None = None
) -> MarginSoftmaxLoss: ...
def SphereFaceLoss(
    num_classes: int, embedding_size: int, *, margin: float = 4.0, past_pi: str = "extend", lambda_base: float = 1000.0,
    lambda_gamma: float = 0.12, lambda_power: float = 1.0, lambda_min: float = 5.0, scale: Scale = "norm",
    gradient: Literal["exact", "detached"] = "exact", subcenters: int = 1, label_smoothing: float = 0.0,
    head: Literal["auto", "dense", "tiled", "sampled", "sharded"] = "auto", sample_rate: float | None = None,
    hard_share: float | None = None
) -> MarginSoftmaxLoss: ...
def SphereFaceRLoss(
    num_classes: int, embedding_size: int, *, variant: str = "v1", margin: float = 1.5,
    gradient: Literal["exact", "detached"] = "exact", scale: Scale = 30.0, subcenters: int = 1,
    label_smoothing: float = 0.0, head: Literal["auto", "dense", "tiled", "sampled", "sharded"] = "auto",
    sample_rate: float | None = None, hard_share: float | None = None
) -> MarginSoftmaxLoss: ...
def SubCenterArcFaceLoss(
    num_classes: int, embedding_size: int, *, margin: float = 0.5, past_pi: str = "extend", easy_margin: bool = False,
    scale: Scale = 64.0, gradient: Literal["exact", "detached"] = "exact", subcenters: int = 3,
    label_smoothing: float = 0.0, head: Literal["auto", "dense", "tiled", "sampled", "sharded"] = "auto",
    sample_rate: float | None = None, hard_share: float | None = None
) -> MarginSoftmaxLoss: ...
