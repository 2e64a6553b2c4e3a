"""Missing cells one by one: best values, chances and intervals against sums over the joint."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from equilibria import RBM, ChowLiuTree, Independent, LatentTree, Mixture
from equilibria.data import columns
from equilibria.estimators import estimator
from equilibria.random import Stream

N = 400
KINDS = {"count": "real", "size": "real"}


def table(n: int, seed: int) -> pd.DataFrame:
    """A kind of two, a colour of three, a whole number and a real one, all of one mixture."""
    rng = np.random.RandomState(seed)
    kind = rng.randint(3, size=n)
    return pd.DataFrame(
        {
            "smoker": np.where(rng.uniform(size=n) < [0.1, 0.5, 0.8][0] + 0.3 * kind, "y", "n"),
            "count": rng.poisson(20 + 15 * kind),
            "colour": np.array(["red", "green", "blue"])[(kind + (rng.uniform(size=n) < 0.2)) % 3],
            "size": rng.normal(kind, 0.5),
            "born": pd.Timestamp("2000-01-01") + pd.to_timedelta(rng.normal(kind, 0.3), "D"),
        }
    )


WHOLE = table(N, 0)
MODELS = {
    "tree": ChowLiuTree(6, kinds=KINDS),
    "mixture": Mixture(5, kinds=KINDS, random_state=0),
    "latent tree": LatentTree(3, kinds=KINDS, random_state=0),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> Any:
    return MODELS[request.param].fit(WHOLE)


def torn(*columns: str, row: int = 3) -> pd.DataFrame:
    """One row without these columns."""
    return (
        WHOLE.iloc[[row]]
        .assign(**dict.fromkeys(columns))
        .astype({name: WHOLE[name].dtype if name == "born" else object for name in columns})
    )


def chances(model: Any, gaps: pd.DataFrame, column: str) -> dict[str, float]:
    """p(category | observed) by the density of each row that has one."""
    total = model.score_samples(gaps)[0]
    every = sorted(WHOLE[column].unique())
    return {k: np.exp(model.score_samples(gaps.assign(**{column: k}))[0] - total) for k in every}


def law(model: Any, gaps: pd.DataFrame, column: str) -> tuple[np.ndarray, np.ndarray]:
    """The density of a number given what is observed, on a grid in its own scale."""
    spread = WHOLE[column].std()
    x = np.linspace(WHOLE[column].min() - 4 * spread, WHOLE[column].max() + 4 * spread, 4001)
    rows = gaps.loc[gaps.index.repeat(len(x))].assign(**{column: x})
    scores = model.score_samples(rows) - model.score_samples(gaps)[0]
    return x, np.exp(scores)


def test_the_best_of_each_kind_is_that_of_the_joint(model: Any) -> None:
    gaps = torn("smoker", "count", "colour", "size", "born")
    gaps["smoker"] = "y"
    best = model.impute(gaps, how="best")
    assert list(best.dtypes) == list(WHOLE.dtypes)
    p = chances(model, gaps, "colour")
    assert best["colour"].iloc[0] == max(p, key=p.get)
    x, density = law(model, gaps, "size")
    expected = np.trapezoid(x * density, x)
    assert best["size"].iloc[0] == pytest.approx(expected, abs=1e-4)
    x, density = law(model, gaps, "count")
    below = np.cumsum(density) * (x[1] - x[0])
    middle = x[np.searchsorted(below, 0.5)]
    assert best["count"].iloc[0] in np.rint([middle - 0.05, middle + 0.05])
    several = model.impute(gaps, n=100, random_state=1)
    days = pd.concat([one["born"] for one in several])
    error = days.std() / np.sqrt(100)  # 5 of them: a false alarm in two million
    assert abs(best["born"].iloc[0] - days.mean()) < 5 * error
    only = torn("count", "size")
    means = model.impute(only, how="mean")
    x, density = law(model, only, "count")
    expected = np.trapezoid(x * density, x)
    assert means["count"].iloc[0] == pytest.approx(round(expected), abs=0.5 + 1e-3)
    assert means["colour"].iloc[0] == WHOLE["colour"].iloc[3]
    with pytest.raises(ValueError, match=r'column .colour. holds text .*how="best"'):
        model.impute(gaps, how="mean")


@pytest.mark.parametrize("gaps", [False, True])
def test_numbers_by_their_ranks_have_their_mean_in_the_data_s_scale(gaps: bool) -> None:
    """A skewed column, whose mean the score of its mean does not give; with gaps in training too,
    where a missing cell is one that is not known."""
    frame = pd.DataFrame({"kind": WHOLE["colour"], "price": np.exp(2 * WHOLE["size"])})
    torn = frame.mask(np.arange(N)[:, None] % 8 == [1, 2]) if gaps else frame
    model = Mixture(3, random_state=0).fit(torn)
    assert [one.kind for one in model.table_.layers][1] == "quantile"
    asked = frame.iloc[[3, 4]].assign(price=np.nan)
    means, modes = (model.impute(asked, how=how)["price"].to_numpy() for how in ("best", "mode"))
    draws = np.stack([one["price"] for one in model.impute(asked, n=400, random_state=1)])
    assert (abs(means - draws.mean(0)) < 5 * draws.std(0) / 20).all()  # one in a million
    assert (means > 1.15 * modes).all()
    assert (model.impute(asked, how="mean")["price"] == means).all()
    ends = model.impute_interval(asked, level=0.8)
    for end, level in ((ends["low"], 0.1), (ends["high"], 0.9)):
        assert (abs((draws < end.to_numpy()).mean(0) - level) < 5 * 0.3 / 20).all()


def test_chances_and_sets_are_those_of_the_joint(model: Any) -> None:
    gaps = torn("smoker", "colour")
    found = model.impute_proba(gaps)
    assert list(found) == ["smoker", "colour"]
    for column in found:
        p = chances(model, gaps, column)
        assert found[column].index.tolist() == gaps.index.tolist()
        assert found[column].columns.tolist() == list(p)
        assert np.allclose(found[column].to_numpy(), list(p.values()), rtol=0, atol=1e-5)
    held = model.impute_interval(gaps, level=0.8)["categories"]
    for column, own in held.droplevel(0).items():
        p = chances(model, gaps, str(column))
        order = sorted(p, key=p.get, reverse=True)
        least = next(k for k in range(1, 4) if sum(p[c] for c in order[:k]) >= 0.8)
        assert own == tuple(order[:least])


def test_intervals_are_quantiles_of_the_joint(model: Any) -> None:
    gaps = torn("size", "colour")
    low, high, none = model.impute_interval(gaps, level=0.8).loc[(3, "size")]
    assert none is None
    x, density = law(model, gaps, "size")
    below = np.cumsum(density) * (x[1] - x[0])
    for end, level in ((low, 0.1), (high, 0.9)):
        assert abs(np.interp(end, x, below) - level) < 1 / 199
    dates = model.impute_interval(torn("born"), level=0.8)
    assert dates["low"].iloc[0] < dates["high"].iloc[0]
    assert isinstance(dates["low"].iloc[0], pd.Timestamp)
    assert model.impute_interval(torn("count"))["low"].dtype == int
    assert len(model.impute_interval(WHOLE)) == 0
    assert model.impute_proba(WHOLE) == {}


def held(found: pd.DataFrame, whole: pd.DataFrame) -> pd.Series:
    """Whether each interval or set holds the true cell, by column."""
    truth = whole.stack(future_stack=True).loc[found.index]
    inside = [
        y in own if own is not None else low <= y <= high
        for y, low, high, own in zip(truth, *(found[c] for c in found), strict=True)
    ]
    return pd.Series(inside, found.index).groupby(level=1).mean()


def test_the_right_model_s_intervals_hold_their_level() -> None:
    """3,000 rows that a mixture drew, two numbers and a category of each hidden.

    Five standard errors are .027, and 1/199 is the steps of quantiles: a false alarm in two
    million. Sets hold at least so many.
    """
    truth = Mixture(5, kinds=KINDS, random_state=0).fit(WHOLE)
    rows = truth.sample(3000, random_state=1)
    found = held(truth.impute_interval(rows.assign(size=np.nan, born=pd.NaT, colour=None)), rows)
    assert (abs(found[["size", "born"]] - 0.9) < 0.027 + 1 / 199).all()
    assert found["colour"] > 0.873


@pytest.mark.parametrize("level", [0.6, 0.9])
def test_calibrated_intervals_of_a_wrong_model_hold_their_level(level: float) -> None:
    """Independent columns, whose one normal law of a skewed and of a two-valued number is wrong.

    1,000 rows calibrate and 3,000 are asked: the share held has a standard deviation of √(l (1 − l)
    (1/1000 + 1/3000)), .018 at most; five of them: a false alarm in two million. Uncalibrated ones
    are off by more than that.
    """
    rng = np.random.RandomState(0)
    rows = np.stack([rng.exponential(size=5000), rng.normal(8 * rng.randint(2, size=5000))], 1)
    model = Independent(kinds="real").fit(rows[:1000])
    gaps = np.where(np.arange(3000)[:, None] % 2 == [0, 1], np.nan, rows[2000:])
    gaps[::5] = np.nan
    off = []
    for calibration in (None, rows[1000:2000]):
        found = model.impute_interval(gaps, level, calibration).reset_index()
        truth = rows[2000:][found["row"], found["column"]]
        inside = (found["low"] <= truth) & (truth <= found["high"])
        off.append(abs(inside.groupby(found["column"]).mean() - level))
    assert (off[1] < 5 * np.sqrt(level * (1 - level) * (1 / 1000 + 1 / 1500))).all()
    assert off[0].max() > 0.05


def test_beyond_all_draws_intervals_go_on_in_standard_deviations() -> None:
    """A model of rows near 0, cells about 30: calibration reaches out to them."""
    rng = np.random.RandomState(0)
    model = Independent(kinds="real").fit(rng.normal(size=(500, 2)))
    far = rng.normal(30, 5, size=(300, 2))
    gaps = np.where(np.arange(2) == 1, np.nan, far[:200])
    found = model.impute_interval(gaps, calibration=far[200:])
    inside = (found["low"] <= far[:200, 1]) & (far[:200, 1] <= found["high"])
    assert 0.75 < inside.mean() <= 1  # 5 standard deviations of 100 and 200 cells
    assert not (model.impute_interval(gaps)["high"] > 10).any()


def test_what_cannot_be_calibrated_is_refused() -> None:
    model = Independent(kinds=KINDS).fit(WHOLE)
    gaps, few = torn("size"), WHOLE.iloc[:20].assign(size=[1.0] * 8 + [np.nan] * 12)
    message = r"calibration: column 'size' is known in 8 rows, and level=0.9 needs 9"
    with pytest.raises(ValueError, match=message):
        model.impute_interval(gaps, calibration=few)
    assert len(model.impute_interval(torn("count"), calibration=few)) == 1
    for level in (0, 0.995, "high"):
        with pytest.raises(ValueError, match=r"^level=.*: expected a finite number above 0"):
            model.impute_interval(gaps, level=level)


def test_marginals_of_a_machine_are_those_of_its_states() -> None:
    """An RBM with three hidden units and a real, two binary columns; 500 rows of the same cells.

    The law of the real column is a mixture over hidden states, each by its weight. Rows are
    independent: five standard errors of their means, a false alarm in two million.
    """
    rng = np.random.RandomState(0)
    bits = rng.randint(2, size=(300, 2))
    frame = pd.DataFrame(
        {"a": bits[:, 0], "b": bits[:, 1], "x": rng.normal(2.0 * bits.sum(1), 0.5)}
    )
    how = {"n_iter": 10, "learning_rate": 0.05, "random_state": 0}
    model = RBM(3, kinds={"a": "binary", "b": "binary", "x": "real"}, **how).fit(frame)
    gaps = frame.iloc[:1].assign(a=1.0, b=np.nan, x=np.nan)
    x = np.linspace(-15, 20, 4001)
    both = [
        np.exp(model.score_samples(gaps.loc[gaps.index.repeat(len(x))].assign(b=b, x=x)))
        for b in (0.0, 1.0)
    ]
    density = sum(both) / np.trapezoid(sum(both), x)
    many = gaps.loc[gaps.index.repeat(500)]
    values = model.values(many, binary=False).float()
    drawn = model.model_.marginals(values, ~values.isnan(), Stream(1), 199)
    assert drawn.shape == (199, 500, 3)
    assert bool((drawn[:, :, 0] == 1).all())
    numbers = model.table_.numbers(drawn.flatten(0, 1))[:, 2].reshape(199, 500)
    for f in (lambda y: y, np.square, lambda y: (y < 2.5) * 1.0):
        each = f(numbers).mean(0)
        expected = np.trapezoid(f(x) * density, x)
        assert abs(each.mean() - expected) < 5 * each.std() / np.sqrt(500)
    chance = model.impute_proba(many)["b"][1].mean()
    expected = np.trapezoid(both[1], x) / np.trapezoid(sum(both), x)
    assert chance == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("name", ["mixture", "rbm"])
def test_rows_are_filled_in_block_by_block(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is exact is the same as at once; index, types and what is known stay."""
    short = RBM(8, n_iter=2, kinds="mixed", random_state=0)
    model = (MODELS[name] if name == "mixture" else short).fit(WHOLE)
    gaps = WHOLE.mask(np.random.default_rng(0).uniform(size=WHOLE.shape) < 0.2).set_index(
        np.arange(len(WHOLE)) + 7
    )
    whole = {how: model.impute(gaps, how=how) for how in ("draw", "best")}
    monkeypatch.setattr(columns, "BLOCK_CELLS", 1)
    monkeypatch.setattr(estimator, "CHUNK", 64)
    parts = {how: model.impute(gaps, how=how) for how in whole}
    if name == "mixture":
        ours, other = (one["best"].drop(columns="born") for one in (parts, whole))
        pd.testing.assert_frame_equal(ours, other, rtol=1e-4)
        apart = (parts["best"].born - whole["best"].born).abs()
        assert apart.max() < pd.Timedelta("10s")  # of days, in single precision
    pd.testing.assert_frame_equal(parts["draw"][:64], whole["draw"][:64])
    assert not parts["draw"].isna().any(axis=None)
    assert parts["draw"].index.equals(gaps.index)
    assert (parts["draw"].dtypes == whole["draw"].dtypes).all()
    known = gaps.notna().to_numpy()
    assert (parts["draw"].to_numpy()[known] == WHOLE.to_numpy()[known]).all()
    assert len(model.impute(gaps, n=2)) == 2
    filled = parts["draw"].to_numpy()
    assert (filled[64:128] != filled[128:192]).any()  # no block repeats another's draws


