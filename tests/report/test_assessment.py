"""A run's evaluation: what is measured, that numbers agree, that the file gives them back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import equilibria
from equilibria import DBM, DBN, GAN, RBM, FineTunedClassifier, durable
from equilibria.data import load, write_csv
from equilibria.errors import RunError
from equilibria.numbers import Measure
from equilibria.report.assessment import assess
from equilibria.report.view import CLASS_SHARE, FILE, View
from equilibria.report.view import read as read_run
from equilibria.training.origin import collect
from equilibria.training.run import Run

Trained = Callable[..., Path]


def read(folder: Path) -> list[Measure]:
    return read_run(Run.open(folder))


def by_name(results: list[Measure]) -> dict[str, Measure]:
    return {result.name: result for result in results}


def test_a_machine_is_scored_on_held_out_rows_first(runs: dict[str, Path]) -> None:
    """The gap is the difference of both likelihoods, and log Z is the model's."""
    results = read(runs["dbm"])
    held_out, training, gap, log_z = results[:4]
    model = equilibria.load(runs["dbm"])
    assert held_out.name == "mean bound on log-likelihood of held-out rows, nats"
    assert training.name == "mean bound on log-likelihood of training rows, nats"
    expected = model.score(load("digits", split="test").values)
    assert held_out.value == pytest.approx(expected, abs=1e-4)
    assert (log_z.name, log_z.value) == ("log Z, nats", model.log_partition_.value)
    assert gap.name == "variational free energy gap, nats"
    assert gap.value == pytest.approx(training.value - held_out.value, abs=1e-6)
    assert gap.chance is not None
    assert gap.chance > 0


def test_a_normalised_density_has_no_log_z(runs: dict[str, Path]) -> None:
    results = by_name(read(runs["made"]))
    assert "mean log-likelihood of held-out rows, nats" in results
    assert "log-likelihood gap, nats" in results
    assert "log Z, nats" not in results


def test_a_bound_that_is_drawn_agrees_with_itself(tmp_path: Path, trained: Trained) -> None:
    model = DBN(hidden=(12, 6), steps=20, ais_betas=20, ais_chains=10)
    results = by_name(assess(trained(model, "digits", tmp_path / "run"), samples=60))
    held_out, training = (
        results[f"mean bound on log-likelihood of {what} rows, nats"]
        for what in ("held-out", "training")
    )
    gap = results["variational free energy gap, nats"]
    assert gap.value == pytest.approx(training.value - held_out.value, abs=1e-6)


@pytest.mark.parametrize("family", ["dbm", "made", "gan"])
def test_samples_of_every_model_are_looked_at(family: str, runs: dict[str, Path]) -> None:
    results = by_name(read(runs[family]))
    classes = results["classes found"]
    assert (classes.ideal, classes.n) == (10, 60)
    assert "C2ST area under the curve" in results
    assert any("nearest" in name for name in results)
    shares = [result for name, result in results.items() if name.startswith(CLASS_SHARE)]
    assert len(shares) == 10
    assert sum(share.value for share in shares) == pytest.approx(1)
    assert sum(share.ideal or 0 for share in shares) == pytest.approx(1)
    assert "Fréchet distance (squared)" not in results  # 60 samples for 64 features
    for name in ("kernel MMD (squared)", "precision", "recall", "density", "coverage"):
        found = results[name]
        assert "of a convolutional network trained on 1,437 labelled real rows" in found.method
        assert found.low is not None
        assert found.high is not None
        assert found.low <= found.value <= found.high
        assert found.n == 60


def test_a_gan_has_no_likelihood(runs: dict[str, Path]) -> None:
    assert not any("likelihood" in one.name or "log Z" in one.name for one in read(runs["gan"]))


