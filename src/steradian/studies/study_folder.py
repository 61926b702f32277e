"""The folder of a study: one file says what it holds, and a folder of another study is refused untouched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from steradian.errors import UsageError
from steradian.files import check_folder, read_json


def check_study_folder(out: Path, name: str, identity: dict[str, Any], what: str, *, exist_ok: bool) -> None:
    """Raise `UsageError` if ``out`` holds another study than ``identity``, which the file ``name`` records.

    Args:
        what: the kind of study, for the message.
        exist_ok: allow a folder that holds other files.
    """
    if not (out / name).is_file():
        check_folder(out, exist_ok=exist_ok)
    elif (recorded := read_json(out / name)) != identity:
        raise UsageError(
            f"{out} holds another {what} ({_first_difference(recorded, identity)}). Choose another --out or repeat the "
            "command that started it."
        )


def _first_difference(recorded: Any, expected: Any, path: str = "") -> str:
    if isinstance(recorded, dict) and isinstance(expected, dict):
        for key in expected:
            if recorded.get(key) != expected[key]:
                return _first_difference(recorded.get(key), expected[key], f"{path}{'.' if path else ''}{key}")
    if path in ("data", "names", "content"):
        return "of other images"
    return f"{path} was {recorded!r} and is now {expected!r}"


def default_folder(source: str, prefix: str = "") -> Path:
    """Return ``runs/NAME`` for a data source."""
    return Path("runs") / f"{prefix}{Path(source).resolve().stem}"
