"""The trainer: what it plays and writes, when it stops, and that it copies nothing from the device
in between."""

from __future__ import annotations

import collections
import math
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import plays
from equilibria.errors import DivergedError, RunError, TrainingInterrupted
from equilibria.games.game import Game
from equilibria.random import Stream
from equilibria.solvers import Optimiser, Simultaneous
from equilibria.training import trainer as module
from equilibria.training.progress import Work
from equilibria.training.run import Run
from equilibria.training.stage import Stage
from equilibria.training.trainer import Trainer

FAMILIES = sorted(plays.FAMILIES)


@pytest.fixture
def run(tmp_path) -> Run:
    return Run.create(tmp_path / "run", {"model": "test"})


class Counter(Game):
    """A player that falls towards 0; the cost is what ``cost_at`` says of the round."""

    players = ("place",)

    def __init__(self, cost_at=lambda count: 1.0, act=lambda count: None):
        super().__init__()
        self.place = nn.Parameter(torch.ones(2))
        self.cost_at, self.act, self.count = cost_at, act, 0

    def draw(self, batch, stream):
        self.count += 1
        self.act(self.count)
        return self.cost_at(self.count)

    def cost(self, player, drawn):
        return (self.place.square() * drawn).sum()


def stage(game: Game, steps: int, name: str = "count", rate: float = 0.01, **options) -> Stage:
    return Stage(
        name, game, Simultaneous(Optimiser("sgd", rate)), plays.batches(name), steps, **options
    )


# ---------------------------------------------------------------- what is played and written


def test_every_stage_is_played_in_order_and_logged(run):
    ends = []
    games = {name: Counter() for name in ("first", "second")}
    stages = [
        stage(game, 7, name, on_end=lambda name=name: ends.append(name))
        for name, game in games.items()
    ]
    trainer = Trainer(stages, Stream(0), run)
    assert trainer.fit() == trainer.step == 14
    assert ends == ["first", "second"]
    assert [game.count for game in games.values()] == [7, 7]
    rows = run.metrics()
    assert [row["step"] for row in rows] == list(range(1, 15))
    assert [row["stage"] for row in rows] == ["first"] * 7 + ["second"] * 7
    assert [row["stage_step"] for row in rows] == [*range(1, 8)] * 2
    assert all(row["seconds"] >= 0 and math.isfinite(row["place_cost"]) for row in rows)
    assert rows == trainer.history
    assert run.load_checkpoint().step == 14


@pytest.mark.parametrize(
    ("steps", "checks", "most", "rows"),
    [(30, 10, 200, (30, 31)), (100, 10, 40, (30, 41)), (650, 4, 200, (160, 202))],
)
def test_rows_and_pictures_of_a_stage_are_bounded(run, steps, checks, most, rows):
    def pictures(stream: Stream) -> np.ndarray:
        return np.zeros((1, 4, 4), dtype=np.float32)

    played = stage(Counter(), steps, pictures=pictures)
    played.checks, played.rows = checks, most
    Trainer([played], Stream(0), run).fit()
    logged = [row["step"] for row in run.metrics()]
    assert logged[0] == 1
    assert logged[-1] == steps
    assert rows[0] <= len(logged) <= rows[1]
    shown = sorted(path.name for path in (run.path / "samples").iterdir())
    assert checks / 2 <= len(shown) <= checks + 1
    assert shown[-1] == f"count-{steps:09d}.png"


def test_a_monitor_is_logged_with_the_pictures(run):
    Trainer([stage(Counter(), 100, monitor=lambda stream: {"held_out": 0.5})], Stream(0), run).fit()
    assert [row["step"] for row in run.metrics() if "held_out" in row] == [*range(10, 101, 10)]


def test_a_hand_over_between_stages_is_in_the_checkpoint(run):
    first, second = Counter(), Counter()

    def hand_over() -> None:
        with torch.no_grad():
            second.place.copy_(first.place + 5)

    Trainer(
        [stage(first, 3, "first", on_end=hand_over), stage(second, 1, "second", rate=1e-9)],
        Stream(0),
        run,
    ).fit()
    state = run.load_checkpoint().state
    assert state["stage"] == 2
    assert torch.allclose(state["games"]["second"]["place"], first.place + 5)


def test_without_a_run_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trainer = Trainer(plays.boltzmann(steps=5, pretrain=3), Stream(0))
    assert trainer.fit() == 11
    assert list(tmp_path.iterdir()) == []
    assert {row["stage"] for row in trainer.history} == {"pretrain 1", "pretrain 2", "joint"}


def test_checkpoints_come_as_often_as_asked(run, monkeypatch):
    saved = []
    monkeypatch.setattr(Run, "save_checkpoint", lambda self, state, step: saved.append(step))
    Trainer([stage(Counter(), 6)], Stream(0), run).fit()
    assert saved == [6]
    saved.clear()
    monkeypatch.setattr(module, "CHECKPOINT_SECONDS", 0.0)
    Trainer([stage(Counter(), 3)], Stream(0), run).fit()
    assert saved == [1, 2, 3]


