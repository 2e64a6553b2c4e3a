"""Samples that meet rules: the law of what is kept, held cells, classes, every way to draw."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, chisquare

from equilibria import GAN, RBM, ChowLiuTree, Independent, Mixture


def rows(n: int = 300, seed: int = 0) -> pd.DataFrame:
    """Three counts, the third the sum of the others, a word, gaps."""
    r = np.random.default_rng(seed)
    found = pd.DataFrame({"a": r.integers(0, 4, n), "b": r.integers(0, 4, n)})
    found["both"] = found.a + found.b
    found["word"] = np.where(r.random(n) < 0.3, "x", "y")
    found["gap"] = np.where(r.random(n) < 0.3, np.nan, r.integers(0, 3, n))
    return found


@pytest.fixture(scope="module")
def model() -> Any:
    return Mixture(3, kinds="mixed", random_state=0).fit(rows())


def test_kept_rows_have_the_conditional_law() -> None:
    """Of 9 states of independent columns, given a ≤ b; false alarms 2 in 10,000."""
    X = np.random.default_rng(1).choice(3, (200, 2), p=[0.5, 0.3, 0.2])
    model = Independent(kinds="categorical", random_state=0).fit(X)
    grid = np.array([(a, b) for a in range(3) for b in range(3)])
    p = np.exp(model.score_samples(grid))
    assert p.sum() == pytest.approx(1)
    good = grid[:, 0] <= grid[:, 1]
    drawn, share = model.sample(4000, rules="x0 <= x1", return_share=True)
    seen = [int((drawn == state).all(1).sum()) for state in grid[good]]
    assert sum(seen) == 4000
    assert chisquare(seen, 4000 * p[good] / p[good].sum()).pvalue > 1e-4
    assert binomtest(round(share.value * 4000), 4000, p[good].sum()).pvalue > 1e-4
    assert share.low < share.value < share.high
    assert share.n == 4000


def test_given_cells_have_their_own_conditional_law() -> None:
    """p(b | a, a ≤ b) of a tree for each a, in the same call; false alarms 2 in 10,000."""
    r = np.random.default_rng(2)
    a = r.integers(0, 2, 400)
    X = np.stack([a, np.where(r.random(400) < 0.5, a, r.integers(0, 3, 400))], 1)
    model = ChowLiuTree(kinds="categorical", random_state=0).fit(X)
    given = np.array([[0.0, np.nan], [1.0, np.nan]] * 1500)
    drawn = model.sample(3000, given=given, rules="x0 <= x1")
    assert (drawn[:, 0] == given[:, 0]).all()
    for own in range(2):
        states = np.array([(own, b) for b in range(own, 3)])
        p = np.exp(model.score_samples(states))
        seen = [int((drawn == state).all(1).sum()) for state in states]
        assert sum(seen) == 1500
        assert chisquare(seen, 1500 * p / p.sum()).pvalue > 1e-4


def test_rules_are_met_and_the_same_seed_gives_the_same_rows(model: Any) -> None:
    how: Any = {"rules": ["a <= b", "a + b == both", "word == 'y' or a > 0"], "random_state": 3}
    drawn = model.sample(200, **how)
    assert (drawn.a <= drawn.b).all()
    assert (drawn.a + drawn.b == drawn.both).all()
    assert ((drawn.word == "y") | (drawn.a > 0)).all()
    assert drawn.dtypes.equals(rows().dtypes)
    assert drawn.index.equals(pd.RangeIndex(200))
    pd.testing.assert_frame_equal(drawn, model.sample(200, **how))
    assert not drawn.equals(model.sample(200, **{**how, "random_state": 4}))


def test_rules_that_hold_change_nothing(model: Any) -> None:
    plain = model.sample(50, random_state=1)
    kept, share = model.sample(50, rules="a >= 0", random_state=1, return_share=True)
    pd.testing.assert_frame_equal(plain, kept)
    assert share.value == 1
    drawn = model.sample(50, rules="a <= b", random_state=1)
    held = (plain.a <= plain.b).to_numpy()
    assert 0 < held.sum() < 50
    pd.testing.assert_frame_equal(plain[held], drawn[held])  # what holds stays in its place


def test_keys_and_identifiers() -> None:
    X = rows().assign(id=np.arange(300) + 1)
    model = Mixture(3, kinds="mixed", random_state=0).fit(X)
    drawn = model.sample(12, rules="a < b", unique=[("a", "b", "word"), "id"])
    assert not drawn.duplicated(["a", "b", "word"]).any()
    assert model.sample(12, rules="a < b").duplicated(["a", "b", "word"]).any()
    assert drawn.id.tolist() == list(range(301, 313)), "also where rows were drawn anew"


def test_given_cells_are_held_and_rows_stay_with_them(model: Any) -> None:
    given = rows(60, 5).astype(object)
    given["both"] = np.nan
    given.loc[::2, "a"] = np.nan
    given.loc[1::2, "b"] = np.nan
    given.index = pd.Index(np.arange(60)[::-1])
    drawn = model.sample(60, given=given, rules="a <= b or word == 'x'")
    for name in ("a", "b", "word"):
        told = given[name].notna()
        assert (drawn[name][told] == given[name][told]).all()
    assert ((drawn.a <= drawn.b) | (drawn.word == "x")).all()
    assert drawn.index.equals(given.index)
    own = rows(3).assign(a=[0, 2, 2], b=[0, np.nan, 1])
    with pytest.raises(ValueError, match="given: row 2 breaks 'a <= b' by its own cells"):
        model.sample(3, given=own, rules="a <= b")


def test_a_given_column_that_is_all_empty_may_be_left_so() -> None:
    note = [f"words {i * 7919 % 101} and more of them {i}" for i in range(300)]
    model = Mixture(2, kinds="mixed", random_state=0).fit(rows().assign(note=note))
    given = pd.Series({**dict.fromkeys([*rows(), "note"]), "word": "x"}, dtype=object)
    drawn = model.sample(30, given=given, rules="a <= b")
    assert drawn.note.isna().all()
    assert (drawn.word == "x").all()


def test_classes_are_held() -> None:
    X, y = rows()[["a", "b"]], np.where(rows().a > 1, "many", "few")
    model = ChowLiuTree(kinds="categorical", labels=True, random_state=0).fit(X, y)
    asked = np.array(["many", "few"] * 100)
    drawn = model.sample(200, y=asked, rules="a > b")
    assert (drawn.a > drawn.b).all()
    assert (drawn.a[asked == "many"] > 1).mean() > 0.9
    assert (drawn.a[asked == "few"] <= 1).mean() > 0.9


def test_a_machine_and_a_generator_meet_them_too() -> None:
    X = np.random.default_rng(0).integers(0, 2, (200, 4)).astype(float)
    rules: Any = {"rules": ["x0 + x1 <= x2 + x3", lambda f: f.x0 == f.x3], "random_state": 1}
    machine = RBM(n_components=4, n_iter=2, random_state=0).fit(X)
    drawn = machine.sample(100, sweeps=20, **rules)
    assert (drawn[:, 0] + drawn[:, 1] <= drawn[:, 2] + drawn[:, 3]).all()
    assert (drawn[:, 0] == drawn[:, 3]).all()
    how: Any = {"hidden": (16,), "steps": 60, "validation_fraction": 0.2, "random_state": 0}
    gan = GAN(kinds="mixed", **how).fit(rows())
    more: Any = {"rules": "a <= b", "random_state": 1}
    for refine in (None, "sir"):
        drawn, share = gan.sample(80, refine=refine, return_share=True, **more)
        assert (drawn.a <= drawn.b).all()
        plain = gan.sample(80, refine=refine, random_state=1)
        held = (plain.a <= plain.b).to_numpy()
        assert share.value == held.mean() < 1
        pd.testing.assert_frame_equal(drawn[held], plain[held])
    again, report = gan.refined(80, "sir", **more)
    pd.testing.assert_frame_equal(drawn, again)
    assert len(report.noise) == 80


def test_bad_rules_are_met_before_any_draw(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(model.model_), "sample", lambda *_: pytest.fail("it drew rows"))
    for how, said in (
        ({"rules": "aa <= b"}, "rules='aa <= b': 'aa' is no column; did you mean 'a'"),
        ({"rules": "__import__('os').getcwd() == word"}, "no part of a comparison"),
        ({"unique": "bothe"}, "unique='bothe': 'bothe' is no column; did you mean 'both'"),
    ):
        with pytest.raises(ValueError, match=re.escape(said)):
            model.sample(3, **how)


def test_a_rule_that_never_holds_ends_in_a_sentence(model: Any) -> None:
    with pytest.raises(ValueError, match=r"rules: 0 of 10 rows .* 100 % break 'both < 0'"):
        model.sample(10, rules=["a >= 0", "both < 0"])
