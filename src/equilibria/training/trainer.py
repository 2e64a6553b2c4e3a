"""The trainer: plays stages over data into a run folder; and a budget in minutes as a length.

It knows no model by name. A checkpoint holds every stage's game (chains and centring offsets
included), solver, average, best state and place in the data; random streams are keyed by stage and
step. That is the whole state, so a resumed run is bit for bit the run that was never stopped.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from signal import SIGTERM
from typing import Any

from equilibria import durable
from equilibria.data.pictures import save_grid
from equilibria.errors import DivergedError, RunError, TrainingInterrupted
from equilibria.random import Stream
from equilibria.training.distributed import Processes
from equilibria.training.progress import PATIENCE, Interrupts, Progress
from equilibria.training.run import Run
from equilibria.training.stage import Stage, finite

__all__ = ["Trainer", "seconds_per_step", "share_within"]

SYNC = 20  # steps after which many processes agree on the clock and on signals
CHECKPOINT_SECONDS = 60.0
TIMED = 0.03  # share of the budget that a trial may take,
TRIAL_SECONDS = 60.0  # but never longer
FEWEST = 6  # blocks of updates of a stage that are timed at least, the first of them left out
BLOCK = 10  # updates in a block where the device works while Python goes on
SLACK = 2.0  # steps of the longest kind so far that a signal waits for the end of its own step
CLOCK: Callable[[], float] = time.monotonic


class Trainer:
    """Trains stages, which have unique names, in order; ``stream`` is the seed of every draw.

    Metrics, pictures and checkpoints go to ``run``; without it nothing is written. There is a
    checkpoint every minute, at the end of each stage, and when training is stopped. Each of many
    processes is given the run, and the first one writes.

    As a context, a trainer holds the run's lock and notes signals. :meth:`fit` enters it by itself;
    whoever has more to write when training has ended opens it around both.

    >>> from equilibria.data.batches import Batches
    >>> from equilibria.games.toy import XYGame
    >>> from equilibria.solvers import Optimiser, Simultaneous
    >>> import torch
    >>> solver = Simultaneous(Optimiser("sgd", rate=0.1))
    >>> batches = Batches(torch.ones(8, 3), batch_size=4, stream=Stream(0))
    >>> Trainer([Stage("xy", XYGame(1.0, 1.0), solver, batches, steps=5)], Stream(0)).fit()
    5
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        stream: Stream,
        run: Run | None = None,
        processes: Processes | None = None,
        verbose: bool = True,
        seconds: float = 0.0,
    ):
        self.stages, self.stream, self.run = list(stages), stream, run
        self.processes, self.verbose = processes or Processes(), verbose
        self.history: list[dict[str, Any]] = []
        self.warnings: list[str] = []  # of this start; and what every later one says too
        self.told: list[str] = []
        self._stage, self._step, self._seconds = 0, 0, seconds
        self._saved_at: tuple[int, int] | None = None
        self._began, self._checkpoint_at = 0.0, 0.0
        self._held, self._interrupts = contextlib.ExitStack(), Interrupts()
        self._entered = False
        for stage in self.stages:
            stage.solver.reduce = self.processes.average
            stage.solver.bind(stage.game)
            self.processes.share(stage.game)

    def __enter__(self) -> Trainer:
        with contextlib.ExitStack() as stack:
            if self.run is not None and self.processes.writes:
                stack.enter_context(self.run.lock())
            self._interrupts = stack.enter_context(Interrupts())
            self._held, self._entered = stack.pop_all(), True
        return self

    def __exit__(self, kind: object, error: BaseException | None, *trace: object) -> None:
        self._entered = False
        self._held.close()
        number = self._interrupts.signal
        if kind is None and number is not None:  # it came when nothing was left to stop
            where = "" if self.run is None else f" The model is in {self.run.path}."
            what = f"Signal {number} came when training had ended.{where}"
            raise TrainingInterrupted(number, what)
        if isinstance(error, TrainingInterrupted) and not str(error):  # nothing else met it in time
            raise self._interruption(error.signal, "What was saved last stays") from error

    @property
    def step(self) -> int:
        """Steps played so far, over all stages."""
        return sum(stage.steps for stage in self.stages[: self._stage]) + self._step

    def fit(self, resume: bool = False) -> int:
        """Play every stage to its end; returns the number of steps.

        With ``resume`` it goes on from the run folder's last good checkpoint, or from the start if
        there is none yet. A cost or a parameter that is not finite is a ``DivergedError``, and the
        checkpoints saved before stay; a signal is a ``TrainingInterrupted`` once the state
        has been saved.
        """
        if not self._entered:
            with self:
                return self.fit(resume)
        if resume:
            self._resume()
            last = self.stages[-1]
            if self._stage == len(self.stages) and last.on_end is not None:
                last.on_end()  # what it hands over (chains, say) is in no game's state
        self._began = time.monotonic() - self._seconds
        self._checkpoint_at = time.monotonic() + CHECKPOINT_SECONDS
        while self._stage < len(self.stages):
            stage = self.stages[self._stage]
            self._play(stage)
            self._check(stage)
            stage.end()
            self._stage, self._step = self._stage + 1, 0
            self._save()
            if self.processes.any(self._interrupts.signal is not None):
                self._stop(stage)
        self._interrupts.patience = PATIENCE  # what follows has no long steps
        for stage in self.stages:
            self.processes.collect(stage.game)
            if stage.on_finish is not None:
                stage.on_finish()
        return self.step

    # ---------------------------------------------------------------- one stage

    def _play(self, stage: Stage) -> None:
        stream = self.stream.child("stage", stage.name)
        shown = self.verbose and self.processes.writes
        with Progress(stage.name, stage.steps, start=self._step, verbose=shown) as progress:
            while self._step < stage.steps:
                self._round(stage, stream.child(self._step), progress)
                agreed = self.processes.world == 1 or self._step % SYNC == 0
                if agreed and self._step < stage.steps:
                    self._pause(stage)

    def _round(self, stage: Stage, key: Stream, progress: Progress) -> None:
        """One step, and what is reported of it."""
        own = key.shard(self.processes.rank)
        logged = _falls_due(self._step, stage.steps, stage.rows) or self._step == 0
        checked = _falls_due(self._step, stage.steps, stage.checks)
        measured = logged or progress.due()
        began = time.monotonic()
        info = stage.advance(own, measured)
        values = {name: float(value) for name, value in info.items()}
        self._step += 1
        slow = SLACK * (SYNC if self.processes.world > 1 else 1) * (time.monotonic() - began)
        self._interrupts.patience = max(self._interrupts.patience, slow)
        self._seconds = time.monotonic() - self._began
        if logged:
            values = self.processes.mean(values)
            self._log(stage, values)
        if values:
            progress.advance(self._step, **values)
        if checked:
            self._validate(stage, key)

    def _pause(self, stage: Stage) -> None:
        """Between two steps: save if it is time, stop if that was asked."""
        late = time.monotonic() >= self._checkpoint_at
        if self.run is not None and self.processes.any(late):
            self._check(stage)
            self._save()
            self._checkpoint_at = time.monotonic() + CHECKPOINT_SECONDS
        if self.processes.any(self._interrupts.signal is not None):
            self._stop(stage)

    def _stop(self, stage: Stage) -> None:
        if self.run is not None:
            self._check(stage)
            self._save()
        number = self._interrupts.signal or int(SIGTERM)  # another process's
        raise self._interruption(number, "The state is saved")

    def _interruption(self, number: int, saved: str) -> TrainingInterrupted:
        total = sum(stage.steps for stage in self.stages)
        where = f"Stopped by signal {number} at step {self.step} of {total}."
        what = "Nothing was saved: give `out` a folder to be able to resume."
        if self.run is not None and self.run.aside:
            what = f"Nothing was saved, and the former run in {self.run.path} stays."
        elif self.run is not None:
            saved = saved if self.run.steps() else "Nothing was saved yet"
            what = f"{saved}; go on with: equilibria resume {self.run.path}"
        return TrainingInterrupted(number, f"{where} {what}")

    # ---------------------------------------------------------------- what is written

    def _log(self, stage: Stage, values: dict[str, float]) -> None:
        wrong = [name for name, value in values.items() if not math.isfinite(value)]
        if wrong:
            self._diverged(stage, f"{', '.join(wrong)} is not finite")
        place = {"step": self.step, "stage": stage.name, "stage_step": self._step}
        row = {**place, "seconds": round(self._seconds, 3), **values}
        self.history.append(row)
        if self.run is not None and self.processes.writes:
            self.run.log(row)

    def _validate(self, stage: Stage, key: Stream) -> None:
        self._check(stage)
        if stage.monitor is not None or stage.best is not None:
            self._log(stage, stage.measure(key.child("monitor")))
        if self.run is not None and self.processes.writes:
            pictures = stage.show(key.child("pictures"))
            if pictures is not None:
                name = stage.name.replace(" ", "-")
                save_grid(self.run.sample_path(self.step, name), pictures)

    def _check(self, stage: Stage) -> None:
        if not bool(finite(stage.game)):
            self._diverged(stage, "a parameter or a chain is not finite")

    def _diverged(self, stage: Stage, what: str) -> None:
        kept = "Nothing was saved."
        if self.run is not None and self.run.steps():
            kept = f"The last good checkpoint in {self.run.path} is kept."
        raise DivergedError(
            f"Stage {stage.name!r} diverged at step {self._step}: {what}. {kept} Try a learning "
            "rate three to ten times smaller, or look for values far from the rest in the data."
        )

    # ---------------------------------------------------------------- checkpoints

    def _save(self) -> None:
        place = (self._stage, self._step)
        if self.run is None or self._saved_at == place:
            return
        self._saved_at = place
        state = {
            "stage": self._stage,
            "step": self._step,
            "seconds": self._seconds,
            "processes": self.processes.world,
            "told": self.told,
            "games": {s.name: self.processes.gathered(s.game) for s in self.stages},
            "solvers": {s.name: s.solver.state_dict() for s in self.stages},
            "positions": {s.name: s.batches.position for s in self.stages},
            "averages": {s.name: s.average.state_dict() for s in self.stages if s.average},
            "best": {s.name: s.best.state_dict() for s in self.stages if s.best},
        }
        if self.processes.writes:
            self.run.save_checkpoint(state, self.step)

    def _resume(self) -> None:
        assert self.run is not None, "to resume takes a run"
        logged: Any = durable.fingerprint(b"")
        if self.run.steps():  # a run that was stopped before its first checkpoint begins again
            _, state, self.warnings, logged = self.run.load_checkpoint()
            try:
                self._restore(state)
            except durable.MALFORMED as error:
                what = f"is damaged: its checkpoint is not of its configuration ({error!r})"
                advice = "restore it from a copy, or train again from the start"
                raise RunError(f"run={str(self.run.path)!r} {what}; {advice}") from error
        if self.processes.writes:
            self.run.truncate_metrics(self.step, logged)
        self.history = [row for row in self.run.metrics(logged) if row["step"] <= self.step]

    def _restore(self, state: dict[str, Any]) -> None:
        self._stage, self._step = self._saved_at = (state["stage"], state["step"])
        self._seconds = state["seconds"]
        self.told = list(state.get("told", []))
        before, now = state.get("processes", self.processes.world), self.processes.world
        if before != now:
            what = f"{self.step} steps were played in {before} processes, the others in {now}"
            self.told.append(f"{what}: the same draws, and sums equal but for rounding.")
        for stage in self.stages:
            self.processes.restore(stage.game, state["games"][stage.name])
            stage.solver.load_state_dict(state["solvers"][stage.name])
            stage.batches.position = state["positions"][stage.name]
            if stage.average is not None:
                stage.average.load_state_dict(state["averages"][stage.name])
            if stage.best is not None:
                stage.best.load_state_dict(state["best"][stage.name])


