"""Cache the features of a frozen encoder on disk: an epoch of neck and head then takes about a second.

A file holds one view of the images, float16 [N, F], memory-mapped. Its name is a hash of everything that it depends on:
pixels, weights, preprocessing, view and runtime.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steradian.data.catalog import cache_folder
from steradian.data.pixels import Progress, no_progress
from steradian.data.progressive import ProgressiveViews
from steradian.data.sampling import step_seed
from steradian.data.views import RandomView
from steradian.files import atomic_file, explained, sha256_of
from steradian.models.encoders import pooled
from steradian.models.recognizer import Recognizer
from steradian.models.runtimes import FastEncoder, fast_encoder, runtime_for
from steradian.training import distributed
from steradian.training.batches import Batches, Blend, Indices

FOLDER = "features"
CHUNK = 64
Features = NDArray[np.float16]


@dataclass(frozen=True)
class CachedBatches(Batches):
    """Batches whose features come from the cache.

    Attributes:
        views: float16 [N, F] each, one row per image of ``rows_of``; the first is of the original images.
        rows_of: int64, row of each image of ``pixels`` in the views, -1 for one that has none.
    """

    views: Sequence[Features] = ()
    rows_of: NDArray[np.int64] | None = None

    def views_at(self, step: int | None) -> int:
        """Return 1: a step uses one cached view of each image."""
        return 1

    def features(
        self, model: Recognizer, batch: Indices, step: int | None = None, blend: Blend | None = None
    ) -> Tensor:
        """Return features of the original images; with ``step``, of a random view of each, drawn by seed and step.

        A blend mixes features instead of images, as the encoder does not run.
        """
        rows = batch if self.rows_of is None else self.rows_of[batch]
        drawn = np.zeros(len(batch), dtype=np.int64)
        if step is not None and len(self.views) > 1:
            seed = step_seed(self.seed, step)
            drawn = np.random.default_rng([seed, distributed.rank()]).integers(len(self.views), size=len(batch))
        values = np.empty((len(batch), self.views[0].shape[1]), dtype=np.float32)
        for number in np.unique(drawn):
            mask = drawn == number
            values[mask] = self.views[number][rows[mask]]
        features = torch.from_numpy(values).to(self.device)
        return features if blend is None else blend(features)


def cached(
    batches: Batches, model: Recognizer, digest: str, *, views: int = 1, progress: Progress = no_progress
) -> CachedBatches:
    """Return ``batches`` with the features of the frozen encoder of ``model``, from the cache or computed now.

    ``digest`` is the hash of the pixels. All but the first of ``views`` are random views of ``batches``.
    """
    runtime = runtime_for(len(batches.indices))
    weights = [(name, tensor) for name, tensor in sorted(model.encoder.state_dict().items())]
    parts = [f"{name} {list(tensor.shape)}".encode() for name, tensor in weights]
    parts += [tensor.cpu().reshape(-1).view(torch.uint8).numpy().tobytes() for _, tensor in weights]
    basis = sha256_of(
        digest.encode(),
        batches.indices.tobytes(),
        repr(asdict(batches.preprocessing)).encode(),
        runtime.encode(),
        # The weights do not say which features are used.
        repr((model.spec.encoder, model.spec.stages, model.spec.pooling)).encode(),
        *parts,
    )
    folder = cache_folder() / FOLDER
    random = batches.view.first if isinstance(batches.view, ProgressiveViews) else batches.view
    arrays: list[Features] = []
    encode = None
    for number in range(views):
        # Views are the same for all seeds and techniques of a comparison, so that these share the cache.
        view = random if number else None
        name = sha256_of(basis.encode(), repr((number, view)).encode())[:40]
        path = folder / f"{name}.npy"
        if distributed.is_rank_zero() and not path.is_file():
            encode = encode or fast_encoder(model.encoder, batches.preprocessing, runtime)
            what = "features" if views == 1 else f"features, view {number + 1} of {views}"
            _write(path, batches, encode, view, number, progress, what)
        distributed.barrier()
        with explained("read", path):
            arrays.append(np.load(path, mmap_mode="r", allow_pickle=False))
    rows_of = np.full(len(batches.pixels), -1, dtype=np.int64)
    rows_of[batches.indices] = np.arange(len(batches.indices))
    fields = {name: getattr(batches, name) for name in batches.__dataclass_fields__}
    return CachedBatches(**fields, views=tuple(arrays), rows_of=rows_of)


def _write(
    path: Path,
    batches: Batches,
    encode: FastEncoder,
    view: RandomView | None,
    number: int,
    progress: Progress,
    what: str,
) -> None:
    """Compute one view of all images of ``batches`` and write it atomically."""
    count = len(batches.indices)
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        for start in progress(range(0, count, CHUNK), -(-count // CHUNK), what):
            chosen = batches.indices[start : start + CHUNK]
            samples = torch.from_numpy(np.ascontiguousarray(batches.pixels.pixels[chosen]))
            if view is not None:
                generator = torch.Generator().manual_seed(step_seed(number, start))
                samples = view(samples.float().div_(255.0), generator)
            features = pooled(encode(samples)).numpy().astype(np.float16)
            if start == 0:
                header = {"descr": "<f2", "fortran_order": False, "shape": (count, features.shape[1])}
                np.lib.format.write_array_header_1_0(file, header)
            file.write(np.ascontiguousarray(features).tobytes())
