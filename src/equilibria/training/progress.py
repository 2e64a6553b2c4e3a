"""What a person sees and sends while something long runs: a progress line, and signals."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

import rich.progress as bar
from rich.console import Console
from rich.text import Text

from equilibria.errors import TrainingInterrupted

__all__ = ["Interrupts", "Progress", "Work"]

PATIENCE = 3.0  # seconds from a signal until work is stopped that does not stop by itself
_SECONDS_BETWEEN_DRAWINGS = 0.25


class _Rate(bar.ProgressColumn):
    def render(self, task: bar.Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s", style="progress.data.speed")


class Progress:
    """A line on standard error: stage, bar, step, rate, time left and a few metrics.

    Nothing is printed where standard error is not a terminal. ``start`` is the step at which the
    line begins, not 0 after a resume, and ``total`` the one at which it ends. Ask :meth:`due`
    before copying a value from its device: only then it is going to be seen.
    """

    def __init__(self, stage: str, total: int, start: int = 0, verbose: bool = True):
        self._total, self._values, self._drawn_at = total, "", -float("inf")
        self._bar: bar.Progress | None = None
        if verbose and sys.stderr.isatty():
            name = bar.TextColumn("{task.description}", markup=False)
            values = bar.TextColumn("{task.fields[values]}", markup=False)
            times = (bar.MofNCompleteColumn(), _Rate(), bar.TimeRemainingColumn())
            self._bar = bar.Progress(
                *(name, bar.BarColumn(), *times, values),
                console=Console(stderr=True),
                auto_refresh=False,  # no thread: the line moves when a step is done
                redirect_stdout=sys.stdout.isatty(),  # what is piped to a file must go on there
            )
            self._task = self._bar.add_task(stage, total=total, completed=start, values="")

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def due(self) -> bool:
        """Whether :meth:`advance` would draw now: at most four times a second."""
        waited = time.monotonic() - self._drawn_at >= _SECONDS_BETWEEN_DRAWINGS
        return self._bar is not None and waited

    def advance(self, step: int, **values: float) -> None:
        """Show that ``step`` is done, with ``values``, where drawing is due or it is the last."""
        if self._bar is None or not (self.due() or step >= self._total):
            return
        self._drawn_at = time.monotonic()
        if values:
            self._values = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        self._bar.update(self._task, completed=step, refresh=True, values=self._values)


class Interrupts:
    """Inside this context SIGINT, SIGTERM and SIGHUP are noted; ``signal`` is the first that came.

    So no step is cut in two: whoever works reads ``signal`` between two steps and stops there. If
    nobody has read it after ``patience`` seconds, ``TrainingInterrupted`` is raised wherever the
    work is, and again after as many, should that be caught: no loop outlasts a signal. A second
    SIGINT raises ``KeyboardInterrupt`` at once. On leaving, the former handlers are back. A context
    within another one is that other one: whatever is worked out within a training hears the same
    signal. Python lets only the main thread set handlers; in another thread this context does
    nothing. A SIGHUP that is ignored (``nohup``) stays so.

    >>> with Interrupts() as interrupts:
    ...     signal.raise_signal(signal.SIGTERM)
    ...     interrupts.signal == signal.SIGTERM
    True
    """

    def __init__(self) -> None:
        self.patience = PATIENCE
        self._signal: int | None = None
        self._interrupted = False
        self._former: dict[int, Any] = {}

    @property
    def signal(self) -> int | None:
        """The first signal that came, or None. Who reads it stops by itself."""
        if self._signal is not None and self._former:
            signal.setitimer(signal.ITIMER_REAL, 0)
        return self._signal

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is not threading.main_thread():
            return self
        if _installed:
            return _installed[0]
        _installed.append(self)
        self._signal, self._interrupted = None, False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                self._former[number] = signal.signal(number, self._note)
        self._former[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._stop)
        return self

    def __exit__(self, *error: object) -> None:
        if self._former:
            _installed.clear()
            if self._signal is not None:
                signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._former.items():
            # None stands for a handler that Python did not set and cannot set again.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._former = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = self._interrupted or number == signal.SIGINT
        if self._signal is None:
            self._signal = number
            signal.setitimer(signal.ITIMER_REAL, self.patience, self.patience)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self._signal is not None:
            raise TrainingInterrupted(self._signal)


_installed: list[Interrupts] = []  # the one whose handlers Python has, if there is one


class Work:
    """One long computation beside training: the ``progress(done, total)`` that it calls.

    A call moves a progress line, and raises ``TrainingInterrupted`` if a signal has come.

    >>> with Work("log Z", verbose=False) as progress:
    ...     for step in range(100):
    ...         progress(step + 1, 100)
    """

    def __init__(self, name: str, verbose: bool = True):
        self.name, self.verbose = name, verbose
        self._stack = contextlib.ExitStack()
        self._line: Progress | None = None

    def __enter__(self) -> Work:
        self._interrupts = self._stack.enter_context(Interrupts())
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def __call__(self, done: int, total: int) -> None:
        number = self._interrupts.signal
        if number is not None:
            what = f"Stopped by signal {number} while {self.name} was being worked out."
            raise TrainingInterrupted(number, what)
        if self._line is None:
            self._line = self._stack.enter_context(Progress(self.name, total, verbose=self.verbose))
        self._line.advance(done)
