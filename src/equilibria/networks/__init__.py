"""Networks: plain modules called ``network(x, condition)`` that the players of a game are made of."""

from __future__ import annotations

from equilibria.networks.mlp import MLP
from equilibria.networks.packing import MinibatchDeviation, Packed

__all__ = ["MLP", "MinibatchDeviation", "Packed"]
