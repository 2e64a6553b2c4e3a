"""Fine-tuning: it starts at the machine's mean field, learns, resumes to the bit, and keeps scikit-
learn's habits."""

from __future__ import annotations

import copy
import io
import shutil
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV

import equilibria
from equilibria import DBM, BoltzmannMachine, FineTunedClassifier
from equilibria.errors import RunError
from equilibria.inference import mean_field
from equilibria.inference.unrolling import posterior_inputs, stack_of, unrolled
from equilibria.random import Stream
from equilibria.units import Bernoulli, Gaussian

DIGITS, CLASSES = load_digits(return_X_y=True)
TEST = np.arange(len(DIGITS)) % 3 == 0
X = (np.random.RandomState(0).uniform(size=(60, 6)) < 0.5).astype(float)
Y = np.where(X[:, 0] + X[:, 1] > 0, "some", "none")
MACHINE: dict[str, Any] = {"steps": 5, "pretrain_steps": 3, "chains": 5, "random_state": 0}
SMALL: dict[str, Any] = {"steps": 18, "batch_size": 10, "random_state": 0}


@pytest.fixture(scope="module")
def small() -> DBM:
    return DBM(hidden=(4, 3), **MACHINE).fit(X)


@pytest.fixture(scope="module")
def deep() -> DBM:
    """A machine of the digits, greys in [0, 1]: 64-50-40."""
    machine = DBM(
        (50, 40),
        steps=300,
        pretrain_steps=300,
        pretrain_learning_rate=0.1,
        value_range=(0, 16),
        ais_betas=10,
        ais_chains=2,
        random_state=0,
    )
    return machine.fit(DIGITS[:1200])


def weights(model: FineTunedClassifier) -> dict[str, torch.Tensor]:
    return model.network_.state_dict()


# ---------------------------------------------------------------- where it starts


@pytest.mark.parametrize("sizes", [(6, 5), (6, 5, 4), (6, 5, 4, 3), (6, 5, 4, 3, 4)])
def test_the_first_network_is_mean_field_at_its_fixed_point(sizes: tuple[int, ...]) -> None:
    machine = (
        BoltzmannMachine.stack(*[Bernoulli(size) for size in sizes]).double().initialise(1, std=0.7)
    )
    with torch.no_grad():
        for i, bias in enumerate(machine.bias.values()):
            bias.copy_(Stream(2).child(i).normal(bias.shape, torch.float64))
    v = Stream(3).uniform((9, 6), torch.float64)
    q = mean_field(machine, {"visible": v}, tolerance=1e-12)
    assert bool(q.converged.all())
    x = posterior_inputs(machine, v, steps=2000)
    hidden = unrolled(machine, 3, Stream(0)).hidden(x)
    assert len(hidden) == len(sizes) - 1
    for i, h in enumerate(hidden):
        assert torch.allclose(h, q.means[f"hidden{i + 1}"], rtol=0, atol=1e-9)
        assert h.std(0).max() > 1e-4  # the rows differ by much more than the tolerance


def test_the_first_network_of_a_trained_machine_is_its_transform(deep: DBM) -> None:
    """In float32, ten steps: what training starts from is the posterior to 1e-6 where mean field
    has converged."""
    rows = DIGITS[:200]
    x = posterior_inputs(deep.machine_, deep.table_.encode(rows), steps=50)
    hidden = torch.cat(unrolled(deep.machine_, 10, Stream(0)).hidden(x), 1)
    assert np.abs(hidden.detach().numpy() - deep.transform(rows)).max() < 1e-6


def test_inputs_do_not_depend_on_the_rows_beside_them(deep: DBM) -> None:
    machine = copy.deepcopy(deep.machine_).double()
    values = deep.table_.encode(DIGITS[:50], torch.float64)
    whole = posterior_inputs(machine, values, 10)
    assert torch.allclose(
        whole[7:9], posterior_inputs(machine, values[7:9], 10), rtol=0, atol=1e-12
    )
    assert whole.shape == (50, 64 + 40)


def test_real_valued_rows_go_in_as_the_signals_that_the_machine_hears() -> None:
    machine = BoltzmannMachine.stack(Gaussian(3), Bernoulli(2)).double().initialise(0, std=1.0)
    v = Stream(1).normal((5, 3), torch.float64)
    (h,) = unrolled(machine, 2, Stream(0)).hidden(posterior_inputs(machine, v, 1))
    assert torch.allclose(
        h, mean_field(machine, {"visible": v}).means["hidden1"], rtol=0, atol=1e-12
    )


