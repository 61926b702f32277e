"""The storage protocol of galleries. The rules for names are in `register.Register`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from steradian.gallery.records import Identity, IdentityRef, ImageRecord, RemoteSearch, Rows


class Backend(Protocol):
    """Stores and fetches identities and images; it checks nothing that `Register` checks.

    Attributes:
        path: the place, for messages.
        beside: the path beside which pictures and indexes are kept on this machine.
        model: id of the model whose vectors it holds.
        dimensions: D.
    """

    path: Path
    beside: Path
    model: str
    dimensions: int

    def close(self) -> None:
        """Let go of the file or connection."""

    def check(self) -> None:
        """Raise `StorageError` if what is stored is no longer where it was opened."""

    def change(self) -> AbstractContextManager[None]:
        """Group writes: a SQLite file commits them as one transaction; Milvus writes images before identities."""

    def reading(self) -> AbstractContextManager[None]:
        """Read a consistent snapshot, where the backend has one."""

    def setting(self, name: str) -> str:
        """Return a value that is kept with the gallery."""

    def set_setting(self, name: str, value: str) -> None:
        """Write such a value, within `change`."""

    def token(self) -> str:
        """Return a random token that changes when vectors are replaced: an index with another token is stale."""

    def find(self, ref: IdentityRef) -> int | None:
        """Return the number of an identity by its number or normalized name, or None."""

    def metadata_text(self, number: int) -> str:
        """Return the metadata of an identity as stored text."""

    def insert_identity(self, name: str, metadata: str) -> int:
        """Write a new identity, within `change`; return its number."""

    def update_identity(self, number: int, *, name: str | None = None, metadata: str | None = None) -> None:
        """Replace name or metadata, within `change`; the time of the change is noted in any case."""

    def delete_identity(self, number: int) -> None:
        """Remove an identity and its images, within `change`."""

    def insert_images(self, number: int, vectors: NDArray[np.float32], sources: Sequence[str]) -> list[int]:
        """Write images [M, D] of an identity, within `change`; return their numbers."""

    def move_images(self, images: Sequence[int], into: int) -> None:
        """Give images to an identity, within `change`."""

    def delete_images(self, images: Sequence[int]) -> None:
        """Remove images, within `change`."""

    def __len__(self) -> int:
        """Return the number of identities."""

    def identity(self, number: int) -> Identity:
        """Return one identity, which exists."""

    def identities(self, containing: str = "", after: str = "", limit: int = -1) -> list[tuple[int, Identity]]:
        """List (number, identity), sorted by name.

        Args:
            containing: only names that contain this, ignoring case.
            after: only names sorted after this one.
            limit: maximum number; -1: all.
        """

    def metadata(self) -> dict[int, str]:
        """Return number -> metadata of every identity, as stored text."""

    def version(self) -> object:
        """Return a value that is equal to an earlier one only if nothing was written since; None: it cannot tell."""

    def origins(self, number: int) -> dict[int, str]:
        """Return image number -> the state of its file when it was embedded, of an identity, where it was noted."""

    def set_origins(self, origins: Mapping[int, str]) -> None:
        """Note the state of the files of images, within `change`."""

    def names(self, after: int = 0) -> dict[int, str]:
        """Return number -> name of identities with a number above ``after``."""

    def images_of(self, number: int) -> list[ImageRecord]:
        """List the images of an identity in the order of enrollment."""

    def first_images(self, numbers: Sequence[int]) -> dict[int, int]:
        """Return the number of the first image of each of the identities ``numbers`` that has one."""

    def image(self, number: int) -> ImageRecord | None:
        """Return one image, or None."""

    def sources(self) -> dict[int, tuple[str, str]]:
        """Return image number -> (name, source)."""

    def rows(self, after: int = 0) -> Rows:
        """Return the images with a number above ``after``."""

    def state(self) -> tuple[int, int] | None:
        """Return (number of rewrites, last image number), by which a copy notices changes; None: copies cannot last."""

    def remote_search(self, identities: Sequence[int] | None) -> RemoteSearch | None:
        """Return a search that runs where the vectors are, or None: they are searched in this process."""