def towns(n: int) -> pd.DataFrame:
    """A town among 60, of which most are rare, and whether it is a large one, with exceptions."""
    rng, rank = np.random.default_rng(0), np.arange(1, 61)
    town = rng.choice(rank, n, p=(1 / rank**1.5) / (1 / rank**1.5).sum())
    large = (town < 4) ^ (rng.random(n) < 0.1)
    return pd.DataFrame({"town": [f"t{i}" for i in town], "large": np.where(large, "yes", "no")})


def test_the_probabilities_of_rare_values_are_their_own() -> None:
    """Over all values, and another that was not seen, they sum to 1, as a joint and given the other
    cell."""
    frame = towns(1500)
    model = ChowLiuTree(random_state=0).fit(frame)
    values, shares = model.table_.rare_of(0)
    assert len(values) > 20
    known = [*sorted(frame["town"].unique()), "elsewhere"]
    every = pd.DataFrame([(a, b) for a in known for b in ("yes", "no")], columns=["town", "large"])
    scores = model.score_samples(every)
    assert np.exp(scores).sum() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(model.scored(every)[1], scores)
    joint = np.exp(scores).reshape(-1, 2)
    given = np.log(joint / joint.sum(1, keepdims=True)), np.log(joint / joint.sum(0))
    np.testing.assert_allclose(
        model.cell_scores(every), np.stack([given[1].ravel(), given[0].ravel()], 1), atol=1e-6
    )
    gaps = pd.DataFrame({"town": [None, None], "large": ["yes", "no"]})
    found = model.impute_proba(gaps)["town"]  # of those that are known
    rare = np.isin(known[:-1], values)[:, None]
    expected = np.exp(given[1])[:-1] / np.where(rare, sum(shares), 1)
    np.testing.assert_allclose(found[known[:-1]].T.to_numpy(), expected, rtol=1e-3)


