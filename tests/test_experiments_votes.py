"""The pieces of the house-votes experiment, on data small enough to be known."""

from __future__ import annotations

import math
from types import ModuleType

import numpy as np
import pytest
from scipy import stats

from scripts import script


@pytest.fixture(scope="module")
def votes() -> ModuleType:
    return script("house_votes.py")


def test_hidden_cells_are_among_those_that_are_there(votes):
    values = votes.as_votes(
        np.array([["y", "n", None], ["n", None, "y"], ["y", "y", "n"]] * 10, dtype=object)
    )
    left, cells = votes.hide(values, seed=0)
    assert len(cells[0]) == round(0.2 * 70)
    assert np.isnan(left[cells]).all()
    assert not np.isnan(values[cells]).any()
    kept = ~np.isnan(left)
    assert kept.sum() == 70 - 14
    assert (left[kept] == values[kept]).all()
    assert not np.array_equal(
        np.isnan(left), np.isnan(votes.hide(values, seed=votes.DEVELOPMENT)[0])
    )


def test_quality_and_shapes(votes):
    found = votes.quality(np.array([0.9, 0.2, 0.6]), np.array([1.0, 0.0, 0.0]))
    assert found["right"] == pytest.approx(2 / 3)
    assert found["log_loss"] == pytest.approx(-(math.log(0.9) + math.log(0.8) + math.log(0.4)) / 3)
    assert votes.probabilities(np.array([-1.0, 0.5, 2.0]), ("clip", 0.1)).tolist() == [
        0.1,
        0.5,
        0.9,
    ]
    assert votes.probabilities(np.array([0.0, 0.25, 2.0]), ("squeeze", 0.1)) == pytest.approx(
        [0.1, 0.3, 0.9]
    )


def test_paired_intervals_are_students(votes):
    x = [0.1, 0.3, 0.2, -0.1]
    found = votes.paired(x)
    assert found["interval"] == pytest.approx(stats.ttest_1samp(x, 0).confidence_interval(0.95))
    half, wider = ((found[name][1] - found[name][0]) / 2 for name in ("interval", "corrected"))
    assert wider / half == pytest.approx(math.sqrt((1 / 4 + 0.25) / (1 / 4)))
    assert found["better_in"] == 3


def test_each_family_finds_a_column_that_is_another_ones_copy(votes):
    """Three copies of a coin: whoever learns from the other columns has every cell whose row has
    another one left."""
    values = np.repeat(np.arange(60).reshape(-1, 1) % 2, 3, axis=1).astype(float)
    left, cells = votes.hide(values, seed=3, share=0.1)
    settings = {
        "KNNImputer": {"n_neighbors": 3},
        "IterativeImputer": {"model": "ridge", "bounded": True},
        "IterativeImputer, logistic": {"model": "logistic", "strength": 1.0, "bounded": True},
        "RBM": {**votes.MACHINE, "n_components": 4, "batch_size": 60, "n_iter": 150},
    }
    told = ~np.isnan(left[cells[0]]).all(1)
    for family, options in settings.items():
        filled = votes.fill(family, left, options)[cells]
        assert ((filled > 0.5) == (values[cells] == 1))[told].all(), family
        assert (filled >= 0).all(), family
        assert (filled <= 1).all(), family


def test_votes_are_kept_among_those_that_are_there(votes):
    rows = np.array([[1.0, math.nan, 0.0, 1.0], [math.nan, math.nan, math.nan, 1.0]])
    kept = votes._keep(rows, 2, votes.Stream(0))
    assert (~np.isnan(kept)).sum(1).tolist() == [2, 1]
    there = ~np.isnan(kept)
    assert (kept[there] == rows[there]).all()


def test_settings_are_chosen_by_either_measure(votes):
    tried = [
        {"family": "a", "right": 0.8, "log_loss": 0.5},
        {"family": "a", "right": 0.7, "log_loss": 0.4},
        {"family": "b", "right": 1},
    ]
    assert votes.choose(tried, "a", "right") is tried[0]
    assert votes.choose(tried, "a", "log_loss") is tried[1]
