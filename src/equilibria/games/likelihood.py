"""The one-player game of ordinary learning: a model pays minus its log-likelihood."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from equilibria.games.game import Game
from equilibria.models.model import Model
from equilibria.random import Stream

__all__ = ["Likelihood"]


class Drawn(NamedTuple):
    """A batch, and the stream of all that the objective draws: its cost is a pure function."""

    batch: Any
    stream: Stream


class Likelihood(Game):
    """Trains every model that has an objective: min over θ of the mean over rows of ``objective``.

    For a tractable density that is maximum likelihood; for a bound, the bound's maximum.

    >>> import torch
    >>> class Normal(Model):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.mean = torch.nn.Parameter(torch.zeros(1))
    ...     def log_prob(self, x, given=None):
    ...         return -0.5 * (x - self.mean).square().sum(1)
    >>> game = Likelihood(Normal())
    >>> drawn = game.draw(torch.tensor([[1.0], [3.0]]), Stream(0))
    >>> game.gradient("model", drawn)  # θ − mean(x)
    [tensor([-2.])]
    """

    players = ("model",)

    def __init__(self, model: Model):
        super().__init__()
        self.model = model

    def draw(self, batch: Any, stream: Stream) -> Drawn:
        return Drawn(batch, stream.child("objective"))

    def cost(self, player: str, drawn: Drawn) -> Tensor:
        return self.model.objective(drawn.batch, drawn.stream).mean()
