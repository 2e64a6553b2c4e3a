"""The RBM among scikit-learn's tools, beside its ``BernoulliRBM``."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neural_network import BernoulliRBM

from equilibria import RBM

X = (np.random.RandomState(0).uniform(size=(40, 6)) < 0.4).astype(float)


def _script(name: str) -> ModuleType:
    path = Path(__file__).parents[2] / "experiments" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_search_chooses_the_larger_log_likelihood():
    kind = np.arange(200)[:, None] % 2 == (np.arange(6) < 3)  # 111000 and 000111 in turn
    rows = ((np.random.RandomState(1).uniform(size=(200, 6)) < 0.05) ^ kind).astype(float)
    model = RBM(n_components=3, n_iter=30, batch_size=10, momentum=0.5, chains=50, random_state=0)
    search = GridSearchCV(model, {"learning_rate": [1e-6, 0.1]}, cv=2, n_jobs=1).fit(rows)
    assert search.best_params_ == {"learning_rate": 0.1}
    assert search.score(rows) == search.best_estimator_.score(rows)
    poor, good = search.cv_results_["mean_test_score"]
    assert poor == pytest.approx(-6 * np.log(2), abs=0.1)  # all columns fair coins
    assert good > poor + 0.8


def test_rbm_takes_bernoulli_rbms_place():
    """Half the rows and half the hidden units of experiments/digits_pipeline.py, two seeds: as
    accurate to a hundredth, and far likelier.

    The accuracies lie so near that processors of two makes, which round products differently,
    disagree on which is the higher.
    """
    script = _script("digits_pipeline")
    X, y = script.nudged_digits()
    split = train_test_split(X[::2], y[::2], test_size=0.3, random_state=0)
    accuracy, likelihood = dict.fromkeys(script.MACHINES, 0.0), dict.fromkeys(script.MACHINES, 0.0)
    for name, machine in script.MACHINES.items():
        for seed in (1, 2):
            model = machine(**{**script.PARAMETERS, "n_components": 50, "random_state": seed})
            accuracy[name] += script.accuracy(model, split)[0] / 2
            likelihood[name] += script.log_likelihood(model, split[1]) / 2
    assert accuracy["RBM"] > accuracy["BernoulliRBM"] - 0.01
    assert likelihood["RBM"] > likelihood["BernoulliRBM"] + 1


def test_rbm_has_what_bernoulli_rbm_has():
    ours, theirs = (
        machine(n_components=3, n_iter=2, random_state=0).fit(X) for machine in (RBM, BernoulliRBM)
    )
    for name in ("components_", "intercept_hidden_", "intercept_visible_"):
        assert getattr(ours, name).shape == getattr(theirs, name).shape
    assert set(theirs.get_params()) <= set(ours.get_params())
    for method in ("transform", "gibbs", "score_samples"):
        assert getattr(ours, method)(X).shape == getattr(theirs, method)(X).shape
    assert set(np.unique(ours.gibbs(X))) <= {0.0, 1.0}
    hidden = 1 / (1 + np.exp(-(X @ ours.components_.T + ours.intercept_hidden_)))
    assert np.allclose(ours.transform(X), hidden, atol=1e-6)
