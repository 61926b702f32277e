"""Cosines in tiles: what every metric of pairs streams over, so that no N x M matrix is ever built."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from steradian.errors import InputError
from steradian.metrics.checks import Ints, as_rows, unit

ROWS, COLUMNS = 1024, 8192
"""Of a tile: 32 MiB."""

TIE = 5e-7
"""Cosines closer than this are equal: their last bits depend on how a product is cut into tiles."""


def unit_vectors(embeddings: ArrayLike, labels: Ints, name: str) -> Tensor:
    """float32 unit vectors [N, D] with one row per label, or `InputError`."""
    return torch.from_numpy(unit(as_rows(embeddings, labels, name)).astype("float32", copy=False))


def same_width(queries: Tensor, references: Tensor) -> None:
    """Both have D columns, or `InputError`."""
    if queries.shape[1] != references.shape[1]:
        raise InputError(f"queries have {queries.shape[1]} dimensions, references {references.shape[1]}.")


class Tile(NamedTuple):
    """Cosines [R, C] of queries ``rows`` and references ``columns``; overwritten by the next tile."""

    rows: slice
    columns: slice
    cosine: Tensor


def tiles(queries: Tensor, references: Tensor) -> Iterator[Tile]:
    """All cosines of unit vectors [N, D] and [M, D]; for one block of queries all references, in order."""
    memory = queries.new_empty(min(ROWS, len(queries)) * min(COLUMNS, len(references)))
    for top in range(0, len(queries), ROWS):
        block = queries[top : top + ROWS]
        for left in range(0, len(references), COLUMNS):
            part = references[left : left + COLUMNS]
            cosine = memory[: len(block) * len(part)].view(len(block), len(part))
            torch.mm(block, part.T, out=cosine)
            yield Tile(slice(top, top + len(block)), slice(left, left + len(part)), cosine)


class Nearest(NamedTuple):
    """The k nearest references of each query, nearest first: cosines float32 [N, k] and places int64 [N, k].

    Of equal cosines the reference that comes first is the nearer.
    """

    cosine: Tensor
    place: Tensor


def nearest(queries: Tensor, references: Tensor, k: int, own: Tensor | None = None) -> Nearest:
    """The ``k`` nearest of ``references`` [M, D] for each of ``queries`` [N, D], unit vectors, in memory of N x k.

    Args:
        own: int64 [N], the reference that is the query itself, which is not its own neighbor.
    """
    same_width(queries, references)
    available = len(references) - int(own is not None)
    if not 1 <= k <= available:
        raise InputError(f"k must be between 1 and the {available} references there are, but is {k}.")
    cosine, place = torch.empty(len(queries), k), torch.empty(len(queries), k, dtype=torch.int64)
    best = torch.empty(0, 0), torch.empty(0, 0, dtype=torch.int64)
    flags = torch.empty(min(ROWS, len(queries)) * min(COLUMNS, len(references)), dtype=torch.bool)
    for tile in tiles(queries, references):
        if own is not None:
            column = own[tile.rows] - tile.columns.start
            here = ((column >= 0) & (column < tile.cosine.shape[1])).nonzero().squeeze(1)
            tile.cosine[here, column[here]] = -torch.inf
        if tile.columns.start == 0:
            best = torch.empty(len(tile.cosine), 0), torch.empty(len(tile.cosine), 0, dtype=torch.int64)
        best = _merged(best, tile, k, flags)
        if tile.columns.stop == len(references):
            cosine[tile.rows], place[tile.rows] = best
    return Nearest(cosine, place)


def _merged(best: tuple[Tensor, Tensor], tile: Tile, k: int, flags: Tensor) -> tuple[Tensor, Tensor]:
    """The k best of those so far and of a tile, of equal ones the first."""
    values, places = best
    have, columns = values.shape[1], tile.cosine.shape[1]
    if have < k:
        bar = torch.nextafter(tile.cosine.topk(min(k, columns), dim=1).values[:, -1:], torch.tensor(-torch.inf))
    else:
        bar = values[:, -1:]
    # Few of a later tile are among the k best: only those are looked at.
    hits = above(tile.cosine, bar, flags)
    if len(hits) == 0:
        return best
    rows = torch.div(hits, columns, rounding_mode="floor")
    counts = torch.bincount(rows, minlength=len(values))
    position = torch.arange(len(rows)) - (counts.cumsum(0) - counts)[rows] + have
    wide = values.new_full((len(values), have + int(counts.max())), -torch.inf)
    where = places.new_full(wide.shape, -1)
    wide[:, :have], where[:, :have] = values, places
    wide[rows, position] = tile.cosine.view(-1)[hits]
    where[rows, position] = hits - rows * columns + tile.columns.start
    order = wide.argsort(dim=1, descending=True, stable=True)[:, :k]
    return wide.gather(1, order), where.gather(1, order)


def above(cosine: Tensor, threshold: Tensor | float, memory: Tensor) -> Tensor:
    """Flat places int64 [H] where ``cosine`` exceeds ``threshold``, if those are few: eight are read at once.

    ``memory``: bool, of as many elements at least, overwritten; fresh pages would cost more than the comparison.
    """
    flat = memory[: cosine.numel()]
    torch.gt(cosine, threshold, out=flat.view(cosine.shape))
    whole = len(flat) // 8 * 8
    words = flat[:whole].view(torch.int64).nonzero().squeeze(1)
    near = (words[:, None] * 8 + torch.arange(8)).view(-1)
    near = torch.cat([near, torch.arange(whole, len(flat))])
    return near[flat[near]]
