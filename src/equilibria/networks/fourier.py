"""Random Fourier features: what lets a small network resolve narrow modes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from equilibria.check import number
from equilibria.random import Stream

__all__ = ["Fourier"]


class Fourier(nn.Module):
    r"""A network that sees, beside its input, random Fourier features of it.

    .. math:: x \mapsto (x, \sin Bx, \cos Bx), \qquad B_{ij} \sim N(0, \text{bandwidth}^2)

    or, with a pair of bandwidths, rows of B in random directions whose lengths are spread evenly in
    their logarithm from one to the other: for data of which nobody knows how fine they are.
    A plain network learns slow variations first and fast ones hardly; with B it sees details of the
    size 1/bandwidth at once (Tancik et al. 2020, "Fourier features let networks learn high
    frequency functions in low dimensional domains"). B is drawn once and not trained.

    Parameters
    ----------
    network : nn.Module
        Called ``network(x, condition)`` with ``size + 2 · features`` columns.
    size, features : int
        Columns of the input, and rows of B.
    bandwidth : float or pair of float
        Standard deviation of B, in radians per unit of the input: about one over the smallest
        detail; or the shortest and the longest row of B.

    Examples
    --------
    >>> from equilibria.networks.mlp import MLP
    >>> network = MLP((2 + 2 * 8, 16, 1), stream=Stream(0))
    >>> critic = Fourier(network, 2, features=8, bandwidth=5.0, stream=Stream(1))
    >>> critic(torch.zeros(4, 2)).shape
    torch.Size([4, 1])
    """

    network: Any
    frequencies: Tensor

    def __init__(
        self,
        network: nn.Module,
        size: int,
        features: int = 64,
        bandwidth: float | tuple[float, float] = 1.0,
        *,
        stream: Stream,
    ):
        super().__init__()
        self.network = network
        frequencies, positive = stream.normal((size, features)), number(0, above=True)
        if isinstance(bandwidth, tuple):
            shortest = positive("bandwidth", bandwidth[0])
            longest = number(shortest)("bandwidth", bandwidth[1])
            lengths = torch.logspace(math.log10(shortest), math.log10(longest), features)
            frequencies = frequencies / frequencies.norm(dim=0) * lengths
        else:
            frequencies.mul_(positive("bandwidth", bandwidth))
        self.register_buffer("frequencies", frequencies)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """The network's answer to ``x`` ``(n, size)`` and its features."""
        return self.network(self.widened(x), condition)

    def features(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """What the network's last layer sees, ``(n, width)``."""
        return self.network.features(self.widened(x), condition)

    def widened(self, x: Tensor) -> Tensor:
        """``x`` with its Fourier features, ``(n, size + 2 · features)``."""
        angle = x @ self.frequencies
        return torch.cat([x, angle.sin(), angle.cos()], dim=1)

    def pullback(self, wide: Tensor, gradient: Tensor) -> Tensor:
        """A function's gradient in x, ``(n, size)``, from its gradient in ``wide = widened(x)``."""
        size, features = self.frequencies.shape
        own, by_sine, by_cosine = gradient.split([size, features, features], 1)
        _, sine, cosine = wide.split([size, features, features], 1)
        return torch.addmm(own, cosine * by_sine - sine * by_cosine, self.frequencies.T)
