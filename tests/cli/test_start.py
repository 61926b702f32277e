"""The command begins and ends at once: Ctrl-C at any moment, the exit code, and no program of the user run again."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HEARD = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
"""A test in the background of a shell is born with Ctrl-C ignored, and so would be its children."""


@pytest.mark.parametrize("after", [0.0, 0.1, 0.4, 0.9, 1.3])
def test_ctrl_c_while_it_begins_is_one_line(after: float, tmp_path: Path) -> None:
    # What Python itself does before its first line of ours is not ours: the handler is set before the signal is sent.
    script = "import signal, steradian.cli.start as s; signal.signal(signal.SIGINT, s.interrupted)\n"
    script += "print('begun', flush=True); s.main()"
    command = [sys.executable, "-c", script, "data"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [*command, "digits"], cwd=tmp_path, stdout=pipe, stderr=pipe, text=True, preexec_fn=HEARD
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert "Traceback" not in err and "terminate" not in err
    # It may have ended, or be about to, before the signal came.
    assert (process.returncode == 130 and "Stopped" in err) or (process.returncode in (0, -signal.SIGINT) and not err)


def test_ctrl_c_while_the_command_line_is_read_is_one_line(tmp_path: Path) -> None:
    script = "import signal, os, steradian.cli.start as s; from steradian.cli import main as m\n"
    script += "m.app = lambda: os.kill(os.getpid(), signal.SIGINT)\ns.main()"
    shown = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, preexec_fn=HEARD)
    assert (shown.returncode, shown.stderr) == (130, b"Stopped.\n")


def test_ctrl_c_stays_ignored_where_the_shell_ignored_it(tmp_path: Path) -> None:
    script = "import signal, os, steradian.cli.start as s; from steradian.cli import main as m\n"
    script += "m.main = lambda: os.kill(os.getpid(), signal.SIGINT)\ns.main()"
    ignored = functools.partial(signal.signal, signal.SIGINT, signal.SIG_IGN)
    assert subprocess.run([sys.executable, "-c", script], cwd=tmp_path, preexec_fn=ignored).returncode == 0


def test_exit_codes_and_output_arrive() -> None:
    run = functools.partial(subprocess.run, capture_output=True, text=True)
    shown = run([sys.executable, "-m", "steradian", "--version"])
    assert shown.returncode == 0 and shown.stdout.startswith("steradian ")
    assert run([sys.executable, "-m", "steradian", "data", "nowhere"]).returncode == 2
    script = "import atexit, steradian.cli.start as s; from steradian.cli import main as m\n"
    script += "m.main = lambda: atexit.register(print, 'put away')\ns.main()"
    assert run([sys.executable, "-c", script]).stdout == "put away\n"


def test_a_comparison_in_a_script_runs_the_script_once(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "import steradian as st\n"
        "print('begun')\n"
        "settings = {'training.epochs': 1}\n"
        "st.compare('digits', losses='softmax', dims=2, seeds=2, jobs=2, settings=settings, out='out', quiet=True)\n"
        "import __main__\n"
        "print(__main__.__file__)\n"
    )
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    shown = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.split() == ["begun", str(tmp_path / "script.py")]
    assert (tmp_path / "out" / "report.html").is_file()
