"""NADE and MADE in any order, of several orders and with mixtures: what the contract's small models
of one fixed order do not show."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import equilibria
from equilibria import MADE, NADE
from equilibria.errors import TrainingInterrupted
from small import BITS, LABELS, answers, assert_same, small, stop_at

SEVERAL = {MADE: "masks", NADE: "orders"}
OPTIONS = {
    "several orders": lambda cls: {SEVERAL[cls]: 3},
    "any order": lambda cls: {"order": "any"},
    "any order, several": lambda cls: {"order": "any", SEVERAL[cls]: 3, "labels": True},
    "labels": lambda cls: {"labels": True, SEVERAL[cls]: 2},
}
CASES = [
    pytest.param(cls, name, id=f"{cls.name}-{name}")
    for cls, name in itertools.product(SEVERAL, OPTIONS)
]
FAMILIES = [pytest.param(cls, id=cls.name) for cls in SEVERAL]
GREEK = pd.DataFrame(
    {
        "letter": ["alpha", "beta", "gamma", "alpha"] * 20,
        "lit": [True, False, False, True] * 20,
        "size": np.repeat([1.0, -3.0], 40) + np.random.RandomState(0).normal(size=80),
    }
)


def case(cls: Any, name: str, **more: Any) -> Any:
    return small(cls, **OPTIONS[name](cls), **more)


@pytest.mark.parametrize(("cls", "name"), CASES)
def test_a_stopped_run_goes_on_and_a_saved_one_comes_back(
    cls: Any, name: str, tmp_path: Path
) -> None:
    whole = case(cls, name).fit(BITS, LABELS)
    with pytest.MonkeyPatch.context() as patch:
        stop_at(3, patch)
        with pytest.raises(TrainingInterrupted):
            case(cls, name, out=tmp_path / "run").fit(BITS, LABELS)
    assert_same(equilibria.resume(tmp_path / "run", BITS, LABELS), whole)
    assert_same(equilibria.load(tmp_path / "run"), whole)
    whole.save(tmp_path / "saved")
    assert_same(equilibria.load(tmp_path / "saved"), whole)


@pytest.mark.parametrize(("cls", "name"), CASES)
def test_a_row_has_the_same_score_in_any_company(cls: Any, name: str) -> None:
    model = case(cls, name).fit(BITS, LABELS)
    scores = model.score_samples(BITS)
    alone = [model.score_samples(row[None])[0] for row in BITS[:5]]
    assert np.allclose(alone, scores[:5], rtol=0, atol=1e-9)
    assert all(np.isfinite(x).all() for x in answers(model).values())


@pytest.mark.parametrize("cls", FAMILIES)
@pytest.mark.parametrize("name", ["any order", "any order, several"])
def test_given_cells_come_back_as_they_were(cls: Any, name: str) -> None:
    model = case(cls, name).fit(BITS, LABELS)
    free = np.random.RandomState(2).uniform(size=(5, 16)) < 0.5
    rows = np.where(free, np.nan, BITS[:5])
    for found in (model.sample(5, given=rows), model.impute(rows), *model.impute(rows, n=3)):
        assert (found[~free] == rows[~free]).all()
        assert np.isin(found[free], (0, 1)).all()
    means = model.impute(rows, how="mean")
    assert ((means >= 0) & (means <= 1)).all()
    assert (model.impute(rows, how="mode")[free] == (means[free] > 0.5)).all()
    assert (model.impute(BITS) == BITS).all()


@pytest.mark.parametrize("cls", FAMILIES)
def test_a_fixed_order_says_how_cells_can_be_filled_in(cls: Any) -> None:
    model = small(cls).fit(BITS)
    assert not hasattr(model, "impute")
    with pytest.raises(ValueError, match=r"^given: .*construct it with order='any'$"):
        model.sample(2, given=np.full(16, np.nan))


@pytest.mark.parametrize("cls", FAMILIES)
@pytest.mark.parametrize("order", ["fixed", "any"])
def test_a_frame_of_all_kinds_is_learnt_by_mixtures(cls: Any, order: str) -> None:
    how = {"order": order, "components": 3, "hidden": (30,), "steps": 300, "learning_rate": 0.02}
    model = small(cls, **how).fit(GREEK)
    drawn = model.sample(300)
    assert list(drawn.columns) == list(GREEK.columns)
    assert set(drawn["letter"]) <= {"alpha", "beta", "gamma"}
    assert ((drawn["letter"] == "alpha") == drawn["lit"]).mean() > 0.9
    plain = {"kinds": {"size": "real"}}  # by its ranks two heaps are one
    rough = [small(cls, **{**how, **plain, "components": n}).fit(GREEK) for n in (3, 1)]
    assert rough[0].score(GREEK) > rough[1].score(GREEK)  # which one curve does not fit
    if order == "any":
        torn = GREEK.assign(lit=None, size=np.nan)
        filled = model.impute(torn)
        assert (filled["letter"] == GREEK["letter"]).all()
        assert (filled["lit"] == GREEK["lit"]).mean() > 0.9


@pytest.mark.parametrize("cls", FAMILIES)
def test_classes_are_told_by_bayes(cls: Any) -> None:
    """Two kinds are told apart, and rows of a class are like it; some labels are missing."""
    some = LABELS.astype(object)
    some[::4] = None
    how = {"labels": True, "hidden": (30,), "steps": 300, "learning_rate": 0.02}
    for order in ("fixed", "any"):
        model = small(cls, order=order, **how).fit(BITS, some)
        assert (model.predict(BITS) == LABELS).mean() > 0.8
        odd, even = (model.sample(300, y=y).mean() for y in ("odd", "even"))
        assert even > 0.65
        assert odd < 0.35


# ------------------------------------------------------------ gaps


def gappy(n: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Of group a half the answers are missing and a fifth of the others no; of b a tenth, and most;
    a number that is missing where the answer is."""
    rng = np.random.default_rng(seed)
    b = rng.random(n) < 0.5
    rows = pd.DataFrame({"group": np.where(b, "b", "a")})
    rows["answer"] = np.where(rng.random(n) < np.where(b, 0.2, 0.8), "yes", "no")
    rows["size"] = rng.normal(size=n) + 3 * b
    gone = rng.random(n) < np.where(b, 0.1, 0.5)
    rows.loc[gone, "answer"] = None
    rows.loc[gone ^ (rng.random(n) < 0.05), "size"] = np.nan
    return rows


