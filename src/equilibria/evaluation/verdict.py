"""What held-out rows say of a model, or of samples: answers, their numbers, and what they are good
for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from equilibria.evaluation.two_sample import (
    SEEN,
    areas,
    detectable,
    give_away,
    of_area,
    told_apart,
    with_gaps,
)
from equilibria.numbers import Measure
from equilibria.random import Stream

__all__ = ["Answer", "Verdict", "calibrated", "difference", "leaks", "membership", "told"]

YES, NO, UNKNOWN = "yes", "no", "unknown"
DRAWS = 999  # of labels from their probabilities
ALARM = 0.05
FEWEST = 40  # held-out rows, below which nothing is said
SURE = 0.999  # of a sentence about leaks
FOUND = 0.7  # area under the curve that an attack must find, for a "no" to mean anything
TOLD, LEAKS = "Can samples be told from data?", "Does it leak training rows?"


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

    def __getitem__(self, words: str) -> Measure:
        """The first number whose name has these words."""
        for one in self.measures:
            if words in one.name:
                return one
        raise KeyError(f"{words!r}: expected words of {[one.name for one in self.measures]}")

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "measures": [measure.to_json() for measure in self.measures]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Answer:
        """The inverse of :meth:`to_json`."""
        measures = tuple(Measure.from_json(measure) for measure in data["measures"])
        return cls(data["question"], data["short"], data["sentence"], measures)


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
        uses = {name: one.to_json() for name, one in self.uses.items()}
        return {"answers": [one.to_json() for one in self.answers], "uses": uses}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Verdict:
        """The inverse of :meth:`to_json`."""
        uses = {name: Answer.from_json(one) for name, one in data["uses"].items()}
        return cls(tuple(map(Answer.from_json, data["answers"])), uses)


def told(
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
    samples: np.ndarray,
    owner: Sequence[int],
    names: Sequence[str],
    stream: Stream,
) -> Answer:
    """A two-sample test by boosted trees, and what it can see with so many rows.

    Folds are those of :func:`~equilibria.evaluation.two_sample.told_apart`; ``owner`` says of each
    encoded column which of ``names`` it is of.
    """
    rows = np.concatenate([new for _, new in folds])
    gaps = " Gaps are taken to come at random."
    gaps = gaps * bool(np.isnan(rows).any() and not np.isnan(samples).any())
    samples = with_gaps(samples, rows)
    found = told_apart(folds, samples, stream)
    mixed = _shuffled(np.concatenate([known for known, _ in folds]), len(samples), owner, stream)
    name = "C2ST area under the curve, columns shuffled one by one"
    control = told_apart(folds, with_gaps(mixed, rows), stream.child("control"), name)
    measures: tuple[Measure, ...] = (found, control)
    seen = f"{found.value:.3f} where .5 is chance and {found[SEEN].value:.3f} would have been "
    seen += f"seen; shuffled columns reach {control.value:.3f}"
    if found.warning:
        worst = give_away(rows, samples, owner, names, stream.child("columns"))
        what = "; most by " + ", ".join(f"{name} ({v:.2f})" for v, name in worst[:3])
        said = f"boosted trees put a sample above a row with probability {seen}"
        near = " They are nearer to training rows than held-out rows are."
        near = near if found.value < 0.5 else ""
        return Answer(TOLD, YES, f"{said}{what if worst else ''}.{near}{gaps}", measures)
    if not control.warning and len(set(owner)) > 1:
        said = f"the area under the curve is {seen}: no dependence between columns is seen"
        said = f"{said} in these rows, so a model without any would pass."
        return Answer(TOLD, UNKNOWN, f"{said}{gaps}", measures)
    said = f"the area under the curve is {seen}. {found.note}{gaps}"
    return Answer(TOLD, NO, said, measures)


def _shuffled(rows: np.ndarray, n: int, owner: Sequence[int], stream: Stream) -> np.ndarray:
    """So many rows each of whose columns comes from a row of its own that has it."""
    owners, parts = np.asarray(owner), np.full((n, rows.shape[1]), np.nan)
    for column in np.unique(owners):
        own = rows[:, owners == column]
        own = own[~np.isnan(own).any(1)]
        if len(own):
            key = stream.child("shuffled", int(column))
            parts[:, owners == column] = own[key.integers((n,), len(own)).numpy()]
    return parts


def membership(control: np.ndarray, train: np.ndarray, method: str, stream: Stream) -> Measure:
    """An attack on who was trained on: how often a training row scores above a held-out one.

    Scores are of how much better than usual a row is known; the p-value is by permutations. Its
    part is the area that would have been seen.
    """
    value, p, _ = areas(control, train, stream)
    what = "Training rows are known better than held-out ones." if p <= 1 - SURE else ""
    name, sizes = (
        "area under the curve, training rows against held-out rows",
        (len(control), len(train)),
    )
    how: dict[str, Any] = {"n": len(control), "method": f"{method}, p = {p:.3g}", "warning": what}
    return of_area(name, value, *sizes, detectable(*sizes, 1 - SURE), **how)


def leaks(found: Sequence[Measure], tests: int) -> Answer:
    """Whether training rows show, by what was found of so many tests that there are."""
    said = "; ".join(map(_leak_said, found))
    if any(one.warning for one in found):
        return Answer(LEAKS, YES, f"{said}.", tuple(found))
    weak = [one for one in found if SEEN in (part.name for part in one.parts)]
    if len(found) < tests or not found or any(one[SEEN].value > FOUND for one in weak):
        few = f"{said or 'no test could be made'}: too few rows, or too many gaps, to tell"
        return Answer(LEAKS, UNKNOWN, f"{few}.", tuple(found))
    return Answer(LEAKS, NO, f"not that these rows show: {said}.", tuple(found))


def _leak_said(one: Measure) -> str:
    if SEEN in (part.name for part in one.parts):
        known = f"an attack on who was trained on has an area under the curve of {one.value:.3f}"
        return f"{known} ({one[SEEN].value:.3f} would have been seen)"
    copies = one["samples that are a training row"]
    said = f"{100 * copies.value:.2g} % of samples are training rows"
    return f"{said}, {100 * (copies.ideal or 0):.2g} % of held-out rows are"


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
