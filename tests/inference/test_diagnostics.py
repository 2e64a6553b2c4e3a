"""Diagnostics of chains against processes whose answers are known, and against the formulas written
out in loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import signal, stats

from equilibria.inference.diagnostics import (
    autocorrelation,
    autocorrelation_time,
    effective_sample_size,
    frozen,
    r_hat,
)
from exact import Array

SIGMA = 4.9
DRAWS, CHAINS = 20_000, 20


def ar1(phi: float, draws: int = DRAWS, chains: int = CHAINS, seed: int = 0) -> Array:
    """x_n = φ x_{n−1} + √(1 − φ²) ε_n from its stationary law: ρ_t = φᵗ, τ = (1 + φ)/(1 − φ)."""
    noise = np.random.default_rng(seed).normal(size=(draws, chains))
    noise[1:] *= np.sqrt(1 - phi**2)
    return signal.lfilter([1.0], [1.0, -phi], noise, axis=0)


# ------------------------------------------------------------------ autocorrelation


@pytest.mark.parametrize("shape", [(7, 1), (16, 3)])
def test_autocorrelation_is_the_sum_written_out(shape: tuple[int, int]) -> None:
    x = np.random.default_rng(0).normal(size=shape).cumsum(0)
    n, chains = shape
    mean, variance = x.mean(), x.var()
    direct = [
        sum((x[i, m] - mean) * (x[i + t, m] - mean) for m in range(chains) for i in range(n - t))
        / (chains * (n - t) * variance)
        for t in range(n)
    ]
    assert np.abs(autocorrelation(x) - direct).max() < 1e-12
    assert np.array_equal(autocorrelation(torch.from_numpy(x)), autocorrelation(x))


@pytest.mark.parametrize("phi", [-0.3, 0.5, 0.9])
def test_the_time_of_an_autoregressive_process(phi: float) -> None:
    """Within 4.9 standard errors, τ √((4T + 2)/N) by Sokal's formula (a false alarm in 1e-6): at φ
    = 0.9 15 %."""
    tau = (1 + phi) / (1 - phi)
    window = max(5 * tau, 1)
    error = tau * np.sqrt((4 * window + 2) / (DRAWS * CHAINS))
    # what the window cuts off is a share e^(−T/τ_exp) of τ, and below a lag of 1 nothing can be cut
    rest = 2 * abs(phi) ** (np.ceil(window) + 1) / (1 - phi)
    assert abs(autocorrelation_time(ar1(phi)) - tau) < SIGMA * error + rest


def test_stuck_and_constant_chains_have_no_time() -> None:
    assert autocorrelation_time(np.tile([0.0, 1.0], (100, 1))) == np.inf
    assert np.isnan(autocorrelation_time(np.ones((100, 2))))
    assert (
        autocorrelation_time(ar1(0.999, 50, 3)) == np.inf
    )  # far too short for its own time of 2,000


# ------------------------------------------------------------------ effective sample size


@pytest.mark.parametrize("phi", [-0.3, 0.5, 0.9])
def test_the_effective_size_of_an_autoregressive_process(phi: float) -> None:
    """N/τ within 12 %: the ranks' scores of a Gaussian process are that process again."""
    size = effective_sample_size(ar1(phi))
    assert size == pytest.approx(DRAWS * CHAINS * (1 - phi) / (1 + phi), rel=0.12)


def test_ranks_do_not_mind_a_change_of_scale() -> None:
    x = ar1(0.5, 500, 4)
    assert effective_sample_size(np.exp(3 * x)) == effective_sample_size(x)


def test_chains_in_different_places_are_worth_little() -> None:
    x = ar1(0.0, 1000, 4) + 10 * np.arange(4)
    assert effective_sample_size(x) < 20
    assert np.isnan(effective_sample_size(np.ones((10, 2))))


# ------------------------------------------------------------------ R̂


def slow_r_hat(x: Array) -> float:
    """Vehtari et al.'s definition, halves and ranks in loops."""
    half = len(x) // 2
    halves = [x[:half, m] for m in range(x.shape[1])] + [
        x[len(x) - half :, m] for m in range(x.shape[1])
    ]
    flat = np.concatenate(halves)
    results = []
    for values in (flat, np.abs(flat - np.median(flat))):
        ranks = np.array([np.sum(values < v) + (np.sum(values == v) + 1) / 2 for v in values])
        z = stats.norm.ppf((ranks - 3 / 8) / (len(values) + 1 / 4)).reshape(len(halves), half)
        between = half * np.var(z.mean(1), ddof=1)
        within = np.mean(np.var(z, axis=1, ddof=1))
        results.append(np.sqrt(((half - 1) / half * within + between / half) / within))
    return max(results)


@pytest.mark.parametrize("draws", [4, 21])
def test_r_hat_is_the_definition(draws: int) -> None:
    for seed in range(3):
        x = ar1(0.7, draws, 3, seed)
        assert r_hat(x) == pytest.approx(slow_r_hat(x), abs=1e-12)
        assert r_hat(x.round()) == pytest.approx(slow_r_hat(x.round()), abs=1e-12)  # with ties


def test_what_r_hat_sees() -> None:
    x = ar1(0.0, 1000, 4)
    assert r_hat(x) < 1.01
    assert r_hat(x + 0.5 * np.arange(4)) > 1.1  # places
    assert (
        r_hat(x * np.array([1.0, 1.0, 1.0, 3.0])) > 1.05
    )  # widths, which the values alone do not show
    assert (
        r_hat(x + np.linspace(0, 3, 1000)[:, None]) > 1.1
    )  # a drift that all chains share, by the halves
    assert r_hat(np.tile([0.0, 1.0], (10, 1))) == np.inf
    assert np.isnan(r_hat(np.ones((10, 3))))
    two_values = np.random.default_rng(0).integers(0, 2, (1000, 4)).astype(float)
    assert r_hat(two_values) < 1.01


def test_copies_of_one_chain_look_mixed() -> None:
    """No number computed from chains can show that they have met everything: identical chains that
    move well have R̂ ≈ 1."""
    assert r_hat(np.tile(ar1(0.0, 1000, 1), (1, 4))) < 1.01


# ------------------------------------------------------------------ frozen


def test_frozen_chains() -> None:
    history = np.random.default_rng(0).integers(0, 2, (30, 8, 5))
    assert frozen(history) == 0.0
    history[:, [1, 4]] = history[:1, [1, 4]]
    assert frozen(history) == 0.25
    history[-1, 1, 3] = 1 - history[-1, 1, 3]  # one cell, once, is a move
    assert frozen(history) == 0.125
    assert frozen(torch.zeros(3, 4)) == 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: autocorrelation(np.zeros((2, 2, 2))), r"\(draws, chains\) with at least 2 draws"),
        (lambda: r_hat([1.0, 2.0, 3.0]), "at least 4 draws"),
        (lambda: effective_sample_size([[1.0], [np.nan], [0.0], [0.0]]), "finite numbers"),
    ],
)
def test_refusals(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
