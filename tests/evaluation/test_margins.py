"""Columns and pairs of columns: distances by hand, sampling errors by enumeration and by drawing,
false alarms at their rate."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from equilibria.evaluation.margins import (
    associations,
    correlation,
    kolmogorov,
    margins,
    sampling_error,
    total_variation,
)


def test_distances_of_small_tables_are_those_by_hand() -> None:
    real = np.array([[0.0, 1], [1, 1], [2, 0], [3, np.nan]])
    fake = np.array([[2.0, 1], [3, 1], [4, 2], [5, 1]])
    age, kind, missing = margins(real, fake, [False, True], ["age", "kind"])
    assert (age.name, age.value, age.ideal) == ("Kolmogorov distance of age", 0.5, 0.0)
    # shares ⅓, ⅔, 0 beside 0, ¾, ¼
    assert (kind.name, kind.value) == ("total variation of kind", pytest.approx(1 / 3))
    assert (missing.name, missing.value, missing.ideal) == (
        *("share of missing cells of kind", 0.0),
        0.25,
    )


def test_pairs_of_small_tables_are_those_by_hand() -> None:
    x, up, down = [0.0, 1, 2, 3], [0.0, 1, 2, 3], [3.0, 2, 1, 0]
    real, fake = np.array([x, up]).T, np.array([x, down]).T
    [found] = associations(real, fake, [False, False], ["a", "b"])
    assert found.name == "correlation similarity of a and b"
    assert found.value == pytest.approx(0)  # 1 − |1 − (−1)| / 2
    codes = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    other = np.array([[0.0, 0], [0, 0], [1, 1], [1, np.nan]])
    [found] = associations(codes, other, [True, True], ["a", "b"])
    assert found.name == "contingency similarity of a and b"
    assert found.value == pytest.approx(1 - 0.5)  # (½, 0, 0, ¼, ¼) beside (¼, ¼, ¼, ¼, 0)


def test_a_number_beside_a_category_is_cut_into_ten_parts_of_the_rows_range() -> None:
    number = np.arange(0.0, 11)  # edges at 1, 2, … 9: 10 is with 9
    real = np.stack([number, np.zeros(11)], axis=1)
    fake = real.copy()
    fake[:, 0] = [-7, 1, 2, 3, 4, 5, 6, 7, 8, 9, 99]  # beyond both ends is in the last parts
    coded = [False, True]
    [same] = associations(real, fake, coded, ["x", "c"])
    assert same.value == 1
    fake[1, 0] = 1.99
    [same] = associations(real, fake, coded, ["x", "c"])
    assert same.value == 1
    fake[1, 0] = 2
    [moved] = associations(real, fake, coded, ["x", "c"])
    assert moved.value == pytest.approx(1 - 1 / 11)


def test_a_constant_column_has_no_correlation() -> None:
    rows = np.array([[1.0, 0], [1, 1], [1, 2]])
    assert associations(rows, rows, [False, False], ["a", "b"]) == ()


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.9, 0.1), (0.2, 0.3, 0.5)])
def test_the_sampling_error_is_that_of_all_outcomes(shares: tuple[float, ...]) -> None:
    """Counts are not quite normal: 3 %."""
    n, m = 30, 20
    laws = []
    for size in (n, m):
        counts = [
            one
            for one in itertools.product(range(size + 1), repeat=len(shares))
            if sum(one) == size
        ]
        p = stats.multinomial.pmf(np.array(counts), size, shares)
        laws.append((np.array(counts) / size, p))
    apart = np.abs(laws[0][0][:, None] - laws[1][0][None]).sum(axis=2) / 2
    exact = math.sqrt(float(laws[0][1] @ np.square(apart) @ laws[1][1]))
    assert sampling_error(np.array(shares), n, m) == pytest.approx(exact, rel=0.03)


def test_many_categories_have_nearly_the_error_that_they_are_drawn_with() -> None:
    draw, shares = np.random.RandomState(0), np.full(80, 1 / 80)
    one, other = (draw.multinomial(4000, shares, size=500) / 4000 for _ in range(2))
    drawn = math.sqrt(float(np.square(np.abs(one - other).sum(axis=1) / 2).mean()))
    assert sampling_error(shares, 4000, 4000) == pytest.approx(drawn, rel=0.02)


def test_kolmogorov_s_error_is_the_root_mean_square_of_its_law() -> None:
    mean_square = stats.kstwobign.moment(2)
    found = kolmogorov(np.arange(50.0), np.arange(100.0))
    assert found[1] == pytest.approx(2 * math.sqrt(mean_square * (1 / 50 + 1 / 100)), rel=1e-3)


def test_rare_categories_are_tested_together() -> None:
    rows = np.concatenate([np.zeros(100), np.arange(1.0, 21)])
    value, _, p = total_variation(rows, np.zeros(120))
    assert value == pytest.approx(1 / 6)
    table = [[100, 20], [120, 0]]
    assert p == pytest.approx(stats.chi2_contingency(table, correction=False).pvalue)


def test_the_error_of_a_correlation_holds_whatever_the_law() -> None:
    """Over 400 tables; 8 % is six standard deviations of the ratio's square root."""
    draw = np.random.RandomState(0)
    found = []
    for _ in range(400):
        x = draw.standard_t(9, 400)
        found.append(correlation(x, x + draw.standard_t(9, 400)))
    values, errors = np.array(found).T
    assert errors.mean() == pytest.approx(values.std(), rel=0.2)


def table(n: int, draw: np.random.RandomState) -> np.ndarray:
    """A heavy-tailed number, a rounded one, and two categories that follow them; gaps."""
    z = draw.normal(size=(n, 2))
    rows = np.stack(
        [np.exp(1.5 * z[:, 0]), np.round(10 * z[:, 0] + 5 * z[:, 1]), z[:, 0] > 0, z[:, 1] // 0.7],
        axis=1,
    )
    rows[:, 3] += 10
    rows[draw.uniform(size=n) < 0.1, 0] = np.nan
    return rows


def test_alarms_are_false_at_most_at_their_rate() -> None:
    """Of 200 pairs of tables of one law a twentieth may be warned of, in each of both ways;
    false-alarm rate of the test 1e-6 each."""
    draw, coded, names = np.random.RandomState(1), [False, False, True, True], list("abcd")
    most = stats.binom.isf(1e-6, 200, 0.05)
    alarms = np.zeros(2, dtype=int)
    for _ in range(200):
        pair = table(300, draw), table(400, draw)
        for i, how in enumerate((margins, associations)):
            alarms[i] += any(one.warning for one in how(*pair, coded, names))
    assert (alarms <= most).all(), alarms


def test_what_is_changed_is_warned_of_and_nothing_else() -> None:
    draw, coded, names = np.random.RandomState(2), [False, False, True, True], list("abcd")
    real, fake = table(2000, draw), table(2000, draw)
    fake[:, 2] = draw.permutation(fake[:, 2])  # its margin stays
    assert not any(one.warning for one in margins(real, fake, coded, names))
    worst = {one.name for one in associations(real, fake, coded, names) if one.warning}
    assert worst == {f"contingency similarity of {pair}" for pair in ("a and c", "b and c")}
