"""Averages, best states, views, monitors, and the look for non-finite numbers."""

from __future__ import annotations

import itertools
import math
import signal

import numpy as np
import pytest
import torch
from torch import nn

import plays
from equilibria.data import Batch
from equilibria.errors import TrainingInterrupted
from equilibria.games.toy import XYGame
from equilibria.random import Stream
from equilibria.solvers import Optimiser, Simultaneous
from equilibria.training.run import Run
from equilibria.training.stage import Average, Best, Stage, finite
from equilibria.training.trainer import Trainer


def test_an_average_is_the_recursion():
    module, values = nn.Linear(1, 1, bias=False), [3.0, -1.0, 4.0, 1.0, -5.0]
    with torch.no_grad():
        module.weight.fill_(2.0)
    average, expected = Average(module, 0.4), 2.0
    for t, value in enumerate(values):
        with torch.no_grad():
            module.weight.fill_(value)
        average.update()
        decay = min(0.4, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * value
        assert float(average.values["weight"]) == pytest.approx(expected, rel=1e-6)
        assert module.weight.item() == value
    average.apply()
    assert module.weight.item() == pytest.approx(expected, rel=1e-6)


def test_an_average_goes_on_from_its_state():
    modules = [nn.Linear(2, 2) for _ in range(2)]
    modules[1].load_state_dict(modules[0].state_dict())
    averages = [Average(module, 0.9) for module in modules]
    for _ in range(3):
        with torch.no_grad():
            modules[0].weight.mul_(1.1)
        averages[0].update()
    averages[1].load_state_dict(
        {"rounds": 3, "values": {name: value.clone() for name, value in averages[0].values.items()}}
    )
    modules[1].load_state_dict(modules[0].state_dict())
    for average in averages:
        average.update()
    assert averages[0].rounds == averages[1].rounds == 4
    assert all(
        torch.equal(averages[0].values[name], averages[1].values[name])
        for name in averages[0].values
    )


def test_an_average_keeps_its_values_apart_from_the_parameters():
    module = nn.Linear(2, 2)
    average = Average(module, 0.9)
    before = average.values["weight"].clone()
    with torch.no_grad():
        module.weight.zero_()
    assert torch.equal(average.values["weight"], before)
    average.apply()
    with torch.no_grad():
        module.weight.fill_(7.0)
    assert torch.equal(average.values["weight"], before)


def test_the_average_takes_the_parameters_place_when_the_stage_ends():
    stages = plays.adversarial(steps=7)
    raw = []
    stages[0].on_end = lambda: raw.append(
        {name: p.detach().clone() for name, p in stages[0].game.generator.named_parameters()}
    )
    Trainer(stages, Stream(0)).fit()
    generator = dict(stages[0].game.generator.named_parameters())
    assert all(
        torch.equal(generator[name], value) for name, value in stages[0].average.values.items()
    )
    unaveraged = plays.adversarial(steps=7, average=0.0)
    Trainer(unaveraged, Stream(0)).fit()
    end = dict(unaveraged[0].game.generator.named_parameters())
    assert any(not torch.equal(generator[name], end[name]) for name in generator)
    assert all(torch.equal(raw[0][name], generator[name]) for name in generator), (
        "on_end sees the average"
    )


def test_an_average_is_applied_for_a_while():
    module = nn.Linear(2, 2)
    average, start = Average(module, 0.9), module.weight.detach().clone()
    with torch.no_grad():
        module.weight.add_(1 / 3)
    raw = module.weight.detach().clone()
    with average.applied():
        assert torch.equal(module.weight, start)
    assert torch.equal(module.weight, raw)


def lone(value: float) -> nn.Linear:
    module = nn.Linear(1, 1, bias=False)
    return set_to(module, value)


def set_to(module: nn.Linear, value: float) -> nn.Linear:
    with torch.no_grad():
        module.weight.fill_(value)
    return module


def test_the_best_state_is_kept_and_of_equal_ones_the_last():
    """With one number a check, any loss counts."""
    module = lone(0.0)
    best = Best(module, lambda module: -abs(module.weight.item() - 2), name="held_out_error")
    losses = []
    for value in (0.0, 1.0, 3.0, 5.0):
        set_to(module, value)
        found = best.consider()
        losses.append(found["held_out_loss"])
    assert found["held_out_error"] == -3
    assert losses == [0.0, 0.0, 0.0, 2.0]
    best.recall()
    assert module.weight.item() == 3.0


def test_an_earlier_state_within_chance_is_not_taken():
    """Of scores a row, a mean difference counts from two standard errors on, here .82."""
    module = lone(1.0)
    noise = torch.tensor([1.0, -1.0, 0.0, 0.0]).double()  # a standard error of .41
    scores = iter([torch.zeros(4), noise - 0.8, noise - 0.84])
    best = Best(module, lambda module: next(scores))
    best.consider()
    set_to(module, 2.0)
    assert best.consider()["held_out_loss"] == 0.0
    best.recall()
    assert module.weight.item() == 2.0
    assert best.consider()["held_out_loss"] == pytest.approx(0.84)
    best.recall()
    assert module.weight.item() == 1.0


class Watch:
    """A monitor that is an object, and what it was asked for."""

    def measure(self, stream: Stream) -> dict[str, float]:
        return {"draw": float(stream.uniform((1,)))}

    def pictures(self, stream: Stream) -> np.ndarray:
        return np.zeros((1, 4, 4), dtype=np.float32)


def judged(steps: int = 30) -> Stage:
    """A game that the best state and the average of its generator are kept of: the score falls
    from the third check on, whatever the parameters."""
    stage = plays.adversarial(steps=steps)[0]
    stage.monitor = Watch()
    stage.best = Best(stage.game.generator, lambda generator: -abs(stage.average.rounds - 9))
    return stage


def test_the_best_average_that_checks_saw_is_what_a_stage_leaves():
    stage, seen = judged(), {}
    score = stage.best.score

    def remember(generator: nn.Module) -> float:
        seen[stage.average.rounds] = {k: v.clone() for k, v in generator.state_dict().items()}
        return score(generator)

    stage.best.score = remember
    trainer = Trainer([stage], Stream(0))
    trainer.fit()
    assert sorted(seen) == list(range(3, 31, 3))
    end = stage.game.generator.state_dict()
    assert all(torch.equal(end[name], value) for name, value in seen[9].items())
    checks = [row for row in trainer.history if "draw" in row]
    assert [row["held_out_score"] for row in checks] == [-abs(t - 9) for t in sorted(seen)]
    assert [row["held_out_loss"] for row in checks][2:5] == [0.0, 3.0, 6.0]


def test_the_best_state_goes_on_from_a_checkpoint(tmp_path):
    whole = judged()
    Trainer([whole], Stream(0)).fit()
    stage, run = judged(), Run.create(tmp_path / "run", {})
    stage.monitor = _stopping(stage, 21)
    with pytest.raises(TrainingInterrupted):
        Trainer([stage], Stream(0), run).fit()
    again = judged()
    Trainer([again], Stream(0), run).fit(resume=True)
    assert plays.largest_difference(plays.state_of([whole]), plays.state_of([again])) == 0
    assert len(list((run.path / "samples").iterdir())) == 10, "the monitor's own pictures"


def _stopping(stage: Stage, at: int) -> Watch:
    class Stopping(Watch):
        def measure(self, stream: Stream) -> dict[str, float]:
            if stage.average.rounds == at:
                signal.raise_signal(signal.SIGTERM)
            return super().measure(stream)

    return Stopping()


def test_a_view_stands_between_batches_and_game():
    seen = []

    def view(batch: Batch, stream: Stream) -> Batch:
        seen.append((batch.values.clone(), stream.uniform((1,)).clone()))
        return Batch(batch.values * 2)

    source = plays.batches("view")
    stage = Stage(
        "view", XYGame(1.0, 1.0), Simultaneous(Optimiser("sgd", 0.1)), source, 3, view=view
    )
    given = list(itertools.islice(stage.source(Stream(0)), 3))
    expected = [plays.batches("view").at(i).values for i in range(3)]
    assert all(
        torch.equal(batch.values, 2 * rows) for batch, rows in zip(given, expected, strict=True)
    )
    assert all(torch.equal(values, rows) for (values, _), rows in zip(seen, expected, strict=True))
    assert len({float(draw) for _, draw in seen}) == 3, "each batch of a round has draws of its own"
    assert source.position == 3
    stage.view = None
    assert torch.equal(next(stage.source(Stream(0))).values, plays.batches("view").at(3).values)


def test_finite_sees_every_number():
    places = ["machine.bias.visible", "machine.weight.hidden1-hidden2", "chain_hidden1"]
    for place in (*places, "offset_visible"):
        for value in (math.nan, math.inf, -math.inf):
            game = plays.boltzmann(pretrain=0)[0].game
            assert bool(finite(game))
            game.state_dict()[place].view(-1)[-1] = value
            assert not bool(finite(game)), (place, value)


def test_finite_neither_cancels_infinities_nor_overflows():
    game = XYGame(1.0, 1.0)
    with torch.no_grad():
        game.x.fill_(math.inf)
        game.y.fill_(-math.inf)
    assert not bool(finite(game))
    game = plays.boltzmann(pretrain=0)[0].game
    with torch.no_grad():
        game.machine.bias["visible"].fill_(3e38)
    assert bool(finite(game))