def test_like_is_compared_with_like(runs: dict[str, Path]) -> None:
    """Binary samples are set beside rows made binary, means beside grey rows; which is said."""
    rows = load("digits").values[:50]
    made, dbm, gan = (equilibria.load(runs[name]) for name in ("made", "dbm", "gan"))
    drawn = made.sample(50)
    view = View.of(made, drawn)
    assert set(np.unique(view.rows(rows, False))) == {0, 1}
    assert np.array_equal(view.rows(rows, False), view.rows(rows, True)), "one draw a row"
    assert np.array_equal(view.samples(drawn, False) * 16, drawn)
    drawn = dbm.sample(50)
    view = View.of(dbm, drawn)
    assert np.allclose(view.rows(rows, False) * 16, rows)
    assert np.allclose(view.samples(drawn, False) * 16, drawn)
    assert set(np.unique(view.rows(rows, True))) == {0, 1}
    assert set(np.unique(view.samples(drawn, True))) == {0, 1}
    means = view.samples(np.repeat(drawn[:1], 4000, 0), True).mean(0)
    assert np.abs(means - drawn[0] / 16).max() < 0.05, "drawn by the means"
    assert View.of(gan, gan.sample(20)).note == ""
    said = {
        name: by_name(read(runs[name]))["C2ST area under the curve"].note
        for name in ("made", "dbm")
    }
    assert "Samples are binary, and rows were made so" in said["made"]
    assert "Samples are the model's means, made binary like the rows" in said["dbm"]


def test_columns_beside_grey_ones_stay_as_they_are() -> None:
    """Of a table with several layers the grey columns alone are made binary."""
    draw = np.random.RandomState(0)
    rows = np.column_stack([draw.uniform(size=60), draw.normal(size=60)])
    how = {"modalities": {"light": [0], "size": [1]}, "kinds": {"light": "binary", "size": "real"}}
    model = RBM(n_components=3, n_iter=1, random_state=0, **how).fit(rows)
    view = View.of(model, model.sample(20))
    encoded = model.table_.encode(rows, torch.float64).numpy()
    sharp = view.rows(rows, True)
    assert np.array_equal(sharp[:, 1], encoded[:, 1])
    assert set(np.unique(sharp[:, 0])) == {0, 1}


def test_a_table_without_classes_is_seen_through_its_columns_unless_it_collapsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: Trained
) -> None:
    table = tmp_path / "table.csv"
    write_csv(table, np.random.RandomState(0).normal(size=(600, 3)) * [1, 10, 100])
    folder = trained(GAN(hidden=(8,), steps=20), table, tmp_path / "run")
    distance = by_name(assess(folder, samples=100))["Fréchet distance (squared)"]
    assert distance.method == "encoded columns"
    assert distance.chance is not None
    assert distance.value > distance.chance
    sample = GAN.sample

    def collapsed(self: GAN, n: int = 1, **how: object) -> object:
        return sample(self, 1, random_state=0).iloc[[0] * n]

    monkeypatch.setattr(GAN, "sample", collapsed)
    found = by_name(assess(folder, samples=60))
    assert not {"Fréchet distance (squared)", "kernel MMD (squared)"} & set(found)


