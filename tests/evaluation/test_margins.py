"""Columns and pairs of columns: distances by hand, sampling errors by enumeration and by drawing,
false alarms at their rate."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats

from equilibria.evaluation.beside import Cells
from equilibria.evaluation.margins import (
    associations,
    correlation,
    homogeneity,
    interaction,
    kolmogorov,
    margins,
    sampling_error,
    total_variation,
)
from equilibria.numbers import Measure


def columns(
    real: np.ndarray, fake: np.ndarray, coded: list[bool], names: Sequence[str]
) -> list[Cells]:
    """Columns of two tables of numbers, and codes where ``coded``."""
    levels = tuple(map(str, range(20)))
    return [
        Cells(name, *pair, levels * code, "value" if code else "number")
        for name, code, *pair in zip(names, coded, real.T, fake.T, strict=True)
    ]


def one_by_one(*table: Any) -> list[Measure]:
    return [found for own in margins(columns(*table)) for found in own]


def in_pairs(*table: Any) -> list[Measure]:
    return list(associations(columns(*table)).values())


def test_distances_of_small_tables_are_those_by_hand() -> None:
    real = np.array([[0.0, 1], [1, 1], [2, 0], [3, np.nan]])
    fake = np.array([[2.0, 1], [3, 1], [4, 2], [5, 1]])
    age, kind, missing = one_by_one(real, fake, [False, True], ["age", "kind"])
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
    [found] = in_pairs(real, fake, [False, False], ["a", "b"])
    assert found.name == "correlation similarity of a and b"
    assert found.value == pytest.approx(0)  # 1 − |1 − (−1)| / 2
    codes = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    other = np.array([[0.0, 0], [0, 0], [1, 1], [1, np.nan]])
    [found] = in_pairs(codes, other, [True, True], ["a", "b"])
    assert found.name == "contingency similarity of a and b"
    assert found.value == pytest.approx(1 - 0.5)  # (½, 0, 0, ¼, ¼) beside (¼, ¼, ¼, ¼, 0)


def test_a_number_beside_a_category_is_cut_into_ten_parts_of_the_rows_range() -> None:
    number = np.arange(0.0, 11)  # edges at 1, 2, … 9: 10 is with 9
    real = np.stack([number, np.zeros(11)], axis=1)
    fake = real.copy()
    fake[:, 0] = [-7, 1, 2, 3, 4, 5, 6, 7, 8, 9, 99]  # beyond both ends is in the last parts
    coded = [False, True]
    [same] = in_pairs(real, fake, coded, ["x", "c"])
    assert same.value == 1
    fake[1, 0] = 1.99
    [same] = in_pairs(real, fake, coded, ["x", "c"])
    assert same.value == 1
    fake[1, 0] = 2
    [moved] = in_pairs(real, fake, coded, ["x", "c"])
    assert moved.value == pytest.approx(1 - 1 / 11)


def test_a_constant_column_has_no_correlation() -> None:
    rows = np.array([[1.0, 0], [1, 1], [1, 2]])
    assert in_pairs(rows, rows, [False, False], ["a", "b"]) == []


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
    counts = np.array([[100, *[1] * 20], [120, *[0] * 20]])
    value, _, p = total_variation(counts)
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
        for i, how in enumerate((one_by_one, in_pairs)):
            alarms[i] += any(one.warning for one in how(*pair, coded, names))
    assert (alarms <= most).all(), alarms


def test_what_is_changed_is_warned_of_and_nothing_else() -> None:
    draw, coded, names = np.random.RandomState(2), [False, False, True, True], list("abcd")
    real, fake = table(2000, draw), table(2000, draw)
    fake[:, 2] = draw.permutation(fake[:, 2])  # its margin stays
    assert not any(one.warning for one in one_by_one(real, fake, coded, names))
    worst = {one.name for one in in_pairs(real, fake, coded, names) if one.warning}
    assert worst == {f"contingency similarity of {pair}" for pair in ("a and c", "b and c")}


def test_levels_are_compared_within_each_part() -> None:
    """Pearson's statistics of the parts add up, and so do their degrees of freedom."""
    parts = [np.array([[40, 25], [60, 20]]), np.array([[12, 30], [25, 33]])]
    found = [stats.chi2_contingency(one, correction=False) for one in parts]
    p = stats.chi2.sf(sum(one.statistic for one in found), 2)
    counts = np.stack([*parts, np.array([[9, 9], [0, 0]])], axis=1)  # nothing beside the last
    assert homogeneity(counts) == pytest.approx(p)


def test_odds_that_differ_are_told_from_columns_that_are_wrong() -> None:
    """Of 2 × 2 tables the difference of log odds ratios over its error is nearly normal."""
    counts = np.array([[[120, 80], [60, 140]], [[300, 50], [100, 80]]])
    odds = np.log(counts[:, 0, 0] * counts[:, 1, 1] / (counts[:, 0, 1] * counts[:, 1, 0]))
    z = (odds[0] - odds[1]) / math.sqrt((1 / counts).sum())
    assert interaction(counts) == pytest.approx(2 * stats.norm.sf(abs(z)), abs=0.01)
    counts[1] = [[900, 300], [90, 105]]  # the odds of the rows, 3½
    assert interaction(counts) == pytest.approx(1, abs=1e-6)
    assert interaction(counts * [[[1], [0]]]) == 1  # of one part there are no odds


def test_a_column_that_is_wrong_by_itself_is_no_wrong_pair() -> None:
    """One column's shares differ, and the other follows it as in the rows."""
    cells, counts = [[0.0, 0], [0, 1], [1, 0], [1, 1]], ([80, 20, 30, 70], [40, 10, 45, 105])
    real, fake = (np.repeat(cells, n, axis=0) for n in counts)
    coded, names = [True, True], ["a", "b"]
    assert [bool(one.warning) for one in one_by_one(real, fake, coded, names)] == [True, True]
    [pair] = in_pairs(real, fake, coded, names)
    assert pair.value == pytest.approx(0.75)  # as far as column a
    assert not pair.warning


def test_numbers_that_lose_a_bent_dependence_are_warned_of() -> None:
    """Their correlation is nought before and after; false-alarm rate of the test below 1e-9."""
    x = np.random.RandomState(0).normal(size=(2, 1000, 2))
    real = np.stack([x[0, :, 0], x[0, :, 0] ** 2], axis=1)
    fake = np.stack([x[1, :, 0], x[1, :, 1] ** 2], axis=1)
    [pair] = in_pairs(real, fake, [False, False], ["x", "y"])
    assert pair.warning
