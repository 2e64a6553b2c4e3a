"""NADE and MADE in any order, of several orders and with mixtures: what the contract's small models
of one fixed order do not show."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

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
