"""What samples are looked at through: named maps, the network trained here, and refusals where
there is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from equilibria.data import load
from equilibria.evaluation.features import PIXELS, Features, as_pictures, network_features
from equilibria.random import Stream

TRAIN, TEST = load("digits"), load("digits", split="test")


@pytest.fixture(scope="module")
def seen() -> Features:
    return network_features(TRAIN.values, TRAIN.labels, TEST.values, TEST.labels, (8, 8), steps=300)


def test_raw_columns_are_the_rows() -> None:
    rows = Stream(0).normal((5, 2, 3))
    assert np.array_equal(PIXELS(rows), rows.reshape(5, 6).numpy().astype(float))
    assert PIXELS.name == "raw columns"


def test_the_network_tells_digits_apart_and_says_so(seen: Features) -> None:
    assert "convolutional" in seen.name
    assert "held-out ones" in seen.name
    values = seen(TEST.values)
    assert values.shape == (360, 64)
    assert values.min() >= 0  # rectified
    centres = np.stack(
        [seen(TRAIN.values)[digit == TRAIN.labels].mean(axis=0) for digit in range(10)]
    )
    nearest = np.square(values[:, None] - centres).sum(axis=2).argmin(axis=1)
    assert (nearest == TEST.labels).mean() > 0.93


def test_the_network_repeats_with_its_seed_and_no_global_generator_moves() -> None:
    arguments = TRAIN.values[:200], TRAIN.labels[:200], TEST.values, TEST.labels
    state = torch.get_rng_state()
    first, again, other = (
        network_features(*arguments, steps=20, random_state=seed)(TEST.values) for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert torch.equal(state, torch.get_rng_state())


def test_a_table_and_a_colour_picture_have_features_too() -> None:
    rows, labels = Stream(0).normal((60, 10 * 9 * 3)).numpy(), np.arange(60) % 2
    rows[labels == 1] += 2
    for shape in (None, (10, 9, 3)):
        features = network_features(rows, labels, rows, labels, shape, steps=40)
        assert features(rows).shape == (60, 64)
        assert ("convolutional" in features.name) == (shape is not None)
        assert "right on 100.0 %" in features.name


def test_colour_is_last_in_a_row_and_first_in_a_picture() -> None:
    row = torch.arange(12.0).reshape(1, 12)
    assert as_pictures(row, (2, 2, 3))[0, 1].tolist() == [[1, 4], [7, 10]]
    assert as_pictures(row, (3, 4)).shape == (1, 1, 3, 4)


def test_bad_input_is_refused() -> None:
    for change, words in [
        ({"y": np.zeros(20)}, "expected rows that vary, of two classes or more, not 1"),
        ({"X": np.ones((20, 4))}, "expected rows that vary"),
        ({"y": np.zeros(3)}, "y: expected one label for each of the 20 rows"),
        ({"X_test": np.full((20, 4), np.nan)}, "X_test: Input contains NaN"),
        ({"shape": (3, 3)}, r"shape=\(3, 3\): rows of X have 4 columns"),
        ({"steps": 0}, "steps=0"),
    ]:
        rows, labels = np.arange(80.0).reshape(20, 4), np.arange(20) % 2
        with pytest.raises(ValueError, match=words):
            network_features(**{"X": rows, "y": labels, "X_test": rows, "y_test": labels, **change})

    def test_features_that_are_not_finite_are_refused() -> None:
        with (
            np.errstate(divide="ignore"),
            pytest.raises(ValueError, match=r"fake: their features \(log\) hold NaN or infinity"),
        ):
            Features("log", np.log)(np.zeros((3, 2)), "fake")
