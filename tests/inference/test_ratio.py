"""Readings of the ratio, where it is known: two normal laws, whose log-ratio is linear."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats

from equilibria.inference.ratio import LinearRatio, fit_ratio

ALARM = 1e-6
N = 20_000
RANDOM = np.random.default_rng(0)
REAL, FAKE = RANDOM.normal(1.0, 1.0, (N, 1)), RANDOM.normal(0.0, 1.0, (N, 1))  # log r = x − ½


def read(reading: LinearRatio, phi: np.ndarray) -> np.ndarray:
    return reading(torch.from_numpy(phi)).numpy()


def information() -> np.ndarray:
    """Fisher information of (slope, intercept) per pair of rows at the truth."""

    def entry(i: int) -> float:
        def weight(x: float) -> float:
            p = special.expit(x - 0.5)
            return (stats.norm.pdf(x, 1) + stats.norm.pdf(x)) * p * (1 - p) * x**i

        return integrate.quad(weight, -8, 9)[0]

    return np.array([[entry(2), entry(1)], [entry(1), entry(0)]])


def test_a_constant_is_found_within_its_error() -> None:
    """The critic's answer is 3 too high; false alarm 1e-6 at the logistic fit's own standard error,
    .012."""
    found = fit_ratio(REAL + 2.5, FAKE + 2.5, "constant")
    error = 1 / math.sqrt(N * information()[1, 1])
    assert found.weights.tolist() == [1.0]
    assert abs(found.bias + 3.0) < stats.norm.isf(ALARM / 2) * error
    residual = (
        special.expit(read(found, FAKE + 2.5)).sum() - special.expit(-read(found, REAL + 2.5)).sum()
    )
    assert abs(residual) < 1e-6, "the logistic intercept: as many real rows in doubt as samples"


def test_an_overconfident_critic_is_scaled_back() -> None:
    """Its answer is 3x + 1 where x − ½ is right."""
    found = fit_ratio(3 * REAL + 1, 3 * FAKE + 1, "scale")
    errors = np.sqrt(np.diag(np.linalg.inv(N * information())))
    slope, intercept = 3 * float(found.weights[0]), float(found.weights[0]) + found.bias
    assert abs(slope - 1) < stats.norm.isf(ALARM / 4) * errors[0]
    assert abs(intercept + 0.5) < stats.norm.isf(ALARM / 4) * errors[1]


def test_a_head_finds_the_ratio_among_features() -> None:
    """Features of any scale and a constant one; the ratio found is within .1 of the truth over four
    standard deviations."""
    mix = np.array([[1.0, 100.0, 0.0], [0.5, -30.0, 0.0]])

    def features(x: np.ndarray, seed: int) -> np.ndarray:
        return np.column_stack([x, np.random.default_rng(seed).normal(size=len(x))]) @ mix + [
            0.0,
            5.0,
            2.0,
        ]

    found = fit_ratio(features(REAL, 1), features(FAKE, 2), "head")
    x = np.linspace(-2, 3, 11)[:, None]
    still = np.column_stack([x, np.zeros(11)]) @ mix + [0.0, 5.0, 2.0]
    assert np.abs(read(found, still) - (x[:, 0] - 0.5)).max() < 0.15
    assert found.on_features


def test_the_formula_is_taken_as_it_is() -> None:
    found = fit_ratio(REAL, FAKE, "formula")
    assert np.array_equal(read(found, REAL), REAL[:, 0])
    assert not found.on_features


def test_rows_that_are_apart_give_a_finite_ratio() -> None:
    for how in ("scale", "head"):
        found = fit_ratio(np.linspace(1, 2, 50)[:, None], np.linspace(-2, -1, 50)[:, None], how)
        assert np.isfinite(read(found, np.array([[0.3]]))).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit_ratio(REAL, FAKE, "guess"), "how='guess': expected 'formula'"),
        (
            lambda: fit_ratio(REAL[:9], FAKE[:9], "scale"),
            "9 and 9 rows: expected as many of each, and 10 or more",
        ),
        (lambda: fit_ratio(REAL, FAKE[:-1], "head"), "expected as many of each"),
        (lambda: fit_ratio(REAL * np.nan, FAKE, "constant"), "not finite"),
    ],
)
def test_what_cannot_be_fitted_is_refused(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_a_reading_is_a_linear_map() -> None:
    assert LinearRatio("head", torch.tensor([1.0, -2.0], dtype=torch.float64), 0.5)(
        torch.tensor([[3.0, 1.0]])
    ).tolist() == [1.5]
