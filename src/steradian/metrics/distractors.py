"""Faces in a crowd: recognition against more and more strangers (MegaFace), and rates over trillions of pairs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from steradian.errors import InputError
from steradian.metrics.all_pairs import MOST_KEPT
from steradian.metrics.checks import Ints, as_labels, as_share
from steradian.metrics.score_streams import HighestScores
from steradian.metrics.tiles import COLUMNS, ROWS, TIE, unit_vectors

SIZES = (10, 100, 1_000, 10_000, 100_000, 1_000_000)


class CrowdRank(NamedTuple):
    """Share of trials won against the first ``distractors`` strangers."""

    distractors: int
    rank_1: float


def rank_1_in_crowds(
    embeddings: ArrayLike, labels: ArrayLike, distractors: ArrayLike, sizes: Sequence[int] = SIZES
) -> list[CrowdRank]:
    """MegaFace's first challenge (Kemelmacher-Shlizerman et al. 2016): each image of a person in turn is the one that
    is enrolled, and each other image of that person looks for it among strangers.

    A trial is won when no stranger is nearer to the probe than its mate; a stranger just as near does not win.

    Args:
        embeddings: float [N, D] with int labels [N]; people with one image take no part.
        distractors: float [M, D] in the order in which the crowd grows; memory-mapped will do.
        sizes: of the crowd; those above M become one of all M.

    Raises:
        InputError: nobody has two images, or there are no distractors.
    """
    names = as_labels(labels)
    vectors = unit_vectors(embeddings, names, "embeddings")
    crowd = _crowd(vectors, distractors)
    stops = sorted({min(size, len(crowd)) for size in sizes})
    if not stops or stops[0] < 1:
        raise InputError(f"sizes of the crowd must be 1 or more, but are {list(sizes)}.")
    best = torch.full((len(stops), len(vectors)), -math.inf)
    for rows, cosine, first in _against(vectors, crowd[: stops[-1]], stops):
        stage = int(np.searchsorted(stops, first, side="right"))
        best[stage, rows] = torch.maximum(best[stage, rows], cosine.amax(dim=1))
    best = best.cummax(dim=0).values
    won, trials = np.zeros(len(stops), dtype=np.int64), 0
    for probe, mate_cosine in _mates(vectors, names):
        won += (mate_cosine >= best[:, probe] - TIE).sum(dim=1).numpy()
        trials += len(probe)
    if trials == 0:
        raise InputError("nobody has two images: there is no mate to look for.")
    return [CrowdRank(stop, count / trials) for stop, count in zip(stops, won.tolist(), strict=True)]


def _crowd(vectors: Tensor, distractors: ArrayLike) -> NDArray[np.floating]:
    crowd = np.asarray(distractors)
    if crowd.ndim != 2 or len(crowd) == 0 or crowd.shape[1] != vectors.shape[1]:
        raise InputError(f"distractors must be [M, {vectors.shape[1]}], M > 0, but came as {list(crowd.shape)}.")
    return crowd


def _against(vectors: Tensor, crowd: NDArray[np.floating], stops: Sequence[int]) -> Iterator[tuple[slice, Tensor, int]]:
    """Cosines of each block of ``vectors`` with each part of the crowd; no part reaches across one of ``stops``."""
    edges = sorted({*range(0, len(crowd), COLUMNS), *stops, len(crowd)})
    memory = vectors.new_empty(ROWS * COLUMNS)
    for first, last in itertools.pairwise(edges):
        part = unit_vectors(crowd[first:last], np.arange(last - first), f"distractors from row {first} on")
        for top in range(0, len(vectors), ROWS):
            block = vectors[top : top + ROWS]
            cosine = memory[: len(block) * len(part)].view(len(block), len(part))
            torch.mm(block, part.T, out=cosine)
            yield slice(top, top + len(block)), cosine, first


def _mates(vectors: Tensor, names: Ints) -> Iterator[tuple[Tensor, Tensor]]:
    """Probes int64 [P] and their cosine to an image of the same person [P]; each ordered pair of two images once."""
    order = np.argsort(names, kind="stable")
    _, counts = np.unique(names, return_counts=True)
    ends = np.repeat(np.cumsum(counts), counts)
    starts = ends - np.repeat(counts, counts)
    place = torch.from_numpy(order)
    own, reach = np.arange(len(names)), int(counts.max())
    for step in range(1, reach):
        # The image that is ``step`` further, around the person's images in a circle.
        mate = own + step
        size = ends - starts
        mate = np.where(mate >= ends, mate - size, mate)
        rows = np.flatnonzero(size > step)
        probe, other = place[torch.from_numpy(rows)], place[torch.from_numpy(mate[rows])]
        for part, with_ in zip(torch.split(probe, 65536), torch.split(other, 65536), strict=True):
            yield part, (vectors[part] * vectors[with_]).sum(dim=1)


@dataclass(frozen=True)
class CrowdRates:
    """True-positive rates against a crowd; NaN where the crowd is too small for the rate."""

    verification: float
    identification: float
    genuine_pairs: int
    impostor_pairs: int


def rates_in_crowd(
    embeddings: ArrayLike,
    labels: ArrayLike,
    distractors: ArrayLike,
    verification_fpr: float = 1e-9,
    identification_fpr: float = 1e-3,
) -> CrowdRates:
    """As in the Trillion Pairs challenge: probes [N, D] of known people against a gallery of strangers [M, D].

    Verification: genuine pairs are those of one person's images, impostors all N M pairs with a stranger. The threshold
    is the score above which floor(fpr N M) impostors lie. Identification: an alarm is a probe whose nearest stranger
    scores above the threshold, floor(fpr N) may; a genuine pair counts when it scores above the threshold and above
    every stranger. Both as read from descriptions of the challenge, whose code is not public.
    """
    names = as_labels(labels)
    vectors = unit_vectors(embeddings, names, "embeddings")
    crowd = _crowd(vectors, distractors)
    impostors = len(vectors) * len(crowd)
    allowed = math.floor(as_share(verification_fpr, "verification_fpr") * impostors * (1 + 1e-12))
    alarms = math.floor(as_share(identification_fpr, "identification_fpr") * len(vectors) * (1 + 1e-12))
    if allowed >= MOST_KEPT:
        raise InputError(f"a rate of {verification_fpr:g} over {impostors:,} pairs keeps too many scores: take less.")
    highest, nearest = HighestScores(allowed + 1), torch.full((len(vectors),), -math.inf)
    for rows, cosine, _ in _against(vectors, crowd, [len(crowd)]):
        highest.add(cosine)
        nearest[rows] = torch.maximum(nearest[rows], cosine.amax(dim=1))
    bar = float(highest.falling()[allowed]) if 0 < allowed < impostors else math.nan
    alarm = float(nearest.sort(descending=True).values[alarms]) if 0 < alarms < len(nearest) else math.nan
    verified = identified = pairs = 0
    for probe, cosine in _mates(vectors, names):
        pairs += len(probe)
        verified += int((cosine > bar + TIE).sum())
        identified += int(((cosine > alarm + TIE) & (cosine > nearest[probe] + TIE)).sum())
    if pairs == 0:
        raise InputError("nobody has two images: there is no genuine pair.")
    return CrowdRates(
        math.nan if math.isnan(bar) else verified / pairs,
        math.nan if math.isnan(alarm) else identified / pairs,
        pairs // 2,
        impostors,
    )
