"""The toy distributions against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from equilibria.data import GaussianMixture, bars_and_stripes
from equilibria.random import Stream


def test_ring_has_its_modes_on_a_circle():
    ring = GaussianMixture.ring(modes=8, radius=2.0, std=0.1)
    assert ring.centres.shape == (8, 2)
    assert np.allclose(np.linalg.norm(ring.centres, axis=1), 2.0)
    neighbours = np.linalg.norm(ring.centres - np.roll(ring.centres, 1, axis=0), axis=1)
    assert np.allclose(neighbours, 4.0 * np.sin(np.pi / 8))


def test_grid_is_square_centred_and_spaced():
    grid = GaussianMixture.grid(side=5, spacing=2.0, std=0.05)
    assert sorted(map(tuple, grid.centres.tolist())) == [
        (float(x), float(y)) for x in range(-4, 5, 2) for y in range(-4, 5, 2)
    ]


def test_log_density_is_the_mixture_of_normals():
    mixture = GaussianMixture(np.array([[0.0, 1.0], [2.0, -1.0], [0.5, 0.5]]), 0.7)
    x = np.array([[0.1, 0.2], [2.0, 2.0], [-3.0, 5.0]])
    density = sum(stats.multivariate_normal(centre, 0.49).pdf(x) for centre in mixture.centres) / 3
    assert np.allclose(mixture.log_density(x), np.log(density), atol=1e-12)
    assert np.allclose(mixture.log_density(torch.from_numpy(x)), np.log(density), atol=1e-12)


def test_density_integrates_to_one():
    mixture = GaussianMixture.ring(modes=3, radius=0.5, std=0.4)
    total, _ = integrate.dblquad(
        lambda y, x: np.exp(mixture.log_density(np.array([[x, y]]))[0]), -3, 3, -3, 3, epsabs=1e-4
    )
    assert total == pytest.approx(1.0, abs=1e-3)


def test_log_density_far_away_stays_finite():
    assert np.isfinite(GaussianMixture.ring().log_density(np.array([[100.0, 100.0]]))).all()


def test_samples_follow_the_density():
    grid = GaussianMixture.grid(side=3, spacing=4.0, std=0.2)
    points = grid.sample(20_000, Stream(3))
    assert points.dtype == np.float32
    assert points.shape == (20_000, 2)
    nearest = ((points[:, None] - grid.centres) ** 2).sum(-1).argmin(1)
    counts = np.bincount(nearest, minlength=9)
    assert stats.chisquare(counts).pvalue > 1e-6  # false alarms: 1e-6
    offsets = (points - grid.centres[nearest]) / 0.2
    assert stats.kstest(offsets.ravel(), "norm").pvalue > 1e-6  # false alarms: 1e-6


def test_the_same_stream_gives_the_same_points():
    ring = GaussianMixture.ring()
    assert (ring.sample(50, Stream(1)) == ring.sample(50, Stream(1))).all()
    assert (ring.sample(50, Stream(1)) != ring.sample(50, Stream(2))).any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GaussianMixture.ring(modes=0), "modes=0: expected a whole number"),
        (lambda: GaussianMixture(np.zeros(3), 1.0), r"centres has shape \(3,\)"),
        (
            lambda: GaussianMixture.ring().log_density(np.zeros((4, 3))),
            r"x has shape \(4, 3\): expected \(n, 2\)",
        ),
        (lambda: bars_and_stripes(17), "side=17: expected a whole number, 1 to 16"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_bars_and_stripes_are_all_there_once():
    for side in [1, 2, 3, 4]:
        patterns = bars_and_stripes(side)
        everything = (np.arange(2 ** (side * side))[:, None] >> np.arange(side * side) & 1).reshape(
            -1, side, side
        )
        bars = (everything == everything[:, :1, :]).all((1, 2))
        stripes = (everything == everything[:, :, :1]).all((1, 2))
        expected = {tuple(picture.ravel().tolist()) for picture in everything[bars | stripes]}
        assert len(patterns) == len(expected) == 2 * 2**side - 2
        assert set(map(tuple, patterns.tolist())) == expected
