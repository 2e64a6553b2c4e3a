"""A budget in minutes becomes a length of training: exact with a clock of our own."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

import equilibria
from equilibria import GAN, RBM, NextState
from equilibria.errors import TrainingInterrupted
from equilibria.training import budget
from equilibria.training.run import Run
from small import BITS, ESTIMATORS, NAMES, assert_same, small


class Clock:
    """Seconds that pass only where something is done."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Timed:
    """A stage whose steps and checks take so many seconds; it is its own game and solver."""

    average = None

    def __init__(self, clock: Clock, name: str, steps: int, step: float, check: float) -> None:
        self.clock, self.name, self.steps = clock, name, steps
        self.seconds, self.check, self.played = step, check, 0
        self.solver = self.game = self

    def bind(self, game: Any) -> None:
        pass

    def parameters(self) -> list[torch.Tensor]:
        return [torch.zeros(1)]

    def source(self, stream: Any) -> None:
        pass

    def step(self, *given: Any, **how: Any) -> None:
        self.played += 1
        slow = 50.0 if self.played in (1, 4) else 1.0  # the first one warms up, a pause is no step
        self.clock.now += self.seconds * slow

    def measure(self, stream: Any) -> None:
        self.clock.now += self.check

    def show(self, stream: Any) -> None:
        pass


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(budget, "CLOCK", clock)
    return clock


def test_steps_are_what_the_time_leaves(clock: Clock) -> None:
    """100 minutes less 3 % and ten checks of 20 and 30 s, shared out among 300 steps of 2 s and 700
    of 4 s: the same share of both."""
    stages: Any = [Timed(clock, "a", 300, 2, 20), Timed(clock, "b", 700, 4, 30)]
    share = budget.share_within(100, stages)
    assert share == pytest.approx((6000 * 0.97 - 500) / (300 * 2 + 700 * 4))


def test_a_trial_is_short_and_times_six_updates_at_least(clock: Clock) -> None:
    slow: Any = Timed(clock, "slow", 1000, 10, 0)
    assert budget.seconds_per_step(slow, 1.0)[0] == 10
    assert slow.played == budget.FEWEST
    quick: Any = Timed(clock, "quick", 10**6, 0.01, 0)
    assert budget.seconds_per_step(quick, 5.0)[0] == pytest.approx(0.01)
    assert 300 < quick.played < 520


def test_too_little_time_is_refused(clock: Clock) -> None:
    stages: Any = [Timed(clock, "a", 10, 1, 1)]
    with pytest.raises(ValueError, match=r"minutes=0.1: one step of these rows and its checks"):
        budget.share_within(0.1, stages)


@pytest.mark.parametrize("name", [n for n in NAMES if hasattr(ESTIMATORS[n], "minutes")])
def test_every_model_takes_minutes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of the length that it has otherwise, each length in the same ratio."""
    monkeypatch.setattr(
        "equilibria.estimators.estimator.share_within", lambda minutes, stages: 1 / 3
    )
    cls = ESTIMATORS[name]
    whole = {key: getattr(small(cls), key) for key in cls.lengths}
    monkeypatch.setattr("equilibria.estimators.estimator.TRIAL", 6)
    defaults = cls().get_params()
    first = cls.lengths[0]
    model = small(cls, **{first: defaults[first]}, minutes=1.0)
    twin = model.checked()
    plan = mock.Mock()
    monkeypatch.setattr(type(twin), "build", lambda *given: plan)
    twin.seed_, twin.table_ = 0, None
    twin._take_minutes(1.0, None, _Alone())
    total = 6 if defaults[first] is None else defaults[first]
    assert getattr(twin, first) == max(1, round(total / 3))
    for key in cls.lengths[1:]:
        assert getattr(twin, key) == max(1, round(whole[key] / 3))


class _Alone:
    @staticmethod
    def agree(number: int) -> int:
        return number


def test_a_run_keeps_what_its_minutes_became(tmp_path: Path) -> None:
    """Stopped and gone on with, it ends as the run that was never stopped, whatever the clock says
    by then; a copy that is trained anew is timed anew."""
    how: dict[str, Any] = {"hidden": (6,), "latent_dim": 2, "random_state": 0}
    model = GAN(**how, minutes=0.03).fit(BITS)
    steps = model.settings_.steps
    assert model.steps is None
    assert model.n_steps_ == steps >= 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GAN, "_take_minutes", lambda self, *given: setattr(self, "steps", steps))
        original = Run.save_checkpoint

        def save(run: Run, state: Any, step: int) -> Any:
            if 0 < step < steps:
                import signal

                signal.raise_signal(15)
            return original(run, state, step)

        patch.setattr(Run, "save_checkpoint", save)
        patch.setattr("equilibria.training.trainer.CHECKPOINT_SECONDS", 0.0)
        with pytest.raises(TrainingInterrupted):
            GAN(**how, minutes=0.03, out=str(tmp_path / "run")).fit(BITS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GAN, "_take_minutes", lambda *given: pytest.fail("timed again"))
        again = equilibria.resume(tmp_path / "run", BITS)
    assert_same(model, again)
    loaded = equilibria.load(tmp_path / "run")
    assert (loaded.settings_.steps, loaded.steps, loaded.minutes) == (steps, None, 0.03)


def test_two_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"minutes=1: it gives n_iter, and n_iter=3 came too"):
        RBM(minutes=1, n_iter=3).fit(BITS)
    with pytest.raises(ValueError, match=r"minutes=0: expected None or a finite number above 0"):
        RBM(minutes=0).fit(BITS)
    with pytest.raises(ValueError, match=r"machine: minutes=1 is for a model of single rows"):
        NextState(RBM(minutes=1)).fit(np.tile(BITS, (2, 1)))
