"""Which rows and cells are odd: by the definition, at the stated rate, and where one is planted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from equilibria import GAN, ChowLiuTree, Stream, odd
from equilibria.estimators import all_estimators
from equilibria.report import folds
from equilibria.report.folds import EXACT, cross_fitted, likeliest, model_of


def draw(n: int, seed: int = 0) -> pd.DataFrame:
    """A kind, a number that it tells, a number that it does not, and a constant; some gaps."""
    stream = Stream(seed)
    kind = stream.child("kind").integers((n,), 3).numpy()
    near, far = (stream.child(i).normal((n,), torch.float64).numpy() for i in range(2))
    frame = pd.DataFrame(
        {"kind": np.array(["a", "b", "c"])[kind], "near": 5 * kind + near, "far": far, "one": 1}
    )
    frame.loc[stream.child("gaps").uniform((n,)).numpy() < 0.05, "far"] = None
    return frame.set_index(np.arange(n) + 1000)


def test_a_row_is_judged_by_the_model_that_has_not_seen_it() -> None:
    """By the definition: ranks of held-out scores less their part's median; cells by column."""
    X = draw(60)
    kinds = {"near": "real", "far": "real"}  # of what is far the rank does not tell how far
    found = odd(X, "tree", folds=3)
    parts = cross_fitted(model_of("tree", X, kinds=kinds), X, folds=3)
    assert sorted(np.concatenate([part.places for part in parts])) == list(range(60))
    scores, cells = np.empty(60), np.empty((60, 4))
    for part in parts:
        own = X.iloc[part.places]
        alone = model_of("tree", X, kinds=kinds)
        rest = np.setdiff1d(np.arange(60), part.places)
        alone.validated(X, reset=True)
        alone.train(part.model.table_, X.iloc[rest])
        scores[part.places] = alone.score_samples(own) - np.median(alone.score_samples(own))
        cells[part.places] = alone.cell_scores(own)
    assert np.allclose(found.pvalues, [(scores <= one).mean() for one in scores])
    for place in (0, 1, 2):
        column = cells[:, place]
        known = column[~np.isnan(column)]
        expected = [np.nan if np.isnan(one) else (known <= one).mean() for one in column]
        assert np.allclose(found.cells.iloc[:, place], expected, equal_nan=True)
    assert found.cells.iloc[:, 3].isna().all(), "no model is told a constant column"
    assert found.cells["far"].isna().equals(X["far"].isna())
    assert (list(found.cells.columns), found.cells.index.equals(X.index)) == (list(X), True)


def test_what_is_wrong_is_found_with_the_cell_that_is() -> None:
    X = draw(300)
    X.iloc[17, 1] = X.iloc[17, 1] + 40
    X.iloc[40, 0] = {"a": "c", "b": "a", "c": "a"}[X.iloc[40, 0]]
    found = odd(X)
    assert found.pvalues[17] == 1 / 300
    assert ("near", 1 / 300) in found.reasons(17)
    assert found.pvalues[40] <= 0.03
    assert {name for name, _ in found.reasons(40)} >= {"kind", "near"}
    text = str(found)
    assert f"near = {X.iloc[17, 1]}" in text
    assert "of 300 rows" in text
    frame = found.to_frame()
    assert list(frame.columns[:3]) == ["p", "odd", "cells"]
    assert frame["odd"].sum() == found.flagged.sum() == 15, "a share of .05 of them, always"
    assert "near" in frame.loc[1017, "cells"]


def test_usual_rows_of_another_table_are_flagged_at_the_rate_and_odd_ones_all() -> None:
    """20 tables of 150 rows and 100 new ones of the same law: the mean share with p ≤ .1, of rows
    and of cells, is .1 but for the spread over tables, 6 standard errors of which are allowed (of a
    t distribution with 19 degrees of freedom 5e-6 on one side)."""
    shares = []
    for seed in range(20):
        X, new = draw(150, seed), draw(100, 1000 + seed)
        found = odd(X, "tree", new, level=0.1, folds=2)
        cells = found.cells[["kind", "near"]].to_numpy() <= 0.1
        shares.append([found.flagged.mean(), *cells.mean(0)])
        if not seed:
            new["near"] += 30
            assert odd(X, "tree", new, folds=2).flagged.all()
    mean, error = np.mean(shares, 0), np.std(shares, 0, ddof=1) / np.sqrt(20)
    assert (mean <= 0.1 + 6 * error).all()
    assert mean[0] >= 0.1 - 6 * error[0], "rows are continuous, and so not below the rate either"


def test_a_value_that_the_table_does_not_have_is_odd_by_itself() -> None:
    X = draw(60)
    new = X[:3].assign(kind=["a", "zebra", None])
    found = odd(X, "tree", new, folds=2)
    assert found.cells["kind"].iloc[1] == 1 / 61
    assert np.isnan(found.cells["kind"].iloc[2])
    rest = odd(X, "tree", new.assign(kind=["a", None, None]), folds=2)
    assert found.pvalues[1] == 1 / 61
    assert found.pvalues[[0, 2]].tolist() == rest.pvalues[[0, 2]].tolist()
    assert "kind = zebra (p = 0.016)" in found.sentence(1)


