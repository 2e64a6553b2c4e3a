"""Small distributions that are known exactly: mixtures of Gaussians, and bars and stripes."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from torch import Tensor

from equilibria.check import whole
from equilibria.random import Stream

__all__ = ["GaussianMixture", "bars_and_stripes"]


@dataclasses.dataclass(frozen=True, eq=False)
class GaussianMixture:
    """Equally likely round Gaussians: p(x) = 1/k Σ_c N(x; centre_c, std² I).

    Attributes
    ----------
    centres : ndarray, shape (k, d)
        The modes.
    std : float
        Standard deviation of every mode in every direction.
    name : str
        What to call it.

    Examples
    --------
    >>> ring = GaussianMixture.ring()
    >>> ring.centres.shape, ring.sample(3, Stream(0)).shape
    ((8, 2), (3, 2))
    """

    centres: np.ndarray
    std: float
    name: str = "mixture"

    def __post_init__(self) -> None:
        centres = np.asarray(self.centres, dtype=np.float64)
        if centres.ndim != 2 or not centres.size or not np.isfinite(centres).all():
            expected = "expected a (modes, dimensions) table of finite numbers"
            raise ValueError(f"centres has shape {centres.shape}: {expected}")
        if not (math.isfinite(self.std) and self.std > 0):
            raise ValueError(f"std={self.std!r}: expected a positive number")
        object.__setattr__(self, "centres", centres)

    @classmethod
    def ring(cls, modes: int = 8, radius: float = 1.0, std: float = 0.01) -> GaussianMixture:
        """``modes`` Gaussians at equal distances on a circle."""
        modes = whole(1)("modes", modes)
        angles = 2 * np.pi * np.arange(modes) / modes
        return cls(radius * np.stack([np.cos(angles), np.sin(angles)], axis=1), std, "ring")

    @classmethod
    def grid(cls, side: int = 5, spacing: float = 2.0, std: float = 0.05) -> GaussianMixture:
        """``side`` × ``side`` Gaussians on a square grid around the origin."""
        side = whole(1)("side", side)
        ticks = spacing * (np.arange(side) - (side - 1) / 2)
        points = np.stack(np.meshgrid(ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 2)
        return cls(points, std, "grid")

    def sample(self, n: int, stream: Stream) -> np.ndarray:
        """``n`` independent points, float32 of shape (n, d)."""
        n = whole(1)("n", n)
        modes = stream.child("mode").integers((n,), len(self.centres)).numpy()
        noise = stream.child("noise").normal((n, self.centres.shape[1]), torch.float64).numpy()
        return (self.centres[modes] + self.std * noise).astype(np.float32)

    def log_density(self, x: np.ndarray | Tensor) -> np.ndarray:
        """log p(x) in nats of each row of ``x`` (n, d), float64 of shape (n,)."""
        points = np.asarray(x, dtype=np.float64)
        dimensions = self.centres.shape[1]
        if points.ndim != 2 or points.shape[1] != dimensions:
            raise ValueError(f"x has shape {points.shape}: expected (n, {dimensions})")
        squares = ((points[:, None, :] - self.centres) ** 2).sum(axis=-1)
        normaliser = math.log(len(self.centres)) + dimensions * math.log(
            self.std * math.sqrt(2 * math.pi)
        )
        return np.logaddexp.reduce(-squares / (2 * self.std**2), axis=1) - normaliser


def bars_and_stripes(side: int = 4) -> np.ndarray:
    """The distinct binary pictures of side² pixels whose rows are all equal, or whose columns are.

    There are 2·2^side − 2 of them (the empty and the full picture are both kinds); where they are
    equally likely, no model has a larger average log-likelihood than −log of that number. Source:
    MacKay, *Information Theory, Inference, and Learning Algorithms*, section 43.3.

    Examples
    --------
    >>> bars_and_stripes(2).tolist()
    [[0, 0, 0, 0], [0, 1, 0, 1], [1, 0, 1, 0], [1, 1, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0]]
    """
    side = whole(1, 16)("side", side)  # there are 2^(side + 1) patterns
    lines = (np.arange(2**side)[:, None] >> np.arange(side)[::-1] & 1).astype(np.uint8)
    bars = np.repeat(lines[:, None, :], side, axis=1).reshape(len(lines), -1)
    stripes = np.repeat(lines[1:-1, :, None], side, axis=2).reshape(len(lines) - 2, side * side)
    return np.concatenate([bars, stripes])
