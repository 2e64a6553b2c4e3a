"""Networks: modules called ``network(x, condition)`` that the players of a game are made of."""

from __future__ import annotations

from equilibria.networks.convolutional import DCGANCritic, DCGANGenerator
from equilibria.networks.fourier import Fourier
from equilibria.networks.mlp import MLP
from equilibria.networks.packing import Packed
from equilibria.networks.residual import ResidualCritic, ResidualGenerator

__all__ = [
    "MLP",
    "DCGANCritic",
    "DCGANGenerator",
    "Fourier",
    "Packed",
    "ResidualCritic",
    "ResidualGenerator",
]
