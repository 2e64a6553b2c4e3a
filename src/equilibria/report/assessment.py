"""What a finished run is worth on rows it did not see: ``evaluation.json`` in its folder."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np

from equilibria import check
from equilibria.data.load import Data
from equilibria.estimators import load
from equilibria.evaluation.coverage import Coverage
from equilibria.evaluation.features import PIXELS, Features, network_features
from equilibria.evaluation.likelihood import gap
from equilibria.evaluation.modes import modes
from equilibria.evaluation.quality import frechet, kernel, memorisation, prdc
from equilibria.evaluation.statistics import wilson
from equilibria.evaluation.two_sample import two_sample
from equilibria.evaluation.verdict import Verdict
from equilibria.numbers import Measure
from equilibria.random import Stream
from equilibria.report.verdict import verdict
from equilibria.report.view import CLASS_SHARE, FILE, VERDICT, View, rows_for, some
from equilibria.training.origin import Parts, run_data
from equilibria.training.run import Run

__all__ = ["assess"]

HELD_OUT_ROWS = 2000
TRAINING_ROWS = 20_000  # a copy of a training row is found only among the rows that are compared
MODE_SAMPLES = 2500  # the published protocol
FEWEST = 40  # held-out rows, below which no distance is measured
MOST_CLASSES = 100  # labels with more values are taken for numbers, not for classes


def assess(run: str | Path, *, samples: int = 1000) -> list[Measure]:
    """Measure the model of a finished run, and write ``evaluation.json`` into its folder, and
    ``verdict.json`` where 40 rows or more were held out.

    A model with a density is scored on held-out rows and on as many training rows; one that
    predicts classes is judged by those of the held-out rows. Samples are searched for missing modes
    (where the density of the data is known), missing classes (where rows have labels) and copies of
    training rows, told from held-out rows by a classifier, and set beside them by Fréchet and
    kernel distances, precision, recall, density and coverage. At most 2,000 held-out and 20,000
    training rows are used, and ``samples`` samples, at least 4. The same run gives the same
    numbers; runs on the same data are measured on the same rows. A ``RunError`` says why a folder
    cannot be evaluated.
    """
    samples = check.whole(4)("samples", samples)
    folder = Run.open(run)
    case = Case(load(folder), run_data(folder))
    if case.verdict is not None:
        folder.write_result(VERDICT, case.verdict.to_json())
    found = [*_likelihood(case), *_classified(case)]
    if "sample" in case.model.capabilities_:
        drawn = case.model.sample(samples, random_state=case.stream.child("samples"))
        found += [*_modes(case), *_of_samples(case, drawn)]
    folder.write_result(FILE, [one.to_json() for one in found])
    return found


class Case:
    """A model and rows to judge it by: held-out ones, as many training rows, and more of these."""

    def __init__(self, model: Any, parts: Parts):
        self.model, self.parts, self.unseen = model, parts, parts.unseen
        self.stream = Stream(0).child("assessment")
        self.held_out = some(parts.test, HELD_OUT_ROWS, self.stream.child("held out"))
        self.train = some(parts.train, len(self.held_out), self.stream.child("training"))
        self.more = some(parts.train, TRAINING_ROWS, self.stream.child("all training"))

    @functools.cached_property
    def verdict(self) -> Verdict | None:
        """What the held-out rows say; None where there are too few."""
        if not self.unseen or len(self.parts.test) < FEWEST:
            return None
        rows, train = (rows_for(self.model, part) for part in (self.parts.test, self.parts.train))
        return verdict(self.model, rows, self.parts.test.labels, train)

    def judged(self, words: str) -> Measure | None:
        """A number of the verdict, by words of its name."""
        found = self.verdict.measures if self.verdict is not None else []
        return next((one for one in found if words in one.name), None)


def _likelihood(case: Case) -> list[Measure]:
    """log p of held-out rows and of training rows, the gap between them, and log Z."""
    model, found, scores = case.model, list[Measure](), []
    if "score" not in model.capabilities_:
        return []
    for rows, what in ((case.held_out, "held-out rows"), (case.train, "training rows")):
        if len(rows) >= 2 and (case.unseen or what == "training rows"):
            X = rows_for(model, rows)
            one = model.log_likelihood(X)
            found.append(one.replace(name=f"{one.name} of {what}, nats"))
            scores.append(model.score_samples(X))
    kind = "variational free energy" if "bound" in model.capabilities_ else "free energy"
    if "normaliser" not in model.capabilities_:
        kind = "log-likelihood"
    if len(scores) == 2:
        found.append(gap(scores[1], scores[0], f"{kind} gap, nats"))
    if "normaliser" in model.capabilities_:
        found.append(model.log_partition_.replace(name="log Z, nats"))
    return found


def _classified(case: Case) -> list[Measure]:
    """The share of rows whose class a classifying model finds."""
    labels = case.held_out.labels
    if "classify" not in case.model.capabilities_ or labels is None:
        return []
    known = case.model.table_.labels.encode(labels)
    right = case.model.predict_proba(rows_for(case.model, case.held_out)).argmax(1) == known
    right = right[known >= 0]
    if not len(right):
        return []
    note = "" if case.unseen else "Nothing was held out: these are training rows."
    ends = wilson(int(right.sum()), len(right))
    how: dict[str, Any] = {"n": len(right), "ideal": 1.0, "note": note}
    return [Measure("accuracy of predicted classes", float(right.mean()), *ends, **how)]


def _modes(case: Case) -> list[Measure]:
    """Modes found, where the density of the data is known."""
    density = case.parts.test.density
    if density is None:
        return []
    drawn = case.model.sample(MODE_SAMPLES, random_state=case.stream.child("modes"))
    return _listed(modes(np.asarray(drawn, dtype=float), density))


def _of_samples(case: Case, drawn: Any) -> list[Measure]:
    """Samples beside rows: classes, a two-sample test, quality, copies."""
    view, model = View.of(case.model, drawn), case.model
    held, more = (_complete(view, model, data) for data in (case.held_out, case.more))
    fake = view.samples(drawn, False)
    whole = ~np.isnan(fake).any(1)  # samples too may have gaps
    if whole.sum() < 4:
        return []
    fake = fake[whole]
    found = _coverage(case, held, more, fake)
    if len(held[0]) >= 4:
        notes = [view.note.replace("beside grey rows", "made binary like the rows")]
        if not case.unseen:
            notes.append("Nothing was held out, so copies of training rows pass for real.")
        if gaps := len(case.held_out) - len(held[0]):
            notes.append(f"{gaps} of {len(case.held_out)} rows have gaps and are left out.")
        told = case.judged("C2ST")
        if told is None:
            real = _complete(view, model, case.held_out, True)[0]
            told = two_sample(real, view.samples(drawn, True)[whole])
        found.append(_noted(told, *notes))
    if not case.unseen or not min(len(held[0]), len(more[0])):
        return found
    for i, one in enumerate(_quality(model, more, held, fake)):
        found.append(one if i else _noted(one, view.note))
    few = f"Only {len(case.more):,} of {len(case.parts.train):,} training rows were compared."
    few = few if len(case.more) < len(case.parts.train) else ""
    copies = case.judged("nearest real rows")
    if copies is None:
        parts = [view.near(drawn, samples=True)]
        parts += [view.near(rows_for(model, data)) for data in (case.more, case.held_out)]
        copies = memorisation(*(part[~np.isnan(part).any(1)] for part in parts))
    return [*found, *_listed(_noted(copies, few))]


Labelled = tuple[np.ndarray, np.ndarray | None]


def _complete(view: View, model: Any, data: Data, sharp: bool = False) -> Labelled:
    """Rows without a gap, encoded, and their labels where these are classes."""
    values, labels = view.rows(rows_for(model, data), sharp), data.labels
    whole = ~np.isnan(values).any(axis=1)
    return values[whole], labels[whole] if labels is not None and _are_classes(labels) else None


def _are_classes(labels: np.ndarray) -> bool:
    """Whether labels, none missing, are classes rather than numbers."""
    if labels.dtype.kind not in "biufU":
        return False
    if labels.dtype.kind == "f" and np.isnan(labels).any():
        return False
    counts = np.unique(labels, return_counts=True)[1]
    return 2 <= len(counts) <= MOST_CLASSES and bool(counts.min() >= 2)


def _coverage(case: Case, held: Labelled, more: Labelled, fake: np.ndarray) -> list[Measure]:
    """Which classes the samples cover, and each one's share for a chart."""
    if more[1] is None or len(np.unique(more[1])) < 2 or not len(held[0]):
        return []
    judged = held if case.unseen and held[1] is not None else (None, None)
    coverage = Coverage.fit(*more, *judged)
    found, counts = coverage.measure(fake), coverage.counts(fake)[0]
    shares = zip(coverage.classes, counts / counts.sum(), coverage.frequencies, strict=True)
    how: dict[str, Any] = {"n": found.n, "method": found.method}
    bars = [Measure(f"{CLASS_SHARE}{c}", float(s), ideal=float(p), **how) for c, s, p in shares]
    return [*_listed(found), *bars]


