"""One line that shows a person how far training is, how fast it goes and when it ends."""

from __future__ import annotations

import sys
import time
from types import TracebackType

import rich.progress as bar
from rich.console import Console
from rich.text import Text

__all__ = ["Progress"]

_SECONDS_BETWEEN_DRAWINGS = 0.25


class Progress:
    """A progress line on standard error: stage, bar, step, rate, time left and a few metrics.

    It prints nothing at all where standard error is not a terminal.

    Parameters
    ----------
    stage : str
        What is being done.
    total : int
        The step at which it ends.
    start : int
        The step at which it begins: not 0 after a resume.
    verbose : bool
        Whether anything is shown.

    Examples
    --------
    A value is copied from its device only where it is going to be seen:

    >>> with Progress("joint", total=1000, verbose=False) as progress:
    ...     for step in range(1, 1001):
    ...         if progress.due():
    ...             progress.advance(step, cost=float(cost))
    """

    def __init__(self, stage: str, total: int, start: int = 0, verbose: bool = True):
        self._total = total
        self._values = ""
        self._drawn_at = -float("inf")
        self._bar: bar.Progress | None = None
        if verbose and sys.stderr.isatty():
            self._bar = _line()
            self._task = self._bar.add_task(stage, total=total, completed=start, values="")

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def due(self) -> bool:
        """Whether :meth:`advance` would draw now: at most four times a second, never where nothing is shown."""
        return self._bar is not None and time.monotonic() - self._drawn_at >= _SECONDS_BETWEEN_DRAWINGS

    def advance(self, step: int, **values: float) -> None:
        """Show that ``step`` is done, with ``values``; does nothing unless drawing is due or ``step`` is the last one."""
        if self._bar is None or not (self.due() or step >= self._total):
            return
        self._drawn_at = time.monotonic()
        if values:
            self._values = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        self._bar.update(self._task, completed=step, refresh=True, values=self._values)


class _RateColumn(bar.ProgressColumn):
    def render(self, task: bar.Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s", style="progress.data.speed")


def _line() -> bar.Progress:
    return bar.Progress(
        bar.TextColumn("{task.description}", markup=False),
        bar.BarColumn(),
        bar.MofNCompleteColumn(),
        _RateColumn(),
        bar.TimeRemainingColumn(),
        bar.TextColumn("{task.fields[values]}", markup=False),
        console=Console(stderr=True),
        auto_refresh=False,  # no thread: the line moves when a step is done
        redirect_stdout=sys.stdout.isatty(),  # what is piped to a file must go on going there
    )
