"""Where the time of a training goes: waiting for images, making views, encoder, head, update."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from steradian.training.batches import Batch

WORK = {
    "waiting": "waiting for images",
    "views": "making views",
    "encoder": "encoder",
    "head": "head",
    "update": "updating weights",
}
"""Parts of a step, by what they are called."""

ADVICE = {
    "views": "fewer operations in views, or views with a crop, which worker processes make",
    "encoder": "a smaller --image-size or encoder, frozen layers (--freeze), or a GPU with training.bf16",
    "head": "head=sampled, which computes a share of the classes (steradian losses NAME)",
    "update": "training.optimizer=sgd, or head=sampled with many classes",
}
"""What would help against each, but for waiting."""


SHORT = 10.0
"""Nobody needs advice on a training of fewer seconds."""


@dataclass
class StepClock:
    """Seconds of each part of the steps since the start.

    Attributes:
        seconds: by part of `WORK`; on a GPU, whose work goes on by itself, only ``waiting`` means anything.
        images: number of images.
        decoding, transforming: seconds that reading processes spent on the images.
    """

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(WORK, 0.0))
    images: int = 0
    decoding: float = 0.0
    transforming: float = 0.0
    _since: float = field(default_factory=time.perf_counter)

    def lap(self, part: str) -> None:
        """Count the time since the last lap for ``part``."""
        now = time.perf_counter()
        self.seconds[part] += now - self._since
        self._since = now

    def start(self) -> None:
        """Begin a lap; what came before is not counted."""
        self._since = time.perf_counter()

    def waited(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches, and count the time that they are waited for."""
        self.start()
        for batch in batches:
            self.lap("waiting")
            self.images += batch.count
            if batch.loaded is not None:
                self.decoding += batch.loaded.decoding
                self.transforming += batch.loaded.transforming
            yield batch
            self.lap("update")

    @property
    def total(self) -> float:
        """All seconds."""
        return sum(self.seconds.values())

    @property
    def images_per_second(self) -> float:
        """Images that passed in a second."""
        return self.images / self.total if self.total else 0.0

    @property
    def waiting_share(self) -> float:
        """Share of the time that the model waited for images."""
        return self.seconds["waiting"] / self.total if self.total else 0.0

    def note(self) -> str:
        """Return speed and waiting in a few words."""
        return f"{self.images_per_second:.0f} images/s, {self.waiting_share:.0%} waiting for images"

    def add(self, other: StepClock) -> None:
        """Add the time of another clock."""
        for part, seconds in other.seconds.items():
            self.seconds[part] += seconds
        self.images += other.images
        self.decoding += other.decoding
        self.transforming += other.transforming

    def verdict(self, gpu: bool) -> str:
        """Return where the time went and what would help, in a sentence; empty for less than `SHORT` seconds."""
        if self.total < SHORT:
            return ""
        shares = {part: seconds / self.total for part, seconds in self.seconds.items()}
        if gpu:
            shares = {"waiting": shares["waiting"], "the GPU": 1.0 - shares["waiting"]}
        most = max(shares, key=lambda part: shares[part])
        told = ", ".join(
            f"{share:.0%} {WORK.get(part, part)}"
            for part, share in sorted(shares.items(), key=lambda item: -item[1])
            if share >= 0.01
        )
        advice = self._reading_advice() if most == "waiting" else ADVICE.get(most, "")
        return f"time: {told}; {self.images_per_second:.0f} images/s" + (f". To be faster: {advice}" if advice else "")

    def _reading_advice(self) -> str:
        slower = "decoding" if self.decoding >= self.transforming else "the random views"
        share = max(self.decoding, self.transforming) / max(self.decoding + self.transforming, 1e-9)
        return (
            f"more reading processes (data.workers) if cores are free, or smaller files; {slower} take {share:.0%} of "
            "their time"
        )
