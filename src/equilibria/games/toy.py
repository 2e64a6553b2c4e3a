"""A game small enough to be solved by hand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from equilibria.games.game import Game
from equilibria.random import Stream

__all__ = ["XYGame"]


class XYGame(Game):
    """min over x, max over y of V = x·y, on which gradient play does not converge.

    Its only equilibrium is (0, 0). The flow x′ = −y, y′ = x circles it: x(t) = x₀ cos t − y₀ sin t,
    y(t) = x₀ sin t + y₀ cos t (Goodfellow, Bengio & Courville 2016, *Deep Learning*, section
    20.10.4). The players are held in float64.

    >>> game = XYGame(3.0, 4.0)
    >>> [game.cost(player, None).item() for player in game.players]
    [12.0, -12.0]
    """

    players = ("x", "y")

    def __init__(self, x: float = 1.0, y: float = 0.0):
        super().__init__()
        self.x, self.y = (nn.Parameter(torch.tensor(v, dtype=torch.float64)) for v in (x, y))

    def draw(self, batch: Any, stream: Stream) -> None:
        """Nothing is random here."""

    def cost(self, player: str, drawn: Any) -> Tensor:
        """V for x, who descends it, −V for y, who ascends it."""
        value = self.x * self.y
        return value if player == "x" else -value

    @torch.no_grad()
    def measure(self, drawn: Any) -> dict[str, Tensor]:
        """The value and the distance to the equilibrium."""
        return {"value": self.x * self.y, "distance": torch.hypot(self.x, self.y)}
