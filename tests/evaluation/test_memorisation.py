"""Memorisation is found in training rows, near or exact; not in fresh, average or collapsed
rows."""

from __future__ import annotations

import numpy as np
import pytest

from equilibria.data import bars_and_stripes, load
from equilibria.evaluation import memorisation
from equilibria.random import Stream

DIGITS = load("digits", split="all")
ORDER = Stream(1).permutation(1797).numpy()
ROWS, LABELS = DIGITS.values[ORDER] / 16, DIGITS.labels[ORDER]
TRAIN, HELD_OUT, FRESH = ROWS[:1000], ROWS[1000:1400], ROWS[1400:]
SAME = "samples that are a training row"
MEDIAN, LOW = (
    f"{name} of the distance to the nearest training row" for name in ("median", "1 % quantile")
)


def noise(shape: tuple[int, ...]) -> np.ndarray:
    return Stream(2).normal(shape).numpy()


def test_training_rows_are_copies() -> None:
    found = memorisation(TRAIN[:300], TRAIN, HELD_OUT)
    assert found.warning == "The samples copy training rows."
    assert [found[name].value for name in (SAME, MEDIAN, LOW)] == [1.0, 0.0, 0.0]
    assert (found.value, found.note) == (1.0, "")


def test_training_rows_in_single_precision_are_copies() -> None:
    greys = Stream(5).integers((300, 20), 256).numpy() / 255
    found = memorisation(greys[:100].astype(np.float32), greys[:200], greys[200:])
    assert found[SAME].value == 1.0


def test_training_rows_under_noise_are_copies() -> None:
    found = memorisation(TRAIN[:300] + 0.03 * noise((300, 64)), TRAIN, HELD_OUT)
    assert found.warning
    assert (found[SAME].value, found.value) == (0.0, 1.0)


def test_a_mixture_with_many_copies_is_found() -> None:
    samples = np.concatenate([TRAIN[:200] + 0.03 * noise((200, 64)), FRESH[:200]])
    assert memorisation(samples, TRAIN, HELD_OUT).warning


def test_fresh_rows_are_not_copies() -> None:
    found = memorisation(FRESH, TRAIN, HELD_OUT)
    assert (found.warning, found.note) == ("", "No sign that the samples copy training rows.")
    assert found[SAME].value <= 0.01
    assert found[MEDIAN].value == pytest.approx(found[MEDIAN].ideal, rel=0.1)
    assert found.ideal == 1000 / 1400
    assert found.low <= found.value <= found.high


def test_average_samples_are_near_but_not_copies() -> None:
    means = np.stack([FRESH[LABELS[1400:] == k].mean(axis=0) for k in range(10)])
    found = memorisation(0.6 * FRESH + 0.4 * means[LABELS[1400:]], TRAIN, HELD_OUT)
    assert found[MEDIAN].value < 0.9 * found[MEDIAN].ideal
    assert not found.warning


def test_a_collapsed_model_beside_one_training_row_is_not_called_copying() -> None:
    samples = np.repeat(TRAIN[:1] + 0.03 * noise((1, 64)), 500, axis=0)
    found = memorisation(samples, TRAIN, HELD_OUT)
    assert (found.n, found.warning) == (1, "")


def test_patterns_that_repeat_themselves_are_not_copies() -> None:
    patterns = bars_and_stripes(4)
    samples, train, held_out = (
        patterns[Stream(3).child(name).integers((300,), 30).numpy()]
        for name in ("samples", "train", "held")
    )
    found = memorisation(samples, train, held_out)
    assert found[SAME].value > 0.95
    assert found[SAME].ideal > 0.95
    assert not found.warning


def test_distances_by_hand() -> None:
    found = memorisation([[0.0], [4.25], [9.0]], train=[[0.0], [2.0]], held_out=[[4.0], [5.0]])
    assert (found[MEDIAN].value, found[MEDIAN].ideal) == (2.25, 2.5)
    assert found[SAME].value == pytest.approx(1 / 3)
    assert (found.n, found.value, found.ideal) == (3, pytest.approx(1 / 3), 0.5)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"samples: expected shape \(rows, 64\)"):
        memorisation(FRESH[:, :3], TRAIN, HELD_OUT)
    with pytest.raises(ValueError, match=r"held_out: .*a minimum of 1 is required"):
        memorisation(FRESH, TRAIN, HELD_OUT[:0])
