"""Monitors of Boltzmann machines in training: whether their chains mix, whether they overfit."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from equilibria import check
from equilibria.evaluation.likelihood import gap
from equilibria.inference import diagnostics, gibbs
from equilibria.inference.completion import evidence
from equilibria.numbers import Measure
from equilibria.random import RandomState, Stream, as_stream

if TYPE_CHECKING:
    from equilibria.models.boltzmann import BoltzmannMachine, State

__all__ = ["ChainMonitor", "free_energy_gap", "mixing"]


@torch.no_grad()
def mixing(
    machine: BoltzmannMachine, state: State, sweeps: int = 100, random_state: RandomState = 0
) -> Measure:
    """Whether chains mix: split R̂ of the energy, with ranks, while copies of them run on.

    ``state`` has each layer's values, one chain a row, two chains or more. R̂ is 1 where all chains
    are alike, well above where each keeps to a region of its own. The parts are "autocorrelation
    time" of the energy in sweeps, infinite where it is longer than so many can tell, and "share of
    frozen chains", whose energy never changed.

    References
    ----------
    Vehtari et al. 2021, "Rank-normalization, folding, and localization: an improved R̂".

    Examples
    --------
    >>> from equilibria.models.boltzmann import BoltzmannMachine
    >>> from equilibria.units import Bernoulli
    >>> machine = BoltzmannMachine.stack(Bernoulli(6), Bernoulli(5)).initialise(0)
    >>> found = mixing(machine, gibbs.start(machine, 50))
    >>> found.value < 1.05, found["share of frozen chains"].value
    (True, 0.0)
    """
    sweeps = check.whole(8)("sweeps", sweeps)
    values, stream = machine.as_state(state), as_stream(random_state).child("watch")
    chains = check.whole(2)("chains", len(next(iter(values.values()))))
    energies: list[Tensor] = []
    for step in range(sweeps):
        values, fields = gibbs.sweep(machine, values, stream.child(step))
        energies.append(gibbs.energy(machine, values, fields).double().cpu())
    history = torch.stack(energies).numpy()
    time, frozen = diagnostics.autocorrelation_time(history), diagnostics.frozen(history)
    share = Measure("share of frozen chains", float(frozen), n=chains, ideal=0.0)
    parts = (Measure("autocorrelation time", float(time), n=chains, note="In sweeps."), share)
    r_hat = float(diagnostics.r_hat(history))
    how: dict[str, Any] = {"n": chains, "method": f"{sweeps} sweeps", "parts": parts}
    return Measure("R-hat of the energy", r_hat, ideal=1.0, **how)


def free_energy_gap(machine: Any, train: Any, held_out: Any, **how: Any) -> Measure:
    """Mean free energy of held-out rows minus that of training rows, in nats: overfitting.

    It is the gap in mean log-likelihood, and needs no log Z. Where hidden layers depend on each
    other the variational free energy, minus the bound, takes the free energy's place. Rows are
    clamps of a Boltzmann machine; ``how`` are the options of
    :func:`equilibria.inference.completion.evidence`.

    Returns
    -------
    Measure
        Near 0 without overfitting and growing with it; chance alone gives 1.96 standard errors.

    Examples
    --------
    >>> from equilibria.models.boltzmann import BoltzmannMachine
    >>> from equilibria.units import Bernoulli
    >>> machine = BoltzmannMachine.stack(Bernoulli(4), Bernoulli(3))
    >>> seen, unseen = {"visible": torch.eye(4)}, {"visible": torch.ones(5, 4)}
    >>> free_energy_gap(machine, seen, unseen).value
    0.0
    """
    found = [evidence(machine, clamp, **how) for clamp in (train, held_out)]
    kind = "free energy" if bool(found[0].exact.all()) else "variational free energy"
    seen, unseen = (part.values.double().cpu().numpy() for part in found)
    return gap(seen, unseen, f"{kind} gap, nats")


@dataclasses.dataclass(frozen=True, eq=False)
class ChainMonitor:
    """Monitors a Boltzmann machine: whether its chains mix, and whether it overfits.

    ``game`` is a ContrastiveGame, or anything with ``machine`` and ``chains``; ``train`` and
    ``held_out`` are clamps of rows that it is trained on and of others; copies of the chains run on
    for ``sweeps`` at each check.

    ``independent`` is what a row costs under independent columns, in nats. No log p is above minus
    the contrast, the mean energy of rows less that of chains, plus the entropy of the hidden units,
    since Z is above exp(−E) of each state: so from a contrast of ``contrast_limit`` on a machine
    whose units are discrete is surely worse than those.

    Examples
    --------
    >>> from equilibria.games.contrastive import ContrastiveGame
    >>> from equilibria.models.boltzmann import BoltzmannMachine
    >>> from equilibria.units import Bernoulli
    >>> machine = BoltzmannMachine.stack(Bernoulli(6), Bernoulli(5)).initialise(0)
    >>> sorted(ChainMonitor(ContrastiveGame(machine, chains=20)).measure(Stream(0)))
    ['autocorrelation_time', 'frozen_chains', 'r_hat']
    """

    game: Any
    train: Mapping[str, Any] | None = None
    held_out: Mapping[str, Any] | None = None
    sweeps: int = 50
    independent: float = dataclasses.field(default=math.inf, kw_only=True)

    def measure(self, stream: Stream) -> dict[str, float]:
        """The numbers of :func:`mixing`, and the gap of :func:`free_energy_gap` and its chance.

        A time that is not finite is logged as the number of sweeps, an R̂ that is not is left out.
        """
        machine, chains = self.game.machine, self.game.chains
        found: dict[str, float] = {}
        if chains and len(next(iter(chains.values()))) > 1:
            mixed = mixing(machine, chains, self.sweeps, stream)
            time = mixed["autocorrelation time"].value
            found["frozen_chains"] = mixed["share of frozen chains"].value
            found["autocorrelation_time"] = time if math.isfinite(time) else float(self.sweeps)
            found |= {"r_hat": mixed.value} if math.isfinite(mixed.value) else {}
        states = {name: machine.units(name).states for name in machine.layers}
        if math.isfinite(self.independent) and None not in states.values():
            hidden = (math.log(n) for name, n in states.items() if name not in self.game.visible)
            found["contrast_limit"] = self.independent + sum(hidden)
        if self.train is not None and self.held_out is not None:
            rows = self.train, self.held_out
            overfit = free_energy_gap(machine, *rows, tolerance=1e-3, max_steps=50)
            found["free_energy_gap"] = overfit.value
            found["free_energy_gap_floor"] = float(overfit.chance or 0.0)
        return found
