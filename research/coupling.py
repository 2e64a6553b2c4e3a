r"""An invertible generator: coupling layers, whose density is known exactly.

Every layer keeps one half of the columns and moves each of the other by a rising curve that the
kept half decides,

.. math:: x_b = c(z_b; \theta(z_a)), \qquad x_a = z_a,
          \qquad \log|\det| = \sum \log c'(z_b; \theta(z_a)),

and the halves take turns. The curve is a line, e^s z + t (Real NVP), or a spline, which can make
several modes of one. Sampling and inversion cost the same. As a GAN's generator it is ordinary but
for one thing: p_g is known, and with it the true log p_data/p_g, so what a critic says of it can be
checked (Grover, Dhar & Ermon 2018, "Flow-GAN").
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from equilibria.networks.mlp import MLP
from equilibria.random import Stream
from research.spline import spline

__all__ = ["Coupling"]


class Coupling(nn.Module):
    r"""Noise to data and back, ``(n, size)`` both, with log p_g.

    log p_g(x) = log N(z; 0, I) − log|det ∂x/∂z| at z = inverse(x). It begins as the identity: the
    last weights are 0.

    Parameters
    ----------
    size : int
        Columns, at least 2.
    hidden : sequence of int
        Widths of the tanh networks for θ, one for each layer.
    layers : int
        Couplings; at least 2, so that every column is moved.
    condition_size : int
        Columns of the condition; 0 for none.
    limit : float
        Of lines: s = limit · tanh(· / limit), so that no layer stretches by more than e^limit.
    bins : int
        Pieces of the spline; 0 for lines.
    bound : float
        The spline is the identity outside [−bound, bound].
    stream : Stream
        Where the initial weights come from.

    References
    ----------
    Dinh, Sohl-Dickstein & Bengio 2017, "Density estimation using Real NVP"; Durkan et al. 2019,
    "Neural spline flows".

    Examples
    --------
    >>> flow = Coupling(3, stream=Stream(0))
    >>> z = Stream(1).normal((4, 3))
    >>> back, log_det = flow.inverse(flow(z))
    >>> bool(torch.allclose(back, z, atol=1e-5)), log_det.shape
    (True, torch.Size([4]))
    """

    def __init__(
        self,
        size: int,
        hidden: Sequence[int] = (64, 64),
        layers: int = 6,
        condition_size: int = 0,
        limit: float = 2.0,
        bins: int = 0,
        bound: float = 4.0,
        *,
        stream: Stream,
    ):
        super().__init__()
        if size < 2 or layers < 2 or condition_size < 0:
            given = f"size={size!r}, layers={layers!r}, condition_size={condition_size!r}"
            raise ValueError(
                f"{given}: expected at least 2 columns, 2 layers, and no negative number"
            )
        if (
            not (math.isfinite(limit) and limit > 0 and math.isfinite(bound) and bound > 0)
            or not 0 <= bins <= 500
            or bins == 1
        ):
            given = f"limit={limit!r}, bins={bins!r}, bound={bound!r}"
            raise ValueError(
                f"{given}: expected a positive limit and bound, and 2 to 500 pieces of a spline, "
                "or 0 for lines"
            )
        self.size, self.limit, self.bins, self.bound = (
            int(size),
            float(limit),
            int(bins),
            float(bound),
        )
        self.parts = [_halves(self.size, first=i % 2 == 0) for i in range(layers)]
        each = 3 * bins - 1 if bins else 2
        self.layers = nn.ModuleList(
            MLP(
                [len(kept) + condition_size, *hidden, each * len(moved)],
                "tanh",
                stream=stream.child("layer", i),
            )
            for i, (kept, moved) in enumerate(self.parts)
        )
        for network in self.layers:
            assert isinstance(network, MLP)
            nn.init.zeros_(list(network.parameters())[-2])

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Data for noise."""
        return self.transform(z, condition)[0]

    def transform(self, z: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Data for noise, and log|det ∂x/∂z| ``(n,)``."""
        x, log_det = z, z.new_zeros(len(z))
        for layer, (kept, moved) in zip(self.layers, self.parts, strict=True):
            y, log_slope = self._curve(x[:, moved], layer(x[:, kept], condition), inverse=False)
            x, log_det = x.index_copy(1, _index(moved, x), y), log_det + log_slope.sum(1)
        return x, log_det

    def inverse(self, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Noise for data, and log|det ∂z/∂x| ``(n,)``: minus that of the way out."""
        z, log_det = x, x.new_zeros(len(x))
        for layer, (kept, moved) in zip(reversed(self.layers), reversed(self.parts), strict=True):
            y, log_slope = self._curve(z[:, moved], layer(z[:, kept], condition), inverse=True)
            z, log_det = z.index_copy(1, _index(moved, z), y), log_det + log_slope.sum(1)
        return z, log_det

    def log_density(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """log p_g(x) in nats where the noise is N(0, I), ``(n,)``."""
        z, log_det = self.inverse(x, condition)
        return log_det - (z**2).sum(1) / 2 - self.size / 2 * math.log(2 * math.pi)

    def _curve(self, x: Tensor, parameters: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        """The curve's value and the logarithm of its slope, both ``(n, columns)``."""
        if self.bins:
            return spline(x, parameters.view(*x.shape, -1), self.bound, inverse)
        scale, shift = parameters.chunk(2, dim=1)
        scale = self.limit * torch.tanh(scale / self.limit)
        return (
            ((x - shift) * (-scale).exp(), -scale) if inverse else (x * scale.exp() + shift, scale)
        )


def _halves(size: int, first: bool) -> tuple[list[int], list[int]]:
    """Columns that a layer keeps, and those that it moves."""
    half = size // 2
    parts = list(range(half)), list(range(half, size))
    return parts if first else parts[::-1]


def _index(columns: list[int], like: Tensor) -> Tensor:
    return torch.tensor(columns, device=like.device)
