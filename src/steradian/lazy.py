"""Names of a room, loaded when first asked for: what needs no torch does not wait for it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy(room: str, places: Mapping[str, str]) -> Callable[[str], Any]:
    """A ``__getattr__`` for the package ``room``: ``places`` says in which of its files each name stands."""

    def get(name: str) -> Any:
        if name in places:
            return getattr(importlib.import_module(f"{room}.{places[name]}"), name)
        raise AttributeError(f"module {room!r} has no attribute {name!r}")

    return get
