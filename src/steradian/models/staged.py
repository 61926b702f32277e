"""An encoder that appends the averages of its last stages to its final features.

The last layer of a pretrained encoder is specific to its classes. Lower layers detect edges, textures and parts that
other classes need, and an average of each stage adds them at little cost (system C: lower layers are general).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from steradian.errors import InputError
from steradian.models.efficientnet_lite import EfficientNetLite


class StagedEncoder(nn.Module):
    """A timm model whose features are the means of its last ``stages`` stages and its final features, concatenated.

    With a ``grid``, each of those stages is averaged in grid x grid cells instead, so that a feature on the left
    differs from one on the right: for pictures that are aligned, such as cut-out faces. Stages whose map has fewer than
    two places a cell and side are left out then.

    Input float [N, channels, size, size]; output [N, F].

    Attributes:
        sizes: number of features of each stage, then of the final ones; their sum is F.
    """

    def __init__(self, model: nn.Module, stages: int, channels: int, size: int, grid: int = 0) -> None:
        super().__init__()
        self.model: Any = model
        self.stages, self.grid = stages, grid
        try:
            # A trial on no memory, as when a model is loaded, would import torch's compiler: half a second.
            if isinstance(model, EfficientNetLite) and not grid:
                self.sizes = model.sizes(stages)
            else:
                self.sizes = self._tried_sizes(torch.zeros(1, channels, size, size))
        except (AttributeError, AssertionError, TypeError, RuntimeError, NotImplementedError) as error:
            raise InputError(
                f"this encoder does not return {stages} intermediate stages ({error}). Use stages: 0."
            ) from error
        self.num_features = sum(self.sizes)

    @torch.no_grad()
    def _tried_sizes(self, images: Tensor) -> tuple[int, ...]:
        training = self.model.training
        parts = self.eval()._parts(images)
        self.train(training)
        return tuple(int(part.shape[1]) for part in parts)

    def forward(self, images: Tensor, below: int = 0) -> Tensor:
        return torch.cat(self._parts(images, below), dim=1)

    def _parts(self, images: Tensor, below: int = 0) -> list[Tensor]:
        passed = {"below": below} if below else {}
        final, intermediates = self.model.forward_intermediates(images, indices=self.stages, **passed)
        if self.grid:
            fine = [stage for stage in intermediates if min(stage.shape[2:]) >= 2 * self.grid]
            means = [functional.adaptive_avg_pool2d(stage, self.grid).flatten(1) for stage in fine]
        else:
            means = [stage.mean(dim=(2, 3)) for stage in intermediates]
        return [*means, self.model.forward_head(final, pre_logits=True)]


def bare(encoder: nn.Module) -> nn.Module:
    """Return the encoder inside a `StagedEncoder`, or ``encoder`` itself."""
    return encoder.model if isinstance(encoder, StagedEncoder) else encoder
