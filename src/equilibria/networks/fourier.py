"""Random Fourier features: what lets a small network resolve narrow modes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from equilibria.random import Stream

__all__ = ["Fourier"]


class Fourier(nn.Module):
    r"""A network that sees, beside its input, sines and cosines of random projections of it.

    .. math:: x \mapsto (x, \sin Bx, \cos Bx), \qquad B_{ij} \sim N(0, \text{bandwidth}^2)

    or, with a pair of bandwidths, rows of B in random directions whose lengths are spread evenly in their logarithm from one to the other:
    for data of which nobody knows how fine they are.

    A plain network learns slow variations first and fast ones hardly; with B it sees details of the size 1/bandwidth at once. B is drawn
    once and not trained.

    Parameters
    ----------
    network : nn.Module
        Called ``network(x, condition)`` with ``size + 2 · features`` columns.
    size : int
        Columns of the input.
    features : int
        Rows of B.
    bandwidth : float or pair of float
        Standard deviation of B, in radians per unit of the input: about one over the smallest detail; or the shortest and the longest row
        of B.
    stream : Stream
        Where B comes from.

    Raises
    ------
    ValueError
        For numbers that are not positive, or a pair that falls.

    References
    ----------
    Tancik et al. 2020, "Fourier features let networks learn high frequency functions in low dimensional domains".

    Examples
    --------
    >>> from equilibria.networks.mlp import MLP
    >>> critic = Fourier(MLP((2 + 2 * 8, 16, 1), stream=Stream(0)), 2, features=8, bandwidth=5.0, stream=Stream(1))
    >>> critic(torch.zeros(4, 2)).shape
    torch.Size([4, 1])
    """

    frequencies: Tensor

    def __init__(self, network: nn.Module, size: int, features: int = 64, bandwidth: float | tuple[float, float] = 1.0, *, stream: Stream):
        super().__init__()
        shortest, longest = bandwidth if isinstance(bandwidth, tuple) else (bandwidth, bandwidth)
        if min(size, features) < 1 or not 0 < shortest <= longest < math.inf:
            came = f"size={size!r}, features={features!r}, bandwidth={bandwidth!r}"
            raise ValueError(f"{came}: expected positive numbers, of a pair the smaller one first")
        self.network = network
        waves = stream.normal((size, features))
        if isinstance(bandwidth, tuple):
            lengths = torch.logspace(math.log10(shortest), math.log10(longest), features)
            waves = waves / waves.norm(dim=0) * lengths
        else:
            waves.mul_(bandwidth)
        self.register_buffer("frequencies", waves)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """The network's answer to the wider ``x`` ``(n, size)``."""
        answer: Tensor = self.network(self.wider(x), condition)
        return answer

    def features(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """What the network's last layer sees, ``(n, width)``."""
        inner: Any = self.network.features
        features: Tensor = inner(self.wider(x), condition)
        return features

    def wider(self, x: Tensor) -> Tensor:
        """``x`` with its waves, ``(n, size + 2 · features)``."""
        angle = x @ self.frequencies
        return torch.cat([x, angle.sin(), angle.cos()], dim=1)

    def pulled_back(self, wide: Tensor, slopes: Tensor) -> Tensor:
        """A function's slopes in x, ``(n, size)``, from those in ``wider(x)``, ``(n, size + 2 · features)``: linear in these."""
        size, features = self.frequencies.shape
        own, by_sine, by_cosine = slopes.split([size, features, features], 1)
        _, sine, cosine = wide.split([size, features, features], 1)
        return torch.addmm(own, cosine * by_sine - sine * by_cosine, self.frequencies.T)
