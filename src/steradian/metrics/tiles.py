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


def nearest_alike(vectors: Tensor, k: int) -> Nearest:
    """`nearest` of all unit vectors [N, D] among themselves, none being its own neighbor: each product serves both."""
    count = len(vectors)
    if not 1 <= k <= count - 1:
        raise InputError(f"k must be between 1 and the {count - 1} others there are, but is {k}.")
    cosine, place = torch.full((count, k), -torch.inf), torch.full((count, k), -1, dtype=torch.int64)
    bars = _first_bars(vectors, k)
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
            found = above(product, torch.maximum(bars[rows], cosine[rows, -1])[:, None], flags)
            at_row = torch.div(found, len(part), rounding_mode="floor")
            at_column = found - at_row * len(part)
            _insert((cosine[rows], place[rows]), at_row, at_column + left, product.view(-1)[found])
            # What lies right of the block's own square is news for the columns, too.
            beyond = max(rows.stop - left, 0)
            if beyond < len(part):
                columns = slice(left + beyond, left + len(part))
                of_columns = slice(left, left + len(part))
                found = above(product, torch.maximum(bars[of_columns], cosine[of_columns, -1]), flags)
                at_row = torch.div(found, len(part), rounding_mode="floor")
                at_column = found - at_row * len(part)
                news = (at_column >= beyond).nonzero().squeeze(1)
                news = news[at_column[news].argsort(stable=True)]
                values = product.view(-1)[found[news]]
                _insert((cosine[columns], place[columns]), at_column[news] - beyond, at_row[news] + top, values)
    return Nearest(cosine, place)


def _first_bars(vectors: Tensor, k: int) -> Tensor:
    """What the k nearest of each will at least reach, [N]: those among the neighbors in its own block do."""
    bars = torch.full((len(vectors),), -torch.inf)
    for top in range(0, len(vectors), ROWS):
        block = vectors[top : top + ROWS]
        if len(block) > k:
            # Itself is one of them, and its last bits depend on the tile.
            bars[top : top + len(block)] = (block @ block.T).topk(k + 1, dim=1).values[:, -1] - TIE
    return bars


def _insert(best: tuple[Tensor, Tensor], rows: Tensor, where: Tensor, values: Tensor) -> None:
    """Put ``values`` [H] with their places ``where`` among the k best of their ``rows``, which rise."""
    if len(rows) == 0:
        return
    # Only rows that have news are sorted again.
    some, at = torch.unique_consecutive(rows, return_inverse=True)
    counts = torch.bincount(at)
    position = torch.arange(len(rows)) - (counts.cumsum(0) - counts)[at]
    kept, places = best
    have = kept.shape[1]
    wide = kept.new_full((len(some), have + int(counts.max())), -torch.inf)
    there = places.new_full(wide.shape, -1)
    wide[:, :have], there[:, :have] = kept[some], places[some]
    wide[at, have + position], there[at, have + position] = values, where
    order = wide.argsort(dim=1, descending=True, stable=True)[:, :have]
    kept[some], places[some] = wide.gather(1, order), there.gather(1, order)


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
