"""The folder of a study: what it holds is said by one file, and another study is refused before anything is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from steradian.errors import UsageError
from steradian.files import check_folder, read_json


def check_place(out: Path, name: str, identity: dict[str, Any], what: str, *, exist_ok: bool) -> None:
    """Raise `UsageError` where ``out`` holds something else than the study of ``identity``, kept in the file ``name``.

    Args:
        what: the kind of study, in words.
        exist_ok: whether a folder of other files will do.
    """
    if not (out / name).is_file():
        check_folder(out, exist_ok=exist_ok)
    elif (found := read_json(out / name)) != identity:
        raise UsageError(
            f"{out} holds another {what} ({_first_difference(found, identity)}). Choose another --out, or repeat the "
            "command that started it."
        )


def _first_difference(found: Any, wanted: Any, where: str = "") -> str:
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in wanted:
            if found.get(key) != wanted[key]:
                return _first_difference(found.get(key), wanted[key], f"{where}{'.' if where else ''}{key}")
    if where == "data":
        return "of other images"
    return f"{where} is {found!r} there and {wanted!r} now"
