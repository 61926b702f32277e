"""An encoder that also tells what it saw on the way: averages of its last stages beside its final features.

The last layer of a pretrained encoder knows what its own classes need. Edges, textures and parts that other classes
need are further down, and an average of each stage keeps them at hardly any cost (system C: lower layers are general).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from steradian.errors import InputError


class StagedEncoder(nn.Module):
    """A timm model whose features are the means of its last ``stages`` stages and its final features, side by side.

    Input float [N, channels, size, size]; output [N, F].
    """

    def __init__(self, model: nn.Module, stages: int, channels: int, size: int) -> None:
        super().__init__()
        self.model: Any = model
        self.stages = stages
        training = model.training
        try:
            with torch.no_grad():
                self.num_features = int(self.eval()(torch.zeros(1, channels, size, size)).shape[1])
        except (AttributeError, AssertionError, TypeError, RuntimeError, NotImplementedError) as error:
            raise InputError(
                f"this encoder cannot tell of {stages} stages on the way ({error}). Use stages: 0."
            ) from error
        self.train(training)

    def forward(self, images: Tensor) -> Tensor:
        final, on_the_way = self.model.forward_intermediates(images, indices=self.stages)
        means = [stage.mean(dim=(2, 3)) for stage in on_the_way]
        return torch.cat([*means, self.model.forward_head(final, pre_logits=True)], dim=1)


def bare(encoder: nn.Module) -> nn.Module:
    """The encoder that weights belong to."""
    return encoder.model if isinstance(encoder, StagedEncoder) else encoder
