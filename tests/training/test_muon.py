"""Muon for filters: the formula in float64, any layout, and which parameters it updates."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from steradian.errors import InputError, UsageError
from steradian.training import Recipe, load_data, make_plan
from steradian.training.muon import RATE, Muon
from steradian.training.state import make_state

SHAPES = [(8, 4, 3, 3), (6, 1, 3, 3), (5, 9, 1, 1), (7, 3)]


def orthogonal(matrix: Tensor) -> Tensor:
    """Five steps of the quintic Newton-Schulz iteration with the constants of Jordan et al. 2024."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix / matrix.norm()
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def by_formula(weight: Tensor, gradients: list[Tensor], lr: float, decay: float) -> Tensor:
    """Nesterov momentum of .95, made orthogonal, of the root mean square .2 (Liu et al. 2025), in float64."""
    matrix = weight.double().flatten(1)
    momentum = torch.zeros_like(matrix)
    for gradient in gradients:
        flat = gradient.double().flatten(1)
        momentum = momentum + 0.05 * (flat - momentum)
        update = orthogonal(flat + 0.95 * (momentum - flat))
        matrix = matrix * (1 - lr * decay) - lr * 0.2 * max(matrix.shape) ** 0.5 * update
    return matrix.view(weight.shape)


@pytest.mark.parametrize("layout", ["contiguous", "channels last", "turned"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_update_follows_the_formula_in_every_layout(shape: tuple[int, ...], layout: str) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(shape, generator=generator)
    gradients = [torch.randn(shape, generator=generator) for _ in range(3)]
    wanted = by_formula(weight, gradients, lr=0.1, decay=0.5)
    if layout == "channels last" and len(shape) == 4:
        laid = weight.to(memory_format=torch.channels_last)
    elif layout == "turned":
        laid = weight.transpose(0, 1).clone(memory_format=torch.contiguous_format).transpose(0, 1)
    else:
        laid = weight.clone()
    parameter = nn.Parameter(laid)
    optimizer = Muon([{"params": [parameter], "weight_decay": 0.5}], lr=0.1)
    for gradient in gradients:
        parameter.grad = gradient
        optimizer.step()
    assert not torch.equal(parameter.detach(), weight)
    # The iteration runs in bfloat16, whose relative error is 2 ** -8.
    size = (wanted - weight).abs().max()
    assert (parameter.detach().double() - wanted).abs().max() < 0.03 * size
    assert optimizer.state[parameter]["momentum_buffer"].shape == parameter.shape


def test_a_weight_without_a_gradient_stays() -> None:
    first, second = nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(2, 3))
    optimizer = Muon([{"params": [first, second], "weight_decay": 0.5}], lr=0.1)
    first.grad, second.grad = torch.ones(2, 3), torch.ones(2, 3)
    optimizer.step()
    before, second.grad = second.detach().clone(), None
    optimizer.step()
    assert torch.equal(second, before) and not torch.equal(first, before)


def test_vectors_are_refused() -> None:
    with pytest.raises(InputError, match=r"shape \(4,\); give it to another optimizer"):
        Muon([{"params": [nn.Parameter(torch.ones(4))]}], lr=0.1)


def test_each_parameter_has_one_optimizer_and_filters_of_encoder_and_neck_have_muon() -> None:
    plan = make_plan(Recipe().changed(**{"training.optimizer": "muon"}), load_data(Recipe()))
    state = make_state(plan.model, plan.recipe.training)
    owned = [(p, o) for o in state.optimizers for group in o.param_groups for p in group["params"]]
    assert len({id(p) for p, _ in owned}) == len(owned) == len(list(state.named_parameters()))
    by_muon = {id(p) for p, o in owned if o is state.muon}
    parameters = [*plan.model.encoder.parameters(), *plan.model.neck.parameters()]
    assert by_muon == {id(p) for p in parameters if p.ndim in (2, 4)} != set()
    assert {group["factor"] for group in state.muon.param_groups} == {RATE}


def test_a_divided_encoder_is_refused() -> None:
    wanted = Recipe().changed(**{"training.optimizer": "muon", "training.shard_encoder": True})
    with pytest.raises(UsageError, match="training.optimizer=muon updates whole matrices"):
        make_plan(wanted, load_data(wanted))
