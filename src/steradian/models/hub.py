"""Models on the Hugging Face hub, and in local folders as their equal twins."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from steradian.errors import StorageError, UsageError

PREFIX = "hf-hub:"
FILES = ["model.json", "model.safetensors", "README.md"]
"""All that is fetched; nothing else of a repository is looked at."""


def fetch(name: str, revision: str | None = None) -> Path:
    """Download the files of ``hf-hub:OWNER/NAME``, or take them from the cache; the folder that holds them.

    Raises:
        UsageError: no such repository.
        StorageError: the hub cannot be reached.
    """
    from huggingface_hub import snapshot_download

    with _explained(name):
        return Path(snapshot_download(_repository(name), revision=revision, allow_patterns=FILES))


def push(folder: Path, name: str, *, private: bool, message: str) -> str:
    """Upload the model folder ``folder`` as the repository ``OWNER/NAME``, made where there is none; the address.

    Raises:
        UsageError: no such owner, or no right to write.
        StorageError: the hub cannot be reached.
    """
    from huggingface_hub import HfApi

    repository, api = _repository(name), HfApi()
    with _explained(name):
        api.create_repo(repository, private=private, exist_ok=True)
        done = api.upload_folder(repo_id=repository, folder_path=folder, commit_message=message, allow_patterns=FILES)
    return str(done.commit_url)


def _repository(name: str) -> str:
    found = name.removeprefix(PREFIX)
    owner, slash, own = found.partition("/")
    if not (owner and slash and own) or "/" in own:
        raise UsageError(f"{name!r} names no repository: expected {PREFIX}OWNER/NAME.")
    return found


def _of_transport(error: Exception) -> bool:
    return type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "requests")


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """What the hub's library raises, as what went wrong with which repository."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        yield
    except HFValidationError as error:
        raise UsageError(f"{name!r} names no repository: {error}") from error
    except Exception as error:
        # The transport's errors are of another library's classes, which changes with the hub's.
        if not isinstance(error, HfHubHTTPError | LocalEntryNotFoundError | OSError) and not _of_transport(error):
            raise
        # What is neither fetched nor in the cache hides why it was not fetched.
        told = error.__cause__ if isinstance(error, LocalEntryNotFoundError) else error
        status = told.response.status_code if isinstance(told, HfHubHTTPError) else 500
        if status in (400, 401, 403, 404):
            raise UsageError(
                f"{name}: the hub answered {status}. Check the name, and that you may use it (HF_TOKEN)."
            ) from error
        raise StorageError(
            f"{name} could not be fetched from the hub or sent to it ({type(error).__name__}). Is there a network, and "
            "room on the disk? A folder with the same files works alike."
        ) from error
