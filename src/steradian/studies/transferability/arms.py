"""The arms of a study of transfer, by the names of the paper (Yosinski et al. 2014)."""

from __future__ import annotations

from typing import Literal

Arm = Literal["base", "base x2", "BnB", "BnB+", "AnB", "AnB+", "random"]
MOVED: tuple[Arm, ...] = ("BnB", "BnB+", "AnB", "AnB+", "random")
