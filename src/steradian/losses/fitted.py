"""Margins and scales that fit the number of classes and dimensions.

The margins and scales of papers are meant for thousands of classes in 512 dimensions. In 2-D, ten classes are 36
degrees apart, so a margin of 0.5 rad cannot be met. Here every technique is fitted alike: margins are fractions of
the typical spacing of C directions in D dimensions, and at the fitted scale a perfect embedding reaches probability
0.99. `create` keeps the defaults of the papers; training and comparisons start from the fitted options.
"""

from __future__ import annotations

import math
from typing import Any

from steradian.losses.checks import check_sizes
from steradian.losses.directions import typical_spacing
from steradian.losses.registry import preset
from steradian.losses.scales import scale_for

SCALE_ONLY = ("normface", "cocoloss", "focal", "hm-softmax", "sv-softmax", "prototypes", "proxy-anchor")
SPHERE = {"margin": 1.5, "lambda_base": 0.0, "lambda_min": 0.0}


def fits(spacing: float, scale: float) -> dict[str, dict[str, Any]]:
    """Return the fitted options of every loss for a spacing in radians and a scale."""
    scaled = {"scale": scale}

    def cosine(share: float) -> float:
        """Return a fraction of the largest additive cosine margin that the spacing allows."""
        return share * (1.0 - math.cos(spacing))

    table: dict[str, dict[str, Any]] = {
        "softmax": {"bias": False},
        "center": {"bias": False, "center_weight": 0.01},
        "l-softmax": SPHERE,
        "sphereface": {**scaled, **SPHERE},
        "sphereface-r": {**scaled, "margin": 1.5},
        "hyperspherical": {"slope": scale},
        "combined": {**scaled, "m2": spacing / 6.0, "m3": cosine(0.25)},
        "sphere-arc": {**scaled, "m_s": 2.0, "m_a": spacing / 3.0},
        "dynamic-arcface": {**scaled, "m_min": spacing / 30.0, "m_max": spacing / 3.0, "subcenters": 1},
        "magface": {**scaled, "l_a": 1.0, "u_a": 51.0, "l_m": spacing / 4.0, "u_m": spacing / 2.0, "lambda_g": 5.0},
        "adaface": {**scaled, "margin": cosine(0.4), "t_alpha": 0.1},
        "elastic-arcface": {**scaled, "margin": spacing / 3.0, "std": spacing / 30.0},
        "elastic-cosface": {**scaled, "margin": cosine(0.5), "std": cosine(0.05)},
        # The published initial bias assumes wrong classes at cosine 0. It is far off if they are near, and a single
        # bias learns slowly. Start halfway between the own class and the nearest other class instead.
        "sphereface2": {
            **scaled,
            "margin": cosine(0.25),
            "loss_weight": scale,
            "bias": -scale * ((1.0 + math.cos(spacing)) / 2.0) ** 3.0,
        },
        "uniface": {**scaled, "margin": cosine(0.25), "bias": scale * (1.0 + math.cos(spacing)) / 2.0},
        # Squared distances of unit vectors change twice as fast as cosines.
        "proxy-nca": {"scale": scale / 2.0},
        "triplet": {"margin": 0.5 * spacing},
        "contrastive": {"margin": 2.0 * math.sin(spacing / 2.0)},
        "supcon": {"temperature": 1.0 / scale, "base_temperature": 1.0 / scale},
        # At its goals c_y = 1 - m and c_k = m, a circle logit has slope 2 m gamma; with m = 0.25 this gives the scale.
        "circle": {"gamma": 2.0 * scale},
        "circle-pair": {"gamma": 2.0 * scale},
        **{name: {**scaled, "margin": spacing / 3.0} for name in ("arcface", "subcenter-arcface", "curricularface")},
        **{name: {**scaled, "margin": cosine(0.5)} for name in ("cosface", "unpg")},
        **{name: {} for name in ("adacos", "sigmoid", "n-pair", "multi-similarity")},
        **dict.fromkeys(SCALE_ONLY, scaled),
    }
    mined = {f"{prefix}-{base}": base for prefix in ("focal", "hm", "sv", "mv") for base in ("cosface", "arcface")}
    mined |= {f"{prefix}-sphereface": "sphereface" for prefix in ("focal", "hm", "sv")}
    return table | {name: table[base] for name, base in mined.items()}


FIXED_SCALE = "with the same fixed scale as the other losses instead of the norm, and without lambda annealing"
DEPARTURES = {
    "softmax": "without bias, so that every technique depends only on angles and norms",
    "center": "without bias, so that every technique depends only on angles and norms",
    "l-softmax": "without lambda annealing",
    "normface": "with the same fixed scale as the other losses instead of a learned one",
    "dynamic-arcface": "with one center per class",
    **dict.fromkeys(("sphereface", "focal-sphereface", "hm-sphereface", "sv-sphereface"), FIXED_SCALE),
}
"""Losses whose fit changes more than numbers, and how they differ from the published loss."""


def fitted_options(name: str, num_classes: int, embedding_size: int, **chosen: Any) -> dict[str, Any]:
    """Return options for the loss ``name`` that fit C classes in D dimensions.

    Args:
        name: a loss or alias.
        num_classes, embedding_size: C, D.
        chosen: options set by the caller; they override the fit and may select a variant.

    Raises:
        UsageError: unknown name.
        InputError: unknown variant.
    """
    row = preset(name)
    check_sizes(num_classes, embedding_size)
    spacing = typical_spacing(num_classes, embedding_size)
    fit = fits(spacing, min(64.0, scale_for(num_classes, 0.99, spacing)))[row.name]
    used = row.used(chosen)
    return {**{key: value for key, value in fit.items() if key in used}, **chosen}
