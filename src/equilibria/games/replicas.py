"""The replicas below a game's tempered chains: their moves and the earlier machines.

Everything is kept in buffers of one shape, so that a checkpoint holds it like anything else.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from equilibria.inference import ladder
from equilibria.models.boltzmann import BoltzmannMachine, State
from equilibria.random import Stream

__all__ = ["Snapshots", "moves", "remember"]


def moves(
    replicas: Sequence[ladder.Replica],
    below: Mapping[str, Tensor],
    chains: State,
    steps: int,
    stream: Stream,
) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """The moves of tempered chains in one update.

    ``below`` holds the states of the replicas below the last, (chains, replicas − 1 or more, size)
    a layer, and is changed in place. Returns the last replica's new state, the fields of its last
    move, and the mean probability of a swap for each pair of neighbours, (replicas − 1,).
    """
    last, machine = len(replicas) - 1, replicas[-1].machine
    states: list[State] = [*({n: x[:, i] for n, x in below.items()} for i in range(last)), chains]
    acceptance = torch.zeros(last, dtype=torch.float64, device=machine.device)
    for step in range(steps):
        moved = ladder.step(replicas, states, stream.child("sweep", step))
        states = list(moved.states)
        acceptance += moved.chance.mean(1) / steps
    for i, state in enumerate(moved.states[:-1]):
        for name, values in state.items():
            below[name][:, i] = values
    return moved.states[-1], moved.fields[-1], acceptance.to(machine.dtype)


def remember(
    snapshots: Snapshots,
    machine: BoltzmannMachine,
    below: Mapping[str, Tensor],
    chains: State,
    acceptance: Tensor,
    overlap: float,
) -> None:
    """Add the machine to the trajectory if its swaps are rarer than ``overlap``.

    Its replica starts where the chains are. Where there is no room the snapshot goes whose two
    neighbours will swap most readily, which is about the product of their swaps with it; unless
    even that would leave a narrower place than the one at the end.
    """
    if not float(acceptance[-1]) < overlap:
        return
    used = len(acceptance) - 1
    if used == len(snapshots.values):
        without = acceptance[:-1] * acceptance[1:]
        dropped = int(torch.argmax(without))
        if float(without[dropped]) < float(acceptance[-1]):
            return
        snapshots.drop(dropped)
        for states in below.values():  # the first replica, the base rates, is no snapshot
            states[:, dropped + 1 : -1] = states[:, dropped + 2 :].clone()
        used -= 1
    snapshots.add(machine)
    for name, values in chains.items():
        below[name][:, used + 1] = values


class Snapshots(nn.Module):
    """At most ``most`` earlier parameters of a machine, the oldest first.

    ``values`` (most, number of parameters) has a snapshot's parameters in a row, those in use
    first; ``used`` says how many are, 0-d int64.
    """

    values: Tensor
    used: Tensor

    def __init__(self, machine: BoltzmannMachine, most: int):
        super().__init__()
        flat = nn.utils.parameters_to_vector(machine.parameters()).detach()
        self.register_buffer("values", flat.new_zeros(most, len(flat)))
        self.register_buffer("used", torch.zeros((), dtype=torch.int64))
        self._built: list[BoltzmannMachine] = []  # no state: parameters are views of ``values``

    @torch.no_grad()
    def add(self, machine: BoltzmannMachine) -> None:
        """Keep the machine as it is now, in the first free row."""
        self.values[int(self.used)] = nn.utils.parameters_to_vector(machine.parameters())
        self.used += 1

    @torch.no_grad()
    def drop(self, index: int) -> None:
        """Forget one snapshot; the later ones move up."""
        self.values[index:-1] = self.values[index + 1 :].clone()
        self.used -= 1

    def machines(self, like: BoltzmannMachine) -> list[BoltzmannMachine]:
        """The snapshots in use as machines like ``like``: views, for use within one update."""
        count = int(self.used)
        if any(b.device != like.device or b.dtype != like.dtype for b in self._built):
            self._built.clear()
        while len(self._built) < count:
            self._built.append(copy.deepcopy(like).requires_grad_(False))
        for built, row in zip(self._built, self.values, strict=False):
            # every time: a load or a move to a device may have put ``values`` elsewhere
            nn.utils.vector_to_parameters(row, built.parameters())
        return self._built[:count]
