"""The table of docs/how-to/from-pytorch-metric-learning.md: each row gives the same value and gradient."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from steradian import losses

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "from-pytorch-metric-learning.md"
ROWS = re.findall(r"^\| `([^`]+)`(?: with `([^`]+)`)? \| `([^`]+)` \|$", PAGE.read_text(), re.MULTILINE)
NUM_CLASSES, SIZE, COUNT = 6, 16, 24


def evaluate(loss: torch.nn.Module, miner: Any = None) -> tuple[float, torch.Tensor]:
    torch.manual_seed(1)
    embeddings = torch.randn(COUNT, SIZE, requires_grad=True)
    labels = torch.arange(COUNT) % NUM_CLASSES
    more = [] if miner is None else [miner(embeddings.detach(), labels)]
    value = loss(embeddings, labels, *more)
    value.backward()
    assert embeddings.grad is not None
    return value.item(), embeddings.grad


def test_the_table_is_read() -> None:
    assert len(ROWS) == 13


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("theirs", "miner", "ours"), ROWS, ids=[row[0].partition("(")[0] for row in ROWS])
def test_value_and_gradient_are_the_same(theirs: str, miner: str, ours: str) -> None:
    from pytorch_metric_learning import losses as their_losses
    from pytorch_metric_learning import miners, reducers

    torch.manual_seed(0)
    sizes = {"C": NUM_CLASSES, "D": SIZE}
    other = eval(theirs, {**vars(their_losses), **vars(reducers), **sizes})
    loss = eval(ours, {**vars(losses), "math": math, **sizes})
    for parameter in other.parameters():
        with torch.no_grad():
            loss.weight.copy_(parameter.T if len(parameter) == SIZE else parameter)
    expected, gradient = evaluate(other, eval(miner, vars(miners)) if miner else None)
    value, own_gradient = evaluate(loss)
    assert value == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(own_gradient, gradient, rtol=1e-3, atol=3e-6)
