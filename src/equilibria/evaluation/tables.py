"""Samples beside rows, two tables of the same columns as people have them: :func:`evaluate`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from equilibria.data.columns import listed, nearest_name
from equilibria.data.table import Table
from equilibria.evaluation.beside import beside, called, column
from equilibria.evaluation.margins import associations, distance, margins, order
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
PAIRS = 100  # of columns that are kept
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
        Pairs of columns: "pair trends", their mean similarity, and the furthest, 100 at most.
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
        for one in sorted(self.margins.measures[1:], key=order):
            cells = [f"{value:.3f}" for value in (one.value, one.ideal or 0.0, distance(one)[1])]
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
        said = {k: Answer.from_json(v) for k, v in data.items() if isinstance(v, Mapping)}
        fields: dict[str, Any] = {**data, **said, "left_out": tuple(data["left_out"])}
        return cls(**fields)


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
        but copies, and *told* and *use* are judged by ``real``. Neighbours are sought of at most
        5,000 samples and 5,000 such rows, among 20,000 of ``real``, complete rows of all.
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
    table, encodings = encoded(apart=True, **given)
    for name, rows in zip(given, encodings, strict=True):
        if len(rows) < LEAST:
            raise ValueError(f"{name} has {len(rows)} rows; expected {LEAST} or more")
    place = None if target is None else _target(table, target)
    apart = [
        part[stream.child(name).permutation(len(part)).numpy()]
        for name, part in zip(given, encodings, strict=True)
    ]
    rows, drawn, *others = (part[:, : table.size] for part in apart)
    held = others[0] if others else None
    columns = beside(table, rows, drawn)
    half = len(rows) // 2
    folds = [(rows, held)] if held is not None else []
    folds = folds or [(rows[:half], rows[half:]), (rows[half:], rows[:half])]
    names = [called(table, place) for place in range(table.width)]
    return Evaluation(
        len(rows),
        len(drawn),
        0 if held is None else len(held),
        _margins(margins(columns)),
        _associations(list(associations(columns).values())),
        told(folds, drawn, table.owner, names, stream),
        _use(table, place, rows, drawn, held, stream.child("use")),
        _leaks(*apart, stream=stream.child("leaks")),
        tuple(called(table, place) for place, _ in table.aside),
    )


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


def _margins(columns: Sequence[Sequence[Measure]]) -> Answer:
    """Columns one by one, after their mean."""
    shapes = [1 - own[0].value for own in columns]
    mean = Measure(SHAPES, float(np.mean(shapes)), n=len(shapes), ideal=1.0)
    found = [one for own in columns for one in own]
    return _alike(ALIKE, "comparisons of columns", found, (mean, *found))


def _associations(found: Sequence[Measure]) -> Answer:
    """Pairs of columns, after their mean, the furthest first."""
    if not found:
        return Answer(TOGETHER, UNKNOWN, "there are no two columns to compare.")
    mean = Measure(TRENDS, float(np.mean([one.value for one in found])), n=len(found), ideal=1.0)
    return _alike(TOGETHER, "pairs", found, (mean, *sorted(found, key=order)[:PAIRS]))


def _alike(question: str, what: str, found: Sequence[Measure], kept: tuple[Measure, ...]) -> Answer:
    """Whether no number is further from its ideal than chance takes it; ``kept`` are told of, the
    mean first."""
    off = [one for one in found if one.warning]
    near = sum(order(one)[1] >= 0 for one in found)
    said = f"{near} of {len(found)} {what} are within twice their sampling errors ({kept[0].name} "
    said += f"{kept[0].value:.3f})"
    shown = [f"{one.name} {one.value:.3f}" for one in sorted(off or found, key=order)[:3]]
    if off:
        said = f"{said}; {len(off)} further than chance takes them, most {'; '.join(shown)}."
        return Answer(question, NO, said, kept)
    return Answer(question, YES, f"{said}; none is off by more than chance: {shown[0]}.", kept)


def _use(
    table: Table,
    place: int | None,
    rows: np.ndarray,
    drawn: np.ndarray,
    held: np.ndarray | None,
    stream: Stream,
) -> Answer:
    """Trees trained on samples, and on as many real rows, judged by the same real rows."""
    if place is None:
        return Answer(USE, UNKNOWN, "no column to predict was named (target=).")
    name, others = called(table, place), np.asarray(table.owner) != place
    coded = table.states(place) is not None
    n, judged = min(len(rows), len(drawn)), rows if held is None else held
    sets = {"samples": drawn[:n], "real rows": rows[:n], "rows to judge by": judged}
    parts = {}
    for what, part in sets.items():
        values = column(table, part, place)
        known = ~np.isnan(values)
        parts[what] = part[known][:, others], values[known]
        if not others.any() or len(np.unique(values[known])) < 2:
            fault = f"{name} has fewer than two values in the {what}."
            fault = fault if others.any() else f"there is no column to predict {name} by."
            return Answer(USE, NO if what == "samples" and others.any() else UNKNOWN, fault)
    test, truth = parts.pop("rows to judge by")
    if held is None:
        del parts["real rows"]
    seeds = {what: stream.child(what).integer() % 2**32 for what in parts}
    predicted = {what: _trees(*part, test, coded, seeds[what]) for what, part in parts.items()}
    found = _scored(truth, predicted, name, coded, stream.child("resamples"))
    first, chance = found[0], 0.5 if coded else 0.0
    useful = first.low is not None and first.low > chance
    said = (
        f"trees trained on {n:,} samples predict {name} of {'those' if held is None else 'other'}"
    )
    said += f" rows with {'an area under the curve' if coded else 'an R²'} of {first.value:.3f}"
    if held is None:
        said += "; beside held-out rows (control=) it would be known what real rows give."
        return Answer(USE, UNKNOWN if useful else NO, said, found)
    real, apart = found[1:]
    said += f", trained on as many real rows {real.value:.3f} (difference {apart.value:+.3f}, "
    said += f"{apart.low:+.3f} to {apart.high:+.3f})."
    return Answer(USE, YES if useful and (apart.high or 0.0) >= 0 else NO, said, found)


def _scored(
    truth: np.ndarray, predicted: Mapping[str, np.ndarray], name: str, coded: bool, stream: Stream
) -> tuple[Measure, ...]:
    """How well the truth is predicted by each, and the difference of two, with intervals over
    resamples of the rows."""
    what = "area under the curve" if coded else "R²"
    from sklearn.metrics import r2_score

    score: Callable[[np.ndarray, np.ndarray], float] = _rest if coded else r2_score
    draw = np.random.default_rng(stream.integer())
    picks = [np.arange(len(truth))]
    picks += [draw.integers(len(truth), size=len(truth)) for _ in range(RESAMPLES)]
    values = {k: np.array([score(truth[i], p[i]) for i in picks]) for k, p in predicted.items()}
    shared: dict[str, Any] = {"n": len(truth), "method": f"of {name}"}
    how = {**shared, "chance": 0.5 if coded else 0.0}
    if "real rows" in values:
        how["ideal"] = float(values["real rows"][0])
    found = [
        Measure(f"{what} of trees trained on {key}", float(all_[0]), *_ends(all_), **how)
        for key, all_ in values.items()
    ]
    if "real rows" in values:
        apart, label = values["samples"] - values["real rows"], f"{what}, samples less real rows"
        found.append(Measure(label, float(apart[0]), *_ends(apart), **{**shared, "ideal": 0.0}))
    return tuple(found)


def _ends(values: np.ndarray) -> tuple[float, float]:
    """Between which 95 % of resamples lie, the first being no resample."""
    low, high = np.nanquantile(values[1:], [0.025, 0.975])
    return float(low), float(high)


def _trees(X: np.ndarray, y: np.ndarray, judged: np.ndarray, coded: bool, seed: int) -> np.ndarray:
    """Predictions of boosted trees: numbers, or a probability for each code."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

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