def test_the_last_checkpoint_is_of_the_finished_stage_however_often_it_saves(tmp_path, monkeypatch):
    ends = []
    for seconds in (0.0, 60.0):
        run = Run.create(tmp_path / str(seconds), {})
        stages = plays.adversarial(steps=5)
        monkeypatch.setattr(module, "CHECKPOINT_SECONDS", seconds)
        Trainer(stages, Stream(0), run).fit()
        ends.append(run.load_checkpoint().state)
        averaged = {
            name: value
            for name, value in ends[-1]["games"]["play"].items()
            if name.startswith("generator.")
        }
        assert (
            plays.largest_difference(
                {k.removeprefix("generator."): v for k, v in averaged.items()},
                stages[0].average.values,
            )
            == 0
        )
    assert (ends[0]["stage"], ends[0]["step"]) == (ends[1]["stage"], ends[1]["step"]) == (1, 0)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_seed_is_the_whole_randomness(family):
    ends = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed + 100 * len(ends))
        stages = plays.FAMILIES[family](steps=12)
        Trainer(stages, Stream(seed), None).fit()
        ends.append(plays.state_of(stages))
    assert plays.largest_difference(ends[0], ends[1]) == 0
    assert plays.largest_difference(ends[0], ends[2]) > 1e-4


def test_a_run_is_trained_by_one_process_at_a_time(run):
    with Run.open(run.path).lock(), pytest.raises(RunError, match="is being trained by process"):
        Trainer([stage(Counter(), 1)], Stream(0), run).fit()


def test_the_lock_and_the_signals_are_held_until_what_follows_is_written(run):
    """One lock and one handler for training and for what is worked out afterwards."""
    before = signal.getsignal(signal.SIGTERM)
    with Trainer([stage(Counter(), 3)], Stream(0), run) as trainer:
        trainer.fit()
        with pytest.raises(RunError, match="being trained"), Run.open(run.path).lock():
            pass
        with Work("log Z", verbose=False) as progress:
            progress(1, 3)
            assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
    with Run.open(run.path).lock():
        pass


def test_a_signal_after_training_stops_what_is_worked_out_and_is_not_lost(run):
    """It ends the work that polls; what does not poll, writing the model say, is finished first."""
    finished = []

    def work(number: int, polls: bool) -> None:
        trainer = Trainer([stage(Counter(), 3)], Stream(0), run)
        with trainer, Work("log Z", verbose=False) as progress:
            trainer.fit()
            signal.raise_signal(number)
            if polls:
                progress(1, 3)
            finished.append(number)

    with pytest.raises(TrainingInterrupted, match=r"15 while log Z was being worked out\."):
        work(15, polls=True)
    with pytest.raises(
        TrainingInterrupted, match="Signal 2 came when training had ended"
    ) as caught:
        work(2, polls=False)
    assert caught.value.signal == signal.SIGINT
    assert finished == [2]


# ---------------------------------------------------------------- signals


def test_a_step_that_does_not_end_is_stopped_and_played_again(run, monkeypatch):
    """No step outlasts a signal; the run goes on from its last checkpoint, as if nothing was."""
    monkeypatch.setattr("equilibria.training.progress.PATIENCE", 0.1)
    monkeypatch.setattr("equilibria.training.trainer.CHECKPOINT_SECONDS", 0.0)

    def act(count: int) -> None:
        if count == 13:
            signal.raise_signal(signal.SIGTERM)
            time.sleep(20)

    with pytest.raises(TrainingInterrupted, match=r"at step 12 of 30\. What was saved.*resume"):
        Trainer([stage(Counter(act=act), 30)], Stream(0), run).fit()
    assert run.steps()[-1] == 12
    resumed, whole = [stage(Counter(), 30)], [stage(Counter(), 30)]
    Trainer(resumed, Stream(0), run).fit(resume=True)
    Trainer(whole, Stream(0)).fit()
    assert plays.largest_difference(plays.state_of(resumed), plays.state_of(whole)) == 0


@pytest.mark.parametrize(("number", "at"), [(2, 1), (15, 13), (2, 30)])
def test_a_signal_saves_the_step_and_stops(run, number, at):
    """Also in the last round, when there is nothing left to play but something may be left to work
    out."""
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    trainer = Trainer(
        [stage(Counter(act=lambda count: count == at and signal.raise_signal(number)), 30)],
        Stream(0),
        run,
    )
    with pytest.raises(
        TrainingInterrupted,
        match=rf"signal {int(number)} at step {at} of 30\..*equilibria resume .*run",
    ) as caught:
        trainer.fit()
    assert caught.value.signal == number
    assert isinstance(caught.value, KeyboardInterrupt)
    assert run.load_checkpoint().step == at == run.metrics()[-1]["step"]
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before
    again = Trainer([stage(Counter(), 30)], Stream(0), run)
    assert again.fit(resume=True) == 30
    assert [row["step"] for row in run.metrics()] == list(range(1, 31))


