"""What every estimator keeps, asked of all that there are: none is listed by hand."""

from __future__ import annotations

import inspect
import io
import pickle
import random
import re
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import check_estimator

import equilibria
from equilibria import durable
from equilibria.data.table import Table
from equilibria.errors import DivergedError, RunError, TrainingInterrupted
from equilibria.estimators import all_estimators
from equilibria.estimators.params import parameters
from equilibria.models.model import CAPABILITIES, capabilities
from equilibria.training.run import Run
from equilibria.training.trainer import Trainer
from small import (
    BITS,
    ESTIMATORS,
    LABELS,
    NAMES,
    answers,
    assert_same,
    fitted,
    small,
    state_of,
    stop_at,
    with_capability,
)

FRAMES = [name for name in NAMES if ESTIMATORS[name].takes != {"picture"}]
LABELLED = [name for name in NAMES if ESTIMATORS[name].labelled]
NOT_RUN = {"check_array_api_input"}
"""Checks that scikit-learn leaves out: they need SCIPY_ARRAY_API before scipy is imported."""
METHODS = {
    "sample": "sample",
    "score_samples": "score",
    "row_scores": "score",
    "cell_scores": "score",
    "cell_pvalues": "score",
    "anomaly_pvalue": "score",
    "score": "score",
    "log_likelihood": "score",
    "anneal": "normaliser",
    "transform": "features",
    "fit_transform": "features",
    "impute": "complete",
    "predict": "classify",
    "predict_proba": "classify",
    "predict_log_proba": "classify",
}
"""Method → the capability that brings it."""


def frame_of(rows: np.ndarray) -> pd.DataFrame:
    names = [f"c{i}" for i in range(rows.shape[1])]
    return pd.DataFrame(rows, columns=names, index=range(100, 100 + len(rows)))


