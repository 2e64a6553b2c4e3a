"""The generator backwards, where the answer is known: linear maps (least squares), an invertible
flow, coins, a condition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from equilibria.inference.inversion import interpolate, invert
from equilibria.models.generator import Generator
from equilibria.networks.mlp import MLP
from equilibria.random import Stream
from research.coupling import Coupling


def linear(prior: str = "normal", latent_dim: int = 3, size: int = 7) -> Generator:
    return Generator(
        MLP((latent_dim, size), stream=Stream(1)).double().requires_grad_(False), latent_dim, prior
    )


@pytest.mark.parametrize("prior", ["normal", "uniform", "mixed"])
def test_codes_of_a_linear_generator_are_recovered(prior: str) -> None:
    generator = linear(prior)
    z = generator.noise(20, Stream(2))
    found = invert(generator, generator(z), Stream(3))
    assert torch.allclose(found.noise, z, atol=1e-5)
    assert float(found.residuals.max()) < 1e-9
    assert float(found.spread.max()) < 1e-2


def test_of_other_rows_the_code_is_the_least_squares_one() -> None:
    """‖W z + b − x‖² + w ‖z‖² is least at (WᵀW + w)⁻¹ Wᵀ (x − b)."""
    generator, x = linear(), 2 * Stream(5).normal((15, 7), torch.float64)
    weights, bias = (
        generator.network.layers[0].weight.numpy(),
        generator.network.layers[0].bias.numpy(),
    )
    for weight in (0.0, 0.7):
        truth = np.linalg.solve(
            weights.T @ weights + weight * np.eye(3), weights.T @ (x.numpy() - bias).T
        ).T
        found = invert(generator, x, Stream(3), weight=weight)
        assert np.abs(found.noise.numpy() - truth).max() < 1e-4
        residuals = np.square(truth @ weights.T + bias - x.numpy()).sum(1)
        assert np.allclose(found.residuals.numpy(), residuals, rtol=1e-6)


def test_codes_of_an_invertible_generator_are_its_inverse() -> None:
    flow = Coupling(4, (16,), 4, stream=Stream(0)).double()
    with torch.no_grad():
        for i, parameter in enumerate(flow.parameters()):
            parameter.add_(0.3 * Stream(1).child(i).normal(parameter.shape, torch.float64))
    generator = Generator(flow.requires_grad_(False), 4)
    x = generator.sample(30, Stream(2))
    found = invert(generator, x, Stream(3), starts=4, polish=400)
    assert torch.allclose(found.noise, flow.inverse(x)[0], atol=1e-4)
    assert float(found.residuals.max()) < 1e-8


class Switched(nn.Module):
    """x = z₁ + 10 · (what two coins say): only the right coins come near with a z₁ that stays
    small."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, dtype=torch.float64))

    def forward(self, z: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        place = torch.stack([10 * z[:, 2], 10 * z[:, 3] + 0.5 * z[:, 2]], 1)
        return self.scale * (place + z[:, :2].tanh())


def test_coins_are_those_of_the_best_start() -> None:
    generator = Generator(Switched(), 4, "mixed")
    z = generator.noise(40, Stream(0))
    found = invert(generator, generator(z).detach(), Stream(1), starts=4, steps=200)
    assert torch.equal(found.noise[:, 2:], z[:, 2:])
    assert float(found.residuals.max()) < 1e-6


def test_a_condition_goes_with_its_row() -> None:
    generator = Generator(
        MLP((2 + 3, 8, 6), activation="tanh", stream=Stream(0)).double().requires_grad_(False), 2
    )
    z, condition = (
        Stream(1).normal((10, 2), torch.float64),
        Stream(2).normal((10, 3), torch.float64),
    )
    found = invert(generator, generator(z, condition), Stream(3), condition=condition)
    assert float(found.residuals.max()) < 1e-8
    assert torch.allclose(found.noise, z, atol=1e-3)


def test_several_codes_that_are_as_good_show() -> None:
    class Even(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(1, dtype=torch.float64), requires_grad=False)

        def forward(self, z: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
            return z**2 + self.shift

    found = invert(
        Generator(Even(), 1), torch.full((30, 1), 1.0, dtype=torch.float64), Stream(0), starts=16
    )
    assert torch.allclose(found.noise.abs(), torch.ones(30, 1, dtype=torch.float64), atol=1e-4)
    assert float(found.spread.min()) > 0.4, "of 16 starts at least one is on the other side of 0"


def test_uniform_codes_stay_inside() -> None:
    generator = linear("uniform")
    far = generator(torch.full((3, 3), 5.0, dtype=torch.float64))
    found = invert(generator, far, Stream(0))
    assert float(found.noise.abs().max()) <= 1
    assert float(found.residuals.min()) > 1


def test_nothing_is_left_changed() -> None:
    generator = linear().train()
    generator.network.requires_grad_(True)
    invert(generator, torch.zeros(2, 7, dtype=torch.float64), Stream(0), steps=2, polish=0)
    assert generator.training
    assert all(p.grad is None and p.requires_grad for p in generator.parameters())


def test_the_way_between_two_codes() -> None:
    normal, mixed, uniform = (linear(prior, 4) for prior in ("normal", "mixed", "uniform"))
    a = torch.tensor([1.0, 0.0, 1.0, -1.0], dtype=torch.float64)
    b = torch.tensor([0.0, 3.0, 1.0, 1.0], dtype=torch.float64)
    way = interpolate(a, b, 5, normal)
    assert torch.allclose(way[0], a)
    assert torch.allclose(way[-1], b)
    lengths = torch.linspace(float(a.norm()), float(b.norm()), 5, dtype=torch.float64)
    assert torch.allclose(way.norm(dim=1), lengths)
    angles = torch.arccos(
        (way[1:] * way[:-1]).sum(1) / (way[1:].norm(dim=1) * way[:-1].norm(dim=1))
    )
    assert torch.allclose(angles, angles[:1].expand(4), atol=1e-9)
    assert torch.allclose(interpolate(a, b, 3, uniform)[1], (a + b) / 2)
    coins = interpolate(a, b, 5, mixed)[:, 2:]
    assert coins.tolist() == [[1, -1], [1, -1], [1, 1], [1, 1], [1, 1]]
    assert torch.allclose(interpolate(a, 2 * a, 3, normal)[1], 1.5 * a)
    assert torch.allclose(interpolate(a, -a, 3, normal)[1], torch.zeros(4, dtype=torch.float64))
    assert torch.allclose(interpolate(0 * a, b, 3, normal)[1], b / 2)


def test_what_cannot_be_done_is_refused() -> None:
    with pytest.raises(ValueError, match="starts=0"):
        invert(linear(), torch.zeros(2, 7), Stream(0), starts=0)
