"""A Boltzmann machine's mean field as a classifier: the network it starts as, and its inputs."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor
from torch.nn import functional

from equilibria.inference.clamp import Held
from equilibria.inference.mean_field import update
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.models.model import Model
from equilibria.models.unrolled import UnrolledNetwork
from equilibria.random import Stream
from equilibria.units import Bernoulli

__all__ = ["Unrolled", "posterior_inputs", "stack_of", "unrolled"]


class Unrolled(Model):
    """A classifier over encoded rows: the machine's posterior means, then the unrolled network.

    ``machine`` stays as it is, and is no part of the state; ``network`` is trained; ``steps``
    mean-field updates are behind the appended means.
    """

    def __init__(self, machine: BoltzmannMachine, network: UnrolledNetwork, steps: int):
        super().__init__()
        self.machine, self.network, self.steps = machine, network, steps
        self.machine.requires_grad_(False)

    def inputs(self, x: Tensor) -> Tensor:
        """The network's inputs for encoded rows of the machine."""
        width = self.machine.units(stack_of(self.machine)[0]).size
        rows = x[:, :width].to(self.machine.dtype)
        return posterior_inputs(self.machine, rows, self.steps, self.network.append)

    def class_log_prob(self, x: Tensor, stream: Stream) -> Tensor:
        """log softmax of the network's logits, (rows, classes)."""
        return functional.log_softmax(self.network(self.inputs(x)), 1)

    def describe(self) -> str:
        sizes = "-".join(map(str, self.network.sizes))
        kind = "with" if self.network.append else "without"
        return f"Unrolled mean field of {sizes} units, {kind} appended means, then a softmax."


def stack_of(machine: BoltzmannMachine) -> list[str]:
    """The layers of a machine that can be unrolled, from the visible one up."""
    names = list(machine.layers)
    binary = all(type(machine.units(name)) is Bernoulli for name in names[1:])
    if list(machine.edges) != list(itertools.pairwise(names)) or not binary:
        layers = {name: type(machine.units(name)).__name__ for name in names}
        wanted = "a stack of layers, each joined to the next, the hidden ones Bernoulli"
        raise ValueError(f"machine: expected {wanted}; found {layers}, edges {machine.edges}")
    return names


@torch.no_grad()
def posterior_inputs(
    machine: BoltzmannMachine, values: Tensor, steps: int, append: bool = True
) -> Tensor:
    """[s(v), q², …, q^L]: visible signals, and mean-field means of hidden layers but the first.

    All rows take ``steps`` updates of both sides, so that a row's input does not depend on the rows
    beside it. Without ``append`` the signals are all.
    """
    visible, _, *above = stack_of(machine)
    above, parts = above if append else [], []
    for rows in values.split(2000):
        means = update(machine, {visible: Held(rows)}, steps)[0] if above else {}
        signal = machine.units(visible).signal(rows)
        parts.append(torch.cat([signal, *(means[name] for name in above)], 1))
    return torch.cat(parts)


def unrolled(
    machine: BoltzmannMachine, classes: int, stream: Stream, append: bool = True
) -> UnrolledNetwork:
    """The network whose hidden layers are the machine's mean field where its input is a fixed point
    of it; the weights of the classes are drawn."""
    names = stack_of(machine)
    sizes = [machine.units(name).size for name in names]
    weights = [machine.weight[f"{a}-{b}"] for a, b in itertools.pairwise(names)]
    network = UnrolledNetwork(sizes, classes, append).to(machine.device, machine.dtype)
    return network.adopt(weights, [machine.bias[name] for name in names[1:]], stream)
