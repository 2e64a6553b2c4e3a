"""MADE's density against sums over all states, its masks, and its draws against its density.

The statistical test raises a false alarm with probability 1e-6; its seed is fixed.
"""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import Tensor

from equilibria.models.made import MADE
from equilibria.random import Stream
from equilibria.units import Bernoulli, Categorical, Gaussian, Spin, Units

ALARM = 1e-6


def model_of(**units: Units) -> MADE:
    """A model whose weights are large enough that variables depend on each other."""
    model = MADE(units, (12, 9), Stream(3)).double()
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.add_(Stream(5).child(i).normal(tuple(parameter.shape)).double() / 2)
    return model


def states() -> Tensor:
    """Every state of three bits, a variable of three categories and two spins, (96, 8)."""
    bits, spins = torch.cartesian_prod(*[torch.arange(2.0)] * 3), torch.tensor([-1.0, 1.0])
    pairs, groups = torch.cartesian_prod(spins, spins), torch.eye(3)
    rows = [torch.cat([b, g, s]) for b in bits for g in groups for s in pairs]
    return torch.stack(rows).double()


@pytest.fixture
def mixed() -> MADE:
    return model_of(bits=Bernoulli(3), group=Categorical([3]), spins=Spin(2))


@torch.no_grad()
def test_the_density_sums_to_one(mixed: MADE) -> None:
    assert float(mixed.log_prob(states()).exp().sum()) == pytest.approx(1, abs=1e-12)


@torch.no_grad()
def test_draws_follow_the_density(mixed: MADE) -> None:
    rows, n = states(), 20_000
    drawn = mixed.sample(n, Stream(7))
    places = torch.cdist(drawn, rows).argmin(1)
    assert float((drawn - rows[places]).abs().max()) == 0
    expected = n * mixed.log_prob(rows).exp()
    rare = expected < 5  # counted together
    found = torch.bincount(places, minlength=len(rows)).double()
    both = [torch.cat([x[~rare], x[rare].sum()[None]]) for x in (found, expected)]
    assert stats.chisquare(*(x.numpy() for x in both)).pvalue > ALARM


def test_a_field_hears_earlier_variables_alone(mixed: MADE) -> None:
    x = states()[:1].requires_grad_(True)
    rank = torch.empty_like(mixed.order)
    rank[mixed.order] = torch.arange(len(mixed.order))
    for column in range(8):
        (slope,) = torch.autograd.grad(mixed.fields(x)[0, column], x, retain_graph=True)
        heard = slope[0] != 0
        assert (rank[mixed.owner[heard]] < rank[mixed.owner[column]]).all()


@torch.no_grad()
def test_a_real_column_integrates_to_one() -> None:
    model = model_of(bit=Bernoulli(1), real=Gaussian(1, learned=True))
    line = torch.linspace(-40, 40, 40_001).double()
    total = 0.0
    for bit in (0.0, 1.0):
        rows = torch.stack([torch.full_like(line, bit), line], 1)
        total += float(torch.trapezoid(model.log_prob(rows).exp(), line))
    assert total == pytest.approx(1, abs=1e-8)
