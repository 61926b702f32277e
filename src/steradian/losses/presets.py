"""The table of published losses: one row a name, no bodies.

A row of the softmax family names its dials and its settings; a row of the small classes names the class.
Option names are the field names of the dials and the keyword arguments of the classes, so a new dial
brings its options with it.
"""

from __future__ import annotations

import abc
import dataclasses
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from steradian.losses.annealing import LambdaAnnealing
from steradian.losses.margin_softmax import MarginSoftmaxLoss
from steradian.losses.margins import AdditiveAngle, AdditiveCosine, Multiplicative, SphereThenArc
from steradian.losses.pairs import ContrastiveLoss, TripletLoss


@dataclass(frozen=True)
class Preset(abc.ABC):
    """What every row says about itself."""

    name: str
    formula: str
    paper: str
    year: int
    advice: str

    @abc.abstractmethod
    def options(self) -> dict[str, Any]:
        """The options this name takes, with their defaults."""

    @abc.abstractmethod
    def build(self, num_classes: int, embedding_size: int, options: Mapping[str, Any]) -> nn.Module:
        """The loss, from a full or partial set of its options."""


@dataclass(frozen=True)
class MarginSoftmaxPreset(Preset):
    """A row of the softmax family: dial classes, overrides of their defaults, settings of the module."""

    dials: Mapping[str, type] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def options(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for dial in self.dials.values():
            found |= {item.name: item.default for item in dataclasses.fields(dial)}
        return {**found, **self.settings, **self.defaults}

    def build(self, num_classes: int, embedding_size: int, options: Mapping[str, Any]) -> MarginSoftmaxLoss:
        chosen = {**self.options(), **options}
        dials = {
            place: dial(**{item.name: chosen[item.name] for item in dataclasses.fields(dial)})
            for place, dial in self.dials.items()
        }
        settings = {name: chosen[name] for name in self.settings}
        return MarginSoftmaxLoss(num_classes, embedding_size, **dials, **settings)


@dataclass(frozen=True)
class ModulePreset(Preset):
    """A row for a small class of its own; sizes are accepted and ignored."""

    module: Callable[..., nn.Module] = nn.Module

    def options(self) -> dict[str, Any]:
        return {name: item.default for name, item in inspect.signature(self.module).parameters.items()}

    def build(self, num_classes: int, embedding_size: int, options: Mapping[str, Any]) -> nn.Module:
        return self.module(**options)


PRESETS: tuple[Preset, ...] = (
    MarginSoftmaxPreset(
        name="softmax",
        formula="W_j·x + b_j",
        paper="Bridle 1990, softmax regression",
        year=1990,
        advice="The baseline. Direction and length of the embedding both carry the class.",
        settings={"scale": "norm", "normalize_weight": False, "bias": True},
    ),
    MarginSoftmaxPreset(
        name="normface",
        formula="s·cos(θ_j)",
        paper="Wang et al., NormFace",
        year=2017,
        advice="Softmax on the sphere: no margin. s at least ln((C-1)P/(1-P))·(C-1)/C to reach probability P.",
        settings={"scale": 30.0},
    ),
    MarginSoftmaxPreset(
        name="sphereface",
        formula="|x|·(λ·cos(θ_y) + ψ(m·θ_y)) / (1 + λ),  ψ(φ) = (-1)^k·cos(φ) - 2k",
        paper="Liu et al., SphereFace (A-Softmax)",
        year=2017,
        advice="m = 4 and λ ≥ 5 as published, with the norm as scale; a fixed scale and m in 1.35..2 train faster.",
        dials={"margin": Multiplicative, "annealing": LambdaAnnealing},
        defaults={"margin": 4.0},
        settings={"scale": "norm", "gradient": "exact"},
    ),
    MarginSoftmaxPreset(
        name="cosface",
        formula="s·(cos(θ_y) - m)",
        paper="Wang et al., CosFace; Wang et al., AM-Softmax",
        year=2018,
        advice="m in 0.1..0.4; in 2-D at most 1 - cos(2π/C). The gradient at the target is constant.",
        dials={"margin": AdditiveCosine},
        settings={"scale": 64.0, "gradient": "exact"},
    ),
    MarginSoftmaxPreset(
        name="arcface",
        formula="s·cos(θ_y + m)",
        paper="Deng et al., ArcFace",
        year=2019,
        advice="m in 0.1..0.5 rad; s = 64 is for 10,000 classes and more, 15..30 for tens. Monotone past θ + m > π.",
        dials={"margin": AdditiveAngle},
        settings={"scale": 64.0, "gradient": "exact"},
    ),
    MarginSoftmaxPreset(
        name="sphere-arc",
        formula="s·cos(θ_y + min((m_s - 1)·θ_y, m_a))",
        paper="steradian, after an idea in K. McGuigan, Deep-Clustering-Technique-Analysis",
        year=2022,
        advice="SphereFace near the center, ArcFace beyond θ* = m_a / (m_s - 1).",
        dials={"margin": SphereThenArc},
        settings={"scale": 64.0, "gradient": "exact"},
    ),
    ModulePreset(
        name="triplet",
        formula="[d(a, p) - d(a, n) + m]_+",
        paper="Schroff et al., FaceNet",
        year=2015,
        advice="Needs several images of a class in each batch. mining: batch-hard, semi-hard, semi-hard-drop.",
        module=TripletLoss,
    ),
    ModulePreset(
        name="contrastive",
        formula="½·d² for pairs of one class, ½·[m - d]_+² for others",
        paper="Hadsell et al., Dimensionality Reduction by Learning an Invariant Mapping",
        year=2006,
        advice="Needs several images of a class in each batch. variant: hadsell, linear.",
        module=ContrastiveLoss,
    ),
)
