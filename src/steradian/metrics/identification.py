"""Measure identification: ranks in a gallery (CMC), and open-set rates with unenrolled probes (NIST's TPIR at FPIR).

Cosines closer than `tiles.TIE` count as equal: single precision cannot distinguish them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from steradian.errors import InputError
from steradian.metrics.checks import Floats, Ints, as_labels, as_share
from steradian.metrics.tiles import TIE, Tile, same_width, tiles, unit_vectors
from steradian.metrics.verification import OperatingPoint

Ties = Literal["against", "for", "mean"]


@dataclass(frozen=True)
class Candidates:
    """Gallery comparison results of each probe; ``+`` joins the results of two parts of the probes.

    Attributes:
        mate: [N], best cosine to the probe's own identity; -inf if that is not enrolled.
        stranger: [N], best cosine to another identity; -inf if there is none.
        higher, equal: int64 [N], number of other identities whose best cosine is above the mate's, and equal to it.
    """

    mate: Floats
    stranger: Floats
    higher: Ints
    equal: Ints

    def __add__(self, other: Candidates) -> Candidates:
        pairs = zip(self._columns, other._columns, strict=True)
        return Candidates(*(np.concatenate(pair) for pair in pairs))

    @property
    def _columns(self) -> tuple[Floats, Floats, Ints, Ints]:
        return self.mate, self.stranger, self.higher, self.equal

    @property
    def mated(self) -> NDArray[np.bool_]:
        """[N], whether the identity of the probe is enrolled."""
        return self.mate > -np.inf

    @property
    def best(self) -> Floats:
        """[N], the highest cosine of any identity."""
        return np.maximum(self.mate, self.stranger)

    def ranks(self, ties: Ties = "against") -> Floats:
        """Return the rank [N], from 1, of the probe's own identity; infinite if it is not enrolled.

        Args:
            ties: other identities with an equal cosine count "against" the probe's own, "for" it, or by half ("mean").
        """
        shares = {"against": 1.0, "for": 0.0, "mean": 0.5}
        if ties not in shares:
            raise InputError(f"ties must be 'against', 'for' or 'mean', but is {ties!r}.")
        return np.where(self.mated, 1.0 + self.higher + shares[ties] * self.equal, np.inf)


def candidates(probes: ArrayLike, probe_labels: ArrayLike, gallery: ArrayLike, gallery_labels: ArrayLike) -> Candidates:
    """Compare probes [N, D] with a gallery [M, D] of identities with one or more entries each, in tiles.

    The score of an identity is that of its best entry. Identities of probes need not be enrolled.

    Args:
        probe_labels, gallery_labels: int [N] and [M], identities.
    """
    probe_ids, gallery_ids = as_labels(probe_labels, "probe_labels"), as_labels(gallery_labels, "gallery_labels")
    queries = unit_vectors(probes, probe_ids, "probes")
    order = np.argsort(gallery_ids, kind="stable")
    references = unit_vectors(gallery, gallery_ids, "gallery")[torch.from_numpy(order)]
    same_width(queries, references)
    identities, first = np.unique(gallery_ids[order], return_index=True)
    starts = np.append(first, len(gallery_ids))
    index = np.searchsorted(identities, probe_ids).clip(max=len(identities) - 1)
    mate_index = torch.from_numpy(np.where(identities[index] == probe_ids, index, -1))
    mate = _own_best(queries, references, mate_index, starts)
    stranger = torch.full((len(queries),), -math.inf)
    higher, equal = (torch.zeros(len(queries), dtype=torch.int64) for _ in range(2))
    carried = None
    for tile in tiles(queries, references):
        rows = tile.rows
        best, number, carried = _by_identity(tile, starts, carried)
        columns = mate_index[rows] - number
        mated_rows = ((columns >= 0) & (columns < best.shape[1])).nonzero().squeeze(1)
        best[mated_rows, columns[mated_rows]] = -math.inf
        if best.shape[1]:
            stranger[rows] = torch.maximum(stranger[rows], best.amax(dim=1))
        # Counts of probes without a mate are not used: their rank is infinite.
        mates = mate[rows, None]
        above = (best > mates + TIE).sum(dim=1)
        higher[rows] += above
        equal[rows] += (best >= mates - TIE).sum(dim=1) - above
    return Candidates(mate.numpy(), stranger.numpy(), higher.numpy(), equal.numpy())


def _own_best(queries: Tensor, references: Tensor, own: Tensor, starts: Ints) -> Tensor:
    """Return the best cosine [N] of each query to the entries of its own identity; -inf if it is not enrolled."""
    best = torch.full((len(queries),), -math.inf)
    first, sizes = torch.from_numpy(starts[:-1]), torch.from_numpy(np.diff(starts))
    rows = (own >= 0).nonzero().squeeze(1)
    entry = 0
    while len(rows):
        for part in torch.split(rows, 65536):
            cosine = (queries[part] * references[first[own[part]] + entry]).sum(dim=1)
            best[part] = torch.maximum(best[part], cosine)
        entry += 1
        rows = rows[sizes[own[rows]] > entry]
    return best


def _by_identity(tile: Tile, starts: Ints, carried: Tensor | None) -> tuple[Tensor, int, Tensor | None]:
    """Return the best cosines [R, I] of identities that end in ``tile``, the number of the first, and the carry.

    The carry is the best cosine so far of an identity whose entries continue in the next tile, or None.
    """
    left, right = tile.columns.start, tile.columns.stop
    number = int(np.searchsorted(starts, left, side="right")) - 1
    last = int(np.searchsorted(starts, right, side="left"))
    edges = np.maximum(starts[number:last] - left, 0)
    best = tile.cosine
    if len(edges) < best.shape[1]:
        best = torch.from_numpy(np.maximum.reduceat(best.numpy(), edges, axis=1))
    if carried is not None:
        best[:, 0] = torch.maximum(best[:, 0], carried)
    if starts[last] == right:
        return best, number, None
    return best[:, :-1], number, best[:, -1].clone()


def cmc(results: Candidates, ranks: Sequence[int] = (1, 5, 10), ties: Ties = "against") -> dict[int, float]:
    """Compute the cumulative match characteristic: share of enrolled probes with their identity at rank k or better.

    Ranks count identities, not entries: three entries of one other identity take one rank.

    Raises:
        InputError: no probe's identity is enrolled.
    """
    if not results.mated.any():
        raise InputError("no probe's identity is in the gallery, so no probe has a rank: enroll some of them.")
    mate_ranks = results.ranks(ties)[results.mated]
    return {rank: float(np.mean(mate_ranks <= rank)) for rank in ranks}


def dir_at_far(results: Candidates, far: float, rank: int = 1) -> OperatingPoint:
    """Compute the detection and identification rate at a false-alarm rate: NIST's TPIR(t, r) at FPIR(t).

    FPIR is the share of *unenrolled* probes whose best candidate scores above the threshold. TPIR is the share of
    enrolled probes whose own identity scores above it, at rank r or better: an accepted wrong identity is a miss. Of I
    unenrolled probes floor(far I) may raise an alarm; the threshold is the next highest of their best scores. The
    result is NaN if none may.

    Raises:
        InputError: no probe is enrolled, or all are.
    """
    as_share(far, "far")
    mated = results.mated
    if not mated.any() or mated.all():
        raise InputError(f"{mated.sum()} of {len(mated)} probes are enrolled: give some of both kinds.")
    alarms = np.sort(results.best[~mated])[::-1]
    allowed = math.floor(far * len(alarms) * (1 + 1e-12))
    if allowed < 1:
        return OperatingPoint(far, math.nan, math.nan)
    threshold = float(alarms[allowed]) if allowed < len(alarms) else -math.inf
    detected = (results.ranks()[mated] <= rank) & (results.mate[mated] > threshold + TIE)
    return OperatingPoint(far, float(np.mean(detected)), threshold)
