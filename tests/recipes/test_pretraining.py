"""Layer-wise pretraining: which machines are trained, what they see, how they are put together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from equilibria import DBM, RBM
from equilibria.data import Batch
from equilibria.games.contrastive import ContrastiveGame
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.random import Stream
from equilibria.recipes.contrastive import settle_game
from equilibria.training.distributed import Processes
from equilibria.training.trainer import Trainer
from equilibria.units import Bernoulli
from small import BITS, plan_of

ROWS = BITS[:, :9]
MODALITIES = {"name": [4], "picture": range(4)}


def planned(hidden: tuple[int, ...], X: Any = ROWS, y: Any = None, **options: Any) -> Any:
    settings = {"pretrain_steps": 5, "steps": 2, "batch_size": 10, "random_state": 0, **options}
    return plan_of(DBM(hidden, **settings), X, y)


@pytest.mark.parametrize(
    ("hidden", "gains"),
    [
        ((7,), [(1.0, 1.0)]),
        ((7, 6), [(1.0, 2.0), (2.0, 1.0)]),
        ((7, 6, 5), [(1.0, 2.0), (2.0, 2.0), (2.0, 1.0)]),
    ],
)
def test_a_stage_for_each_pair_with_doubled_fields_but_at_the_ends(
    hidden: tuple[int, ...], gains: list[tuple[float, float]]
) -> None:
    model, (*stages, joint) = planned(hidden)
    names = [*[f"pretrain {i + 1}" for i in range(len(gains))], "joint"]
    assert [stage.name for stage in (*stages, joint)] == names
    for i, (stage, gain) in enumerate(zip(stages, gains, strict=True)):
        pair = list(model.machine.layers)[i : i + 2]
        assert list(stage.game.machine.layers) == pair
        assert tuple(stage.game.gain[name] for name in pair) == gain
        assert stage.game.negative == "data"
    assert joint.game.machine is model.machine
    first = stages[0].game.machine
    assert torch.equal(first.base("visible"), model.machine.base("visible"))
    assert torch.equal(first.bias["visible"], model.machine.bias["visible"])


def test_the_features_are_the_means_below_with_doubled_fields() -> None:
    _, (*stages, _) = planned((7, 6, 5))
    values = torch.from_numpy(ROWS[:6]).float()
    features = values
    for i, stage in enumerate(stages):
        seen = values if stage.view is None else stage.view(Batch(values), Stream(0)).values
        assert torch.allclose(seen, features, atol=1e-6)
        rbm = stage.game.machine
        (weight,) = rbm.weight.values()
        factor = 2.0 if i < len(stages) - 1 else 1.0
        upper = list(rbm.layers)[1]
        features = torch.sigmoid(factor * (features @ weight + rbm.bias[upper])).detach()


def test_the_machine_is_put_together_when_the_last_stage_ends() -> None:
    model, (*stages, _) = planned((7, 6, 5))
    machine = model.machine
    untouched = {name: p.detach().clone() for name, p in machine.named_parameters()}
    Trainer(stages[:2], Stream(0), verbose=False).fit()
    assert all(torch.equal(p, untouched[name]) for name, p in machine.named_parameters())
    Trainer(stages[2:], Stream(0), verbose=False).fit()
    rbms = [stage.game.machine for stage in stages]
    for rbm in rbms:
        ((key, weight),) = rbm.weight.items()
        assert torch.equal(machine.weight[key], weight)
    assert torch.equal(machine.bias["visible"], rbms[0].bias["visible"])
    assert torch.equal(machine.bias["hidden3"], rbms[2].bias["hidden3"])
    for i in (1, 2):
        both = rbms[i - 1].bias[f"hidden{i}"] + rbms[i].bias[f"hidden{i}"]
        assert torch.equal(machine.bias[f"hidden{i}"], both)


def test_a_modality_of_one_variable_comes_into_the_topmost_stage() -> None:
    """The first stage sees the picture alone; the second its features with the name beside them,
    masked where it is missing."""
    X = np.column_stack([BITS[:, :4], 5 + np.arange(40) % 3])
    model, (first_stage, second_stage, _) = planned(
        (5, 6), X, modalities=MODALITIES, top_replication=2
    )
    first, second = first_stage.game, second_stage.game
    assert first.machine.edges == (("picture", "picture_hidden1"),)
    assert dict(first.gain) == {"picture": 1.0, "picture_hidden1": 3.0}
    assert set(second.machine.edges) == {("picture_hidden1", "hidden2"), ("name", "hidden2")}
    assert dict(second.gain) == {"picture_hidden1": 3.0, "name": 2.0, "hidden2": 1.0}
    name, picture = torch.eye(3), torch.tensor([[1.0, 0, 0, 1], [0, 1, 0, 1], [1, 1, 1, 0]])
    mask = torch.ones(3, 7, dtype=torch.bool)
    mask[1, :3] = False
    batch = Batch(torch.cat([name * mask[:, :3], picture], 1), mask)
    assert torch.equal(first_stage.view(batch, Stream(0)).values, picture)
    features = second_stage.view(batch, Stream(0))
    weight, bias = first.machine.weight["picture-picture_hidden1"], first.machine.bias
    h = torch.sigmoid(3 * (picture @ weight + bias["picture_hidden1"]))
    expected = torch.cat([h, name * mask[:, :3]], 1)
    assert torch.allclose(features.values, expected, atol=1e-6)
    assert torch.equal(features.mask[:, 5:], mask[:, :3])
    assert bool(features.mask[:, :5].all())
    second_stage.on_end()
    assert torch.equal(model.machine.bias["name"], 2 * second.machine.bias["name"])


def test_the_label_is_trained_with_the_top() -> None:
    labels = np.array([0, 1, 2, None] * 10, dtype=object)
    _, (first, second, _) = planned((5, 4), ROWS, labels, labels=True)
    assert first.game.visible == ("visible",)
    assert second.game.visible == ("hidden1", "label")
    batch = Batch(torch.from_numpy(ROWS[:4]).float(), label=torch.tensor([0, 1, 2, -1]))
    seen = second.view(batch, Stream(0))
    assert torch.equal(seen.values[:3, 5:].argmax(1), torch.tensor([0, 1, 2]))
    assert torch.equal(seen.mask.all(1), batch.label >= 0)
    for stage in (first, second):
        given = batch if stage.view is None else stage.view(batch, Stream(0))
        drawn = stage.game.draw(given, Stream(0))
        assert all(bool(x.isfinite().all()) for x in stage.game.gradient("machine", drawn))


def settled(chains: int = 8, rank: int = 0, world: int = 1, rows: int = 20) -> ContrastiveGame:
    machine = BoltzmannMachine.stack(Bernoulli(9), Bernoulli(7), Bernoulli(6)).double()
    machine.initialise(3, std=1.0)
    game = ContrastiveGame(machine, chains=chains, mean_field_steps=30)
    Processes(rank, world).share(game)
    settle_game(game, Batch(torch.from_numpy(ROWS[:rows])), Stream(4), rank)
    return game


@pytest.mark.parametrize("world", [2, 4])
def test_processes_begin_with_the_chains_of_one(world: int) -> None:
    whole, parts = settled(), [settled(rank=rank, world=world) for rank in range(world)]
    assert torch.equal(whole.chain_visible, torch.from_numpy(ROWS[:8]))
    for name in whole.sharded:
        joined = torch.cat([getattr(part, name) for part in parts])
        assert torch.equal(joined, getattr(whole, name))
    assert all(torch.equal(part.offset("hidden1"), whole.offset("hidden1")) for part in parts)


def test_fewer_rows_than_chains_are_used_over_again_and_games_without_chains_left_alone() -> None:
    game = settled(chains=8, rows=3)
    assert torch.equal(game.chain_visible, torch.from_numpy(ROWS[[0, 1, 2, 0, 1, 2, 0, 1]]))
    machine = game.machine
    plain = ContrastiveGame(machine, negative="data", centred=False)
    settle_game(plain, Batch(torch.from_numpy(ROWS)), Stream(4))
    assert all(bool((plain.offset(name) == 0).all()) for name in machine.layers)


@pytest.mark.parametrize(
    ("model", "rows", "rate"),
    [
        (RBM(), 1000, 0.2),
        (RBM(), 10, 0.04),
        (RBM(momentum=0.9), 1000, 0.04),
        (RBM(batch_size=10), 1000, 0.04),
        (RBM(batch_size=100), 1000, 0.2),
        (RBM(optimiser="adam", batch_size=1), 10, 0.02),
        (RBM(learning_rate=0.3, momentum=0.9, batch_size=1), 10, 0.3),
        (DBM(), 1000, 0.05),
        (DBM(optimiser="adam", momentum=0.1), 10, 0.005),
    ],
)
def test_the_default_rate_follows_momentum_and_batch(model, rows, rate):
    """A step of momentum m is as long as 1 / (1 − m) steps without, and small batches take shorter
    ones; Adam's is neither's."""
    assert model.first_rate(model.tabulate(BITS, None), rows) == pytest.approx(rate)


@pytest.mark.parametrize("rule", ["sgd", "adam"])
@pytest.mark.parametrize(("momentum", "used", "rate"), [(None, 0.5, 0.1), (0.9, 0.9, 0.02)])
def test_pretraining_is_gradient_descent(rule, momentum, used, rate):
    """Whatever the joint stage is trained by."""
    model = DBM((6, 4), optimiser=rule, momentum=momentum, random_state=0)
    settings = plan_of(model, np.repeat(BITS, 5, axis=0))[1][0].solver.optimisers
    assert (settings.kind, settings.final_momentum) == ("sgd", used)
    assert settings.rate == pytest.approx(rate)
