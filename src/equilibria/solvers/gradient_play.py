"""Gradient play: every player follows its own gradient, all at once or one after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from equilibria.check import whole
from equilibria.games.game import Game
from equilibria.random import Stream
from equilibria.solvers.solver import Gradients, Optimisers, Reduce, Solver

__all__ = ["Alternating", "Simultaneous"]


class Simultaneous(Solver):
    """All players move at once: one batch, one draw, every gradient taken at the same point.

    θ ← θ − h·(∇_θ₁ J₁, …, ∇_θₙ Jₙ)(θ). With one player this is ordinary gradient descent. On the xy
    game the distance to the equilibrium grows by √(1 + h²) every step.
    """

    def step(
        self, game: Game, batches: Iterator[Any], stream: Stream, measure: bool = True
    ) -> dict[str, Tensor]:
        self.bind(game)
        drawn = game.draw(next(batches), stream)
        self.update(game, self.gradients(game, drawn), drawn)
        return self.finish(game, drawn, measure)

    def gradients(self, game: Game, drawn: Any) -> Gradients:
        """What every player is to follow: its gradient here."""
        return {player: self.gradient(game, player, drawn) for player in game.players}


class Alternating(Solver):
    """The players move in turn, the first ``k`` times a round.

    Each of the first player's ``k`` updates has a fresh batch and fresh noise; then every other
    player moves once on fresh noise and the last batch (Goodfellow et al. 2014, "Generative
    adversarial nets", Algorithm 1).

    Parameters
    ----------
    optimisers, reduce
        See :class:`~equilibria.solvers.solver.Solver`.
    k : int
        Updates of the first player in a round.
    order : sequence of str, optional
        The order of play; the game's own by default.
    """

    def __init__(
        self,
        optimisers: Optimisers,
        reduce: Reduce | None = None,
        k: int = 1,
        order: Sequence[str] | None = None,
    ):
        super().__init__(optimisers, reduce)
        self.k, self.order = whole(1)("k", k), order

    def bind(self, game: Game) -> None:
        if sorted(self.order or game.players) != sorted(game.players):
            raise ValueError(f"order={self.order!r}: expected each of {game.players} once")
        super().bind(game)

    def step(
        self, game: Game, batches: Iterator[Any], stream: Stream, measure: bool = True
    ) -> dict[str, Tensor]:
        self.bind(game)
        first, *others = self.order or game.players
        for i, player in enumerate([first] * self.k + others):
            if i < self.k:
                batch, draws = next(batches), stream.child(first, i)
            else:
                draws = stream.child(player, 0)
            drawn = game.draw(batch, draws)
            self.update(game, {player: self.gradient(game, player, drawn)}, drawn)
        return self.finish(game, drawn, measure)
