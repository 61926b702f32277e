"""What is said while one waits: the time left, the first line, and what happens on Ctrl-C."""

from __future__ import annotations

import io
import os
import signal
import time

import pytest

from steradian.training import progress
from steradian.training.interrupts import Interrupted, deferred_interrupts
from steradian.waiting import waiting


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_the_time_left_leaves_out_what_came_before_the_first_step(clock: Clock) -> None:
    shown = io.StringIO()
    with progress.Progress(100, "training", stream=shown) as bar:
        clock.now += 60.0  # processes start, kernels compile
        bar.advance(1)
        for _ in range(10):
            clock.now += 1.0
            bar.advance(1)
        assert bar.seconds_left(clock.now) == pytest.approx(89.0)
    assert "training: step 1/100\n" in shown.getvalue(), "there is no pace yet"
    clock.now += 15.0
    bar.advance(1)
    assert "left" in shown.getvalue()


def test_the_first_plain_line_comes_after_two_seconds(clock: Clock) -> None:
    shown = io.StringIO()
    bar = progress.Progress(10, "decoding", stream=shown)
    bar.advance(1)
    assert shown.getvalue() == ""
    clock.now += 2.5
    bar.advance(1)
    assert shown.getvalue().startswith("decoding: step 2/10")
    quiet = progress.Progress(10, "decoding", stream=shown, quiet=True)
    clock.now += 100.0
    quiet.advance(1)
    assert shown.getvalue().count("\n") == 1


def test_ctrl_c_is_answered_at_once_although_the_step_goes_on(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Interrupted), deferred_interrupts() as check:
        before = time.monotonic()
        os.kill(os.getpid(), signal.SIGINT)
        assert time.monotonic() - before < 30.0
        assert "Stopping after this step" in capfd.readouterr().err
        check()


def test_waiting_is_silent_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with waiting("writing the report"):
        pass
    assert capsys.readouterr() == ("", "")
