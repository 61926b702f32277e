"""A typed constructor for every row of the softmax family, made from the table: ``ArcFaceLoss(10, 64, margin=0.5)``.

The stub beside this file lists the signatures for editors and type checkers; ``docs/reference/write.py`` writes it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from steradian.losses.margin_softmax import MarginSoftmaxLoss
from steradian.losses.presets import PRESETS
from steradian.losses.presets.preset_types import SIZES, MarginSoftmaxPreset

SPELLED = {
    "adacos": "AdaCos", "adaface": "AdaFace", "arcface": "ArcFace", "cocoloss": "Coco", "cosface": "CosFace",
    "curricularface": "CurricularFace", "hm": "HM", "magface": "MagFace", "mv": "MV", "normface": "NormFace",
    "sphereface": "SphereFace", "subcenter": "SubCenter", "sv": "SV",
}  # fmt: skip


def constructor_name(name: str) -> str:
    """Return the constructor's name for a preset: "sv-arcface" -> "SVArcFaceLoss"."""
    return "".join(SPELLED.get(part, part.capitalize()) for part in name.split("-")) + "Loss"


def _constructor(row: MarginSoftmaxPreset) -> Callable[..., MarginSoftmaxLoss]:
    make, options = inspect.Parameter, row.options()
    sizes = [make(name, make.POSITIONAL_OR_KEYWORD) for name in SIZES]
    chosen = [make(name, make.KEYWORD_ONLY, default=value) for name, value in options.items()]
    signature = inspect.Signature([*sizes, *chosen])

    def construct(*arguments: Any, **chosen: Any) -> MarginSoftmaxLoss:
        given = signature.bind(*arguments, **chosen).arguments
        return row.build(given.pop("num_classes"), given.pop("embedding_size"), given)

    construct.__name__ = construct.__qualname__ = constructor_name(row.name)
    construct.__module__ = __name__
    construct.__doc__ = (
        f"Return the loss '{row.name}': {row.formula} ({row.paper}, {row.year}).\n\n"
        f"{row.advice}\n\nSensible values: {row.sensible}. See `steradian.losses.create` for what is raised."
    )
    construct.__signature__ = signature  # type: ignore[attr-defined]
    return construct


CONSTRUCTORS: dict[str, Callable[..., MarginSoftmaxLoss]] = {
    constructor_name(row.name): _constructor(row) for row in PRESETS if isinstance(row, MarginSoftmaxPreset)
}
globals().update(CONSTRUCTORS)
__all__ = list(CONSTRUCTORS)
