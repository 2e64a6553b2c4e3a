"""Promises of the estimators that a first version broke: each test fails on that version."""

from __future__ import annotations

import math
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import equilibria
from equilibria import DBM, DBN, GAN, RBM
from equilibria.data import bars_and_stripes
from equilibria.errors import DivergedError, RunError, TrainingInterrupted
from equilibria.inference import partition

BARS = bars_and_stripes(3)
REALS = np.random.default_rng(0).normal(size=(60, 3)) @ np.array(
    [[1.0, 0.5, 0.0], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]]
)
SMALL: dict[str, Any] = {"n_components": 4, "n_iter": 2, "chains": 10, "random_state": 0}


def test_gibbs_called_again_and_again_is_a_chain() -> None:
    """60 steps of a weak machine: a frozen map visits at most a handful of states, a chain on 2⁹ states nearly 60."""
    model = RBM(**SMALL).fit(BARS)
    v, seen = BARS[:1], set()
    for _ in range(60):
        v = model.gibbs(v)
        seen.add(v.tobytes())
    assert len(seen) > 20
    assert (model.gibbs(BARS, random_state=3) == model.gibbs(BARS, random_state=3)).all()


def test_a_density_is_in_the_data_s_own_scale() -> None:
    """x ↦ 100 x takes 3 · log 100 nats off every density of three columns."""
    near, far = RBM(**SMALL).fit(REALS), RBM(**SMALL).fit(100 * REALS)
    shift = 3 * math.log(100)
    assert np.allclose(near.score_samples(REALS) - shift, far.score_samples(100 * REALS), atol=1e-4)
    for model, X in ((near, REALS), (far, 100 * REALS)):
        assert math.isclose(model.log_likelihood(X).value, model.score(X), abs_tol=1e-4)


def test_a_stop_while_log_z_is_estimated_is_resumed_to_the_same_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**SMALL, "n_components": 30, "ais_betas": 20, "ais_chains": 5}
    X = np.tile(BARS, (2, 3))
    whole = RBM(**settings).fit(X)
    original = partition.forward_ais

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(partition, "forward_ais", interrupted)
        model = RBM(**settings, out=str(tmp_path / "run"))
        with pytest.raises(
            TrainingInterrupted, match=r"log Z was being worked out.*equilibria resume"
        ) as stopped:
            model.fit(X)
    assert stopped.value.signal == signal.SIGTERM
    with pytest.raises(Exception, match="not fitted"):
        model.sample(1)
    again = equilibria.resume(tmp_path / "run", X)
    assert again.log_partition_ == whole.log_partition_
    assert (again.components_ == whole.components_).all()


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
    assert not model.grey_
    assert model.partial_fit(BARS * 0.5).grey_


def test_a_loaded_network_knows_which_layers_were_grey(tmp_path: Path) -> None:
    """The next batch may happen to be sharp: greys are binary by a draw all the same, in training and in scores."""
    options = {"steps": 4, "batch_size": 4, "random_state": 0, "value_range": (0, 1)}
    for name, model in {
        "dbn": DBN((6, 9), **options),
        "dbm": DBM((6, 4), **options, pretrain_steps=0),
    }.items():
        model.fit(BARS * 0.5).save(tmp_path / name)
        again = equilibria.load(tmp_path / name)
        assert again.grey_layers_ == model.grey_layers_ == ("visible",)
        again.partial_fit(BARS)
        model.partial_fit(BARS)
        assert again.grey_
        assert again.grey_layers_ == model.grey_layers_ == ("visible",)


def test_a_run_that_diverged_at_once_does_not_claim_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="Nothing was saved"):
        RBM(**SMALL, learning_rate=1e30, out=str(tmp_path / "run")).fit(REALS)


def test_a_constant_category_is_named() -> None:
    X = pd.DataFrame({"colour": ["red", "blue", "red"], "shape": ["round"] * 3})
    with pytest.raises(ValueError, match=r"column 'shape'.*'round' in every row; leave it out"):
        RBM(**SMALL, units="categorical").fit(X)


def test_given_cells_come_back_to_the_last_bit() -> None:
    X = REALS * 12345.678 + 0.1
    given = X[0].copy()
    given[1] = np.nan
    rows = RBM(**SMALL).fit(X).sample(4, given=given)
    assert (rows[:, [0, 2]] == X[0, [0, 2]]).all()
    assert np.isfinite(rows).all()


@pytest.mark.parametrize(
    "model", [RBM(**SMALL), GAN((8,), steps=3, latent_dim=2, random_state=0)], ids=["rbm", "gan"]
)
def test_samples_of_a_frame_are_a_frame(model: Any) -> None:
    frame = pd.DataFrame(REALS, columns=["a", "b", "c"])
    rows = model.fit(frame).sample(5)
    assert list(rows.columns) == ["a", "b", "c"]
    assert rows.shape == (5, 3)


def test_a_range_that_the_data_leave_is_refused() -> None:
    with pytest.raises(ValueError, match="from 0 to 16, outside 0 to 5"):
        RBM(**SMALL, value_range=(0, 5)).fit(BARS * 16)


def test_a_saved_model_has_no_training_to_resume(tmp_path: Path) -> None:
    RBM(**SMALL).fit(BARS).save(tmp_path / "run")
    with pytest.raises(RunError, match=r"no training to go on with: use equilibria\.load"):
        equilibria.resume(tmp_path / "run", BARS)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"out": 5}, "out=5: expected the name of a folder"),
        ({"picture_shape": (2.5, "a")}, "picture_shape=.2.5, 'a'.: expected .height, width."),
        ({"binarise": np.array(["fixed", "resample"])}, "binarise=.*: expected one of"),
        ({"device": "meta"}, "device='meta': torch cannot use it here"),
    ],
)
def test_odd_parameters_are_refused_by_name(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RBM(**SMALL, **parameters).fit(BARS)


def test_chains_of_plain_contrastive_divergence_can_be_looked_at(tmp_path: Path) -> None:
    RBM(**SMALL, method="cd", picture_shape=(3, 3), out=str(tmp_path / "run")).fit(BARS)
    assert list((tmp_path / "run" / "samples").glob("*.png"))


def test_a_run_of_the_first_format_loads() -> None:
    """The folder was written by 0.1.0; a later version that cannot read it has broken its users' models."""
    model = equilibria.load(Path(__file__).parent / "runs" / "rbm-0.1.0")
    X = bars_and_stripes(2)
    assert np.allclose(model.score(X), model.history_[-1]["score"], atol=1e-6)
    assert model.sample(3).shape == (3, 4)
