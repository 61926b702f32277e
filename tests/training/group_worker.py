"""One process of a group that trains digits by a recipe; stops, dies or finishes as it is told."""

from __future__ import annotations

import json
import os
import signal
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import torch

from steradian.errors import SteradianError
from steradian.training import Recipe, RunFolder, load_data, make_plan, train
from steradian.training import checkpoint as checkpoints
from steradian.training import run as runs
from steradian.training.distributed import is_rank_zero, process_group, rank

CHANGES = {"embedding_size": 4, "training.epochs": 2, "training.batch_size": 50, "views": None}


def digits(changes: dict[str, object] | None = None):
    whole = load_data(Recipe().changed(**(changes or {})))
    few = replace(whole.splits, train=whole.splits.train[:201], validation=whole.splits.validation[:41])
    return replace(whole, splits=few)


def main() -> None:
    folder, stop, changes = Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
    how = sys.argv[4] if len(sys.argv) > 4 else ""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    runs.CHECKPOINT_SECONDS = 0.0
    if how == "killed while saving":
        real = checkpoints.write_tensors

        def write(target: Path, tensors: object) -> None:
            # The first checkpoint of the second epoch; those before it are whole.
            if "-000001" in target.name:
                os.kill(os.getpid(), signal.SIGKILL)
            real(target, tensors)  # type: ignore[arg-type]

        checkpoints.write_tensors = write

    def on_batch(step: int, total: int, note: str) -> None:
        if step == stop and (how != "one dies" or rank() == 1):
            os.kill(os.getpid(), signal.SIGKILL if how == "one dies" else signal.SIGINT)

    recipe = Recipe().changed(**{**CHANGES, **changes})
    try:
        with process_group():
            trained = train(
                make_plan(recipe, digits({"data": recipe.data.model_dump(), "views": recipe.views})),
                RunFolder(folder),
                on_batch=on_batch,
            )
            if is_rank_zero():
                trained.model.save(folder / "model")
                print(json.dumps([row["train_loss"] for row in trained.history]))
    except KeyboardInterrupt:
        sys.exit(130)
    except SteradianError as error:
        print(error)
        sys.exit(1)


if __name__ == "__main__":
    main()
