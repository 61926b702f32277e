"""Download and upload models on the Hugging Face hub. A local folder holds the same files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from steradian.errors import StorageError, UsageError

PREFIX = "hf-hub:"
FILES = ["model.json", "model.safetensors", "README.md"]
"""The only files that are downloaded or uploaded."""


def fetch(name: str, revision: str | None = None) -> Path:
    """Download the files of ``hf-hub:OWNER/NAME``, or take them from the cache; return their folder."""
    from huggingface_hub import snapshot_download

    with _explained(name):
        return Path(snapshot_download(_repository(name), revision=revision, allow_patterns=FILES))


def push(folder: Path, name: str, *, private: bool, message: str) -> str:
    """Upload the model folder ``folder`` to the repository ``OWNER/NAME``, created if missing; return the URL."""
    from huggingface_hub import HfApi

    repository, api = _repository(name), HfApi()
    with _explained(name):
        api.create_repo(repository, private=private, exist_ok=True)
        commit = api.upload_folder(repo_id=repository, folder_path=folder, commit_message=message, allow_patterns=FILES)
    return str(commit.commit_url)


def _repository(name: str) -> str:
    repository = name.removeprefix(PREFIX)
    owner, slash, model_name = repository.partition("/")
    if not (owner and slash and model_name) or "/" in model_name:
        raise UsageError(f"{name!r} is not a repository name: expected {PREFIX}OWNER/NAME.")
    return repository


def _is_transport_error(error: Exception) -> bool:
    return type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "requests")


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn errors of the hub's library into `UsageError` or `StorageError` that name the repository."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        yield
    except HFValidationError as error:
        raise UsageError(f"{name!r} is not a repository name: {error}") from error
    except Exception as error:
        # Transport errors come from an HTTP library that depends on the version of huggingface_hub.
        if not isinstance(error, HfHubHTTPError | LocalEntryNotFoundError | OSError) and not _is_transport_error(error):
            raise
        # LocalEntryNotFoundError hides why the download failed; its cause tells why.
        cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) else error
        status = cause.response.status_code if isinstance(cause, HfHubHTTPError) else 500
        if status in (400, 401, 403, 404):
            raise UsageError(
                f"{name}: the hub answered {status}. Check the name and your permission (HF_TOKEN)."
            ) from error
        raise StorageError(
            f"{name} could not be fetched from the hub or sent to it ({type(error).__name__}). Check the network and "
            "the disk space, or use a local folder with the same files."
        ) from error
