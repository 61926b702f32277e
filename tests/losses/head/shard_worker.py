"""One process of a group: every loss of the family, divided, against the same loss whole. Prints errors as JSON."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import torch
from torch import distributed

sys.path.insert(0, str(Path(__file__).parents[1]))
import oracle

from steradian import losses
from steradian.errors import InputError

CLASSES, SIZE = 11, 5


def make(label: str, **more: object) -> losses.MarginSoftmaxLoss:
    name, options, _ = oracle.CASES[label]
    torch.manual_seed(0)
    options = {key: value for key, value in options.items() if key != "class_counts"}
    return losses.create(name, CLASSES, SIZE, **options, **more)


def relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    if found.numel() == 0 == wanted.numel():
        return 0.0
    return float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-6))


def compare(label: str, counts: list[int]) -> dict[str, float]:
    """Largest relative errors of loss and gradients, with batches of ``counts`` rows."""
    rank = distributed.get_rank()
    generator = torch.Generator().manual_seed(1)
    x = 3.0 * torch.randn(sum(counts), SIZE, generator=generator)
    y = torch.randint(0, CLASSES, (sum(counts),), generator=generator)
    here = slice(sum(counts[:rank]), sum(counts[: rank + 1]))

    whole, all_x = make(label, head="dense"), x.clone().requires_grad_()
    expected = whole(all_x, y)
    expected.backward()
    divided, own_x = make(label, head="sharded"), x[here].clone().requires_grad_()
    value = divided(own_x, y[here])
    value.backward()

    errors = {"value": relative(value.detach(), expected.detach()), "x": relative(own_x.grad, all_x.grad[here])}
    wanted = dict(whole.named_parameters())
    for name, parameter in divided.named_parameters():
        rows = divided.engine.rows if name == "weight" else slice(None)
        if name == "bias":
            rows = slice(divided.engine.shard.start, divided.engine.shard.stop)
        errors[name] = relative(parameter.grad, wanted[name].grad[rows] if wanted[name].ndim else wanted[name].grad)
    divided.eval()
    whole.eval()
    rows, right = divided.evaluate(x[here], y[here])
    all_rows, all_right = whole.evaluate(x, y)
    errors["evaluation"] = relative(rows.detach(), all_rows.detach()[here])
    errors["right"] = float((right != all_right[here]).sum())
    return errors


def more_ranks_than_classes(ranks: int) -> dict[str, float]:
    """Softmax with bias over fewer classes than processes: some hold none."""
    x, y = torch.randn(4, SIZE, generator=torch.Generator().manual_seed(2)), torch.zeros(4, dtype=torch.int64)
    values = []
    for head in ("dense", "sharded"):
        torch.manual_seed(0)
        loss = losses.create("softmax", max(1, ranks - 1), SIZE, head=head)
        every = x if head == "dense" else x[distributed.get_rank() :: ranks]
        value = loss(every, y[: len(every)])
        value.backward()
        values.append(value.detach())
    return {"value": relative(values[1], values[0])}


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_default_dtype(torch.float64)
    distributed.init_process_group("gloo")
    counts = json.loads(sys.argv[1])
    family = [label for label, (name, _, _) in oracle.CASES.items() if "head" in losses.preset(name).options()]
    found = {label: compare(label, counts) for label in family if "elastic" not in label}
    for drawn in (make("elastic-arcface", head="sharded"), make("elastic-arcface", head="sharded", sample_rate=0.5)):
        values = [torch.zeros(()) for _ in counts]
        distributed.all_gather(values, drawn(torch.randn(2, SIZE), torch.tensor([0, 1])).detach())
        found[f"elastic-arcface {drawn.engine.sampling}"] = {"value": float(max(values) - min(values))}
    found["more processes than classes"] = more_ranks_than_classes(len(counts))
    try:
        drawn.logits(torch.randn(2, SIZE))
    except InputError as error:
        found["logits"] = {"refused": float("only a part of the classes" not in str(error))}
    print(json.dumps(found))
    distributed.destroy_process_group()
    names = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
    if any("gloo" in name for name in names):
        raise RuntimeError(f"threads of the group outlive it: {names}")


if __name__ == "__main__":
    main()
