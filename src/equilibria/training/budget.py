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
FEWEST = 6  # updates of a stage that are timed at least, the first of them left out
CLOCK: Callable[[], float] = time.monotonic


def seconds_per_step(stage: Stage, seconds: float) -> tuple[float, float]:
    """Seconds that one step of a stage takes, and those that all of its validation checks take.

    Steps are played for about so many ``seconds``, at least six; the state of the stage is spent.
    """
    key = Stream(0).child("budget", stage.name)
    stage.solver.bind(stage.game)
    marks, began = list[float](), CLOCK()  # the first step, which warms up, ends at the first mark
    while len(marks) < FEWEST or (marks[-1] - began < seconds and len(marks) < stage.steps):
        own = key.child(len(marks))
        stage.solver.step(stage.game, stage.source(own), own, measure=False)
        if stage.average is not None:
            stage.average.update()
        float(next(iter(stage.game.parameters())).detach().reshape(-1)[0])  # wait for a GPU
        marks.append(CLOCK())
    taken = sorted(b - a for a, b in pairwise(marks))
    kept = taken[: max(1, int(0.9 * len(taken)))]  # a pause of the machine is no step
    for _ in range(2):  # what the first check keeps for the others is not counted ten times
        began = CLOCK()
        stage.measure(key.child("monitor"))
        stage.show(key.child("pictures"))
    return sum(kept) / len(kept), CHECKS_PER_STAGE * (CLOCK() - began)


def share_within(minutes: float, stages: Sequence[Stage]) -> float:
    """The share of these stages' steps that takes about so many minutes; it may be above 1.

    The stages are spent. A ``ValueError`` says where there is no time for one step of each.
    """
    times = [seconds_per_step(stage, TIMED * 60 * minutes / len(stages)) for stage in stages]
    left = 60 * (1 - TIMED) * minutes - sum(checks for _, checks in times)
    whole = sum(stage.steps * one for stage, (one, _) in zip(stages, times, strict=True))
    if left < sum(one for one, _ in times):
        least = (60 * minutes - left + sum(one for one, _ in times)) / 60
        raise ValueError(
            f"minutes={minutes!r}: one step of these rows and its checks take about {least:.2g} "
            "minutes; give it more, or make the model smaller"
        )
    return left / whole