def test_what_is_no_stack_is_refused() -> None:
    labelled = BoltzmannMachine(
        {"visible": Bernoulli(3), "hidden": Bernoulli(2), "label": Bernoulli(2)},
        [("visible", "hidden"), ("label", "hidden")],
    )
    with pytest.raises(ValueError, match="machine: expected a stack of layers"):
        stack_of(labelled)
    with pytest.raises(
        ValueError,
        match=r"the hidden ones Bernoulli; found .*Gaussian",
    ):
        stack_of(BoltzmannMachine.stack(Bernoulli(3), Gaussian(2)))


# ---------------------------------------------------------------- what it learns


def test_fine_tuning_learns_the_digits(deep: DBM) -> None:
    """599 test digits: .970 when this was written, .942 for a logistic regression on the machine's
    own features."""
    from sklearn.linear_model import LogisticRegression

    train, test = ~TEST, TEST
    model = FineTunedClassifier(
        deep,
        steps=1200,
        learning_rate=0.01,
        batch_size=20,
        input_dropout=0.1,
        dropout=0,
        random_state=0,
    )
    score = model.fit(DIGITS[train], CLASSES[train]).score(DIGITS[test], CLASSES[test])
    before = LogisticRegression(max_iter=1000).fit(deep.transform(DIGITS[train]), CLASSES[train])
    plain = before.score(deep.transform(DIGITS[test]), CLASSES[test])
    assert score > 0.955, (score, plain)
    assert score > plain + 0.01, (score, plain)
    first, last = model.history_[0], model.history_[-1]
    assert last["cost"] < 0.1 * first["cost"]
    probabilities = model.predict_proba(DIGITS[test])
    assert np.allclose(probabilities.sum(1), 1)
    assert (model.classes_[probabilities.argmax(1)] == model.predict(DIGITS[test])).all()


def test_rows_without_a_label_take_no_part(small: DBM) -> None:
    gone = np.arange(60) % 3 == 0
    labels = Y.astype(object)
    labels[gone] = None
    model = FineTunedClassifier(small, **SMALL).fit(X, labels)
    only = FineTunedClassifier(small, **SMALL).fit(X[~gone], Y[~gone])
    marked = FineTunedClassifier(small, missing_label="?", **SMALL).fit(X, np.where(gone, "?", Y))
    assert list(model.classes_) == ["none", "some"]
    for other in (only, marked):
        assert all(
            torch.equal(value, weights(other)[name]) for name, value in weights(model).items()
        )


def test_the_best_of_ten_networks_is_kept(small: DBM) -> None:
    """With a rate this large the last network is not the best one; what is kept has the accuracy
    that was measured."""
    settings = {
        **SMALL,
        "steps": 120,
        "learning_rate": 0.3,
        "average": 0.0,
        "input_dropout": 0.5,
        "dropout": 0.5,
    }
    model = FineTunedClassifier(small, validation_fraction=0.5, **settings).fit(X, Y)
    checks = [row["held_out_accuracy"] for row in model.history_ if "held_out_accuracy" in row]
    assert len(checks) == 10
    assert model.best_validation_score_ == max(checks)
    order = model.stream.child("validation").permutation(60).numpy()
    held, train = order[:30], order[30:]
    assert model.score(X[held], Y[held]) == pytest.approx(model.best_validation_score_)
    alone = FineTunedClassifier(small, **SMALL).fit(X[train], Y[train])
    assert alone.best_validation_score_ is None


def test_a_machine_that_is_not_fitted_is_trained_first_on_all_rows() -> None:
    gone = Y.astype(object)
    gone[::2] = None
    machine = DBM(hidden=(4, 3), **MACHINE)
    model = FineTunedClassifier(machine, **SMALL).fit(X, gone)
    assert not hasattr(machine, "machine_")
    alone = clone(machine).fit(X)
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            model.pretrained_.machine_.parameters(), alone.machine_.parameters(), strict=True
        )
    )
    same = FineTunedClassifier(machine.fit(X), **SMALL).fit(X, gone)
    assert all(torch.equal(value, weights(same)[name]) for name, value in weights(model).items())


