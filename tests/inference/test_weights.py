"""The mean of importance weights: its interval on known distributions, and the signs of degenerate weights."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from equilibria.inference import weights

Draw = Callable[[np.random.Generator, int], np.ndarray]

# name: (draws of log weights, log of the mean weight)
POPULATIONS: dict[str, tuple[Draw, float]] = {
    "log-normal 0.5": (lambda g, n: g.normal(0, 0.5, n), 0.125),
    "log-normal 1": (lambda g, n: g.normal(0, 1.0, n), 0.5),
    "log-normal 2": (lambda g, n: g.normal(0, 2.0, n), 2.0),
    "two modes": (lambda g, n: g.normal(0, 0.4, n) + 5.0 * (g.random(n) < 0.4), 0.08 + math.log(0.6 + 0.4 * math.exp(5.0))),
    "some lost": (lambda g, n: g.normal(0, 0.4, n) - 20.0 * (g.random(n) < 0.05), 0.08 + math.log(0.95 + 0.05 * math.exp(-20.0))),
    "left tail": (lambda g, n: -g.gamma(2, 0.7, n), -2 * math.log(1.7)),
}


@pytest.mark.parametrize("name", POPULATIONS)
def test_the_interval_covers_at_its_rate(name: str) -> None:
    """Of 300 intervals of 95 % from 100 weights at least 263 cover (at 95 % fewer come with probability 3e-7).

    Student's t alone covers 80 % of "log-normal 2", where 263 of 300 has probability 1e-4; a log-normal mean covers 60 % of "two modes".
    """
    draw, truth = POPULATIONS[name]
    generator = np.random.default_rng(7)
    found = [weights.interval(draw(generator, 100)) for _ in range(300)]
    assert sum(low <= truth <= high for _, low, high in found) >= 263
    assert all(low <= value <= high for value, low, high in found)


def test_small_spread_is_the_delta_method() -> None:
    log_weights = np.random.default_rng(0).normal(3.0, 0.01, 5000)
    value, low, high = weights.interval(log_weights)
    half = 1.96 * np.exp(log_weights - value).std() / math.sqrt(5000)
    assert (low, high) == (pytest.approx(value - half, abs=1e-5), pytest.approx(value + half, abs=1e-5))


def test_the_lower_end_is_at_most_what_markov_allows() -> None:
    value, low, high = weights.interval(np.array([0.0] * 99 + [50.0]))
    assert low == pytest.approx(value - math.log(40))
    assert high > value


@pytest.mark.parametrize("shape", [0.2, 0.5, 0.9])
def test_the_shape_of_known_tails(shape: float) -> None:
    """Generalised Pareto quantiles, so that only the fit's own prior (ten weights at 1/2) is in the way."""
    n = 20_000
    values = stats.genpareto(shape).ppf((np.arange(n) + 0.5) / n)
    assert weights.pareto_shape(np.log(values)) == pytest.approx(shape, abs=0.05)


def test_the_shape_is_not_known_of_few_or_equal_weights() -> None:
    assert math.isnan(weights.pareto_shape(np.zeros(100)))
    assert math.isnan(weights.pareto_shape(np.arange(20.0)))


def test_the_shape_does_not_depend_on_the_scale() -> None:
    log_weights = np.random.default_rng(0).normal(0, 1, 400)
    assert weights.pareto_shape(log_weights + 1000) == pytest.approx(weights.pareto_shape(log_weights), abs=1e-6)


def test_warnings_by_cause() -> None:
    generator = np.random.default_rng(1)
    assert weights.warning(generator.normal(0, 0.5, 100)) == ""
    assert weights.warning(np.zeros(100)) == ""
    assert weights.warning(np.array([0.0] * 99 + [50.0])).startswith("Few chains carry the estimate (1 of 100)")
    heavy = np.log(1 + stats.genpareto(1.0).ppf((np.arange(100) + 0.5) / 100) / 2)
    assert weights.warning(heavy).startswith("The largest weights have a heavy tail (Pareto shape 0.75)")


def test_few_warnings_where_all_is_well() -> None:
    """Log-normal weights of σ = 0.5: no more than 3 warnings in 300 (with a rate of 1 in 10,000 more come with probability 3e-8)."""
    generator = np.random.default_rng(2)
    assert sum(bool(weights.warning(generator.normal(0, 0.5, 100))) for _ in range(300)) <= 3


def test_the_estimate_of_an_inverse() -> None:
    log_weights = np.random.default_rng(3).normal(0, 1, 200)
    plain, inverse = weights.estimate(log_weights, "a", "b"), weights.estimate(log_weights, "a", "b", sign=-1.0)
    assert (inverse.value, inverse.low, inverse.high) == (-plain.value, -plain.high, -plain.low)
    assert plain.ess == inverse.ess == pytest.approx(weights.effective(log_weights))
    with pytest.raises(ValueError, match="not finite"):
        weights.estimate(np.array([0.0, math.nan]), "a", "b")
