"""Ordinary learning: one stage in which a model pays its objective, by Adam."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable

import torch

from equilibria.data.rows import Labels, Rows, with_labels
from equilibria.games.likelihood import Likelihood
from equilibria.models.model import Model
from equilibria.random import Stream
from equilibria.solvers import Optimiser, Simultaneous
from equilibria.training.stage import Average, Best, Stage

__all__ = ["maximum_likelihood"]

MONITORED = 2000  # rows of either kind whose objective is measured while training


def maximum_likelihood(
    model: Model, *, steps: int, batch_size: int, rate: float, average: float = 0.0
) -> Callable[[Rows], list[Stage]]:
    """The recipe of every model with an objective: rows → one stage.

    ``rate`` is Adam's first one, which falls to zero along a line; ``average`` the decay of the
    averaged parameters that the model ends with, 0 takes the last ones.
    """

    def recipe(rows: Rows) -> list[Stage]:
        optimiser = Optimiser("adam", rate, schedule="linear", steps=steps)
        batches, classes = rows.batches("fit", batch_size), rows.table.classes
        stage = Stage("fit", Likelihood(model), Simultaneous(optimiser), batches, steps)
        stage.view = Labels(classes) if classes else None
        stage.average = Average(model, average) if average else None
        kinds = {"train": False} | ({} if rows.held is None else {"held_out": True})
        some = {name: rows.some(MONITORED, "monitored", held=held) for name, held in kinds.items()}
        if classes:
            some = {name: with_labels(batch, classes) for name, batch in some.items()}

        @torch.no_grad()
        def monitor(stream: Stream) -> dict[str, float]:  # by the averaged parameters
            with stage.average.applied() if stage.average else contextlib.nullcontext():
                found = {name: model.objective(batch, stream) for name, batch in some.items()}
            logged = {f"{name}_objective": float(x.double().mean()) for name, x in found.items()}
            known = {"independent_objective": rows.independent}
            return logged | (known if math.isfinite(rows.independent) else {})

        if "held_out" in some:
            held, key = some["held_out"], rows.stream.child("best")
            best = Best(model, lambda state: -state.objective(held, key), "held_out_score")
            stage.best = best
        stage.monitor = monitor
        return [stage]

    return recipe
