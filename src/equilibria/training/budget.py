"""A budget in minutes as a length of training: the first updates of a trial are timed, once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import pairwise

from equilibria.random import Stream
from equilibria.training.stage import Stage
from equilibria.training.trainer import CHECKS_PER_STAGE

__all__ = ["seconds_per_step", "share_within"]

TIMED = 0.03  # share of the budget that a trial may take
FEWEST = 6  # blocks of updates of a stage that are timed at least, the first of them left out
BLOCK = 10  # updates in a block where the device works while Python goes on
CLOCK: Callable[[], float] = time.monotonic


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
    for _ in range(2):  # what the first check keeps for the others is not counted ten times
        began = CLOCK()
        stage.measure(key.child("monitor"))
        stage.show(key.child("pictures"))
    return sum(kept) / len(kept), CHECKS_PER_STAGE * (CLOCK() - began)


def share_within(minutes: float, stages: Sequence[Stage]) -> tuple[float, float]:
    """The share of these stages' steps that takes about so many minutes, which may be above 1, or
    below 0 where their checks alone take longer; and the seconds of trial and checks.

    The stages are spent.
    """
    began, budget = CLOCK(), 60 * minutes
    times = [seconds_per_step(stage, TIMED * budget / len(stages)) for stage in stages]
    spent = CLOCK() - began + sum(checks for _, checks in times)
    whole = sum(stage.steps * one for stage, (one, _) in zip(stages, times, strict=True))
    return (budget - spent) / whole, spent
