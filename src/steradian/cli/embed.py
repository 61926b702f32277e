"""Implement ``steradian embed``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from steradian.cli.output import bullets, print_json, say
from steradian.cli.settings import Data, ExistOk, Json, Root, Run, check_paths
from steradian.waiting import waiting


def embed(
    run: Run,
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for the parquet shards.")],
    root: Root = None,
    exist_ok: ExistOk = False,
    json: Json = False,
) -> None:
    """Write the embedding of every image, with its label, to parquet shards.

    Run the same command again to write only the missing shards. Under torchrun, the processes share the work. To enroll
    the embeddings in a gallery: steradian gallery import GALLERY DIR.

    Examples:

    \b
      steradian embed runs/photos photos/ --out vectors
      torchrun --nproc-per-node 2 -m steradian embed runs/photos shards/ --out vectors
    """
    check_paths(run, data)
    from steradian.extras import require

    require("data", "Writing embeddings")
    with waiting("starting", quiet=json):
        from steradian import data as sets
        from steradian.data.loading.damage import listing
        from steradian.models.recognizer import Recognizer
        from steradian.studies.embedding import embed_data
        from steradian.training.progress import shown

        model, images = Recognizer.load(run), sets.open(data, root)
    rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    result = embed_data(model, images, out, part=rank, parts=world_size, exist_ok=exist_ok, progress=shown)
    if json:
        skipped = [{"image": item.name, "reason": item.reason} for item in result.skipped]
        print_json(
            {
                "shards": result.shards,
                "made": result.made,
                "skipped": skipped,
                "notes": list(images.notes),
                "out": str(out),
            }
        )
        return
    bullets(images.notes, "!")
    print(f"{result.made} of {result.shards} shard(s) written now, in {out}")
    if result.skipped:
        say(f"! {len(result.skipped)} image(s) cannot be decoded and have no embedding:\n{listing(result.skipped)}")
