"""Losses in training loops that are not ours: compiled, unwatched optimizers, balanced batches."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
import torch

import steradian as st
from steradian import losses
from steradian.errors import InputError, OptionWarning

COMPILED = [name for name in losses.names() if name not in ("n-pair", "unpg")]
"""These two choose rows by their labels, so that the sizes in the graph depend on the data."""


def batch(size: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(size, 8, generator=generator), torch.arange(size) % 6


@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.filterwarnings("ignore")
def test_one_graph_without_breaks_gives_value_and_gradient(name: str) -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    eager = losses.create(name, num_classes=6, embedding_size=8)
    compiled = torch.compile(copy.deepcopy(eager), fullgraph=True, backend="aot_eager")
    values, gradients = [], []
    labels = batch()[1] if name != "sigmoid" else torch.nn.functional.one_hot(batch()[1], 6)
    for loss in (eager, compiled):
        for _ in range(2):  # the second step finds state that the first has moved
            embeddings = batch()[0].requires_grad_()
            torch.manual_seed(1)
            value = loss(embeddings, labels)
            value.backward()
        values.append(value.item())
        gradients.append(embeddings.grad)
    assert values[1] == pytest.approx(values[0], rel=1e-5)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-6)


def test_eager_still_checks_every_value() -> None:
    loss, (embeddings, labels) = losses.ArcFaceLoss(6, 8), batch()
    with pytest.raises(InputError, match="label 9 in row 3"):
        loss(embeddings, labels.index_fill(0, torch.tensor([3]), 9))


def steps(loss: torch.nn.Module, optimizer: torch.optim.Optimizer, count: int, every: int = 1) -> list[str]:
    embeddings, labels = batch()
    encoder = torch.nn.Linear(8, 8)
    optimizer.add_param_group({"params": list(encoder.parameters())})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in range(count):
            loss(encoder(embeddings), labels).backward()
            if step % every == every - 1:
                optimizer.step()
                optimizer.zero_grad()
    return [str(one.message) for one in caught if issubclass(one.category, OptionWarning)]


def test_a_loss_that_is_in_no_optimizer_is_noticed_once() -> None:
    loss = losses.ArcFaceLoss(6, 8, margin=0.2)
    other = torch.nn.Parameter(torch.zeros(1))
    said = steps(loss, torch.optim.SGD([other], 0.1), 130)
    assert len(said) == 1 and "loss.parameters()" in said[0]


def test_a_compiled_loss_that_is_in_no_optimizer_is_noticed_too() -> None:
    torch._dynamo.reset()
    loss = torch.compile(losses.ArcFaceLoss(6, 8, margin=0.2), fullgraph=True, backend="aot_eager")
    other = torch.nn.Parameter(torch.zeros(1))
    assert len(steps(loss, torch.optim.SGD([other], 0.1), 130)) == 1


@pytest.mark.parametrize("every", [1, 8, 64])
def test_one_that_is_there_is_not(every: int) -> None:
    loss = losses.ArcFaceLoss(6, 8, margin=0.2)
    assert steps(loss, torch.optim.SGD(loss.parameters(), 0.1), 260, every) == []


def test_batches_of_a_loader_hold_p_classes_with_k_images() -> None:
    labels = np.repeat(np.arange(10), 12)
    sampler = st.data.BalancedBatchSampler(labels, batch_size=20, images_per_class=4, seed=3)
    items = torch.utils.data.TensorDataset(torch.arange(120), torch.from_numpy(labels))
    loader = torch.utils.data.DataLoader(items, batch_sampler=sampler)
    epochs = [[chosen.tolist() for chosen, _ in loader] for _ in range(2)]
    assert len(epochs[0]) == len(sampler) == 6
    for chosen in epochs[0]:
        assert sorted(np.bincount(labels[chosen])[np.unique(labels[chosen])].tolist()) == [4] * 5
    assert epochs[0] != epochs[1], "every pass is another epoch"
    sampler.set_epoch(0)
    assert [chosen.tolist() for chosen, _ in loader] == epochs[0]
    parts = [st.data.BalancedBatchSampler(labels, 20, 4, seed=3, rank=rank, world_size=2) for rank in range(2)]
    first, second = ([tuple(one) for one in part] for part in parts)
    assert [*map(list, (one for pair in zip(first, second, strict=True) for one in pair))] == epochs[0]
    for wrong in ({"labels": [0.5, 1.5]}, {"rank": 2}):
        with pytest.raises(InputError):
            st.data.BalancedBatchSampler(**{"labels": labels, "batch_size": 20, "images_per_class": 4, **wrong})
