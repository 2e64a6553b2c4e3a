"""The imputer as a step of scikit-learn's pipelines."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.utils.estimator_checks import check_estimator

from equilibria import RBM, ChowLiuTree, Flow, Imputer, Independent, LatentTree, Mixture

RANDOM = np.random.RandomState(0)
KIND = RANDOM.randint(3, size=300)
WHOLE = pd.DataFrame(
    {
        "size": RANDOM.normal(KIND, 0.4),
        "count": RANDOM.poisson(20 + 20 * KIND),
        "colour": np.array(["red", "green", "blue"])[KIND],
    }
)
GAPS = WHOLE.mask(RANDOM.uniform(size=WHOLE.shape) < 0.2)


def test_scikit_learn_accepts_it() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(Imputer(LatentTree(3, steps=3)), on_fail=None)
    assert {r["check_name"]: r["exception"] for r in results if r["status"] == "failed"} == {}
    assert sum(r["status"] == "passed" for r in results) >= 40


@pytest.mark.parametrize("how", ["best", "mode", "draw"])
def test_a_frame_is_filled_as_the_estimator_fills_it(how: str) -> None:
    imputer = Imputer(ChowLiuTree(), how=how, random_state=3)
    filled = imputer.fit_transform(GAPS)
    assert not filled.isna().any(axis=None)
    pd.testing.assert_frame_equal(filled[GAPS.notna()], GAPS, check_dtype=False)
    model = ChowLiuTree(random_state=3).fit(GAPS)
    pd.testing.assert_frame_equal(filled, model.impute(GAPS, how=how, random_state=3))
    assert list(imputer.get_feature_names_out()) == list(WHOLE)
    assert (imputer.n_features_in_, *imputer.feature_names_in_) == (3, *WHOLE)
    right = filled["colour"][GAPS["colour"].isna()] == WHOLE["colour"][GAPS["colour"].isna()]
    assert right.mean() > 0.5  # a third of them by chance
    assert imputer.estimator_.impute_interval(GAPS).shape == (GAPS.isna().to_numpy().sum(), 3)


def test_arrays_stay_arrays_and_frames_are_made_where_they_are_asked_for() -> None:
    rows = GAPS[["size", "count"]].to_numpy()
    imputer = Imputer().fit(rows)
    assert isinstance(imputer.estimator_, LatentTree)
    assert isinstance(imputer.transform(rows), np.ndarray)
    framed = imputer.set_output(transform="pandas").transform(rows)
    assert list(framed.columns) == ["x0", "x1"]


def test_it_is_a_step_whose_model_is_searched_over() -> None:
    target = KIND == 1
    encode = make_column_transformer(
        (OneHotEncoder(), make_column_selector(dtype_include=[object, "string"])),
        remainder="passthrough",
    )
    steps = make_pipeline(Imputer(Mixture(), random_state=0), encode, LogisticRegression())
    grid = {"imputer__estimator__n_components": [1, 3], "imputer__how": ["best", "draw"]}
    found = GridSearchCV(steps, grid, cv=2).fit(GAPS, target)
    assert found.best_params_["imputer__estimator__n_components"] == 3
    assert found.predict(GAPS).shape == (300,)
    assert clone(found.best_estimator_[0]).estimator.n_components == 3


@pytest.mark.parametrize(
    ("imputer", "message"),
    [
        (Imputer(Independent(), how="median"), r"how='median': expected 'best', 'mean', "),
        (Imputer(Flow()), r"estimator=Flow\(.*\): a Flow cannot fill cells"),
        (Imputer(LogisticRegression()), r"a LogisticRegression is no model of rows"),
        (Imputer(RBM(), random_state="x"), r"random_state='x': expected None or a whole number"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(imputer: Imputer, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        imputer.fit(GAPS)
