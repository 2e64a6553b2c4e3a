"""Whether a machine's chains go anywhere: what persistent chains must do for their samples to be the model's."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from equilibria.inference import diagnostics, gibbs
from equilibria.models.boltzmann import BoltzmannMachine, State
from equilibria.random import RandomState, as_stream

__all__ = ["ChainReport", "watch_chains"]


@dataclasses.dataclass(frozen=True)
class ChainReport:
    """What some sweeps of the chains showed.

    Attributes
    ----------
    sweeps, chains : int
        How many of each were watched.
    r_hat : float
        Split R̂ of the energy with ranks: 1 where all chains are alike, well above where each keeps to a place of its own.
    autocorrelation_time : float
        Of the energy, in sweeps; infinite where it is longer than what was watched can tell.
    frozen : float
        Share of chains whose energy never changed.
    """

    sweeps: int
    chains: int
    r_hat: float
    autocorrelation_time: float
    frozen: float

    def numbers(self) -> dict[str, float]:
        """For a log: what is not finite is left out, or stands at the number of sweeps."""
        time = self.autocorrelation_time
        found = {"frozen_chains": self.frozen, "autocorrelation_time": time if math.isfinite(time) else float(self.sweeps)}
        return {**found, "r_hat": self.r_hat} if math.isfinite(self.r_hat) else found


@torch.no_grad()
def watch_chains(machine: BoltzmannMachine, state: State, sweeps: int = 100, random_state: RandomState = 0) -> ChainReport:
    """Let copies of chains go on for some sweeps, and look at their energies.

    Parameters
    ----------
    machine : BoltzmannMachine
        The model.
    state : mapping of str to Tensor
        Every layer's values, one chain a row; two chains or more. They are left as they are.
    sweeps : int
        At least 8.
    random_state : int, Stream or numpy generator
        The same value gives the same report.

    Examples
    --------
    >>> from equilibria.units import Bernoulli
    >>> machine = BoltzmannMachine.stack(Bernoulli(6), Bernoulli(5)).initialise(0)
    >>> report = watch_chains(machine, gibbs.start(machine, 50))
    >>> report.frozen, report.r_hat < 1.05
    (0.0, True)
    """
    values, stream = machine.as_state(state), as_stream(random_state).child("watch")
    rows = len(next(iter(values.values())))
    if rows < 2 or sweeps < 8:
        raise ValueError(
            f"state: {rows} chain(s) and sweeps={sweeps!r}; expected at least 2 chains and 8 sweeps, since chains are compared"
        )
    energies: list[Tensor] = []
    for step in range(sweeps):
        values, _ = gibbs.sweep(machine, values, stream.child(step))
        energies.append(machine.energy(values).double().cpu())
    history = torch.stack(energies).numpy()
    return ChainReport(sweeps, rows, diagnostics.r_hat(history), diagnostics.autocorrelation_time(history), diagnostics.frozen(history))
