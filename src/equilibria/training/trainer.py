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
from signal import SIGTERM
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
SYNC = 20  # with many processes, rounds between two looks at the clock and at signals, which they must agree on
CHECKPOINT_SECONDS = 60.0


class Trainer:
    """Trains stages in order.

    Parameters
    ----------
    stages : sequence of Stage
        With unique names.
    stream : Stream
        The seed of every draw.
    run : Run, optional
        Where metrics, pictures and checkpoints go; without it nothing is written. Of many processes each is given it, and the first writes.
    processes : Processes
        This process's place among several.
    checkpoint_seconds : float, optional
        Time between checkpoints, ``CHECKPOINT_SECONDS`` by default; there is one at the end of each stage too, and whenever training
        is stopped.
    verbose : bool
        Whether to show progress, where standard error is a terminal.

    Examples
    --------
    >>> from equilibria.data import Batches
    >>> from equilibria.games.contrastive import ContrastiveGame
    >>> from equilibria.models.boltzmann import BoltzmannMachine
    >>> from equilibria.solvers import Optimiser, Simultaneous
    >>> from equilibria.units import Bernoulli
    >>> import torch
    >>> game = ContrastiveGame(BoltzmannMachine.stack(Bernoulli(3), Bernoulli(2)).initialise(0), chains=4)
    >>> batches = Batches(torch.ones(8, 3), batch_size=4, stream=Stream(0))
    >>> Trainer([Stage("joint", game, Simultaneous(Optimiser("sgd", rate=0.1)), batches, steps=5)], Stream(0)).fit()
    5
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        stream: Stream,
        run: Run | None = None,
        processes: Processes | None = None,
        checkpoint_seconds: float | None = None,
        verbose: bool = True,
    ):
        names = [stage.name for stage in stages]
        if not stages or len(set(names)) < len(names):
            raise ValueError(f"stages: expected at least one, with unique names, found {names}")
        self.stages, self.stream, self.run = list(stages), stream, run
        self.processes = processes or Processes()
        self.checkpoint_seconds = CHECKPOINT_SECONDS if checkpoint_seconds is None else checkpoint_seconds
        self.verbose = verbose
        self.history: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self._stage, self._step, self._seconds = 0, 0, 0.0
        self._saved_at: tuple[int, int] | None = None
        self._began, self._checkpoint_at = 0.0, 0.0
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
            self._began = time.monotonic() - self._seconds
            self._checkpoint_at = time.monotonic() + self.checkpoint_seconds
            while self._stage < len(self.stages):
                stage = self.stages[self._stage]
                self._play(stage, interrupts)
                self._end(stage)
                if self.processes.any(interrupts.requested):
                    self._stop(stage, interrupts.signal)
        for stage in self.stages:
            self.processes.collect(stage.game)
        return self.step

    # ---------------------------------------------------------------- one stage

    def _play(self, stage: Stage, interrupts: Interrupts) -> None:
        stream = self.stream.child("stage", stage.name)
        with Progress(stage.name, stage.steps, start=self._step, verbose=self.verbose and self.processes.writes) as progress:
            while self._step < stage.steps:
                self._round(stage, stream.child(self._step), progress)
                self._pause(stage, interrupts)

    def _round(self, stage: Stage, key: Stream, progress: Progress) -> None:
        """One round, and what is reported of it."""
        own, logged = key.shard(self.processes.rank), _falls_due(self._step, stage.steps, ROWS_PER_STAGE, first=True)
        info = stage.solver.step(stage.game, stage.source(own), own, measure=logged or progress.due())
        if stage.average is not None:
            stage.average.update()
        values = {name: float(value) for name, value in info.items()}
        shown = _falls_due(self._step, stage.steps, PICTURES_PER_STAGE)
        self._step += 1
        self._seconds = time.monotonic() - self._began
        if logged:
            values = self.processes.mean(values)
            self._log(stage, values)
        if values:
            progress.advance(self._step, **values)
        if shown:
            self._show(stage, key)

    def _pause(self, stage: Stage, interrupts: Interrupts) -> None:
        """Between two rounds: save if it is time, stop if that was asked; processes agree on both every few rounds."""
        if self._step == stage.steps or (self.processes.world > 1 and self._step % SYNC):
            return
        if self.run is not None and self.processes.any(time.monotonic() >= self._checkpoint_at):
            self._check(stage)
            self._save()
            self._checkpoint_at = time.monotonic() + self.checkpoint_seconds
        if self.processes.any(interrupts.requested):
            self._stop(stage, interrupts.signal)

    def _stop(self, stage: Stage, signal: int | None) -> None:
        number = signal or int(SIGTERM)  # another process's
        where = f"Stopped by signal {number} at step {self.step} of {sum(stage.steps for stage in self.stages)}."
        if self.run is None:
            raise TrainingInterrupted(number, f"{where} Nothing was saved: give `out` a folder to be able to resume.")
        self._check(stage)
        self._save()
        raise TrainingInterrupted(number, f"{where} The state is saved; go on with: equilibria resume {self.run.path}")

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
            self._diverged(stage, "a parameter or a chain is not finite")

    def _diverged(self, stage: Stage, what: str) -> None:
        kept = "Nothing was saved."
        if self.run is not None and checkpoint.steps(self.run.path / "checkpoints"):
            kept = f"The last good checkpoint in {self.run.path} is kept."
        raise DivergedError(
            f"Stage {stage.name!r} diverged at step {self._step}: {what}. {kept} "
            "Try a learning rate three to ten times smaller, or look for values far from the rest in the data."
        )

    # ---------------------------------------------------------------- checkpoints

    def _save(self) -> None:
        place = (self._stage, self._step)
        if self.run is None or self._saved_at == place:
            return
        games = {stage.name: self.processes.gathered(stage.game) for stage in self.stages}
        self._saved_at = place
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
            self._saved_at = (self._stage, self._step)
        if self.processes.writes:
            self.run.truncate_metrics(self.step)
        self.history = [row for row in self.run.metrics() if row["step"] <= self.step]


def _falls_due(step: int, steps: int, times: int, first: bool = False) -> bool:
    """Whether something done at most ``times`` times in ``steps`` rounds, the last one included, is done after round ``step``."""
    every = math.ceil(steps / times)
    return step + 1 == steps or (step + 1) % every == 0 or (first and step == 0)
