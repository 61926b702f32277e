"""Public names of a package, loaded when first asked for: code that needs no torch does not wait for it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy(package: str, files: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of ``package``; ``files`` lists the public names of each of its files."""
    file_of = {name: file for file, names in files.items() for name in names.split()}

    def get(name: str) -> Any:
        if name in file_of:
            return getattr(importlib.import_module(f"{package}.{file_of[name]}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get, lambda: sorted(file_of)
