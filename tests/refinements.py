"""Checks of the refinements against laws that are written out: what their own tests and the planted
bugs both run.

A generator of five atoms, where the law of every row after a bounded number of tries is a sum over
all sequences of proposals, compared
with 40,000 rows by a χ² test; and Langevin moves of rows that begin as exact draws of the target,
which must be exact draws after any
number of them (Geweke 2004), by Kolmogorov–Smirnov and z-tests. A false alarm in a million each; a
law that is off by a total variation of
about .02, or a distribution function that moves by .014, is caught.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch.distributions import Normal

from equilibria.inference import refine
from equilibria.inference.langevin import langevin
from equilibria.random import Stream

ALARM = 1e-6
ROWS = 40_000
GENERATED = np.array([0.4, 0.3, 0.15, 0.1, 0.05])
DATA = np.array([0.1, 0.2, 0.3, 0.4, 0.0])
RATIO = DATA / GENERATED
LOGS = torch.from_numpy(np.log(RATIO, out=np.full(5, -np.inf), where=RATIO > 0))
STREAM = Stream(3)


def noise(n: int, stream: Stream) -> torch.Tensor:
    """Atoms 0 … 4 as a column."""
    return torch.searchsorted(
        torch.from_numpy(GENERATED.cumsum()[:-1]), stream.uniform((n,), torch.float64), right=True
    )[:, None].float()


def weight(z: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    return LOGS[z[:, 0].long()] + 0.7  # a constant must change nothing


def assert_law(found: torch.Tensor, law: np.ndarray) -> None:
    counts = np.bincount(found[:, 0].long().numpy(), minlength=5)
    assert (counts[law == 0] == 0).all()
    here = law > 0
    assert stats.chisquare(counts[here], law[here] / law.sum() * counts.sum()).pvalue > ALARM, (
        counts / counts.sum(),
        law,
    )


def kernel() -> np.ndarray:
    """The independence chain's transitions between the atoms of the data."""
    moves = GENERATED * np.minimum(1, RATIO / np.where(RATIO > 0, RATIO, 1e-300)[:, None])
    return moves + np.diag(1 - moves.sum(1))


def rejection(tries: int) -> None:
    """All sequences of proposals: taken at the first acceptance; if none is, one of them by its
    weight."""
    law, short, a = np.zeros(5), 0.0, np.minimum(1, RATIO / RATIO.max())
    for sequence in itertools.product(range(5), repeat=tries):
        probability = GENERATED[list(sequence)].prod()
        refused = 1.0
        for atom in sequence:
            law[atom] += probability * refused * a[atom]
            refused *= 1 - a[atom]
        weights = RATIO[list(sequence)]
        short += probability * refused
        if weights.sum():
            np.add.at(law, list(sequence), probability * refused * weights / weights.sum())
        else:  # nothing to choose by: no law is promised, and the shape's own draw stands
            law += probability * refused * GENERATED
    found = refine.reject(noise, weight, ROWS, STREAM.child(tries), tries=tries)
    assert_law(found.noise, law)
    assert abs(float(found.short.double().mean()) - short) < stats.norm.isf(ALARM / 2) * math.sqrt(
        short * (1 - short) / ROWS
    )
    assert found.tries <= 10_000 + tries * ROWS
    assert "out of tries" in str(found)


def chains(steps: int) -> None:
    """The law of the kernel's power, and Mengersen & Tweedie's rate."""
    law = GENERATED @ np.linalg.matrix_power(kernel(), steps)
    found = refine.metropolis_hastings(noise, weight, ROWS, STREAM.child("mh", steps), steps=steps)
    assert_law(found.noise, np.where(law > 1e-300, law, 0))
    assert 0.5 * np.abs(law - DATA).sum() <= (1 - 1 / RATIO.max()) ** steps
    assert found.tries == ROWS * (steps + 1)


def choice(candidates: int) -> None:
    """All sequences of candidates, one of which is chosen by its weight."""
    law, ess = np.zeros(5), 0.0
    for sequence in itertools.product(range(5), repeat=candidates):
        probability, weights = GENERATED[list(sequence)].prod(), RATIO[list(sequence)]
        if weights.sum():
            np.add.at(law, list(sequence), probability * weights / weights.sum())
            ess += probability * weights.sum() ** 2 / np.square(weights).sum()
        else:
            law += probability * GENERATED
    found = refine.sir(noise, weight, ROWS, STREAM.child("sir", candidates), candidates=candidates)
    assert_law(found.noise, law)
    assert abs(found.ess - ess) < stats.norm.isf(ALARM / 2) * candidates / math.sqrt(ROWS)
    assert math.isnan(found.acceptance)


def normal(n: int, stream: Stream, columns: int = 1) -> torch.Tensor:
    return stream.normal((n, columns), torch.float64)


