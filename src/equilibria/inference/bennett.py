r"""log Z by a ladder of distributions and Bennett's acceptance ratio (Bennett 1976; Shirts & Chodera 2008).

A **rung** is (machine, β): a distribution over the same layers as every other rung. A ladder starts at β = 0, where Z is known in
closed form, and ends at the machine whose log Z is wanted; between them are temperatures of that machine, or earlier states
of its training. With equilibrium samples at every rung the ratio of two neighbours' partition functions is the intercept of a logistic
regression that tells their samples apart, which uses both rungs' samples and has the least variance of all such estimates.

Where annealing needs its chains to keep up with β, this needs the samples to be in equilibrium, so the two fail differently.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equilibria.estimate import Estimate
from equilibria.inference import annealing, gibbs, tempering
from equilibria.inference.annealing import log_marginal
from equilibria.inference.exchange import Rung, kept_colour
from equilibria.inference.ratio import Difference, Ratios, estimate
from equilibria.models.boltzmann import BoltzmannMachine, State
from equilibria.random import RandomState, Stream, as_stream

__all__ = ["Difference", "Ladder", "Rung", "differences", "ladder", "ladder_log_partition", "log_partition", "trajectory"]


@dataclasses.dataclass(frozen=True)
class Ladder:
    """What :func:`ladder` found.

    log Z; the inverse temperatures, the steps between them and how often their states were swapped; the top rung's last samples.
    """

    estimate: Estimate
    betas: tuple[float, ...]
    differences: tuple[Difference, ...]
    samples: Mapping[str, Tensor]
    acceptance: tuple[float, ...]


def log_partition(
    rungs: Sequence[Rung], samples: Sequence[Mapping[str, Any]], *, chains: int | None = None, level: float = 0.95
) -> Estimate:
    """log Z of the last rung from equilibrium samples at every rung.

    Parameters
    ----------
    rungs : sequence of (BoltzmannMachine, float)
        Two or more over the same layers; the first at β = 0.
    samples : sequence of mappings
        For each rung the states of every layer, (rows, size).
    chains : int, optional
        Number of independent chains behind the rows, which are the draws of one time after those of another: row = time · chains + chain.
        A replica-exchange ladder is one chain over all its rungs. By default every row is independent of every other.
    level : float
        Of the interval.

    Returns
    -------
    Estimate
        Its interval is Student's over the chains, so it holds for draws that are correlated in time and between rungs; ``ess`` is the
        worst pair's; the warning names pairs that hardly overlap, and pairs whose samples contradict each other.

    Raises
    ------
    ValueError
        For fewer than two rungs or chains, rungs over different layers, a first rung at β > 0, or rows that do not fit.

    References
    ----------
    Bennett 1976, "Efficient estimation of free energy differences from Monte Carlo data"; Shirts & Chodera 2008.

    Examples
    --------
    >>> from equilibria.units import Bernoulli
    >>> from equilibria.inference import exact
    >>> machine = BoltzmannMachine.stack(Bernoulli(6), Bernoulli(5)).initialise(0, std=1.0)
    >>> rungs = [(machine, beta) for beta in (0.0, 0.5, 1.0)]
    >>> samples = [gibbs.run(m, gibbs.start(m, rows=200), steps=50, random_state=i, beta=b) for i, (m, b) in enumerate(rungs)]
    >>> estimate = log_partition(rungs, samples)
    >>> abs(estimate.value - exact.log_partition(machine)) < 0.2
    True
    """
    _check_rungs(rungs)
    if len(samples) != len(rungs):
        raise ValueError(f"samples: {len(samples)} came for {len(rungs)} rungs; expected the states of each")
    states = [machine.as_state(state) for (machine, _), state in zip(rungs, samples, strict=True)]
    rows = [len(next(iter(state.values()))) for state in states]
    chains = _check_chains(chains, rows)
    found = Ratios(rungs)
    found.add(states)
    described = f"{rows[0]} draws a rung" if chains == rows[0] else f"{chains} chains, {rows[0] // chains} draws a rung"
    return estimate(found, chains, described, level)[0]


def differences(
    rungs: Sequence[tuple[BoltzmannMachine, float]], samples: Sequence[Mapping[str, Any]], *, chains: int | None = None
) -> list[Difference]:
    """The steps of :func:`log_partition` one by one, from the first rung up."""
    _check_rungs(rungs)
    states = [machine.as_state(state) for (machine, _), state in zip(rungs, samples, strict=True)]
    found = Ratios(rungs)
    found.add(states)
    return [pair.difference for pair in found.pairs(_check_chains(chains, [len(next(iter(s.values()))) for s in states]))]


def ladder_log_partition(machine: BoltzmannMachine, **options: Any) -> Estimate:
    """log Z by :func:`ladder`, which has the options."""
    return ladder(machine, **options).estimate


@torch.no_grad()
def ladder(
    machine: BoltzmannMachine,
    *,
    betas: int | Sequence[float] = 40,
    chains: int = 100,
    sweeps: int = 500,
    every: int = 5,
    random_state: RandomState = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Ladder:
    """Sample a ladder of inverse temperatures by replica exchange and take log Z from it.

    The chains of every rung start where annealing brings them. After each sweep neighbouring rungs swap states by the very log-ratios
    that Bennett's estimate is made of, with one colour summed out, so a swap costs no product; even pairs are asked after one
    sweep, odd ones after the next. A third of the sweeps is thrown away, and of the rest every ``every``-th is used.

    Parameters
    ----------
    machine : BoltzmannMachine
        The model.
    betas : int or sequence of float
        Number of steps, placed by :func:`equilibria.inference.annealing.adaptive_schedule`, or inverse temperatures from 0 to 1.
    chains : int
        Independent chains a rung, at least 2.
    sweeps, every : int
        Gibbs sweeps of each chain at each rung, and how many of them lie between two draws that are used.
    random_state : int, Stream or numpy generator
        The same value gives the same result.
    progress : callable, optional
        ``progress(done, total)`` after each sweep of all rungs.

    Examples
    --------
    >>> from equilibria.units import Bernoulli
    >>> from equilibria.inference import exact
    >>> machine = BoltzmannMachine.stack(Bernoulli(6), Bernoulli(5)).initialise(0, std=2.0)
    >>> found = ladder(machine, betas=8, chains=50, sweeps=50)
    >>> found.estimate.low - 0.1 < exact.log_partition(machine) < found.estimate.high + 0.1
    True
    """
    _check_run(chains, sweeps, every)
    samples, ratios, swapped = _sampled(machine, betas, int(chains), int(sweeps), int(every), random_state, progress)
    described = f"{chains} chains, {ratios.draws} draws a rung, {len(ratios.rungs) - 1} temperatures, swaps"
    found, steps = estimate(ratios, int(chains), described)
    return Ladder(found, tuple(beta for _, beta in ratios.rungs), steps, samples, swapped)


@torch.no_grad()
def trajectory(
    rungs: Sequence[Rung],
    *,
    states: Sequence[Mapping[str, Any]] | None = None,
    chains: int = 100,
    sweeps: int = 500,
    every: int = 5,
    random_state: RandomState = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Ladder:
    """The same for rungs of any kind, such as earlier states of the training run (:func:`equilibria.inference.tempering.trajectory`).

    Parameters
    ----------
    rungs : sequence of Rung
        Over the same layers; the first at β = 0.
    states : sequence of mapping, optional
        Where the chains of each rung start: those of the training's replicas, for instance. By default at the base rates.
    chains, sweeps, every, random_state, progress
        As in :func:`ladder`; ``chains`` is that of ``states`` where these are given.

    Examples
    --------
    >>> from equilibria.units import Bernoulli
    >>> from equilibria.inference import exact
    >>> early = BoltzmannMachine.stack(Bernoulli(6), Bernoulli(5)).initialise(0, std=1.0)
    >>> late = BoltzmannMachine.stack(Bernoulli(6), Bernoulli(5)).initialise(0, std=2.0)
    >>> found = trajectory(tempering.trajectory(late, [early]), chains=50, sweeps=100)
    >>> abs(found.estimate.value - exact.log_partition(late)) < 0.5
    True
    """
    _check_run(chains, sweeps, every)
    _check_rungs(rungs)
    stream = as_stream(random_state).child("trajectory")
    rungs = [Rung(*rung) for rung in rungs]
    if states is None:
        current = tempering.start(rungs, chains, stream.child("start"))
    else:
        if len(states) != len(rungs):
            raise ValueError(f"states: {len(states)} came for {len(rungs)} rungs; expected one state for each")
        current = [rung.machine.as_state(state) for rung, state in zip(rungs, states, strict=True)]
        chains = _check_chains(None, [len(next(iter(state.values()))) for state in current])
    ratios, chance = Ratios(rungs), np.zeros(len(rungs) - 1)
    fresh = (np.arange(len(rungs)) == 0)[:, None].repeat(chains, 1)
    for step in range(sweeps):
        moved = tempering.step(rungs, current, stream.child("sweep", step))
        current, fresh = moved.states, _traded(fresh, moved.accepted.cpu().numpy())
        chance += moved.chance.mean(1).cpu().numpy() / sweeps
        if _used(step, sweeps, every):
            ratios.add(current)
            ratios.fresh.append(fresh[-1].copy())
        if progress is not None:
            progress(step + 1, sweeps)
    found, steps = estimate(ratios, chains, f"{chains} chains, {ratios.draws} draws a rung, swaps")
    return Ladder(found, tuple(rung.beta for rung in rungs), steps, current[-1], tuple(chance.tolist()))


def _traded(fresh: np.ndarray, accepted: np.ndarray) -> np.ndarray:
    """Marks of states, (rungs, chains), after the swaps of the even pairs and then of the odd ones; at the first rung all are fresh."""
    fresh = fresh.copy()
    for pair in [*range(0, len(accepted), 2), *range(1, len(accepted), 2)]:
        low, high = fresh[pair].copy(), fresh[pair + 1].copy()
        fresh[pair], fresh[pair + 1] = np.where(accepted[pair], high, low), np.where(accepted[pair], low, high)
        fresh[0] = True
    return fresh


def _used(step: int, sweeps: int, every: int) -> bool:
    """Whether the draws after this sweep count: a third is thrown away, the last one is always used."""
    return step >= sweeps // 3 and (sweeps - 1 - step) % every == 0


@torch.no_grad()
def _sampled(
    machine: BoltzmannMachine,
    betas: int | Sequence[float],
    chains: int,
    sweeps: int,
    every: int,
    random_state: RandomState,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, Tensor], Ratios, tuple[float, ...]]:
    """(the top rung's last states, the log-ratios of the draws, the share of swaps of each pair)."""
    stream = as_stream(random_state).child("ladder")
    levels = annealing.temperatures(machine, betas, stream, adaptive=True)
    place = _Places(machine, levels, chains)
    state = place.annealed(stream.child("start"))
    ratios, accepted = Ratios([Rung(machine, beta) for beta in levels]), np.zeros((2, len(levels) - 1))
    fresh = np.arange(len(levels)).repeat(chains) == 0  # rows whose state has been at β = 0 since the start
    for step in range(sweeps):
        moved = place.step(state, step % 2, stream.child("sweep", step))
        if _used(step, sweeps, every):
            ratios.keep(list(moved.up), list(moved.down), fresh[-chains:])
        state, fresh = moved.state, fresh[moved.order]
        fresh[:chains] = True
        accepted[:, step % 2 :: 2] += np.stack([moved.chance, np.ones_like(moved.chance)])
        if progress is not None:
            progress(step + 1, sweeps)
    top = {name: x[-chains:] for name, x in state.items()}
    top.update(gibbs.block(machine, 1 - place.kept, top, stream.child("top"))[0])
    return top, ratios, tuple((accepted[0] / np.maximum(accepted[1], 1)).tolist())


@dataclasses.dataclass(frozen=True)
class _Step:
    """A step of the whole ladder.

    ``state`` is the new one; ``up`` and ``down`` are log f_{i+1}/f_i at the old one's rungs i and i + 1, (rungs − 1, chains); ``order`` is
    the row that each row's state comes from, (rungs · chains,); ``chance`` the share of swaps of each pair that was asked.
    """

    state: dict[str, Tensor]
    up: np.ndarray
    down: np.ndarray
    order: np.ndarray
    chance: np.ndarray


class _Places:
    """All rungs of a ladder of temperatures as one batch: row = rung · chains + chain, so that a product serves every rung.

    The states are those of the kept colour alone; the other one is drawn and forgotten within a step.
    """

    def __init__(self, machine: BoltzmannMachine, betas: Sequence[float], chains: int):
        self.machine, self.chains, self.rungs = machine, chains, len(betas)
        self.kept = kept_colour(machine)
        self.betas = betas
        self.own, self.above, self.below = (self._rows([*betas[k:], *betas[:k]]) for k in (0, 1, -1))  # the ends' neighbours are not used

    def _rows(self, betas: Sequence[float]) -> Tensor:
        return torch.tensor(betas, dtype=self.machine.dtype, device=self.machine.device).repeat_interleave(self.chains).unsqueeze(1)

    def annealed(self, stream: Stream) -> dict[str, Tensor]:
        """Each rung's chains where one annealing run through all of them had them, with a sweep at each."""
        state = gibbs.start(self.machine, self.chains, stream)
        states = [state]
        for step, beta in enumerate(self.betas[1:]):
            state = gibbs.sweep(self.machine, state, stream.child(step), beta=beta)[0]
            states.append(state)
        return {name: torch.cat([s[name] for s in states]) for name in self.machine.colours[self.kept]}

    def step(self, state: State, parity: int, stream: Stream) -> _Step:
        """Swap the pairs of one parity, then sweep."""
        machine = self.machine
        pull = {name: machine.pull(name, state) for name in machine.colours[1 - self.kept]}
        own, above, below = (log_marginal(machine, self.kept, state, pull, beta) for beta in (self.own, self.above, self.below))
        up = (above - own).view(self.rungs, -1)[:-1]
        down = (own - below).view(self.rungs, -1)[1:]
        order, chance = _exchanged(up, down, parity, stream.child("swap"))
        pull = {name: x[order] for name, x in pull.items()}
        other = {name: self._drawn(name, x, stream) for name, x in pull.items()}
        new = {name: self._drawn(name, machine.pull(name, other), stream) for name in machine.colours[self.kept]}
        return _Step(new, up.cpu().numpy(), down.cpu().numpy(), order.cpu().numpy(), chance)

    def _drawn(self, name: str, pull: Tensor, stream: Stream) -> Tensor:
        return self.machine.units(name).sample(self.machine.bias_at(name, self.own) + self.own * pull, stream.child(name))


def _exchanged(up: Tensor, down: Tensor, parity: int, stream: Stream) -> tuple[Tensor, np.ndarray]:
    """(the row that each row takes its state from, the share of swaps of each pair that was asked): Metropolis, chain by chain."""
    log_odds = (up - down)[parity::2]
    yes = torch.log(stream.uniform(log_odds.shape, torch.float64, log_odds.device)) < log_odds
    order = torch.arange((len(up) + 1) * up.shape[1], device=up.device).view(len(up) + 1, -1)
    low, high = order[parity:-1:2], order[parity + 1 :: 2]
    low[:], high[:] = torch.where(yes, high, low), torch.where(yes, low, high)
    return order.view(-1), yes.double().mean(1).cpu().numpy()


def _check_run(chains: int, sweeps: int, every: int) -> None:
    for name, value, least in (("chains", chains, 2), ("sweeps", sweeps, 1), ("every", every, 1)):
        if isinstance(value, bool) or int(value) != value or value < least:
            raise ValueError(f"{name}={value!r}: expected a whole number, {least} or more")


def _check_rungs(rungs: Sequence[tuple[BoltzmannMachine, float]]) -> None:
    if len(rungs) < 2:
        raise ValueError(f"rungs: {len(rungs)} came; expected at least two, the first at β = 0")
    if rungs[0][1] != 0:
        raise ValueError(f"rungs: the first is at β = {rungs[0][1]!r}; expected 0, where log Z is known")
    shapes = [{name: (type(m.units(name)).__name__, m.units(name).size) for name in m.layers} for m, _ in rungs]
    for i, shape in enumerate(shapes):
        if shape != shapes[0] or rungs[i][0].colours != rungs[0][0].colours:
            raise ValueError(f"rungs[{i}]: its layers are {shape}, those of the first rung {shapes[0]}; expected the same")


def _check_chains(chains: int | None, rows: Sequence[int]) -> int:
    if chains is None:
        if len(set(rows)) > 1:
            raise ValueError(f"samples: rungs of {sorted(set(rows))} rows; give every rung as many, or say how many chains there are")
        chains = rows[0]
    if isinstance(chains, bool) or int(chains) != chains or chains < 2:
        raise ValueError(f"chains={chains!r}: expected at least 2 chains, since the interval comes from their spread")
    for i, count in enumerate(rows):
        if count == 0 or count % chains:
            raise ValueError(f"samples[{i}]: {count} rows are not a whole number of draws of {chains} chains")
    return int(chains)
