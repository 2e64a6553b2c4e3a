"""The classifier two-sample test: chance on one law, certain on two. False-alarm rate: 1e-6."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from equilibria.data.toy import GaussianMixture
from equilibria.evaluation import two_sample
from equilibria.random import Stream

RING = GaussianMixture.ring()


@pytest.mark.parametrize("seed", [0, 1])
def test_one_law_is_at_chance(seed: int) -> None:
    estimate = two_sample(RING.sample(1000, Stream(10)), RING.sample(1200, Stream(11)), seed)
    assert estimate.n == 1000
    right = round(estimate.value * 1000)
    assert min(stats.binom.cdf(right, 1000, 0.5), stats.binom.sf(right - 1, 1000, 0.5)) > 0.5e-6
    assert estimate.low < estimate.value < estimate.high


def test_two_laws_with_equal_means_and_variances_are_told_apart() -> None:
    rows = RING.sample(1000, Stream(10))
    normal = Stream(12).normal((1000, 2)).numpy() * rows.std(axis=0) + rows.mean(axis=0)
    estimate = two_sample(rows, normal)
    assert estimate.value > 0.95
    assert estimate.low > 0.9
    assert "random forest" in estimate.method
    assert "raw columns" in estimate.method


def test_collapse_to_half_of_the_modes_shows() -> None:
    half = GaussianMixture(RING.centres[:4], RING.std).sample(1000, Stream(13))
    estimate = two_sample(RING.sample(1000, Stream(10)), half)
    assert estimate.value == pytest.approx(0.75, abs=0.075)  # half of the real rows give themselves away


def test_rows_are_capped_and_seeds_repeat() -> None:
    real, fake = Stream(1).normal((500, 2, 3)), Stream(2).normal((400, 2, 3)) + 0.5
    first, second, other = (two_sample(real, fake, seed, max_rows=100) for seed in (0, 0, 1))
    assert first == second
    assert first != other
    assert first.n == 100


def test_bad_input_is_refused() -> None:
    rows = torch.zeros(10, 2)
    with pytest.raises(ValueError, match=r"fake: expected shape \(rows, 2\)"):
        two_sample(rows, rows[:, :1])
    with pytest.raises(ValueError, match="real: expected at least 4 rows, found 3"):
        two_sample(rows[:3], rows)
    with pytest.raises(ValueError, match="fake: 10 of 10 rows hold NaN"):
        two_sample(rows, np.full((10, 2), np.nan))
    with pytest.raises(ValueError, match="max_rows=1"):
        two_sample(rows, rows, max_rows=1)
