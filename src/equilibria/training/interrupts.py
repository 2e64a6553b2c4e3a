"""SIGINT and SIGTERM as a request that training reads between two steps."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Interrupts"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Inside this context SIGINT and SIGTERM raise nothing: they are noted, so that a step is never cut in two.

    The trainer polls :attr:`requested` after each step, saves and stops. A second SIGINT raises ``KeyboardInterrupt`` at once, for
    whoever cannot wait. On leaving, the former handlers are back. Python lets only the main thread set handlers; in
    another one this context does nothing.

    Attributes
    ----------
    signal : int or None
        The number of the first signal that came.

    Examples
    --------
    >>> import signal
    >>> with Interrupts() as interrupts:
    ...     signal.raise_signal(signal.SIGTERM)
    ...     interrupts.requested, interrupts.signal == signal.SIGTERM
    (True, True)
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._interrupted = False
        self._former: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether training was asked to stop."""
        return self.signal is not None

    def __enter__(self) -> Interrupts:
        self.signal, self._interrupted = None, False
        if threading.current_thread() is threading.main_thread():
            self._former = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._former.items():
            # None stands for a handler that was not set from Python, which Python cannot set again.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._former = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = self._interrupted or number == signal.SIGINT
        self.signal = number if self.signal is None else self.signal
