"""From a Boltzmann machine to the network that fine-tuning starts from, and to that network's inputs."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from equilibria.inference.clamp import Held
from equilibria.inference.mean_field import update
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.models.unrolled import UnrolledNetwork
from equilibria.random import Stream
from equilibria.units import Bernoulli

__all__ = ["posterior_inputs", "stack_of", "unrolled"]

BLOCK_ROWS = 2000


def stack_of(machine: BoltzmannMachine) -> list[str]:
    """The layers of a machine that can be unrolled, from the visible one up.

    Raises
    ------
    ValueError
        When it is no path of layers from the first one, or a hidden layer is not binary.
    """
    names = list(machine.layers)
    if list(machine.edges) != list(itertools.pairwise(names)):
        raise ValueError(f"machine: expected a stack of layers, each joined to the next, found the edges {list(machine.edges)}")
    other = [name for name in names[1:] if type(machine.units(name)) is not Bernoulli]
    if other:
        raise ValueError(f"machine: fine-tuning unrolls binary hidden layers, and {', '.join(other)} has other units; use Bernoulli ones")
    return names


@torch.no_grad()
def posterior_inputs(machine: BoltzmannMachine, values: Tensor, steps: int, append: bool = True) -> Tensor:
    """[s(v), q², …, q^L]: visible signals and the mean-field means of the hidden layers above the first, ``steps`` updates of each.

    Parameters
    ----------
    machine : BoltzmannMachine
        A stack.
    values : Tensor, shape (rows, d)
        Complete rows, in the machine's type and on its device; worked on in blocks.
    steps : int
        Updates of both blocks; all rows take the same number, so that a row's input does not depend on the rows beside it.
    append : bool
        Whether the means are there; without them the signals are all.

    Examples
    --------
    >>> machine = BoltzmannMachine.stack(Bernoulli(6), Bernoulli(5), Bernoulli(4))
    >>> posterior_inputs(machine, torch.ones(2, 6), steps=3).shape
    torch.Size([2, 10])
    """
    visible, _, *above = stack_of(machine)
    above = above if append else []
    parts = []
    for rows in values.split(BLOCK_ROWS):
        means = update(machine, {visible: Held(rows)}, steps)[0] if above else {}
        parts.append(torch.cat([machine.units(visible).signal(rows), *(means[name] for name in above)], 1))
    return torch.cat(parts)


def unrolled(machine: BoltzmannMachine, classes: int, stream: Stream, append: bool = True) -> UnrolledNetwork:
    """The network whose hidden layers are the machine's mean field where its input is a fixed point of it; its classes are drawn."""
    names = stack_of(machine)
    weights = [machine.weight[f"{a}-{b}"] for a, b in itertools.pairwise(names)]
    network = UnrolledNetwork([machine.units(name).size for name in names], classes, append).to(machine.device, machine.dtype)
    return network.adopt(weights, [machine.bias[name] for name in names[1:]], stream)
