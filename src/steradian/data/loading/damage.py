"""Count the images of a set that cannot be used; too many of them, or a whole class of them, is an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from steradian.data.images import ImageSet
from steradian.errors import DataError

MAX_DAMAGED = 0.05
"""A set with a larger share of damaged files is refused."""

LISTED = 10

MAX_EMPTY = 0.5
"""With a finder: a set is refused if in a larger share of the pictures nothing is found, or they are damaged."""


@dataclass(frozen=True)
class Skipped:
    """An image that could not be decoded, or in which nothing was found, and why."""

    name: str
    reason: str


class DamageLog:
    """The images of a set that cannot be used, as they become known.

    Attributes:
        skipped: image -> its name and what is wrong with it.
    """

    def __init__(
        self,
        images: ImageSet,
        known: Mapping[int, str] | None = None,
        *,
        finds: bool = False,
        may_lose_classes: bool = False,
    ) -> None:
        """Begin with what is ``known``: image -> reason. Raises as `add` does.

        Args:
            finds: whether a finder looks for something in them (`MAX_EMPTY`).
            may_lose_classes: whether a class may have no image left.
        """
        self.images, self.most, self.may_lose_classes = images, MAX_EMPTY if finds else MAX_DAMAGED, may_lose_classes
        self.skipped = {index: Skipped(images.items.name(index), reason) for index, reason in (known or {}).items()}
        whole = np.delete(images.labels, list(self.skipped))
        self._left = np.bincount(whole, minlength=len(images.classes))
        self._check()

    def add(self, index: int, reason: str) -> None:
        """Count the image ``index``, once.

        Raises:
            DataError: now too many of the images cannot be used, or none of a class.
        """
        if index in self.skipped:
            return
        self.skipped[index] = Skipped(self.images.items.name(index), reason)
        self._left[self.images.labels[index]] -= 1
        self._check()

    def _check(self) -> None:
        images, skipped = self.images, self.sorted
        if len(skipped) > self.most * len(images):
            raise DataError(
                f"{len(skipped)} of {len(images)} images in {images.source} cannot be used, more than "
                f"{self.most:.0%}:\n{listing(skipped)}\nRepair or remove them; if most fail, check the folder."
            )
        if skipped and self.empty and not self.may_lose_classes:
            names, classes = named(self.empty), len(self.empty)
            which = "class" if classes == 1 else f"each of {classes} classes:"
            raise DataError(f"No image of {which} {names} in {images.source} can be used:\n{listing(skipped)}")

    @property
    def empty(self) -> tuple[str, ...]:
        """The classes of which no image is left."""
        return tuple(self.images.classes[number] for number in np.flatnonzero(self._left == 0).tolist())

    @property
    def sorted(self) -> tuple[Skipped, ...]:
        """These images in the order of the set."""
        return tuple(self.skipped[index] for index in sorted(self.skipped))


def listing(skipped: tuple[Skipped, ...], at_most: int = LISTED) -> str:
    """Return one line for each of the first ``at_most`` skipped images, and the number of the others."""
    lines = [f"  {item.name}: {item.reason}" for item in skipped[:at_most]]
    if len(skipped) > at_most:
        lines.append(f"  and {len(skipped) - at_most} more")
    return "\n".join(lines)


def named(classes: Sequence[str], at_most: int = LISTED) -> str:
    """Return the names of the first classes, and the number of the others."""
    more = f" and {len(classes) - at_most} more" if len(classes) > at_most else ""
    return ", ".join(map(repr, classes[:at_most])) + more


def lost_classes_warning(classes: Sequence[str]) -> list[str]:
    """Return a warning that names the classes of which no image can be used, if there are any."""
    if not classes:
        return []
    which = "1 class is" if len(classes) == 1 else f"{len(classes)} classes are"
    return [f"{which} left out, because nothing was found in any image: {named(classes)}."]


def skipped_warning(skipped: tuple[Skipped, ...], images: int) -> list[str]:
    """Return a warning that lists the skipped images of a set of ``images``, if there are any."""
    if not skipped:
        return []
    return [f"{len(skipped)} of {images} images cannot be used and are skipped:\n{listing(skipped)}"]
