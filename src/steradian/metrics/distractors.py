"""Measure recognition against growing sets of distractors (MegaFace), and rates over trillions of pairs."""

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


class DistractorRank(NamedTuple):
    """Rank-1 identification rate against the first ``distractors`` distractors."""

    distractors: int
    rank_1: float


def rank_1_with_distractors(
    embeddings: ArrayLike, labels: ArrayLike, distractors: ArrayLike, sizes: Sequence[int] = SIZES
) -> list[DistractorRank]:
    """Compute rank-1 rates as in MegaFace's first challenge (Kemelmacher-Shlizerman et al. 2016).

    Each image of a person is enrolled in turn, and each other image of that person is a probe against it and the
    distractors. A trial succeeds when no distractor is nearer to the probe than its mate; ties succeed.

    Args:
        embeddings: float [N, D]; people with a single image are not used.
        labels: int [N].
        distractors: float [M, D], added in this order; a memory-mapped array works.
        sizes: numbers of distractors; values above M mean all M.

    Raises:
        InputError: nobody has two images, or there are no distractors.
    """
    names = as_labels(labels)
    vectors = unit_vectors(embeddings, names, "embeddings")
    crowd = _crowd(vectors, distractors)
    stops = sorted({min(size, len(crowd)) for size in sizes})
    if not stops or stops[0] < 1:
        raise InputError(f"sizes must be numbers of distractors, 1 or more, but are {list(sizes)}.")
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
        raise InputError("nobody has two images, so there is no probe: give two images or more of one person.")
    return [DistractorRank(stop, count / trials) for stop, count in zip(stops, won.tolist(), strict=True)]


def _crowd(vectors: Tensor, distractors: ArrayLike) -> NDArray[np.floating]:
    crowd = np.asarray(distractors)
    if crowd.ndim != 2 or len(crowd) == 0 or crowd.shape[1] != vectors.shape[1]:
        raise InputError(f"distractors must be [M, {vectors.shape[1]}], M > 0, but came as {list(crowd.shape)}.")
    return crowd


def _against(vectors: Tensor, crowd: NDArray[np.floating], stops: Sequence[int]) -> Iterator[tuple[slice, Tensor, int]]:
    """Yield cosines of each block of ``vectors`` with each part of the distractors; parts do not cross ``stops``."""
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
    """Yield probes int64 [P] and the cosine [P] to another image of the same person; each ordered pair occurs once."""
    order = np.argsort(names, kind="stable")
    _, counts = np.unique(names, return_counts=True)
    ends, sizes = np.repeat(np.cumsum(counts), counts), np.repeat(counts, counts)
    original_index = torch.from_numpy(order)
    for step in range(1, int(counts.max())):
        # The mate is ``step`` images further, cyclically within the images of the person.
        mate = np.arange(len(names)) + step
        mate = np.where(mate >= ends, mate - sizes, mate)
        rows = np.flatnonzero(sizes > step)
        probe, other = original_index[torch.from_numpy(rows)], original_index[torch.from_numpy(mate[rows])]
        for part, mates in zip(torch.split(probe, 65536), torch.split(other, 65536), strict=True):
            yield part, (vectors[part] * vectors[mates]).sum(dim=1)


@dataclass(frozen=True)
class DistractorRates:
    """True-positive rates against distractors; NaN if there are too few distractors for the rate."""

    verification: float
    identification: float
    genuine_pairs: int
    impostor_pairs: int


def rates_with_distractors(
    embeddings: ArrayLike,
    labels: ArrayLike,
    distractors: ArrayLike,
    verification_fpr: float = 1e-9,
    identification_fpr: float = 1e-3,
) -> DistractorRates:
    """Compute rates as in the Trillion Pairs challenge: probes [N, D] of known people against distractors [M, D].

    Verification: genuine pairs are two images of one person, impostor pairs are all N M pairs with a distractor. The
    threshold is the score that floor(fpr N M) impostor pairs exceed. Identification: a probe raises a false alarm if
    its nearest distractor scores above the threshold; floor(fpr N) may. A genuine pair counts if it scores above the
    threshold and above every distractor. The challenge's code is not public: both follow its descriptions.
    """
    names = as_labels(labels)
    vectors = unit_vectors(embeddings, names, "embeddings")
    crowd = _crowd(vectors, distractors)
    impostors = len(vectors) * len(crowd)
    allowed = math.floor(as_share(verification_fpr, "verification_fpr") * impostors * (1 + 1e-12))
    alarms = math.floor(as_share(identification_fpr, "identification_fpr") * len(vectors) * (1 + 1e-12))
    if allowed >= MOST_KEPT:
        raise InputError(f"rate {verification_fpr:g} over {impostors:,} pairs needs too many scores: use a lower rate.")
    highest, nearest = HighestScores(allowed + 1), torch.full((len(vectors),), -math.inf)
    for rows, cosine, _ in _against(vectors, crowd, [len(crowd)]):
        highest.add(cosine)
        nearest[rows] = torch.maximum(nearest[rows], cosine.amax(dim=1))
    threshold = float(highest.falling()[allowed]) if 0 < allowed < impostors else math.nan
    alarm_threshold = float(nearest.sort(descending=True).values[alarms]) if 0 < alarms < len(nearest) else math.nan
    verified = identified = pairs = 0
    for probe, cosine in _mates(vectors, names):
        pairs += len(probe)
        verified += int((cosine > threshold + TIE).sum())
        identified += int(((cosine > alarm_threshold + TIE) & (cosine > nearest[probe] + TIE)).sum())
    if pairs == 0:
        raise InputError("nobody has two images, so there is no genuine pair: give two images or more of one person.")
    return DistractorRates(
        math.nan if math.isnan(threshold) else verified / pairs,
        math.nan if math.isnan(alarm_threshold) else identified / pairs,
        pairs // 2,
        impostors,
    )
