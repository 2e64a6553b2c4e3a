"""Promises of the estimators that a first version broke: each test fails on that version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import equilibria
from equilibria import DBM, DBN, RBM
from equilibria.data import bars_and_stripes
from equilibria.errors import DivergedError

BARS = bars_and_stripes(3)
REALS = np.random.default_rng(0).normal(size=(60, 3)) @ np.array(
    [[1.0, 0.5, 0.0], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]]
)
SMALL: dict[str, Any] = {"n_components": 4, "n_iter": 2, "chains": 10, "random_state": 0}


def test_gibbs_called_again_and_again_is_a_chain() -> None:
    """60 steps of a weak machine: a frozen map visits at most a handful of states, a chain on 2⁹
    states nearly 60."""
    model = RBM(**SMALL).fit(BARS)
    v, seen = BARS[:1], set()
    for _ in range(60):
        v = model.gibbs(v)
        seen.add(v.tobytes())
    assert len(seen) > 20
    assert (model.gibbs(BARS, random_state=3) == model.gibbs(BARS, random_state=3)).all()


def test_partial_fit_after_a_fit_that_failed_trains_the_new_machine() -> None:
    model = RBM(**SMALL, learning_rate=0.05).partial_fit(BARS)
    model.set_params(learning_rate=1e30)
    with pytest.raises(DivergedError):
        model.fit(REALS)
    model.set_params(learning_rate=0.05)
    model.partial_fit(BARS)
    before = model.components_.copy()
    model.partial_fit(BARS)
    assert abs(model.components_ - before).max() > 0


def test_partial_fit_finds_greys_in_a_later_batch() -> None:
    model = RBM(**SMALL, value_range=(0, 1)).partial_fit(BARS)
    assert not model.table_.grey
    assert model.partial_fit(BARS * 0.5).table_.grey


def test_a_loaded_network_knows_which_layers_were_grey(tmp_path: Path) -> None:
    """The next batch may happen to be sharp: greys are binary by a draw all the same, in training
    and in scores."""
    options = {"steps": 4, "batch_size": 4, "random_state": 0, "value_range": (0, 1)}
    for name, model in {
        "dbn": DBN((6, 9), **options),
        "dbm": DBM((6, 4), **options, pretrain_steps=0),
    }.items():
        model.fit(BARS * 0.5).save(tmp_path / name)
        again = equilibria.load(tmp_path / name)
        assert again.table_.grey == model.table_.grey == ("visible",)
        again.partial_fit(BARS)
        model.partial_fit(BARS)
        assert again.table_.grey
        assert again.table_.grey == model.table_.grey == ("visible",)


def test_a_run_that_diverged_at_once_does_not_claim_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="Nothing was saved"):
        RBM(**SMALL, learning_rate=1e30, out=str(tmp_path / "run")).fit(REALS)


def test_a_constant_category_is_named() -> None:
    X = pd.DataFrame({"colour": ["red", "blue", "red"], "shape": ["round"] * 3})
    with pytest.raises(ValueError, match=r"column 'shape'.*'round' in every row; leave it out"):
        RBM(**SMALL, kinds="categorical").fit(X)


def test_given_cells_come_back_to_the_last_bit() -> None:
    X = REALS * 12345.678 + 0.1
    given = X[0].copy()
    given[1] = np.nan
    rows = RBM(**SMALL).fit(X).sample(4, given=given)
    assert (rows[:, [0, 2]] == X[0, [0, 2]]).all()
    assert np.isfinite(rows).all()


def test_a_range_that_the_data_leave_is_refused() -> None:
    with pytest.raises(ValueError, match="from 0 to 16, outside 0 to 5"):
        RBM(**SMALL, value_range=(0, 5)).fit(BARS * 16)


def test_chains_of_plain_contrastive_divergence_can_be_looked_at(tmp_path: Path) -> None:
    RBM(**SMALL, method="cd", picture_shape=(3, 3), out=str(tmp_path / "run")).fit(BARS)
    assert list((tmp_path / "run" / "samples").glob("*.png"))


def test_a_sequence_s_run_of_the_first_format_loads() -> None:
    """0.1.0 saved the machine of the windows; the numbers are those that it gave."""
    model = equilibria.load(Path(__file__).parent / "runs" / "next-state-0.1.0")
    found = model.predict_proba([[0], [1], [2]])
    expected = [
        [0.03363499, 0.92831397, 0.03805105],
        [0.05529337, 0.04220759, 0.90249904],
        [0.88849854, 0.03964676, 0.07185471],
    ]
    np.testing.assert_allclose(found, expected, atol=1e-7)
    assert model.lag == 1
    assert model.forecast([[0]], 3).shape == (3, 1)


def test_a_run_of_the_first_format_loads() -> None:
    """The folder was written by 0.1.0; a later version that cannot read it has broken its users'
    models."""
    model = equilibria.load(Path(__file__).parent / "runs" / "rbm-0.1.0")
    X = bars_and_stripes(2)
    assert np.allclose(model.score(X), model.history_[-1]["score"], atol=1e-6)
    assert model.sample(3).shape == (3, 4)
