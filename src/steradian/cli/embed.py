"""``steradian embed``"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from steradian.cli.output import print_json, say
from steradian.cli.places import Run
from steradian.cli.settings import Data, ExistOk, Json, Root


def embed(
    run: Run,
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for the parquet shards.")],
    root: Root = None,
    exist_ok: ExistOk = False,
    json: Json = False,
) -> None:
    """Write the vector of every image, with its label, into parquet shards.

    The same command again makes the shards that are missing. torchrun shares them out to its processes. A gallery takes
    the folder: steradian gallery import GALLERY DIR.

    Examples:

    \b
      steradian embed runs/photos photos/ --out vectors
      torchrun --nproc-per-node 2 -m steradian embed runs/photos shards/ --out vectors
    """
    from steradian import data as sets
    from steradian.data.pixels import listing
    from steradian.models.recognizer import Recognizer
    from steradian.studies.embedding import embed_data
    from steradian.training.progress import shown

    model, images = Recognizer.load(run), sets.open(data, root)
    part, parts = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    found = embed_data(model, images, out, part=part, parts=parts, exist_ok=exist_ok, progress=shown)
    if json:
        skipped = [{"image": item.name, "reason": item.reason} for item in found.skipped]
        print_json({"shards": found.shards, "made": found.made, "skipped": skipped, "out": str(out)})
        return
    print(f"{found.made} of {found.shards} shard(s) made now, in {out}")
    if found.skipped:
        say(f"! {len(found.skipped)} image(s) cannot be decoded and have no vector:\n{listing(found.skipped)}")
