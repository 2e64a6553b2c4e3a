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
    bandwidth : float
        Standard deviation of B, in radians per unit of the input: about one over the smallest detail.
    stream : Stream
        Where B comes from.

    Raises
    ------
    ValueError
        For numbers that are not positive.

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

    def __init__(self, network: nn.Module, size: int, features: int = 64, bandwidth: float = 1.0, *, stream: Stream):
        super().__init__()
        if min(size, features) < 1 or not (math.isfinite(bandwidth) and bandwidth > 0):
            raise ValueError(f"size={size!r}, features={features!r}, bandwidth={bandwidth!r}: expected positive numbers")
        self.network = network
        self.register_buffer("frequencies", stream.normal((size, features)).mul_(bandwidth))

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
