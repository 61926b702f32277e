"""Schedules of training, as functions of the share of steps done. Only plateau has memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

from steradian.training.recipe import Ramp, TrainingSettings


def ramp_value(ramp: Ramp | None, progress: float) -> float:
    """Return the ramp's value at ``progress`` in [0, 1]; 1 without a ramp."""
    if ramp is None or progress >= ramp.end:
        return 1.0
    if progress <= ramp.begin:
        return ramp.start
    return ramp.start + (1.0 - ramp.start) * (progress - ramp.begin) / (ramp.end - ramp.begin)


def _half_cosine(share: float) -> float:
    """Fall along half a cosine from 1 at 0 to 0 at 1."""
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, max(0.0, share))))


def rate_factor(settings: TrainingSettings, progress: float) -> float:
    """Return the factor on the learning rate at ``progress`` in [0, 1], before plateau cuts.

    "one-cycle" rises from 1/25 along half a cosine and falls to 0 along another; "cosine" rises linearly;
    "plateau" and "constant" are 1.
    """
    if settings.schedule in ("plateau", "constant"):
        return 1.0
    if progress < settings.warmup:
        share = progress / settings.warmup
        return share if settings.schedule == "cosine" else 0.04 + 0.96 * (1.0 - _half_cosine(share))
    return _half_cosine((progress - settings.warmup) / (1.0 - settings.warmup))


def auxiliary_weight(settings: TrainingSettings, progress: float) -> float:
    """Return the weight of the auxiliary head: linear from ``auxiliary`` to 0 at ``auxiliary_until``."""
    return settings.auxiliary * max(0.0, 1.0 - progress / settings.auxiliary_until)


@dataclass
class PlateauTracker:
    """The best validation loss so far and the epochs since then, for plateau cuts and early stopping."""

    best: float = math.inf
    waited: int = 0
    since_cut: int = 0
    cuts: int = 0

    def see(self, loss: float) -> bool:
        """Record an epoch's loss; return True if it is the best so far."""
        if loss < self.best:
            self.best, self.waited, self.since_cut = loss, 0, 0
            return True
        self.waited += 1
        self.since_cut += 1
        return False

    def cut_if_waited(self, patience: int) -> None:
        """Count one more cut of the learning rate after more than ``patience`` epochs without a better loss."""
        if self.since_cut > patience:
            self.cuts += 1
            self.since_cut = 0
