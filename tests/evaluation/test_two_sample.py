"""The classifier two-sample test: chance on one distribution, certain on two."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from equilibria.data import GaussianMixture
from equilibria.evaluation import two_sample
from equilibria.random import Stream

RING = GaussianMixture.ring()


@pytest.mark.parametrize(("real", "fake"), [(1000, 1000), (1500, 500)])
def test_one_distribution_is_at_chance(real: int, fake: int) -> None:
    """False-alarm rate: 1e-6."""
    found = two_sample(RING.sample(real, Stream(10)), RING.sample(fake, Stream(11)))
    assert found.n == real + fake
    assert (found.chance, found.ideal) == (0.5, 0.5)
    error = np.sqrt((real + fake + 1) / (12 * real * fake))
    assert abs(found.value - 0.5) < stats.norm.isf(0.5e-6) * error
    assert found.low < found.value < found.high


def test_under_the_null_the_interval_covers_a_half_as_often_as_it_says() -> None:
    found = [
        two_sample(RING.sample(60, Stream(100 + i)), RING.sample(40, Stream(300 + i)), i)
        for i in range(40)
    ]
    covered = sum(f.low <= 0.5 <= f.high for f in found)
    assert stats.binom.cdf(covered, 40, 0.95) > 1e-6


def test_two_distributions_with_equal_means_and_variances_are_told_apart() -> None:
    rows = RING.sample(1000, Stream(10))
    normal = Stream(12).normal((1000, 2)).numpy() * rows.std(axis=0) + rows.mean(axis=0)
    found = two_sample(rows, normal)
    assert found.value > 0.95
    assert found.low > 0.9
    assert (
        found.warning == "Samples are told from rows, p = 0.004."
    )  # the least of two halves and two sides
    assert "100 boosted trees" in found.method


def test_collapse_to_half_of_the_modes_shows_at_equal_and_unequal_numbers() -> None:
    half = GaussianMixture(RING.centres[:4], RING.std).sample(1000, Stream(13))
    real = RING.sample(2000, Stream(10))
    # half of the real rows give themselves away
    assert two_sample(real[:1000], half).value == pytest.approx(0.75, abs=0.06)
    assert two_sample(real, half[:400]).value == pytest.approx(0.75, abs=0.1)


def test_all_rows_are_used_and_the_note_says_what_they_could_show() -> None:
    real, fake = RING.sample(300, Stream(1)), RING.sample(100, Stream(2))
    found = two_sample(real, fake)
    assert found.n == 400
    assert "300 real rows and 100 samples" in found.note
    seen = found["area that would have been seen"].value
    error = np.sqrt((150 + 50 + 1) / (12 * 150 * 50))  # Mann and Whitney's, of one half
    assert seen == pytest.approx(0.5 + (2.241 + 1.282) * error, abs=1e-3)
    assert f"a fault in {200 * (seen - 0.5):.2g} % of the samples" in found.note


def test_rows_are_capped_and_seeds_repeat() -> None:
    real, fake = Stream(1).normal((500, 2, 3)), Stream(2).normal((400, 2, 3)) + 0.5
    first, second, other = (two_sample(real, fake, seed, max_rows=100) for seed in (0, 0, 1))
    assert first == second
    assert first != other
    assert first.n == 200


def test_single_and_double_precision_are_not_told_apart() -> None:
    greys = Stream(3).integers((400, 10), 256).double().numpy() / 255
    assert two_sample(greys[:200], torch.tensor(greys[200:], dtype=torch.float32)).low < 0.5


def test_bad_input_is_refused() -> None:
    rows = torch.zeros(10, 2)
    with pytest.raises(ValueError, match=r"fake: expected shape \(rows, 2\)"):
        two_sample(rows, rows[:, :1])
    with pytest.raises(ValueError, match=r"real: .*a minimum of 4 is required"):
        two_sample(rows[:3], rows)
    with pytest.raises(ValueError, match="max_rows=1"):
        two_sample(rows, rows, max_rows=1)
