"""Sequences of rows as windows: the past and the future in one row."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from equilibria.check import whole
from equilibria.data.layer import Layer
from equilibria.data.table import Table

__all__ = ["window_table", "windows"]


def windows(X: Any, lag: int, groups: Any = None) -> np.ndarray:
    """Each run of lag + 1 consecutive rows as one row, the oldest first and the newest last.

    Row t of the result is [x_t, x_{t+1}, …, x_{t+lag}]: its first lag·d columns are the past and
    its last d columns the future.

    Parameters
    ----------
    X : ndarray, shape (n, d)
        Rows in the order of time; a memory map will do.
    lag : int
        How many rows of the past go before each future one, at least 1.
    groups : sequence, shape (n,), optional
        Which sequence each row belongs to; a window never crosses from one to the next, and
        sequences that are too short give none.

    Returns
    -------
    ndarray, shape (n − lag, (lag + 1)·d), or fewer rows with ``groups``
        Of a contiguous array without ``groups`` a read-only view, which takes no memory.

    Examples
    --------
    >>> windows(np.array([[1, 10], [2, 20], [3, 30]]), 1)
    array([[ 1, 10,  2, 20],
           [ 2, 20,  3, 30]])
    >>> windows(np.array([[1], [2], [3], [4]]), 1, groups=["a", "a", "b", "b"])
    array([[1, 2],
           [3, 4]])
    """
    rows = np.asarray(X)
    if rows.ndim != 2 or not rows.shape[1]:
        raise ValueError(
            f"X has shape {rows.shape}: expected (rows, columns), rows in order of time"
        )
    lag = whole(1)("lag", lag)
    n, width = rows.shape
    starts = None if groups is None else _starts(np.asarray(groups), n, lag)
    if n <= lag or (starts is not None and not len(starts)):
        longest = f"X has {n} rows" if groups is None else "every sequence is shorter"
        raise ValueError(
            f"lag={lag}: a window takes {lag + 1} rows, and {longest}; choose a smaller lag"
        )
    flat = np.ascontiguousarray(rows).reshape(-1)
    view = np.lib.stride_tricks.sliding_window_view(flat, (lag + 1) * width)[::width]
    return view if starts is None else view[starts]


def _starts(groups: np.ndarray, n: int, lag: int) -> np.ndarray:
    """First rows of the windows that lie in one sequence."""
    if groups.shape != (n,):
        raise ValueError(f"groups has shape {groups.shape} for {n} rows of X: expected one each")
    change = np.flatnonzero(groups[1:] != groups[:-1]) + 1
    seen: set[Any] = set()
    for place in [0, *change.tolist()][: len(groups)]:
        if groups[place] in seen:
            name = groups[place : place + 1].tolist()[0]
            remedy = "the rows of a sequence must stand together"
            raise ValueError(f"groups: sequence {name!r} begins again in row {place}; {remedy}")
        seen.add(groups[place])
    sequence = np.zeros(n, dtype=np.int64)
    sequence[change] = 1
    sequence = sequence.cumsum()
    return np.flatnonzero(sequence[lag:] == sequence[:-lag])  # both ends in one sequence


def window_table(row: Table, lag: int, names: tuple[str, str] | None) -> Table:
    """The table of windows of lag + 1 rows side by side.

    Categories, scales and ranges are the row's own in each, so that past and future mean the same.

    Parameters
    ----------
    row : Table
        Of one row, all of whose columns are of one kind.
    lag : int
        Rows of the past.
    names : pair of str or None
        Names of two layers, the past and the future; None for one layer, which is a pile of
        pictures where a row is a picture.
    """
    if len(row.layers) != 1:
        kinds = ", ".join(layer.kind for layer in row.layers)
        raise ValueError(f"kinds: a state's columns must be of one kind, found {kinds}; say which")
    types = row.types if len(row.types) == 1 else row.types * (lag + 1)
    shared: dict[str, Any] = {"names": None, "is_frame": False, "types": types, "grey": ()}
    shared["width"] = (lag + 1) * row.width
    if names is None:
        shape = None if row.shape is None else ((lag + 1) * row.shape[0], *row.shape[1:])
        layers = (_repeated(row, lag + 1, "visible", 0),)
        return dataclasses.replace(row, layers=layers, shape=shape, **shared)
    past, future = names
    layers = (_repeated(row, lag, past, 0), _repeated(row, 1, future, lag * row.width))
    return dataclasses.replace(row, layers=layers, shape=None, **shared)


def _repeated(row: Table, count: int, name: str, first: int) -> Layer:
    """A row's layer ``count`` times side by side, from column ``first`` on."""
    layer, width = row.layers[0], row.width
    many = {
        field: None if getattr(layer, field) is None else getattr(layer, field) * count
        for field in ("categories", "offset", "scale", "origin")
    }
    source = tuple(first + i * width + place for i in range(count) for place in layer.source)
    return dataclasses.replace(layer, name=name, source=source, **many)
