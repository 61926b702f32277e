"""The errors that steradian raises on purpose.

Every message says what was expected, what came, where, and what to do next.
The command line prints the message alone, without a traceback, and exits with ``exit_code``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SteradianError(Exception):
    """A failure that the user can fix: data, files, training. Exit code 1."""

    exit_code = 1


class UsageError(SteradianError):
    """The request itself is wrong: an unknown name, an impossible option. Exit code 2."""

    exit_code = 2


class DataError(SteradianError):
    """Images or labels cannot be used as they are."""


class StorageError(SteradianError):
    """A file or folder cannot be read or written."""


class ReadOnlyError(StorageError):
    """A file cannot be changed, but it can be read."""


class UnreachableError(SteradianError):
    """A source stopped answering. What was done until then is kept."""


class TrainingError(SteradianError):
    """Training cannot continue, so it stops instead of failing silently."""


class ReaderError(TrainingError):
    """A process that reads images was ended by the system. What was done until then is kept."""


class InputError(SteradianError, ValueError):
    """A tensor, array or number is not a valid argument of a function."""


class NotFoundError(InputError):
    """The requested name or number does not exist."""


class OptionWarning(UserWarning):
    """An option is valid, but a known bound predicts that it will not have its intended effect."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a sentence that suggests the closest known name, or lists all of them when none is close.

    >>> did_you_mean("arcfase", ["arcface", "cosface"])
    "Did you mean 'arcface'?"
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(names)}."
