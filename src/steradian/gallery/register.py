"""The rules for names in a gallery, over any backend: enrolling, renaming, merging and removing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steradian.errors import InputError, NotFoundError
from steradian.gallery.backend import Backend
from steradian.gallery.records import (
    Identity,
    IdentityRef,
    ImageRecord,
    as_json,
    as_source,
    checked_name,
    checked_vectors,
    normalized_name,
)

Entry = tuple[str, NDArray[np.float32], Sequence[str], Mapping[str, Any] | None]
"""A name, its vectors [M, D], the source of each, and metadata or None."""


class Register:
    """The enrolled identities and their images, in any backend; ``backend`` stores everything."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def __len__(self) -> int:
        return len(self.backend)

    def add(
        self, name: str, vectors: NDArray[np.float32], sources: Sequence[str], metadata: Mapping[str, Any] | None = None
    ) -> int:
        """Add images [M, D] of ``name``, new or already enrolled, and merge its ``metadata``; return its number."""
        return self.add_many([(name, vectors, sources, metadata)])[0]

    def add_many(self, entries: Sequence[Entry]) -> list[int]:
        """Add all ``entries`` in one change (see `Backend.change`); return their numbers."""
        checked = [(checked_name(name), vectors, sources, data) for name, vectors, sources, data in entries]
        for name, vectors, _, _ in checked:
            checked_vectors(name, vectors, self.backend.dimensions)
        numbers = []
        with self.backend.change():
            for name, vectors, sources, metadata in checked:
                number = self.backend.find(name)
                if number is None:
                    number = self.backend.insert_identity(name, as_json(metadata or {}))
                else:
                    earlier = json.loads(self.backend.metadata_text(number))
                    self.backend.update_identity(number, metadata=as_json({**earlier, **(metadata or {})}))
                self.backend.insert_images(number, vectors, [as_source(source) for source in sources])
                numbers.append(number)
        return numbers

    def number(self, ref: IdentityRef) -> int:
        """Return the number of an identity. Raises `NotFoundError` if it is not enrolled."""
        number = self.backend.find(normalized_name(ref) if isinstance(ref, str) else int(ref))
        if number is None:
            named = f"called {ref!r}" if isinstance(ref, str) else f"with the number {ref}"
            raise NotFoundError(f"nobody {named} is enrolled in {self.backend.path}.")
        return number

    def remove(self, ref: IdentityRef) -> list[str]:
        """Remove an identity and its images; return the sources of these."""
        with self.backend.change():
            number = self.number(ref)
            sources = [image.source for image in self.backend.images_of(number)]
            self.backend.delete_identity(number)
        return sources

    def edit(self, ref: IdentityRef, *, name: str | None = None, metadata: Mapping[str, Any] | None = None) -> None:
        """Replace name, metadata or both; None keeps the present value. Raises `InputError` if the name is taken."""
        new = checked_name(name) if name is not None else None
        text = as_json(metadata) if metadata is not None else None
        with self.backend.change():
            number = self.number(ref)
            if new is not None and self.backend.find(new) not in (None, number):
                raise InputError(f"{new!r} is already taken. To combine the two: steradian gallery merge.")
            self.backend.update_identity(number, name=new, metadata=text)

    def merge(self, ref: IdentityRef, into: IdentityRef) -> None:
        """Move the images of one identity to another, and remove the first."""
        with self.backend.change():
            number, other = self.number(ref), self.number(into)
            if number == other:
                raise InputError(f"{ref!r} cannot be merged into itself.")
            self.backend.move_images(number, other)
            self.backend.delete_identity(number)
            self.backend.update_identity(other)

    def identity(self, ref: IdentityRef) -> tuple[int, Identity]:
        """Return the number and the identity. Raises `NotFoundError` if it is not enrolled."""
        with self.backend.reading():
            number = self.number(ref)
            return number, self.backend.identity(number)

    def identities(self, containing: str = "", after: str = "", limit: int = -1) -> list[tuple[int, Identity]]:
        """List (number, identity), sorted by name, see `Backend.identities`."""
        return self.backend.identities(normalized_name(containing).casefold() if containing else "", after, limit)

    def images_of(self, ref: IdentityRef) -> list[ImageRecord]:
        """List the images of an identity in the order of enrollment."""
        with self.backend.reading():
            return self.backend.images_of(self.number(ref))

    def image(self, number: int) -> ImageRecord:
        """Return one image. Raises `NotFoundError` if it does not exist."""
        image = self.backend.image(number)
        if image is None:
            raise NotFoundError(f"there is no image {number} in {self.backend.path}.")
        return image
