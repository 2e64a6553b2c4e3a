"""The implicit model: its noise and its samples."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from equilibria.models import generator as module
from equilibria.models.generator import Generator
from equilibria.networks.mlp import MLP
from equilibria.random import Stream


class Echo(nn.Module):
    """Gives back the noise with the condition beside it; refuses training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, dtype=torch.float64))

    def forward(self, z: Tensor, condition: Tensor | None) -> Tensor:
        assert not self.training
        return self.scale * (z if condition is None else torch.cat([z, condition], dim=1))


def test_samples_do_not_depend_on_the_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model, condition = (
        Generator(Echo(), latent_dim=3),
        torch.arange(20, dtype=torch.float64).reshape(10, 2),
    )
    whole = model.sample(10, Stream(0), condition)
    assert torch.equal(whole[:, :3], model.noise(10, Stream(0)))
    assert torch.equal(whole[:, 3:], condition)
    monkeypatch.setattr(module, "_CHUNK", 4)
    assert torch.equal(model.sample(10, Stream(0), condition), whole)
    assert torch.equal(model.sample(6, Stream(0).rows(4), condition[4:]), whole[4:])


def test_sampling_needs_no_gradient_and_restores_the_modes() -> None:
    model = Generator(nn.Sequential(Echo()), latent_dim=3)
    model.network = Echo().eval()
    assert model.training
    assert not model.sample(2, Stream(0)).requires_grad
    assert model.training
    assert not model.network.training


def test_mixed_noise_is_normal_and_then_coins() -> None:
    model = Generator(MLP((5, 1), stream=Stream(0)), latent_dim=5, prior="mixed")
    noise = model.noise(50_000, Stream(1))
    assert model.continuous.tolist() == [True, True, True, False, False]
    coins, normal = noise[:, 3:], noise[:, :3]
    assert set(coins.unique().tolist()) == {-1.0, 1.0}
    # 5 standard errors: false alarm below 1e-6 each; the columns are independent, so their products
    # have mean 0 and variance 1
    assert abs(coins.mean().item()) < 5 / 100_000**0.5
    assert abs((coins[:, 0] * coins[:, 1]).mean().item()) < 5 / 50_000**0.5
    assert abs(normal.var().item() - 1) < 5 * (2 / 150_000) ** 0.5
    assert torch.equal(
        normal, Generator(model.network, latent_dim=5).noise(50_000, Stream(1))[:, :3]
    )


@pytest.mark.parametrize("prior", ["normal", "uniform"])
def test_the_noise_has_the_priors_moments(prior: str) -> None:
    model = Generator(MLP((2, 1), stream=Stream(0)), latent_dim=2, prior=prior)
    noise = model.noise(50_000, Stream(1))
    assert noise.dtype == torch.float32
    variance, kurtosis = {"normal": (1.0, 3.0), "uniform": (1 / 3, 1.8)}[prior]
    # 5 standard errors over 100,000 cells: false alarm below 1e-6 each
    assert abs(noise.mean().item()) < 5 * (variance / 100_000) ** 0.5
    assert abs(noise.var().item() / variance - 1) < 5 * ((kurtosis - 1) / 100_000) ** 0.5
    if prior == "uniform":
        assert -1 <= noise.min() < noise.max() < 1


def test_an_unknown_prior_is_named() -> None:
    with pytest.raises(ValueError, match="prior='cauchy'"):
        Generator(Echo(), latent_dim=1, prior="cauchy")
