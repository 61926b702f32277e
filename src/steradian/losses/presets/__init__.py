"""The table of published losses, one row a name, and the few to try first."""

from __future__ import annotations

from steradian.losses.presets.margin_presets import MARGIN_PRESETS
from steradian.losses.presets.mining_presets import MINING_PRESETS
from steradian.losses.presets.pair_and_proxy_presets import PAIR_AND_PROXY_PRESETS
from steradian.losses.presets.preset_types import Preset
from steradian.losses.presets.softmax_presets import SOFTMAX_PRESETS

PRESETS: tuple[Preset, ...] = (*SOFTMAX_PRESETS, *MARGIN_PRESETS, *MINING_PRESETS, *PAIR_AND_PROXY_PRESETS)

RECOMMENDED: dict[str, str] = {
    "arcface": "The default. It adds an angle to the target, has the same meaning at every angle, and trains reliably.",
    "softmax": "The baseline of every comparison. A margin that does not beat it on your images is not worth having.",
    "cosface": "As good as arcface in most comparisons, with a constant gradient; it is milder at large angles.",
    "subcenter-arcface": "For labels with mistakes, or classes with several looks: each class has several centers.",
    "dynamic-arcface": "For long tails: rare classes get larger margins.",
    "multi-similarity": "For classes that come and go: it compares pairs of images and needs no list of classes.",
}
"""The names to reach for first, and why."""
