"""Intervals, sets and their scores against sums over all draws; conformal coverage by counting."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from equilibria.evaluation import statistics

RANDOM = np.random.RandomState(0)
DRAWS = {
    "smooth": RANDOM.normal(size=(199, 300)),
    "ties": RANDOM.poisson(1.5, size=(199, 300)).astype(float),
    "few": RANDOM.normal(size=(9, 300)),
    "constant": np.ones((199, 300)),
}


@pytest.mark.parametrize("name", DRAWS)
def test_a_value_s_depth_is_the_level_of_the_first_interval_that_holds_it(name: str) -> None:
    draws = DRAWS[name]
    truth = draws[0] + RANDOM.choice([0, 0, 0.3, 4, -9], size=300)
    found = statistics.interval_level(draws, truth, unit=2.0)
    for level in (*np.arange(0, 1, 1 / 16), 0.9, 0.98, 1.2, 2.5):
        low, high = statistics.central_interval(draws, level, unit=2.0)
        n, out = len(draws), int(round((1 - level) * (len(draws) + 1) / 2, 6))
        steps = level if level > 1 else 1 - 2 * max(1, out) / (n + 1)
        assert (((low <= truth) & (truth <= high)) == (found <= steps + 1e-12)).all()
        assert (low <= high).all()
    low, high = statistics.central_interval(draws, found.max(), unit=2.0)
    assert ((low <= truth) & (truth <= high)).all()


def test_intervals_of_exchangeable_values_hold_their_level() -> None:
    """40,000 cells, truth and draws of one law. Five standard errors, .0075: a false alarm in two
    million."""
    x = RANDOM.standard_exponential((200, 40_000))
    for level in (0.5, 0.9):
        low, high = statistics.central_interval(x[1:], level)
        assert abs(((low <= x[0]) & (x[0] <= high)).mean() - level) < 5 * 0.5 / 200 * 0.6


def test_sets_are_the_smallest_that_reach_the_level() -> None:
    chances = RANDOM.dirichlet([0.5] * 4, size=200)
    for level in (0.3, 0.9):
        held = statistics.likeliest_set(chances, level)
        for row, own in zip(chances, held, strict=True):
            sizes = [
                len(some)
                for k in range(1, 5)
                for some in itertools.combinations(range(4), k)
                if sum(row[list(some)]) >= level
            ]
            assert own.sum() == min(sizes)
            assert row[own].sum() >= level
    truth = RANDOM.randint(4, size=200)
    found = statistics.set_level(chances, truth)
    for level in (0.1, 0.5, 0.97):
        held = statistics.likeliest_set(chances, level)[np.arange(200), truth]
        assert (held == (found <= level)).all()
    assert statistics.likeliest_set(chances, 0.0).sum() == 200


def test_calibrated_levels_hold_further_cells() -> None:
    """Of 4,000 times 99 cells and one more of a law that no model knew: exactly 90 in 100. Five
    standard errors, .024: a false alarm in two million."""
    found = RANDOM.gamma(0.3, size=(4000, 100))
    held = [one[0] <= statistics.conformal_level(one[1:], 0.9) for one in found]
    assert abs(np.mean(held) - 0.9) < 0.024
    assert statistics.conformal_level(np.arange(9.0), 0.9) == 8
    assert [statistics.fewest(level) for level in (0.5, 0.9, 0.95)] == [1, 9, 19]


def test_crps_is_the_mean_over_all_pairs() -> None:
    draws, truth = DRAWS["few"], RANDOM.normal(size=300)
    pairs = [abs(draws[i] - draws[j]) for i, j in itertools.permutations(range(9), 2)]
    expected = abs(draws - truth).mean(0) - np.mean(pairs, 0) / 2
    assert np.allclose(statistics.crps(draws, truth), expected, rtol=0, atol=1e-12)
    assert np.allclose(statistics.crps(draws[:1], truth), abs(draws[0] - truth))
