"""Presets of softmax losses without a margin: raw, on the sphere, and with a monotone score."""

from __future__ import annotations

from steradian.losses.penalties import CenterPull
from steradian.losses.presets.preset_types import MarginSoftmaxPreset, Variant
from steradian.losses.scores import PowerScore, ProjectedScore, StrictScore

SOFTMAX_PRESETS = (
    MarginSoftmaxPreset(
        name="softmax",
        formula="W_j·x + b_j",
        paper="Bridle, softmax regression",
        year=1990,
        sensible="no numbers to set",
        advice="The baseline. Both direction and norm of the embedding carry the class.",
        settings={"scale": "norm", "normalize_weight": False, "bias": True, "label_smoothing": 0.0},
    ),
    MarginSoftmaxPreset(
        name="center",
        formula="softmax + λ/2·mean |x - c_y|²",
        paper="Wen et al., A Discriminative Feature Learning Approach (center loss)",
        year=2016,
        sensible="center_weight 0.003..0.1, alpha 0.5",
        advice="Softmax that also pulls embeddings to running class means; affects norms as well as directions.",
        dials={"penalty": CenterPull},
        settings={"scale": "norm", "normalize_weight": False, "bias": True, "label_smoothing": 0.0},
    ),
    MarginSoftmaxPreset(
        name="normface",
        formula="s·cos(θ_j), s learned",
        paper="Wang et al., NormFace",
        year=2017,
        sensible="scale at least (C-1)/C·ln((C-1)P/(1-P)) to reach probability P",
        advice="Softmax on the sphere, no margin. Fix the scale, or learn it ('learnable') with a small learning rate.",
        settings={"scale": "learnable", "subcenters": 1, "label_smoothing": 0.0},
    ),
    MarginSoftmaxPreset(
        name="cocoloss",
        formula="s·cos(θ_j)",
        paper="Liu et al., Rethinking Feature Discrimination (COCO loss)",
        year=2017,
        sensible="scale 10..64",
        advice="NormFace with a fixed scale.",
        settings={"scale": 30.0, "subcenters": 1, "label_smoothing": 0.0},
    ),
    MarginSoftmaxPreset(
        name="adacos",
        formula="s·cos(θ_j), s = ln(B)/cos(min(π/4, median θ_y)), B = mean Σ e^{s·cos θ_k}",
        paper="Zhang et al., AdaCos",
        year=2019,
        sensible="no numbers to set; scale 'adacos' (dynamic) or 'adacos-fixed' (√2·ln(C-1))",
        advice="A scale that needs no tuning. With two or three classes it is limited to at least 1.",
        settings={"scale": "adacos", "subcenters": 1, "label_smoothing": 0.0},
    ),
    MarginSoftmaxPreset(
        name="hyperspherical",
        formula="f(cos θ_j) with f strictly increasing and learned: a·c + g(c)",
        paper="GreenWizard2015, dog-breed-classification (v1-v3); steradian (strict)",
        year=2023,
        sensible="slope near the scale for NormFace",
        advice="variant: strict; v1: (c+1)^P·|x|; v2: (c+1)·clip(R·|x|, 1, 1e9); v3: ReLU6 network, weights >= 0.",
        settings={"label_smoothing": 0.0},
        variants={
            "strict": Variant({"score": StrictScore}, {"scale": 1.0}),
            "v1": Variant({"score": PowerScore}, {"scale": "norm"}),
            # The 1 of c + 1 is the same for every class of a row, so softmax ignores it.
            "v2": Variant({}, {"scale": "clipped-norm"}),
            "v3": Variant({"score": ProjectedScore}, {"scale": 1.0}),
        },
    ),
)