STATES = pd.DataFrame(
    list(itertools.product("ab", ["yes", "no", None])), columns=["group", "answer"]
)
LEARN = {"hidden": (20,), "steps": 1500, "learning_rate": 0.02, "batch_size": 50}


@pytest.mark.parametrize("cls", FAMILIES)
@pytest.mark.parametrize("order", ["fixed", "any"])
def test_which_cells_are_missing_is_learnt_and_drawn(cls: Any, order: str) -> None:
    """By the exact law of six states; χ² of 5,000 draws, a false alarm in a million."""
    rows = gappy()[["group", "answer"]]
    model = small(cls, **{SEVERAL[cls]: 1 + (order == "any")}, order=order, **LEARN).fit(rows)
    p = np.exp(model.score_samples(STATES))
    assert p.sum() == pytest.approx(1, abs=1e-6)
    for group, own in zip("ab", p.reshape(2, 3), strict=True):
        known = rows["answer"][rows["group"] == group]
        shares = [(known == "yes").mean(), (known == "no").mean(), known.isna().mean()]
        assert np.abs(own / own.sum() - shares).max() < 0.04
    drawn = model.sample(5000, random_state=1)
    words = [frame["group"] + frame["answer"].fillna("?") for frame in (drawn, STATES)]
    counts = words[0].value_counts().reindex(words[1]).to_numpy()
    assert stats.chisquare(counts, 5000 * p / p.sum()).pvalue > 1e-6
    assert model.log_likelihood(rows).name == "mean log-likelihood"  # and no bound
    if order == "fixed":
        assert not hasattr(model, "impute")
        return
    chances = model.impute_proba(STATES)["answer"]
    for row, own in zip((2, 5), p.reshape(2, 3), strict=True):  # as of rows that have one
        found = chances.loc[row, ["yes", "no"]].to_numpy()
        assert np.abs(found - own[:2] / own[:2].sum()).max() < 0.04
    assert model.impute(STATES)["answer"].notna().all()
    given = model.sample(2000, given=pd.DataFrame({"group": ["a"], "answer": [None]}))
    assert 0.4 < given["answer"].isna().mean() < 0.6
    there = model.sample(50, given=pd.DataFrame({"group": [None], "answer": ["no"]}))
    assert (there["answer"] == "no").all()


