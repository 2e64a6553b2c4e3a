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
from equilibria.inference.annealing import base_log_partition, kept_colour, log_marginal
from equilibria.models.boltzmann import BoltzmannMachine, State
from equilibria.random import RandomState, Stream, as_stream

__all__ = ["Difference", "Ladder", "Rung", "differences", "ladder", "ladder_log_partition", "log_partition"]

Rung = tuple[BoltzmannMachine, float]
"""A machine and an inverse temperature."""

CAVEAT = "The ladder needs equilibrium samples at every rung: modes that all rungs have missed are not in its interval."
FEW = 20
"""The effective sample size below which a pair of rungs is called badly overlapping."""


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
    return _estimate(rungs, found.pairs(chains), described, CAVEAT, level)[0]


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
    sweeps: int = 200,
    every: int = 5,
    random_state: RandomState = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Ladder:
    """Sample a ladder of inverse temperatures by replica exchange and take log Z from it.

    The chains of every rung start where annealing brings them. After each sweep neighbouring rungs swap states by the very log-ratios
    that Bennett's estimate is made of, with one colour summed out, so a swap costs no product; even pairs are asked after one
    sweep, odd ones after the next. A fifth of the sweeps is thrown away, and of the rest every ``every``-th is used.

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
    found, ratios, swapped = _sampled(machine, betas, int(chains), int(sweeps), int(every), random_state, progress)
    described = f"{chains} chains, {ratios.draws} draws a rung, {len(ratios.rungs) - 1} temperatures, swaps"
    estimate, pairs = _estimate(ratios.rungs, ratios.pairs(int(chains)), described, CAVEAT)
    return Ladder(estimate, tuple(beta for _, beta in ratios.rungs), tuple(pair.difference for pair in pairs), found, swapped)


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
    rungs = [(machine, beta) for beta in annealing.temperatures(machine, betas, stream, adaptive=True)]
    states = _annealed(rungs, chains, stream.child("start"))
    found, accepted = _Ratios(rungs), np.zeros((2, len(rungs) - 1))
    for step in range(sweeps):
        key = stream.child("sweep", step)
        up, down, pulls = found.at(states)
        if step >= sweeps // 5 and (sweeps - 1 - step) % every == 0:
            found.keep(up, down)
        for i in range(step % 2, len(rungs) - 1, 2):
            share = _swap(up[i] - down[i], (states[i], states[i + 1]), (pulls[i], pulls[i + 1]), key.child("swap", i))
            accepted[:, i] += share, 1
        for i, (_, beta) in enumerate(rungs):
            _redraw(machine, found.kept, states[i], pulls[i], beta, key.child(i))
        if progress is not None:
            progress(step + 1, sweeps)
    last = {**states[-1], **gibbs.block(machine, 1 - found.kept, states[-1], stream.child("last"))[0]}
    return last, found, tuple((accepted[0] / np.maximum(accepted[1], 1)).tolist())


def _annealed(rungs: Sequence[Rung], chains: int, stream: Stream) -> list[dict[str, Tensor]]:
    """The states of each rung's chains on the way of one annealing run through all of them, with a sweep at each."""
    state = gibbs.start(rungs[0][0], chains, stream)
    states = [dict(state)]
    for step, (machine, beta) in enumerate(rungs[1:]):
        state = gibbs.sweep(machine, state, stream.child(step), beta=beta)[0]
        states.append(dict(state))
    return states


def _swap(log_odds: np.ndarray, states: tuple[dict[str, Tensor], ...], pulls: tuple[dict[str, Tensor], ...], stream: Stream) -> float:
    """Exchange the rows that a Metropolis step accepts, in place; the share of them.

    The kept colour alone is the state here. The summed one is redrawn before it is looked at, and what it feels travels along.
    """
    drawn = stream.uniform(log_odds.shape, torch.float64).numpy()
    yes = np.log(np.maximum(drawn, 1e-300)) < log_odds
    rows = torch.from_numpy(yes)
    for one, other in (states, pulls):
        for name, values in one.items():
            mask = rows.to(values.device).unsqueeze(1)
            one[name], other[name] = torch.where(mask, other[name], values), torch.where(mask, values, other[name])
    return float(yes.mean())


def _redraw(machine: BoltzmannMachine, kept: int, state: dict[str, Tensor], pull: State, beta: float, stream: Stream) -> None:
    """The summed colour given the kept one, then the kept one: in place."""
    for name, coupling in pull.items():
        state[name] = machine.units(name).sample(machine.bias_at(name, beta) + beta * coupling, stream.child(name))
    state.update(gibbs.block(machine, kept, state, stream, beta=beta)[0])


