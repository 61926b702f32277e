"""Softplus, ln(1 + e^z), to full precision."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def softplus(z: Tensor) -> Tensor:
    """Return ln(1 + e^z). PyTorch returns z above 20 by default, an error of 2e-9; above 50 it is exact in float64."""
    return functional.softplus(z, threshold=50.0)
