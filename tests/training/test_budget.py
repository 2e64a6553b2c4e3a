"""A budget in minutes becomes a length of training: exact with a clock of our own."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import equilibria
from equilibria import DBM, GAN, RBM, NextState
from equilibria.errors import TrainingInterrupted
from equilibria.estimators.params import parameters
from equilibria.report.summary import Summary
from equilibria.training import trainer as budget
from equilibria.training.run import Run
from equilibria.training.stage import Stage
from small import BITS, ESTIMATORS, LABELS, NAMES, assert_same, small


class Clock:
    """Seconds that pass only where something is done."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Timed:
    """A stage whose steps and checks take so many seconds; it is its own game and solver."""

    average, checks = None, 10

    def __init__(self, clock: Clock, name: str, steps: int, step: float, check: float) -> None:
        self.clock, self.name, self.steps = clock, name, steps
        self.seconds, self.check, self.played = step, check, 0
        self.solver = self.game = self

    def bind(self, game: Any) -> None:
        pass

    def parameters(self) -> list[torch.Tensor]:
        return [torch.zeros(1)]

    advance = Stage.advance

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
    """100 minutes less the trial and ten checks of 20 and 30 s, shared out among 300 steps of 2 s
    and 700 of 4 s: the same share of both."""
    stages: Any = [Timed(clock, "a", 300, 2, 20), Timed(clock, "b", 700, 4, 30)]
    share, spent = budget.share_within(100, stages)
    trial = clock.now
    assert spent == pytest.approx(trial + 500)
    assert share == pytest.approx((6000 - trial - 500) / (300 * 2 + 700 * 4))


def test_a_trial_is_short_and_times_six_updates_at_least(clock: Clock) -> None:
    slow: Any = Timed(clock, "slow", 1000, 10, 0)
    assert budget.seconds_per_step(slow, 1.0)[0] == 10
    assert slow.played == budget.FEWEST
    quick: Any = Timed(clock, "quick", 10**6, 0.01, 0)
    assert budget.seconds_per_step(quick, 5.0)[0] == pytest.approx(0.01)
    assert 300 < quick.played < 520


MINUTED = [n for n in NAMES if "minutes" in {one.name for one in parameters(ESTIMATORS[n])}]


@pytest.mark.parametrize("name", MINUTED)
def test_a_model_by_minutes_is_the_model_of_the_steps_that_they_gave(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a clock that ticks a second each time it is asked: the trial leaves nothing behind."""
    ticks = iter(range(10**6))
    monkeypatch.setattr(budget, "CLOCK", lambda: float(next(ticks)))
    cls = ESTIMATORS[name]
    first = cls.lengths[0]
    default = {first: cls().get_params()[first]}  # the trial has six updates of each stage
    by_time = small(cls, **default, minutes=4.0).fit(BITS, LABELS)
    used = by_time.settings_
    found = {length: getattr(used, length) for length in cls.lengths}
    assert by_time.get_params()[first] == default[first]
    assert found[first] >= 1
    by_steps = small(cls, **found).fit(BITS, LABELS)
    assert by_time.n_steps_ == by_steps.n_steps_
    assert_same(by_time, by_steps)


def test_other_lengths_keep_their_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    def share(minutes: float, stages: Any) -> tuple[float, float]:
        return 1 / 600, 0.0

    monkeypatch.setattr("equilibria.estimators.estimator.share_within", share)
    how: dict[str, Any] = {"hidden": (4, 2), "minutes": 1.0, "random_state": 0}
    for asked, given in ((2400, 4), (0, 0)):  # the steps are 6,000 by default
        found = DBM(**how, pretrain_steps=asked).fit(BITS).settings_
        assert (found.steps, found.pretrain_steps) == (10, given)


def test_too_little_time_is_refused() -> None:
    with pytest.raises(ValueError, match=r"minutes=1e-07: that is less than n_iter=1"):
        RBM(minutes=1e-7).fit(BITS)


def test_a_run_keeps_what_its_minutes_became(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped and gone on with, it ends as the run that was never stopped, whatever the clock says
    by then; what was asked for comes back with the model, to be asked anew."""
    how: dict[str, Any] = {"hidden": (6,), "latent_dim": 2, "random_state": 0, "minutes": 3.0}
    ticks = iter(range(10**6))
    monkeypatch.setattr(budget, "CLOCK", lambda: float(next(ticks)))
    whole = GAN(**how).fit(BITS)
    steps, original = whole.settings_.steps, Run.save_checkpoint
    assert steps > 4

    def save(run: Run, state: Any, step: int) -> Any:
        if step == 2:
            signal.raise_signal(15)
        return original(run, state, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "save_checkpoint", save)
        patch.setattr("equilibria.training.trainer.CHECKPOINT_SECONDS", 0.0)
        with pytest.raises(TrainingInterrupted):
            GAN(**how, out=str(tmp_path / "run")).fit(BITS)
    monkeypatch.setattr(budget, "CLOCK", lambda: pytest.fail("timed again"))
    assert_same(whole, equilibria.resume(tmp_path / "run", BITS))
    loaded = equilibria.load(tmp_path / "run")
    assert (loaded.settings_.steps, loaded.steps, loaded.minutes) == (steps, None, 3.0)
    loaded.save(tmp_path / "copy")
    again = equilibria.load(tmp_path / "copy")
    assert (again.settings_.steps, again.steps, again.minutes) == (steps, None, 3.0)
    assert f"steps={steps}" in Summary(tmp_path / "run").reproduction


def test_two_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"minutes=1: it gives n_iter, and n_iter=3 came too"):
        RBM(minutes=1, n_iter=3).fit(BITS)
    with pytest.raises(ValueError, match=r"minutes=0: expected None or a finite number above 0"):
        RBM(minutes=0).fit(BITS)
    with pytest.raises(ValueError, match=r"machine: minutes=1 is for a model of single rows"):
        NextState(RBM(minutes=1)).fit(np.tile(BITS, (2, 1)))
