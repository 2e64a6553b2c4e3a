"""Samples beside rows, two tables of the same columns as people have them: :func:`evaluate`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from equilibria.data.columns import listed, nearest_name
from equilibria.data.table import Table
from equilibria.evaluation.margins import associations, margins
from equilibria.evaluation.quality import memorisation
from equilibria.evaluation.statistics import encoded, nearest_row, wilson
from equilibria.evaluation.two_sample import area
from equilibria.evaluation.verdict import (
    FEWEST,
    LEAKS,
    NO,
    UNKNOWN,
    YES,
    Answer,
    leaks,
    membership,
    told,
)
from equilibria.numbers import Measure
from equilibria.random import RandomState, Stream, as_stream

__all__ = ["Evaluation", "evaluate"]

LEAST = 10  # rows of each table
ROWS, REAL_ROWS = 5000, 20_000  # that neighbours are sought of, and among
RESAMPLES = 200  # of the rows that predictions are judged by
LINES = 20  # of columns that are printed
SHAPES, TRENDS = "column shapes", "pair trends"
ALIKE = "Are the columns distributed alike?"
TOGETHER = "Do the columns depend on each other alike?"
USE = "Are samples of use to predict?"


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What is said of samples beside rows: five answers, each with its numbers.

    ``print`` shows the sentences and a line for each column; ``found["told"]`` is an answer too,
    and ``found.use["trained on samples"]`` a number by words of its name.

    Attributes
    ----------
    rows, samples, control : int
        How many there were.
    margins : Answer
        Columns one by one: "column shapes", one less the mean distance, and each column's.
    associations : Answer
        Pairs of columns: "pair trends", their mean similarity, and each pair's, furthest first.
    told : Answer
        Whether boosted trees tell samples from rows.
    use : Answer
        How well a column is predicted by trees that were trained on samples.
    leaks : Answer
        Copies, nearest rows, and an attack on who was trained on.
    left_out : tuple of str
        Columns that nothing is said of: constant ones, and text whose values hardly recur.
    """

    rows: int
    samples: int
    control: int
    margins: Answer
    associations: Answer
    told: Answer
    use: Answer
    leaks: Answer
    left_out: tuple[str, ...] = ()

    @property
    def answers(self) -> dict[str, Answer]:
        """The five answers by their names."""
        found = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: one for name, one in found.items() if isinstance(one, Answer)}

    @property
    def measures(self) -> list[Measure]:
        """All numbers, in the order of the answers."""
        return [measure for one in self.answers.values() for measure in one.measures]

    def __getitem__(self, name: str) -> Answer:
        if name not in self.answers:
            raise KeyError(f"{name!r}: expected one of {list(self.answers)}")
        return self.answers[name]

    @property
    def table(self) -> list[list[str]]:
        """A header and a line for each number of a column, the furthest first."""
        found = [["column by column", "found", "ideal", "twice the sampling error", ""]]
        for one in sorted(self.margins.measures[1:], key=_apart):
            cells = [f"{value:.3f}" for value in (one.value, one.ideal or 0.0, one.chance or 0.0)]
            found.append([one.name, *cells, "not chance" if one.warning else ""])
        return found

    def __str__(self) -> str:
        held = f", {self.control:,} held-out rows" if self.control else ""
        first = f"{self.samples:,} samples beside {self.rows:,} rows{held}."
        left = f" Nothing is said of {listed(self.left_out)}." if self.left_out else ""
        lines, more = self.table[: LINES + 1], len(self.table) - LINES - 1
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        shown = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in lines
        ]
        shown += [f"… and {more} more, which are nearer."] if more > 0 else []
        return "\n".join([first + left, "", *map(str, self.answers.values()), "", *shown])

    def to_json(self) -> dict[str, Any]:
        said = {name: one.to_json() for name, one in self.answers.items()}
        return {**vars(self), **said, "left_out": list(self.left_out)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Evaluation:
        """The inverse of :meth:`to_json`."""
        said = {k: Answer.from_json(v) if isinstance(v, Mapping) else v for k, v in data.items()}
        return cls(**{**said, "left_out": tuple(data["left_out"])})


def evaluate(
    real: Any,
    samples: Any,
    *,
    target: Any = None,
    control: Any = None,
    random_state: RandomState = 0,
) -> Evaluation:
    """Samples beside real rows: how alike they are, what they are good for, and what they leak.

    *Margins*: Kolmogorov's distance of each number, total variation of each category, missing
    cells, beside twice their sampling errors. *Associations*: correlations of numbers and shares of
    pairs of categories, as in SDMetrics. *Told*: boosted trees try to tell samples from rows.
    *Use*: trees are trained on samples to predict a column of real rows (train on synthetic, test
    on real). *Leaks*: copies, nearest rows, and an attack on who was trained on, by how much nearer
    a row is to the samples than to other rows (after van Breugel et al. 2023, "Membership inference
    attacks against synthetic data through overfitting detection").

    Parameters
    ----------
    real : DataFrame or array-like of shape (n, d)
        The rows that the samples stand for: text, categories, numbers, dates, missing cells; 10 at
        least.
    samples : DataFrame or array-like of shape (m, d)
        Rows of the same columns, in any order; 10 at least.
    target : str or int, optional
        The column to predict; categories by the area under the ROC curve (of each against the rest,
        their mean), numbers by R².
    control : DataFrame or array-like, optional
        Real rows that the samples were not made from. Without them nothing can be said of leaks
        but copies, and *told* and *use* are judged by ``real``.
    random_state : int or Stream
        Of the trees, and of the order of rows.

    Returns
    -------
    Evaluation

    Examples
    --------
    >>> import pandas as pd
    >>> rows = pd.DataFrame({"sex": ["f", "m"] * 100, "size": np.arange(200) % 14 + [0.5, 9] * 100})
    >>> mixed = rows.assign(sex=rows.sex.sample(frac=1, random_state=0).to_numpy())
    >>> found = evaluate(rows[:100], mixed, target="sex", control=rows[100:])
    >>> found.margins.short, found.associations.short, found.told.short, found.use.short
    ('yes', 'no', 'yes', 'no')
    """
    stream = as_stream(random_state).child("evaluate")
    given = {"real": real, "samples": samples}
    given |= {} if control is None else {"control": control}
    table, encodings = encoded(**given)
    for name, rows in zip(given, encodings, strict=True):
        if len(rows) < LEAST:
            raise ValueError(f"{name} has {len(rows)} rows; expected {LEAST} or more")
    place = None if target is None else _target(table, target)
    order = [stream.child(name).permutation(len(x)).numpy() for name, x in zip(given, encodings)]
    mixed = [rows[one] for rows, one in zip(encodings, order, strict=True)]
    rows, drawn = mixed[:2]
    held = mixed[2] if control is not None else None
    columns = _Columns(table)
    cells = [columns.cells(part) for part in (rows, drawn)]
    half = len(rows) // 2
    folds = [(rows, held)] if held is not None else []
    folds = folds or [(rows[:half], rows[half:]), (rows[half:], rows[:half])]
    names = [columns.called.get(place, "") for place in range(table.width)]
    return Evaluation(
        len(rows),
        len(drawn),
        0 if held is None else len(held),
        _margins(margins(*cells, columns.coded, columns.names)),
        _associations(associations(*cells, columns.coded, columns.names)),
        told(folds, drawn, table.owner, names, stream),
        _use(columns, place, rows, drawn, held, stream.child("use")),
        _leaks(rows, drawn, held, stream.child("leaks")),
        tuple(_called(table, place) for place, _ in table.aside),
    )


class _Columns:
    """The columns that a table encodes, one by one."""

    def __init__(self, table: Table):
        layers = [(layer, place) for layer in table.layers for place in layer.source]
        self.places = [place for _, place in layers]
        self.names = [_called(table, place) for place in self.places]
        self.called = dict(zip(self.places, self.names, strict=True))
        self.coded = [layer.categories is not None for layer, _ in layers]
        self.owner = np.asarray(table.owner)

    def cells(self, rows: np.ndarray) -> np.ndarray:
        """Encoded rows as (n, width): numbers, and codes of categories."""
        parts = []
        for place in self.places:
            own = rows[:, self.owner == place]
            code = np.where(np.isnan(own).any(axis=1), np.nan, own.argmax(axis=1))
            parts.append(own[:, 0] if own.shape[1] == 1 else code)
        return np.stack(parts, axis=1)


def _called(table: Table, place: int) -> str:
    """A column as numbers call it: by its name alone, where it has one."""
    name = place if table.names is None else table.names[place]
    return name if isinstance(name, str) else f"column {name}"


def _target(table: Table, target: Any) -> int:
    """The place of the column to predict."""
    names = list(table.names or range(table.width))
    aside = [names[place] for place, _ in table.aside]
    if target not in names or target in aside:
        what = "is constant, or text whose values hardly recur; name another"
        hint = what if target in aside else f"is no column; {nearest_name(target, names)}"
        raise ValueError(f"target={target!r} {hint}")
    return names.index(target)


# ------------------------------------------------------------------ the answers


def _apart(one: Measure) -> float:
    """How far a number is from its ideal in units of what chance gives, the furthest first."""
    error = abs((one.chance or 0.0) - (one.ideal if one.ideal == 1 else 0.0))
    return -abs(one.value - (one.ideal or 0.0)) / error if error else -math.inf


def _margins(found: Sequence[Measure]) -> Answer:
    """Columns one by one, after their mean."""
    apart = [one.value for one in found if not one.name.startswith("share of missing")]
    mean = Measure(SHAPES, 1 - float(np.mean(apart)), n=len(apart), ideal=1.0) if apart else None
    return _alike(ALIKE, "comparisons of columns", found, mean)


def _associations(found: Sequence[Measure]) -> Answer:
    """Pairs of columns, after their mean, the furthest first."""
    if not found:
        return Answer(TOGETHER, UNKNOWN, "there are no two columns to compare.")
    mean = Measure(TRENDS, float(np.mean([one.value for one in found])), n=len(found), ideal=1.0)
    return _alike(TOGETHER, "pairs", sorted(found, key=_apart), mean)


def _alike(question: str, what: str, found: Sequence[Measure], mean: Measure | None) -> Answer:
    """Whether no number is further from its ideal than chance takes it."""
    numbers = (*([] if mean is None else [mean]), *found)
    worst = sorted(found, key=_apart)
    off = [one for one in worst if one.warning]
    near = sum(-_apart(one) <= 1 for one in found)
    said = f"{near} of {len(found)} {what} are within twice their sampling errors"
    said += f" ({mean.name} {mean.value:.3f})" if mean is not None else ""
    shown = [f"{one.name} {one.value:.3f}" for one in (off or worst)[:3]]
    if off:
        said = f"{said}; {len(off)} further than chance takes them, most {'; '.join(shown)}."
        return Answer(question, NO, said, numbers)
    return Answer(question, YES, f"{said}; none is off by more than chance: {shown[0]}.", numbers)


def _use(
    columns: _Columns,
    place: int | None,
    rows: np.ndarray,
    drawn: np.ndarray,
    held: np.ndarray | None,
    stream: Stream,
) -> Answer:
    """Trees trained on samples, and as many real rows, judged by the same real rows."""
    if place is None:
        return Answer(USE, UNKNOWN, "no column to predict was named (target=).")
    own, n = columns.owner == place, min(len(rows), len(drawn))
    coded = columns.coded[columns.places.index(place)]
    at = columns.places.index(place)
    sets = {"samples": drawn[:n]} | ({} if held is None else {"real rows": rows[:n]})
    judged = rows if held is None else held
    truth = columns.cells(judged)[:, at]
    judged, truth = judged[~np.isnan(truth)][:, ~own], truth[~np.isnan(truth)]
    what = "area under the curve" if coded else "R²"
    score: Callable[[np.ndarray, np.ndarray], float] = _rest if coded else _explained
    predicted = {}
    for name, part in sets.items():
        labels = columns.cells(part)[:, at]
        known = ~np.isnan(labels)
        if len(np.unique(labels[known])) < 2 or len(np.unique(truth)) < 2:
            said = f"{columns.called[place]} has fewer than two values in {name} or in the rows."
            return Answer(USE, UNKNOWN, said)
        seed = stream.child(name).integer() % 2**32
        predicted[name] = _trees(part[known][:, ~own], labels[known], judged, coded, seed)
    draw = np.random.default_rng(stream.child("resamples").integer())
    picks = [draw.integers(len(truth), size=len(truth)) for _ in range(RESAMPLES)]
    again = {k: np.array([score(truth[i], p[i]) for i in picks]) for k, p in predicted.items()}
    found = {name: score(truth, part) for name, part in predicted.items()}
    if held is not None:
        found["difference"] = found["samples"] - found["real rows"]
        again["difference"] = again["samples"] - again["real rows"]
    chance = 0.5 if coded else 0.0
    numbers = []
    for name, value in found.items():
        ends = [float(end) for end in np.nanquantile(again[name], [0.025, 0.975])]
        of = f"{what} of trees trained on {name}"
        how: dict[str, Any] = {"n": len(truth), "method": f"predicts {columns.called[place]}"}
        how |= {"chance": chance, "ideal": found.get("real rows")}
        if name == "difference":
            of, how = f"{what}, samples less real rows", how | {"chance": None, "ideal": 0.0}
        numbers.append(Measure(of, value, *ends, **how))
    by = "those rows" if held is None else "held-out rows"
    said = f"trees trained on {n:,} samples predict {columns.called[place]} of {by} with "
    said += f"{'an area under the curve' if coded else 'an R²'} of {numbers[0].value:.3f}"
    if held is None:
        said += "; with held-out rows (control=) real rows would be beside them."
        low = (numbers[0].low or 0.0) <= chance
        return Answer(USE, NO if low else UNKNOWN, said, tuple(numbers))
    real, apart = numbers[1], numbers[2]
    said += f", trained on as many real rows {real.value:.3f} (difference {apart.value:+.3f}, "
    said += f"{apart.low:+.3f} to {apart.high:+.3f})."
    good = (apart.high or 0.0) >= 0 and (numbers[0].low or 0.0) > chance
    return Answer(USE, YES if good else NO, said, tuple(numbers))


def _trees(X: np.ndarray, y: np.ndarray, judged: np.ndarray, coded: bool, seed: int) -> np.ndarray:
    """Predictions of boosted trees: numbers, or a probability for each code."""
    make = HistGradientBoostingClassifier if coded else HistGradientBoostingRegressor
    trees = make(random_state=seed, min_samples_leaf=max(2, min(20, len(X) // 10)))
    with threadpool_limits(1):
        trees.fit(X, y)
        if not coded:
            return np.asarray(trees.predict(judged))
        proba = np.zeros((len(judged), int(max(trees.classes_)) + 1))
        proba[:, trees.classes_.astype(int)] = trees.predict_proba(judged)
    return proba


def _rest(truth: np.ndarray, proba: np.ndarray) -> float:
    """Mean over classes of the area under the ROC curve of each against the rest; a class that was
    not there to learn from has ½."""
    found = []
    for code in np.unique(truth):
        own = truth == code
        if not own.all():
            known = code < proba.shape[1]
            scores = proba[:, int(code)] if known else np.zeros(len(truth))
            found.append(area(scores[~own], scores[own]))
    return float(np.mean(found)) if found else math.nan


def _explained(truth: np.ndarray, predicted: np.ndarray) -> float:
    """R²: 1 less the share of the variance that is left."""
    spread = float(truth.var())
    return 1 - float(np.square(truth - predicted).mean()) / spread if spread else math.nan


def _leaks(
    rows: np.ndarray, drawn: np.ndarray, held: np.ndarray | None, stream: Stream
) -> Answer:
    """Copies and nearest rows, and an attack by distances; both against held-out rows."""
    parts = [rows[:REAL_ROWS], drawn[:ROWS], *([] if held is None else [held[:ROWS]])]
    whole = [part[~np.isnan(part).any(axis=1)] for part in parts]
    if held is None:
        return Answer(LEAKS, UNKNOWN, *_copies(whole[0], whole[1]))
    train, fake, control = whole
    if min(map(len, whole)) < FEWEST:
        return leaks([], 2)
    half = len(control) // 2
    reference, control = control[:half], control[half:]
    near = [nearest_row(part, fake)[1] for part in (control, train)]
    usual = [nearest_row(part, reference)[1] for part in (control, train)]
    scores = [np.log1p(b) - np.log1p(a) for a, b in zip(near, usual, strict=True)]
    found = [memorisation(fake, train, whole[2], stream.child("copies"))]
    found.append(membership(*scores, "nearness to samples", stream.child("membership")))
    return leaks(found, 2)


def _copies(rows: np.ndarray, drawn: np.ndarray) -> tuple[str, tuple[Measure, ...]]:
    """How many samples are real rows, which without held-out rows may be as it should be."""
    if not min(len(rows), len(drawn)):
        return "every row or every sample has gaps.", ()
    same = int((nearest_row(drawn, rows)[1] == 0).sum())
    counts = np.unique(rows, axis=0, return_counts=True)[1]
    again = float(counts[counts > 1].sum() / len(rows))
    how: dict[str, Any] = {"n": len(drawn), "chance": again}
    one = Measure("samples that are a real row", same / len(drawn), *wilson(same, len(drawn)), **how)
    said = f"{100 * one.value:.2g} % of samples are real rows, {100 * again:.2g} % of real rows are "
    return f"{said}there twice; held-out rows (control=) would tell whether that is a leak.", (one,)
