"""Expectation maximisation as a solver: a model that counts is moved to where its counts point."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from equilibria.games.game import Game
from equilibria.random import Stream
from equilibria.solvers.solver import Reduce, Solver

__all__ = ["ExpectationMaximisation"]

FORGETTING = 0.7  # of batches: the t-th has the weight (t + 1)^−κ in the running mean of counts


class ExpectationMaximisation(Solver):
    """θ ← argmax of the expected complete log-likelihood, by a game's ``model``.

    The model has ``expected(x)``, a tuple of tensors whose first are sums over rows, the last the
    log-likelihood, and ``maximise(counts, smoothing)``. A batch of all ``rows`` is one iteration of
    EM, which never lowers the likelihood but for ``smoothing`` (Dempster, Laird & Rubin 1977). Of
    smaller batches the counts are averaged over time, the t-th with the weight (t + 1)^−.7 (Cappé &
    Moulines 2009, "On-line expectation–maximization algorithm for latent data models").
    """

    def __init__(
        self,
        rows: int,
        smoothing: float = 1.0,
        reduce: Reduce | None = None,
        batch_size: int | None = None,
    ):
        super().__init__({}, reduce)
        self.rows, self.smoothing = rows, smoothing
        self.batch_size = batch_size or rows  # over all processes

    def bind(self, game: Game) -> None:
        if self._game is not game:
            self.updates, self.kept, self._game = {"model": 0}, {}, game

    @torch.no_grad()
    def step(
        self, game: Game, batches: Iterator[Any], stream: Stream, measure: bool = True
    ) -> dict[str, Tensor]:
        self.bind(game)
        model: Any = game.model
        batch = next(batches)
        values = batch.with_gaps()
        found = model.expected(values)
        means = [tensor / len(values) for tensor in found]
        self.reduce(means)
        if self.batch_size < self.rows:
            weight = (self.updates["model"] + 1) ** -FORGETTING
            before = self.kept.get("counts", {}).get("model", means[:-1])
            means[:-1] = [a.lerp(b, weight) for a, b in zip(before, means[:-1], strict=True)]
            self.kept["counts"] = {"model": means[:-1]}
        counts = type(found)(*(self.rows * tensor for tensor in means))
        model.maximise(counts, self.smoothing)
        self.updates["model"] += 1
        game.settle(batch)
        return {"model_cost": -means[-1]} if measure else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict({**state, "kept": {}})
        self.kept = {
            name: {player: [own[str(i)].clone() for i in range(len(own))]}
            for name, players in state.get("kept", {}).items()
            for player, own in players.items()
        }
