"""Ordinary learning: one stage in which a model pays its objective, by Adam."""

from __future__ import annotations

import copy

import torch

from equilibria.data.batches import Batch
from equilibria.data.rows import Labels, Rows, with_labels
from equilibria.games.likelihood import Likelihood
from equilibria.models.model import Model
from equilibria.random import Stream
from equilibria.solvers import Optimiser, Simultaneous
from equilibria.training.stage import Average, Stage

__all__ = ["maximum_likelihood"]

MONITORED = 2000  # rows of either kind whose objective is measured while training


class maximum_likelihood:  # noqa: N801 - a recipe is called like a function
    """The recipe of every model with an objective: rows → one stage.

    Parameters
    ----------
    model : Model
        Trained in place.
    steps, batch_size : int
        Updates, and rows of each.
    rate : float
        Adam's first rate; it falls to zero along a line.
    average : float
        Decay of the averaged parameters that the model ends with; 0 takes the last ones.
    """

    def __init__(
        self, model: Model, *, steps: int, batch_size: int, rate: float, average: float = 0.0
    ):
        self.model, self.steps, self.batch_size = model, steps, batch_size
        self.rate, self.average = rate, average

    def __call__(self, rows: Rows) -> list[Stage]:
        optimiser = Optimiser("adam", self.rate, schedule="linear", steps=self.steps)
        average = Average(self.model, self.average) if self.average else None
        view = Labels(rows.table.classes) if rows.table.classes else None
        batches = rows.batches("fit", self.batch_size)
        stage = Stage("fit", Likelihood(self.model), Simultaneous(optimiser), batches, self.steps)
        stage.view, stage.average = view, average
        stage.monitor = _Monitor(self.model, average, rows)
        return [stage]


class _Monitor:
    """The mean objective of training rows and of held-out rows, by the averaged parameters."""

    def __init__(self, model: Model, average: Average | None, rows: Rows):
        self.model, self.average = model, average
        self.rows = {"train": rows.some(MONITORED, "monitored")}
        if rows.held is not None:
            self.rows["held_out"] = rows.some(MONITORED, "monitored", held=True)
        if rows.table.classes:
            classes = rows.table.classes
            self.rows = {name: with_labels(batch, classes) for name, batch in self.rows.items()}

    @torch.no_grad()
    def __call__(self, stream: Stream) -> dict[str, float]:
        model = self.model
        if self.average is not None:
            model = copy.deepcopy(model)
            model.load_state_dict({**model.state_dict(), **self.average.values})
        return {
            f"{name}_objective": self._mean(model, batch, stream)
            for name, batch in self.rows.items()
        }

    @staticmethod
    def _mean(model: Model, batch: Batch, stream: Stream) -> float:
        return float(model.objective(batch, stream).double().mean())
