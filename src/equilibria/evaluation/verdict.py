"""What held-out rows say of a model: answers, their numbers, and what they are good for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from equilibria.numbers import Measure
from equilibria.random import Stream

__all__ = ["Answer", "Verdict", "calibrated", "difference"]

YES, NO, UNKNOWN = "yes", "no", "unknown"
DRAWS = 999  # of labels from their probabilities
ALARM = 0.05


@dataclasses.dataclass(frozen=True)
class Answer:
    """A question, what is to be said, in short ("yes", "no" or "unknown") and in a sentence, and
    the numbers behind it."""

    question: str
    short: str
    sentence: str
    measures: tuple[Measure, ...] = ()

    def __str__(self) -> str:
        return f"{self.question} {self.short.capitalize()}: {self.sentence}"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Answers about a model, and what it may be used for.

    Attributes
    ----------
    answers : tuple of Answer
        Is the density right? Can samples be told from data? Does it leak training rows? Is a row
        odd?
    uses : dict of str to Answer
        Of each use: "simulate", "publish rows", "compare likelihoods", "fill in", "flag odd rows".
    """

    answers: tuple[Answer, ...]
    uses: Mapping[str, Answer]

    def __str__(self) -> str:
        uses = [f"  {name}: {one.short}, {one.sentence}" for name, one in self.uses.items()]
        return "\n".join([*map(str, self.answers), "What it may be used for:", *uses])

    def __getitem__(self, question: str) -> Answer:
        """The answer whose question holds these words, or the use of that name."""
        if question in self.uses:
            return self.uses[question]
        found = [one for one in self.answers if question.lower() in one.question.lower()]
        if len(found) != 1:
            asked = [*(one.question for one in self.answers), *self.uses]
            raise KeyError(f"{question!r}: expected words of one of {asked}")
        return found[0]

    @property
    def measures(self) -> list[Measure]:
        """All numbers, in the order of the answers."""
        return [measure for one in self.answers for measure in one.measures]

    def to_json(self) -> dict[str, Any]:
        def plain(one: Answer) -> dict[str, Any]:
            measures = [measure.to_json() for measure in one.measures]
            return {**dataclasses.asdict(one), "measures": measures}

        uses = {name: plain(one) for name, one in self.uses.items()}
        return {"answers": [plain(one) for one in self.answers], "uses": uses}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Verdict:
        """The inverse of :meth:`to_json`."""

        def answer(one: Mapping[str, Any]) -> Answer:
            measures = tuple(Measure.from_json(measure) for measure in one["measures"])
            return Answer(one["question"], one["short"], one["sentence"], measures)

        uses = {name: answer(one) for name, one in data["uses"].items()}
        return cls(tuple(map(answer, data["answers"])), uses)


def difference(scores: np.ndarray, floor: np.ndarray, name: str) -> Measure:
    """Nats a row by which a model beats another on the same rows: the mean of paired differences.

    >>> difference(np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, 2.0]), "gain").value
    1.0
    """
    gain = scores - floor
    error = 1.96 * float(gain.std(ddof=1)) / math.sqrt(len(gain))
    value = float(gain.mean())
    how: dict[str, Any] = {"n": len(gain), "method": "paired differences", "chance": error}
    return Measure(name, value, value - error, value + error, **how)


def calibrated(proba: np.ndarray, codes: np.ndarray, stream: Stream) -> Measure:
    """Expected calibration error of predicted classes: over ten bins of equal counts the mean
    distance between the most probable class's probability and how often it is right.

    ``chance`` is the error that 95 % of label draws from the probabilities themselves stay below.
    """
    best, right = proba.max(1), proba.argmax(1) == codes
    bins = np.array_split(np.argsort(best, kind="stable"), 10)

    def error(hits: np.ndarray) -> float:
        gaps = (abs(float((hits[one] - best[one]).sum())) for one in bins)
        return sum(gaps) / len(best)

    draw = np.random.default_rng(stream.integer())
    draws = (draw.uniform(size=len(best)) < best for _ in range(DRAWS))
    chance = float(np.quantile([error(one.astype(float)) for one in draws], 1 - ALARM))
    value = error(right.astype(float))
    how: dict[str, Any] = {"n": len(best), "chance": chance, "ideal": 0.0}
    bad = "Probabilities of classes are not calibrated." if value > chance else ""
    return Measure("calibration error of predicted classes", value, warning=bad, **how)
