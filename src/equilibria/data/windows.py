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

    ``X`` (n, d) may be a memory map. ``groups`` (n,) say which sequence each row belongs to: no
    window crosses from one to the next, and sequences that are too short give none. Without them
    the (n − lag, (lag + 1)·d) windows of a contiguous array are a read-only view, without memory.

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
        expected = "expected (rows, columns), rows in order of time"
        raise ValueError(f"X has shape {rows.shape}: {expected}")
    lag = whole(1)("lag", lag)
    n, width = rows.shape
    starts = None if groups is None else _starts(np.asarray(groups), n, lag)
    if n <= lag or (starts is not None and not len(starts)):
        longest = f"X has {n} rows" if groups is None else "every sequence is shorter"
        what = f"a window takes {lag + 1} rows, and {longest}; choose a smaller lag"
        raise ValueError(f"lag={lag}: {what}")
    flat = np.ascontiguousarray(rows).reshape(-1)
    view = np.lib.stride_tricks.sliding_window_view(flat, (lag + 1) * width)[::width]
    return view if starts is None else view[starts]


def _starts(groups: np.ndarray, n: int, lag: int) -> np.ndarray:
    """First rows of the windows that lie in one sequence."""
    if groups.shape != (n,):
        raise ValueError(f"groups has shape {groups.shape} for {n} rows of X: expected one each")
    change = groups[1:] != groups[:-1]
    firsts = groups[np.flatnonzero(np.r_[n > 0, change])].tolist()
    again = [name for place, name in enumerate(firsts) if name in firsts[:place]]
    if again:
        remedy = "the rows of a sequence must stand together"
        raise ValueError(f"groups: sequence {again[0]!r} begins again; {remedy}")
    sequence = np.r_[0, change].cumsum()
    return np.flatnonzero(sequence[lag:] == sequence[:-lag])  # both ends in one sequence


def window_table(row: Table, lag: int, names: tuple[str, str] | None) -> Table:
    """The table of windows of lag + 1 rows (all columns of one kind) side by side.

    Categories, scales and ranges are the row's own in each, so that past and future mean the same.
    ``names`` are those of two layers, the past and the future; None for one layer, a pile of
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
        whole_window = _repeated(row, lag + 1, "visible", 0)
        return dataclasses.replace(row, layers=(whole_window,), shape=shape, **shared)
    past, future = names
    layers = (_repeated(row, lag, past, 0), _repeated(row, 1, future, lag * row.width))
    return dataclasses.replace(row, layers=layers, shape=None, **shared)


def _repeated(row: Table, count: int, name: str, first: int) -> Layer:
    """A row's layer ``count`` times side by side, from column ``first`` on."""
    layer, width = row.layers[0], row.width
    names = ("categories", "rare", "offset", "scale", "origin")
    values = {name: getattr(layer, name) for name in names}
    many: dict[str, Any] = {
        name: None if value is None else value * count for name, value in values.items()
    }
    source = tuple(first + i * width + place for i in range(count) for place in layer.source)
    return dataclasses.replace(layer, name=name, source=source, **many)
