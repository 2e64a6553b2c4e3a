"""Copying is flagged when samples are training rows, near or exact, and not when they are fresh, average or collapsed."""

from __future__ import annotations

import numpy as np
import pytest

from equilibria.data import load
from equilibria.data.toy import bars_and_stripes
from equilibria.evaluation import nearest
from equilibria.random import Stream

DIGITS = load("digits", split="all")
ORDER = Stream(1).permutation(1797).numpy()
ROWS, LABELS = DIGITS.values[ORDER] / 16, DIGITS.labels[ORDER]
TRAIN, HELD_OUT, FRESH = ROWS[:1000], ROWS[1000:1400], ROWS[1400:]


def noise(shape: tuple[int, ...]) -> np.ndarray:
    return Stream(2).normal(shape).numpy()


def test_training_rows_are_copies() -> None:
    report = nearest(TRAIN[:300], TRAIN, HELD_OUT)
    assert report.copies
    assert (report.identical, report.median, report.low) == (1.0, 0.0, 0.0)
    assert report.nearer == 1.0
    assert str(report).startswith("The samples copy training rows: ")


def test_training_rows_under_noise_are_copies() -> None:
    report = nearest(TRAIN[:300] + 0.03 * noise((300, 64)), TRAIN, HELD_OUT)
    assert report.copies
    assert report.identical == 0.0
    assert report.excess == 1.0


def test_a_mixture_with_many_copies_is_flagged() -> None:
    report = nearest(np.concatenate([TRAIN[:200] + 0.03 * noise((200, 64)), FRESH[:200]]), TRAIN, HELD_OUT)
    assert report.copies


def test_fresh_rows_are_not_copies() -> None:
    report = nearest(FRESH, TRAIN, HELD_OUT)
    assert not report.copies
    assert report.identical <= 0.01
    assert report.median == pytest.approx(report.median_real, rel=0.1)
    assert report.nearer_expected == 1000 / 1400
    assert str(report).startswith("No sign that the samples copy training rows: ")


def test_average_samples_are_near_but_not_copies() -> None:
    means = np.stack([FRESH[LABELS[1400:] == k].mean(axis=0) for k in range(10)])
    report = nearest(0.6 * FRESH + 0.4 * means[LABELS[1400:]], TRAIN, HELD_OUT)
    assert report.median < 0.9 * report.median_real
    assert not report.copies


def test_a_collapsed_model_beside_one_training_row_is_not_called_copying() -> None:
    report = nearest(np.repeat(TRAIN[:1] + 0.03 * noise((1, 64)), 500, axis=0), TRAIN, HELD_OUT)
    assert report.neighbours == 1
    assert not report.copies


def test_patterns_that_repeat_themselves_are_not_copies() -> None:
    patterns = bars_and_stripes(4)
    train, held_out, samples = (patterns[Stream(3).child(n).integers((300,), 30).numpy()] for n in ("train", "held", "samples"))
    report = nearest(samples, train, held_out)
    assert report.identical > 0.95
    assert report.identical_real > 0.95
    assert not report.copies


def test_distances_by_hand() -> None:
    report = nearest([[0.0], [4.25], [9.0]], train=[[0.0], [2.0]], held_out=[[4.0], [5.0]])
    assert (report.median, report.median_real) == (2.25, 2.5)
    assert report.identical == pytest.approx(1 / 3)
    assert (report.neighbours, report.nearer, report.nearer_expected) == (3, pytest.approx(1 / 3), 0.5)


def test_metrics_stand_beside_the_held_out_rows() -> None:
    report = nearest(FRESH, TRAIN, HELD_OUT)
    median, low, identical, nearer = report.metrics()
    assert (median.value, median.best, median.samples) == (report.median, report.median_real, 397)
    assert (low.best, identical.best, nearer.best) == (report.low_real, report.identical_real, report.nearer_expected)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"samples: expected shape \(rows, 64\)"):
        nearest(FRESH[:, :3], TRAIN, HELD_OUT)
    with pytest.raises(ValueError, match="held_out: expected at least 1 row"):
        nearest(FRESH, TRAIN, HELD_OUT[:0])
    with pytest.raises(ValueError, match="train: 1000 of 1000 rows hold NaN"):
        nearest(FRESH, TRAIN * np.nan, HELD_OUT)
