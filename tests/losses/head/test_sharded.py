"""Classes divided over processes: the loss and the gradients of one process."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
from launch import run_ranks

WORKER = Path(__file__).parent / "shard_worker.py"


@pytest.mark.parametrize("counts", [[6, 5], [5, 0, 4]], ids=["two", "three, one of them without rows"])
def test_divided_classes_give_the_loss_and_gradients_of_one_process(programs: Path, counts: list[int]) -> None:
    for code, said, complaint in run_ranks(len(counts), WORKER, json.dumps(counts), python=programs / "python"):
        assert code == 0, complaint
        for label, errors in json.loads(said).items():
            for what, error in errors.items():
                assert error < 1e-10, f"{label}: {what} is {error} off"


DISAGREE = """
import torch
from torch import distributed
from steradian import losses
from steradian.errors import InputError

distributed.init_process_group("gloo")
try:
    losses.create("arcface", 10 + distributed.get_rank(), 4, head="sharded")
except InputError as error:
    print(error)
distributed.destroy_process_group()
"""

NOBODY = """
import torch
from torch import distributed
from steradian import losses
from steradian.errors import InputError

distributed.init_process_group("gloo")
loss = losses.create("arcface", 10, 4, head="sharded")
try:
    loss(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
except InputError as error:
    print(error)
distributed.destroy_process_group()
"""


@pytest.mark.parametrize(
    ("program", "words"),
    [(DISAGREE, ["num_classes=10", "num_classes=11", "same data and sizes"]), (NOBODY, ["empty"])],
    ids=["sizes differ", "no rows anywhere"],
)
def test_what_the_processes_cannot_agree_on_is_said_on_each(
    programs: Path, tmp_path: Path, program: str, words: list[str]
) -> None:
    script = tmp_path / "script.py"
    script.write_text(program)
    for code, said, complaint in run_ranks(2, script, python=programs / "python"):
        assert code == 0, complaint
        assert all(word in said for word in words), said
