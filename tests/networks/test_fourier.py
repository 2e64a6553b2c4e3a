"""Random Fourier features: what the network is given, and what it can then resolve."""

from __future__ import annotations

import pytest
import torch

from equilibria.networks.fourier import Fourier
from equilibria.networks.mlp import MLP
from equilibria.random import Stream


def test_the_network_sees_the_input_and_its_fourier_features() -> None:
    features = Fourier(torch.nn.Identity(), 3, features=5, bandwidth=2.0, stream=Stream(0))
    x = Stream(1).normal((4, 3))
    wide = features.widened(x)
    assert torch.equal(wide[:, :3], x)
    assert torch.allclose(wide[:, 3:8], torch.sin(x @ features.frequencies))
    assert torch.allclose(wide[:, 3:8] ** 2 + wide[:, 8:] ** 2, torch.ones(4, 5), atol=1e-6)
    assert torch.equal(features.frequencies, 2 * Stream(0).normal((3, 5)))
    assert not list(features.parameters()), "the frequencies are not trained"
    assert set(features.state_dict()) == {"frequencies"}


def test_the_mean_over_frequencies_is_the_gaussian_kernel() -> None:
    """E[cos(b · (x − y))] = exp(−bandwidth² |x − y|²/2): 20,000 frequencies are within 4.9 standard
    errors, ·2^−½/√20,000."""
    features = Fourier(torch.nn.Identity(), 2, features=20_000, bandwidth=3.0, stream=Stream(0))
    x, y = torch.tensor([[0.1, 0.2]]), torch.tensor([[0.3, 0.0]])
    found = [features.widened(point)[:, 2:] for point in (x, y)]
    found = float((found[0] * found[1]).sum()) / 20_000
    assert abs(found - float(torch.exp(-9 * ((x - y) ** 2).sum() / 2))) < 4.9 * 0.71 / 20_000**0.5


def test_a_condition_is_handed_on() -> None:
    critic = Fourier(MLP((2 + 8 + 3, 6, 1), stream=Stream(0)), 2, features=4, stream=Stream(1))
    assert critic(torch.zeros(5, 2), torch.zeros(5, 3)).shape == (5, 1)


def test_a_pair_of_bandwidths_spreads_the_lengths_evenly_in_their_logarithm() -> None:
    found = Fourier(
        torch.nn.Identity(), 3, features=5, bandwidth=(1.0, 16.0), stream=Stream(0)
    ).frequencies
    assert torch.allclose(found.norm(dim=0), torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0]))
    plain = Stream(0).normal((3, 5))
    assert torch.allclose(found / found.norm(dim=0), plain / plain.norm(dim=0))


def test_impossible_bandwidths_are_refused() -> None:
    for bandwidth in (0.0, (2.0, 1.0)):
        with pytest.raises(ValueError, match="bandwidth="):
            Fourier(torch.nn.Identity(), 2, bandwidth=bandwidth, stream=Stream(0))
