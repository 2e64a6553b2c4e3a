"""The progress line: shown on a terminal, silent elsewhere, and never drawn more often than four
times a second."""

from __future__ import annotations

import io
import sys
import time

import pytest

from equilibria.training import progress
from equilibria.training.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def open_terminal(monkeypatch) -> Terminal:
    """Called in the test itself: pytest puts its own standard error in place after the fixtures."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    for name, value in {"TERM": "xterm", "COLUMNS": "160", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    return screen


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved."""

    class Clock:
        now = 100.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_a_terminal_shows_stage_step_rate_time_and_values(monkeypatch):
    terminal = open_terminal(monkeypatch)
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_DRAWINGS", 0.0)
    with Progress("joint [2/3]", total=4) as line:
        for step in (1, 2, 3):
            time.sleep(0.01)
            line.advance(step, cost=0.123456, gap=-2.0)
        shown = terminal.getvalue()
        line.advance(4)
    for part in ("joint [2/3]", "3/4", "/s", "0:00:0", "cost 0.1235", "gap -2"):
        assert part in shown
    last_drawing = terminal.getvalue().rpartition("joint")[2]
    assert "4/4" in last_drawing
    assert "cost 0.1235" in last_drawing


def test_at_most_four_drawings_a_second(monkeypatch, clock):
    terminal = open_terminal(monkeypatch)
    with Progress("joint", total=1000) as line:
        drawn = 0
        for step in range(1, 301):
            clock.now += 0.01
            drawn += line.due()
            line.advance(step)
            assert not line.due()
    assert 11 <= drawn <= 13
    assert terminal.getvalue()


def test_the_last_step_is_always_drawn(monkeypatch, clock):
    terminal = open_terminal(monkeypatch)
    with Progress("joint", total=9, start=5) as line:
        line.advance(8)
        line.advance(9, cost=1.5)
    assert "9/9" in terminal.getvalue()
    assert "cost 1.5" in terminal.getvalue()


def test_elsewhere_nothing_is_printed(monkeypatch):
    for screen, verbose in ((Terminal(), False), (io.StringIO(), True)):
        monkeypatch.setattr(sys, "stderr", screen)
        with Progress("joint", total=2, verbose=verbose) as line:
            assert not line.due()
            line.advance(1, cost=1.0)
            line.advance(2, cost=0.5)
            assert not line.due()
        assert screen.getvalue() == ""


def test_an_error_passes_through_and_the_cursor_comes_back(monkeypatch):
    terminal = open_terminal(monkeypatch)
    with pytest.raises(ZeroDivisionError), Progress("joint", total=2):
        raise ZeroDivisionError
    assert terminal.getvalue().rfind("\x1b[?25h") > terminal.getvalue().rfind("\x1b[?25l")


def test_output_that_goes_to_a_file_still_goes_there(monkeypatch, capsys):
    open_terminal(monkeypatch)
    with Progress("joint", total=2):
        print("a result")
    assert capsys.readouterr().out == "a result\n"