def test_rare_values_are_drawn_by_their_shares() -> None:
    frame, n = towns(1500), 20_000
    model = ChowLiuTree(random_state=0).fit(frame)
    values, shares = model.table_.rare_of(0)
    gaps = pd.DataFrame({"town": [None] * n, "large": ["no"] * n})
    held = f"town in [{', '.join(map(repr, values))}]"
    for drawn in (
        model.sample(n, random_state=1),
        model.sample(n, random_state=1, rules=held),
        model.impute(gaps, random_state=1),
    ):
        counts = drawn["town"].value_counts().reindex(list(values)).fillna(0).to_numpy()
        total = counts.sum()
        assert total > 1000
        # 6 deviations of a binomial, 40 values, 3 ways: a false alarm in 10^7; the commonest for
        # all, or all alike, are far outside
        deviation = np.sqrt(total * np.array(shares))
        assert (np.abs(counts - total * np.array(shares)) < 6 * deviation + 1).all()
    blocks = pd.concat(model.sampled(n, random_state=1), ignore_index=True)
    assert blocks.equals(model.sample(n, random_state=1))
    for how in ("best", "mode"):  # the likeliest value, though all rare ones together are likelier
        likeliest = model.impute_proba(gaps[:3])["town"].idxmax(axis=1)
        assert (model.impute(gaps[:3], how=how)["town"] == likeliest).all()