def test_a_signal_without_a_run_says_that_nothing_was_saved():
    game = Counter(act=lambda count: count == 3 and signal.raise_signal(signal.SIGTERM))
    with pytest.raises(
        TrainingInterrupted, match=r"at step 3 of 30\. Nothing was saved: give `out`"
    ):
        Trainer([stage(game, 30)], Stream(0)).fit()


# ---------------------------------------------------------------- divergence


def broken_at(step: int, how: str) -> Counter:
    """A game that breaks in round ``step``: its cost alone, its cost and so its gradient, or a
    parameter."""
    game = Counter()
    if how == "cost":
        game.measure = lambda drawn: {
            "place_cost": torch.tensor(math.nan if game.count >= step else 1.0)
        }
    elif how == "gradient":
        game.cost_at = lambda count: math.nan if count >= step else 1.0
    else:
        game.settle = lambda drawn: game.place.data.fill_(math.inf) if game.count >= step else None
        game.measure = lambda drawn: {"place_cost": torch.tensor(1.0)}
    return game


@pytest.mark.parametrize(
    ("how", "seconds"), [("cost", 0.0), ("gradient", 60.0), ("parameter", 0.0)]
)
def test_a_non_finite_number_stops_the_run_and_the_last_good_checkpoint_stays(
    run, monkeypatch, how, seconds
):
    monkeypatch.setattr(module, "CHECKPOINT_SECONDS", seconds)
    first = stage(Counter(), 5, "before")
    with pytest.raises(DivergedError) as caught:
        Trainer([first, stage(broken_at(30, how), 60)], Stream(0), run).fit()
    message = str(caught.value)
    assert "Stage 'count' diverged at step" in message
    assert (
        f"The last good checkpoint in {run.path} is kept. Try a learning rate three to ten times "
        "smaller" in message
    )
    loaded = run.load_checkpoint()
    assert loaded.step == (34 if seconds == 0 else 5)
    assert all(
        bool(torch.isfinite(state["place"]).all()) for state in loaded.state["games"].values()
    )
    assert all(math.isfinite(row["place_cost"]) for row in run.metrics())


def test_no_checkpoint_ever_holds_a_broken_chain(run, monkeypatch):
    """A chain can leave the numbers one update before the parameters do."""
    stages = plays.boltzmann(pretrain=0, steps=20)
    game = stages[0].game
    settle = game.settle

    def poison(drawn) -> None:
        settle(drawn)
        game.chain_visible[0, 0] = math.nan

    game.settle = poison
    monkeypatch.setattr(module, "CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(DivergedError, match="a parameter or a chain is not finite"):
        Trainer(stages, Stream(0), run).fit()
    assert not (run.path / "checkpoints").exists()


def test_divergence_without_a_run():
    with pytest.raises(DivergedError, match=r"place_cost is not finite\. Nothing was saved\."):
        Trainer([stage(broken_at(3, "gradient"), 10)], Stream(0)).fit()


# ---------------------------------------------------------------- no copies from the device

COPIES = (
    "item",
    "tolist",
    "numpy",
    "cpu",
    "__float__",
    "__int__",
    "__bool__",
    "__index__",
    "__array__",
)


def on_the_cpu(depth: int = 2) -> bool:
    """Whether the call comes from torch's optimisers, which keep their count of steps on the CPU
    and read it there, or from a stream on the CPU, where arrays share tensors' memory."""
    places = str(Path("torch") / "optim"), str(Path("equilibria") / "random.py")
    caller = sys._getframe(depth).f_code.co_filename
    return any(place in caller for place in places)


@pytest.mark.parametrize("options", [{"family": "dbm"}, {"family": "gan", "k": 3}])
def test_no_step_copies_from_the_device_unless_it_is_logged(monkeypatch, options):
    family, calls, now = options.pop("family"), collections.Counter(), [0]

    def watch(name: str) -> None:
        original = getattr(torch.Tensor, name)

        def counted(self, *args, **kwargs):
            if not on_the_cpu():
                calls[now[0]] += 1
            return original(self, *args, **kwargs)

        monkeypatch.setattr(torch.Tensor, name, counted)

    original = Trainer._round

    def play(self, stage, key, progress):
        now[0] = self.step + 1
        original(self, stage, key, progress)

    stages = plays.FAMILIES[family](steps=200, **options)
    for stage in stages:
        stage.rows = 40
    trainer = Trainer(stages, Stream(0))
    monkeypatch.setattr(Trainer, "_round", play)
    for name in COPIES:
        watch(name)
    trainer.fit()
    logged = {row["step"] for row in trainer.history}
    assert calls.keys() & logged, "the watch itself does not work"
    assert {step: count for step, count in calls.items() if step and step not in logged} == {}
    assert trainer.step - len(logged) > 40
