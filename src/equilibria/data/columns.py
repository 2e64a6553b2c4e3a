"""Some columns of a table of any make: named in errors, read a block of rows at a time, never copied whole."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["Columns", "Header", "is_frame", "is_missing", "missing_cells"]

_NUMBERS = re.compile(r"bool|u?int\d+|float\d+")


@dataclasses.dataclass(frozen=True)
class Header:
    """How errors call the columns of a table, or of a part of one.

    Attributes
    ----------
    names : tuple of str or None
        The columns' names.
    source : tuple of int or None
        Their places in the whole table, where this is a part of it.

    Examples
    --------
    >>> Header(("age", "sex"), (4, 7)).cell(12, 1)
    "X[12, 7] (column 'sex')"
    """

    names: tuple[str, ...] | None = None
    source: tuple[int, ...] | None = None

    def column(self, place: int) -> str:
        """A column by its name, else by its number."""
        return f"column {self._number(place)}" if self.names is None else f"column {self.names[place]!r}"

    def cell(self, row: int, place: int) -> str:
        """A cell by its row and column."""
        return f"X[{row}, {self._number(place)}] ({self.column(place)})"

    def _number(self, place: int) -> int:
        return place if self.source is None else self.source[place]


class Columns:
    """Chosen columns of an array or of a DataFrame; slicing gives the array of those rows.

    Parameters
    ----------
    table : ndarray or DataFrame, shape (n, d)
        The whole table, which may be a memory map.
    source : sequence of int, optional
        Places of the chosen columns; all by default.

    Attributes
    ----------
    shape : tuple of int
        Rows and chosen columns.
    dtypes : tuple of str
        Name of each chosen column's type, as the table itself calls it.

    Examples
    --------
    >>> Columns(np.arange(6).reshape(2, 3), (2, 0))[:1]
    array([[2, 0]])
    """

    def __init__(self, table: Any, source: Sequence[int] | None = None):
        self.table, self.source = table, tuple(range(table.shape[1]) if source is None else source)
        self.shape = (len(table), len(self.source))
        self.ndim = 2

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        if is_frame(self.table):
            return self.table.iloc[rows, list(self.source)].to_numpy()
        return self.table[rows][:, list(self.source)]

    @property
    def dtypes(self) -> tuple[str, ...]:
        if is_frame(self.table):
            return tuple(str(self.table.dtypes.iloc[place]) for place in self.source)
        return (self.table.dtype.name,) * len(self.source)

    @property
    def common_dtype(self) -> str:
        """numpy's name of the type that all columns have, or of the Python object."""
        if not is_frame(self.table):
            return self.table.dtype.str if self.table.dtype.kind == "U" else self.table.dtype.name
        first = self.dtypes[0]
        return first if set(self.dtypes) == {first} and _NUMBERS.fullmatch(first) else "object"

    def column(self, rows: slice, place: int) -> np.ndarray:
        """Some rows of one chosen column, in its own type."""
        if is_frame(self.table):
            return self.table.iloc[rows, self.source[place]].to_numpy()
        return self.table[rows, self.source[place]]


def is_frame(table: Any) -> bool:
    """Whether this is a DataFrame; pandas itself is not asked, since it need not be installed."""
    return hasattr(table, "iloc") and hasattr(table, "dtypes") and hasattr(table, "columns")


def is_missing(cell: Any) -> bool:
    """None, NaN in any type, or one of pandas' marks."""
    return cell is None or type(cell).__name__ in ("NAType", "NaTType") or (isinstance(cell, float | np.floating) and cell != cell)


def missing_cells(cells: np.ndarray) -> np.ndarray:
    """Which cells of a column are missing, bool (n,)."""
    if cells.dtype == object:
        return np.fromiter((is_missing(cell) for cell in cells), dtype=bool, count=len(cells))
    return np.isnan(cells) if cells.dtype.kind == "f" else np.zeros(len(cells), dtype=bool)
