"""What an estimator and its run folder hold when fits, loads and online steps follow each other."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from equilibria import DBM, MADE, RBM, FineTunedClassifier, NextState, load
from equilibria.data import load as load_data
from equilibria.estimators import all_estimators
from small import small

BITS = (np.random.RandomState(0).uniform(size=(40, 6)) < 0.4).astype(float)
GREY = np.random.RandomState(1).uniform(size=(40, 6))
LABELS = np.where(BITS[:, 0] > 0, "lit", "dark")
RBM_ = {"n_components": 3, "n_iter": 2, "random_state": 0}


def test_overwriting_a_run_leaves_another_that_lies_in_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    RBM(**RBM_, out=str(run)).fit(BITS)
    inner = RBM(**RBM_, out=str(run / "machine")).fit(BITS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        RBM(**RBM_, out=str(run), overwrite=True).fit(BITS)
    assert (load(run / "machine").sample(3) == inner.sample(3)).all()


def test_a_model_whose_run_was_replaced_writes_nothing_into_the_new_one(tmp_path: Path) -> None:
    first = RBM(**RBM_, out=str(tmp_path / "run")).fit(BITS)
    second = RBM(**{**RBM_, "random_state": 1}, out=str(tmp_path / "run"), overwrite=True).fit(BITS)
    assert first.log_partition_.is_exact
    assert (load(tmp_path / "run").sample(3) == second.sample(3)).all()
    assert load(tmp_path / "run").numbers_ == {}


def test_a_run_is_replaced_by_one_that_starts_from_the_machine_in_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = FineTunedClassifier(RBM(**RBM_), steps=2, out=str(run), random_state=0)
    first.fit(BITS, LABELS)
    how = {"steps": 2, "out": str(run), "random_state": 0, "overwrite": True}
    FineTunedClassifier(str(run / "machine"), **how).fit(BITS, LABELS)
    assert (load(run).predict_proba(BITS) == first.predict_proba(BITS)).all()


def test_overwriting_a_fine_tuned_run_takes_its_machine_with_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for overwrite in (False, True):
        model = FineTunedClassifier(RBM(**RBM_), steps=2, out=str(run), overwrite=overwrite)
        model.fit(BITS, LABELS)
    assert load(run).predict(BITS).shape == (40,)


def test_online_steps_after_load_leave_the_folder_s_log_z(tmp_path: Path) -> None:
    run = tmp_path / "run"
    before = RBM(**RBM_, out=str(run)).fit(BITS).score(BITS)
    assert load(run).score(BITS) == pytest.approx(before, abs=1e-9)
    moved = load(run)
    for _ in range(30):
        moved.partial_fit(np.ones((8, 6)))
    assert moved.log_partition_.value != load(run).log_partition_.value
    assert load(run).score(BITS) == pytest.approx(before, abs=1e-9)


def test_online_steps_after_a_new_fit_move_the_new_model() -> None:
    model = RBM(**RBM_)
    model.partial_fit(BITS).partial_fit(BITS).fit(BITS)
    before = model.components_.copy()
    model.partial_fit(BITS)
    assert (model.components_ != before).any()


def test_greys_that_come_later_are_known_to_table_and_model(tmp_path: Path) -> None:
    model = RBM(**RBM_).partial_fit(BITS).partial_fit(GREY)
    model.save(tmp_path / "run")
    assert (load(tmp_path / "run").sample(3) == model.sample(3)).all()


def test_a_data_set_leaves_the_parameters_as_they_were() -> None:
    digits, model = load_data("digits"), RBM(**RBM_)
    model.partial_fit(digits).partial_fit(digits)
    assert model.value_range is None
    assert model.picture_shape is None


def test_a_sequence_is_trained_as_its_machine_says(tmp_path: Path) -> None:
    machine = RBM(n_components=3, n_iter=1, validation_fraction=0.2, verbose=1)
    model = NextState(machine, random_state=0, out=str(tmp_path / "run")).fit(GREY)
    for one in (model, load(tmp_path / "run")):
        settings = one.settings_
        assert (settings.binarise, settings.validation_fraction) == ("resample", 0.2)


def test_a_machine_fitted_on_the_way_knows_the_data_set() -> None:
    model = FineTunedClassifier(RBM(n_components=3, n_iter=1), steps=2).fit(load_data("digits"))
    assert model.pretrained_.table_.kind == "binary"
    assert model.pretrained_.table_.shape == (8, 8)


def test_a_generator_seeds_a_classifier_and_its_machine() -> None:
    model = FineTunedClassifier(
        RBM(n_components=3, n_iter=1), steps=2, random_state=np.random.default_rng(0)
    )
    assert model.fit(BITS, LABELS).predict(BITS).shape == (40,)


def test_the_state_that_held_out_rows_like_best_is_kept() -> None:
    """Sixty-four hidden units and a high rate learn 28 rows by heart."""
    rows = (np.random.RandomState(0).uniform(size=(40, 9)) < 0.5).astype(float)
    how = {"steps": 300, "learning_rate": 0.05, "validation_fraction": 0.3, "random_state": 0}
    model = MADE((64,), **how).fit(rows)
    checks = [row for row in model.history_ if "held_out_score" in row]
    order = model.stream.child("validation").permutation(len(rows)).numpy()
    held = rows[np.sort(order[:12])]
    assert model.score(held) == pytest.approx(max(r["held_out_score"] for r in checks), abs=1e-4)
    assert model.score(held) > checks[-1]["held_out_score"] + 1


def test_modalities_by_slices_survive_a_run_folder(tmp_path: Path) -> None:
    how = {"hidden": (3, 2), "steps": 2, "pretrain_steps": 1, "random_state": 0}
    model = DBM(**how, modalities={"a": slice(0, 3), "b": slice(3, 6)}).fit(BITS)
    model.save(tmp_path / "run")
    again = load(tmp_path / "run").fit(BITS)
    assert (again.sample(3) == model.sample(3)).all()


def test_a_list_of_texts_may_have_gaps() -> None:
    frame = pd.DataFrame({"vote": ["y", "n"] * 20, "size": BITS[:, 0] + GREY[:, 0]})
    model = RBM(**RBM_).fit(frame)
    assert (model.sample(3, given=["y", np.nan]).vote == "y").all()


@pytest.mark.parametrize("name", sorted(all_estimators()))
def test_where_labels_are_learnt_scores_are_numbers_and_samples_have_a_class(name: str) -> None:
    cls = all_estimators()[name]
    if not cls.labelled or not hasattr(cls, "labels") or cls.labels is True:
        pytest.skip("it learns no labels beside its columns")
    model = small(cls).set_params(labels=True, random_state=0)
    more = {"picture_shape": (4, 4)} if name == "lapgan" else {}
    more |= {"rbm": {"n_iter": 40, "learning_rate": 0.5}, "dbm": {"steps": 200}}.get(name, {})
    more |= {"learning_rate": 0.5, "momentum": 0.9} if name == "dbm" else {}
    X = (np.random.RandomState(0).uniform(size=(40, 16)) < 0.4).astype(float)
    model.set_params(**more).fit(X, np.where(X[:, 0] > 0, "lit", "dark"))
    if "score" in model.capabilities_:
        assert np.isfinite(model.score_samples(X)).all()
    lit, dark = (np.asarray(model.sample(200, y=y), dtype=float) for y in ("lit", "dark"))
    assert (lit != dark).any() == (name != "independent")