def test_bfloat16_learns_as_well(deep: DBM) -> None:
    settings: dict[str, Any] = {"steps": 30, "learning_rate": 3e-3, "random_state": 0}
    exact, rough = (
        FineTunedClassifier(deep, precision=precision, **settings).fit(DIGITS[:600], CLASSES[:600])
        for precision in ("float32", "bfloat16")
    )
    assert next(rough.network_.parameters()).dtype == torch.float32
    assert not torch.equal(exact.network_.top.weight, rough.network_.top.weight)
    assert abs(exact.predict_proba(DIGITS[600:]) - rough.predict_proba(DIGITS[600:])).mean() < 0.01


@pytest.mark.parametrize("by_path", [False, True])
@pytest.mark.parametrize("append", [False, True])
def test_saved_and_loaded_it_answers_as_before(
    by_path: bool, append: bool, small: DBM, tmp_path: Path
) -> None:
    machine: Any = small
    if by_path:
        small.save(tmp_path / "machine")
        machine = str(tmp_path / "machine")
    model = FineTunedClassifier(machine, **SMALL, append_means=append).fit(X, Y)
    assert model.machine is machine
    model.save(tmp_path / "saved")
    FineTunedClassifier(machine, out=str(tmp_path / "trained"), **SMALL, append_means=append).fit(
        X, Y
    )
    shutil.rmtree(tmp_path / "machine", ignore_errors=True)  # a run holds its own copy
    for name in ("saved", "trained"):
        shutil.move(tmp_path / name, tmp_path / "elsewhere" / name)
        loaded = equilibria.load(tmp_path / "elsewhere" / name)
        assert (loaded.predict_proba(X) == model.predict_proba(X)).all()
        assert list(loaded.predict(X)) == list(model.predict(X))
        assert (loaded.pretrained_.score_samples(X) == small.score_samples(X)).all()
        refitted = clone(loaded).fit(X, Y)  # from the copy of the machine
        assert (refitted.predict_proba(X) == model.predict_proba(X)).all()
    with pytest.raises(RunError, match="no training to go on with"):
        equilibria.resume(tmp_path / "elsewhere" / "saved", X, Y)


# ---------------------------------------------------------------- scikit-learn's habits


def test_clones_and_searches_keep_the_fitted_machine(small: DBM) -> None:
    model = FineTunedClassifier(small, **SMALL)
    copied = clone(model)
    assert copied.machine is small
    assert copied.get_params(deep=False) == model.get_params(deep=False)
    with pytest.raises(NotFittedError):
        clone(model.fit(X, Y)).predict(X)
    before = [parameter.clone() for parameter in small.machine_.parameters()]
    grid = {"learning_rate": [1e-6, 0.05], "dropout": [0.0]}
    search = GridSearchCV(clone(model).set_params(steps=240, input_dropout=0.0), grid, cv=2).fit(
        X, Y
    )
    assert search.best_params_["learning_rate"] == 0.05
    assert search.best_estimator_.machine is small
    assert all(torch.equal(a, b) for a, b in zip(before, small.machine_.parameters(), strict=True))
    frozen = FineTunedClassifier(FrozenEstimator(small), **SMALL).fit(X, Y)
    assert (frozen.predict_proba(X) == model.predict_proba(X)).all()


def test_it_travels_by_joblib_and_takes_frames(small: DBM) -> None:
    frame = pd.DataFrame(X, columns=list("abcdef"))
    model = FineTunedClassifier(DBM(hidden=(4, 3), **MACHINE).fit(frame), **SMALL).fit(
        frame, pd.Series(Y)
    )
    plain = FineTunedClassifier(small, **SMALL).fit(X, Y)
    assert (model.predict_proba(frame) == plain.predict_proba(X)).all()
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    buffer.seek(0)
    assert (joblib.load(buffer).predict_proba(frame) == model.predict_proba(frame)).all()
    with pytest.raises(ValueError, match=r"X: the columns \['f', .*trained on \['a'"):
        FineTunedClassifier(model.pretrained_, **SMALL).fit(frame[list("fedcba")], Y)


def test_bad_rows_and_labels_are_refused(small: DBM, tmp_path: Path) -> None:
    model = FineTunedClassifier(small, out=str(tmp_path / "run"), **SMALL)
    for rows, labels, sentence in (
        (X, None, "the target y is None"),
        (X, Y[:5], "y has 5 labels for 60 rows of X"),
        (X, np.zeros(60), "only one class"),
        (X[:, :5], Y, "X: 5 columns came, and the machine was trained on 6"),
        (X * 3, Y, "outside"),
        (np.where(X > 0, np.nan, X), Y, "NaN"),
    ):
        with pytest.raises(ValueError, match=sentence):
            model.fit(rows, labels)
        assert not (tmp_path / "run").exists()
