"""Bennett's acceptance ratio between neighbouring rungs, pair by pair, with its error, and the signs that a pair is not to be trusted.

:mod:`equilibria.inference.bennett` says what a ladder is for, and has the functions to call.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy import optimize, special, stats
from torch import Tensor

from equilibria.estimate import Estimate
from equilibria.inference.annealing import base_log_partition, log_marginal
from equilibria.inference.exchange import kept_colour
from equilibria.models.boltzmann import BoltzmannMachine, State

__all__ = ["Difference", "Pair", "Ratios", "estimate", "pair_of"]

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


class Ratios:
    """log f_{i+1}/f_i at the samples of rung i (``up``) and of rung i + 1 (``down``), draw by draw."""

    def __init__(self, rungs: Sequence[tuple[BoltzmannMachine, float]]):
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

    def split(self, chains: int) -> list[Ratios]:
        """The same for so many chains at a time, of draws that hold several times as many."""
        parts = []
        for first in range(0, len(self.up[0][0]), chains):
            part = Ratios(self.rungs)
            part.up = [[x[first : first + chains] for x in pair] for pair in self.up]
            part.down = [[x[first : first + chains] for x in pair] for pair in self.down]
            part.fresh = [x[first : first + chains] for x in self.fresh]
            parts.append(part)
        return parts

    def pairs(self, chains: int) -> list[Pair]:
        return [
            pair_of(np.concatenate(up).reshape(-1, chains), np.concatenate(down).reshape(-1, chains))
            for up, down in zip(self.up, self.down, strict=True)
        ]


@dataclasses.dataclass(frozen=True)
class Pair:
    difference: Difference
    influence: np.ndarray  # of each chain on the value, (chains,): they sum to 0
    drift: np.ndarray  # of each chain on the value by the later half of the draws minus that by the earlier half, (chains,)


def pair_of(up: np.ndarray, down: np.ndarray) -> Pair:
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
        return Pair(Difference(value, math.inf, 0.0, 0.0, 0.0), *np.zeros((2, up.shape[1])))
    influence = (p.sum(0) - q.sum(0)) / information
    error = _spread(influence)
    drift = (_later(p) - _later(q)) / information
    centre = float((weight_a * up).sum() + (weight_b * down).sum()) / information
    score = ((down - centre) * q).sum(0) - ((up - centre) * p).sum(0)
    # Where states that only one rung has shown decide, the scores' own spread is too small: the regression's information knows of them.
    told = float((weight_a * (up - centre) ** 2).sum() + (weight_b * (down - centre) ** 2).sum())
    consistency = float(score.sum()) / max(_spread(score), math.sqrt(told)) if told > 0 else 0.0
    return Pair(Difference(value, error, information * harmonic, 2 / (error**2 + harmonic), consistency), influence, drift)


def _later(x: np.ndarray) -> np.ndarray:
    """Twice the sum over the later half of the draws minus that over the earlier half, (chains,); one in the middle does not count."""
    half = len(x) // 2
    return 2 * (x[len(x) - half :].sum(0) - x[:half].sum(0))


def _spread(parts: np.ndarray) -> float:
    """The standard error of a sum over chains."""
    return math.sqrt(len(parts)) * float(parts.std(ddof=1))


def estimate(ratios: Ratios, chains: int, described: str, level: float = 0.95) -> tuple[Estimate, tuple[Difference, ...]]:
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