def _falls_due(step: int, steps: int, times: int) -> bool:
    """Whether what is done at most ``times`` times in ``steps`` steps comes after this one.

    The last step is always among them.
    """
    return step + 1 == steps or (step + 1) % math.ceil(steps / times) == 0


# ------------------------------------------------------------------ a budget in minutes


def seconds_per_step(stage: Stage, seconds: float) -> tuple[float, float]:
    """Seconds that one step of a stage takes, and those that all of its validation checks take.

    Steps are played for about so many ``seconds``, at least six; the state of the stage is spent.
    """
    key = Stream(0).child("budget", stage.name)
    stage.solver.bind(stage.game)
    some = next(iter(stage.game.parameters())).detach()
    block = 1 if some.device.type == "cpu" else BLOCK
    marks, began = list[float](), CLOCK()  # the first block, which warms up, ends at the first mark
    while len(marks) < FEWEST or marks[-1] - began < seconds:
        for i in range(block):
            stage.advance(key.child(len(marks), i), measure=False)
        float(some.reshape(-1)[0])  # wait for the device
        marks.append(CLOCK())
    taken = sorted((b - a) / block for a, b in pairwise(marks))
    kept = taken[: max(1, int(0.9 * len(taken)))]  # a pause of the machine is no step
    for _ in range(2):  # what the first check keeps for the others is not counted for each
        began = CLOCK()
        stage.measure(key.child("monitor"))
        stage.show(key.child("pictures"))
    return sum(kept) / len(kept), stage.checks * (CLOCK() - began)


def share_within(minutes: float, stages: Sequence[Stage]) -> tuple[float, float]:
    """The share of these stages' steps that takes about so many minutes, which may be above 1, or
    below 0 where their checks alone take longer; and the seconds of trial and checks.

    The stages are spent.
    """
    began, budget = CLOCK(), 60 * minutes
    trial = min(TIMED * budget, TRIAL_SECONDS)
    times = [seconds_per_step(stage, trial / len(stages)) for stage in stages]
    spent = CLOCK() - began + sum(checks for _, checks in times)
    whole = sum(stage.steps * one for stage, (one, _) in zip(stages, times, strict=True))
    return (budget - spent) / whole, spent