def _leaks(
    rows: np.ndarray, drawn: np.ndarray, held: np.ndarray | None = None, *, stream: Stream
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

    def scores(part: np.ndarray) -> np.ndarray:
        """How much nearer each row is to a sample than to a row of the reference."""
        near, usual = (nearest_row(part, table)[1] for table in (fake, reference))
        return np.asarray(np.log1p(usual) - np.log1p(near))

    attack = scores(control), scores(train), "nearness to samples", stream.child("membership")
    found = [memorisation(fake, train, whole[2], stream.child("copies")), membership(*attack)]
    return leaks(found, 2)


def _copies(rows: np.ndarray, drawn: np.ndarray) -> tuple[str, tuple[Measure, ...]]:
    """How many samples are real rows, which without held-out rows may be as it should be."""
    if not min(len(rows), len(drawn)):
        return "every row or every sample has gaps.", ()
    same = int((nearest_row(drawn, rows)[1] == 0).sum())
    counts = np.unique(rows, axis=0, return_counts=True)[1]
    again = float(counts[counts > 1].sum() / len(rows))
    how: dict[str, Any] = {"n": len(drawn), "chance": again}
    one = Measure(
        "samples that are a real row", same / len(drawn), *wilson(same, len(drawn)), **how
    )
    said = (
        f"{100 * one.value:.2g} % of samples are real rows, {100 * again:.2g} % of real rows are "
    )
    return f"{said}there twice; held-out rows (control=) would tell whether that is a leak.", (one,)