@pytest.mark.parametrize("cls", FAMILIES)
@pytest.mark.parametrize("order", ["fixed", "any"])
def test_a_row_s_density_is_of_what_it_has(cls: Any, order: str) -> None:
    """Summed and integrated over all rows, with gaps and without, it is 1; in the data's scale."""
    model = small(cls, order=order, components=3, **{**LEARN, "steps": 300})
    model.set_params(kinds={"size": "real"}).fit(gappy())
    line = np.linspace(-30, 33, 8001)
    total = 0.0
    for _, state in STATES.iterrows():
        rows = pd.DataFrame({**state, "size": [*line, np.nan]})
        p = np.exp(model.score_samples(rows))
        total += np.trapezoid(p[:-1], line) + p[-1]
    assert total == pytest.approx(1, abs=1e-4)
    with pytest.raises(ValueError, match=r"column 'size' is a number, .* sums out no gaps"):
        model.cell_scores(gappy(5))


@pytest.mark.parametrize("cls", FAMILIES)
@pytest.mark.parametrize("order", ["fixed", "any"])
def test_a_run_with_gaps_goes_on_bit_for_bit(cls: Any, order: str, tmp_path: Path) -> None:
    rows, labels = gappy(200), np.where(np.arange(200) % 3, "x", "y")
    how = {"order": order, "labels": True, "hidden": (9,), "validation_fraction": 0.2}

    def told(model: Any) -> Any:
        found = [model.score_samples(rows), model.predict_proba(rows)]
        drawn = [model.sample(30), *([model.impute(rows)] if order == "any" else [])]
        return found, drawn

    whole = told(small(cls, **how).fit(rows, labels))
    assert np.isfinite(whole[0][0]).all()
    with pytest.MonkeyPatch.context() as patch:
        stop_at(3, patch)
        with pytest.raises(TrainingInterrupted):
            small(cls, **how, out=tmp_path / "run").fit(rows, labels)
    for again in (
        equilibria.resume(tmp_path / "run", rows, labels),
        equilibria.load(tmp_path / "run"),
    ):
        found, drawn = told(again)
        assert all(np.array_equal(*pair) for pair in zip(found, whole[0], strict=True))
        for pair in zip(drawn, whole[1], strict=True):
            pd.testing.assert_frame_equal(*pair)


@pytest.mark.parametrize("cls", FAMILIES)
def test_a_gap_of_which_no_indicator_tells_is_refused(cls: Any) -> None:
    model, rows = small(cls).fit(gappy(100)), gappy(10, 1)
    rows.loc[rows.index[3], "group"] = None
    with pytest.raises(
        ValueError, match=f"column 'group' has missing cells, and this {cls.__name__} "
    ):
        model.score_samples(rows)
    gaps = np.where(np.arange(16) % 5, BITS, np.nan)
    gaps[::2] = BITS[::2]
    assert np.isfinite(small(cls).fit(gaps).score_samples(gaps)).all()  # mixed, since it has gaps
    for how in ({"kinds": "real"}, {"value_range": (0, 1)}, {"picture_shape": (4, 4)}):
        with pytest.raises(ValueError, match="column 0 has missing cells"):
            small(cls, **how).fit(gaps)


@pytest.mark.parametrize("cls", FAMILIES)
def test_cells_of_categories_are_scored_beside_gaps(cls: Any) -> None:
    """log p(cell | the others), by its values; where it is missing there is none."""
    rows = gappy()[["group", "answer"]]
    model = small(cls, **{**LEARN, "steps": 300}).fit(rows)
    found, p = model.cell_scores(STATES), np.exp(model.score_samples(STATES)).reshape(2, 3)
    assert np.allclose(np.exp(found[:, 0]), (p / p.sum(0)).ravel(), atol=1e-9)
    there = np.exp(found[:, 1]).reshape(2, 3)
    assert np.allclose(there[:, :2], p[:, :2] / p[:, :2].sum(1, keepdims=True), atol=1e-9)
    assert np.isnan(there[:, 2]).all()
    train, held = rows.iloc[:600], rows.iloc[600:].copy()
    held.iloc[:7, 0] = None  # rows that it does not take are left out
    assert np.isfinite(model.fit(train).verdict(held)["told from data"].measures[0].value)
