"""The rungs below a game's tempered chains: their states, and the earlier states of the machine that they belong to.

Everything is kept in buffers of one shape, so that a checkpoint holds it like anything else.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from equilibria.inference import tempering
from equilibria.models.boltzmann import BoltzmannMachine, State
from equilibria.random import Stream

__all__ = ["Snapshots", "moves", "remember"]


def moves(
    rungs: Sequence[tempering.Rung], replicas: Mapping[str, Tensor], chains: State, steps: int, stream: Stream
) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """A round's moves of tempered chains.

    ``replicas`` hold the states of the rungs below the last, (chains, rungs − 1 or more, size) a layer, and are moved in place. Returns the
    last rung's new state, the fields of its last move, and the mean probability of a swap for each pair of neighbours, (rungs − 1,).
    """
    states: list[State] = [*({name: x[:, i] for name, x in replicas.items()} for i in range(len(rungs) - 1)), chains]
    acceptance = torch.zeros(len(rungs) - 1, dtype=torch.float64, device=rungs[-1].machine.device)
    for step in range(steps):
        moved = tempering.step(rungs, states, stream.child("sweep", step))
        states = list(moved.states)
        acceptance += moved.chance.mean(1) / steps
    for i, state in enumerate(moved.states[:-1]):
        for name, values in state.items():
            replicas[name][:, i] = values
    return moved.states[-1], moved.fields[-1], acceptance.to(rungs[-1].machine.dtype)


def remember(
    snapshots: Snapshots, machine: BoltzmannMachine, replicas: Mapping[str, Tensor], chains: State, acceptance: Tensor, overlap: float
) -> None:
    """Add the machine to the trajectory, with the chains as its replica's, if the newest earlier state no longer reaches it.

    Where there is no room the one goes whose two neighbours will swap most readily, which is about the product of their swaps with it;
    unless even that would leave a narrower place than the one at the end.
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
        for states in replicas.values():
            states[:, dropped + 1 : -1] = states[:, dropped + 2 :].clone()  # the first rung, the base rates, is no snapshot
        used -= 1
    snapshots.add(machine)
    for name, values in chains.items():
        replicas[name][:, used + 1] = values


class Snapshots(nn.Module):
    """At most ``most`` earlier parameters of a machine, the oldest first.

    Parameters
    ----------
    machine : BoltzmannMachine
        Whose states are kept; it is not held on to.
    most : int
        Number of rows that are set aside.

    Attributes
    ----------
    values : Tensor
        A snapshot's parameters in a row, (most, number of parameters); the rows in use come first.
    used : Tensor
        How many are in use, 0-d int64.

    Examples
    --------
    >>> machine = BoltzmannMachine.from_arrays([torch.ones(3, 2)], [torch.zeros(3), torch.zeros(2)])
    >>> snapshots = Snapshots(machine, most=4)
    >>> snapshots.add(machine)
    >>> bool((snapshots.machines(machine)[0].weight["visible-hidden1"] == 1).all()), int(snapshots.used)
    (True, 1)
    """

    def __init__(self, machine: BoltzmannMachine, most: int):
        super().__init__()
        self.register_buffer("values", _flat(machine).new_zeros(most, _flat(machine).numel()))
        self.register_buffer("used", torch.zeros((), dtype=torch.int64))
        self.values: Tensor
        self.used: Tensor
        self._built: list[BoltzmannMachine] = []  # no part of the state: their parameters are views of ``values``

    @torch.no_grad()
    def add(self, machine: BoltzmannMachine) -> None:
        """Keep the machine as it is now, in the first free row."""
        self.values[int(self.used)] = _flat(machine)
        self.used += 1

    @torch.no_grad()
    def drop(self, index: int) -> None:
        """Forget one snapshot; the later ones move up."""
        self.values[index:-1] = self.values[index + 1 :].clone()
        self.used -= 1

    def machines(self, like: BoltzmannMachine) -> list[BoltzmannMachine]:
        """The snapshots in use as machines built like ``like``; they follow what becomes of ``values``, and are for use within a round."""
        count = int(self.used)
        if any(built.device != like.device or built.dtype != like.dtype for built in self._built):
            self._built.clear()
        while len(self._built) < count:
            self._built.append(copy.deepcopy(like).requires_grad_(False))
        for built, row in zip(self._built, self.values, strict=False):
            parameters = list(built.parameters())
            for parameter, part in zip(parameters, row.split([p.numel() for p in parameters]), strict=True):
                parameter.data = part.view_as(parameter)  # every time: a load or a move to a device may have put ``values`` elsewhere
        return self._built[:count]


def _flat(machine: BoltzmannMachine) -> Tensor:
    return torch.cat([parameter.detach().reshape(-1) for parameter in machine.parameters()])
