"""Classes covered, on the digits: held-out rows cover ten of ten, a collapsed set one. False-alarm rate: 1e-6."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from equilibria.data import Data, load
from equilibria.evaluation import Coverage
from equilibria.random import Stream


@pytest.fixture(scope="module")
def test_rows() -> Data:
    return load("digits", split="test")


@pytest.fixture(scope="module")
def coverage(test_rows: Data) -> Coverage:
    train = load("digits")
    return Coverage.fit(train.values, train.labels, test_rows.values, test_rows.labels)


def test_the_classifier_is_good_enough_and_says_how_good(coverage: Coverage) -> None:
    assert coverage.accuracy.value >= 0.98
    assert coverage.accuracy.samples == 360
    assert coverage.accuracy.low < coverage.accuracy.value < coverage.accuracy.high
    assert coverage.confident > 0.95


def test_held_out_digits_cover_every_class(coverage: Coverage, test_rows: Data) -> None:
    report = coverage.measure(torch.as_tensor(test_rows.values))
    assert (report.found, report.total, report.samples) == (10, 10, 360)
    assert set(report.shares) == {str(k) for k in range(10)}
    assert sum(report.shares.values()) == pytest.approx(1)
    assert 2 * 360 * report.kl < stats.chi2.isf(1e-6, 9)
    assert report.kl_floor == pytest.approx(9 / 720, rel=0.05)
    assert report.confident == report.confident_real == coverage.confident


def test_a_collapsed_set_covers_one_class(coverage: Coverage, test_rows: Data) -> None:
    report = coverage.measure(np.repeat(test_rows.values[test_rows.labels == 4][:1], 500, axis=0))
    assert report.found == 1
    assert report.shares["4"] == 1.0
    assert report.kl == pytest.approx(-np.log(coverage.frequencies[4]))


def test_noise_covers_nothing(coverage: Coverage) -> None:
    report = coverage.measure(16 * Stream(0).uniform((500, 64)))
    assert report.found == 0
    assert report.confident == 0.0


def test_the_report_names_its_features_and_its_floor(coverage: Coverage, test_rows: Data) -> None:
    report = coverage.measure(test_rows.values)
    assert "10 of 10 classes" in str(report)
    assert "RBF support-vector classifier" in str(report)
    found, kl, confident = report.metrics()
    assert (found.best, kl.floor, confident.best) == (10, report.kl_floor, coverage.confident)
    assert all(metric.features == report.features and metric.samples == 360 for metric in report.metrics())


def blobs(classes: int = 3, rows: int = 50) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat(np.array(["ant", "bee", "cat"])[:classes], rows)
    centres = 6.0 * np.eye(3)[np.repeat(np.arange(classes), rows)]
    return centres + Stream(5).normal((classes * rows, 3)).numpy(), labels


def test_a_fifth_of_each_class_is_held_out_by_default() -> None:
    rows, labels = blobs()
    coverage = Coverage.fit(rows, labels)
    assert coverage.accuracy.samples == 30
    assert coverage.accuracy.value == 1.0
    assert coverage.frequencies.tolist() == pytest.approx([1 / 3] * 3)
    assert coverage.measure(rows[50:100]).shares == {"ant": 0.0, "bee": 1.0, "cat": 0.0}


def test_two_classes_and_few_rows() -> None:
    rows, labels = blobs(classes=2)
    coverage = Coverage.fit(rows, labels, max_rows=20)
    report = coverage.measure(rows[:50])
    assert report.shares["ant"] > 0.9
    assert report.total == 2


def test_the_same_seed_holds_out_the_same_rows() -> None:
    rows, labels = blobs()
    first, second = (Coverage.fit(rows + 3 * Stream(8).normal((150, 3)).numpy(), labels, random_state=4) for _ in range(2))
    assert first.accuracy == second.accuracy
    assert first.measure(rows) == second.measure(rows)


def test_bad_input_is_refused(coverage: Coverage) -> None:
    rows, labels = blobs()
    with pytest.raises(ValueError, match="y: expected one label for each of the 150 rows of X"):
        Coverage.fit(rows, labels[:-1])
    with pytest.raises(ValueError, match="y: expected two classes or more"):
        Coverage.fit(rows[:50], labels[:50])
    with pytest.raises(ValueError, match="y: expected two classes or more with two rows each"):
        Coverage.fit(rows[:51], labels[:51])
    with pytest.raises(ValueError, match="X_test and y_test: give both or neither"):
        Coverage.fit(rows, labels, rows)
    with pytest.raises(ValueError, match=r"X_test: expected shape \(rows, 3\)"):
        Coverage.fit(rows, labels, rows[:, :2], labels)
    with pytest.raises(ValueError, match=r"samples: expected shape \(rows, 64\)"):
        coverage.measure(rows)
    with pytest.raises(ValueError, match="samples: 1 of 1 rows hold NaN"):
        coverage.measure(np.full((1, 64), np.nan))
