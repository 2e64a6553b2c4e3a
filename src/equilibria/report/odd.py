"""What is odd in a table: rows, and the cells that make them so."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from equilibria.check import number, whole
from equilibria.data.columns import as_frame, is_frame, missing_cells, take
from equilibria.data.table import Table
from equilibria.report.folds import FOLDS, Fold, cross_fitted, likeliest, model_of, table_of

__all__ = ["Odd", "odd"]

SHOWN = 10  # rows that are printed
REASONS = 3  # cells that are named of each


@dataclasses.dataclass(frozen=True, eq=False)
class Odd:
    """What :func:`odd` found; ``print`` shows the oddest rows.

    Attributes
    ----------
    pvalues : ndarray of shape (n,)
        Of each row.
    cells : DataFrame of shape (n, d)
        Of each cell given the rest of its row; NaN where it is missing or no model is told.
    rows : array or frame
        The rows that were judged.
    level : float
    why : str
        Which model judged, and how it was chosen.
    """

    pvalues: np.ndarray
    cells: Any
    rows: Any
    level: float
    why: str = ""

    @property
    def flagged(self) -> np.ndarray:
        """Which rows have p ≤ level, bool (n,)."""
        return self.pvalues <= self.level

    def reasons(self, row: int) -> list[tuple[Any, float]]:
        """Columns of a row whose cells have p ≤ level, the oddest first, with their p."""
        own = self.cells.iloc[row].sort_values(kind="stable")
        return [(name, float(p)) for name, p in own.items() if p <= self.level]

    def sentence(self, row: int) -> str:
        """The cells that make a row odd, with what is in them."""
        cells, places = self.rows, {name: i for i, name in enumerate(self.cells.columns)}
        said = []
        for name, p in self.reasons(row)[:REASONS]:
            place = places[name]
            value = cells.iloc[row, place] if is_frame(cells) else cells[row, place]
            said.append(f"{name} = {value} (p = {p:.2g})")
        return ", ".join(said) or "no cell by itself"

    def to_frame(self) -> Any:
        """For each row its ``p``, whether it is ``odd``, which ``cells`` make it so, and p of each
        cell."""
        import pandas as pd

        names = [
            "; ".join(str(name) for name, _ in self.reasons(i)) for i in range(len(self.cells))
        ]
        names = [said if odd else "" for said, odd in zip(names, self.flagged, strict=True)]
        head = pd.DataFrame({"p": self.pvalues, "odd": self.flagged, "cells": names})
        cells = self.cells.set_axis([f"p({name})" for name in self.cells.columns], axis=1)
        return pd.concat([head.set_axis(cells.index), cells], axis=1)

    def __str__(self) -> str:
        order = np.argsort(self.pvalues, kind="stable")[: min(SHOWN, int(self.flagged.sum()))]
        count, n = int(self.flagged.sum()), len(self.pvalues)
        lines = [f"{count:,} of {n:,} rows ({100 * count / n:.1f} %) have p ≤ {self.level:g}."]
        if len(order):
            lines += ["The oddest:", f"{'row':>7}  {'p':<7}  cells that are odd given the others"]
        lines += [f"{i + 1:>7}  {self.pvalues[i]:<7.2g}  {self.sentence(i)}" for i in order]
        return "\n".join(lines)


def odd(
    X: Any,
    model: Any = None,
    rows: Any = None,
    *,
    level: float = 0.05,
    folds: int = FOLDS,
    random_state: int = 0,
    **how: Any,
) -> Odd:
    r"""Conformal p-values of rows, and of their cells, by models that have not seen them.

    The table is cut into K parts at random; the rows of each are scored, log p(x), by a model that
    is fitted to the others, less the median of their part. A row's p is the share of all held-out
    scores, its own included, that are as low; the p of a cell is the same within its column, of
    log p(x_j | the other cells).

    What is guaranteed: if the rows are exchangeable, a row has p ≤ α with a probability of at most
    α, whatever the model. Of the table's own rows a share of about α is therefore *always* flagged:
    p ranks them, and whether the first of them are wrong only a look can tell. Of other ``rows``,

    .. math:: p = \frac{1 + \sum_k \#\{i \in \text{part } k: s_k(x_i) \le s_k(x)\}}{n + 1},

    and a usual one has p ≤ α with a probability of at most 2α + 2K / n, in practice about α, where
    what the columns are counts as known: there a larger share says that they are not as the table
    is. A value that the table does not have is taken as missing; its cell and its row have the
    least p, 1 / (n + 1), beyond that guarantee: where k values came once, about k / n of usual rows
    have a new one. What a model does not know, it does not find. A row with gaps is judged by the
    cells it has.

    Parameters
    ----------
    X : array-like or frame of shape (n, d)
    model : str or estimator, optional
        One that has a density; by default the one of a tree, a mixture and a latent
        tree under which held-out rows are likeliest.
    rows : array-like or frame of shape (m, d), optional
        Rows to judge by the table; by default its own.
    level : float
        Up to which p a row is flagged.
    folds : int
        K.
    random_state : int
        Seed of the parts and the model.
    **how
        Parameters of a model that has none of its own: ``kinds``.

    Returns
    -------
    Odd

    References
    ----------
    Vovk 2015, "Cross-conformal predictors"; Vovk & Wang 2020, "Combining p-values via averaging".

    Examples
    --------
    >>> X = np.random.RandomState(0).randint(0, 2, (100, 1)).repeat(3, axis=1)
    >>> X[7] = [0, 1, 0]
    >>> found = odd(X, "tree")
    >>> int(found.pvalues.argmin()), found.reasons(7)  # the two that contradict each other
    (7, [(0, 0.01), (1, 0.01)])
    """
    import pandas as pd

    level, folds = number(0, 1, above=True)("level", level), whole(2)("folds", folds)
    X = _rows(X)
    table = table_of(X, how.get("kinds"))
    if rows is not None:
        table.match(_rows(rows), "rows")
    if how.get("kinds") is None:
        how["kinds"] = _as_they_are(table) or None
    if model is None:
        model, why, parts = likeliest(X, seed=random_state, **how)
    else:
        judge = model_of(model, X, random_state=random_state, **how)
        _refuse_blind(judge, judge.preview(X))
        why, parts = f"Rows are judged by {judge.name}.", []
    if not parts or len(parts) != folds:
        judge = model_of(model, X, random_state=random_state, **how)
        parts = cross_fitted(judge, X, folds=folds, seed=random_state)
    table = parts[0].model.table_
    asked = X if rows is None else table.match(_rows(rows), "rows")
    rows, strange = (X, None) if rows is None else _known(table, asked)
    p, cells = _pvalues(X, rows, parts)
    if strange is not None:
        cells[strange] = p[strange.any(1)] = 1 / (1 + len(X))
    keys = list(map(table.key, range(table.width)))
    return Odd(p, pd.DataFrame(cells, getattr(rows, "index", None), keys), asked, level, why)


def _refuse_blind(judge: Any, table: Table) -> None:
    """Refuse a model that cannot say how odd a row and each of its cells is."""
    fault = "" if "score" in judge.capabilities_ else "has no density"
    if not fault and (judge.indicated or not judge.missing):
        number = next((p for p in sorted(set(table.owner)) if table.states(p) is None), None)
        if number is not None:
            fault = f"sums out no gaps, and so cannot sum {table.column_name(number)} out"
    if fault:
        advice = "a tree, a mixture, a latent tree, RBM and DBM can"
        raise ValueError(f"model={judge.name!r}: a {type(judge).__name__} {fault}; {advice}")


def _as_they_are(table: Table) -> dict[Any, str]:
    """Kinds whose numbers are not by their ranks, of which the farthest is no further out than the
    second."""
    ranked = (place for one in table.layers if one.laws is not None for place in one.source)
    return {table.key(place): "real" for place in ranked}


def _rows(X: Any) -> Any:
    """A frame of pandas, or an array."""
    return X if is_frame(X := as_frame(X)) else np.asarray(X)


def _known(table: Table, rows: Any) -> tuple[Any, np.ndarray]:
    """Rows without the values that the table does not have, and where these were, bool (m, d)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        strange = table.lost(rows, "rows") & ~missing_cells(rows)
    if not strange.any():
        return rows, strange
    if is_frame(rows):
        return rows.mask(strange), strange
    rows = np.asarray(rows)
    known = rows.astype(np.float64 if rows.dtype.kind in "biuf" else object)
    known[strange] = None
    return known, strange


def _pvalues(X: Any, rows: Any, parts: Sequence[Fold]) -> tuple[np.ndarray, np.ndarray]:
    """p of each row (m,) and of each cell (m, d): columns of scores, the row's own the last."""
    known = [_scores(part.model, take(X, part.places)) for part in parts]
    if rows is X:
        for own in known:
            own[:, -1] -= np.median(own[:, -1])  # log Z, and what a part's model lacks
        order = np.argsort(np.concatenate([part.places for part in parts]))
        found = np.apply_along_axis(_shares, 0, np.concatenate(known)[order])
    else:
        asked = [_scores(part.model, rows) for part in parts]
        both = [[np.transpose(part) for part in scores] for scores in (known, asked)]
        columns = zip(zip(*both[0], strict=True), zip(*both[1], strict=True), strict=True)
        found = np.stack([_crossed(*column) for column in columns], 1)
    return found[:, -1], found[:, :-1]


def _scores(model: Any, rows: Any) -> np.ndarray:
    """Of each cell given the others, and of the row, (n, d + 1)."""
    return np.column_stack([model.cell_scores(rows), model.row_scores(rows)])


def _shares(scores: np.ndarray) -> np.ndarray:
    """The share of all scores, its own included, that are as low; NaN stays."""
    known = np.sort(scores[~np.isnan(scores)])
    shares = np.searchsorted(known, scores, side="right") / max(1, len(known))
    return np.where(np.isnan(scores), np.nan, shares)


def _crossed(known: Sequence[np.ndarray], asked: Sequence[np.ndarray]) -> np.ndarray:
    """Cross-conformal p-values: each part's scores beside those of the same model."""
    parts = [np.sort(own[~np.isnan(own)]) for own in known]
    low = sum(np.searchsorted(own, x, side="right") for own, x in zip(parts, asked, strict=True))
    shares = (1 + low) / (1 + sum(map(len, parts)))
    return np.where(np.isnan(asked[0]), np.nan, shares)
