"""The invertible generator: there and back, its determinant against autograd's Jacobian, its
density against quadrature."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from equilibria.models.generator import Generator
from equilibria.random import Stream
from research.coupling import Coupling
from research.spline import spline


def shaken(size: int, condition_size: int = 0, layers: int = 5, bins: int = 0) -> Coupling:
    """A flow with weights that are not the initial ones, in float64."""
    flow = Coupling(
        size, (12, 10), layers, condition_size, bins=bins, bound=3.0, stream=Stream(0)
    ).double()
    with torch.no_grad():
        for i, parameter in enumerate(flow.parameters()):
            parameter.add_(0.4 * Stream(1).child(i).normal(parameter.shape, torch.float64))
    return flow


BINS = pytest.mark.parametrize("bins", [0, 2, 7])


@BINS
@pytest.mark.parametrize(("size", "condition_size"), [(2, 0), (5, 0), (4, 3)])
def test_there_and_back(size: int, condition_size: int, bins: int) -> None:
    flow = shaken(size, condition_size, bins=bins)
    z = Stream(2).normal((50, size), torch.float64)
    condition = Stream(3).normal((50, condition_size), torch.float64) if condition_size else None
    x, log_det = flow.transform(z, condition)
    back, inverse_log_det = flow.inverse(x, condition)
    assert float((x - z).detach().abs().mean()) > 0.1
    assert torch.allclose(back, z, atol=1e-10)
    assert torch.allclose(inverse_log_det, -log_det, atol=1e-10)
    assert torch.equal(flow(z, condition), x)


@BINS
@pytest.mark.parametrize("size", [2, 3, 6])
def test_the_determinant_is_that_of_autograds_jacobian(size: int, bins: int) -> None:
    flow = shaken(size, bins=bins)
    z = Stream(2).normal((7, size), torch.float64)
    jacobians = torch.stack(
        [torch.autograd.functional.jacobian(lambda row: flow(row[None])[0], row) for row in z]
    )
    assert torch.allclose(flow.transform(z)[1], torch.linalg.slogdet(jacobians)[1], atol=1e-10)
    assert float(flow.transform(z)[1].detach().abs().max()) > 0.1


@pytest.mark.parametrize(("bins", "reach"), [(0, 40), (5, 8)])
def test_the_density_integrates_to_one_and_is_that_of_its_samples(bins: int, reach: int) -> None:
    """The integral over a fine grid, and the share of 40,000 samples right of a line beside the
    density's (false alarm 1e-6)."""
    flow = shaken(2, layers=3, bins=bins)
    side = torch.linspace(-reach, reach, 1001, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side)
    with torch.no_grad():
        mass = (
            torch.cat([flow.log_density(part).exp() for part in grid.split(250_000)])
            * (2 * reach / 1000) ** 2
        )
        samples = Generator(flow, 2).sample(40_000, Stream(5))
    assert float(mass.sum()) == pytest.approx(1, abs=1e-3)
    centre = float((mass * grid[:, 0]).sum())
    share = float(mass[grid[:, 0] > centre].sum())
    assert (
        abs(float((samples[:, 0] > centre).double().mean()) - share)
        < 4.9 * math.sqrt(0.25 / 40_000) + 0.003
    )


@BINS
def test_it_begins_as_the_identity(bins: int) -> None:
    flow = Coupling(4, bins=bins, stream=Stream(0))
    z = Stream(1).normal((6, 4))
    assert torch.allclose(flow(z), z, atol=1e-5)
    assert np.allclose(
        flow.log_density(z).detach(), torch.distributions.Normal(0, 1).log_prob(z).sum(1), atol=1e-5
    )


def test_every_column_is_moved_and_no_layer_stretches_beyond_the_limit() -> None:
    flow = shaken(5, layers=2)
    with torch.no_grad():
        for layer in flow.layers:
            layer.layers[-1].bias.fill_(100.0)
    z = Stream(1).normal((6, 5), torch.float64)
    x, log_det = flow.transform(z)
    assert (x != z).all()
    assert torch.allclose(log_det, torch.full((6,), 2.0 * 5, dtype=torch.float64), atol=1e-6)


def test_a_spline_rises_and_leaves_the_outside_alone() -> None:
    x = torch.linspace(-5, 5, 2001, dtype=torch.float64)
    parameters = 2 * Stream(3).normal((1, 3 * 6 - 1), torch.float64).expand(2001, -1)
    y, log_slope = spline(x, parameters, bound=3.0)
    assert (y.diff() > 0).all()
    assert torch.equal(y[x.abs() >= 3], x[x.abs() >= 3])
    numerical = (spline(x + 1e-6, parameters, 3.0)[0] - spline(x - 1e-6, parameters, 3.0)[0]) / 2e-6
    smooth = (x.abs() - 3).abs() > 1e-3
    assert torch.allclose(numerical[smooth], log_slope.exp()[smooth], rtol=1e-4, atol=1e-5)
    assert float((log_slope.abs()).max()) > 0.5


def test_impossible_flows_are_refused() -> None:
    for options, message in [
        ({"size": 1}, "size=1, layers=6, condition_size=0: expected at least 2 columns"),
        ({"layers": 1}, "layers=1"),
        ({"limit": 0.0}, "limit=0.0, bins=0, bound=4.0: expected a positive limit"),
        ({"bins": 1}, "bins=1, bound=4.0: expected .* 2 to 500 pieces"),
    ]:
        with pytest.raises(ValueError, match=message):
            Coupling(**{"size": 2, "stream": Stream(0), **options})