@pytest.fixture
def unworked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the test if an estimator looks at data."""

    def fail(*args: Any, **options: Any) -> None:
        pytest.fail("work was begun")

    monkeypatch.setattr(Table, "fit", fail)
    monkeypatch.setattr(Trainer, "fit", fail)


# ------------------------------------------------------------------ scikit-learn


@pytest.mark.parametrize("name", NAMES)
def test_scikit_learns_checks_pass(name: str) -> None:
    model = small(ESTIMATORS[name])
    if "dropout" in model.get_params():  # a classifier has to tell blobs apart
        quick = {"steps": 120, "batch_size": 20, "learning_rate": 0.05}
        model.set_params(**quick, dropout=0.0, input_dropout=0.0)
    if "picture_shape" in model.get_params(deep=False):
        model.set_params(picture_shape=None)
    if ESTIMATORS[name].takes == {"picture"}:
        pytest.skip("its rows are pictures of one shape; scikit-learn's checks bring others")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(model.set_params(random_state=None), on_fail=None)
    assert {r["check_name"]: r["exception"] for r in results if r["status"] == "failed"} == {}
    assert {r["check_name"] for r in results if r["status"] == "skipped"} <= NOT_RUN
    assert sum(r["status"] == "passed" for r in results) >= 35


@pytest.mark.parametrize("name", NAMES)
def test_a_clone_has_the_parameters_and_is_not_fitted(name: str) -> None:
    model = fitted(name)
    copy = clone(model)
    mine, other = (one.get_params(deep=False) for one in (model, copy))
    assert {k: v for k, v in mine.items() if k != "machine"} == {
        k: v for k, v in other.items() if k != "machine"
    }
    with pytest.raises(NotFittedError):
        copy.save("nowhere")
    assert_same(copy.fit(BITS, LABELS), model)


@pytest.mark.parametrize("name", NAMES)
def test_what_set_params_says_after_a_fit_changes_nothing(name: str, tmp_path: Path) -> None:
    """Neither what the model answers, nor what is saved of it."""
    model = small(ESTIMATORS[name]).fit(BITS, LABELS)
    before = answers(model)
    model.save(tmp_path / "before")
    for field in parameters(model):
        value = getattr(model, field.name)
        wild = {bool: not value, int: 987, float: 0.123, str: "wild"}.get(type(value), "wild")
        model.set_params(**{field.name: wild})
    assert_same(model, before)
    model.save(tmp_path / "after")
    configs = [Run.open(tmp_path / place).config for place in ("before", "after")]
    assert configs[0]["params"] == configs[1]["params"]
    assert_same(equilibria.load(tmp_path / "after"), before)


@pytest.mark.parametrize("name", NAMES)
def test_a_fitted_model_travels_by_joblib(name: str, tmp_path: Path) -> None:
    model = fitted(name)
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    buffer.seek(0)
    copies = [joblib.load(buffer), pickle.loads(pickle.dumps(model))]
    for copy in copies:
        assert_same(copy, model)
    copies[0].save(tmp_path / "run")
    if hasattr(model, "partial_fit"):
        for copy in copies:
            copy.partial_fit(BITS[:10], LABELS[:10])
        assert_same(*copies)


@pytest.mark.parametrize("name", NAMES)
def test_a_sparse_table_is_refused_in_a_sentence(name: str) -> None:
    with pytest.raises(TypeError, match=r"dense data is required"):
        small(ESTIMATORS[name]).fit(sparse.csr_array(BITS), LABELS)


# ------------------------------------------------------------------ run folders


@pytest.mark.parametrize("name", NAMES)
def test_a_run_folder_changes_no_number_and_gives_the_model_back(name: str, tmp_path: Path) -> None:
    plain = fitted(name)
    model = small(ESTIMATORS[name], out=tmp_path / "out").fit(BITS, LABELS)
    assert_same(model, plain)
    plain.save(tmp_path / "saved")
    run = Run.open(tmp_path / "out")
    assert run.metrics() == model.history_
    assert (run.config["model"], run.config["seed"]) == (name, 0)
    assert run.config["health"] == model.health_
    assert run.load_checkpoint().step == model.n_steps_ == model.history_[-1]["step"]
    for place in ("out", "saved"):
        loaded = equilibria.load(tmp_path / place)
        assert type(loaded) is ESTIMATORS[name]
        assert_same(loaded, plain)
        assert (loaded.n_steps_, loaded.seed_) == (plain.n_steps_, 0)
        assert loaded.table_.to_json() == plain.table_.to_json()
        assert loaded.n_features_in_ == plain.n_features_in_
        assert loaded.health_ == plain.health_
        without = [{k: v for k, v in row.items() if k != "seconds"} for row in loaded.history_]
        assert without == [
            {k: v for k, v in row.items() if k != "seconds"} for row in plain.history_
        ]
        assert loaded.get_params()["out"] is None
        assert_same(clone(loaded).fit(BITS, LABELS), plain)
    with pytest.raises(RunError, match="no training to go on with"):
        equilibria.resume(tmp_path / "saved", BITS, LABELS)
    with pytest.raises(RunError, match="holds a run: choose another folder"):
        plain.save(tmp_path / "saved")
    plain.save(tmp_path / "saved", overwrite=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_stopped_run_goes_on_to_the_model_never_stopped(name: str, tmp_path: Path) -> None:
    """Stopped in the first stage, between two, and before the end."""
    whole = fitted(name)
    stages = [
        row["stage_step"] for row in whole.history_ if row["stage"] == whole.history_[0]["stage"]
    ]
    for stop in sorted({1, max(stages), whole.n_steps_ - 1}):
        out = tmp_path / str(stop)
        with pytest.MonkeyPatch.context() as patch:
            stop_at(stop, patch)
            model = small(ESTIMATORS[name], out=out)
            with pytest.raises(TrainingInterrupted, match="equilibria resume") as stopped:
                model.fit(BITS, LABELS)
            assert stopped.value.signal == signal.SIGINT
            with pytest.raises(NotFittedError):
                model.save(tmp_path / "nothing")
        with pytest.raises(RunError, match=r"model\.safetensors is missing|not finished"):
            equilibria.load(out)
        for X in (1 - BITS, BITS[1:], BITS.astype(int)):
            with pytest.raises(ValueError, match="not the data that the run was started with"):
                equilibria.resume(out, X, LABELS[: len(X)])
        again = equilibria.resume(out, BITS, LABELS)
        assert_same(again, whole)
        assert [row["step"] for row in again.history_] == [row["step"] for row in whole.history_]
        assert_same(equilibria.load(out), whole)


@pytest.mark.parametrize("name", NAMES)
def test_a_place_that_is_taken_is_refused_before_work(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "fit", lambda *args, **options: pytest.fail("work was begun"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    Run.create(tmp_path / "run", {"model": name})
    expected = {
        "mine": "holds files that are no run",
        "file": "is a file",
        "file/run": "cannot be written",
        "run": "holds a run: choose another folder",
    }
    for place, message in expected.items():
        with pytest.raises(RunError, match=rf"^out='.*{place}' {message}"):
            small(ESTIMATORS[name], out=tmp_path / place).fit(BITS, LABELS)
    with pytest.raises(RunError, match="holds files that are no run"):
        small(ESTIMATORS[name], out=tmp_path / "mine", overwrite=True).fit(BITS, LABELS)
    assert (
        (tmp_path / "mine" / "notes.txt").read_text() == (tmp_path / "file").read_text() == "mine"
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_run_is_named(name: str, tmp_path: Path) -> None:
    small(ESTIMATORS[name], out=tmp_path / "run").fit(BITS, LABELS)
    path, whole = tmp_path / "run" / "model.safetensors", fitted(name)
    good, config = path.read_bytes(), (tmp_path / "run" / "config.json").read_text()
    flipped = bytearray(good)
    flipped[-5] ^= 16
    for harm in (bytes(flipped), good[:-1], None):
        path.unlink() if harm is None else path.write_bytes(harm)
        with pytest.raises(RunError, match=r"model\.safetensors is (damaged|missing)"):
            equilibria.load(tmp_path / "run")
    path.write_bytes(good)
    data = durable.read_sealed(tmp_path / "run" / "config.json")
    for broken, message in (
        ({**data, "params": {**data["params"], "temperature": 2}}, "does not know: .'temperature'"),
        ({k: v for k, v in data.items() if k != "params"}, "is damaged"),
        ({**data, "table": {"columns": 3}}, "is damaged"),
        ({**data, "model": "perceptron"}, "is of the model 'perceptron'; this version knows"),
    ):
        (tmp_path / "run" / "config.json").write_bytes(durable.seal(broken))
        with pytest.raises(RunError, match=message):
            equilibria.load(tmp_path / "run")
    (tmp_path / "run" / "config.json").write_text(config)
    assert_same(equilibria.load(tmp_path / "run"), whole)
    path.unlink()  # the checkpoint still has it
    assert_same(equilibria.resume(tmp_path / "run", BITS, LABELS), whole)


@pytest.mark.parametrize("function", [equilibria.load, lambda path: equilibria.resume(path, BITS)])
def test_what_is_no_run_is_refused(function: Any, tmp_path: Path) -> None:
    for place, message in (("nothing", "does not exist"), (".", "is not a run")):
        with pytest.raises(RunError, match=message):
            function(tmp_path / place)


# ------------------------------------------------------------------ when training does not end


@pytest.mark.parametrize("name", NAMES)
def test_a_fit_that_fails_leaves_the_fitted_model_as_it_was(name: str, tmp_path: Path) -> None:
    """Refused, diverged, interrupted, out of memory: the earlier model answers as before."""
    model = small(ESTIMATORS[name]).fit(BITS, LABELS)
    before = answers(model)

    def refit(error: type[BaseException], X: Any = BITS, **options: Any) -> None:
        good = {key: getattr(model, key) for key in options}
        with pytest.raises(error):
            model.set_params(**options).fit(X, LABELS[: len(X)])
        model.set_params(**good)
        assert_same(model, before)
        assert model.__sklearn_is_fitted__()

    refit(ValueError, BITS[:, :0])
    refit(ValueError, np.where(BITS > 0, np.inf, BITS))
    refit(ValueError, device="abacus")
    refit(ValueError, validation_fraction=0.01)
    refit(RunError, out=str(__file__))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_check", lambda self, stage: self._diverged(stage, "x"))
        refit(DivergedError)
    with pytest.MonkeyPatch.context() as patch:
        stop_at(1, patch)
        refit(TrainingInterrupted, 1 - BITS, out=str(tmp_path / "run"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "fit", lambda *args, **options: 1 / 0)
        refit(ZeroDivisionError)


# ------------------------------------------------------------------ parameters


WRONG = {int: (1.5, "3", True, float("nan")), float: ("x", float("nan"), float("inf"), 1j)}
WRONG |= {bool: (1, "yes", 0.0), str: (b"x", 3)}


def wrong_values(field: Any) -> Iterator[Any]:
    """Values that a parameter cannot have, by what its check is for."""
    check = field.metadata["check"]
    yield object()
    if check.many:
        yield from ("12", 12, {}, [object()], [float("nan")])
    elif check.options:
        yield from ("no such word", 3, "")
    elif check.expected.startswith(("a whole", "None or a whole", "a finite", "None or a finite")):
        yield from WRONG[check.kind]
    elif check.kind is bool:
        yield from WRONG[bool]
    if not check.optional:
        yield None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("unworked")
def test_a_wrong_value_of_any_parameter_is_refused_by_its_name(name: str, tmp_path: Path) -> None:
    """Before any work, and with nothing written."""
    tried = 0
    for field in parameters(ESTIMATORS[name]):
        for value in () if _open(field) else wrong_values(field):
            options = {"out": tmp_path / "run", field.name: value}
            with pytest.raises(ValueError, match=rf"^{field.name}="):
                small(ESTIMATORS[name], **options).fit(BITS, LABELS)
            tried += 1
    assert tried > 25
    assert not (tmp_path / "run").exists()


def _open(field: Any) -> bool:
    """Whether a parameter is checked where the data are known."""
    check = field.metadata["check"]
    marker = object()
    return check.optional and check.accept(marker) is marker


@pytest.mark.parametrize("name", NAMES)
def test_parameters_that_data_decide_are_refused_by_name_too(name: str, tmp_path: Path) -> None:
    """Kinds, modalities, conditions, machines: no check without the data, but one with them."""
    for field in parameters(ESTIMATORS[name]):
        if _open(field) and field.name != "missing_label":
            model = small(ESTIMATORS[name], **{"out": tmp_path / "run", field.name: 3j})
            with pytest.raises(ValueError, match=rf"^{field.name}\b"):
                model.fit(BITS, LABELS)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", NAMES)
def test_numpy_scalars_are_pythons(name: str, tmp_path: Path) -> None:
    """In every parameter: the same model, saved and loaded."""
    twins: dict[type, Any] = {bool: np.bool_, int: np.int64, float: np.float32, str: np.str_}
    plain = small(ESTIMATORS[name])
    for field in parameters(plain):
        value = getattr(plain, field.name)
        if isinstance(value, float):  # what float32 holds, which .05 is not
            plain.set_params(**{field.name: float(np.float32(value))})
    model = small(ESTIMATORS[name])
    for field in parameters(plain):
        value = getattr(plain, field.name)
        if isinstance(value, tuple):
            model.set_params(**{field.name: np.array(value)})
        elif type(value) in twins and field.name != "machine":
            model.set_params(**{field.name: twins[type(value)](value)})
    assert_same(model.fit(BITS, LABELS), plain.fit(BITS, LABELS))
    model.save(tmp_path / "run")
    assert_same(equilibria.load(tmp_path / "run"), plain)
    assert Run.open(tmp_path / "run").config["params"]["verbose"] == 0


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_documented_and_checked_at_its_default(name: str) -> None:
    cls = ESTIMATORS[name]
    for field in parameters(cls):
        text = f"{field.name} : {field.metadata['check'].expected}, default {field.default!r}"
        assert text in cls.__doc__
        assert field.metadata["check"](field.name, field.default) == field.default
        assert field.metadata["doc"].endswith((".", "?", ")"))
    assert next(iter(inspect.signature(cls).parameters)) == parameters(cls)[0].name


@pytest.mark.parametrize("name", NAMES)
def test_former_names_of_parameters_are_taken_with_a_warning(name: str) -> None:
    cls = ESTIMATORS[name]
    known = {field.name for field in parameters(cls)}
    for old, new in getattr(cls, "renamed", {}).items():
        assert old not in known, "a former name is a parameter of today"
        if new in known:
            with pytest.warns(FutureWarning, match=f"^{old} is now called {new}$"):
                model = cls(**{old: "told"})
            assert getattr(model, new) == "told"


# ------------------------------------------------------------------ draws


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_is_the_model(name: str) -> None:
    cls, first = ESTIMATORS[name], fitted(name)
    assert_same(small(cls).fit(BITS, LABELS), first)
    other = small(cls, random_state=1).fit(BITS, LABELS)
    assert any(not torch.equal(x, state_of(other)[k]) for k, x in state_of(first).items())
    fresh = small(cls, random_state=None).fit(BITS, LABELS)
    assert_same(small(cls, random_state=fresh.seed_).fit(BITS, LABELS), fresh)
    generators = [np.random.RandomState(5), np.random.RandomState(5)]
    again = [small(cls, random_state=one).fit(BITS, LABELS) for one in generators]
    assert_same(*again)


@pytest.mark.parametrize("name", NAMES)
def test_global_state_is_neither_read_nor_moved(name: str) -> None:
    """torch's, numpy's and Python's generators, default dtype, grad mode and threads."""

    def states() -> list[Any]:
        plain = (torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads())
        return [
            *plain,
            torch.get_rng_state().tolist(),
            repr(np.random.get_state()),  # noqa: NPY002  the global one is what is meant
            random.getstate(),
        ]

    before = states()
    expected = answers(small(ESTIMATORS[name]).fit(BITS, LABELS))
    assert states() == before
    try:
        torch.set_default_dtype(torch.float64)
        torch.manual_seed(7)
        np.random.seed(7)  # noqa: NPY002 - the global generator is what this is about
        random.seed(7)
        with torch.no_grad():
            found = answers(small(ESTIMATORS[name]).fit(BITS, LABELS))
    finally:
        torch.set_default_dtype(torch.float32)
    assert_same(found, expected)
    assert {x.dtype for x in fitted(name).model_.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", with_capability("sample"))
def test_samples_follow_their_random_state_and_their_options(name: str) -> None:
    model = fitted(name)
    assert (model.sample(9) == model.sample(9)).all()
    assert (model.sample(9, random_state=3) == model.sample(9, random_state=np.int64(3))).all()
    many = model.sample(200, random_state=4)
    assert (model.sample(200, random_state=3) != many).any()
    assert many.shape == (200, 16)
    assert many.dtype == BITS.dtype
    assert np.isfinite(many).all()
    known = ", ".join(list(inspect.signature(model.model_.sample).parameters)[3:]) or "none"
    refused = f"^swepes: no option .*; there are: {known}$|unexpected keyword argument 'swepes'"
    with pytest.raises((ValueError, TypeError), match=refused):
        model.sample(2, swepes=3)
    for n in (0, -1, 1.5, True, "3", 10**13):
        with pytest.raises(ValueError, match=f"^n={n!r}"):
            model.sample(n)
    with pytest.raises(ValueError, match=r"^y='odd'.* learnt no labels"):
        model.sample(2, y="odd")
    with pytest.raises(ValueError, match="random_state"):
        model.sample(2, random_state="x")


# ------------------------------------------------------------------ what a model can do


@pytest.mark.parametrize("name", NAMES)
def test_capabilities_and_methods_agree(name: str) -> None:
    """Before a fit by the class, after it by the model; a method that is not there says why."""
    for model in (small(ESTIMATORS[name]), fitted(name)):
        can = model.capabilities_
        for method, capability in METHODS.items():
            assert hasattr(model, method) is (capability in can or _own(model, method))
            if not hasattr(model, method):
                with pytest.raises(AttributeError) as refused:
                    getattr(model, method)
                reason = str(refused.value.__cause__ or refused.value)
                assert model.cannot(capability) in reason or "predict" in reason
    inner = fitted(name).model_
    for capability, methods in CAPABILITIES.items():
        there = any(callable(getattr(inner, method, None)) for method in methods)
        assert (capability in capabilities(inner)) is there
    assert fitted(name).table_.describe()
    assert inner.describe().endswith(".")
    assert len(list(inner.panels(fitted(name).table_))) >= 0


def _own(model: Any, method: str) -> bool:
    """Whether a method is not the one that a capability brings: a classifier's accuracy, say."""
    return method == "score" and "classify" in model.capabilities_


@pytest.mark.parametrize("name", with_capability("normaliser"))
def test_log_z_is_worked_out_when_it_is_asked_for_and_kept(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cls, calls = ESTIMATORS[name], list[int]()
    original = cls.model.log_normaliser

    def counted(self: Any, *args: Any, **options: Any) -> Any:
        calls.append(1)
        return original(self, *args, **options)

    monkeypatch.setattr(cls.model, "log_normaliser", counted)
    model = small(cls, out=tmp_path / "run").fit(BITS)
    model.sample(3)
    model.transform(BITS)
    again = equilibria.load(tmp_path / "run")
    assert not calls, "fit, sample, transform and load need no log Z"
    scores = again.score_samples(BITS)
    again.score(BITS)
    assert len(calls) == 1
    loaded = equilibria.load(tmp_path / "run")  # it was written to the folder
    assert (loaded.score_samples(BITS) == scores).all()
    assert str(loaded.log_partition_) == str(again.log_partition_)
    assert len(calls) == 1
    again.anneal()
    assert len(calls) == 2
    again.partial_fit(BITS[:10])
    assert again.score_samples(BITS).shape == (40,)
    assert len(calls) == 3, "other parameters have another log Z"


@pytest.mark.parametrize("name", with_capability("score"))
def test_a_row_has_the_same_score_in_any_company(name: str) -> None:
    """Of bits, of greys and (where they are taken) of gaps."""
    greys = np.random.RandomState(1).uniform(size=(30, 16))
    for X in (BITS, greys):
        model = small(ESTIMATORS[name]).fit(X)
        scores = model.score_samples(X)
        assert scores.shape == (len(X),)
        assert np.isfinite(scores).all()
        assert model.score(X) == pytest.approx(scores.mean(), abs=1e-12)
        assert (model.score_samples(X) == scores).all()
        assert np.allclose(model.score_samples(X[::-1])[::-1], scores, atol=1e-9)
        alone = [model.score_samples(row[None])[0] for row in X[:7]]
        assert np.allclose(alone, scores[:7], atol=1e-9)
        found = model.log_likelihood(X)
        assert found.value == pytest.approx(scores.mean(), abs=1e-6)
        assert found.low < found.value < found.high
        bound = "bound" in model.capabilities_
        assert ("bound" in found.name) is bound


@pytest.mark.parametrize("name", with_capability("complete"))
def test_given_cells_come_back_as_they_were(name: str) -> None:
    model = fitted(name)
    free = np.random.RandomState(2).uniform(size=(5, 16)) < 0.5
    rows = np.where(free, np.nan, BITS[:5])
    for found in (model.sample(5, given=rows), model.impute(rows), *model.impute(rows, n=3)):
        assert (found[~free] == rows[~free]).all()
        assert np.isin(found[free], (0, 1)).all()
    assert (model.sample(3, given=rows[0])[:, ~free[0]] == rows[0, ~free[0]]).all()
    for how in ("mode", "mean", "best"):
        found = model.impute(rows, how=how)
        assert (found[~free] == rows[~free]).all()
        assert ((found >= 0) & (found <= 1)).all()
    assert (model.impute(BITS) == BITS).all()
    chances, sets = model.impute_proba(rows), model.impute_interval(rows)["categories"]
    assert len(sets) == free.sum() == sum(map(len, chances.values()))
    for column, p in chances.items():
        assert np.allclose(p.sum(axis=1), 1, atol=1e-6)
        assert (model.impute(rows, how="best")[p.index, column] == p.idxmax(axis=1)).all()
        assert all(sets[row, column][0] == p.loc[row].idxmax() for row in p.index)
    for options, message in (
        ({"n": 0}, "n=0"),
        ({"n": 2, "how": "mode"}, "with how='mode' there is one completion"),
        ({"how": "guess"}, "how='guess': expected 'draw', 'mean', 'mode' or 'best'"),
    ):
        with pytest.raises(ValueError, match=message):
            model.impute(rows, **options)
    for given in ([1.0, 0.0], [5.0] * 16, [np.inf] * 16):
        with pytest.raises(ValueError, match=r"^given"):
            model.sample(3, given=given)


@pytest.mark.parametrize(
    "name", sorted(set(with_capability("sample")) - set(with_capability("complete")))
)
def test_cells_cannot_be_given_to_a_model_that_cannot_complete(name: str) -> None:
    with pytest.raises(ValueError, match=r"^given: .*cannot fill cells in given others"):
        fitted(name).sample(2, given=np.full(16, np.nan))


@pytest.mark.parametrize("name", LABELLED)
def test_labels_are_learnt_or_refused(name: str) -> None:
    """A model that learns them draws rows of a class; one that tells classes apart says so."""
    fixed = "labels" not in small(ESTIMATORS[name]).get_params(deep=False)
    model = small(ESTIMATORS[name], **({} if fixed else {"labels": True}))
    for y, message in (
        (None, "^y"),
        (LABELS[:5], "^y has 5 labels for 40 rows|inconsistent"),
        (np.zeros(40), "only one class"),
        (np.linspace(0, 1, 40), "Unknown label type"),
    ):
        with pytest.raises(ValueError, match=message):
            model.fit(BITS, y)
    some = LABELS.astype(object)
    some[::4] = None
    try:
        model.fit(BITS, some)
    except ValueError as error:  # where each row goes with its class
        assert str(error).startswith("y: 10 of 40 labels are missing")  # noqa: PT017
        model.fit(BITS, LABELS)
    assert model.classes_.tolist() == ["even", "odd"]
    if "classify" in model.capabilities_:
        chances = model.predict_proba(BITS)
        assert np.allclose(chances.sum(1), 1, atol=1e-9)
        assert np.allclose(np.log(chances), model.predict_log_proba(BITS), atol=1e-9)
        assert (model.predict(BITS) == model.classes_[chances.argmax(1)]).all()
        assert np.allclose(model.predict_proba(BITS[3:4]), chances[3:4], atol=1e-9)
    if "sample" in model.capabilities_:
        assert model.sample(6, y="odd").shape == (6, 16)
        assert model.sample(2, y=["odd", "even"]).shape == (2, 16)
        with pytest.raises(ValueError, match="'none', which is not among the classes"):
            model.sample(2, y="none")
        with pytest.raises(ValueError, match=r"^y: expected one label, or 3 of them, found 2"):
            model.sample(3, y=["odd", "even"])


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(LABELLED)))
def test_labels_cannot_be_asked_of_a_model_that_learns_none(name: str) -> None:
    model = small(ESTIMATORS[name])
    if "labels" in model.get_params(deep=False):
        with pytest.raises(ValueError, match=r"^labels=True: .* learns no labels"):
            model.set_params(labels=True).fit(BITS, LABELS)
    assert not hasattr(model, "predict")


