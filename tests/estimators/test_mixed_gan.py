"""GANs of mixed tables: text, categories, ranks, gaps in and out, any column given."""

from __future__ import annotations

import numpy as np
import pandas
import pytest
import torch

import equilibria
from equilibria import GAN
from equilibria.networks.mlp import Heads
from equilibria.random import Stream


def frame(n=400, seed=0):
    """A word that decides on a number, a count with gaps, and a yes or no."""
    rng = np.random.default_rng(seed)
    word = rng.choice(["red", "green", "blue"], n, p=[0.5, 0.3, 0.2])
    size = np.exp(rng.normal(size=n) + np.select([word == "red", word == "green"], [0, 3], 6))
    rows = pandas.DataFrame(
        {"word": word, "size": size, "count": rng.poisson(3.0, n).astype(float)}
    )
    rows["yes"] = np.where(rng.random(n) < 0.3, "y", "n")
    rows.loc[rng.random(n) < 0.25, "count"] = np.nan
    return rows


@pytest.fixture(scope="module")
def model():
    return GAN(hidden=(64, 64), steps=1000, batch_size=128, random_state=0).fit(frame())


def test_samples_look_like_the_table(model):
    """Each share within .1 of 1,000 samples': a column not learnt at all is further away."""
    rows, drawn = frame(), model.sample(1000)
    assert list(drawn.columns) == list(rows.columns)
    assert list(drawn.dtypes) == list(rows.dtypes)
    assert set(drawn["word"]) == set(rows["word"])
    assert abs(drawn["count"].isna().mean() - rows["count"].isna().mean()) < 0.1
    assert (drawn["count"].dropna() % 1 == 0).all()
    assert drawn["size"].between(rows["size"].min(), rows["size"].max()).all()
    middle = drawn.groupby("word")["size"].median()
    assert middle["red"] < middle["green"] < middle["blue"]
    pandas.testing.assert_frame_equal(drawn, model.sample(1000))


def test_any_columns_are_given():
    model = GAN(hidden=(32,), steps=30, condition=["word", "count"], random_state=0).fit(frame())
    given = frame(5, 1).assign(size=np.nan, yes=None)
    given["count"] = [1.0, 2.0, 3.0, 4.0, 5.0]
    drawn = model.sample(5, given=given)
    assert drawn["word"].equals(given["word"])
    assert drawn["count"].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert drawn["size"].notna().all()
    assert model.impute(given)["size"].notna().all()
    assert model.sample(5)["word"].isin(["red", "green", "blue"]).all()
    with pytest.raises(ValueError, match="condition: there is no column 'colour'"):
        GAN(condition=["colour"], steps=1).fit(frame())


def test_the_critic_judges_rows_with_gaps(model):
    rows = frame(50, 2)
    assert np.isfinite(model.critic_.features(rows)).all()
    assert np.isfinite(model.transform(rows)).all()
    rows.loc[3, "size"] = np.nan
    with pytest.raises(
        ValueError, match="column 'size' has missing cells, and this GAN knows none"
    ):
        model.transform(rows)


def test_numbers_with_gaps_are_a_mixed_table():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 3))
    X[::4, 1] = np.nan
    drawn = GAN(hidden=(16,), steps=20, random_state=0).fit(X).sample(200)
    assert np.isnan(drawn[:, 1]).any()
    assert not np.isnan(drawn[:, [0, 2]]).any()
    with pytest.raises(ValueError, match="has missing cells, and this GAN knows none there"):
        GAN(picture_shape=(1, 3), steps=1, value_range=(-9, 9)).fit(X)


def test_a_run_of_a_mixed_table_is_loaded(model, tmp_path):
    model.save(tmp_path / "run")
    again = equilibria.load(tmp_path / "run")
    pandas.testing.assert_frame_equal(again.sample(20), model.sample(20))
    codes = again.encode(frame(3, 3), iterations=5)
    assert again.decode(codes)["word"].isin(["red", "green", "blue"]).all()


def test_heads_are_hard_forward_and_soft_backward():
    """One-hot values with the softmax's gradient, exactly."""
    heads = [("number", (0,)), ("binary", (1,)), ("categorical", (2, 3, 4)), ("binary", (5,))]
    sums = Stream(0).normal((7, 6), torch.float64).requires_grad_()
    made = Heads(lambda z, condition: z, heads, [(5, (2, 3, 4))])(sums)
    present = 1 - (sums[:, 5] > 0).double()
    assert torch.equal(made[:, 0], sums[:, 0])
    assert torch.equal(made[:, 1], (sums[:, 1] > 0).double())
    assert torch.equal(made[:, 2:5].sum(1), present)
    weights = Stream(1).normal((7, 5), torch.float64)
    (found,) = torch.autograd.grad((made[:, :5] * weights).sum(), sums)
    soft = torch.cat([sums[:, :1], sums[:, 1:2].sigmoid(), sums[:, 2:5].softmax(1)], 1)
    soft[:, 2:5] = soft[:, 2:5] * present[:, None]
    (expected,) = torch.autograd.grad((soft * weights).sum(), sums)
    torch.testing.assert_close(found[:, :5], expected[:, :5])


def test_what_is_filled_in_is_no_gap():
    """Half of the cells are missing in the rows; none is where they are filled, and they follow
    from what is given."""
    rng = np.random.default_rng(0)
    rows = pandas.DataFrame({"c": rng.choice(["a", "b"], 400)})
    rows["y"] = np.where(rows["c"] == "a", -3.0, 3.0) + rng.normal(size=400)
    rows.loc[rng.random(400) < 0.5, "y"] = np.nan
    how = {"hidden": (32, 32), "steps": 500, "batch_size": 128, "random_state": 0}
    filled = GAN(condition=["c"], **how).fit(rows).impute(rows.assign(y=np.nan))
    assert filled["y"].notna().all()
    assert filled["y"].value_counts(normalize=True).iloc[0] < 0.2
    middle = filled.groupby("c")["y"].median()
    assert middle["a"] < 0 < middle["b"]


def test_an_unseen_category_is_refused_or_a_gap():
    rows = frame()
    model = GAN(hidden=(16,), steps=5, unknown="missing", random_state=0).fit(rows)
    with (
        pytest.warns(UserWarning, match="taken as missing"),
        pytest.raises(ValueError, match="column 'word' has missing cells, and this GAN knows none"),
    ):
        model.transform(rows[:5].assign(word="mauve"))