def test_assess_returns_what_read_gives_back_and_the_same_each_time(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    copy = shutil.copytree(runs["made"], tmp_path / "copy")
    (copy / FILE).unlink()
    results = assess(copy, samples=60)
    assert results == read(copy) == read(runs["made"])
    assert (copy / FILE).read_bytes() == (runs["made"] / FILE).read_bytes()
    assert not list(copy.glob(".*.tmp"))


def test_modes_are_counted_where_the_density_is_known(tmp_path: Path, trained: Trained) -> None:
    folder = trained(GAN(hidden=(8,), steps=5), "ring", tmp_path / "run")
    found = assess(folder, samples=50)
    assert (found[0].name, found[0].ideal, found[0].n) == ("modes found", 8, 2500)
    assert str(read(folder)) == str(found)  # as text: a number here is NaN, which equals nothing


def test_without_held_out_rows_nothing_claims_to_be_held_out(
    tmp_path: Path, trained: Trained
) -> None:
    write_csv(tmp_path / "table.csv", np.random.RandomState(0).randint(0, 2, (40, 5)))
    model = RBM(n_components=3, n_iter=2)
    folder = trained(model, tmp_path / "table.csv", tmp_path / "run", held_out=0)
    results = assess(folder, samples=20)
    names = [
        "mean log-likelihood of training rows, nats",
        "log Z, nats",
        "C2ST area under the curve",
    ]
    assert list(by_name(results)) == names
    assert "Nothing was held out" in results[2].note


def test_a_table_of_categories_is_evaluated(tmp_path: Path, trained: Trained) -> None:
    write_csv(tmp_path / "table.csv", np.random.RandomState(0).randint(0, 3, (60, 4)))
    model = DBM(hidden=(3, 2), steps=5, pretrain_steps=5, kinds="categorical")
    folder = trained(model, tmp_path / "table.csv", tmp_path / "run")
    assert "C2ST area under the curve" in by_name(assess(folder, samples=20))


def test_a_classifier_is_judged_by_the_rows_whose_class_is_known(tmp_path: Path) -> None:
    data = collect("digits").train
    machine = RBM(n_components=20, n_iter=1, random_state=0).fit(data)
    model = FineTunedClassifier(machine, steps=60, random_state=0, out=str(tmp_path / "run"))
    model.fit(data)
    (found,) = assess(tmp_path / "run")
    test = load("digits", split="test")
    right = float((model.predict(test.values) == test.labels).mean())
    assert found.name == "accuracy of predicted classes"
    assert found.value == pytest.approx(right)
    assert found.n == 360
    assert found.low is not None
    assert found.low < right


def test_what_cannot_be_evaluated_is_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    RBM(n_components=2, n_iter=1, random_state=0, out=str(tmp_path / "run")).fit(np.eye(4))
    with pytest.raises(RunError, match="where its data came from"):
        assess(tmp_path / "run")
    (tmp_path / "config.json").write_text("{}")
    for path in (tmp_path, tmp_path / "nothing"):
        for call in (assess, read):
            with pytest.raises(RunError, match="run"):
                call(path)
    copy = shutil.copytree(runs["made"], tmp_path / "copy")
    (copy / FILE).write_text('[{"type": "rumour"}]')
    with pytest.raises(RunError, match="damaged"):
        read(copy)
    (copy / FILE).unlink()
    with pytest.raises(RunError, match="equilibria evaluate"):
        read(copy)
    (copy / "model.safetensors").unlink()
    with pytest.raises(RunError):
        assess(copy)
    with pytest.raises(ValueError, match="samples="):
        assess(runs["made"], samples=3)


def test_samples_that_copy_training_rows_are_found(
    runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    copy, rows = shutil.copytree(runs["gan"], tmp_path / "copy"), collect("digits").train.values
    name = "training rows among the nearest real rows"
    assert not by_name(read(copy))[name].warning
    monkeypatch.setattr(GAN, "sample", lambda self, n=1, **how: rows[:n])
    assert by_name(assess(copy, samples=200))[name].warning == "The samples copy training rows."


def test_the_numbers_of_the_first_version_are_read(runs: dict[str, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(runs["dbm"], tmp_path / "copy")
    modes = {"type": "metric", "name": "modes found", "value": 7, "samples": 2500, "best": 8}
    modes |= {"features": "raw columns", "note": "A note.", "floor": None, "low": None}
    log_z = {"type": "estimate", "name": "log Z, nats", "value": 1.5, "low": "-inf", "high": 2.0}
    log_z |= {"method": "AIS", "level": 0.95, "ess": 50.0, "samples": 100}
    log_z |= {"caveat": "They degenerate. Chains may miss a mode.", "warning": "They degenerate."}
    config = {**durable.read_sealed(copy / "config.json"), "format": 2}
    del config["run"]
    (copy / "config.json").write_text(json.dumps(config))
    (copy / FILE).write_text(json.dumps([modes, log_z]))
    found, estimate = read(copy)
    expected = {"n": 2500, "ideal": 8.0, "method": "raw columns", "note": "A note."}
    assert found == Measure("modes found", 7.0, **expected)
    assert (estimate.low, estimate.n, estimate.warning) == (-np.inf, 100, "They degenerate.")
    assert estimate.note == "Chains may miss a mode."
