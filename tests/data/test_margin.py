"""A column's own law, and numbers as normal scores: exact on grids, ties and tails."""

from __future__ import annotations

import numpy as np
import pandas
import pytest
import torch
from scipy import stats

from equilibria.data.margin import LEAST, Margin, Margins
from equilibria.data.rows import fixed_draw
from equilibria.data.table import Table
from equilibria.random import Stream

RNG = np.random.default_rng(3)
N = 1000
COLUMNS = {
    "normal": RNG.normal(size=N),
    "skewed": np.exp(2 * RNG.normal(size=N)),
    "atom": np.where(RNG.random(N) < 0.4, 0.0, RNG.exponential(size=N)),
    "two atoms": np.where(RNG.random(N) < 0.4, 0.0, np.minimum(RNG.exponential(size=N), 2.0)),
    "counts": RNG.poisson(2, N).astype(float),
    "cents": np.round(RNG.exponential(size=N) * 30, 2),
    "fives": 5.0 * RNG.integers(3, 40, N),
    "holes": RNG.choice([0.0, 1.0, 2.0, 99.0], N),
    "prices": np.round(np.exp(RNG.normal(size=N) + 7)),
}


def margins(name: str) -> Margins:
    return Margins([Margin.of(COLUMNS[name])])


def tall(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, dtype=float))[:, None]


