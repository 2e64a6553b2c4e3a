"""Tables of rows, nearest rows against every distance, and statistics against sums of outcomes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from equilibria.evaluation.statistics import (
    alike,
    as_rows,
    kl_chance,
    kl_divergence,
    nearest_row,
    wilson,
)
from equilibria.random import Stream


def test_pictures_are_flattened_and_tensors_accepted() -> None:
    pictures = torch.arange(24.0, requires_grad=True).reshape(2, 1, 3, 4)
    assert as_rows(pictures, "samples").tolist() == [list(range(12)), list(range(12, 24))]


def test_rows_are_double_precision_and_types_do_not_tell_a_copy_from_its_source() -> None:
    greys = np.arange(256.0)[None] / 255
    assert np.array_equal(as_rows(greys + 1e9, "a"), greys + 1e9)
    for other in (torch.tensor(greys, dtype=torch.float32), greys.astype(np.float32)):
        one, two = alike(one=greys, two=other)
        assert np.array_equal(one, two)
    one, two = alike(one=greys, two=greys + 1e-12)
    assert not np.array_equal(one, two)


def test_bad_tables_are_refused_by_name() -> None:
    for values, columns, least, words in [
        (np.zeros(3), None, 1, r"expected shape \(rows, columns\), found \(3,\)"),
        (np.zeros((3, 2)), 4, 1, r"expected shape \(rows, 4\), found \(3, 2\)"),
        (np.zeros((0, 2)), None, 1, "a minimum of 1 is required"),
        (np.zeros((3, 2)), None, 4, "a minimum of 4 is required"),
        (np.zeros((3, 0)), None, 1, r"\(3, 0\)"),
        (np.array([[0.0, np.nan], [1, 1]]), None, 1, "contains NaN"),
        (np.array([[0.0, np.inf], [1, 1]]), None, 1, "contains infinity"),
        ([["a", "b"]], None, 1, "could not convert string to float"),
        ([[1.0, 2.0], [1.0]], None, 1, "inhomogeneous"),
        ([[1.0, 2e200]], None, 1, "numbers beyond 1e150; rescale"),
    ]:
        with pytest.raises(ValueError, match=f"thing: .*{words}"):
            as_rows(values, "thing", columns, least)


def test_a_copy_is_found_beside_a_row_that_is_all_but_it() -> None:
    """Rows a second apart in 25 years: expanding squares cannot tell them."""
    table = np.random.default_rng(0).normal(size=(300, 3)).repeat(2, axis=0)
    table[1::2, 0] += 3e-9
    index, distance = nearest_row(table, table)
    np.testing.assert_array_equal(index, np.arange(600))
    np.testing.assert_array_equal(distance, 0.0)


@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_nearest_rows_are_those_of_the_whole_distance_table(offset: float) -> None:
    stream = Stream(0)
    rows, table = (
        offset + stream.child(name).normal((n, 3), torch.float64).numpy()
        for name, n in [("rows", 50), ("table", 400)]
    )
    distances = np.linalg.norm(rows[:, None] - table[None], axis=2)
    index, distance = nearest_row(rows, table)
    assert np.array_equal(index, distances.argmin(axis=1))
    np.testing.assert_allclose(distance, distances.min(axis=1), rtol=0, atol=1e-14)


def test_a_copy_far_from_the_origin_is_at_exactly_zero() -> None:
    table = 1e9 + Stream(1).normal((100, 20), torch.float64).numpy()
    index, distance = nearest_row(table[::-1], table)
    assert index.tolist() == list(range(100))[::-1]
    assert (distance == 0).all()


@pytest.mark.parametrize(("probabilities", "n"), [([0.2, 0.3, 0.5], 1), ([0.25] * 4, 7)])
def test_chance_is_the_mean_over_all_multinomial_outcomes(probabilities, n: int) -> None:
    p = np.array(probabilities)
    outcomes = [np.array(c) for c in itertools.product(range(n + 1), repeat=len(p)) if sum(c) == n]
    mean = sum(stats.multinomial.pmf(c, n, p) * kl_divergence(c, p) for c in outcomes)
    assert kl_chance(p, n) == pytest.approx(mean, abs=1e-12)


@pytest.mark.parametrize(
    ("classes", "n", "published"),
    [(25, 2500, 0.0048), (1000, 26_000, 0.0194)],
)
def test_chance_in_the_published_protocols(classes: int, n: int, published: float) -> None:
    assert kl_chance(np.full(classes, 1 / classes), n) == pytest.approx(published, rel=0.005)


def test_chance_tends_to_its_limit() -> None:
    p = np.array([0.1, 0.2, 0.3, 0.4])
    assert kl_chance(p, 10**6) == pytest.approx(3 / (2 * 10**6), rel=1e-5)


def test_the_divergence_of_one_bin_of_k() -> None:
    quarters = np.full(4, 0.25)
    assert kl_divergence(np.array([5, 0, 0, 0]), quarters) == pytest.approx(math.log(4), abs=1e-12)
    assert kl_divergence(np.array([1, 2, 1]), np.array([0.25, 0.5, 0.25])) == 0.0
    assert math.isnan(kl_divergence(np.zeros(3, dtype=int), np.full(3, 1 / 3)))
    assert math.isnan(kl_chance(np.full(3, 1 / 3), 0))


@pytest.mark.parametrize(("successes", "trials"), [(0, 20), (13, 20), (20, 20)])
def test_wilson_inverts_the_score_test(successes: int, trials: int) -> None:
    low, high = wilson(successes, trials)
    share, z = successes / trials, stats.norm.ppf(0.975)
    for end in {low, high} - {0.0, 1.0}:
        expected = z * math.sqrt(end * (1 - end) / trials)
        assert abs(share - end) == pytest.approx(expected, abs=1e-12)
    assert 0.0 <= low <= share <= high <= 1.0
    assert ((low == 0.0), (high == 1.0)) == ((successes == 0), (successes == trials))
