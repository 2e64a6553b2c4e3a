"""Densities against enumeration: probabilities sum to one, and samples have these shares."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from small import ESTIMATORS, small, state_of, table_of, with_capability

FALSE_ALARM = 1e-6
EXACT = sorted(set(with_capability("score")) - set(with_capability("bound")))
DISCRETE = [name for name in EXACT if "binary" in ESTIMATORS[name].takes]
BOUNDED = with_capability("bound")
CHANCES = np.array([0.1, 0.3, 0.5, 0.5, 0.7, 0.9])
ROWS = (np.random.RandomState(0).uniform(size=(200, 6)) < CHANCES).astype(float)
ROWS[::2, 3:] = ROWS[::2, :3]  # so that columns depend on each other


def fitted(name: str, X: object = ROWS, **options: object) -> object:
    model = small(ESTIMATORS[name], **options)
    known = model.get_params(deep=False)
    longer = {"n_iter": 30, "steps": 300, "learning_rate": 0.05, "bound_samples": 200}
    return model.set_params(**{k: v for k, v in longer.items() if k in known}).fit(X)


@pytest.mark.parametrize("name", DISCRETE)
def test_probabilities_of_all_rows_sum_to_one(name: str) -> None:
    """Over 2¹² binary rows; with categories, over all of their combinations."""
    wide = np.hstack([ROWS, ROWS[::-1]])
    model = fitted(name, wide)
    p = np.exp(model.score_samples(table_of(12)))
    assert p.sum() == pytest.approx(1, abs=1e-6)
    assert p.max() > 8 / 4096, "nothing was learnt: the test is empty"
    if "categorical" in ESTIMATORS[name].takes:
        states = [(a, b) for a in "xyz" for b in (3, 5, 9, 11)]
        frame = pd.DataFrame(states * 10, columns=["letter", "number"]).astype(
            {"number": "category"}
        )
        model = small(ESTIMATORS[name]).fit(frame)
        assert np.exp(model.score_samples(frame[:12])).sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", BOUNDED)
def test_bounds_of_all_rows_sum_to_less_than_one(name: str) -> None:
    model = fitted(name)
    total = np.exp(model.score_samples(table_of(6))).sum()
    assert 0.5 < total < 1 + 1e-6


@pytest.mark.parametrize("name", DISCRETE)
def test_samples_have_the_shares_of_the_density(name: str) -> None:
    """χ² over 64 states, rare ones (below five) together; a false alarm in a million."""
    model = fitted(name)
    n, p = 4000, np.exp(model.score_samples(table_of(6)))
    drawn = model.sample(n, random_state=1)
    counts = np.bincount((drawn @ 2 ** np.arange(6)).astype(int), minlength=64)
    rare = n * p < 5
    observed = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(n * p[~rare], n * p[rare].sum())
    kept = expected > 0
    found = stats.chisquare(observed[kept], expected[kept] * n / expected[kept].sum())
    assert found.pvalue > FALSE_ALARM


@pytest.mark.parametrize("name", [n for n in EXACT if "real" in ESTIMATORS[n].takes])
def test_a_density_of_one_real_column_integrates_to_one(name: str) -> None:
    """By the trapezoid rule over ±12 standard deviations, in the data's own scale."""
    rows = 40 + 7 * np.random.RandomState(0).normal(size=(200, 1))
    model = fitted(name, rows)
    grid = np.linspace(40 - 84, 40 + 84, 4001)
    p = np.exp(model.score_samples(grid[:, None]))
    assert np.trapezoid(p, grid) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("name", with_capability("score"))
def test_threads_change_nothing_but_the_last_digits(name: str) -> None:
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(state_of(small(ESTIMATORS[name]).fit(ROWS)))
    finally:
        torch.set_num_threads(before)
    for key, value in found[0].items():
        if "chain" not in key:
            assert torch.allclose(value.double(), found[1][key].double(), atol=1e-4)
