"""A run's evaluation: what is measured, that the numbers agree with one another, and that the file brings them back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import equilibria
from equilibria import DBM, GAN, RBM
from equilibria.data import write_csv
from equilibria.errors import RunError
from equilibria.evaluation import Metric
from equilibria.numbers import Measure
from equilibria.report.assessment import CLASS_SHARE, FILE, Result, assess, read, remarks
from equilibria.training.origin import attach, collect


def by_name(results: list[Result]) -> dict[str, Result]:
    return {result.name: result for result in results}


def train(estimator, source, folder: Path, **about) -> Path:
    loaded = collect(source, **about)
    attach(estimator, loaded)
    estimator.set_params(out=str(folder), random_state=0).fit(loaded.train.values)
    return folder


def test_a_boltzmann_machine_is_scored_on_held_out_rows_first(dbm: Path) -> None:
    results = read(dbm)
    held_out, training = results[:2]
    model, loaded = equilibria.load(dbm), collect("digits")
    assert held_out.name == "mean bound on log-likelihood of held-out rows, nats"
    assert training.name == "mean bound on log-likelihood of training rows, nats"
    assert isinstance(held_out, Measure)
    assert held_out.value == pytest.approx(model.score(loaded.test.values), abs=1e-4)
    assert by_name(results)["log Z, nats"].value == model.log_partition_.value


def test_the_gap_is_the_difference_of_the_two_likelihoods_and_has_a_floor(dbm: Path) -> None:
    held_out, training, gap, *_ = read(dbm)
    assert isinstance(gap, Measure)
    assert gap.name == "variational free energy gap, nats"
    assert gap.value == pytest.approx(training.value - held_out.value, abs=1e-6)
    assert gap.chance is not None
    assert gap.chance > 0


@pytest.mark.parametrize("family", ["dbm", "gan"])
def test_samples_of_both_families_are_looked_at(family: str, request: pytest.FixtureRequest) -> None:
    results = by_name(read(request.getfixturevalue(family)))
    classes = results["classes found"]
    assert isinstance(classes, Metric)
    assert (classes.best, classes.samples) == (10, 60)
    assert "accuracy at telling samples from real rows" in results
    assert any("nearest" in name for name in results)
    shares = [result for name, result in results.items() if name.startswith(CLASS_SHARE)]
    assert len(shares) == 10
    assert sum(share.value for share in shares) == pytest.approx(1)
    assert sum(share.best for share in shares) == pytest.approx(1)


def test_a_gan_has_no_likelihood(gan: Path) -> None:
    assert not any("likelihood" in result.name or "log Z" in result.name for result in read(gan))


def test_an_implicit_model_is_set_beside_held_out_rows_through_named_features(gan: Path, dbm: Path) -> None:
    results = by_name(read(gan))
    assert "kernel distance (squared)" not in by_name(read(dbm))
    assert "Fréchet distance (squared)" not in results  # 60 samples for 64 features
    for name in ("kernel distance (squared)", *(f"{share}, 5 neighbours" for share in ("precision", "recall", "density", "coverage"))):
        metric = results[name]
        assert isinstance(metric, Metric)
        assert "features of a convolutional network trained on 1,437 labelled real rows" in metric.features
        assert metric.low <= metric.value <= metric.high
        assert metric.samples == 60


def test_a_table_without_classes_is_seen_through_its_columns_unless_it_collapsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_csv(tmp_path / "table.csv", np.random.RandomState(0).normal(size=(600, 3)) * [1, 10, 100])
    folder = train(GAN(hidden=(8,), steps=20), tmp_path / "table.csv", tmp_path / "run")
    distance = by_name(assess(folder, samples=100))["Fréchet distance (squared)"]
    assert isinstance(distance, Metric)
    assert distance.features == "standardised columns"
    assert distance.floor is not None
    assert distance.value > distance.floor
    monkeypatch.setattr(GAN, "sample", lambda self, n=1, y=None, random_state=None: np.ones((n, 3)))
    assert not {"Fréchet distance (squared)", "kernel distance (squared)"} & set(by_name(assess(folder, samples=60)))


def test_assess_returns_what_read_gives_back_and_the_same_each_time(dbm: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(dbm, tmp_path / "copy")
    (copy / FILE).unlink()
    results = assess(copy, samples=60)
    assert results == read(copy) == read(dbm)
    assert (copy / FILE).read_bytes() == (dbm / FILE).read_bytes()
    assert {entry["type"] for entry in json.loads((copy / FILE).read_bytes())} == {"metric", "estimate"}
    assert not list(copy.glob(".*.tmp"))


def test_modes_are_counted_where_the_density_is_known(tmp_path: Path) -> None:
    folder = train(GAN(hidden=(8,), steps=5), "ring", tmp_path / "run")
    first = assess(folder, samples=50)[0]
    assert isinstance(first, Metric)
    assert (first.name, first.best, first.samples) == ("modes found", 8, 2500)
    assert str(read(folder)) == str(assess(folder, samples=50))  # as text: a number here is NaN, which JSON cannot hold


def test_without_held_out_rows_nothing_claims_to_be_held_out(tmp_path: Path) -> None:
    write_csv(tmp_path / "table.csv", np.random.RandomState(0).randint(0, 2, (40, 5)))
    folder = train(RBM(n_components=3, n_iter=2), tmp_path / "table.csv", tmp_path / "run", held_out=0)
    results = assess(folder, samples=20)
    names = list(by_name(results))
    assert names == ["mean log-likelihood of training rows, nats", "log Z, nats", "accuracy at telling samples from real rows"]
    assert "Nothing was held out" in results[2].note


def test_a_table_of_categories_is_evaluated(tmp_path: Path) -> None:
    write_csv(tmp_path / "table.csv", np.random.RandomState(0).randint(0, 3, (60, 4)))
    folder = train(DBM(hidden=(3, 2), steps=5, pretrain_steps=5, units="categorical"), tmp_path / "table.csv", tmp_path / "run")
    assert "accuracy at telling samples from real rows" in by_name(assess(folder, samples=20))


def test_a_run_on_an_array_cannot_be_evaluated(tmp_path: Path) -> None:
    RBM(n_components=2, n_iter=1, random_state=0, out=str(tmp_path / "run")).fit(np.eye(4))
    with pytest.raises(RunError, match="where its data came from"):
        assess(tmp_path / "run")


def test_foreign_missing_unfinished_and_damaged_are_refused(dbm: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    for path in (tmp_path, tmp_path / "nothing"):
        for call in (assess, read):
            with pytest.raises(RunError, match="run"):
                call(path)
    copy = shutil.copytree(dbm, tmp_path / "copy")
    (copy / FILE).write_text('[{"type": "rumour"}]')
    with pytest.raises(RunError, match="damaged"):
        read(copy)
    (copy / FILE).unlink()
    with pytest.raises(RunError, match="equilibria evaluate"):
        read(copy)
    (copy / "model.safetensors").unlink()
    with pytest.raises(RunError):
        assess(copy)


@pytest.mark.parametrize("samples", [3, 10.0, True, "many"])
def test_a_bad_number_of_samples_is_refused(samples: object, dbm: Path) -> None:
    with pytest.raises(ValueError, match="samples="):
        assess(dbm, samples=samples)  # type: ignore[arg-type]


def test_remarks_tell_good_from_bad() -> None:
    told_apart = "accuracy at telling samples from real rows"
    good = [
        Metric("modes found", 8, 2500, best=8),
        Measure("free energy gap, nats", 0.1, n=100, chance=0.3),
        Measure(told_apart, 0.52, 0.48, 0.56, method="forest"),
    ]
    bad = [
        Metric("modes found", 6, 2500, best=8),
        Measure("free energy gap, nats", 1.25, n=100, chance=0.3),
        Measure(told_apart, 0.97, 0.95, 0.98, method="forest"),
    ]
    assert remarks(good) == [
        "All 8 modes are found among the samples.",
        "It fits training rows no better than held-out ones, beyond what chance may give: no sign of overfitting.",
        "52 % of samples and real rows are told apart by a random forest, where 50 % would be chance: it sees no difference.",
    ]
    assert remarks(bad) == [
        "The samples miss 2 of 8 modes.",
        "It fits training rows better than held-out ones, by 1.25 nats a row: it overfits to that degree.",
        "97 % of samples and real rows are told apart by a random forest, where 50 % would be chance: "
        "the samples are not yet as the data are.",
    ]


def test_what_samples_lack_is_remarked_upon_beyond_chance() -> None:
    def share(name: str, value: float, high: float) -> Metric:
        return Metric(f"{name}, 5 neighbours", value, 500, best=0.97, low=value - 0.05, high=high)

    assert remarks([share("coverage", 0.5, 0.55), share("precision", 0.6, 0.65)]) == [
        "Only 50 % of the real rows have a sample near them, where a perfect sampler reaches 97 %: parts of the data are missing among "
        "the samples.",
        "Only 60 % of the samples have a real row near them, where a perfect sampler reaches 97 %: samples are not like the data.",
    ]
    assert remarks([share("coverage", 0.95, 0.96), share("coverage", 0.8, 0.99), share("recall", 0.1, 0.2)]) == []


def test_samples_that_copy_training_rows_are_remarked_upon(gan: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    copy, rows = shutil.copytree(gan, tmp_path / "copy"), collect("digits").train.values
    assert "No sign that the samples copy training rows." in remarks(read(copy))
    monkeypatch.setattr(GAN, "sample", lambda self, n=1, y=None, random_state=None: rows[:n])
    assert "The samples copy training rows." in remarks(assess(copy, samples=200))
