"""The Langevin kernel: its Metropolis odds against densities that are written out, and Geweke's
test, which is in ``refinements.py``."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Normal

from equilibria.inference.langevin import Walk, bounded, langevin, unbounded
from equilibria.random import Stream
from refinements import (
    ALARM,
    ROWS,
    langevin_coins,
    langevin_mixed,
    langevin_moves,
    langevin_uniform,
    normal,
    two_bumps,
)


@pytest.mark.parametrize("size", [0.05, 1.0])
def test_the_odds_are_those_of_target_and_proposal(size: float) -> None:
    """log of π(v) q(u | v) / π(u) q(v | u) with every density written out."""
    walk = Walk(two_bumps, torch.zeros(1, 1, dtype=torch.float64), None, False, 200)
    u, v = normal(200, Stream(0)), normal(200, Stream(1))
    here, there = walk.at(u), walk.at(v)

    def slope(x: torch.Tensor, h: float = 1e-6) -> torch.Tensor:
        return ((two_bumps(x + h) - two_bumps(x - h)) / (2 * h))[:, None]

    def joint(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        a = math.sqrt(1 - size**2)
        proposal = Normal(a * x + (1 - a) * slope(x), size).log_prob(y)
        return Normal(0.0, 1.0).log_prob(x[:, 0]) + two_bumps(x) + proposal[:, 0]

    odds = walk.log_odds(here, there, size)
    assert torch.allclose(odds, joint(v, u) - joint(u, v), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("step", [0.15, 1.0])
def test_moves_leave_a_known_target_as_it_is(step: float) -> None:
    langevin_moves(step)


def test_a_uniform_prior_is_moved_in_normal_coordinates() -> None:
    langevin_uniform()


def test_the_way_to_normal_coordinates_and_back() -> None:
    z = torch.linspace(-0.999, 0.999, 101, dtype=torch.float64)
    assert torch.allclose(bounded(unbounded(z)), z, atol=1e-12)
    assert torch.isfinite(unbounded(torch.tensor([-1.0, 1.0]))).all()
    u = normal(ROWS, Stream(0))[:, 0]
    assert stats.kstest(bounded(u).numpy(), "uniform", (-1, 2)).pvalue > ALARM


def test_coins_and_columns_together_keep_their_joint_law() -> None:
    langevin_mixed()


def test_coins_alone_are_flipped_to_their_law() -> None:
    langevin_coins()


def test_the_burn_in_finds_the_step_and_the_target() -> None:
    """A target of width .02 at z = 2, seventy times narrower than the first step allows."""
    weight = lambda z, rows: -((z[:, 0] - 2) ** 2) / (2 * 0.02**2)  # noqa: E731
    found = langevin(normal, weight, 2000, Stream(7), burn_in=300, steps=50, step=1.0)
    precision = 1 + 1 / 0.02**2
    centre, deviation = 2 / 0.02**2 / precision, 1 / math.sqrt(precision)
    assert stats.kstest(found.noise[:, 0].numpy(), "norm", (centre, deviation)).pvalue > ALARM
    assert 0.45 < found.acceptance < 0.7
    assert found.step < 0.1
    assert not found.short.any()
    assert found.ess > 5


def test_where_the_ratio_is_flat_every_step_is_taken() -> None:
    prior = lambda n, stream: stream.normal((n, 50))  # noqa: E731
    found = langevin(
        prior, lambda z, rows: 0 * z.sum(1), 200, Stream(0), burn_in=0, steps=5, step=0.9
    )
    assert found.acceptance == 1.0
    assert stats.kstest(found.noise.flatten().numpy(), "norm").pvalue > ALARM


def test_chains_enter_where_there_are_data_and_stay() -> None:
    """r = 0 below 0: half a normal distribution."""
    weight = lambda z, rows: torch.where(z[:, 0] > 0, 0.0, -math.inf) + 0 * z[:, 0]  # noqa: E731
    start = -normal(5000, Stream(1)).abs()
    found = langevin(normal, weight, 5000, Stream(2), start=start, burn_in=0, steps=25, step=0.8)
    assert float((found.noise > 0).double().mean()) > 0.999
    assert stats.kstest(found.noise[found.noise > 0].numpy(), "halfnorm").pvalue > ALARM


def test_a_generator_moves_as_its_data_say() -> None:
    """x = z³ + z with data N(1, .3²): log r by the exact p_g."""

    def weight(z: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        x = z[:, 0] ** 3 + z[:, 0]
        log_g = Normal(0.0, 1.0).log_prob(z[:, 0]) - (3 * z[:, 0] ** 2 + 1).log()
        return Normal(1.0, 0.3).log_prob(x) - log_g

    found = langevin(normal, weight, 4000, Stream(8))
    x = found.noise[:, 0] ** 3 + found.noise[:, 0]
    assert stats.kstest(x.numpy(), "norm", (1.0, 0.3)).pvalue > ALARM


def test_the_burn_in_does_not_gather_chains_where_steps_are_short() -> None:
    """Half the mass in a bump of width .03, inside one of width 1: chains that each had a step of
    their own would end in the narrow one."""

    def weight(z: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return torch.logaddexp(
            Normal(0.5, 0.03).log_prob(z[:, 0]), Normal(0.0, 1.0).log_prob(z[:, 0])
        ) - Normal(0.0, 1.0).log_prob(z[:, 0])

    generator = np.random.default_rng(3)
    start = np.where(
        generator.random(20_000) < 0.5,
        generator.normal(0.5, 0.03, 20_000),
        generator.normal(size=20_000),
    )[:, None]
    found = langevin(
        normal,
        weight,
        20_000,
        Stream(9),
        start=torch.from_numpy(start),
        burn_in=60,
        steps=5,
        step=0.7,
    )
    law = lambda z: stats.norm.cdf(z, 0.5, 0.03) / 2 + stats.norm.cdf(z) / 2  # noqa: E731
    assert stats.kstest(found.noise[:, 0].numpy(), law).pvalue > ALARM


def test_but_for_the_step_size_a_row_does_not_depend_on_the_others() -> None:
    few, many = (
        langevin(normal, two_bumps, n, Stream(1), burn_in=0, steps=5).noise for n in (20, 60)
    )
    assert torch.equal(few, many[:20])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step": 0.0}, "step=0.0: expected a finite number above 0"),
        ({"steps": 0}, "steps=0"),
        ({"start": 0}, "start=0"),
    ],
)
def test_what_cannot_be_done_is_refused(options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        langevin(normal, two_bumps, 5, Stream(0), **options)


def test_noise_that_is_no_table_is_refused() -> None:
    with pytest.raises(ValueError, match="Langevin moves need one axis of columns"):
        langevin(
            lambda n, stream: stream.normal((n, 2, 2)), lambda z, rows: z.sum((1, 2)), 5, Stream(0)
        )
