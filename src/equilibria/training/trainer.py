"""The trainer: plays rounds over data, stage after stage, into a run folder.

It knows no model by name. A checkpoint holds every stage's game (chains and centring offsets included), solver, averages and place
in the data; random streams are keyed by stage and step. That is the whole state, so a resumed run is bit for bit the run that
was never stopped.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Sequence
from typing import Any

from equilibria.data import save_grid
from equilibria.errors import DivergedError, TrainingInterrupted
from equilibria.random import Stream
from equilibria.training import checkpoint
from equilibria.training.engine import Processes
from equilibria.training.interrupts import Interrupts
from equilibria.training.progress import Progress
from equilibria.training.run import Run
from equilibria.training.stages import Stage, finite

__all__ = ["Trainer"]

ROWS_PER_STAGE = 200  # lines of metrics.jsonl
PICTURES_PER_STAGE = 10
SYNC = 20  # rounds between two looks at the clock and, with many processes, at signals


class Trainer:
    """Trains stages in order.

    Parameters
    ----------
    stages : sequence of Stage
        With unique names.
    stream : Stream
        The seed of every draw.
    run : Run, optional
        Where metrics, pictures and checkpoints go; without it nothing is written.
    processes : Processes
        This process's place among several.
    checkpoint_seconds : float
        Time between checkpoints; there is one at the end of each stage too, and whenever training is stopped.
    verbose : bool
        Whether to show progress, where standard error is a terminal.

    Examples
    --------
    >>> from equilibria.data import Batches
    >>> from equilibria.games.contrastive import ContrastiveGame
    >>> from equilibria.models.boltzmann import BoltzmannMachine
    >>> from equilibria.solvers import Rule, Simultaneous
    >>> from equilibria.units import Bernoulli
    >>> import torch
    >>> game = ContrastiveGame(BoltzmannMachine.stack(Bernoulli(3), Bernoulli(2)).initialise(0), chains=4)
    >>> batches = Batches(torch.ones(8, 3), batch_size=4, stream=Stream(0))
    >>> Trainer([Stage("joint", game, Simultaneous(Rule("sgd", rate=0.1)), batches, steps=5)], Stream(0)).fit()
    5
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        stream: Stream,
        run: Run | None = None,
        processes: Processes | None = None,
        checkpoint_seconds: float = 60.0,
        verbose: bool = True,
    ):
        names = [stage.name for stage in stages]
        if not stages or len(set(names)) < len(names):
            raise ValueError(f"stages: expected at least one, with unique names, found {names}")
        self.stages, self.stream, self.run = list(stages), stream, run
        self.processes = processes or Processes()
        self.checkpoint_seconds, self.verbose = checkpoint_seconds, verbose
        self.history: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self._stage, self._step, self._saved_at, self._seconds = 0, 0, -1, 0.0
        for stage in self.stages:
            stage.solver.reduce = self.processes.average
            stage.solver.bind(stage.game)
            self.processes.share(stage.game)

    @property
    def step(self) -> int:
        """Rounds played so far, over all stages."""
        return sum(stage.steps for stage in self.stages[: self._stage]) + self._step

    def fit(self, resume: bool = False) -> int:
        """Play every stage to its end; returns the number of rounds.

        Parameters
        ----------
        resume : bool
            Go on from the run folder's last good checkpoint (from the start if it has none yet).

        Raises
        ------
        DivergedError
            When a cost or a parameter is not finite. The checkpoints saved before are left as they are.
        TrainingInterrupted
            When SIGINT or SIGTERM came; the state has been saved.
        """
        with contextlib.ExitStack() as stack:
            if self.run is not None and self.processes.writes:
                stack.enter_context(self.run.lock())
            if resume:
                self._resume()
            interrupts = stack.enter_context(Interrupts())
            began = time.monotonic() - self._seconds
            while self._stage < len(self.stages):
                self._play(self.stages[self._stage], interrupts, began)
        return self.step

    # ---------------------------------------------------------------- one stage

    def _play(self, stage: Stage, interrupts: Interrupts, began: float) -> None:
        log_every = max(1, stage.steps // ROWS_PER_STAGE)
        show_every = max(1, math.ceil(stage.steps / PICTURES_PER_STAGE))
        stream, checkpoint_at = self.stream.child("stage", stage.name), time.monotonic() + self.checkpoint_seconds
        with Progress(stage.name, stage.steps, start=self._step, verbose=self.verbose and self.processes.writes) as progress:
            while self._step < stage.steps:
                last = self._step + 1 == stage.steps
                logged = last or (self._step + 1) % log_every == 0 or self._step == 0
                shown = last or (self._step + 1) % show_every == 0
                key = stream.child(self._step)
                own = key.shard(self.processes.rank)
                info = stage.solver.step(stage.game, stage.source(own), own, measure=logged or progress.due())
                if stage.average is not None:
                    stage.average.update()
                self._step += 1
                self._seconds = time.monotonic() - began
                if logged:
                    self._log(stage, {name: float(value) for name, value in info.items()})
                if info:
                    progress.advance(self._step, **{name: float(value) for name, value in info.items()})
                if shown:
                    self._show(stage, key)
                self._pause(stage, interrupts, checkpoint_at, last)
                if time.monotonic() >= checkpoint_at:
                    checkpoint_at = time.monotonic() + self.checkpoint_seconds
        self._end(stage)

    def _pause(self, stage: Stage, interrupts: Interrupts, checkpoint_at: float, last: bool) -> None:
        """Save if it is time, stop if that was asked; processes agree on both every few rounds."""
        alone = self.processes.world == 1
        if not alone and self._step % SYNC and not last:
            return
        due = time.monotonic() >= checkpoint_at if alone or self._step % SYNC == 0 else False
        if self.run is not None and self.processes.any(due):
            self._check(stage)
            self._save()
        if self.processes.any(interrupts.requested):
            self._stop(stage, interrupts.signal or 15)

    def _stop(self, stage: Stage, signal: int) -> None:
        where = f"Stopped by signal {signal} at step {self._step} of {stage.steps} of stage {stage.name!r}."
        if self.run is None:
            raise TrainingInterrupted(signal, f"{where} Nothing was saved: give `out` a folder to be able to resume.")
        self._check(stage)
        self._save()
        raise TrainingInterrupted(signal, f"{where} The state is saved; go on with: equilibria resume {self.run.path}")

    def _end(self, stage: Stage) -> None:
        self._check(stage)
        if stage.average is not None:
            stage.average.apply()
        if stage.on_end is not None:
            stage.on_end()
        self._stage, self._step = self._stage + 1, 0
        self._save()

    # ---------------------------------------------------------------- what is written

    def _log(self, stage: Stage, values: dict[str, float]) -> None:
        row = {"step": self.step, "stage": stage.name, "stage_step": self._step, "seconds": round(self._seconds, 3), **values}
        if not all(math.isfinite(value) for value in values.values()):
            self._diverged(stage, f"{', '.join(k for k, v in values.items() if not math.isfinite(v))} is not finite")
        self.history.append(row)
        if self.run is not None and self.processes.writes:
            self.run.log(row)

    def _show(self, stage: Stage, key: Stream) -> None:
        self._check(stage)
        if stage.monitor is not None:
            self._log(stage, stage.monitor(key.child("monitor")))
        if stage.pictures is not None and self.run is not None and self.processes.writes:
            save_grid(self.run.sample_path(self.step, stage.name.replace(" ", "-")), stage.pictures(key.child("pictures")))

    def _check(self, stage: Stage) -> None:
        if not bool(finite(stage.game)):
            self._diverged(stage, "a parameter is not finite")

    def _diverged(self, stage: Stage, what: str) -> None:
        kept = "Nothing was saved." if self.run is None else f"The last good checkpoint in {self.run.path} is kept."
        raise DivergedError(
            f"Stage {stage.name!r} diverged at step {self._step}: {what}. {kept} "
            "Try a learning rate three to ten times smaller, or look for values far from the rest in the data."
        )

    # ---------------------------------------------------------------- checkpoints

    def _save(self) -> None:
        if self.run is None or self._saved_at == self.step:
            return
        games = {stage.name: self.processes.gathered(stage.game) for stage in self.stages}
        self._saved_at = self.step
        if not self.processes.writes:
            return
        state = {
            "stage": self._stage,
            "step": self._step,
            "seconds": self._seconds,
            "games": games,
            "solvers": {stage.name: stage.solver.state_dict() for stage in self.stages},
            "positions": {stage.name: stage.batches.position for stage in self.stages},
            "averages": {stage.name: stage.average.state_dict() for stage in self.stages if stage.average is not None},
        }
        self.run.save_checkpoint(state, self.step)

    def _resume(self) -> None:
        if self.run is None:
            raise ValueError("resume=True needs a run folder; give `out`")
        # A run that was stopped before its first checkpoint begins again.
        loaded = self.run.load_checkpoint() if checkpoint.steps(self.run.path / "checkpoints") else None
        if loaded is not None:
            state = loaded.state
            self.warnings += loaded.skipped
            self._stage, self._step, self._seconds = state["stage"], state["step"], state["seconds"]
            for stage in self.stages:
                self.processes.restore(stage.game, state["games"][stage.name])
                stage.solver.load_state_dict(state["solvers"][stage.name])
                stage.batches.position = state["positions"][stage.name]
                if stage.average is not None:
                    stage.average.load_state_dict(state["averages"][stage.name])
            self._saved_at = self.step
        if self.processes.writes:
            self.run.truncate_metrics(self.step)
        self.history = self.run.metrics()
