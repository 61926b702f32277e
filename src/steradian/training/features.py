"""Cache the features of a frozen encoder on disk: an epoch of neck and head then takes about a second.

Where upper layers learn, the maps of the frozen ones below are cached instead. A file holds one view of the images,
float16 [N, F] or maps [N, F, h, w], memory-mapped. Its name is a hash of everything that it depends on:
pixels, weights, preprocessing, view and runtime.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steradian.data.cache_folder import cache_folder
from steradian.data.loading.reader import Views
from steradian.data.loading.stream import StreamedPixels
from steradian.data.pixels import Progress, no_progress
from steradian.data.progressive import ProgressiveViews
from steradian.data.sampling import step_seed
from steradian.files import atomic_file, explained, sha256_of
from steradian.models.encoders import LowerLayers, from_maps, layers_of, pooled
from steradian.models.recognizer import Recognizer
from steradian.models.runtimes import FastEncoder, fast_encoder, runtime_for
from steradian.training import distributed
from steradian.training.batches import Batch, Batches, Blend

FOLDER = "features"
CHUNK = 64
Features = NDArray[np.float16]


@dataclass(frozen=True)
class CachedBatches(Batches):
    """Batches whose features come from the cache.

    Attributes:
        views: float16 [N, F] or [N, F, h, w] each, one row per image of ``rows_of``; the first is of the original
            images.
        rows_of: int64, row of each image of ``pixels`` in the views, -1 for one that has none.
        below: number of layers that the maps in ``views`` have passed; 0: they are features.
    """

    views: Sequence[Features] = ()
    rows_of: NDArray[np.int64] | None = None
    below: int = 0

    def views_of(self, batch: Batch) -> int:
        """Return 1: a step uses one cached view of each image."""
        return 1

    def _read(
        self, batches: list[Batch], positions: list[NDArray[np.int64]] | None = None, epoch: int = 0
    ) -> Iterator[Batch]:
        """Yield the batches: their images are not needed."""
        yield from batches

    def view_of(self, number: int) -> Features:
        """Return one view of the images at ``indices``, float16 [n, F]."""
        rows = np.arange(len(self.views[0])) if self.rows_of is None else self.rows_of[self.indices]
        view = self.views[number]
        return view if len(rows) == len(view) else view[rows]

    def inputs(self, batch: Batch, blend: Blend | None = None) -> Tensor:
        """Return features of the original images; with a step, of a random view of each, drawn by seed and step.

        A blend mixes features instead of images, as the encoder does not run.
        """
        rows = batch.rows if self.rows_of is None else self.rows_of[batch.rows]
        drawn = np.zeros(len(batch), dtype=np.int64)
        if batch.step is not None and len(self.views) > 1:
            seed = step_seed(self.seed, batch.step)
            drawn = np.random.default_rng([seed, distributed.rank()]).integers(len(self.views), size=len(batch))
        values = np.empty((len(batch), *self.views[0].shape[1:]), dtype=np.float32)
        for number in np.unique(drawn):
            mask = drawn == number
            values[mask] = self.views[number][rows[mask]]
        features = torch.from_numpy(values).to(self.device)
        features = features.contiguous(memory_format=self.memory_format) if self.below else features
        return features if blend is None else blend(features)

    def encode(self, model: Recognizer, inputs: Tensor) -> Tensor:
        """Return ``inputs`` if they are features already, else those of the maps."""
        return from_maps(model.encoder, inputs, self.below) if self.below else inputs


def cached(
    batches: Batches,
    model: Recognizer,
    digest: str,
    *,
    views: int = 1,
    mirrored: bool = False,
    frozen: int | None = None,
    progress: Progress = no_progress,
) -> CachedBatches:
    """Return ``batches`` with the features of the frozen encoder of ``model``, from the cache or computed now.

    ``digest`` is the hash of the pixels. All but the first of ``views`` are random views of ``batches``. Images that
    cannot be decoded are left out of the batches. ``mirrored``: average those of an image and its mirror image.
    ``frozen``: number of frozen layers; where others are above them, maps are cached instead.
    """
    below = frozen if frozen is not None and frozen <= max(layers_of(model.encoder).values()) else 0
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
        *([f"grid {model.spec.grid}".encode()] if model.spec.grid else []),
        *([b"mirrored"] if mirrored else []),
        *([f"maps after {below}".encode()] if below else []),
        *parts,
    )
    folder = cache_folder() / FOLDER
    random = batches.view.first if isinstance(batches.view, ProgressiveViews) else batches.view
    arrays: list[Features] = []
    encode = None
    for number in range(views):
        # Views are the same for all seeds and techniques of a comparison, so that these share the cache.
        view = random if number else None
        made_by = (number, view) if batches.crop == 1.0 else (number, view, batches.crop)
        name = sha256_of(basis.encode(), repr(made_by).encode())[:40]
        path = folder / f"{name}.npy"
        if distributed.is_rank_zero() and not path.is_file():
            if encode is None:
                encoder = LowerLayers(model.encoder, below) if below else model.encoder
                encode = fast_encoder(encoder, batches.preprocessing, runtime)
                encode = _with_mirror(encode) if mirrored else encode
            what = "features" if views == 1 else f"features, view {number + 1} of {views}"
            encode_view = encode if below else _pooled(encode)
            _write(path, replace(batches, view=view), encode_view, number, progress, what)
        distributed.barrier()
        with explained("read", path):
            arrays.append(np.load(path, mmap_mode="r", allow_pickle=False))
    rows_of = np.full(len(batches.pixels), -1, dtype=np.int64)
    rows_of[batches.indices] = np.arange(len(batches.indices))
    fields = {name: getattr(batches, name) for name in batches.__dataclass_fields__}
    if isinstance(batches.pixels.pixels, StreamedPixels):
        fields["indices"] = batches.indices[~_missing(arrays[0])]
    return CachedBatches(**fields, views=tuple(arrays), rows_of=rows_of, below=below)


def _pooled(encode: FastEncoder) -> FastEncoder:
    return lambda samples: pooled(encode(samples))


def _with_mirror(encode: FastEncoder) -> FastEncoder:
    def both(samples: Tensor) -> Tensor:
        return (encode(samples) + encode(samples.flip(3))) / 2.0

    return both


def _missing(features: Features) -> NDArray[np.bool_]:
    """Return which images have no features because they cannot be decoded, bool [N]."""
    missing: NDArray[np.bool_] = np.isnan(features.reshape(len(features), -1)[:, 0])
    return missing


def _write(path: Path, batches: Batches, encode: FastEncoder, number: int, progress: Progress, what: str) -> None:
    """Compute a view of all images of ``batches`` and write it atomically; NaN for images that cannot be decoded."""
    count, before = len(batches.indices), 0
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        for done, samples in _blocks(batches, number, progress, what):
            if not len(samples):
                before += len(done)
                continue
            features = encode(samples).numpy().astype(np.float16)
            if file.tell() == 0:
                header = {"descr": "<f2", "fortran_order": False, "shape": (count, *features.shape[1:])}
                np.lib.format.write_array_header_1_0(file, header)
            rows = np.full((before + len(done), *features.shape[1:]), np.nan, dtype=np.float16)
            rows[before:][done] = features
            file.write(np.ascontiguousarray(rows).tobytes())
            before = 0
        if before and file.tell():
            file.write(np.full((before, *features.shape[1:]), np.nan, dtype=np.float16).tobytes())


def _blocks(batches: Batches, number: int, progress: Progress, what: str) -> Iterator[tuple[NDArray[np.bool_], Tensor]]:
    """Yield which images of each block could be read, bool [`CHUNK`], and their samples in the view ``number``."""
    pixels, view, indices = batches.pixels, batches.view, batches.indices
    views = Views(view, batches.crop, number, 0) if number else None
    for start, (chosen, block) in enumerate(pixels.blocks(indices, CHUNK, progress, what, views)):
        samples = torch.from_numpy(np.ascontiguousarray(block))
        if view is not None and not isinstance(pixels.pixels, StreamedPixels):
            generator = torch.Generator().manual_seed(step_seed(number, start * CHUNK))
            samples = view(samples.float().div_(255.0), generator)
        yield np.isin(indices[start * CHUNK : (start + 1) * CHUNK], chosen), samples