def _quality(model: Any, more: Labelled, held: Labelled, fake: np.ndarray) -> list[Measure]:
    """Distances and neighbours through features; of a Fréchet distance more rows than features."""
    real = held[0]
    if len(real) < FEWEST or 2 * len(fake) < FEWEST:
        return []
    features = _features(model, more, held)
    seen = features(fake)
    if not np.ptp(seen, axis=0).any() or not np.ptp(features(real), axis=0).any():
        return []  # all alike: nothing to measure distances by
    wide = min(len(real) // 2, len(fake)) <= seen.shape[1]
    first = [] if wide else [frechet(real, fake, features)]
    return [*first, kernel(real, fake, features), *_listed(prdc(real, fake, features))]


def _features(model: Any, more: Labelled, held: Labelled) -> Features:
    """A network trained on the classes of the data; the columns where there are none."""
    table = model.table_
    if more[1] is None or held[1] is None:
        return dataclasses.replace(PIXELS, name="pixels" if table.shape else "encoded columns")
    shape = table.shape if table.shape and np.prod(table.shape) == table.size else None
    return network_features(more[0], more[1], held[0], held[1], shape)


def _noted(found: Measure, *notes: str) -> Measure:
    return found.replace(note=" ".join(note for note in (found.note, *notes) if note))


def _listed(found: Measure) -> list[Measure]:
    """A measure and its parts, one by one."""
    return [found.replace(parts=()), *found.parts]
