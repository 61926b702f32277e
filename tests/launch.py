"""Run a script as the processes of one group, as torchrun would."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_ranks(
    count: int, script: Path | str, *arguments: str, python: Path | str = sys.executable
) -> list[subprocess.Popen[str]]:
    """``count`` processes of ``python script arguments``; ``-m module`` works as the script too."""
    shared = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(count)}
    command = [str(python), *str(script).split(" "), *arguments]
    return [
        subprocess.Popen(
            command,
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]


def run_ranks(
    count: int, script: Path | str, *arguments: str, python: Path | str = sys.executable, seconds: float = 240.0
) -> list[tuple[int, str, str]]:
    """(exit code, standard output, standard error) of each process."""
    processes = start_ranks(count, script, *arguments, python=python)
    try:
        said = [process.communicate(timeout=seconds) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *words) for process, words in zip(processes, said, strict=True)]
