"""Intervals and divergences against sums over every outcome."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from equilibria.evaluation.statistics import kl_divergence, kl_floor, wilson


@pytest.mark.parametrize("probabilities", [[0.5, 0.5], [0.2, 0.3, 0.5], [0.25, 0.25, 0.25, 0.25]])
@pytest.mark.parametrize("n", [1, 2, 7])
def test_the_floor_is_the_mean_over_all_multinomial_outcomes(probabilities: list[float], n: int) -> None:
    p = np.array(probabilities)
    outcomes = [np.array(c) for c in itertools.product(range(n + 1), repeat=len(p)) if sum(c) == n]
    mean = sum(stats.multinomial.pmf(c, n, p) * kl_divergence(c, p) for c in outcomes)
    assert kl_floor(p, n) == pytest.approx(mean, abs=1e-12)


@pytest.mark.parametrize(
    ("classes", "n", "published"), [(8, 2500, 0.0014), (25, 2500, 0.0048), (1000, 26_000, 0.0194), (1000, 10_000, 0.0508)]
)
def test_the_floor_of_the_published_protocols(classes: int, n: int, published: float) -> None:
    assert kl_floor(np.full(classes, 1 / classes), n) == pytest.approx(published, rel=0.005)


def test_the_floor_tends_to_its_limit() -> None:
    p = np.array([0.1, 0.2, 0.3, 0.4])
    assert kl_floor(p, 10**6) == pytest.approx(3 / (2 * 10**6), rel=1e-5)


def test_the_divergence_of_one_bin_of_k() -> None:
    assert kl_divergence(np.array([5, 0, 0, 0]), np.full(4, 0.25)) == pytest.approx(math.log(4), abs=1e-12)
    assert kl_divergence(np.array([1, 2, 1]), np.array([0.25, 0.5, 0.25])) == 0.0
    assert math.isnan(kl_divergence(np.zeros(3, dtype=int), np.full(3, 1 / 3)))
    assert math.isnan(kl_floor(np.full(3, 1 / 3), 0))


@pytest.mark.parametrize(("successes", "trials"), [(0, 20), (1, 20), (13, 20), (20, 20)])
def test_wilson_inverts_the_score_test(successes: int, trials: int) -> None:
    low, high = wilson(successes, trials)
    z = stats.norm.ppf(0.975)
    for end in {low, high} - {0.0, 1.0}:
        assert abs(successes / trials - end) == pytest.approx(z * math.sqrt(end * (1 - end) / trials), abs=1e-12)
    assert 0.0 <= low <= successes / trials <= high <= 1.0
    assert (low == 0.0) == (successes == 0)
    assert (high == 1.0) == (successes == trials)