# ------------------------------------------------------------------ tables


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_comes_back_with_names_types_and_index(name: str, tmp_path: Path) -> None:
    frame = frame_of(BITS.astype(np.int8))
    model = small(ESTIMATORS[name])
    if "machine" in model.get_params() and "classify" in model.capabilities_:
        model.set_params(machine=clone(model.machine))
    model.fit(frame, LABELS).save(tmp_path / "run")
    for one in (model, equilibria.load(tmp_path / "run")):
        assert list(one.feature_names_in_) == list(frame.columns)
        assert one.n_features_in_ == 16
        if hasattr(one, "sample"):
            drawn = one.sample(4)
            assert list(drawn.columns) == list(frame.columns)
            assert (drawn.dtypes == frame.dtypes).all()
        if hasattr(one, "transform"):
            found = one.set_output(transform="pandas").transform(frame)
            assert list(found.index) == list(frame.index)
            assert list(found.columns) == list(one.get_feature_names_out())
            one.set_output(transform="default")
        if hasattr(one, "impute"):
            gaps = frame.astype(float)
            gaps.iloc[:3, 1] = np.nan
            filled = one.impute(gaps)
            assert list(filled.index) == list(frame.index)
            pd.testing.assert_frame_equal(
                filled.drop(columns="c1"), frame.drop(columns="c1"), check_dtype=False
            )
            by_name = one.sample(
                1,
                given=pd.DataFrame({"c2": [1], "c0": [0]}).reindex(
                    columns=list(frame.columns)[::-1]
                ),
            )
            assert (by_name["c2"][0], by_name["c0"][0]) == (1, 0)
            with pytest.raises(ValueError, match=r"given .*'nothing'"):
                one.sample(1, given=pd.DataFrame({"nothing": [1.0]}))
        for ask in ("score_samples", "predict_proba", "transform"):
            if hasattr(one, ask):
                getattr(one, ask)(frame)
                with pytest.raises(ValueError, match="feature names should match"):
                    getattr(one, ask)(frame.iloc[:, ::-1])
                with pytest.raises(ValueError, match=r"15 features|feature names"):
                    getattr(one, ask)(frame.iloc[:, 1:])


