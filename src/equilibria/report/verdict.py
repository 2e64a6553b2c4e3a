"""Whether a model can be trusted, from rows that it has not seen: four questions, and its uses."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from equilibria.data.columns import as_frame, take
from equilibria.estimators import all_estimators
from equilibria.evaluation.quality import memorisation
from equilibria.evaluation.statistics import as_labels, conformal
from equilibria.evaluation.verdict import (
    FEWEST,
    LEAKS,
    NO,
    TOLD,
    UNKNOWN,
    YES,
    Answer,
    Verdict,
    calibrated,
    difference,
    leaks,
    membership,
    told,
)
from equilibria.numbers import Measure
from equilibria.random import Stream
from equilibria.report.view import View

__all__ = ["FLOORS", "verdict"]

FLOORS = {"independent": "independent columns", "tree": "a tree", "mixture": "a mixture"}
"""Models that are fitted in seconds, which every other must beat."""
ROWS = 5000  # of either kind that are used
COMPONENTS = 20  # of the mixture, with 50 rows each at least
LEAST = 0.01  # nats a row that are spoken of
FAR = 3.5  # standard deviations of a share of flagged rows
NEAR = 0.6  # area under the curve up to which samples will do for some simulations


def verdict(model: Any, X: Any, y: Any = None, train: Any = None) -> Verdict:
    """Four questions about a fitted model, asked of rows that were held out, and what it may be
    used for.

    *Is the density right?* Its likelihood is compared row by row with those of independent columns,
    a Chow–Liu tree and a mixture, fitted here. *Can samples be told from data?* Boosted trees try,
    beside the same test of columns that are shuffled one by one, which shows what they can see.
    *Does it leak training rows?* Nearest rows, and an attack that guesses who was in the training
    set, each against the held-out rows. *Is a row odd?* Conformal p-values, and the share that they
    flag.

    Parameters
    ----------
    model : estimator
        Fitted.
    X : array-like or frame of shape (n, d)
        Rows that the model has not seen; 40 at least.
    y : array-like of shape (n,), optional
        Their labels, where the model predicts classes.
    train : array-like or frame, optional
        The rows it was trained on. Without them halves of ``X`` take their place, and nothing is
        said of leaks.

    Returns
    -------
    Verdict
        ``print`` gives the sentences; ``verdict["leak"]`` one answer, ``verdict["simulate"]`` one
        use.

    Examples
    --------
    >>> from equilibria import Independent
    >>> rows = np.random.RandomState(0).randint(0, 2, (400, 1)).repeat(3, axis=1)
    >>> found = verdict(Independent().fit(rows[:200]), rows[200:], train=rows[:200])
    >>> found["told from data"].short, found["simulate"].short
    ('yes', 'no')
    """
    return Case(model, X, y, train).verdict()


class Case:
    """A model, rows it has not seen and the rows it was trained on, encoded alike."""

    def __init__(self, model: Any, X: Any, y: Any, train: Any):
        check_is_fitted(model)
        self.model, self.stream = model, Stream(0).child("verdict")
        self.X, places = self._some(X, "held out")
        self.y = None if y is None else as_labels(y, "y", len(X))[places]
        if len(self.X) < FEWEST:
            found = f"{len(self.X)} rows, and {FEWEST} are needed"
            raise ValueError(f"X: {found}; hold more rows out (validation_fraction, --held-out)")
        self.train = None if train is None else self._some(train, "training")[0]
        self.fewer = train is None or len(train) > ROWS  # rows of floors than the model had
        self.can = model.capabilities_
        self.folds = [(self.train, self.X)] if train is not None else self._halves()

    def _some(self, X: Any, name: str) -> tuple[Any, np.ndarray]:
        """At most 5,000 rows in random order, and their places; none with a gap that the model
        does not take."""
        X = X if hasattr(X := as_frame(X), "iloc") else np.asarray(X)
        places = self.stream.child(name).permutation(len(X))[:ROWS].numpy()
        rows = self.model.validated(take(X, places), gaps=True)
        if (gaps := self.model.untold(self.model.columns, rows).any(axis=1)).any():
            rows, places = take(rows, np.flatnonzero(~gaps)), places[~gaps]
        return rows, places

    def _halves(self) -> list[tuple[Any, Any]]:
        half = len(self.X) // 2
        parts = [take(self.X, np.arange(half)), take(self.X, np.arange(half, len(self.X)))]
        return [(parts[0], parts[1]), (parts[1], parts[0])]

    # -------------------------------------------------------------- the questions

    def verdict(self) -> Verdict:
        answers = self._density(), self._told(), self._leaks(), self._odd()
        return Verdict(answers, uses(answers, self.can))

    def _density(self) -> Answer:
        """Its likelihood beside those of models that are fitted in seconds."""
        question, model = "Is the density right?", self.model
        if "score" not in self.can:
            what = "it has none, so nothing can be said of likelihoods."
            return Answer(question, UNKNOWN, what, self._calibration())
        whole = model.log_likelihood(self.X)
        whole = whole.replace(name=f"{whole.name} of held-out rows, nats")
        found, lost, beaten = [whole], list[Measure](), list[Measure]()
        first = 0 if self.train is not None else len(self.X) // 2  # of halves the second is judged
        paired, failed = np.roll(self.scores, -first), list[str]()
        for name, called in FLOORS.items():
            try:
                scores = np.concatenate([self._floor(name, *fold)[0] for fold in self.folds])
            except ValueError as error:
                failed.append(f"{called} could not be fitted ({str(error).partition(';')[0]})")
                continue
            one = self._widened(difference(paired, scores, f"nats above {called}"))
            found.append(one)
            if one.high is not None and one.high < -LEAST:
                lost.append(one)
            elif one.low is not None and one.low > LEAST:
                beaten.append(one)
        said = "; ".join([_sides(whole, self.can, model), _against(found[1:]), *failed])
        numbers = (*found, *self._calibration())
        if lost and "bound" in self.can:
            said = f"{_by(lost, 'its bound is below')}, and it may be better than that: {said}."
            return Answer(question, UNKNOWN, said, numbers)
        if lost:
            return Answer(question, NO, f"{_by(lost, 'it loses to')}: {said}.", numbers)
        if not beaten or len(beaten) < len(FLOORS):
            ends = " Which is better these rows do not tell." if len(found) > 1 else ""
            return Answer(question, UNKNOWN, f"{said}.{ends}", numbers)
        if self.fewer:
            known: Any = self.folds[0][0]
            few = f"These were fitted to {len(known):,} rows, fewer than it had."
            return Answer(question, UNKNOWN, f"{said}. {few}", numbers)
        return Answer(question, YES, f"{said}.", numbers)

    def _widened(self, one: Measure) -> Measure:
        """A difference whose interval has log Z's too."""
        if "normaliser" not in self.can or one.low is None or one.high is None:
            return one
        z = self.model.log_partition_
        up, down = (z.high or z.value) - z.value, z.value - (z.low or z.value)
        return one.replace(low=one.low - up, high=one.high + down)

    def _floor(self, name: str, fit: Any, *judged: Any) -> list[np.ndarray]:
        """Log-likelihoods of sets of rows under a model of this kind, fitted to others as the
        model's own table has them."""
        fit, how = self._alike(fit), dict[str, Any](random_state=0)
        if name == "mixture":
            how["n_components"] = max(1, min(COMPONENTS, len(fit) // 50))
        floor, table = all_estimators()[name](**how), self.model.table_
        strange = {layer.kind for layer in table.layers} - floor.takes
        if strange:
            raise ValueError(f"it takes no {' or '.join(sorted(strange))} columns")
        floor.validated(fit, reset=True)
        floor.train(dataclasses.replace(table, labels=None, grey=()), fit)
        return [floor.score_samples(self._alike(rows)) for rows in judged]

    def _alike(self, rows: Any) -> Any:
        """Rows as the model scores them: greys by the very draw that it makes."""
        table = self.model.table_
        if not table.grey or self.model.settings_.binarise is None:
            return rows
        return table.decode(self.model.values(rows)[:, : table.size], rows)

    def _calibration(self) -> tuple[Measure, ...]:
        """Of predicted classes, where labels are given."""
        if "classify" not in self.can or self.y is None:
            return ()
        codes = self.model.table_.labels.encode(self.y)
        known = codes >= 0
        if known.sum() < FEWEST:
            return ()
        proba = self.model.predict_proba(take(self.X, np.flatnonzero(known)))
        return (calibrated(proba, codes[known], self.stream.child("labels")),)

    def _told(self) -> Answer:
        """A two-sample test by boosted trees, and what it can see with so many rows."""
        if "sample" not in self.can:
            return Answer(TOLD, UNKNOWN, "it draws none.")
        table, view = self.model.table_, self.view
        folds = [(view.rows(known, True), view.rows(new, True)) for known, new in self.folds]
        names = [table.column_name(place) for place in range(table.width)]
        return told(folds, view.samples(self.drawn, True), table.owner, names, self.stream)

    @functools.cached_property
    def scores(self) -> np.ndarray:
        """Log-likelihoods of the held-out rows."""
        return self.model.score_samples(self.X)

    @functools.cached_property
    def view(self) -> View:
        """Rows and samples as numbers that are alike."""
        return View.of(self.model, self.drawn)

    @functools.cached_property
    def drawn(self) -> Any:
        """Samples, two for each row."""
        n = min(2 * ROWS, max(400, 2 * len(self.X)))
        return self.model.sample(n, random_state=self.stream.child("samples"))

    def _leaks(self) -> Answer:
        """Whether training rows are known better than held-out ones."""
        if self.train is None:
            return Answer(LEAKS, UNKNOWN, "the rows it was trained on were not given (train=).")
        found = [*self._copies(), *self._membership()]
        return leaks(found, len({"sample", "score"} & set(self.can)))

    def _copies(self) -> list[Measure]:
        """Whether samples lie on training rows."""
        if "sample" not in self.can:
            return []
        view = self.view
        parts = [view.near(self.drawn, samples=True)[:ROWS]]
        parts += [view.near(rows) for rows in (self.train, self.X)]
        whole = [part[~np.isnan(part).any(1)] for part in parts]
        return [memorisation(*whole)] if min(map(len, whole)) >= FEWEST else []

    def _membership(self) -> list[Measure]:
        """An attack on who was trained on: the model's density over one that knows neither side.

        Held-out rows are halved: one half fits the other density, the other is the control (van
        Breugel et al. 2023, "Membership inference attacks against synthetic data through
        overfitting detection").
        """
        if "score" not in self.can:
            return []
        half = len(self.X) // 2
        ends = (0, half), (half, len(self.X))
        control, reference = (take(self.X, np.arange(*part)) for part in ends)
        try:
            floors = self._floor("mixture", reference, control, self.train)
            own = self.scores[:half], self.model.score_samples(self.train)
            ratios = [scores - floor for scores, floor in zip(own, floors, strict=True)]
        except ValueError:
            return []
        control, known = ratios
        return [membership(control, known, "density ratio", self.stream.child("membership"))]

    def _odd(self) -> Answer:
        """Conformal p-values, and the share of held-out rows that they flag."""
        question = "Is a row odd?"
        if "score" not in self.can:
            return Answer(question, UNKNOWN, "it has no density to rank rows by.")
        scores, half = self.scores, len(self.X) // 2
        parts = (scores[:half], scores[half:]), (scores[half:], scores[:half])
        found = []
        for level in (0.01, 0.05):
            flagged = [conformal(*part) <= level for part in parts]
            share, n = float(np.concatenate(flagged).mean()), len(scores)
            # each half is judged by the other: the spread of both counts
            error = FAR * np.sqrt(level * (1 - level) * 2 / n)
            warning = "More are flagged than should be." if share > level + error + 2 / half else ""
            name = f"share of held-out rows flagged at {level:.0%}".replace("%", " %")
            found.append(Measure(name, share, n=n, ideal=level, warning=warning))
        said = (
            f"anomaly_pvalue(X, calibration) flags {100 * found[0].value:.1f} % of held-out rows "
        )
        said += f"at 1 % and {100 * found[1].value:.1f} % at 5 %"
        if any(one.warning for one in found):
            return Answer(question, NO, f"{said}, more than should be.", tuple(found))
        least = f"; p is never below {1 / (half + 1):.2g}" if half < 200 else ""
        end = "False alarms keep their rate whatever the model; what it misses is not known, and a "
        end += "high density is no proof that a row is usual."
        return Answer(question, YES, f"{said}{least}. {end}", tuple(found))


# ------------------------------------------------------------------ sentences


def _sides(whole: Measure, can: Any, model: Any) -> str:
    """How much is known of a likelihood."""
    value = f"{whole.value:.3f} nats a row"
    if "normaliser" not in can and "bound" not in whole.name:
        return f"{value}, exactly"
    z = model.log_partition_ if "normaliser" in can else Measure.exact("", 0, "")
    if "bound" in whole.name:
        return f"at least {value}, a bound from one side"
    width = (z.high or z.value) - (z.low or z.value)
    return f"{value}, exactly" if not width else f"{value}, with log Z known to {width:.2g} nats"


def _against(found: Sequence[Measure]) -> str:
    parts = []
    for one in found:
        what = one.name.removeprefix("nats above ")
        parts.append(f"{one.value:+.2f} ± {one.chance or 0:.2f} nats beside {what}")
    return ", ".join(parts) or "no model to compare it with takes these columns"


def _by(lost: Sequence[Measure], what: str) -> str:
    names = [one.name.removeprefix("nats above ") for one in lost]
    listed = " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)
    return f"{what} {listed}"


def uses(answers: Sequence[Answer], can: Any) -> dict[str, Answer]:
    """What a model may be used for, by the answers; what was not tested is not known."""
    density, seen, shown, odd = answers
    area = 0.5 + abs(seen.measures[0].value - 0.5) if seen.measures else 1.0
    found = {"simulate": (UNKNOWN, "it was not tested with enough power.")}
    if seen.short == NO:
        found["simulate"] = YES, "no test here tells its samples from data."
    elif seen.short == YES:
        near = area <= NEAR and density.short != NO
        what = "where the columns that give it away do not matter."
        found["simulate"] = (YES, what) if near else (NO, "its samples are not as the data are.")
    leak = {YES: (NO, "training rows show."), NO: (YES, "no leak was seen.")}
    found["publish rows"] = leak.get(
        shown.short, (UNKNOWN, "leaks were not tested, or not with enough rows.")
    )
    if "sample" not in can:
        found["publish rows"] = NO, "it draws no rows."
    one_side = "bound" in can
    found["compare likelihoods"] = (
        (NO, "it has no density.")
        if "score" not in can
        else (NO, "a bound from one side may be far below the truth.")
        if one_side
        else (YES, "within the interval above.")
    )
    filled = {
        YES: (YES, "it beats every simple model."),
        NO: (NO, "simpler models know more of a cell."),
    }
    found["fill in"] = filled.get(
        density.short, (UNKNOWN, "it is not shown to beat simple models.")
    )
    if "complete" not in can:
        found["fill in"] = NO, "it cannot."
    flags = {YES: "false alarms come at their rate.", NO: "false alarms do not come at their rate."}
    found["flag odd rows"] = odd.short, flags.get(odd.short, "it has no density.")
    return {name: Answer(name, short, sentence) for name, (short, sentence) in found.items()}
