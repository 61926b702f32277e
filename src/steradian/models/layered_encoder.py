"""What encoders of steradian itself have in common."""

from __future__ import annotations

from torch import Tensor, nn


class LayeredEncoder(nn.Module):
    """An encoder that is a sequence of layers."""

    num_features: int
    layers: nn.Sequential

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.layers(images)
        return features
