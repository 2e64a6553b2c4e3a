"""How a deep belief network is trained: pairs of neighbouring layers, from the data up."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from equilibria.data.batches import Batch
from equilibria.data.rows import Rows
from equilibria.evaluation.monitor import ChainMonitor
from equilibria.games.contrastive import ContrastiveGame
from equilibria.inference import gibbs
from equilibria.inference.belief import Belief
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.random import Stream
from equilibria.recipes.contrastive import MONITORED, game_of, optimiser, prepare, settle_game
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
    rule = optimiser(how, rows.table, how.first_rate(rows.table), how.steps)
    for i in range(len(network.machines)):
        machine, name = network.machine(i), f"layer {i + 1}"
        game = layer_game(machine, how, rows.stream)
        batches = rows.batches(name, how.batch_size)
        stage = Stage(name, game, Simultaneous(rule), batches, how.steps)
        stage.average = Average(machine, how.average) if how.average else None
        stage.monitor = _Monitor(model, i, game, rows)
        if i:
            stage.view = Features(model, i)
            stages[-1].on_end = _Begin(model, i, game, how, rows)
        stages.append(stage)
    stages[-1].on_finish = _Keep(model, stages[-1].game)
    return stages


class Features:
    """A stage's view: a draw of layer ``depth`` given the data, a fresh one in each batch."""

    def __init__(self, model: Belief, depth: int):
        self.model, self.depth = model, depth

    @torch.no_grad()
    def __call__(self, batch: Batch, stream: Stream) -> Batch:
        drawn = self.model.network.features(batch.values, self.depth, stream)
        return Batch(drawn, label=batch.label, condition=batch.condition)


class _Keep:
    """Hands the topmost machine's chains over to the model."""

    def __init__(self, model: Belief, game: Any):
        self.model, self.game = model, game

    def __call__(self) -> None:
        self.model.keep(self.game.chains)


class _Begin:
    """What machine i does when the one below has been trained: take its start, and settle where the
    data's features are."""

    def __init__(self, model: Belief, i: int, game: ContrastiveGame, how: Any, rows: Rows):
        self.model, self.i, self.game, self.how, self.rows = model, i, game, how, rows

    @torch.no_grad()
    def __call__(self) -> None:
        stream, network = self.rows.stream.child("begin", self.i), self.model.network
        count = max(START_ROWS, self.how.chains or self.how.batch_size)
        values = self.rows.some(count, f"begin {self.i}").values.to(network.dtype)
        features = network.features(values, self.i, stream.child("features"))
        self._start(features.mean(0), len(values))
        settle_game(self.game, Batch(features), stream.child("settle"), self.rows.shard[0])

    def _start(self, rates: Tensor, rows: int) -> None:
        """Base rates, biases and weights: the layer below upside down where the widths allow it,
        which
        begins with the likelihood that was reached (Hinton, Osindero & Teh 2006)."""
        machine = self.model.network.machine(self.i)
        lower = self.model.network.machine(self.i - 1)
        (visible, below), (_, above) = lower.layers, machine.layers
        machine.set_base(below, (rates * rows + 1) / (rows + 2))
        size = lower.units(visible).size
        binary = isinstance(lower.units(visible), Bernoulli)
        if self.how.start == "random" or not binary or size > machine.units(above).size:
            machine.bias[below].copy_(machine.base(below))
            return
        machine.weight[f"{below}-{above}"][:, :size] = lower.weight[f"{visible}-{below}"].T
        machine.bias[below].copy_(lower.bias[below])
        machine.bias[above][:size] = lower.bias[visible]


class _Monitor:
    """Whether a layer's chains move, and what they look like, passed down to the data."""

    def __init__(self, model: Belief, depth: int, game: ContrastiveGame, rows: Rows):
        self.model, self.depth, self.game, self.table = model, depth, game, rows.table
        parts: tuple[Any, ...] = (None, None)
        if rows.held is not None and not depth:  # layers above see draws, each time others
            below, _ = game.machine.layers
            some = [rows.some(MONITORED, "monitored", held=held) for held in (False, True)]
            parts = tuple({below: batch.values.to(game.machine.dtype)} for batch in some)
        self.chains = ChainMonitor(game, *parts)

    def measure(self, stream: Stream) -> dict[str, float]:
        return self.chains.measure(stream)

    @torch.no_grad()
    def pictures(self, stream: Stream) -> np.ndarray | None:
        if self.table.shape is None:
            return None
        machine = self.game.machine
        state = {name: values[:64] for name, values in self.game.chains.items()}
        if not state:
            state = gibbs.run(machine, gibbs.start(machine, 64, stream), 200, stream)
        low = next(iter(machine.layers))
        if self.depth:
            rows = self.model.network.down(state[low], self.depth, stream.child("down"), mean=True)
        else:
            rows = machine.units(low).mean(machine.field(low, state))
        return self.table.pictures(rows)