@pytest.mark.parametrize("name", NAMES)
def test_missing_cells_are_learnt_around_or_refused_by_column(name: str) -> None:
    gaps = np.where(np.random.RandomState(3).uniform(size=BITS.shape) < 0.1, np.nan, BITS)
    model = small(ESTIMATORS[name])
    if model.missing:
        model.fit(gaps)
        found = answers(model)
        drawn = found.pop("sample", np.zeros((1, 16)))  # which may have gaps where these are drawn
        assert all(np.isfinite(x).all() for x in found.values())
        told = [bool(model.table_.gap_of(place)) for place in range(16)]
        assert np.isfinite(drawn).all(0)[~np.array(told)].all()
        with pytest.raises(ValueError, match="column 0 has no observed value"):
            small(ESTIMATORS[name]).fit(np.where(np.arange(16) == 0, np.nan, BITS))
        return
    with pytest.raises(ValueError, match="NaN"):
        model.fit(gaps, LABELS)
    if name in FRAMES:
        with pytest.raises(ValueError, match=r"^X: column 'c.' has missing cells"):
            model.fit(frame_of(gaps), LABELS)


@pytest.mark.parametrize("name", NAMES)
def test_held_out_rows_are_kept_from_training(name: str) -> None:
    """Training sees the others alone, and what is monitored is of both."""
    model = small(ESTIMATORS[name], validation_fraction=0.25).fit(BITS, LABELS)
    plain = fitted(name)
    assert any(not torch.equal(x, state_of(plain)[k]) for k, x in state_of(model).items())
    monitored = [key for row in model.history_ for key in row if "held_out" in key or "gap" in key]
    assert monitored or not {"score", "classify"} & model.capabilities_
    order = model.stream.child("validation").permutation(40).numpy()
    held = np.sort(order[:10])
    if "machine" in model.get_params():  # windows, or a machine that all rows were trained on
        return
    other = BITS.copy()
    other[held] = other[held][::-1]
    found = small(ESTIMATORS[name], validation_fraction=0.25).fit(other, LABELS)
    mine, others = (dict(one.model_.named_parameters()) for one in (model, found))
    trained = [torch.equal(value, others[key]) for key, value in mine.items()]
    assert all(trained), "held-out rows were trained on"


