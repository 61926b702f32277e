"""What an enrollment says about odd images, and what it says about many of them in a few lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steradian.gallery.search.pool import Pool

MOST_LINES = 5
"""Number of lines that `gathered` returns."""

MOST = 0.5
"""From this share of images that are unlike the others of their name, that is how these images are, and not odd."""


@dataclass(frozen=True)
class Hint:
    """An odd image.

    Attributes:
        image: its file name.
        name: the identity that it was enrolled for.
        other: the identity that it looks like; None: it is unlike the other images of ``name``.
        cosine: to the nearest image of ``other``, or of ``name``.
    """

    image: str
    name: str
    other: str | None
    cosine: float

    def __str__(self) -> str:
        if self.other is None:
            return f"{self.image} is unlike the other images of {self.name!r} (cosine {self.cosine:.2f})."
        return f"{self.image} is like {self.other!r} (cosine {self.cosine:.2f}), who is also enrolled."


def odd_images(
    everyone: Pool,
    own: Pool,
    threshold: float,
    identity: tuple[int, str],
    vectors: NDArray[np.float32],
    images: Sequence[str],
) -> tuple[Hint, ...]:
    """Compare new images of an ``identity`` (id and name) with its others and with those of everyone else.

    Args:
        everyone, own: the pools of nearest images, of the gallery and of the identity, which hold the new images.
        threshold: the cosine above which two images count as the same.
        vectors: the new images, [M, D], which are called ``images``.
    """
    number, name = identity
    # Of one image more than the identity has, at least one is of another identity.
    nearest_own, nearest_all = own.search(vectors, 2), everyone.search(vectors, own.count + 1)
    hints = []
    for image, own_matches, all_matches in zip(images, nearest_own, nearest_all, strict=True):
        # The nearest image of the identity is the image itself.
        if len(own_matches.scores) > 1 and own_matches.scores[1] <= threshold:
            hints.append(Hint(image, name, None, float(own_matches.scores[1])))
        others = np.flatnonzero(all_matches.owners != number)
        if len(others) and all_matches.scores[others[0]] > threshold:
            other = everyone.names[int(all_matches.owners[others[0]])]
            hints.append(Hint(image, name, other, float(all_matches.scores[others[0]])))
    return tuple(hints)


def gathered(hints: Sequence[Hint], images: Mapping[str, int]) -> list[str]:
    """Return the hints on an enrollment of ``images`` per name in at most `MOST_LINES` sentences, most images first."""
    total = sum(images.values())
    unlike = Counter(hint.name for hint in hints if hint.other is None)
    alike = Counter((hint.name, hint.other) for hint in hints if hint.other is not None)
    lines: list[tuple[int, str]] = []
    if sum(unlike.values()) > MOST * total:
        sentence = (
            f"{sum(unlike.values())} of {total} images are not very like the others of their name, so that many "
            "pictures will be unknown. Enroll more pictures of each, or use a model that was trained on such things."
        )
        lines.append((total, sentence))
    else:
        for name, count in unlike.items():
            files = _listed([hint.image for hint in hints if hint.name == name and hint.other is None])
            total_of, verb = images.get(name, count), "are" if count > 1 else "is"
            nouns = "images" if total_of > 1 else "image"
            lines.append((count, f"{name}: {count} of {total_of} {nouns} {verb} unlike its others ({files})."))
    for (name, other), count in alike.items():
        lines.append((count, f"{name}: {count} of {images.get(name, count)} look like {other}, which is enrolled too."))
    lines.sort(key=lambda line: -line[0])
    sentences = [text for _, text in lines]
    if len(sentences) <= MOST_LINES:
        return sentences
    return [
        *sentences[: MOST_LINES - 1],
        f"… and {len(sentences) - MOST_LINES + 1} more such names (--json lists all).",
    ]


def _listed(files: Sequence[str]) -> str:
    return ", ".join(files[:3]) + (f", and {len(files) - 3} more" if len(files) > 3 else "")
