"""A process that has imported what every command imports and forks for each of them.

Tests start dozens of programs, and half of the time of each would go into importing torch. A program still has a
process, a folder, an environment and streams of its own; signals reach it, and it is killed with the one that stands
for it.

    python warm.py SOCKET PICTURES  serve; `pictures` are kept in the second folder
    CLIENT, written by `client`     send the words of a command line there, and end as it ends
"""

from __future__ import annotations

import contextlib
import importlib
import json
import multiprocessing
import os
import runpy
import select
import signal
import socket
import sys
import textwrap
from pathlib import Path

MODULES = (
    "torch",
    "timm",
    "matplotlib.backends.backend_agg",
    "sklearn.datasets",
    "plotly.offline",
    "steradian.cli.main",
    "steradian.gallery.gallery",
    "steradian.service.app",
    "steradian.studies.comparison.compare",
    "steradian.studies.comparison.report",
    "steradian.studies.evaluation.report",
    "steradian.studies.transferability.freezing_report",
    "steradian.studies.single_run",
    "steradian.studies.transferability.report",
)

CLIENT = """\
#!{python} -SE
import json, os, signal, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect({path!r})
words = json.dumps({{"kind": {kind!r}, "words": sys.argv[1:], "folder": os.getcwd(), "environment": dict(os.environ)}})
socket.send_fds(connection, [words.encode()], [0, 1, 2])
connection.shutdown(socket.SHUT_WR)
answers = connection.makefile()
child = int(answers.readline())
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, _: os.kill(child, number))
code = int(answers.readline() or "1")
if code < 0:
    if code != -signal.SIGKILL:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


def client(path: Path, server: Path, kind: str) -> None:
    """Write a program that runs the command ``steradian`` (kind "command") or ``python`` (kind "python")."""
    path.write_text(CLIENT.format(python=sys.executable, path=str(server), kind=kind))
    path.chmod(0o755)


def serve(path: str, drawn: str) -> None:
    """Answer until killed."""
    for name in MODULES:
        importlib.import_module(name)
    # Two tests run at a time: the networks of a study that does not say how many are trained one after the other.
    sys.modules["steradian.studies.study"].available_cores = lambda: 1  # type: ignore[attr-defined]
    import pictures

    pictures.drawn_once(Path(drawn))
    connection = socket.socket(socket.AF_UNIX)
    connection.bind(path)
    connection.listen()
    print("ready", flush=True)
    while True:
        asked, _ = connection.accept()
        if os.fork() == 0:
            connection.close()
            _answer(asked)
        asked.close()
        # Children that have ended are let go of here.
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass


def _answer(asked: socket.socket) -> None:
    content, streams, _, _ = socket.recv_fds(asked, 2**20, 3)
    while part := asked.recv(2**16):
        content += part
    request = json.loads(content)
    child = os.fork()
    if child == 0:
        asked.close()
        _become(request, streams)
    asked.send(f"{child}\n".encode())
    # Whichever is first: it ends, or the program that stands for it is killed and hangs up.
    events = select.poll()
    events.register(os.pidfd_open(child), select.POLLIN)
    events.register(asked, 0)
    if any(number == asked.fileno() for number, _ in events.poll()):
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(BrokenPipeError):
        asked.send(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _become(request: dict[str, object], streams: list[int]) -> None:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    sys.stdin, sys.stdout, sys.stderr = (open(number, mode) for number, mode in enumerate("rww"))  # noqa: PTH123, SIM115
    os.chdir(str(request["folder"]))
    os.environ.clear()
    os.environ.update(request["environment"])  # type: ignore[call-overload]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    words = list(request["words"])  # type: ignore[call-overload]
    code = 0
    try:
        if request["kind"] == "command":
            from steradian.cli.main import main

            sys.argv = ["steradian", *words]
            main()
        elif words[0] == "-c":
            sys.argv = words[:1] + words[2:]
            exec(compile(textwrap.dedent(words[1]), "<block>", "exec"), {"__name__": "__main__"})
        elif words[0] == "-m":
            sys.argv = words[1:]
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv, sys.path[0] = words, str(Path(words[0]).parent)
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - whatever it is, it is what the block ends with
        import traceback

        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    # A program that ends by itself ends its readers of images too; left alone they hold its streams open for seconds.
    for reader in multiprocessing.active_children():
        reader.terminate()
    os._exit(code)


if __name__ == "__main__":
    serve(*sys.argv[1:])