@pytest.mark.parametrize("name", [n for n in with_capability("score") if n in FRAMES])
def test_densities_are_in_the_datas_own_scale(name: str) -> None:
    """x ↦ 100 x + 7 takes 3 log 100 nats off the density of each row of three columns."""
    if "real" not in ESTIMATORS[name].takes:
        pytest.skip("it knows no real columns")
    rows = np.random.RandomState(0).normal(size=(60, 3)) @ np.array(
        [[1, 0.5, 0], [0, 1, 0.5], [0, 0, 1]]
    )
    near, far = (small(ESTIMATORS[name]).fit(X) for X in (rows, 100 * rows + 7))
    shift = near.score_samples(rows) - far.score_samples(100 * rows + 7)
    assert shift.mean() == pytest.approx(3 * np.log(100), abs=0.1)
    assert far.log_likelihood(100 * rows + 7).value == pytest.approx(
        far.score(100 * rows + 7), abs=1e-4
    )


def test_every_estimator_is_known_by_its_name() -> None:
    assert list(all_estimators()) == list(ESTIMATORS)
    for name, cls in ESTIMATORS.items():
        assert cls.name == name
        assert getattr(equilibria, cls.__name__) is cls
        assert cls.__doc__.split("\n\n")[0].endswith(".")
        assert not [line for line in cls.__doc__.splitlines() if re.match(r"\s*-{5,} ?\w", line)]