def test_the_table_s_own_rows_are_flagged_at_the_rate_whatever_the_model() -> None:
    """The first row of 100 exchangeable tables has p ≤ .2 in about a fifth of them: two-sided
    binomial test, false alarm 1e-6. The model is wrong: its columns are independent."""
    hits = sum(
        bool(odd(draw(20, seed), "independent", folds=2, random_state=seed).pvalues[0] <= 0.2)
        for seed in range(100)
    )
    assert stats.binomtest(hits, 100, 0.2).pvalue > 1e-6


def test_log_z_is_not_worked_out(monkeypatch: pytest.MonkeyPatch) -> None:
    rbm = all_estimators()["rbm"]
    monkeypatch.setattr(rbm, "log_partition_", property(lambda self: pytest.fail("log Z")))
    bits = np.random.RandomState(0).randint(0, 2, (40, 5))
    model = rbm(3, n_iter=1, random_state=0).fit(bits)
    assert model.anomaly_pvalue(bits[:3], bits).shape == (3,)
    assert odd(bits, rbm(3, n_iter=1, random_state=0), folds=2).pvalues.shape == (40,)


def test_the_model_that_held_out_rows_are_likeliest_under_is_taken() -> None:
    X = np.random.RandomState(0).randint(0, 2, (200, 1)).repeat(4, axis=1)
    name, why, parts = likeliest(X, names=("independent", "tree"))
    assert name == "tree"
    assert why.startswith("tree is taken: held-out rows are likeliest under it (nats: independent")
    assert np.allclose(
        np.mean([part.model.score(X[part.places]) for part in parts]),
        float(why.rpartition("tree ")[2].rstrip(").")),
        atol=1e-3,
    )
    labels = np.where(X[:, 0], "yes", None)
    labels[X[:, 0] == 0] = "no"
    labels[:9] = None
    assert "held-out labels given their rows" in likeliest(X, labels, EXACT[:2], labels=True)[1]


def test_of_many_rows_some_choose_and_all_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folds, "MOST", 30)
    name, _, parts = likeliest(X := draw(60))
    assert (name in EXACT, parts) == (True, [])
    found = odd(X, folds=2)
    assert found.why.startswith(f"{name} is taken")
    assert np.array_equal(found.pvalues, odd(X, name, folds=2).pvalues)


def test_what_cannot_be_judged_is_refused_before_any_work() -> None:
    X = draw(40)
    with pytest.raises(ValueError, match="model='gan': a GAN"):
        odd(draw(40)[["near"]], GAN())
    with pytest.raises(
        ValueError, match=r"'flow'.* sums out no gaps, and so cannot sum column 'near'"
    ):
        odd(X[["near"]], "flow")
    with pytest.raises(ValueError, match="model='treee' is unknown; expected one of"):
        odd(X, "treee")
    with pytest.raises(ValueError, match="level=0: expected"):
        odd(X, level=0)
    with pytest.raises(ValueError, match="9 rows are too few for 5 parts"):
        odd(X[:9], "tree")
    with pytest.raises(ValueError, match="rows lacks the column 'far'"):
        odd(X, "tree", X.drop(columns="far"))


def test_cells_of_a_number_need_a_model_that_takes_gaps() -> None:
    model = all_estimators()["made"](hidden=(4,), steps=2, kinds="real", random_state=0)
    with pytest.raises(ValueError, match="column 0 is a number"):
        model.fit(np.random.RandomState(0).normal(size=(30, 2))).cell_scores(np.zeros((1, 2)))


def test_one_row_more_costs_no_more_memory() -> None:
    """Cells are scored a column at a time: the rows scored at once are those of the table."""
    model, seen = ChowLiuTree(random_state=0).fit(np.eye(12)), list[int]()
    inner = model._log_prob
    model._log_prob = lambda values: (seen.append(len(values)), inner(values))[1]
    model.cell_scores(np.eye(12).repeat(50, axis=0))
    assert max(seen) == 600
    assert len(seen) == 13


def test_usual_new_rows_are_flagged_at_the_stated_rate_though_numbers_go_by_their_ranks() -> None:
    """Eight columns, 150 rows: a law that knew the table's own rows would flag a third of 400 new
    ones, which are of the same distribution. The bound is five standard deviations above α."""
    stream = np.random.RandomState(5)
    draws = pd.DataFrame(stream.normal(size=(550, 8)), columns=list("abcdefgh"))
    draws["word"] = stream.choice(["u", "v"], 550)
    found = odd(draws[:150], "independent", rows=draws[150:], kinds="mixed")
    assert found.flagged.mean() < 0.05 + 5 * np.sqrt(0.05 * 0.95 * (1 / 400 + 1 / 150))
