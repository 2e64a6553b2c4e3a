"""Small trainings that the tests of training share, as lists of stages: a pretrained DBM, a GAN."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from equilibria.data import Batch, Batches
from equilibria.data.table import Table
from equilibria.games.adversarial import AdversarialGame
from equilibria.games.contrastive import ContrastiveGame
from equilibria.inference.boltzmann import Deep
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.models.generator import Generator
from equilibria.networks.mlp import MLP
from equilibria.random import Stream
from equilibria.recipes.contrastive import Graph, pretraining
from equilibria.solvers import Alternating, Optimiser, Simultaneous
from equilibria.training.stage import Average, Stage
from equilibria.units import Bernoulli

SIZE = 9
_RATES, _KIND = (
    Stream(5).child("rates").uniform((1, SIZE)),
    Stream(5).child("kind").uniform((60, 1)) < 0.5,
)
ROWS = (
    Stream(5).child("rows").uniform((60, SIZE)) < torch.where(_KIND, _RATES, 1 - _RATES)
).float()
"""Rows of two kinds, whose columns have the opposite rates."""

Share = tuple[int, int]


def batches(name: str, dtype: torch.dtype = torch.float32, shard: Share = (0, 1)) -> Batches:
    def encode(rows: Any) -> Tensor:
        return torch.as_tensor(rows).to(dtype)

    return Batches(ROWS, 12, Stream(1).child(name), encode=encode, shard=shard)


def boltzmann(
    dtype: torch.dtype = torch.float32,
    shard: Share = (0, 1),
    steps: int = 60,
    pretrain: int = 20,
    chains: int = 8,
    rate: float = 0.05,
) -> list[Stage]:
    """Two pretraining stages of ``pretrain`` updates each, then Algorithm 20.1 from chains at the
    data's posterior."""
    machine = BoltzmannMachine.stack(Bernoulli(SIZE), Bernoulli(6), Bernoulli(4))
    machine = machine.to(dtype).initialise(Stream(2), std=0.1)
    game = ContrastiveGame(machine, chains=chains, steps=2, mean_field_steps=4, stream=Stream(3))
    solver = Simultaneous(_gradient_steps(rate, steps))
    joint = Stage("joint", game, solver, batches("joint", dtype, shard), steps)
    if not pretrain:
        return [joint]
    table = Table.fit(ROWS.numpy(), kinds="binary")
    rows: Any = SimpleNamespace(table=table, stream=Stream(6), shard=shard)
    rows.batches = lambda name, size: batches(name, dtype, shard)
    rows.some = lambda count, name: Batch(ROWS.to(dtype))
    how = SimpleNamespace(pretrain_steps=pretrain, pretrain_learning_rate=0.1, momentum=0.5)
    vars(how).update(weight_decay=1e-4, pretrain_weight_decay=1e-4, optimiser="sgd")
    vars(how).update(top_replication=1, precision="float32", batch_size=12, chains=chains)
    graph = Graph(table.layers, (6, 4))
    return [*pretraining(Deep(machine, ["visible"]), graph, how, rows, joint), joint]


def adversarial(
    dtype: torch.dtype = torch.float32,
    shard: Share = (0, 1),
    steps: int = 100,
    k: int = 1,
    average: float = 0.9,
) -> list[Stage]:
    """A GAN with Adam on both sides."""
    network = MLP((3, 16, SIZE), stream=Stream(7).child("generator")).to(dtype)
    critic = MLP((SIZE, 16, 1), activation="leaky_relu", stream=Stream(7).child("critic")).to(dtype)
    game = AdversarialGame(Generator(network, latent_dim=3), critic)
    mean = Average(game.generator, average) if average else None
    solver = Alternating(Optimiser("adam", 0.01, betas=(0.5, 0.999)), k=k)
    return [Stage("play", game, solver, batches("play", dtype, shard), steps, average=mean)]


FAMILIES: dict[str, Any] = {"dbm": boltzmann, "gan": adversarial}


def state_of(stages: list[Stage]) -> dict[str, Tensor]:
    """Parameters, chains, offsets and averages of all stages, by name; copies."""
    state = {
        f"{stage.name}.{name}": value
        for stage in stages
        for name, value in stage.game.state_dict().items()
    }
    averages = {
        f"{stage.name}.average.{name}": v
        for stage in stages
        if stage.average
        for name, v in stage.average.values.items()
    }
    return {name: value.detach().clone() for name, value in {**state, **averages}.items()}


def largest_difference(left: dict[str, Tensor], right: dict[str, Tensor]) -> float:
    assert list(left) == list(right)
    return max(float((left[name].double() - right[name].double()).abs().max()) for name in left)


def _gradient_steps(rate: float, steps: int) -> Optimiser:
    return Optimiser("sgd", rate, momentum=0.5, weight_decay=1e-4, schedule="linear", steps=steps)
