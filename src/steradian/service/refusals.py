"""Tell an error to people who must not learn where files lie."""

from __future__ import annotations

from steradian.errors import ReadOnlyError, StorageError
from steradian.gallery import Gallery


def told(error: Exception, gallery: Gallery | None) -> str:
    """Return the words of ``error`` without paths of this machine."""
    if isinstance(error, ReadOnlyError):
        return "The gallery is read-only here: it answers, but nothing in it can be changed."
    if isinstance(error, StorageError):
        return "The gallery cannot be used now; see the log of the service."
    message = str(error)
    # Only where messages name it: the name of a gallery may be a letter.
    return message if gallery is None else message.replace(f" in {gallery.register.backend.path}.", " in the gallery.")
