"""What is looked at while a Boltzmann machine is trained: its chains, rows that it does not see, pictures."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from equilibria.data.schema import Schema
from equilibria.estimators.layout import split
from equilibria.evaluation.monitor import ChainMonitor
from equilibria.games.contrastive import ContrastiveGame
from equilibria.inference import gibbs
from equilibria.inference.completion import evidence
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.random import Stream
from equilibria.training.stages import Average

__all__ = ["Watching"]

WATCHED = 500  # rows of either kind whose free energies are compared while training
WATCHED_SWEEPS = 50


class Watching:
    """Methods of an estimator that trains a ``machine_`` by a contrastive game."""

    machine_: BoltzmannMachine
    schema_: Schema
    validation_fraction: float
    _kept: np.ndarray | None = None

    def _keep_back(self, X: np.ndarray, codes: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
        """The rows to train on; a random share of all is kept back to be watched (``_kept``)."""
        self._kept = None
        if not self.validation_fraction:
            return X, codes
        count = round(self.validation_fraction * len(X))
        if not 2 <= count <= len(X) - 2:
            raise ValueError(
                f"validation_fraction={self.validation_fraction!r} keeps back {count} of {len(X)} rows; expected at least 2, and 2 left"
            )
        order = self._stream().child("validation").permutation(len(X)).numpy()
        self._kept, rest = X[np.sort(order[:count])][:WATCHED], np.sort(order[count:])
        return X[rest], None if codes is None else codes[rest]

    def _look(
        self, game: ContrastiveGame, average: Average | None, seen: np.ndarray | None, kept: np.ndarray | None, stream: Stream
    ) -> dict[str, float]:
        """What is watched while training: whether the chains go anywhere, how much better training rows fit than others, and how well
        these fit; the machine (its average, where there is one) that they fit best is kept."""
        train, held_out = (
            None if rows is None else split(self.schema_.layers, self._binary(rows).to(self.machine_.dtype)) for rows in (seen, kept)
        )
        found = ChainMonitor(game, train, held_out, WATCHED_SWEEPS).measure(stream)
        if seen is not None and kept is not None and game.best is not None:
            found |= game.best.consider(self._ending(average), functools.partial(self._scores, kept))
        return found

    def _ending(self, average: Average | None) -> BoltzmannMachine:
        """The machine that training would end with if it ended now."""
        if average is None:
            return self.machine_
        machine = copy.deepcopy(self.machine_)
        machine.load_state_dict(average.values, strict=False)  # a machine's buffers are not averaged
        return machine

    def _scores(self, rows: np.ndarray, machine: BoltzmannMachine) -> Tensor:
        """log p of rows by a float64 machine without its log Z, (rows,), in the data's own scale."""
        values = self._binary(rows)
        found = evidence(machine, split(self.schema_.layers, values), tolerance=1e-3, max_steps=50).values
        return found - torch.from_numpy(self._log_volume(values)).to(found)

    def _fantasies(self, game: ContrastiveGame) -> Callable[[Stream], np.ndarray] | None:
        """Pictures of the chains (of fresh ones, where training restarts them at the data), or nothing where rows are no pictures."""
        if self.schema_.shape is None or self.schema_.kind in ("categorical", "mixed"):
            return None

        def pictures(stream: Stream) -> np.ndarray:
            state = {name: values[:64] for name, values in game.chains.items()}
            if not state:
                state = gibbs.run(game.machine, gibbs.start(game.machine, 64, stream), 200, stream)
            with torch.no_grad():
                return self._pictures(self._visible_means(game.machine, state, stream))

        return pictures

    def _visible_means(self, machine: BoltzmannMachine, state: dict[str, Tensor], stream: Stream) -> Tensor:
        """What a state of a stage's machine looks like."""
        return machine.units("visible").mean(machine.field("visible", state))

    if TYPE_CHECKING:  # of the estimator that this is mixed into

        def _binary(self, X: np.ndarray) -> Tensor: ...
        def _log_volume(self, values: Tensor) -> np.ndarray: ...
        def _pictures(self, values: Tensor, shape: Sequence[int] | None = ...) -> np.ndarray: ...
        def _stream(self) -> Stream: ...
