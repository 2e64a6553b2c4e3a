"""Signals become a request; the handlers of the caller come back."""

from __future__ import annotations

import signal
import threading

import pytest

from equilibria.training.progress import Interrupts

BOTH = (signal.SIGINT, signal.SIGTERM)


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
