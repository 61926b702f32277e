"""The rules for names in a gallery, over any backend: enrolling, renaming, merging and removing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

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


class Added(NamedTuple):
    """The numbers of an identity and of the images that were added to it."""

    number: int
    images: list[int]


class Register:
    """The enrolled identities and their images, in any backend; ``backend`` stores everything."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._metadata: tuple[object, dict[int, dict[str, Any]]] = (None, {})

    def __len__(self) -> int:
        return len(self.backend)

    def add(
        self, name: str, vectors: NDArray[np.float32], sources: Sequence[str], metadata: Mapping[str, Any] | None = None
    ) -> Added:
        """Add images [M, D] of ``name``, new or already enrolled, and merge its ``metadata``."""
        return self.add_many([(name, vectors, sources, metadata)])[0]

    def add_many(self, entries: Sequence[Entry]) -> list[Added]:
        """Add all ``entries`` in one change (see `Backend.change`)."""
        checked = [(checked_name(name), vectors, sources, data) for name, vectors, sources, data in entries]
        for name, vectors, _, _ in checked:
            checked_vectors(name, vectors, self.backend.dimensions)
        added = []
        with self.backend.change():
            for name, vectors, sources, metadata in checked:
                number = self._enrolled(name, metadata)
                images = self.backend.insert_images(number, vectors, [as_source(source) for source in sources])
                added.append(Added(number, images))
        return added

    def describe(self, name: str, metadata: Mapping[str, Any]) -> None:
        """Merge ``metadata`` into those of an enrolled ``name``."""
        with self.backend.change():
            self._enrolled(self.backend.identity(self.number(name)).name, metadata)

    def _enrolled(self, name: str, metadata: Mapping[str, Any] | None) -> int:
        """Return the number of ``name``, new or not, with its ``metadata`` merged into the existing ones."""
        number = self.backend.find(name)
        if number is None:
            return self.backend.insert_identity(name, as_json(metadata or {}))
        earlier = json.loads(self.backend.metadata_text(number))
        self.backend.update_identity(number, metadata=as_json({**earlier, **(metadata or {})}))
        return number

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
                raise InputError(f"{new!r} is already taken. To combine the two, merge them.")
            self.backend.update_identity(number, name=new, metadata=text)

    def merge(self, ref: IdentityRef, into: IdentityRef) -> None:
        """Move the images of one identity to another, and remove the first."""
        with self.backend.change():
            number, other = self.number(ref), self.number(into)
            if number == other:
                raise InputError(f"{ref!r} cannot be merged into itself.")
            self.backend.move_images([image.id for image in self.backend.images_of(number)], other)
            self.backend.delete_identity(number)
            self.backend.update_identity(other)

    def move_images(self, images: Sequence[int], name: str, metadata: Mapping[str, Any] | None = None) -> int:
        """Give images to ``name``, new or already enrolled; return its number. See `remove_images` for what is raised.

        Its ``metadata`` are merged into the existing ones.
        """
        checked = checked_name(name)
        with self.backend.change():
            images = list(dict.fromkeys(images))
            records = [self.image(number) for number in images]
            number = self._enrolled(checked, metadata)
            self._check_rest([image for image in records if image.identity != number])
            self.backend.move_images(images, number)
        return number

    def remove_images(self, images: Sequence[int]) -> list[str]:
        """Remove images, and leave their identities at least one each; return the sources of the removed ones.

        Raises:
            NotFoundError: an image does not exist.
            InputError: an identity would have no image left.
        """
        with self.backend.change():
            images = list(dict.fromkeys(images))
            records = [self.image(number) for number in images]
            self._check_rest(records)
            self.backend.delete_images(images)
            for number in {record.identity for record in records}:
                self.backend.update_identity(number)
        return [record.source for record in records]

    def replace_image(self, number: int, vector: NDArray[np.float32], source: str) -> int:
        """Put the vector [D] of a new picture in place of an image; return the number of the new one."""
        with self.backend.change():
            owner = self.image(number).identity
            name = self.backend.identity(owner).name
            checked_vectors(name, vector[None], self.backend.dimensions)
            self.backend.delete_images([number])
            (new,) = self.backend.insert_images(owner, vector[None], [as_source(source)])
            self.backend.update_identity(owner)
        return new

    def note_files(self, files: Mapping[int, str]) -> None:
        """Note the state of the file that each image number came from, by which a later change is noticed."""
        with self.backend.change():
            self.backend.set_origins(files)

    def _check_rest(self, taken: Sequence[ImageRecord]) -> None:
        """Raise `InputError` if an identity would have no image left without those ``taken`` from it."""
        for number, count in Counter(image.identity for image in taken).items():
            identity = self.backend.identity(number)
            if identity.images <= count:
                raise InputError(
                    f"{identity.name!r} would have no picture left. Remove or merge the whole name instead."
                )

    def matching(self, labels: Sequence[str] | None, where: Mapping[str, Any] | None) -> list[int]:
        """Return the numbers of identities that have one of the names ``labels`` and the metadata ``where``.

        None: any name, any metadata. Metadata are read once after each change of the gallery, where it can tell.
        """
        chosen = None
        if labels is not None:
            found = (self.backend.find(name) for name in dict.fromkeys(map(normalized_name, labels)))
            chosen = [number for number in found if number is not None]
        if not where:
            return list(self.backend.names()) if chosen is None else chosen
        known = self._known_metadata()
        wanted = where.items()
        return [
            number
            for number in (known if chosen is None else chosen)
            if number in known and all(_has(known[number], key, value) for key, value in wanted)
        ]

    def _known_metadata(self) -> dict[int, dict[str, Any]]:
        version, known = self._metadata
        now = self.backend.version()
        if now is None or now != version:
            known = {number: json.loads(text) for number, text in self.backend.metadata().items()}
            self._metadata = (now, known)
        return known

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


def _has(metadata: Mapping[str, Any], key: str, value: Any) -> bool:
    """Return whether metadata have a key with a value of JSON, where true is not 1 and null is not nothing."""
    found = metadata.get(key)
    return key in metadata and found == value and isinstance(found, bool) == isinstance(value, bool)
