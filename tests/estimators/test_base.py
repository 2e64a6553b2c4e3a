"""What all estimators share: run folders, loading, refusals before work, divergence, and what a failed fit leaves."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError

import equilibria
from equilibria import DBM, DBN, GAN, LAPGAN, RBM
from equilibria.errors import DivergedError, RunError, TrainingInterrupted
from equilibria.estimators import MODELS
from equilibria.training.run import Run

random = np.random.RandomState(0)
X = (random.uniform(size=(50, 9)) * 255).astype(np.uint8)
COMMON = {"value_range": (0, 255), "picture_shape": (3, 3), "random_state": 0, "batch_size": 10}
SMALL = {
    "rbm": RBM(n_components=4, n_iter=4, chains=10, **COMMON),
    "dbm": DBM(hidden=np.array([5, 3]), steps=15, pretrain_steps=8, chains=10, **COMMON),
    "dbn": DBN(hidden=np.array([5, 9]), steps=8, chains=10, **COMMON),
    "gan": GAN(hidden=(8,), latent_dim=2, steps=15, **COMMON),
}
NAMES = sorted(SMALL)


def small(name: str, **options):
    return type(SMALL[name])(**{**SMALL[name].get_params(), **options})


def same(left, right) -> bool:
    """Equal samples, scores and parameters, bit for bit."""
    tensors = left._tensors(), right._tensors()
    scored = left.model_name == "gan" or bool((left.score_samples(X) == right.score_samples(X)).all())
    equal = all(torch.equal(value, tensors[1][name]) for name, value in tensors[0].items())
    return scored and equal and bool((left.sample(8) == right.sample(8)).all())


def test_every_model_is_known_by_its_name():
    assert {"rbm": RBM, "dbm": DBM, "dbn": DBN, "gan": GAN, "lapgan": LAPGAN} == MODELS


# ---------------------------------------------------------------- the run folder


@pytest.mark.parametrize("name", NAMES)
def test_out_is_the_run_folder_and_changes_no_number(name, tmp_path):
    model, plain = small(name, out=str(tmp_path / "run")).fit(X), small(name).fit(X)
    assert same(model, plain)
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert files == {"config.json", "metrics.jsonl", "checkpoints", "samples", "model.safetensors", "model.json", "lock"}
    run = Run.open(tmp_path / "run")
    assert run.metrics() == model.history_
    assert run.config["model"] == name
    assert run.config["seed"] == 0
    assert run.config["health"] == model.health_
    assert run.load_checkpoint().step == model.n_steps_ == model.history_[-1]["step"]
    assert any(path.suffix == ".png" for path in (tmp_path / "run" / "samples").iterdir())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("how", ["out", "save"])
def test_a_loaded_model_is_the_fitted_one(name, how, tmp_path):
    model = small(name, out=str(tmp_path / "run") if how == "out" else None).fit(X)
    if how == "save":
        model.save(tmp_path / "run")
    loaded = equilibria.load(tmp_path / "run")
    assert type(loaded) is type(model)
    assert same(loaded, model)
    assert (loaded.history_, loaded.health_, loaded.n_steps_) == (model.history_, model.health_, model.n_steps_)
    assert (loaded.n_features_in_, loaded.schema_, loaded.seed_) == (9, model.schema_, 0)
    assert loaded.get_params()["out"] is None
    if name == "gan":
        assert torch.equal(loaded.critic_.layers[0].weight, model.critic_.layers[0].weight)
    else:
        assert str(loaded.log_partition_) == str(model.log_partition_)
        assert {key: value.shape for key, value in loaded.chains_.items()} == {key: value.shape for key, value in model.chains_.items()}
    assert same(loaded.fit(X), model), "a loaded model's parameters train the same model"


def test_a_loaded_model_trains_on(tmp_path):
    model = small("rbm").fit(X)
    model.save(tmp_path / "run")
    loaded = equilibria.load(tmp_path / "run")
    for one in (model, loaded):
        one.partial_fit(X[:10])
    assert same(model, loaded)


def test_a_fresh_seed_is_recorded(tmp_path):
    model = small("gan", random_state=None, out=str(tmp_path / "run")).fit(X)
    assert Run.open(tmp_path / "run").config["params"]["random_state"] == model.seed_
    assert same(equilibria.load(tmp_path / "run"), model)


def test_save_needs_a_fit_and_a_free_place(tmp_path):
    with pytest.raises(NotFittedError):
        small("gan").save(tmp_path / "run")
    model = small("gan").fit(X)
    model.save(tmp_path / "run")
    with pytest.raises(RunError, match=r"^out='.*run' holds a run: choose another folder"):
        model.save(tmp_path / "run")
    model.save(tmp_path / "run", overwrite=True)
    assert same(equilibria.load(tmp_path / "run"), model)


# ---------------------------------------------------------------- refusals


@pytest.fixture
def unworked(monkeypatch):
    """Fails the test if an estimator builds anything."""
    for kind in (RBM, DBM, DBN, GAN):
        monkeypatch.setattr(kind, "_stages", lambda *args: pytest.fail("work was begun"))


@pytest.mark.parametrize("name", NAMES)
def test_a_taken_out_is_refused_before_work_and_left_alone(name, tmp_path, unworked):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    Run.create(tmp_path / "run", {"model": "rbm"})
    for place, message in (("mine", "holds files that are no run"), ("file", "is a file"), ("run", "holds a run: choose another folder")):
        with pytest.raises(RunError, match=rf"^out='.*{place}' {message}"):
            small(name, out=str(tmp_path / place)).fit(X)
    with pytest.raises(RunError, match="holds files that are no run"):
        small(name, out=str(tmp_path / "mine"), overwrite=True).fit(X)
    assert (tmp_path / "mine" / "notes.txt").read_text() == (tmp_path / "file").read_text() == "mine"


def test_a_run_may_be_overwritten_when_asked(tmp_path):
    small("rbm", out=str(tmp_path / "run")).fit(X)
    model = small("gan", out=str(tmp_path / "run"), overwrite=True).fit(X)
    assert same(equilibria.load(tmp_path / "run"), model)


def test_a_refused_fit_keeps_the_earlier_one(tmp_path):
    model = small("rbm").fit(X)
    before = model.sample(5)
    for parameters, data in (({"n_components": 0}, X), ({}, X[:, :0]), ({"n_components": 4, "out": str(__file__)}, X)):
        with pytest.raises(ValueError, match=r"n_components|feature|is a file"):
            model.set_params(**parameters).fit(data)
    assert (model.sample(5) == before).all()


def test_an_unwritable_out_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"^out='.*file/run' cannot be written"):
        small("gan", out=str(tmp_path / "file" / "run")).fit(X)


@pytest.mark.parametrize("function", [equilibria.load, lambda path: equilibria.resume(path, X)])
def test_what_is_no_run_is_refused(function, tmp_path):
    with pytest.raises(RunError, match="does not exist"):
        function(tmp_path / "nothing")
    with pytest.raises(RunError, match="is not a run"):
        function(tmp_path)
    Run.create(tmp_path / "other", {"model": "perceptron"})
    with pytest.raises(RunError, match="is of the model 'perceptron'; this version knows rbm, dbm, dbn, gan, lapgan"):
        function(tmp_path / "other")


def test_parameters_of_another_version_are_refused(tmp_path):
    small("gan").fit(X).save(tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["params"]["temperature"] = 2
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunError, match=r"parameters that this version does not know: \['temperature'\]"):
        equilibria.load(tmp_path / "run")


@pytest.mark.parametrize("harm", ["flip", "truncate", "delete"])
def test_a_damaged_model_is_named(harm, tmp_path):
    small("gan", out=str(tmp_path / "run")).fit(X)
    path = tmp_path / "run" / "model.safetensors"
    data = bytearray(path.read_bytes())
    if harm == "delete":
        path.unlink()
    else:
        data[-5] ^= 16
        path.write_bytes(data if harm == "flip" else data[:-1])
    with pytest.raises(RunError, match=r"model\.safetensors is (damaged|missing)"):
        equilibria.load(tmp_path / "run")
    assert same(equilibria.resume(tmp_path / "run", X), small("gan").fit(X)), "the checkpoint still has it"


@pytest.mark.parametrize("name", NAMES)
def test_other_data_cannot_go_on_with_a_run(name, tmp_path):
    small(name, out=str(tmp_path / "run")).fit(X)
    for other in (X[1:], X.astype(float), np.where(X.max() == X, X - 1, X)):
        with pytest.raises(ValueError, match="X: these are not the data that the run was started with"):
            equilibria.resume(tmp_path / "run", other)


# ---------------------------------------------------------------- when training does not end


def test_an_absurd_rate_diverges_with_advice_and_leaves_no_broken_run(tmp_path):
    data = random.normal(size=(100, 3)) * 3
    model = RBM(n_components=4, learning_rate=1e30, units="gaussian", random_state=0, out=str(tmp_path / "run"))
    with pytest.raises(DivergedError, match=r"Stage 'train' diverged at step \d+: .* Try a learning rate three to ten times smaller"):
        model.fit(data)
    with pytest.raises(NotFittedError):
        model.sample()
    with pytest.raises(RunError, match=r"model\.safetensors is missing"):
        equilibria.load(tmp_path / "run")
    checkpoints = list((tmp_path / "run" / "checkpoints").glob("*")) if (tmp_path / "run" / "checkpoints").exists() else []
    assert checkpoints == []


def test_divergence_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr("equilibria.training.trainer.CHECKPOINT_SECONDS", 0.0)
    model = small("dbm", learning_rate=1e38, out=str(tmp_path / "run"))
    with pytest.raises(DivergedError, match=r"Stage 'joint' diverged .*The last good checkpoint in .*run is kept"):
        model.fit(X)
    loaded = Run.open(tmp_path / "run").load_checkpoint()
    assert loaded.step >= 16, "pretraining was saved"
    games = [value for game in loaded.state["games"].values() for value in game.values()]
    assert all(bool(torch.isfinite(value).all()) for value in games)


def test_an_interrupted_fit_is_not_fitted(tmp_path, monkeypatch):
    original = Run.log

    def log(self, row):
        original(self, row)
        if row["step"] == 5:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Run, "log", log)
    model = small("gan", out=str(tmp_path / "run"))
    with pytest.raises(TrainingInterrupted, match="equilibria resume"):
        model.fit(X)
    with pytest.raises(NotFittedError):
        model.sample()
    monkeypatch.undo()
    assert same(equilibria.resume(tmp_path / "run", X), small("gan").fit(X))


def test_a_path_may_be_a_path(tmp_path):
    model = small("rbm", out=tmp_path / "run").fit(X)
    assert same(equilibria.load(Path(tmp_path / "run")), model)
