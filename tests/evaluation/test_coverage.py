"""Classes covered, on the digits: held-out rows cover ten of ten, a collapsed set one. False-
alarm rate: 1e-6."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from equilibria.data import Data, load
from equilibria.evaluation import Coverage
from equilibria.random import Stream

KL = "KL of classes from the training frequencies"


@pytest.fixture(scope="module")
def test_rows() -> Data:
    return load("digits", split="test")


@pytest.fixture(scope="module")
def coverage(test_rows: Data) -> Coverage:
    train = load("digits")
    return Coverage.fit(train.values, train.labels, test_rows.values, test_rows.labels)


def test_the_classifier_is_good_enough_and_says_how_good(coverage: Coverage) -> None:
    assert coverage.accuracy.value >= 0.98
    assert coverage.accuracy.n == 360
    assert coverage.accuracy.low < coverage.accuracy.value < coverage.accuracy.high
    assert coverage.confident > 0.95


def test_held_out_digits_cover_every_class(coverage: Coverage, test_rows: Data) -> None:
    found = coverage.measure(torch.as_tensor(test_rows.values))
    assert (found.value, found.ideal, found.n) == (10, 10, 360)
    assert coverage.counts(test_rows.values)[0].sum() == 360
    kl, confident = found.parts
    assert 2 * 360 * kl.value < stats.chi2.isf(1e-6, 9)
    assert kl.chance == pytest.approx(9 / 720, rel=0.05)
    assert confident.value == confident.ideal == coverage.confident


def test_a_collapsed_set_covers_one_class(coverage: Coverage, test_rows: Data) -> None:
    samples = np.repeat(test_rows.values[test_rows.labels == 4][:1], 500, axis=0)
    found = coverage.measure(samples)
    assert found.value == 1
    assert coverage.counts(samples)[0][4] == 500
    assert found[KL].value == pytest.approx(-np.log(coverage.frequencies[4]))


def test_noise_covers_nothing(coverage: Coverage) -> None:
    found = coverage.measure(16 * Stream(0).uniform((500, 64)))
    assert found.value == 0
    assert found["share classified with confidence"].value == 0.0


def test_the_measure_names_its_classifier(coverage: Coverage, test_rows: Data) -> None:
    found = coverage.measure(test_rows.values)
    assert "of held-out rows" in found.note
    for measure in (found, *found.parts):
        assert "RBF support-vector classifier" in measure.method
        assert measure.n == 360


def blobs(classes: int = 3, rows: int = 50) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat(np.array(["ant", "bee", "cat"])[:classes], rows)
    centres = 6.0 * np.eye(3)[np.repeat(np.arange(classes), rows)]
    return centres + Stream(5).normal((classes * rows, 3)).numpy(), labels


def test_a_fifth_of_each_class_is_held_out_by_default() -> None:
    rows, labels = blobs()
    coverage = Coverage.fit(rows, labels)
    assert coverage.accuracy.n == 30
    assert coverage.accuracy.value == 1.0
    assert coverage.frequencies.tolist() == pytest.approx([1 / 3] * 3)
    assert coverage.counts(rows[50:100])[0].tolist() == [0, 50, 0]


def test_two_classes_and_few_rows() -> None:
    rows, labels = blobs(classes=2)
    coverage = Coverage.fit(rows, labels, max_rows=20)
    assert coverage.counts(rows[:50])[0][0] > 45
    assert coverage.measure(rows[:50]).ideal == 2


def test_the_same_seed_holds_out_the_same_rows() -> None:
    rows, labels = blobs()
    first, second = (
        Coverage.fit(rows + 3 * Stream(8).normal((150, 3)).numpy(), labels, random_state=4)
        for _ in range(2)
    )
    assert first.accuracy == second.accuracy
    assert first.measure(rows) == second.measure(rows)


def test_bad_input_is_refused(coverage: Coverage) -> None:
    rows, labels = blobs()
    with pytest.raises(ValueError, match="y: expected one label for each of the 150 rows"):
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
