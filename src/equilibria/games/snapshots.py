"""Earlier states of a machine in training, kept as buffers of one shape so that a checkpoint holds them like anything else."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from equilibria.models.boltzmann import BoltzmannMachine

__all__ = ["Snapshots"]


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