def two_bumps(z: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
    """log r up to a constant, for which N(0, 1) · r is .3 N(−1.2, .5²) + .7 N(.9, .8²)."""
    parts = [
        math.log(w) + Normal(m, s).log_prob(z[:, 0])
        for w, m, s in ((0.3, -1.2, 0.5), (0.7, 0.9, 0.8))
    ]
    return torch.logaddexp(*parts) - Normal(0.0, 1.0).log_prob(z[:, 0]) + 3.0


def two_bumps_cdf(x: np.ndarray) -> np.ndarray:
    return 0.3 * stats.norm.cdf(x, -1.2, 0.5) + 0.7 * stats.norm.cdf(x, 0.9, 0.8)


def two_bumps_draws(n: int, seed: int) -> torch.Tensor:
    generator = np.random.default_rng(seed)
    first = generator.random(n) < 0.3
    return torch.from_numpy(
        np.where(first, generator.normal(-1.2, 0.5, n), generator.normal(0.9, 0.8, n))
    )[:, None]


def tilted(z: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
    """A column x and two coins a, b: log r = 1.5 a x + .7 a − .4 a b, so x | a ~ N(1.5 a, 1) and
    P(a, b) ∝ exp(.7 a − .4 a b)."""
    x, a, b = z.T
    return 1.5 * a * x + 0.7 * a - 0.4 * a * b


def tilted_draws(n: int, seed: int) -> torch.Tensor:
    generator = np.random.default_rng(seed)
    pairs = np.array([(a, b) for a in (-1, 1) for b in (-1, 1)])
    odds = np.exp(0.7 * pairs[:, 0] - 0.4 * pairs[:, 0] * pairs[:, 1])
    coins = pairs[generator.choice(4, size=n, p=odds / odds.sum())]
    return torch.from_numpy(np.column_stack([generator.normal(1.5 * coins[:, 0], 1.0), coins]))


def assert_same_means(
    found: torch.Tensor,
    start: torch.Tensor,
    functions: Sequence[Callable[[torch.Tensor], torch.Tensor]],
) -> None:
    threshold = stats.norm.isf(ALARM / 2 / len(functions))
    for f in functions:
        after, before = f(found).double(), f(start).double()
        error = math.sqrt(float(after.var() + before.var()) / len(after))
        assert abs(float(after.mean() - before.mean())) < threshold * error


def langevin_moves(step: float) -> None:
    """Exact draws of two bumps stay that."""
    start = two_bumps_draws(ROWS, 1)
    found = langevin(normal, two_bumps, ROWS, Stream(5), start=start, burn_in=0, steps=4, step=step)
    assert stats.kstest(found.noise[:, 0].numpy(), two_bumps_cdf).pvalue > ALARM
    assert_same_means(
        found.noise,
        two_bumps_draws(ROWS, 2),
        [lambda z: z, lambda z: z**2, lambda z: (z - 1).abs()],
    )
    assert 0.1 < found.acceptance <= 1
    assert not torch.equal(found.noise, start)


def langevin_mixed() -> None:
    """Exact draws of a column and two coins stay that."""
    coins = torch.tensor([True, False, False])
    start = tilted_draws(ROWS, 1)
    found = langevin(
        lambda n, stream: normal(n, stream, 3),
        tilted,
        ROWS,
        Stream(2),
        continuous=coins,
        start=start,
        burn_in=0,
        steps=5,
        step=0.5,
    )
    _, a, b = found.noise.T
    assert set(a.unique().tolist()) == set(b.unique().tolist()) == {-1.0, 1.0}
    assert float((a != start[:, 1]).double().mean()) > 0.05
    functions = [
        lambda z: z[:, 0],
        lambda z: z[:, 1],
        lambda z: z[:, 2],
        lambda z: z[:, 1] * z[:, 2],
        lambda z: z[:, 0] * z[:, 1],
    ]
    assert_same_means(
        found.noise,
        tilted_draws(ROWS, 3),
        [*functions, lambda z: z[:, 0] ** 2, lambda z: z[:, 0] * z[:, 2]],
    )


def langevin_coins() -> None:
    """Two coins with P(a, b) ∝ exp(.7 a − .4 a b), from fair ones."""

    def weigh(z: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return 0.7 * z[:, 0] - 0.4 * z[:, 0] * z[:, 1]

    still = torch.zeros(2, dtype=torch.bool)
    found = langevin(
        lambda n, stream: normal(n, stream, 2).sign(),
        weigh,
        ROWS,
        Stream(1),
        continuous=still,
        start=1,
        burn_in=10,
        steps=15,
    )
    law = np.array([math.exp(0.7 * a - 0.4 * a * b) for a in (-1, 1) for b in (-1, 1)])
    place = (found.noise[:, 0] > 0).long() * 2 + (found.noise[:, 1] > 0).long()
    assert stats.chisquare(np.bincount(place, minlength=4), law / law.sum() * ROWS).pvalue > ALARM


def langevin_uniform() -> None:
    """r ∝ 1 + z on U(−1, 1), which is moved in normal coordinates: the density (1 + z)/2, whose
    draws are 2√v − 1."""

    def uniform(n: int, stream: Stream) -> torch.Tensor:
        return stream.uniform((n, 1), torch.float64) * 2 - 1

    def weigh(z: torch.Tensor, rows: Any) -> torch.Tensor:
        return torch.log1p(z[:, 0])

    start = 2 * Stream(3).uniform((ROWS, 1), torch.float64).sqrt() - 1
    found = langevin(
        uniform, weigh, ROWS, Stream(4), uniform=True, start=start, burn_in=0, steps=4, step=0.7
    )
    assert stats.kstest(found.noise[:, 0].numpy(), lambda z: (1 + z) ** 2 / 4).pvalue > ALARM
    assert found.noise.abs().max() <= 1
    from_prior = langevin(uniform, weigh, 4000, Stream(6), uniform=True)
    assert stats.kstest(from_prior.noise[:, 0].numpy(), lambda z: (1 + z) ** 2 / 4).pvalue > ALARM
