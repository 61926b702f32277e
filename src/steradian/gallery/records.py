"""Data types of a gallery, and checks of names and metadata."""

from __future__ import annotations

import datetime
import json
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from steradian.errors import InputError

IdentityRef = str | int
"""An identity by name, or by its number, which never changes."""

LONGEST_NAME, LONGEST_METADATA, DEEPEST_METADATA = 256, 65_536, 32


@dataclass(frozen=True)
class Identity:
    """An enrolled person or thing.

    Attributes:
        images: number of images.
        created, changed: UTC, ISO 8601.
        metadata: any JSON object.
    """

    name: str
    images: int
    created: str
    changed: str
    metadata: dict[str, Any]


@dataclass(frozen=True)
class ImageRecord:
    """An enrolled image; ``source`` is the file it came from, empty if it was not a file."""

    id: int
    identity: int
    source: str
    created: str


@dataclass(frozen=True)
class Rows:
    """Enrolled images as stored: ascending ids [M], the identity of each [M], and vectors float32 [M, D]."""

    ids: NDArray[np.int64]
    identities: NDArray[np.int64]
    vectors: NDArray[np.float32]


class Nearest(NamedTuple):
    """The nearest vectors to one query: descending scores [K], owners [K], and image numbers [K] or None."""

    scores: NDArray[np.float32]
    owners: NDArray[np.int64]
    images: NDArray[np.int64] | None


Search = Callable[[NDArray[np.float32], int], "list[Nearest]"]
"""(queries [Q, D], k) -> the k nearest of each, or all if there are fewer."""


class RemoteSearch(NamedTuple):
    """A search that runs where the vectors are; ``names`` (number of an identity -> name) is filled while searching."""

    vectors: int
    owners: int
    names: Mapping[int, str]
    search: Search


JOINERS = "\u200c\u200d"
"""Zero width non-joiner and joiner, which belong to the spelling of names in some scripts."""

WITHOUT_SHAPES = ("LATIN", "GREEK", "CYRILLIC", "DIGIT", "ZERO WIDTH")
"""Scripts whose letters look the same with a joiner or a variation beside them."""

BLANK = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
"""Characters that are no spaces and show nothing."""

VARIATIONS = frozenset(map(chr, range(0xFE00, 0xFE10)))
TAGS = frozenset(map(chr, range(0xE0020, 0xE0080)))
FLAG, MONGOLIAN_SEPARATOR = "\U0001f3f4", "\u180e"


def checked_name(name: str) -> str:
    """Return ``name`` in Unicode form NFC, without surrounding spaces. Raises `InputError` if it is not valid."""
    normalized = normalized_name(name)
    if not normalized or len(normalized) > LONGEST_NAME:
        raise InputError(f"a name must have 1 to {LONGEST_NAME} characters, but this one has {len(normalized)}.")
    for index, character in enumerate(normalized):
        if _is_invisible(character) and not _shapes(character, normalized[:index], normalized[index + 1 :]):
            raise InputError(f"the name contains the control character U+{ord(character):04X}. Leave it out.")
    return normalized


def _is_invisible(character: str) -> bool:
    return (
        unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
        or character in BLANK
        or character in VARIATIONS
    )


def _shapes(character: str, before: str, after: str) -> bool:
    """Return whether an invisible character changes how its neighbors look: then it belongs to the spelling.

    Joiners do in Persian, in Malayalam (also at the end of a word) or between emoji, variations after signs that have
    some, and tags in a flag. Elsewhere, two names with and without it would look the same.
    """
    last = before[-1:]
    has_shapes = bool(last) and not last.isspace() and not unicodedata.name(last, "").startswith(WITHOUT_SHAPES)
    if character in JOINERS:
        # Vowel signs that end a word, such as a virama, take their shape from what follows.
        ends_word = not after or after[0].isspace()
        takes = not after or not unicodedata.name(after[0], "").startswith(WITHOUT_SHAPES)
        return has_shapes and (unicodedata.category(last) == "Mn" if ends_word else takes)
    if character in VARIATIONS:
        return has_shapes or last.isdigit() or last in "#*"
    if character == MONGOLIAN_SEPARATOR:
        return unicodedata.name(last or " ", "").startswith("MONGOLIAN")
    return character in TAGS and FLAG in before


UNIT_SLACK = 1e-2
"""Largest difference of the length of a unit vector from 1; half precision needs a part of it."""


def checked_vectors(name: str, vectors: NDArray[np.float32], dimensions: int) -> None:
    """Raise `InputError` unless ``vectors`` of ``name`` are finite, of unit length, and [M, ``dimensions``]."""
    if vectors.ndim != 2 or vectors.shape[1] != dimensions:
        raise InputError(f"vectors of this gallery must be [M, {dimensions}], but these are {list(vectors.shape)}.")
    check_unit(f"of {name!r}", vectors)


def check_unit(of: str, vectors: NDArray[np.float32]) -> None:
    """Raise `InputError` unless vectors [M, D] are finite and of unit length; ``of`` says whose they are."""
    if not np.isfinite(vectors).all():
        raise InputError(f"a vector {of} is not finite. Check how its image was embedded.")
    apart = np.abs(np.linalg.norm(vectors, axis=1) - 1.0)
    if len(apart) and apart.max() > UNIT_SLACK:
        worst = int(apart.argmax())
        raise InputError(
            f"vector {worst} {of} has the length {float(np.linalg.norm(vectors[worst])):.4g}, and products of such "
            "vectors are no cosines. Divide each vector by its length; a vector of zeros has no direction."
        )


ELSEWHERE = "elsewhere:"
"""Begins the source of an image that came with an imported file: a path of another machine, which is never opened."""


def elsewhere(source: str) -> str:
    """Return the source of an imported image, which is kept to be read, and not to be opened."""
    return source if not source or source.startswith(ELSEWHERE) else ELSEWHERE + source


def as_source(source: str | Path) -> str:
    """Return the source of an image as stored text, with bytes that are not UTF-8 escaped."""
    return str(source).encode("utf-8", "backslashreplace").decode()


def normalized_name(name: str) -> str:
    """Return a name as it is compared: Unicode form NFC, without surrounding spaces."""
    return unicodedata.normalize("NFC", name).strip()


def as_json(metadata: Mapping[str, Any]) -> str:
    """Return metadata as stored text. Raises `InputError` if they are not plain JSON, too long or too deep."""
    if _depth(metadata) > DEEPEST_METADATA:
        raise InputError(f"metadata may be nested at most {DEEPEST_METADATA} levels deep, but these go deeper.")
    try:
        text = json.dumps(dict(metadata), ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"metadata must be plain JSON values ({error}).") from error
    if len(text) > LONGEST_METADATA:
        raise InputError(f"metadata has {len(text):,} characters; at most {LONGEST_METADATA:,} are allowed.")
    return text


def _depth(value: Any, depth: int = 0) -> int:
    if depth > DEEPEST_METADATA or not isinstance(value, Mapping | list | tuple):
        return depth
    children = value.values() if isinstance(value, Mapping) else value
    return max((_depth(child, depth + 1) for child in children), default=depth + 1)


def moment() -> str:
    """Return the present time: UTC, ISO 8601."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
