"""Presets that stress hard images (weighting) or wrong classes that beat the target (emphasis), with any margin."""

from __future__ import annotations

from steradian.losses.emphasis import MisclassifiedVectors, SupportVectors
from steradian.losses.presets.margin_presets import MARGIN_PRESETS
from steradian.losses.presets.preset_types import COMMON, MarginSoftmaxPreset
from steradian.losses.weighting import Focal, HardMining

_BASES = {row.name: row for row in MARGIN_PRESETS if row.name in ("sphereface", "cosface", "arcface")}
_WANG = "Wang et al., SV-Softmax (naive mining + margin)"


def _mined(prefix: str, weighting: type, mean: str, sensible: str, base: MarginSoftmaxPreset) -> MarginSoftmaxPreset:
    """Return the preset ``base`` with a weighting added: same dials, same settings."""
    return MarginSoftmaxPreset(
        name=f"{prefix}-{base.name}",
        formula=f"{mean} of -log p_y, with {base.formula}",
        paper=_WANG,
        year=2018,
        sensible=f"{sensible}; otherwise as {base.name}",
        advice="Combines mining and margin independently: the baseline that SV-X improves on.",
        dials={**base.dials, "weighting": weighting},
        settings={**base.settings, **({} if base.name == "sphereface" else {"scale": 30.0})},
    )


MINING_PRESETS = (
    MarginSoftmaxPreset(
        name="focal",
        formula="mean (1 - p_y)^γ·(-log p_y), with s·cos(θ_j)",
        paper="Lin et al., Focal Loss",
        year=2017,
        sensible="gamma 0.5..3",
        advice="Gives easy images less weight. No alpha; divides by N; the gradient flows through the weight too.",
        dials={"weighting": Focal},
        settings={"scale": 30.0, "subcenters": 1, "label_smoothing": 0.0},
    ),
    MarginSoftmaxPreset(
        name="hm-softmax",
        formula="mean of the max(1, int(keep·N)) highest -log p_y, with s·cos(θ_j)",
        paper="Shrivastava et al., Online Hard Example Mining",
        year=2016,
        sensible="keep 0.5..0.95",
        advice="Leaves out the easiest images of each batch.",
        dials={"weighting": HardMining},
        settings={"scale": 30.0, "subcenters": 1, "label_smoothing": 0.0},
    ),
    *(_mined("focal", Focal, "focal", "gamma 0.5..3", base) for base in _BASES.values()),
    *(_mined("hm", HardMining, "hardest", "keep 0.5..0.95", base) for base in _BASES.values()),
    MarginSoftmaxPreset(
        name="sv-softmax",
        formula="s·cos(θ_y), wrong classes with c_k > c_y: s·(t·c_k + t - 1)",
        paper="Wang et al., Support Vector Guided Softmax Loss (arXiv 1812.11317)",
        year=2018,
        sensible="t 1.05..1.4; 1 is softmax",
        advice="Pushes wrong classes that beat the target harder. The loss jumps by s·(t-1)·(c_k+1) where c_k = c_y.",
        dials={"emphasis": SupportVectors},
        settings={"scale": 30.0, "subcenters": 1, "label_smoothing": 0.0},
    ),
    *(
        MarginSoftmaxPreset(
            name=f"sv-{base}",
            formula=f"{_BASES[base].formula}, wrong classes that beat it: s·(t·c_k + t - 1)",
            paper=f"Wang et al., Support Vector Guided Softmax Loss (SV-X-{short})",
            year=2018,
            sensible=f"t 1.05..1.4, margin as {base}",
            advice="Combines margin and mining: the margin decides which wrong classes are support vectors.",
            aliases=(f"sv-x-{short.lower()}",),
            dials={**_BASES[base].dials, "emphasis": SupportVectors},
            settings={"scale": 30.0, **COMMON},
        )
        for base, short in (("cosface", "AM"), ("arcface", "Arc"))
    ),
    MarginSoftmaxPreset(
        name="sv-sphereface",
        formula="|x|·(λ·cos(θ_y) + ψ(m·θ_y))/(1 + λ), wrong classes that beat it: |x|·(t·c_k + t - 1)",
        paper="Wang et al., Support Vector Guided Softmax Loss (SV-X-A)",
        year=2018,
        sensible="t 1.05..1.4, margin as sphereface",
        advice="Combines margin and mining on SphereFace as published: norm as scale, λ annealing.",
        dials={**_BASES["sphereface"].dials, "emphasis": SupportVectors},
        settings=_BASES["sphereface"].settings,
    ),
    *(
        MarginSoftmaxPreset(
            name=f"mv-{base}",
            formula=f"{_BASES[base].formula}, wrong classes that beat it: s·((t + 1)·c_k + t), or s·(c_k + t)",
            paper="Wang et al., Mis-classified Vector Guided Softmax Loss",
            year=2020,
            sensible=f"t 0.05..0.4; 0 is {base}",
            advice="SV-X with t counted from 0. variant: adaptive, fixed.",
            dials={**_BASES[base].dials, "emphasis": MisclassifiedVectors},
            settings={"scale": 32.0, **COMMON},
        )
        for base in ("cosface", "arcface")
    ),
)
