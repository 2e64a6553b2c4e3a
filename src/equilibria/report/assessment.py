"""What a finished run is worth on rows it did not see: ``evaluation.json`` in its folder."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from equilibria import check
from equilibria.data import Data, binarise
from equilibria.data.rows import fixed_draw
from equilibria.errors import RunError
from equilibria.estimators import load
from equilibria.evaluation.coverage import Coverage
from equilibria.evaluation.features import PIXELS, Features, network_features
from equilibria.evaluation.likelihood import gap
from equilibria.evaluation.modes import modes
from equilibria.evaluation.quality import frechet, kernel, memorisation, prdc, two_sample
from equilibria.evaluation.statistics import wilson
from equilibria.numbers import Measure
from equilibria.random import Stream
from equilibria.training import durable
from equilibria.training.origin import Parts, run_data
from equilibria.training.run import Run

__all__ = ["CLASS_SHARE", "FILE", "View", "assess", "has_classes", "read", "rows_for", "some"]

FILE = "evaluation.json"
CLASS_SHARE = "share of samples in class "
HELD_OUT_ROWS = 2000
TRAINING_ROWS = 20_000  # a copy of a training row is found only among the rows that are compared
MODE_SAMPLES = 2500  # the published protocol
FEWEST = 40  # held-out rows, below which no distance is measured
MOST_CLASSES = 100  # labels with more values are taken for numbers, not for classes


def assess(run: str | Path | Run, *, samples: int = 1000) -> list[Measure]:
    """Measure the model of a finished run, and write ``evaluation.json`` into its folder.

    A model with a density is scored on held-out rows and on as many training rows; one that
    predicts classes is judged by those of the held-out rows. Samples are searched for missing modes
    (where the density of the data is known), missing classes (where rows have labels) and copies of
    training rows, told from held-out rows by a classifier, and set beside them by Fréchet and
    kernel distances, precision, recall, density and coverage. At most 2,000 held-out and 20,000
    training rows are used. The same run gives the same numbers; runs on the same data are measured
    on the same rows.

    Parameters
    ----------
    run : path or Run
        The run folder.
    samples : int
        How many samples to draw, at least 4.

    Raises
    ------
    equilibria.errors.RunError
        When the folder is no finished run, does not say where its data came from, or cannot be
        written.
    """
    samples = check.whole(4)("samples", samples)
    folder = run if isinstance(run, Run) else Run.open(run)
    case = Case(load(folder), run_data(folder))
    found = [*_likelihood(case), *_classified(case)]
    if "sample" in case.model.capabilities_:
        drawn = case.model.sample(samples, random_state=case.stream.child("samples"))
        found += [*_modes(case), *_of_samples(case, drawn)]
    _write(folder.path / FILE, found)
    return found


def read(run: str | Path | Run) -> list[Measure]:
    """What :func:`assess` wrote into a run folder; what version 0.1.0 wrote is read too."""
    folder = run if isinstance(run, Run) else Run.open(run)
    file = folder.path / FILE
    how = f"equilibria evaluate {folder.path}"
    try:
        entries = json.loads(file.read_bytes())
        return [Measure.from_json({k: v for k, v in one.items() if k != "type"}) for one in entries]
    except FileNotFoundError as error:
        where = f"run={str(folder.path)!r}"
        raise RunError(f"{where} has not been evaluated yet: {how}") from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(f"{file} is damaged ({error!r}): make it anew with {how}") from error


def _write(file: Path, found: list[Measure]) -> None:
    text = json.dumps([one.to_json() for one in found], indent=1, allow_nan=False) + "\n"
    try:
        durable.replace(file, text.encode())
    except OSError as error:
        advice = "free some space, or see that you may write there"
        raise RunError(f"{file} could not be written ({error}): {advice}") from error


# ---------------------------------------------------------------------- rows


def rows_for(model: Any, data: Data) -> Any:
    """The rows of a data set as a model was given its own: a frame in its order, or an array."""
    if data.columns is None or model.table_.names is None:
        return data.array()
    return model.table_.match(data.frame())


def some(data: Data, most: int, stream: Stream) -> Data:
    """A random choice of rows, in their order."""
    if len(data) <= most:
        return data
    return data.rows(np.sort(stream.permutation(len(data))[:most].numpy()))


def has_classes(data: Data) -> bool:
    """Whether rows have labels, none missing, that are classes rather than numbers."""
    labels = data.labels
    if labels is None or labels.dtype.kind not in "biufU":
        return False
    if labels.dtype.kind == "f" and np.isnan(labels).any():
        return False
    counts = np.unique(labels, return_counts=True)[1]
    return 2 <= len(counts) <= MOST_CLASSES and bool(counts.min() >= 2)


class Case:
    """A model and rows to judge it by: held-out ones, as many training rows, and more of these."""

    def __init__(self, model: Any, parts: Parts):
        self.model, self.parts, self.unseen = model, parts, parts.unseen
        self.stream = Stream(0).child("assessment")
        self.held_out = some(parts.test, HELD_OUT_ROWS, self.stream.child("held out"))
        self.train = some(parts.train, len(self.held_out), self.stream.child("training"))
        self.more = some(parts.train, TRAINING_ROWS, self.stream.child("all training"))


@dataclasses.dataclass(frozen=True, eq=False)
class View:
    """Rows and samples as numbers, in which like is compared with like.

    A model of grey values is one of binary rows. Some draw binary rows: then all rows are made
    binary by a draw. Some give means, which look like grey rows but are smoother than any: where
    that would tell them apart (``sharp``), both are made binary.

    Attributes
    ----------
    rows : callable
        (rows, sharp) → encoded rows, float64.
    samples : callable
        The same for samples of the model.
    note : str
        Which of the cases it is.
    """

    rows: Callable[[Any, bool], np.ndarray]
    samples: Callable[[Any, bool], np.ndarray]
    note: str = ""

    @classmethod
    def of(cls, model: Any, drawn: Any) -> View:
        """The view that suits a model and its samples."""
        table, how = model.table_, model.settings_.binarise
        if not table.grey or how is None:
            plain = _encoder(model)
            return cls(plain, plain)
        grey = table.grey_columns
        values = table.encode(drawn, torch.float64)
        cells = values if grey is None else values[:, grey]
        means = not bool(((cells == 0) | (cells == 1)).all())
        stream = Stream(0).child("assessment", "binarise")

        def rows(X: Any, sharp: bool) -> np.ndarray:
            binary = sharp or not means
            return fixed_draw(table, X, how if binary else None, model.stream).numpy()

        def samples(X: Any, sharp: bool) -> np.ndarray:
            encoded = table.encode(X, torch.float64)
            if not means or not sharp:
                return encoded.numpy()
            kept = torch.zeros_like(encoded, dtype=torch.bool) if grey is None else ~grey
            return encoded.where(kept, binarise(encoded, "resample", stream)).numpy()

        if means:
            return cls(rows, samples, "Samples are the model's means, beside grey rows.")
        return cls(rows, samples, "Samples are binary, and rows were made so by a draw each.")


def _encoder(model: Any) -> Callable[[Any, bool], np.ndarray]:
    return lambda X, sharp: model.table_.encode(X, torch.float64).numpy()


# ---------------------------------------------------------------------- what is measured


def _likelihood(case: Case) -> list[Measure]:
    """log p of held-out rows and of training rows, the gap between them, and log Z."""
    model, found = case.model, list[Measure]()
    if "score" not in model.capabilities_:
        return []
    scores = {}
    for rows, what in ((case.held_out, "held-out rows"), (case.train, "training rows")):
        if len(rows) >= 2 and (case.unseen or what == "training rows"):
            X = rows_for(model, rows)
            one = model.log_likelihood(X)
            found.append(one.replace(name=f"{one.name} of {what}, nats"))
            scores[what] = model.score_samples(X)
    normalised = "normaliser" not in model.capabilities_
    if len(scores) == 2:
        kind = "variational free energy" if "bound" in model.capabilities_ else "free energy"
        kind = "log-likelihood" if normalised else kind
        found.append(gap(scores["training rows"], scores["held-out rows"], f"{kind} gap, nats"))
    return found if normalised else [*found, model.log_partition_.replace(name="log Z, nats")]


def _classified(case: Case) -> list[Measure]:
    """The share of rows whose class a classifying model finds."""
    labels = case.held_out.labels
    if "classify" not in case.model.capabilities_ or labels is None:
        return []
    known = case.model.table_.labels.encode(labels)
    found = case.model.predict_proba(rows_for(case.model, case.held_out)).argmax(1)
    n, right = int((known >= 0).sum()), int(((found == known) & (known >= 0)).sum())
    if not n:
        return []
    low, high = wilson(right, n)
    note = "" if case.unseen else "Nothing was held out: these are training rows."
    return [
        Measure("accuracy of predicted classes", right / n, low, high, n=n, ideal=1.0, note=note)
    ]


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
    fake, sharp = view.samples(drawn, False), view.samples(drawn, True)
    found = _coverage(case, held, more, fake)
    if len(held[0]) >= 4:
        notes = [view.note.replace("beside grey rows", "made binary like the rows")]
        if not case.unseen:
            notes.append("Nothing was held out, so copies of training rows pass for real.")
        gaps = len(case.held_out) - len(held[0])
        if gaps:
            notes.append(f"{gaps} of {len(case.held_out)} rows have gaps and are left out.")
        test = two_sample(_complete(view, model, case.held_out, True)[0], sharp)
        found.append(_noted(test, *notes))
    if not case.unseen or not min(len(held[0]), len(more[0])):
        return found
    for i, one in enumerate(_quality(model, more, held, fake)):
        found.append(one if i else _noted(one, view.note))
    notes = []
    if len(case.more) < len(case.parts.train):
        counts = f"{len(case.more):,} of {len(case.parts.train):,}"
        notes.append(f"Only {counts} training rows were compared.")
    copies = memorisation(fake, more[0], held[0])
    return [*found, *_listed(_noted(copies, *notes))]


Labelled = tuple[np.ndarray, np.ndarray | None]


def _complete(view: View, model: Any, data: Data, sharp: bool = False) -> Labelled:
    """Rows without a gap, encoded, and their labels."""
    values = view.rows(rows_for(model, data), sharp)
    whole = ~np.isnan(values).any(axis=1)
    return values[whole], data.labels[whole] if has_classes(
        data
    ) and data.labels is not None else None


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
