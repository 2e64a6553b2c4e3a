"""Models of a table, each of which has not seen a part of its rows, and the choice among them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import clone

from equilibria.data.columns import as_frame, is_frame, take
from equilibria.data.table import Table
from equilibria.estimators import all_estimators
from equilibria.estimators.estimator import Estimator, Trained
from equilibria.random import Stream

__all__ = ["EXACT", "FOLDS", "Fold", "cross_fitted", "kinds_of", "likeliest", "model_of"]
__all__ += ["table_of"]

EXACT = ("tree", "mixture", "latent-tree")
"""Models that are fitted in seconds, take gaps, and know their likelihood."""
FOLDS = 5
MOST = 5000  # rows by which a model is chosen


@dataclasses.dataclass(frozen=True, eq=False)
class Fold:
    """A fitted model, and the places of the rows that it has not seen."""

    model: Any
    places: np.ndarray


def model_of(name: Any, X: Any, kinds: Any = None, **how: Any) -> Any:
    """The estimator of a name for a table, whose columns are what is said, else
    :func:`kinds_of` it. An estimator stays as it is.

    >>> model_of("tree", np.zeros((2, 1))).kinds
    'auto'
    """
    if isinstance(name, Trained):
        return name
    known = {key: cls for key, cls in all_estimators().items() if issubclass(cls, Estimator)}
    if name not in known:
        raise ValueError(f"model={name!r} is unknown; expected one of {', '.join(known)}")
    kinds = kinds_of(X) if kinds is None else kinds
    return known[name](**{"kinds": kinds, "random_state": 0, **how})


def kinds_of(X: Any) -> str:
    """What the columns of a table are taken for, where nothing else is said: of a frame, each for
    what it holds."""
    return "mixed" if is_frame(as_frame(X)) else "auto"


def table_of(X: Any, kinds: Any = None) -> Table:
    """What the columns of a table are taken for."""
    return Table.fit(X, kinds=kinds_of(X) if kinds is None else kinds)


def cross_fitted(
    estimator: Any, X: Any, y: Any = None, folds: int = FOLDS, seed: int = 0
) -> list[Fold]:
    """Copies of an estimator, each fitted to all rows but those of its part, which are drawn at
    random.

    What the columns are is found once, in all rows, so that no category is strange to a part; the
    laws of columns by their ranks in the others alone, or a row would be within the ends by being
    there.
    """
    X = as_frame(X)
    first = estimator.checked().set_params(out=None)  # parts have no run
    X = first.validated(X, reset=True)
    if len(X) < 2 * folds:
        raise ValueError(f"X: {len(X)} rows are too few for {folds} parts; bring {2 * folds}")
    table = first.tabulate(X, y)
    codes, found = first.codes(table, y, len(X)), list[Fold]()
    for places in np.array_split(Stream(seed).child("folds").permutation(len(X)).numpy(), folds):
        rest, twin = np.setdiff1d(np.arange(len(X)), places), clone(first)
        twin.validated(X, reset=True)
        own = take(X, rest)
        twin.train(table.with_laws(own), own, None if codes is None else codes[rest])
        found.append(Fold(twin, np.sort(places)))
    return found


def likeliest(
    X: Any, y: Any = None, names: Sequence[str] = EXACT, seed: int = 0, **how: Any
) -> tuple[str, str, list[Fold]]:
    """The model that held-out rows are likeliest under, why in a sentence, and its folds.

    Each row is scored by a fold that has not seen it: by log p(x), or, where labels are given, by
    log p(label | x). Of a table of more than 5,000 rows as many are drawn for that, and no folds
    are there.

    >>> rows = np.random.RandomState(0).randint(0, 2, (60, 1)).repeat(3, axis=1)
    >>> likeliest(rows, names=("independent", "tree"))[0]
    'tree'
    """
    X, whole = as_frame(X), len(X) <= MOST
    if not whole:
        some = np.sort(Stream(seed).child("chosen by").permutation(len(X))[:MOST].numpy())
        X, y = take(X, some), None if y is None else np.asarray(y)[some]
    found: Mapping[str, list[Fold]] = {
        name: cross_fitted(model_of(name, X, random_state=seed, **how), X, y, seed=seed)
        for name in names
    }
    means = {name: _mean(X, y, folds) for name, folds in found.items()}
    best = max(means, key=lambda name: means[name])
    what = "held-out rows" if y is None else "held-out labels given their rows"
    listed = ", ".join(f"{name} {mean:.3f}" for name, mean in means.items())
    why = f"{best} is taken: {what} are likeliest under it (nats: {listed})."
    return best, why, found[best] if whole else []


def _mean(X: Any, y: Any, folds: Sequence[Fold]) -> float:
    """Mean held-out score of a row, in nats."""
    scores = list[np.ndarray]()
    for fold in folds:
        rows = take(X if is_frame(X) else np.asarray(X), fold.places)
        if y is None:
            scores.append(fold.model.score_samples(rows))
        else:
            codes = fold.model.table_.labels.encode(np.asarray(y)[fold.places])
            proba = fold.model.predict_log_proba(rows)
            scores.append(proba[np.arange(len(codes)), codes][codes >= 0])
    return float(np.concatenate(scores).mean())
