r"""log Z by a ladder of distributions and Bennett's acceptance ratio (Bennett 1976; Shirts & Chodera 2008).

A **rung** is (machine, β): a distribution over the same layers as every other rung. A ladder starts at β = 0, where Z is known in
closed form, and ends at the machine whose log Z is wanted; between them are temperatures of that machine, or earlier states
of its training. With equilibrium samples at every rung the ratio of two neighbours' partition functions is the intercept of a logistic
regression that tells their samples apart, which uses both rungs' samples and has the least variance of all such estimates.

Where annealing needs its chains to keep up with β, this needs the samples to be in equilibrium, so the two fail differently.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy import optimize, special, stats
from torch import Tensor

from equilibria.estimate import Estimate
from equilibria.inference import annealing, gibbs
from equilibria.inference.annealing import base_log_partition, bias_at, kept_colour, log_marginal
from equilibria.models.boltzmann import BoltzmannMachine, State
from equilibria.random import RandomState, Stream, as_stream

__all__ = ["Difference", "Ladder", "Rung", "differences", "ladder", "ladder_log_partition", "log_partition"]

Rung = tuple[BoltzmannMachine, float]
"""A machine and an inverse temperature."""

CAVEAT = "The ladder needs equilibrium samples at every rung: modes that all rungs have missed are not in its interval."
FEW = 20
"""The effective sample size below which a pair of rungs is called badly overlapping."""

FRESH = 0.9
"""The share of the top rung's draws that should come from a state that has been at β = 0 since the start."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """log Z of one rung minus that of the rung below.

    Attributes
    ----------
    value, error : float
        The difference in nats and its standard error, which takes each chain as one observation, however its draws are correlated.
    overlap : float
        1 where the two rungs are the same distribution, 0 where their samples are told apart without an error. Independent samples, n of
        each, give the error √(2 (1/overlap − 1) / n).
    ess : float
        How many independent draws of each rung would do as well, were the rungs as far apart as two can be that still meet.
    consistency : float
        Student's t of the test that the log-odds of the two rungs rise with slope 1 in log f_b/f_a, which equilibrium samples of both do.
    """

    value: float
    error: float
    overlap: float
    ess: float
    consistency: float


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
    found = _Ratios(rungs)
    found.add(states)
    described = f"{rows[0]} draws a rung" if chains == rows[0] else f"{chains} chains, {rows[0] // chains} draws a rung"
    return _estimate(found, chains, described, level)[0]


def differences(rungs: Sequence[Rung], samples: Sequence[Mapping[str, Any]], *, chains: int | None = None) -> list[Difference]:
    """The steps of :func:`log_partition` one by one, from the first rung up."""
    _check_rungs(rungs)
    states = [machine.as_state(state) for (machine, _), state in zip(rungs, samples, strict=True)]
    found = _Ratios(rungs)
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
    for name, value, least in (("chains", chains, 2), ("sweeps", sweeps, 1), ("every", every, 1)):
        if isinstance(value, bool) or int(value) != value or value < least:
            raise ValueError(f"{name}={value!r}: expected a whole number, {least} or more")
    samples, ratios, swapped = _sampled(machine, betas, int(chains), int(sweeps), int(every), random_state, progress)
    described = f"{chains} chains, {ratios.draws} draws a rung, {len(ratios.rungs) - 1} temperatures, swaps"
    estimate, steps = _estimate(ratios, int(chains), described)
    return Ladder(estimate, tuple(beta for _, beta in ratios.rungs), steps, samples, swapped)


@torch.no_grad()
def _sampled(
    machine: BoltzmannMachine,
    betas: int | Sequence[float],
    chains: int,
    sweeps: int,
    every: int,
    random_state: RandomState,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, Tensor], _Ratios, tuple[float, ...]]:
    """(the top rung's last states, the log-ratios of the draws, the share of swaps of each pair)."""
    stream = as_stream(random_state).child("ladder")
    levels = annealing.temperatures(machine, betas, stream, adaptive=True)
    place = _Places(machine, levels, chains)
    state = place.annealed(stream.child("start"))
    ratios, accepted = _Ratios([(machine, beta) for beta in levels]), np.zeros((2, len(levels) - 1))
    fresh = np.arange(len(levels)).repeat(chains) == 0  # rows whose state has been at β = 0 since the start
    for step in range(sweeps):
        moved = place.step(state, step % 2, stream.child("sweep", step))
        if step >= sweeps // 3 and (sweeps - 1 - step) % every == 0:
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
        return self.machine.units(name).sample(bias_at(self.machine, name, self.own) + self.own * pull, stream.child(name))


def _exchanged(up: Tensor, down: Tensor, parity: int, stream: Stream) -> tuple[Tensor, np.ndarray]:
    """(the row that each row takes its state from, the share of swaps of each pair that was asked): Metropolis, chain by chain."""
    log_odds = (up - down)[parity::2]
    yes = torch.log(stream.uniform(log_odds.shape, torch.float64, log_odds.device)) < log_odds
    order = torch.arange((len(up) + 1) * up.shape[1], device=up.device).view(len(up) + 1, -1)
    low, high = order[parity:-1:2], order[parity + 1 :: 2]
    low[:], high[:] = torch.where(yes, high, low), torch.where(yes, low, high)
    return order.view(-1), yes.double().mean(1).cpu().numpy()


class _Ratios:
    """log f_{i+1}/f_i at the samples of rung i (``up``) and of rung i + 1 (``down``), draw by draw."""

    def __init__(self, rungs: Sequence[Rung]):
        self.rungs = rungs
        self.kept = kept_colour(rungs[0][0])
        self.up: list[list[np.ndarray]] = [[] for _ in rungs[1:]]
        self.down: list[list[np.ndarray]] = [[] for _ in rungs[1:]]
        self.fresh: list[
            np.ndarray
        ] = []  # of each draw of the top rung, whether its state has been at β = 0; empty where that is not known

    @property
    def draws(self) -> int:
        return len(self.up[0])

    @torch.no_grad()
    def add(self, states: Sequence[State]) -> None:
        last = len(self.rungs) - 1
        for i, state in enumerate(states):
            logs = self._marginals(range(max(i - 1, 0), min(i + 1, last) + 1), state)
            if i < last:
                self.up[i].append(logs[i + 1] - logs[i])
            if i > 0:
                self.down[i - 1].append(logs[i] - logs[i - 1])

    def keep(self, up: Sequence[np.ndarray], down: Sequence[np.ndarray], fresh: np.ndarray) -> None:
        self.fresh.append(fresh.copy())
        for kept, new in ((self.up, up), (self.down, down)):
            for parts, part in zip(kept, new, strict=True):
                parts.append(part)

    def _marginals(self, around: Sequence[int], state: State) -> dict[int, np.ndarray]:
        """log f of some rungs at a state, with one product for all rungs that share a machine."""
        pulls: dict[int, dict[str, Tensor]] = {}
        logs = {}
        for j in around:
            machine, beta = self.rungs[j]
            if id(machine) not in pulls:
                pulls[id(machine)] = {name: machine.pull(name, state) for name in machine.colours[1 - self.kept]}
            logs[j] = log_marginal(machine, self.kept, state, pulls[id(machine)], beta).cpu().numpy()
        return logs

    def split(self, chains: int) -> list[_Ratios]:
        """The same for so many chains at a time, of draws that hold several times as many."""
        parts = []
        for first in range(0, len(self.up[0][0]), chains):
            part = _Ratios(self.rungs)
            part.up = [[x[first : first + chains] for x in pair] for pair in self.up]
            part.down = [[x[first : first + chains] for x in pair] for pair in self.down]
            part.fresh = [x[first : first + chains] for x in self.fresh]
            parts.append(part)
        return parts

    def pairs(self, chains: int) -> list[_Pair]:
        return [
            _pair(np.concatenate(up).reshape(-1, chains), np.concatenate(down).reshape(-1, chains))
            for up, down in zip(self.up, self.down, strict=True)
        ]


@dataclasses.dataclass(frozen=True)
class _Pair:
    difference: Difference
    influence: np.ndarray  # of each chain on the value, (chains,): they sum to 0
    drift: np.ndarray  # of each chain on the value by the later half of the draws minus that by the earlier half, (chains,)


def _pair(up: np.ndarray, down: np.ndarray) -> _Pair:
    """Bennett's ratio of two rungs from log f_b/f_a at samples of a (``up``) and of b (``down``), each (draws, chains).

    With p(x) = σ(log f_b/f_a − r + log n_b/n_a), the probability that x came from b, r solves Σ_a p = Σ_b (1 − p).
    """
    if not (np.isfinite(up).all() and np.isfinite(down).all()):
        raise ValueError("samples: the rungs' log-ratios are not finite there; a parameter may be infinite or a Gaussian layer unstable")
    offset = math.log(down.size / up.size)
    reach = abs(offset) + 40.0
    low, high = min(up.min(), down.min()) - reach, max(up.max(), down.max()) + reach

    def excess(r: float) -> float:
        return float(special.expit(up - r + offset).sum() - special.expit(r - down - offset).sum())

    value = float(optimize.brentq(excess, low, high, xtol=1e-12, rtol=1e-14))
    p, q = special.expit(up - value + offset), special.expit(value - down - offset)
    weight_a, weight_b = p * (1 - p), q * (1 - q)
    information = float(weight_a.sum() + weight_b.sum())
    harmonic = 1 / up.size + 1 / down.size
    if information < 1e-12:
        return _Pair(Difference(value, math.inf, 0.0, 0.0, 0.0), *np.zeros((2, up.shape[1])))
    influence = (p.sum(0) - q.sum(0)) / information
    error = _spread(influence)
    drift = (_later(p) - _later(q)) / information
    centre = float((weight_a * up).sum() + (weight_b * down).sum()) / information
    score = ((down - centre) * q).sum(0) - ((up - centre) * p).sum(0)
    # Where states that only one rung has shown decide, the scores' own spread is too small: the regression's information knows of them.
    told = float((weight_a * (up - centre) ** 2).sum() + (weight_b * (down - centre) ** 2).sum())
    consistency = float(score.sum()) / max(_spread(score), math.sqrt(told)) if told > 0 else 0.0
    return _Pair(Difference(value, error, information * harmonic, 2 / (error**2 + harmonic), consistency), influence, drift)


def _later(x: np.ndarray) -> np.ndarray:
    """Twice the sum over the later half of the draws minus that over the earlier half, (chains,); one in the middle does not count."""
    half = len(x) // 2
    return 2 * (x[len(x) - half :].sum(0) - x[:half].sum(0))


def _spread(parts: np.ndarray) -> float:
    """The standard error of a sum over chains."""
    return math.sqrt(len(parts)) * float(parts.std(ddof=1))


def _estimate(ratios: _Ratios, chains: int, described: str, level: float = 0.95) -> tuple[Estimate, tuple[Difference, ...]]:
    pairs = ratios.pairs(chains)
    found = [pair.difference for pair in pairs]
    value = base_log_partition(ratios.rungs[0][0]) + sum(d.value for d in found)
    together = np.sum([pair.influence for pair in pairs], axis=0)
    error = math.inf if any(math.isinf(d.error) for d in found) else _spread(together)
    half = float(stats.t.ppf(0.5 + level / 2, chains - 1)) * error
    said = _warning(found, np.sum([pair.drift for pair in pairs], axis=0), ratios.fresh)
    ess = min(d.ess for d in found)
    method = f"Bennett's ratio, {len(ratios.rungs)} rungs, {described}"
    caveat = " ".join(part for part in (said, CAVEAT) if part)
    return Estimate(value, value - half, value + half, method, "log Z", level, ess, None, caveat, said), tuple(found)


def _warning(found: Sequence[Difference], drift: np.ndarray, fresh: Sequence[np.ndarray]) -> str:
    """Sentences that name the worst pair of each kind of trouble; a test among them gives one false alarm in a thousand ladders."""
    sentences, chains = [], len(drift)
    worst = min(range(len(found)), key=lambda i: found[i].ess)
    if found[worst].ess < FEW:
        sentences.append(
            f"Rungs {worst} and {worst + 1} hardly overlap (effective sample size {found[worst].ess:.0f}): "
            "put a rung between them or draw more."
        )
    odd = max(range(len(found)), key=lambda i: abs(found[i].consistency))
    if abs(found[odd].consistency) > stats.t.isf(0.5e-3 / len(found), chains - 1):
        sentences.append(
            f"The samples of rungs {odd} and {odd + 1} contradict each other (t = {found[odd].consistency:.1f}), so one of them is not in "
            "equilibrium: sweep longer, or swap between rungs."
        )
    if (spread := _spread(drift)) > 0 and abs(drift.sum()) > stats.t.isf(0.5e-3, chains - 1) * spread:
        sentences.append(
            f"log Z moved by {drift.sum():.2f} nats between the two halves of the draws, so the chains had not settled: sweep longer."
        )
    if fresh and (share := float(np.mean(fresh))) < FRESH:
        sentences.append(
            f"Of the top rung's draws only {100 * share:.0f} % come from states that have been at β = 0, so the others still know where "
            "they started: sweep longer, or use fewer rungs."
        )
    return " ".join(sentences)


def _check_rungs(rungs: Sequence[Rung]) -> None:
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
