"""A stage: one game, played by one solver over one view of the data, for a number of steps."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from equilibria.data.batches import Batch, Batches
from equilibria.games.game import Game
from equilibria.random import Stream
from equilibria.solvers.solver import Solver

__all__ = ["Average", "Best", "Stage", "finite"]


class Average:
    """An exponential average of a module's parameters, m ← d·m + (1 − d)·θ.

    The decay d of step t is min(decay, (1 + t) / (10 + t)), with ``decay`` in [0, 1), so that the
    first steps are soon forgotten. Buffers are not averaged.
    """

    def __init__(self, module: nn.Module, decay: float):
        self.module, self.decay, self.rounds = module, decay, 0
        self.values = self._copy()

    def _copy(self) -> dict[str, Tensor]:
        return {name: p.detach().clone() for name, p in self.module.named_parameters()}

    @torch.no_grad()
    def update(self) -> None:
        decay = min(self.decay, (1 + self.rounds) / (10 + self.rounds))
        for name, parameter in self.module.named_parameters():
            self.values[name].lerp_(parameter, 1 - decay)
        self.rounds += 1

    def apply(self) -> None:
        """Put the average in the parameters' place, for good."""
        self._put(self.values)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average in the parameters' place for as long as the context lasts."""
        raw = self._copy()
        self._put(self.values)
        try:
            yield
        finally:
            self._put(raw)

    @torch.no_grad()
    def _put(self, values: dict[str, Tensor]) -> None:
        for name, parameter in self.module.named_parameters():
            parameter.copy_(values[name])

    def state_dict(self) -> dict[str, Any]:
        return {"rounds": self.rounds, "values": self.values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rounds = int(state["rounds"])
        for name, value in state["values"].items():
            self.values[name].copy_(value)


class Best:
    """The state of a module, of those seen at validation checks, that a score put highest.

    ``score(module)`` is one score a held-out row, or a single number; the higher the better.
    ``name`` is the mean score's name in the log. Of scores a row, an earlier state must be better
    than the last one by ``sure`` standard errors of the mean difference to be taken for it.

    >>> module, scores = nn.Linear(1, 1), iter([1.0, 3.0, 2.0])
    >>> best = Best(module, lambda module: next(scores))
    >>> [best.consider()["held_out_loss"] for _ in range(3)]
    [0.0, 0.0, 1.0]
    """

    def __init__(
        self,
        module: nn.Module,
        score: Callable[[Any], Tensor | float],
        name: str = "held_out_score",
        sure: float = 2.0,
    ):
        self.module, self.score, self.name, self.sure = module, score, name, sure
        self.values: dict[str, Tensor] = {}
        self.scores = self.best_scores = torch.zeros(0, dtype=torch.float64)

    @torch.no_grad()
    def consider(self, average: Average | None = None) -> dict[str, float]:
        """Score the module as it is now, under its average if there is one; numbers for the log.

        Of equal states the last is kept: it was found at the lowest learning rate.
        """
        with contextlib.nullcontext() if average is None else average.applied():
            scores = torch.as_tensor(self.score(self.module), dtype=torch.float64)
            self.scores = scores.detach().cpu().reshape(-1).clone()
            if not self.values or self.scores.mean() >= self.best_scores.mean():
                self.best_scores = self.scores
                self.values = {k: v.detach().clone() for k, v in self.module.state_dict().items()}
        return {self.name: float(self.scores.mean()), "held_out_loss": self.loss}

    @property
    def loss(self) -> float:
        """How much the last state lost against the best; 0 where the rows' spread explains it."""
        worse = self.best_scores - self.scores
        error = math.sqrt(float(worse.var()) / len(worse)) if len(worse) > 1 else 0.0
        return float(worse.mean()) if len(worse) and worse.mean() > self.sure * error else 0.0

    def recall(self) -> None:
        """Give the module its best state, where the last one is worse than chance explains."""
        if self.loss:
            self.module.load_state_dict(self.values)

    def state_dict(self) -> dict[str, Any]:
        return {"values": self.values, "scores": self.scores, "best_scores": self.best_scores}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        own = self.module.state_dict()
        self.values = {name: value.to(own[name]) for name, value in state["values"].items()}
        self.scores, self.best_scores = state["scores"], state["best_scores"]


@dataclasses.dataclass
class Stage:
    """What is played, how, on what, and for how long.

    Attributes
    ----------
    name : str
        Unique within a run; keys the stage's random streams.
    game, solver
        The game, whose state is part of every checkpoint, and what moves its players.
    batches : Batches
        Where the rows come from: an endless iterator whose whole state is its ``position``.
    steps : int
        Updates of the parameters.
    view : callable, optional
        (batch, stream) → this stage's batch: the features of a stage below, a level of a pyramid.
    on_end : callable, optional
        Called once after the last step: hands what was learnt to the next stage.
    on_finish : callable, optional
        Called when all stages have ended and the chains of all processes are together: hands over
        what a checkpoint holds of the game alone. A run resumed after its end calls it again.
    monitor : optional
        What is logged at validation checks: its ``measure(stream)``, or a callable of that kind,
        gives numbers by name. Its ``pictures(stream)``, if it has them, are (n, height, width) or
        (n, height, width, 3), in [0, 1] or uint8, or None.
    pictures : callable, optional
        In place of the monitor's.
    average : Average, optional
        Averaged parameters; they take the raw ones' place when the stage ends.
    best : Best, optional
        Keeps the best state that the validation checks found, for the end of the stage.
    checks : int
        Validation checks, each with its pictures, the last one after the last step.
    rows : int
        Rows of the metrics, for each of which a step is measured.
    """

    name: str
    game: Game
    solver: Solver
    batches: Batches
    steps: int
    view: Callable[[Batch, Stream], Batch] | None = None
    on_end: Callable[[], None] | None = None
    on_finish: Callable[[], None] | None = None
    pictures: Callable[[Stream], np.ndarray | None] | None = None
    monitor: Any = None
    average: Average | None = None
    best: Best | None = None
    checks: int = 10
    rows: int = 200

    def source(self, stream: Stream) -> Iterator[Batch]:
        """The batches of one step, through the view."""
        while True:
            batch = next(self.batches)
            if self.view is not None:
                batch = self.view(batch, stream.child("view", self.batches.position))
            yield batch

    def advance(self, stream: Stream, measure: bool) -> dict[str, Tensor]:
        """One step of the players and of the average; what the solver's step reports."""
        info = self.solver.step(self.game, self.source(stream), stream, measure=measure)
        if self.average is not None:
            self.average.update()
        return info

    def measure(self, stream: Stream) -> dict[str, float]:
        """The numbers of a validation check."""
        values = {} if self.best is None else self.best.consider(self.average)
        if self.monitor is None:
            return values
        return {**getattr(self.monitor, "measure", self.monitor)(stream), **values}

    def show(self, stream: Stream) -> np.ndarray | None:
        """The pictures of a validation check."""
        draw = self.pictures or getattr(self.monitor, "pictures", None)
        return None if draw is None else draw(stream)

    def end(self) -> None:
        """Settle what the stage leaves: the average, then the best state, then the hand-over."""
        if self.average is not None:
            self.average.apply()
        if self.best is not None:
            self.best.recall()
        if self.on_end is not None:
            self.on_end()


def finite(game: Game) -> Tensor:
    """Whether all parameters and buffers (chains, say) are finite: 0-d, left on the device."""
    tensors = (x.detach() for x in (*game.parameters(), *game.buffers()) if x.is_floating_point())
    return torch.isfinite(torch.stack([x.sum(dtype=torch.float64) for x in tensors])).all()
