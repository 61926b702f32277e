"""The annealing that phases in the margin of A-Softmax: the blend (lambda cos + psi) / (1 + lambda)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from steradian.losses.ranges import in_range


@dataclass(frozen=True)
class LambdaAnnealing:
    """lambda(i) = max(lambda_min, lambda_base (1 + lambda_gamma i)^-lambda_power), i = 1, 2, ...

    Defaults are those of the SphereFace release (Liu et al. 2017, ``sphereface_model.prototxt``). Its minimum of 5
    leaves five parts of plain cosine to one part of margin; ``lambda_base=0, lambda_min=0`` turns annealing off.
    """

    lambda_base: float = 1000.0
    lambda_gamma: float = 0.12
    lambda_power: float = 1.0
    lambda_min: float = 5.0

    def __post_init__(self) -> None:
        for name in ("lambda_base", "lambda_gamma", "lambda_power", "lambda_min"):
            in_range(name, getattr(self, name), 0.0, 1e15, "of the lambda schedule")

    def strength(self, iteration: Tensor) -> Tensor:
        """Return the margin's weight 1 / (1 + lambda) after ``iteration`` steps, as a scalar, without a GPU sync."""
        weight = self.lambda_base * (1.0 + self.lambda_gamma * iteration) ** -self.lambda_power
        return 1.0 / (1.0 + weight.clamp(min=self.lambda_min))

    @property
    def last_strength(self) -> float:
        """The final weight of the margin, 1 / (1 + lambda_min)."""
        return 1.0 / (1.0 + self.lambda_min)