@pytest.mark.parametrize("name", COLUMNS)
def test_values_come_back_from_their_scores(name):
    """Exactly on a grid; elsewhere to what float32 scores can tell."""
    laws, x = margins(name), tall(COLUMNS[name])
    scores = laws.scores(x).float()
    back = laws.values(scores)
    if laws.laws[0].grid is not None:
        assert torch.equal(back, x)
    torch.testing.assert_close(back, x, rtol=1e-4, atol=1e-4)
    drawn = laws.spread(scores, Stream(0).uniform(scores.shape))
    torch.testing.assert_close(laws.values(drawn), back, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", COLUMNS)
def test_scores_are_standard_normal_and_draws_have_the_columns_law(name):
    """Both within twice the sampling error of the rows, at a false-alarm rate of 1e-6 beyond: the
    rows are fixed here, and a law off by a twentieth of the rows would be caught."""
    laws, x = margins(name), COLUMNS[name]
    scores = laws.spread(laws.scores(tall(x)), Stream(1).uniform((N, 1), torch.float64))
    assert stats.kstest(scores[:, 0].numpy(), "norm").statistic < 0.05
    drawn = laws.values(Stream(2).normal((200_000, 1), torch.float64))[:, 0].numpy()
    assert stats.ks_2samp(drawn, x).statistic < 0.02
    assert x.min() <= drawn.min()
    assert drawn.max() <= x.max()
    if laws.laws[0].grid is not None:
        assert np.isin(drawn, np.round(np.arange(x.min(), x.max() + 1, 0.01), 2)).all()


@pytest.mark.parametrize("name", ["counts", "fives", "holes", "cents"])
def test_the_masses_of_a_grid_sum_to_one(name):
    laws = margins(name)
    first, step, digits = laws.laws[0].grid
    k = np.arange(-3000, 40_000)
    scores = laws.scores(tall((first + k * step) / 10**digits))
    inside = scores.abs() < -stats.norm.ppf(LEAST)
    mass = (stats.norm.logpdf(scores.numpy()) - laws.log_volume(scores).numpy()).clip(max=0)
    assert np.exp(mass)[inside.numpy()].sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", ["normal", "skewed"])
def test_a_density_integrates_to_one(name):
    laws, x = margins(name), COLUMNS[name]
    near = np.linspace(x.min(), x.max(), 2_000_001)
    beyond = np.linspace(x.max(), x.max() + 60 * (x.max() - x.min()), 400_001)[1:]
    total = 0.0
    for grid in (near, beyond, x.min() - (beyond - x.max())):
        scores = laws.scores(tall(grid))
        density = np.exp(stats.norm.logpdf(scores.numpy()) - laws.log_volume(scores).numpy())
        total += abs(np.trapezoid(density[:, 0], grid))
    assert total == pytest.approx(1, abs=2e-3)


def test_a_density_of_scores_that_are_normal_is_the_columns_own():
    """The copula's density is 1 where a model of the scores is N(0, 1)."""
    counts = np.array([0.0] * 50 + [1.0] * 30 + [2.0] * 20)
    laws = Margins([Margin.of(counts)])
    scores = laws.scores(tall(np.array([0.0, 1.0, 2.0])))
    found = np.exp(stats.norm.logpdf(scores.numpy()) - laws.log_volume(scores).numpy())[:, 0]
    rare = 1 / 101
    np.testing.assert_allclose(found, np.array([0.5, 0.3, 0.2]) * (1 - rare), atol=1e-12)


def test_grids_are_found():
    for values, expected in [
        ([1.0, 2.0, 4.0], (1, 1, 0)),
        ([10.0, 30.0, 20.0], (10, 10, 0)),
        ([0.25, 0.5, 1.0], (25, 25, 2)),
        ([0.1, 0.2, 0.7], (1, 1, 1)),
        ([-3.0, 5.0], (-3, 8, 0)),
        (np.random.default_rng(0).normal(size=9), None),
        ([1e300, 2e300], None),
    ]:
        assert Margin.of(np.array(values, dtype=float)).grid == expected
    single = np.array([0.1, 0.2, 0.7], dtype=np.float32).astype(float)
    assert Margin.of(single, single=True).grid == (1, 1, 1)


def test_a_table_of_ranks_is_kept_and_scored_as_before():
    frame = pandas.DataFrame(COLUMNS)
    frame["word"] = RNG.choice(["a", "b", "c"], N)
    frame.loc[::7, "counts"] = np.nan
    table = Table.fit(frame)
    assert [layer.kind for layer in table.layers] == ["categorical", "quantile", "gap"]
    again = Table.from_json(table.to_json())
    encoded = table.encode(frame, torch.float64)
    assert torch.equal(again.encode(frame, torch.float64).nan_to_num(), encoded.nan_to_num())
    back = again.decode(encoded)
    assert back["counts"].isna().equals(frame["counts"].isna())
    pandas.testing.assert_frame_equal(back, frame, rtol=1e-6)
    assert not again.decode(encoded.nan_to_num(), gaps=False)["counts"].isna().any()
    open_ = table.encode(frame, told=False)
    assert torch.equal(
        open_[:, table.gap_of(4)].isnan()[:, 0], torch.tensor(back["counts"].isna().tolist())
    )
    held = fixed_draw(table, frame, None, Stream(0))
    assert torch.equal(held.nan_to_num(), fixed_draw(table, frame, None, Stream(0)).nan_to_num())
    assert not torch.equal(held.nan_to_num(), encoded.nan_to_num())
    three = fixed_draw(table, frame[5:8], None, Stream(0))  # in any company
    assert torch.equal(three.nan_to_num(), held[5:8].nan_to_num())


@pytest.mark.parametrize("n", [100, 137, 300, 450, 700])
def test_no_value_of_a_continuous_column_is_a_tie(n):
    """F at the last knot is worked out two ways, which rounding tells apart."""
    x = np.random.default_rng(n).normal(size=n)
    laws = Margins([Margin.of(x)])
    assert not laws.ties
    scores = laws.scores(tall(x))
    found = stats.norm.logpdf(scores.numpy()) - laws.log_volume(scores).numpy()
    assert found.min() > -12  # of a mass of 1e-16 it was −36
    assert (np.diff(laws.laws[0].shares) > 1e-12).all()


def test_any_number_of_a_narrow_type_is_no_grid():
    x = np.random.default_rng(0).normal(100, 10, 500).astype(np.float32).astype(float)
    assert Margin.of(x, single=True).grid is None


def test_days_in_nanoseconds_stay_days():
    days = pandas.date_range("2020-01-01", periods=400, freq="5D").astype("datetime64[ns]")
    frame = pandas.DataFrame({"day": days, "word": ["a", "b"] * 200})
    table = Table.fit(frame)
    drawn = table.decode(torch.randn(50, table.size))["day"]
    assert (drawn == drawn.dt.normalize()).all()
    assert table.decode(table.encode(frame))["day"].equals(frame["day"])
