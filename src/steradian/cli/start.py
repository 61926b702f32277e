"""Start the command, so that Ctrl-C ends it at once from its first moment to its last. Imports nothing heavy."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
from typing import NoReturn

from steradian.cli.interrupts import interrupted


def main() -> NoReturn:
    """Run the command and leave; see `steradian.cli.main.main` for the exit codes."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # A shell starts what runs in its background with Ctrl-C ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupted)
    code: object = 0
    try:
        from steradian.cli.main import main as run

        run()
    except SystemExit as end:
        code = end.code
    _leave(code)


def _leave(code: object) -> NoReturn:
    """End the process after the functions registered for its end: torch alone takes half a second to be taken apart."""
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        # A reader may have closed the pipe.
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code if isinstance(code, int) else 0)
