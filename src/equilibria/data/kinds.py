"""What kind each column of a mixed table is: binary, categorical, real or positive."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from equilibria.data.columns import Columns, Header, missing_cells
from equilibria.data.numeric import row_ranges

__all__ = ["GROUPS", "MAX_CATEGORIES", "MAX_TEXTS", "Survey", "column_kinds", "place_of", "survey"]

GROUPS = {"binary": "binary", "categorical": "categorical", "real": "gaussian", "positive": "rectified"}
"""Each group of a mixed table, in the order of its layers, and the schema's kind for it."""

MAX_CATEGORIES = 10
MAX_TEXTS = 100
_ALIASES = {"bernoulli": "binary", "gaussian": "real", "rectified": "positive"}


@dataclasses.dataclass
class Survey:
    """What a column holds, block after block.

    Attributes
    ----------
    truth, text, number : bool
        Whether it holds truth values, text, numbers (truth values are not counted among them).
    whole, integer : bool
        Whether all its numbers are whole, and whether all are of an integer type.
    declared : bool
        Whether the table itself calls it categorical, as a DataFrame can.
    values : set
        The different values met, at most one more than is ever asked about.
    """

    truth: bool = False
    text: bool = False
    number: bool = False
    whole: bool = True
    integer: bool = True
    declared: bool = False
    values: set[Any] = dataclasses.field(default_factory=set)

    @property
    def dtype(self) -> str:
        """The type that a column of Python objects has in truth."""
        if self.text or not (self.truth or self.number):
            return "object"
        return "bool" if not self.number else "int64" if self.integer else "float64"

    def kind(self, name: str, max_categories: int) -> str:
        """The kind that these values speak for; ``name`` is what an error calls the column."""
        if not self.values:
            raise ValueError(f"X: {name} has no observed value; leave it out")
        if self.whole and len(self.values) == 2:
            return "binary"
        if self.text and len(self.values) > max(MAX_TEXTS, max_categories):
            raise ValueError(
                f"X: {name} is text with more than {max(MAX_TEXTS, max_categories)} different values, which looks like a name rather "
                f'than a category; leave it out, or say kinds={{…: "categorical"}}'
            )
        few = self.whole and len(self.values) <= max_categories
        return "categorical" if self.text or self.truth or self.declared or few else "real"


def survey(table: Columns, header: Header, allow_missing: bool, limit: int = MAX_TEXTS) -> list[Survey]:
    """One pass over the table, a block of rows and a column at a time; up to ``limit`` + 1 different values of each are kept.

    Raises
    ------
    ValueError
        For a cell that is neither a number nor text, a column that holds both, or a missing cell without ``allow_missing``.
    """
    found = [Survey(declared=dtype == "category") for dtype in table.dtypes]
    for first, rows in row_ranges(table):
        for place, known in enumerate(found):
            cells = table.column(rows, place)
            _look(known, cells, first, place, header, allow_missing, limit)
    return found


def column_kinds(
    found: Sequence[Survey], header: Header, given: Mapping[int | str, str] | Sequence[str] | None, max_categories: int
) -> tuple[str, ...]:
    """The kind of each column: as given, else by these rules.

    Truth values, and any two whole numbers or texts, are binary; other text is categorical, and so are whole numbers with at most
    ``max_categories`` different values; all else is real. ``"positive"`` is never inferred.

    Raises
    ------
    ValueError
        For a kind or a column that does not exist, a list of another length, or text with too many different values.
    """
    chosen = _given(given, len(found), header)
    return tuple(chosen.get(place) or column.kind(header.column(place), max_categories) for place, column in enumerate(found))


def _look(known: Survey, cells: np.ndarray, first: int, place: int, header: Header, allow_missing: bool, limit: int) -> None:
    missing = missing_cells(cells)
    if missing.any() and not allow_missing:
        cell = "None" if cells[int(missing.argmax())] is None else "NaN"
        raise ValueError(f"{header.cell(first + int(missing.argmax()), place)} is {cell}; fill it, or leave the row out")
    present = cells[~missing]
    if present.dtype == object:
        _look_at_objects(known, present, np.flatnonzero(~missing) + first, place, header)
    elif present.dtype.kind not in "biufU":
        raise ValueError(f"X: {header.column(place)} is of type {present.dtype}; expected numbers or text")
    elif len(present):
        _look_at_type(known, present)
    if len(known.values) <= limit:
        known.values.update(present.tolist() if present.dtype == object else np.unique(present).tolist())
        while len(known.values) > limit + 1:
            known.values.pop()


def _look_at_type(known: Survey, present: np.ndarray) -> None:
    kind = present.dtype.kind
    known.truth, known.text = known.truth or kind == "b", known.text or kind == "U"
    known.number = known.number or kind in "iuf"
    known.integer = known.integer and kind != "f"
    known.whole = known.whole and (kind != "f" or bool((present == np.rint(present)).all()))


def _look_at_objects(known: Survey, present: np.ndarray, rows: np.ndarray, place: int, header: Header) -> None:
    for row, cell in zip(rows, present, strict=True):
        if isinstance(cell, bool | np.bool_):
            known.truth = True
        elif isinstance(cell, str):
            known.text = True
        elif isinstance(cell, int | float | np.integer | np.floating):
            known.number = True
            known.integer = known.integer and isinstance(cell, int | np.integer)
            known.whole = known.whole and float(cell).is_integer()
        else:
            raise ValueError(f"{header.cell(int(row), place)} is {cell!r}; expected a number or text")
        if known.text and (known.number or known.truth):
            raise ValueError(f"{header.cell(int(row), place)} is {cell!r}; a column holds numbers or text, and this one holds both")


def _given(given: Mapping[int | str, str] | Sequence[str] | None, width: int, header: Header) -> dict[int, str]:
    """Kinds by the columns' places, in this module's words."""
    if given is None:
        return {}
    if isinstance(given, str):
        raise ValueError(f"kinds={given!r}: expected a kind for each column (a list), or a mapping from columns to kinds")
    if not isinstance(given, Mapping):
        if len(given) != width:
            raise ValueError(f"kinds has {len(given)} entries for {width} columns; give one each, or a mapping from some columns to kinds")
        given = dict(enumerate(given))
    chosen = {place_of(column, width, header): _kind(column, kind) for column, kind in given.items()}
    return {place: kind for place, kind in chosen.items() if kind != "auto"}


def _kind(column: int | str, kind: str) -> str:
    kind = _ALIASES.get(kind, kind)
    if kind not in GROUPS and kind != "auto":
        raise ValueError(f"kinds[{column!r}]={kind!r}: expected 'auto' or one of {', '.join(GROUPS)}")
    return kind


def place_of(column: int | str, width: int, header: Header, argument: str = "kinds") -> int:
    """A column's place, from its name or its number; ``argument`` is what an error says named it."""
    names = header.names or ()
    if isinstance(column, str) and column in names:
        return names.index(column)
    if isinstance(column, int | np.integer) and -width <= column < width:
        return int(column) % width
    close = difflib.get_close_matches(str(column), names, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"expected a column's name, or its number from 0 to {width - 1}"
    raise ValueError(f"{argument} names the column {column!r}, which X does not have; {hint}")
