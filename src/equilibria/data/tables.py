"""Tables of numbers: CSV files with a header, and numpy's ``.npz`` and ``.npy`` files."""

from __future__ import annotations

import csv
import difflib
import math
import os
import zipfile
from collections.abc import Iterator, Sequence

import numpy as np

__all__ = ["read_csv", "read_npy", "read_npz", "write_csv"]

_NPZ_KEYS = (("X", "y"), ("images", "labels"))


def read_csv(
    path: str | os.PathLike[str], label: str | None = None, *, text: bool = False
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """A comma-separated table of numbers, or of numbers and text, under a line of column names.

    Parameters
    ----------
    path : path
        The file, in UTF-8.
    label : str, optional
        The column that holds labels: numbers or text, not part of the values.
    text : bool
        Whether columns may hold text; otherwise it is refused.

    Returns
    -------
    values : ndarray of float32, shape (n, d)
        An empty cell is NaN. Where a column holds text, an array of Python objects: the cells of that column are strings, those of a
        column of whole numbers int, of other numbers float; None where empty.
    labels : ndarray, shape (n,), or None
        int64 where all are whole numbers, float64 where all are numbers or missing (NaN), else text (None where missing).
    columns : tuple of str
        Names of the d columns.

    Raises
    ------
    ValueError
        For no header, no rows, a text cell (named with its column and row), a row of another length, an unknown ``label``.
    """
    lines = _lines(path)
    names = _header(path, next(lines, []))
    place = None if label is None else _find_label(path, names, label)
    columns = tuple(name for i, name in enumerate(names) if i != place)
    if not columns:
        raise ValueError(f"{path}: has no column besides the label {label!r}; expected at least one column of values")
    rows: list[np.ndarray] = []
    labels: list[str] = []
    for number, cells in enumerate(lines, start=1):
        if len(cells) != len(names):
            raise ValueError(f"{path}: row {number} has {len(cells)} cells under a header of {len(names)}; repair that row")
        if place is not None:
            labels.append(cells.pop(place))
        rows.append(np.array(cells, dtype=object) if text else np.array(_numbers(path, number, cells, columns), dtype=np.float32))
    if not rows:
        raise ValueError(f"{path}: has no rows under its header; expected at least one")
    return _typed(np.stack(rows)) if text else np.stack(rows), None if place is None else _label_values(labels), columns


def write_csv(path: str | os.PathLike[str], values: np.ndarray, columns: Sequence[str] | None = None) -> None:
    """Write a table (n, d) under a header; NaN becomes an empty cell, and :func:`read_csv` gives the same float32 back.

    Parameters
    ----------
    path : path
        The file to write.
    values : ndarray, shape (n, d)
        Numbers or text.
    columns : sequence of str, optional
        Names of the columns, by default ``x0``, ``x1``, ….

    Raises
    ------
    ValueError
        If ``values`` is no table or ``columns`` has another length.
    """
    table = np.asarray(values)
    if table.ndim != 2:
        raise ValueError(f"values has shape {table.shape}: expected (rows, columns)")
    names = [f"x{i}" for i in range(table.shape[1])] if columns is None else list(columns)
    if len(names) != table.shape[1]:
        raise ValueError(f"columns has {len(names)} names for {table.shape[1]} columns of values")
    table = table.astype(np.uint8) if table.dtype == np.bool_ else table
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([_cell(value) for value in row] for row in table)


def read_npz(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray | None]:
    """The array and the labels in a ``.npz`` file: ``X`` (and ``y``), ``images`` (and ``labels``), or the only array there is.

    Raises
    ------
    ValueError
        For other keys, Python objects inside (they would run code), or a damaged file; the message names the file.
    """
    try:
        with open(path, "rb") as opened:  # numpy forgets to close a damaged file that it opened itself
            file = np.load(opened, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("not an archive of arrays")
            for values, labels in _NPZ_KEYS:
                if values in file:
                    return file[values], file.get(labels)
            keys = list(file)
            if len(keys) == 1:
                return file[keys[0]], None
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not a readable .npz file ({error})") from error
    raise ValueError(f"{path}: holds {', '.join(keys) or 'nothing'}; expected X (and y), images (and labels), or a single array")


def read_npy(path: str | os.PathLike[str]) -> np.ndarray:
    """The array in a ``.npy`` file as a read-only memory map, which may be larger than memory.

    Raises
    ------
    ValueError
        For Python objects inside (they would run code), or a damaged file; the message names the file.
    """
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path}: not a readable .npy file ({error})") from error
    if not isinstance(values, np.ndarray):
        raise ValueError(f"{path}: not a readable .npy file (it is an archive: call it .npz)")
    return values


def _lines(path: str | os.PathLike[str]) -> Iterator[list[str]]:
    """The cells of each line that is not blank, one line at a time: a text table takes many times its numbers' memory."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        try:
            yield from (line for line in csv.reader(file) if line)
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not a CSV file in UTF-8 ({error})") from error


def _header(path: str | os.PathLike[str], cells: list[str]) -> list[str]:
    if not cells:
        raise ValueError(f"{path}: is empty; expected a line of column names and rows under it")
    names = [name.strip() for name in cells]
    if all(_is_number(name) for name in names) and names != [str(i) for i in range(len(names))]:
        raise ValueError(f"{path}: its first line holds numbers only ({', '.join(names[:4])}, …); put a line of column names above it")
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise ValueError(f"{path}: two columns are called {twice!r}; give each its own name")
    return names


def _find_label(path: str | os.PathLike[str], names: list[str], label: str) -> int:
    if label in names:
        return names.index(label)
    close = difflib.get_close_matches(label, names, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"its columns are {', '.join(names[:20])}{', …' if len(names) > 20 else ''}"
    raise ValueError(f"label={label!r}: {path} has no such column; {hint}")


def _typed(cells: np.ndarray) -> np.ndarray:
    """A table of text in the types that its columns have: float32 where all are numbers, else Python objects."""
    kinds = [_column_kind(column) for column in cells.T]
    if str not in kinds:
        return np.array([[float(cell) if cell.strip() else math.nan for cell in row] for row in cells], dtype=np.float32)
    for column, kind in enumerate(kinds):
        cells[:, column] = [kind(cell) if _is_present(cell, kind) else None for cell in cells[:, column]]
    return cells


def _column_kind(column: np.ndarray) -> type[int] | type[float] | type[str]:
    present = [cell for cell in column if cell.strip()]
    for kind in (int, float):
        if all(_is_number(cell, kind) for cell in present):
            return kind
    return str


def _is_present(cell: str, kind: type) -> bool:
    """Whether a cell holds something; among numbers, the word "nan" does not."""
    return bool(cell.strip()) and (kind is not float or not math.isnan(float(cell)))


def _numbers(path: str | os.PathLike[str], number: int, cells: list[str], names: Sequence[str]) -> list[float]:
    try:
        return [float(cell) for cell in cells]
    except ValueError:
        return list(_slowly(path, number, cells, names))


def _slowly(path: str | os.PathLike[str], number: int, cells: list[str], names: Sequence[str]) -> Iterator[float]:
    for cell, name in zip(cells, names, strict=True):
        if cell.strip() and not _is_number(cell):
            raise ValueError(
                f"{path}: column {name!r} holds the text {cell!r} in row {number}; expected numbers only "
                f"(recode the column as numbers, leave missing cells empty, name it as the label with label={name!r}, "
                "or, for an RBM or a DBM, take units='mixed' or 'categorical')"
            )
        yield float(cell) if cell.strip() else math.nan


def _is_number(cell: str, kind: type[int] | type[float] = float) -> bool:
    try:
        kind(cell)
    except ValueError:
        return False
    return True


def _label_values(cells: list[str]) -> np.ndarray:
    present = [cell for cell in cells if cell.strip()]
    if not all(_is_number(cell) for cell in present):
        return np.array(cells) if len(present) == len(cells) else np.array([cell if cell.strip() else None for cell in cells], dtype=object)
    numbers = np.array([float(cell) if cell.strip() else math.nan for cell in cells])
    return numbers.astype(np.int64) if np.isfinite(numbers).all() and (numbers == np.rint(numbers)).all() else numbers


def _cell(value: object) -> str:
    missing = value is None or (not isinstance(value, str) and value != value)  # NaN is what differs from itself
    return "" if missing else str(value)
