"""Compute cosines in tiles, which the metrics over pairs stream, so that no N x M matrix is built."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from steradian.errors import InputError
from steradian.metrics.checks import Ints, as_rows, unit

ROWS, COLUMNS = 1024, 8192
"""Size of a tile: 32 MiB."""

TIE = 5e-7
"""Cosines closer than this count as equal: their last bits depend on how a product is split into tiles."""


def unit_vectors(embeddings: ArrayLike, labels: Ints, name: str) -> Tensor:
    """Return float32 unit vectors [N, D] with one row per label, or raise `InputError`."""
    return torch.from_numpy(unit(as_rows(embeddings, labels, name)).astype("float32", copy=False))


def same_width(queries: Tensor, references: Tensor) -> None:
    """Raise `InputError` unless both have the same number of columns."""
    if queries.shape[1] != references.shape[1]:
        raise InputError(f"queries have {queries.shape[1]} dimensions, but references {references.shape[1]}.")


class Tile(NamedTuple):
    """Cosines [R, C] of queries ``rows`` and references ``columns``; overwritten by the next tile."""

    rows: slice
    columns: slice
    cosine: Tensor


def tiles(queries: Tensor, references: Tensor) -> Iterator[Tile]:
    """Yield all cosines of unit vectors [N, D] and [M, D]: for each block of queries all references, in order."""
    memory = queries.new_empty(min(ROWS, len(queries)) * min(COLUMNS, len(references)))
    for top in range(0, len(queries), ROWS):
        block = queries[top : top + ROWS]
        for left in range(0, len(references), COLUMNS):
            part = references[left : left + COLUMNS]
            cosine = memory[: len(block) * len(part)].view(len(block), len(part))
            torch.mm(block, part.T, out=cosine)
            yield Tile(slice(top, top + len(block)), slice(left, left + len(part)), cosine)


class Nearest(NamedTuple):
    """The k nearest references of each query, nearest first: cosines float32 [N, k], indices ``place`` int64 [N, k].

    Among equal cosines the first reference counts as the nearer.
    """

    cosine: Tensor
    place: Tensor


def nearest(queries: Tensor, references: Tensor, k: int, own: Tensor | None = None) -> Nearest:
    """Find the ``k`` nearest ``references`` [M, D] of each of ``queries`` [N, D], unit vectors, in N x k memory.

    ``own`` int64 [N] is the index of the query itself among the references, which is excluded.
    """
    same_width(queries, references)
    available = len(references) - int(own is not None)
    if not 1 <= k <= available:
        raise InputError(f"k must be between 1 and the {available} available references, but is {k}.")
    cosine, indices = torch.empty(len(queries), k), torch.empty(len(queries), k, dtype=torch.int64)
    best = torch.empty(0, 0), torch.empty(0, 0, dtype=torch.int64)
    flags = torch.empty(min(ROWS, len(queries)) * min(COLUMNS, len(references)), dtype=torch.bool)
    for tile in tiles(queries, references):
        if own is not None:
            column = own[tile.rows] - tile.columns.start
            in_tile = ((column >= 0) & (column < tile.cosine.shape[1])).nonzero().squeeze(1)
            tile.cosine[in_tile, column[in_tile]] = -torch.inf
        if tile.columns.start == 0:
            best = torch.empty(len(tile.cosine), 0), torch.empty(len(tile.cosine), 0, dtype=torch.int64)
        best = _merged(best, tile, k, flags)
        if tile.columns.stop == len(references):
            cosine[tile.rows], indices[tile.rows] = best
    return Nearest(cosine, indices)


def nearest_alike(vectors: Tensor, k: int) -> Nearest:
    """Find the nearest others of all unit vectors [N, D]; each product is used for both of its vectors."""
    count = len(vectors)
    if not 1 <= k <= count - 1:
        raise InputError(f"k must be between 1 and the {count - 1} other vectors, but is {k}.")
    cosine, indices = torch.full((count, k), -torch.inf), torch.full((count, k), -1, dtype=torch.int64)
    bounds = _lower_bounds(vectors, k)
    memory = vectors.new_empty(min(ROWS, count) * min(COLUMNS, count))
    flags = torch.empty(len(memory), dtype=torch.bool)
    for top in range(0, count, ROWS):
        block = vectors[top : top + ROWS]
        rows = slice(top, top + len(block))
        for left in range(top, count, COLUMNS):
            part = vectors[left : left + COLUMNS]
            product = memory[: len(block) * len(part)].view(len(block), len(part))
            torch.mm(block, part.T, out=product)
            if left == top:
                product.fill_diagonal_(-torch.inf)
            hits = above(product, torch.maximum(bounds[rows], cosine[rows, -1])[:, None], flags)
            at_row = torch.div(hits, len(part), rounding_mode="floor")
            at_column = hits - at_row * len(part)
            _insert((cosine[rows], indices[rows]), at_row, at_column + left, product.view(-1)[hits])
            # Cosines to the right of the block's own square are new candidates for the columns, too.
            beyond = max(rows.stop - left, 0)
            if beyond < len(part):
                columns = slice(left + beyond, left + len(part))
                of_columns = slice(left, left + len(part))
                hits = above(product, torch.maximum(bounds[of_columns], cosine[of_columns, -1]), flags)
                at_row = torch.div(hits, len(part), rounding_mode="floor")
                at_column = hits - at_row * len(part)
                fresh = (at_column >= beyond).nonzero().squeeze(1)
                fresh = fresh[at_column[fresh].argsort(stable=True)]
                values = product.view(-1)[hits[fresh]]
                _insert((cosine[columns], indices[columns]), at_column[fresh] - beyond, at_row[fresh] + top, values)
    return Nearest(cosine, indices)


def _lower_bounds(vectors: Tensor, k: int) -> Tensor:
    """Return a lower bound [N] of the k-th best cosine of each vector, from the vectors in its own block."""
    bounds = torch.full((len(vectors),), -torch.inf)
    for top in range(0, len(vectors), ROWS):
        block = vectors[top : top + ROWS]
        if len(block) > k:
            # Take k + 1, since the vector itself is included; its last bits depend on the tile.
            bounds[top : top + len(block)] = (block @ block.T).topk(k + 1, dim=1).values[:, -1] - TIE
    return bounds


def _insert(best: tuple[Tensor, Tensor], rows: Tensor, columns: Tensor, values: Tensor) -> None:
    """Insert ``values`` [H] with indices ``columns`` into the k best of their ``rows``, which are sorted."""
    if len(rows) == 0:
        return
    # Only rows with new values are sorted again.
    changed, at = torch.unique_consecutive(rows, return_inverse=True)
    cosines, indices = best
    old = cosines[changed], indices[changed]
    cosines[changed], indices[changed] = _best_of(old, at, columns, values, cosines.shape[1])


def _best_of(
    best: tuple[Tensor, Tensor], rows: Tensor, columns: Tensor, values: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    """Return the ``k`` best of ``best`` [R, w] and of ``values`` [H] in sorted ``rows``; among equal ones the first."""
    cosines, indices = best
    width = cosines.shape[1]
    counts = torch.bincount(rows, minlength=len(cosines))
    position = torch.arange(len(rows)) - (counts.cumsum(0) - counts)[rows] + width
    wide = cosines.new_full((len(cosines), width + int(counts.max())), -torch.inf)
    wide_indices = indices.new_full(wide.shape, -1)
    wide[:, :width], wide_indices[:, :width] = best
    wide[rows, position], wide_indices[rows, position] = values, columns
    order = wide.argsort(dim=1, descending=True, stable=True)[:, :k]
    return wide.gather(1, order), wide_indices.gather(1, order)


def _merged(best: tuple[Tensor, Tensor], tile: Tile, k: int, flags: Tensor) -> tuple[Tensor, Tensor]:
    """Return the k best of the current best and of a tile; among equal ones the first."""
    bar, columns = best[0][:, -1:], tile.cosine.shape[1]
    if best[0].shape[1] < k:
        bar = torch.nextafter(tile.cosine.topk(min(k, columns), dim=1).values[:, -1:], torch.tensor(-torch.inf))
    # Few values of a later tile are among the k best: select only those.
    hits = above(tile.cosine, bar, flags)
    if len(hits) == 0:
        return best
    rows = torch.div(hits, columns, rounding_mode="floor")
    return _best_of(best, rows, hits - rows * columns + tile.columns.start, tile.cosine.view(-1)[hits], k)


def above(cosine: Tensor, threshold: Tensor | float, memory: Tensor) -> Tensor:
    """Return flat indices int64 [H] where ``cosine`` exceeds ``threshold``; fast if few, as it reads eight at once.

    ``memory``: bool with at least as many elements, overwritten; new memory would cost more than the comparison.
    """
    flat = memory[: cosine.numel()]
    torch.gt(cosine, threshold, out=flat.view(cosine.shape))
    aligned = len(flat) // 8 * 8
    groups = flat[:aligned].view(torch.int64).nonzero().squeeze(1)
    candidates = (groups[:, None] * 8 + torch.arange(8)).view(-1)
    candidates = torch.cat([candidates, torch.arange(aligned, len(flat))])
    return candidates[flat[candidates]]
