"""How a deep belief network is trained: pairs of neighbouring layers, from the data up."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import torch

from equilibria.data.batches import Batch
from equilibria.data.rows import Rows
from equilibria.evaluation.chains import ChainMonitor
from equilibria.games.contrastive import ContrastiveGame
from equilibria.inference.belief import Belief
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.random import Stream
from equilibria.recipes.contrastive import (
    MONITORED,
    game_of,
    optimiser,
    prepare,
    settle_game,
    shown,
    watch,
)
from equilibria.solvers import Simultaneous
from equilibria.training.stage import Average, Stage
from equilibria.units import Bernoulli

__all__ = ["Features", "greedy", "layer_game"]

START_ROWS = 2000
"""Rows whose features say where a machine of the stack starts: base rates, chains and centring."""


def layer_game(machine: BoltzmannMachine, how: Any, stream: Stream) -> ContrastiveGame:
    """The contrastive game of two neighbouring layers."""
    below, above = machine.layers
    return game_of(machine, how, stream.child("chains", below), [below], [above])


def greedy(model: Belief, how: Any, rows: Rows) -> list[Stage]:
    """One stage a layer; each machine is trained on draws of the layer below given the data."""
    network, stages = model.network, list[Stage]()
    prepare(network.machine(0), rows)
    rule = optimiser(how, rows.table, how.first_rate(rows.table, len(rows)), how.steps)
    for i in range(len(network.machines)):
        machine, name = network.machine(i), f"layer {i + 1}"
        game = layer_game(machine, how, rows.stream)
        batches = rows.batches(name, how.batch_size)
        stage = Stage(name, game, Simultaneous(rule), batches, how.steps)
        stage.average = Average(machine, how.average) if how.average else None
        clamps: list[Any] = []
        if rows.held is not None and not i:  # layers above see draws, each time others
            some = [rows.some(MONITORED, "monitored", held=held) for held in (False, True)]
            clamps = [{network.layers[0]: batch.values.to(network.dtype)} for batch in some]
        floor = machine.units(game.visible[0]).size * math.log(2) if i else rows.independent
        watch(stage, ChainMonitor(game, *clamps, independent=floor))
        if rows.table.shape is not None:
            stage.pictures = functools.partial(_pictures, model, i, game, rows.table)
        if i:
            stage.view = Features(model, i)
            stages[-1].on_end = functools.partial(_begin, model, i, game, how, rows)
        stages.append(stage)
    stages[-1].on_finish = lambda: model.keep(game.chains)
    return stages


class Features:
    """A stage's view: a draw of layer ``depth`` given the data, a fresh one in each batch."""

    def __init__(self, model: Belief, depth: int):
        self.model, self.depth = model, depth

    @torch.no_grad()
    def __call__(self, batch: Batch, stream: Stream) -> Batch:
        drawn = self.model.network.features(batch.values, self.depth, stream)
        return Batch(drawn, label=batch.label, condition=batch.condition)


@torch.no_grad()
def _begin(model: Belief, i: int, game: ContrastiveGame, how: Any, rows: Rows) -> None:
    """What machine i does when the one below has been trained: take its start, and settle where the
    data's features are.

    It starts as the layer below upside down where the widths allow it, with the likelihood that was
    reached (Hinton, Osindero & Teh 2006).
    """
    stream, network = rows.stream.child("begin", i), model.network
    count = max(START_ROWS, how.chains or how.batch_size)
    values = rows.some(count, f"begin {i}").values.to(network.dtype)
    features = network.features(values, i, stream.child("features"))
    machine, lower = network.machine(i), network.machine(i - 1)
    (visible, below), (_, above) = lower.layers, machine.layers
    machine.set_base(below, (features.mean(0) * len(values) + 1) / (len(values) + 2))
    size, binary = lower.units(visible).size, isinstance(lower.units(visible), Bernoulli)
    if how.start == "random" or not binary or size > machine.units(above).size:
        machine.bias[below].copy_(machine.base(below))
    else:
        machine.weight[f"{below}-{above}"][:, :size] = lower.weight[f"{visible}-{below}"].T
        machine.bias[below].copy_(lower.bias[below])
        machine.bias[above][:size] = lower.bias[visible]
    settle_game(game, Batch(features), stream.child("settle"), rows.shard[0])


@torch.no_grad()
def _pictures(
    model: Belief, depth: int, game: ContrastiveGame, table: Any, stream: Stream
) -> np.ndarray:
    """What a layer's chains look like, passed down to the data."""
    machine, state = game.machine, shown(game, stream)
    low = next(iter(machine.layers))
    if depth:
        rows = model.network.down(state[low], depth, stream.child("down"), mean=True)
    else:
        rows = machine.units(low).mean(machine.field(low, state))
    return table.pictures(rows)
