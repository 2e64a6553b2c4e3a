"""One swap between two rungs of a ladder: what stands on them, the marginals that decide, and the trade.

:mod:`equilibria.inference.tempering` says what a ladder is and why the marginals of one colour decide.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from equilibria.inference.clamp import Held
from equilibria.models.boltzmann import BoltzmannMachine, State, log_states
from equilibria.random import Stream

__all__ = ["Place", "Rung", "kept_colour"]


class Rung(NamedTuple):
    """One distribution of a ladder: a machine at inverse temperature ``beta``; at 0 it is the machine's base rates."""

    machine: BoltzmannMachine
    beta: float = 1.0


def kept_colour(machine: BoltzmannMachine) -> int:
    """Which colour swaps, 0 or 1: the one with fewer states, so that the larger one is summed out. A continuous layer is never kept if the
    other colour is discrete."""
    return min((0, 1), key=lambda colour: (log_states(machine, colour), colour))


@dataclasses.dataclass
class Place:
    """A rung with what stands on it: ``kept`` the layers of the kept colour, ``pull`` what those of the summed one feel from their
    neighbours at β = 1, ``log`` the logarithm of the kept layers' marginal there, (chains,), float64."""

    rung: Rung
    kept: dict[str, Tensor]
    pull: dict[str, Tensor]
    log: Tensor

    @classmethod
    def of(cls, rung: Rung, state: State, held: Mapping[str, Held]) -> Place:
        colour = kept_colour(rung.machine)
        kept = {name: state[name] for name in rung.machine.colours[colour]}
        return cls._at(rung, kept, {name: rung.machine.pull(name, kept) for name in rung.machine.colours[1 - colour]}, held)

    @classmethod
    def _at(cls, rung: Rung, kept: dict[str, Tensor], pull: dict[str, Tensor], held: Mapping[str, Held]) -> Place:
        return cls(rung, kept, pull, _log_marginal(rung, kept, pull, held))

    def with_state_of(self, other: Place, held: Mapping[str, Held]) -> Place:
        """The other's kept layers on this rung. The same machine pulls alike, whatever its temperature."""
        if self.rung.machine is other.rung.machine:
            return self._at(self.rung, other.kept, other.pull, held)
        return self.of(self.rung, other.kept, held)

    def take(self, other: Place, where: Tensor) -> None:
        """The other's chains in the rows that ``where`` marks."""
        rows = where.unsqueeze(1)
        self.kept = {name: torch.where(rows, other.kept[name], x) for name, x in self.kept.items()}
        self.pull = {name: torch.where(rows, other.pull[name], x) for name, x in self.pull.items()}
        self.log = torch.where(where, other.log, self.log)

    def trade(self, above: Place, uniform: Tensor, held: Mapping[str, Held]) -> tuple[Tensor, Tensor]:
        """One swap with the rung above for every chain, in place: (its probability, whether it took place), (chains,)."""
        here, there = self.with_state_of(above, held), above.with_state_of(self, held)
        log_ratio = here.log + there.log - self.log - above.log
        accepted = uniform.log() < log_ratio  # log 0 = −∞ is not below −∞: what has no chance does not happen
        self.take(here, accepted)
        above.take(there, accepted)
        return log_ratio.clamp(max=0.0).exp(), accepted

    def draw(self, stream: Stream, held: Mapping[str, Held]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """(the whole state, the fields of what was drawn): the summed colour given what is kept."""
        machine, drawn, fields = self.rung.machine, {}, {}
        for name in self.pull:
            hold = held.get(name)
            if hold is not None and hold.mask is None:
                drawn[name] = hold.values
                continue
            fields[name] = _field(self.rung, name, self.pull)
            x = machine.units(name).sample(fields[name], stream.child(name))
            drawn[name] = x if hold is None else hold.fill(x)
        return {name: drawn[name] if name in drawn else self.kept[name] for name in machine.layers}, fields


def _field(rung: Rung, name: str, pull: State) -> Tensor:
    return torch.add(rung.machine.bias_at(name, rung.beta), pull[name], alpha=rung.beta)


def _log_marginal(rung: Rung, kept: State, pull: State, held: Mapping[str, Held]) -> Tensor:
    """log Σ exp(−E) over what is free in the summed colour, float64 (chains,)."""
    machine = rung.machine
    total = sum((-machine.own_energy(name, x, rung.beta).double() for name, x in kept.items()), torch.zeros(()))
    for name in pull:
        units, field, hold = machine.units(name), _field(rung, name, pull), held.get(name)
        if hold is None:
            total = total + units.log_partition(field).sum(1, dtype=torch.float64)
            continue
        observed, own = field * units.signal(hold.values), -units.base_energy(hold.values)
        if hold.mask is not None and hold.variables is not None:
            observed = torch.where(hold.mask, observed, torch.zeros_like(observed))
            own = torch.where(hold.variables, own, units.log_partition(field))
        total = total + observed.sum(1, dtype=torch.float64) + own.sum(1, dtype=torch.float64)
    return total
