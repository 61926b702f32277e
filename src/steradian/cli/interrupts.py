"""What Ctrl-C does before, during and after a command. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import os
import threading
from types import FrameType

COMMAND_RUNS = threading.Event()
"""Set while the function of a command runs: only then may there be something to put away."""

IMPORTING = "<frozen importlib"


def interrupted(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt while a command runs; before it, after it, and during an import, end the process.

    The C++ code of torch aborts the process when an exception reaches it while it is imported, and an exception in the
    middle of what prepares a command would be shown to the user as it is.
    """
    if not COMMAND_RUNS.is_set() or _imports(frame):
        with contextlib.suppress(OSError):
            os.write(2, b"Stopped.\n")
        os._exit(130)
    raise KeyboardInterrupt


def _imports(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith(IMPORTING):
            return True
        frame = frame.f_back
    return False
