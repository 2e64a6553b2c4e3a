"""Signals become a request; the handlers of the caller come back."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from equilibria.errors import TrainingInterrupted
from equilibria.training.progress import Interrupts

BOTH = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def handlers():
    """The caller's own handlers, which note the number instead of ending the tests."""
    noted: list[int] = []
    former = {
        number: signal.signal(number, lambda number, frame: noted.append(number)) for number in BOTH
    }
    yield noted
    for number, handler in former.items():
        signal.signal(number, handler)


def test_a_signal_is_noted_and_raises_nothing(handlers):
    for number in BOTH:
        with Interrupts() as interrupts:
            assert interrupts.signal is None
            signal.raise_signal(number)
            assert interrupts.signal == number
        assert interrupts.signal == number
    assert handlers == []


def test_the_former_handlers_come_back(handlers):
    with pytest.raises(ZeroDivisionError), Interrupts():
        raise ZeroDivisionError
    for number in BOTH:
        signal.raise_signal(number)
    assert handlers == list(BOTH)


def test_a_second_interrupt_raises_at_once(handlers):
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert interrupts.signal == signal.SIGTERM


def test_it_starts_anew_each_time(handlers):
    interrupts = Interrupts()
    for _ in range(2):
        with interrupts:
            assert interrupts.signal is None
            signal.raise_signal(signal.SIGINT)


def test_inside_another_one_it_is_that_one(handlers):
    with Interrupts() as outer:
        with Interrupts() as inner:
            signal.raise_signal(signal.SIGTERM)
        assert inner is outer
        assert outer.signal == signal.SIGTERM
        signal.raise_signal(signal.SIGTERM)
    assert handlers == []
    with Interrupts() as anew:
        assert anew.signal is None
    signal.raise_signal(signal.SIGTERM)
    assert handlers == [signal.SIGTERM]


def test_in_another_thread_it_does_nothing(handlers):
    seen = []

    def work():
        with Interrupts() as interrupts:
            seen.append((signal.getsignal(signal.SIGINT), interrupts.signal))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(before, None)]


def endlessly() -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        pass


@pytest.mark.parametrize("number", BOTH)
def test_work_that_does_not_look_is_stopped(handlers, number):
    """And once more, should something catch that."""
    began = time.monotonic()
    with Interrupts() as interrupts:
        interrupts.patience = 0.1
        signal.raise_signal(number)
        for _ in range(2):
            with pytest.raises(TrainingInterrupted) as caught:
                endlessly()
            assert caught.value.signal == number
    assert time.monotonic() - began < 10
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_who_looks_has_the_time_that_stopping_takes(handlers):
    with Interrupts() as interrupts:
        interrupts.patience = 0.05
        signal.raise_signal(signal.SIGTERM)
        assert interrupts.signal == signal.SIGTERM
        time.sleep(0.2)


def test_a_hangup_that_is_ignored_stays_ignored(handlers):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGHUP)
        assert interrupts.signal is None
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
