"""Who is it? Ranks in a gallery (CMC), and probes whom nobody has enrolled (NIST's TPIR at FPIR).

Cosines closer than `tiles.TIE` are equal: single precision cannot tell them apart.
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
    """What a gallery says to each probe; parts of the probes can be joined with ``+``.

    Attributes:
        mate: [N] best cosine to the probe's own identity; -inf where that is not enrolled.
        stranger: [N] best cosine to another identity; -inf where there is none.
        higher, equal: int64 [N] other identities whose best cosine is above the mate's, and equal to it.
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
        """[N], whether the probe's identity is enrolled."""
        found: NDArray[np.bool_] = self.mate > -np.inf
        return found

    @property
    def best(self) -> Floats:
        """[N], the highest cosine of any identity."""
        return np.maximum(self.mate, self.stranger)

    def ranks(self, ties: Ties = "against") -> Floats:
        """Rank [N] of the own identity, from 1; infinite where it is not enrolled.

        Args:
            ties: identities with the very same cosine count "against" the own one, "for" it, or by half ("mean").
        """
        shares = {"against": 1.0, "for": 0.0, "mean": 0.5}
        if ties not in shares:
            raise InputError(f"ties must be 'against', 'for' or 'mean', but is {ties!r}.")
        ranks: Floats = np.where(self.mated, 1.0 + self.higher + shares[ties] * self.equal, np.inf)
        return ranks


def candidates(probes: ArrayLike, probe_labels: ArrayLike, gallery: ArrayLike, gallery_labels: ArrayLike) -> Candidates:
    """Compare probes [N, D] with a gallery [M, D] of identities with one entry or more, in tiles.

    An identity's score is that of its best entry. Probes of identities that are not enrolled are allowed.

    Args:
        probe_labels, gallery_labels: int [N] and [M], identities.
    """
    names, known = as_labels(probe_labels, "probe_labels"), as_labels(gallery_labels, "gallery_labels")
    queries = unit_vectors(probes, names, "probes")
    order = np.argsort(known, kind="stable")
    references = unit_vectors(gallery, known, "gallery")[torch.from_numpy(order)]
    same_width(queries, references)
    identities, first = np.unique(known[order], return_index=True)
    starts = np.append(first, len(known))
    place = np.searchsorted(identities, names).clip(max=len(identities) - 1)
    own = torch.from_numpy(np.where(identities[place] == names, place, -1))
    mate = _own_best(queries, references, own, starts)
    stranger = torch.full((len(queries),), -math.inf)
    higher, equal = (torch.zeros(len(queries), dtype=torch.int64) for _ in range(2))
    carried = None
    for tile in tiles(queries, references):
        rows = tile.rows
        best, number, carried = _by_identity(tile, starts, carried)
        columns = own[rows] - number
        here = ((columns >= 0) & (columns < best.shape[1])).nonzero().squeeze(1)
        best[here, columns[here]] = -math.inf
        if best.shape[1]:
            stranger[rows] = torch.maximum(stranger[rows], best.amax(dim=1))
        # Without a mate there is no rank, whatever is counted.
        mates = mate[rows, None]
        above = (best > mates + TIE).sum(dim=1)
        higher[rows] += above
        equal[rows] += (best >= mates - TIE).sum(dim=1) - above
    return Candidates(mate.numpy(), stranger.numpy(), higher.numpy(), equal.numpy())


def _own_best(queries: Tensor, references: Tensor, own: Tensor, starts: Ints) -> Tensor:
    """Best cosine of each query to the entries of its own identity, [N]; -inf without one."""
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
    """Best cosines [R, I] of the identities that end in ``tile``, the number of the first, and what is carried over.

    An identity whose entries go on in the next tile is carried there.
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


def cmc(found: Candidates, ranks: Sequence[int] = (1, 5, 10), ties: Ties = "against") -> dict[int, float]:
    """Cumulative match characteristic: share of enrolled probes whose identity is among the first k identities.

    Identities are counted, not entries: three entries of one stranger take one place.

    Raises:
        InputError: no probe's identity is enrolled.
    """
    if not found.mated.any():
        raise InputError("no probe's identity is in the gallery: there are no ranks to count.")
    placed = found.ranks(ties)[found.mated]
    return {rank: float(np.mean(placed <= rank)) for rank in ranks}


def dir_at_far(found: Candidates, far: float, rank: int = 1) -> OperatingPoint:
    """Detection and identification rate at a false-alarm rate, by the NIST definition TPIR(t, r) at FPIR(t).

    FPIR is the share of probes that are *not* enrolled whose best candidate scores above the threshold, TPIR that of
    enrolled probes whose own identity does, at rank r or better: a wrong identity that is accepted is a miss. With I
    probes that are not enrolled floor(far I) may raise an alarm; the threshold is the next highest of their best
    scores. NaN where not one may.

    Raises:
        InputError: no probe is enrolled, or all are.
    """
    as_share(far, "far")
    mated = found.mated
    if not mated.any() or mated.all():
        raise InputError(f"{mated.sum()} of {len(mated)} probes are enrolled: this rate needs some that are not, too.")
    alarms = np.sort(found.best[~mated])[::-1]
    allowed = math.floor(far * len(alarms) * (1 + 1e-12))
    if allowed < 1:
        return OperatingPoint(far, math.nan, math.nan)
    threshold = float(alarms[allowed]) if allowed < len(alarms) else -math.inf
    detected = (found.ranks()[mated] <= rank) & (found.mate[mated] > threshold + TIE)
    return OperatingPoint(far, float(np.mean(detected)), threshold)
