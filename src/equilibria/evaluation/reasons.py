"""Why samples are told from rows, in words: the rules of a tree of three questions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from equilibria.evaluation.beside import Cells, spelt
from equilibria.evaluation.two_sample import area, detectable, of_area, with_gaps
from equilibria.numbers import Measure
from equilibria.random import Stream

__all__ = ["Reason", "reasons"]

DEPTH = 3
FEWEST = 20  # rows, and samples
DAYS = 60 * 86400.0  # dates of a longer range are told to the day
TIED = 0.9  # share of the cells of a rule, from which the one value is named that they have
LEAST = 0.02  # share of the rows and samples that a rule must hold of


@dataclasses.dataclass(frozen=True)
class Reason:
    """A rule, and the shares of the rows and of the samples that it holds of.

    Shares are of the half that the tree has not seen.
    """

    rule: str
    rows: float
    samples: float


@dataclasses.dataclass(frozen=True)
class _Question:
    """One column that the tree sees: a column's number, or whether it has a level."""

    place: int
    cells: Cells
    level: int | None

    def answers(self, table: np.ndarray) -> np.ndarray:
        """What the tree sees of a table's rows, NaN where the cell is missing."""
        column = table[:, self.place]
        return (
            column
            if self.level is None
            else np.where(np.isnan(column), np.nan, column == self.level)
        )


def reasons(columns: Sequence[Cells], stream: Stream) -> tuple[tuple[Reason, ...], Measure | None]:
    """Rules that tell samples from rows, the most telling first, and the tree's area under the
    curve.

    The tree learns on one half of either, and is judged on the other; where it tells them apart no
    better than chance, no rule is given. Samples without any gap are given the rows' gaps, so that
    a gap tells nothing.
    """
    both = [np.stack(part, 1) for part in ([c.rows for c in columns], [c.samples for c in columns])]
    if min(map(len, both)) < FEWEST:
        return (), None
    both[1] = with_gaps(both[1], both[0])
    asked = [_Question(*one) for place, cells in enumerate(columns) for one in _asked(place, cells)]
    known, fresh = [], []
    for part, name in zip(both, ("rows", "samples"), strict=True):
        order, half = stream.child(name).permutation(len(part)).numpy(), len(part) // 2
        answers = np.stack([question.answers(part) for question in asked], 1)[order]
        known.append(answers[:half])
        fresh.append(answers[half:])
    how: dict[str, Any] = {"class_weight": "balanced", "random_state": stream.integer() % 2**32}
    how["min_samples_leaf"] = max(5, round(LEAST * sum(map(len, known))))
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(max_depth=DEPTH, **how)
    tree.fit(np.concatenate(known), np.repeat([0, 1], [*map(len, known)]))
    value = area(*(tree.predict_proba(part)[:, 1] for part in fresh))
    n, m = map(len, fresh)
    name = "area under the curve of a tree of three questions"
    told = of_area(name, value, n, m, detectable(n, m))
    if value < detectable(n, m, power=0.5):
        return (), told
    leaves = [tree.apply(part) for part in fresh]
    found = [
        Reason(rule, *(float((one == leaf).mean()) for one in leaves))
        for leaf, rule in _rules(tree.tree_, asked)
    ]
    return tuple(sorted(found, key=lambda one: -abs(one.rows - one.samples))), told


def _asked(place: int, cells: Cells) -> Iterator[tuple[int, Cells, int | None]]:
    """A number itself; of values whether each is there, of two the first."""
    if not cells.levels:
        yield place, cells, None
    for level in range(1 if len(cells.levels) == 2 else len(cells.levels)):
        yield place, cells, level


# ------------------------------------------------------------------ words


def _rules(tree: Any, asked: Sequence[_Question]) -> Iterator[tuple[int, str]]:
    """Each leaf of a tree, and the conditions on the way to it."""
    waiting: list[tuple[int, tuple[tuple[int, float, bool, bool], ...]]] = [(0, ())]
    while waiting:
        node, path = waiting.pop()
        left, right = int(tree.children_left[node]), int(tree.children_right[node])
        if left < 0:
            yield node, _said(path, asked)
            continue
        feature, cut = int(tree.feature[node]), float(tree.threshold[node])
        gap = bool(tree.missing_go_to_left[node])
        waiting += [(left, (*path, (feature, cut, True, gap)))]
        waiting += [(right, (*path, (feature, cut, False, not gap)))]


def _said(path: Sequence[tuple[int, float, bool, bool]], asked: Sequence[_Question]) -> str:
    """Conditions in words; those on one number are one."""
    parts = []
    for feature in dict.fromkeys(step[0] for step in path):
        steps = [step[1:] for step in path if step[0] == feature]
        parts.append(_condition(asked[feature], steps))
    return ", ".join(parts) or "any row"


def _condition(question: _Question, steps: Sequence[tuple[float, bool, bool]]) -> str:
    """What was asked of one number or level: (cut, whether below it, whether gaps go along)."""
    name, cells = question.cells.name, question.cells
    low = max((cut for cut, below, _ in steps if not below), default=-math.inf)
    high = min((cut for cut, below, _ in steps if below), default=math.inf)
    gaps = bool(np.isnan(cells.rows).any() or np.isnan(cells.samples).any())
    gaps = gaps and all(along for *_, along in steps)
    if low == math.inf or (math.isinf(low) and math.isinf(high)):  # only whether it is missing
        return f"{name} is missing" if gaps else f"{name} is known"
    or_gap = " (or missing)" if gaps else ""
    if question.level is not None:
        yes = high == math.inf
        if len(cells.levels) == 2:
            return f"{name} is {cells.levels[0 if yes else 1]}{or_gap}"
        return f"{name} is {'' if yes else 'not '}{cells.levels[question.level]}{or_gap}"
    return f"{_between(cells, low, high)}{or_gap}"


def _between(cells: Cells, low: float, high: float) -> str:
    """Where a number lies: low < it ≤ high; or the one value that most such cells have."""
    if cells.holds == "whole":
        low, high = (math.floor(v) if math.isfinite(v) else v for v in (low, high))
    inside = np.concatenate([part[(part > low) & (part <= high)] for part in cells.known])
    values, counts = np.unique(inside, return_counts=True)
    if len(values) and counts.max() >= TIED * len(inside):
        return f"{cells.name} = {spelt(float(values[counts.argmax()]), cells.holds)}"
    ends = [end for end in (low, high) if math.isfinite(end)]
    span = float(np.ptp(np.concatenate(cells.known))) if cells.holds == "date" else math.inf
    words = [spelt(end, cells.holds, min(span, DAYS)) for end in ends]
    if len(ends) == 2:
        return f"{words[0]} < {cells.name} ≤ {words[1]}"
    return f"{cells.name} {'>' if math.isfinite(low) else '≤'} {words[0]}"
