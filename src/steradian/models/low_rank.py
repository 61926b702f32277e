"""Low-rank updates of linear layers (LoRA, Hu et al. 2021): few parameters learn, and merge into the weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

RANK, ALPHA = 8, 16.0


class LowRankLinear(nn.Module):
    """y = x (W + (α / r) B A)' + b with W, b fixed and A [r, in], B [out, r] learned; B starts at zero."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.register_buffer("weight", linear.weight.detach())
        self.register_buffer("bias", linear.bias.detach() if linear.bias is not None else None)
        self.down = nn.Parameter(linear.weight.new_empty(RANK, linear.in_features))
        self.up = nn.Parameter(linear.weight.new_zeros(linear.out_features, RANK))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def merged(self) -> Tensor:
        """Return W + (α / r) B A."""
        return self.weight + (ALPHA / RANK) * (self.up @ self.down)

    def forward(self, inputs: Tensor) -> Tensor:
        update = (inputs @ self.down.T) @ self.up.T
        return nn.functional.linear(inputs, self.weight, self.bias) + (ALPHA / RANK) * update


def add_low_rank(module: nn.Module) -> None:
    """Replace every linear layer inside ``module`` by a `LowRankLinear` that computes the same."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, LowRankLinear(child))
        else:
            add_low_rank(child)


@torch.no_grad()
def merged_state(module: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of ``module`` by the names that they have without `LowRankLinear`, updates merged."""
    state = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
    for name, child in module.named_modules():
        if isinstance(child, LowRankLinear):
            state[f"{name}.weight"] = child.merged()
            del state[f"{name}.down"], state[f"{name}.up"]
    return state
