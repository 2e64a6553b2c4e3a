"""A stage: one game, played by one solver over one view of the data, for a number of rounds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from equilibria.data import Batch, Batches
from equilibria.games.game import Game
from equilibria.random import Stream
from equilibria.solvers import Solver

__all__ = ["Average", "Stage", "finite"]


class Average:
    """An exponential average of a module's parameters, m ← d·m + (1 − d)·θ, with d warmed up from 0.

    The decay of round t is min(decay, (1 + t) / (10 + t)), so that the first rounds are soon forgotten.

    Parameters
    ----------
    module : nn.Module
        What is averaged; its buffers are not.
    decay : float
        In [0, 1).
    """

    def __init__(self, module: nn.Module, decay: float):
        if not 0 <= decay < 1:
            raise ValueError(f"decay={decay!r}: expected a number in [0, 1)")
        self.module, self.decay, self.rounds = module, decay, 0
        self.values = {name: p.detach().clone() for name, p in module.named_parameters()}

    @torch.no_grad()
    def update(self) -> None:
        decay = min(self.decay, (1 + self.rounds) / (10 + self.rounds))
        for name, parameter in self.module.named_parameters():
            self.values[name].lerp_(parameter, 1 - decay)
        self.rounds += 1

    @torch.no_grad()
    def apply(self) -> None:
        """Put the average in the parameters' place, for good."""
        for name, parameter in self.module.named_parameters():
            parameter.copy_(self.values[name])

    def state_dict(self) -> dict[str, Any]:
        return {"rounds": self.rounds, "values": self.values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rounds = int(state["rounds"])
        for name, value in state["values"].items():
            self.values[name].copy_(value)


@dataclasses.dataclass
class Stage:
    """What is played, how, on what, and for how long.

    Attributes
    ----------
    name : str
        Unique within a run; keys the stage's random streams.
    game : Game
        Its state is part of every checkpoint.
    solver : Solver
        Moves the game's players.
    batches : Batches
        Where the rows come from; its position is part of every checkpoint.
    steps : int
        Rounds.
    view : callable, optional
        (batch, stream) → this stage's batch: features of a stage below, a level of a pyramid.
    on_end : callable, optional
        Called once when the last round is done; hands what was learnt to the next stage.
    pictures : callable, optional
        stream → pictures, (n, height, width) or (n, height, width, 3) in [0, 1] or uint8, that show where training is.
    monitor : callable, optional
        stream → numbers that are logged with the pictures (a held-out measure).
    average : Average, optional
        Averaged parameters; they take the raw ones' place when the stage ends.
    """

    name: str
    game: Game
    solver: Solver
    batches: Batches
    steps: int
    view: Callable[[Batch, Stream], Batch] | None = None
    on_end: Callable[[], None] | None = None
    pictures: Callable[[Stream], np.ndarray] | None = None
    monitor: Callable[[Stream], dict[str, float]] | None = None
    average: Average | None = None

    def source(self, stream: Stream) -> Iterator[Batch]:
        """The batches of one round, through the view."""
        while True:
            batch = next(self.batches)
            yield batch if self.view is None else self.view(batch, stream.child("view", self.batches.position))


def finite(game: Game) -> Tensor:
    """Whether every parameter and buffer of the game (its chains, say) is finite: a 0-d bool tensor, left on the device."""
    sums = [x.detach().sum(dtype=torch.float64) for x in (*game.parameters(), *game.buffers()) if x.is_floating_point()]
    return torch.isfinite(torch.stack(sums)).all()
