"""The kinds of networks that adversarial players are made of: how each is trained by default, and what players are built for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

__all__ = ["FAMILIES", "FEW", "LARGEST", "NORMALISED", "SHARP", "SMALLEST", "WAVES", "WIDE", "Family", "Players"]

NORMALISED: dict[str | None, tuple[str | None, str | None]] = {"generator": ("batch", None), "both": ("batch", "batch"), None: (None, None)}
"""Which of a dcgan's players have batch norm: name → (the generator's, the critic's)."""


@dataclasses.dataclass(frozen=True)
class Family:
    """How a kind of network is trained where the estimator's parameters say nothing else (None); each has the name of its parameter.

    Attributes
    ----------
    learning_rate, betas, schedule
        Adam's rate and averaging rates, and how the rate falls over the rounds.
    pace : float
        The critic's rate over the generator's.
    payoff : str
        A row of ``PAYOFFS``.
    penalties : mapping of str to float
        Rows of ``PENALTIES`` and their weights.
    fade : float
        The share of these weights that is left at the end.
    prior, latent_dim, batch_size, steps, average, hidden
        As the parameters.
    bandwidth : float
        Of the critic's waves, where rows are real numbers in at most ``FEW`` columns; 0 is none.
    """

    learning_rate: float
    payoff: str
    penalties: Mapping[str, float]
    betas: tuple[float, float] = (0.5, 0.999)
    schedule: str = "constant"
    pace: float = 1.0
    fade: float = 1.0
    prior: str = "normal"
    latent_dim: int = 64
    batch_size: int = 100
    steps: int = 20000
    average: float = 0.999
    hidden: tuple[int, ...] = (128, 128, 128)
    bandwidth: float = 0.0


SHARP: Mapping[str, Any] = {"pace": 3.0, "fade": 3e-5}
"""What takes the place of a family's own where the critic sees waves: a fast critic that ends up sharp gives modes their widths. In many
columns such a critic tells all samples from all rows, and the generator collapses (LOG.md)."""
WIDE: Mapping[str, Any] = {
    "hidden": (512, 512, 512),
    "prior": "normal",
    "latent_dim": 64,
    "batch_size": 64,
    "steps": 20000,
    "average": 0.999,
}
"""What takes the place of the perceptrons' own where rows are pictures of at least ``SMALLEST`` pixels a side. Their modes are joined, so
that coins would gain nothing, and inverting a picture could not move them."""
SMALLEST = 16
LARGEST = 64  # side of the pictures that perceptrons are given unasked: within minutes they were far ahead of convolutions (LOG.md)
SLOPES = {"r1": 3.0, "r2": 3.0}
FAMILIES: dict[str, Family] = {
    "mlp": Family(
        1e-3,
        "relativistic",
        SLOPES,
        betas=(0.0, 0.99),
        schedule="linear",
        prior="mixed",
        latent_dim=16,
        batch_size=512,
        steps=8000,
        average=0.99,
        bandwidth=10.0,
    ),
    "dcgan": Family(2e-3, "relativistic", {"r1": 1.0, "r2": 1.0}, schedule="linear", pace=0.25),
    "residual": Family(2e-4, "relativistic", {"r1": 1.0, "r2": 1.0}, betas=(0.0, 0.99)),
}
"""Networks by name. The plain one's settings are what won on the ring and the grid (experiments/ring_and_grid.py); what each part of
them does is told in docs/architecture.md."""
FEW = 8  # columns; in more, waves in random directions are noise
WAVES = 64  # directions that the critic sees waves in


@dataclasses.dataclass(frozen=True)
class Players:
    """What a generator and its critic are built for.

    Attributes
    ----------
    network : str
        A row of ``FAMILIES``.
    size : int
        Columns of a row.
    shape : tuple of int or None
        Of a row that is a picture.
    numbers, planes : int
        The condition: so many pictures of that shape, then so many plain numbers.
    output : str or None
        What the generator's last layer passes through.
    """

    network: str
    size: int
    shape: tuple[int, ...] | None = None
    numbers: int = 0
    planes: int = 0
    output: str | None = None

    @property
    def condition(self) -> int:
        """Columns of the condition."""
        return self.planes * self.size + self.numbers