def test_chances_are_worked_out_where_cells_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the rows that lack a column alone, a block at a time: blocks change nothing."""
    frame = towns(1500)
    model = ChowLiuTree(random_state=0).fit(frame)
    gaps = frame[:300].copy()
    gaps.loc[[5, 120, 290], "town"] = None
    gaps.loc[250, "large"] = None
    whole, sets = model.impute_proba(gaps), model.impute_interval(gaps, calibration=frame[300:])
    sizes: list[int] = []
    chances = type(model.table_).chances

    def counted(self: Any, means: Any, place: int) -> Any:
        sizes.append(len(means))
        return chances(self, means, place)

    monkeypatch.setattr(type(model.table_), "chances", counted)
    monkeypatch.setattr(estimator, "CHUNK", 100)
    monkeypatch.setattr(columns, "BLOCK_CELLS", 1000)
    found = model.impute_proba(gaps)
    assert max(sizes) == 1  # one of each hundred, of each column
    assert list(found) == list(whole) == ["town", "large"]
    for column, own in found.items():
        pd.testing.assert_frame_equal(own, whole[column])
    again = model.impute_interval(gaps, calibration=frame[300:])
    pd.testing.assert_frame_equal(again, sets)
    monkeypatch.setattr("equilibria.check.memory", lambda: 100.0)
    with pytest.raises(ValueError, match="X='300 rows': would take"):
        model.impute_proba(gaps)


def test_a_calibration_value_that_fit_did_not_see_is_in_no_set() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.choice(list("uvw"), 500), "b": rng.choice(list("xy"), 500)})
    model = Independent(random_state=0, unknown="missing").fit(frame)
    gaps, known = frame[:4].assign(a=None), frame.copy()
    known.loc[:99, "a"] = "new"  # a fifth is in no set: no set that the model gives holds 90 %
    with pytest.warns(UserWarning, match="taken as missing"):
        found = model.impute_interval(gaps, 0.9, known)["categories"]
    assert all(set(own) == set("uvw") for own in found)
    assert all(len(own) < 3 for own in model.impute_interval(gaps, 0.6, frame)["categories"])


@pytest.mark.parametrize("strange", [3, [7], 10**400])
def test_a_column_of_text_takes_nothing_else_for_a_rare_value(strange: object) -> None:
    rows = towns(600)
    model = ChowLiuTree(random_state=0).fit(rows)
    other = rows[:4].astype({"town": object})
    other.at[1, "town"] = strange
    with pytest.raises(ValueError, match=r"column 'town'.*was not among its categories"):
        model.score_samples(other)
    with pytest.raises(ValueError, match=r"column 'town'.*was not among its categories"):
        model.score_samples(rows[:4].assign(town=range(4)))


def test_sets_of_rare_values_are_calibrated() -> None:
    """The truth of a calibration row is its own value, not the commonest of the rare ones."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"town": rng.integers(250, size=3000), "x": rng.normal(size=3000)})
    frame["town"] = "t" + frame["town"].astype(str)
    model = Independent(random_state=0).fit(frame[:1500])  # six rows a town
    assert len(model.table_.rare_of(0)[0]) > 200
    strange = ~frame["town"].isin(frame["town"][:1500])
    frame.loc[strange, "town"] = "elsewhere"
    test, calibration = frame[2200:], frame[1500:2200]
    found = model.impute_interval(test.assign(town=None), 0.9, calibration)["categories"]
    held = np.mean([own in some for own, some in zip(test["town"], found, strict=True)])
    # 700 rows to calibrate by and 800 to test: deviation .016 together, 5 of them; what no set
    # holds is missed
    assert 0 < strange[2200:].mean() < 0.02
    assert 0.82 < held < 0.98
