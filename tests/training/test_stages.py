"""Averages, views, and the look for non-finite numbers."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

import plays
from equilibria.data import Batch
from equilibria.games.toy import XYGame
from equilibria.random import Stream
from equilibria.solvers import Optimiser, Simultaneous
from equilibria.training.stages import Average, Stage, finite
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


def test_an_average_without_decay_is_the_parameter_itself():
    module = nn.Linear(2, 2)
    average = Average(module, 0.0)
    with torch.no_grad():
        module.weight.add_(1.0)
    average.update()
    assert torch.equal(average.values["weight"], module.weight)


def test_an_average_goes_on_from_its_state():
    modules = [nn.Linear(2, 2) for _ in range(2)]
    modules[1].load_state_dict(modules[0].state_dict())
    averages = [Average(module, 0.9) for module in modules]
    for _ in range(3):
        with torch.no_grad():
            modules[0].weight.mul_(1.1)
        averages[0].update()
    averages[1].load_state_dict({"rounds": 3, "values": {name: value.clone() for name, value in averages[0].values.items()}})
    modules[1].load_state_dict(modules[0].state_dict())
    for average in averages:
        average.update()
    assert averages[0].rounds == averages[1].rounds == 4
    assert all(torch.equal(averages[0].values[name], averages[1].values[name]) for name in averages[0].values)


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


@pytest.mark.parametrize("decay", [-0.1, 1.0, 2.0, math.nan])
def test_a_decay_outside_is_refused(decay):
    with pytest.raises(ValueError, match=r"decay=.*: expected a number in \[0, 1\)"):
        Average(nn.Linear(1, 1), decay)


def test_the_average_takes_the_parameters_place_when_the_stage_ends():
    stages = plays.adversarial(steps=7)
    raw = []
    stages[0].on_end = lambda: raw.append({name: p.detach().clone() for name, p in stages[0].game.generator.named_parameters()})
    Trainer(stages, Stream(0)).fit()
    generator = dict(stages[0].game.generator.named_parameters())
    assert all(torch.equal(generator[name], value) for name, value in stages[0].average.values.items())
    unaveraged = plays.adversarial(steps=7, average=0.0)
    Trainer(unaveraged, Stream(0)).fit()
    end = dict(unaveraged[0].game.generator.named_parameters())
    assert any(not torch.equal(generator[name], end[name]) for name in generator)
    assert all(torch.equal(raw[0][name], generator[name]) for name in generator), "on_end sees the average"


def test_a_view_stands_between_batches_and_game():
    seen = []

    def view(batch: Batch, stream: Stream) -> Batch:
        seen.append((batch.values.clone(), stream.uniform((1,)).clone()))
        return Batch(batch.values * 2)

    source = plays.batches("view")
    stage = Stage("view", XYGame(1.0, 1.0), Simultaneous(Optimiser("sgd", 0.1)), source, 3, view=view)
    given = list(itertools.islice(stage.source(Stream(0)), 3))
    expected = [plays.batches("view").at(i).values for i in range(3)]
    assert all(torch.equal(batch.values, 2 * rows) for batch, rows in zip(given, expected, strict=True))
    assert all(torch.equal(values, rows) for (values, _), rows in zip(seen, expected, strict=True))
    assert len({float(draw) for _, draw in seen}) == 3, "each batch of a round has draws of its own"
    assert source.position == 3


def test_without_a_view_batches_come_as_they_are():
    stage = Stage("plain", XYGame(1.0, 1.0), Simultaneous(Optimiser("sgd", 0.1)), plays.batches("plain"), 1)
    assert torch.equal(next(stage.source(Stream(0))).values, plays.batches("plain").at(0).values)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", ["machine.bias.visible", "machine.weight.hidden1-hidden2", "chain_hidden1", "offset_visible"])
def test_finite_sees_every_number(place, value):
    game = plays.boltzmann(pretrain=0)[0].game
    assert bool(finite(game))
    game.state_dict()[place].view(-1)[-1] = value
    assert not bool(finite(game))


def test_infinities_do_not_cancel():
    game = XYGame(1.0, 1.0)
    with torch.no_grad():
        game.x.fill_(math.inf)
        game.y.fill_(-math.inf)
    assert not bool(finite(game))


def test_finite_numbers_do_not_overflow():
    game = plays.boltzmann(pretrain=0)[0].game
    with torch.no_grad():
        game.machine.bias["visible"].fill_(3e38)
    assert bool(finite(game))
