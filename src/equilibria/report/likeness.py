"""How far an implicit model's samples are from real rows: distances and neighbours, through features that suit the data."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from equilibria.data import Data
from equilibria.evaluation import PIXELS, Features, frechet, kernel, network_features, prdc
from equilibria.evaluation.statistics import as_rows
from equilibria.numbers import Measure

__all__ = ["comparable", "has_classes", "likeness", "listed"]

_ROWS = 40  # held-out rows, below which nothing is measured
_MOST_CLASSES = 100  # labels with more values are taken for numbers, not for classes


def likeness(model: Any, train: Data, held_out: Data, drawn: np.ndarray) -> list[Measure]:
    """Fréchet and kernel distances, precision, recall, density and coverage of samples beside held-out rows.

    Nothing where there are too few rows or the samples are all one; no Fréchet distance where there are not more rows than features.

    Parameters
    ----------
    model : estimator
        Fitted.
    train : Data
        Rows whose classes, where they have any, teach the network that all rows are looked at through.
    held_out : Data
        Rows that the model was not trained on.
    drawn : ndarray
        Samples, as the model gives them.
    """
    if len(held_out) < _ROWS or 2 * len(drawn) < _ROWS:
        return []
    real, fake = (as_rows(comparable(model, values), "rows") for values in (held_out.values, drawn))
    features = _features(model, train, held_out)
    seen = features(fake)
    if not np.ptp(seen, axis=0).any() or not np.ptp(features(real), axis=0).any():
        return []
    wide = min(len(real) // 2, len(fake)) <= seen.shape[1]
    first = [] if wide else [frechet(real, fake, features)]
    return [*first, kernel(real, fake, features), *listed(prdc(real, fake, features))]


def listed(measure: Measure) -> list[Measure]:
    """A measure and its parts, one by one."""
    return [measure.replace(parts=()), *measure.parts]


def has_classes(data: Data) -> bool:
    """Whether the rows have labels, none of them missing, that are classes rather than numbers."""
    if data.labels is None or data.labels.dtype == object or (data.labels.dtype.kind == "f" and np.isnan(data.labels).any()):
        return False
    counts = np.unique(data.labels, return_counts=True)[1]
    return 2 <= len(counts) <= _MOST_CLASSES and bool(counts.min() >= 2)


def comparable(model: Any, values: np.ndarray) -> Any:
    """Rows in which distances mean something: pictures as they are, columns of different scales standardised."""
    return values if _as_they_are(model) else model.schema_.encode(values)


def _as_they_are(model: Any) -> bool:
    return model.schema_.kind in ("bernoulli", "picture")


def _features(model: Any, train: Data, held_out: Data) -> Features:
    """A network trained on the classes of the data; the columns themselves where there are none."""
    same = _as_they_are(model)
    if not has_classes(train) or held_out.labels is None or train.labels is None:
        return PIXELS if same else dataclasses.replace(PIXELS, name="standardised columns")
    rows, test = comparable(model, train.values), comparable(model, held_out.values)
    return network_features(rows, train.labels, test, held_out.labels, model.schema_.shape if same else None)