class _Ratios:
    """log f_{i+1}/f_i at the samples of rung i (``up``) and of rung i + 1 (``down``), draw by draw."""

    def __init__(self, rungs: Sequence[Rung]):
        self.rungs = rungs
        self.kept = kept_colour(rungs[0][0])
        self.up: list[list[np.ndarray]] = [[] for _ in rungs[1:]]
        self.down: list[list[np.ndarray]] = [[] for _ in rungs[1:]]

    @property
    def draws(self) -> int:
        return len(self.up[0])

    def add(self, states: Sequence[State]) -> None:
        up, down, _ = self.at(states)
        self.keep(up, down)

    def keep(self, up: Sequence[np.ndarray], down: Sequence[np.ndarray]) -> None:
        for kept, new in ((self.up, up), (self.down, down)):
            for parts, part in zip(kept, new, strict=True):
                parts.append(part)

    @torch.no_grad()
    def at(self, states: Sequence[State]) -> tuple[list[np.ndarray], list[np.ndarray], list[dict[str, Tensor]]]:
        """(``up`` and ``down`` of one draw, pair by pair; what the summed layers of each rung feel)."""
        up, down, pulls = [], [], []
        last = len(self.rungs) - 1
        for i, state in enumerate(states):
            around = range(max(i - 1, 0), min(i + 1, last) + 1)
            logs, pull = self._marginals(around, i, state)
            pulls.append(pull)
            if i < last:
                up.append(logs[i + 1] - logs[i])
            if i > 0:
                down.append(logs[i] - logs[i - 1])
        return up, down, pulls

    def _marginals(self, around: Sequence[int], own: int, state: State) -> tuple[dict[int, np.ndarray], dict[str, Tensor]]:
        """log f of some rungs at a state, with one product for all rungs that share a machine."""
        pulls: dict[int, dict[str, Tensor]] = {}
        logs = {}
        for j in around:
            machine, beta = self.rungs[j]
            if id(machine) not in pulls:
                pulls[id(machine)] = {name: machine.pull(name, state) for name in machine.colours[1 - self.kept]}
            logs[j] = log_marginal(machine, self.kept, state, pulls[id(machine)], beta).cpu().numpy()
        return logs, pulls[id(self.rungs[own][0])]

    def split(self, chains: int) -> list[_Ratios]:
        """The same for so many chains at a time, of draws that hold several times as many."""
        parts = []
        for first in range(0, len(self.up[0][0]), chains):
            part = _Ratios(self.rungs)
            part.up = [[x[first : first + chains] for x in pair] for pair in self.up]
            part.down = [[x[first : first + chains] for x in pair] for pair in self.down]
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
    consistency = float(score.sum()) / spread if (spread := _spread(score)) > 0 else 0.0
    return _Pair(Difference(value, error, information * harmonic, 2 / (error**2 + harmonic), consistency), influence, drift)


def _later(x: np.ndarray) -> np.ndarray:
    """Twice the sum over the later half of the draws minus that over the earlier half, (chains,); one in the middle does not count."""
    half = len(x) // 2
    return 2 * (x[len(x) - half :].sum(0) - x[:half].sum(0))


def _spread(parts: np.ndarray) -> float:
    """The standard error of a sum over chains."""
    return math.sqrt(len(parts)) * float(parts.std(ddof=1))


def _estimate(rungs: Sequence[Rung], pairs: list[_Pair], described: str, caveat: str, level: float = 0.95) -> tuple[Estimate, list[_Pair]]:
    found = [pair.difference for pair in pairs]
    value = base_log_partition(rungs[0][0]) + sum(d.value for d in found)
    together = np.sum([pair.influence for pair in pairs], axis=0)
    chains = len(together)
    error = math.inf if any(math.isinf(d.error) for d in found) else _spread(together)
    half = float(stats.t.ppf(0.5 + level / 2, chains - 1)) * error
    said = _warning(found, np.sum([pair.drift for pair in pairs], axis=0))
    ess = min(d.ess for d in found)
    method = f"Bennett's ratio, {len(rungs)} rungs, {described}"
    caveat = " ".join(part for part in (said, caveat) if part)
    return Estimate(value, value - half, value + half, method, "log Z", level, ess, None, caveat, said), pairs


def _warning(found: Sequence[Difference], drift: np.ndarray) -> str:
    """Sentences that name the worst pair of each kind of trouble, with a false alarm of each kind in a thousand ladders."""
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
