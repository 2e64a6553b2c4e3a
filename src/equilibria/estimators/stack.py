"""Layer-wise pretraining of a deep Boltzmann machine, as a list of stages.

A DBM is pretrained as a stack of RBMs whose inputs are doubled, since in the whole machine each hidden layer is driven from both
sides: the first RBM's hidden layer feels its input twice, the last one's visible layer its own hidden layer twice, and those in
between are trained with both doublings halved into the weights (Salakhutdinov & Hinton 2009, section 3.1).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from equilibria.data import Batch, Batches
from equilibria.games.contrastive import ContrastiveGame
from equilibria.inference.mean_field import update
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.random import Stream
from equilibria.solvers import Rule, Simultaneous
from equilibria.training.stages import Stage

__all__ = ["pretraining", "settle_game"]


def pretraining(
    machine: BoltzmannMachine,
    batches: Callable[[str], Batches],
    rule: Rule,
    steps: int,
    stream: Stream,
    on_last: Callable[[], None],
) -> list[Stage]:
    """One stage for each pair of neighbouring layers of a stack; ``on_last`` is called when the machine has been put together.

    Parameters
    ----------
    machine : BoltzmannMachine
        A path of layers; its parameters are overwritten when the last stage ends.
    batches : callable
        Stage name → its own source of batches.
    rule : Rule
        For every stage.
    steps : int
        Updates of each stage.
    stream : Stream
        Of the initial weights.
    on_last : callable
        Called at the end.
    """
    names = list(machine.layers)
    pairs = list(itertools.pairwise(names))
    stack = [_restricted(machine, below, above, stream.child(below)) for below, above in pairs]
    stages = []
    for i, rbm in enumerate(stack):
        gain = dict(zip(rbm.layers, _gains(i, len(stack)), strict=True))
        name = f"pretrain {i + 1}"
        stages.append(
            Stage(
                name,
                ContrastiveGame(rbm, negative="data", gain=gain),
                Simultaneous(rule),
                batches(name),
                steps,
                view=_features(stack[:i], len(stack)) if i else None,
            )
        )

    def put_together() -> None:
        _compose(machine, stack)
        on_last()

    stages[-1].on_end = put_together
    return stages


def settle_game(game: ContrastiveGame, values: Tensor, stream: Stream, rank: int = 0) -> None:
    """Start a game's chains and centring offsets at the posterior of some data, where a pretrained machine should be.

    ``values`` is encoded data (rows, size) with at least one row; chain i starts at row i, over again if there are fewer. Of several
    processes with equal shares of the chains each says its ``rank``, and draws all rows: it keeps those of its own chains.
    """
    machine = game.machine
    with torch.no_grad():
        means, fields, _ = update(machine, game.observed(Batch(values)), game.mean_field_steps)
        for name in machine.layers:
            if game.centred:
                game.offset(name).copy_(machine.units(name).signal(means[name].mean(0, keepdim=True)).squeeze(0))
            if game.negative == "persistent":
                drawn = means[name] if name not in fields else machine.units(name).sample(fields[name], stream.child(name))
                chain = getattr(game, f"chain_{name}")
                rows = torch.arange(rank * len(chain), (rank + 1) * len(chain), device=chain.device) % len(drawn)
                chain.copy_(drawn[rows])


def _restricted(machine: BoltzmannMachine, below: str, above: str, stream: Stream) -> BoltzmannMachine:
    """The RBM of two neighbouring layers, with the visible layer's base rates and bias where the machine has them."""
    rbm = BoltzmannMachine({below: machine.units(below), above: machine.units(above)}, [(below, above)])
    rbm.to(machine.device, machine.dtype).initialise(stream)
    with torch.no_grad():
        rbm.base(below).copy_(machine.base(below))
        rbm.bias[below].copy_(machine.bias[below])
    return rbm


def _gains(i: int, count: int) -> tuple[float, float]:
    """How often the lower and the upper layer of RBM i feel their input: twice, unless at an end of the stack."""
    return (2.0 if i > 0 else 1.0), (2.0 if i < count - 1 else 1.0)


def _features(below: list[BoltzmannMachine], count: int) -> Callable[[Batch, Stream], Batch]:
    """The means of the topmost hidden layer of a stack, bottom up."""

    def view(batch: Batch, stream: Stream) -> Batch:
        values = batch.values
        with torch.no_grad():
            for i, rbm in enumerate(below):
                visible, hidden = rbm.layers
                field = rbm.field(hidden, {visible: values})
                values = rbm.units(hidden).mean(field * _gains(i, count)[1])
        return Batch(values, condition=batch.condition, label=batch.label)

    return view


def _compose(machine: BoltzmannMachine, stack: list[BoltzmannMachine]) -> None:
    """Weights and biases of the whole machine; a hidden layer between two RBMs has the sum of their biases."""
    with torch.no_grad():
        for name in machine.layers:
            machine.bias[name].zero_()
        for rbm in stack:
            for a, b in rbm.edges:
                machine.weight[f"{a}-{b}"].copy_(rbm.weight[f"{a}-{b}"])
            for name in rbm.layers:
                machine.bias[name].add_(rbm.bias[name])
