"""Categories as one-hot groups of columns, or as single binary columns where there are two, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from equilibria.data.columns import Header, is_missing, missing_cells
from equilibria.data.numeric import Table, row_blocks

__all__ = ["Categories", "decode", "encode", "encode_binary", "find"]

Categories = tuple[tuple[int | str, ...], ...]


def find(X: Table, header: Header, allow_missing: bool, *, binary: bool = False) -> Categories:
    """Each column's categories in sorted order.

    Parameters
    ----------
    X : ndarray, Tensor or Columns, shape (n, d)
        The table, read in blocks.
    header : Header
        What errors call its columns.
    allow_missing : bool
        Whether None and NaN are missing values rather than errors.
    binary : bool
        Whether each column must have exactly two.

    Raises
    ------
    ValueError
        If a cell is neither a whole number nor text, if a column holds both, or none; or for a missing one without ``allow_missing``.
    """
    found: list[set[Any]] = [set() for _ in range(X.shape[1])]
    for first, block in row_blocks(X):
        table = _array(block)
        for column, known in enumerate(found):
            codes, missing = _codes(table[:, column], first, column, header, allow_missing)
            new = np.unique(codes[~missing]).tolist()
            if new and known and isinstance(new[0], str) != isinstance(next(iter(known)), str):
                _refuse_neither(table[:, column], ~missing, first, column, header)
            known.update(new)
    for column, known in enumerate(found):
        _refuse_count(sorted(known), header.column(column), binary)
    return tuple(tuple(sorted(known)) for known in found)


def encode(X: np.ndarray | Tensor, first: int, categories: Categories, header: Header, dtype: torch.dtype, allow_missing: bool) -> Tensor:
    """One-hot columns (n, Σ groups); a missing category is NaN in its whole group."""
    table = _array(X)
    out = torch.zeros((len(table), sum(len(group) for group in categories)), dtype=dtype)
    start = 0
    for column, group in enumerate(categories):
        codes, missing = _codes(table[:, column], first, column, header, allow_missing)
        place = _places(codes, missing, group, first, column, header)
        block = out[:, start : start + len(group)]
        block.scatter_(1, torch.from_numpy(place)[:, None], 1.0)
        if missing.any():
            block[torch.from_numpy(missing)] = torch.nan
        start += len(group)
    return out


def encode_binary(
    X: np.ndarray | Tensor, first: int, categories: Categories, header: Header, dtype: torch.dtype, allow_missing: bool
) -> Tensor:
    """One column (n, d) for each pair of categories: 0 for the first of the two, 1 for the second, NaN for a missing one."""
    table = _array(X)
    out = torch.empty((len(table), len(categories)), dtype=dtype)
    for column, pair in enumerate(categories):
        codes, missing = _codes(table[:, column], first, column, header, allow_missing)
        place = _places(codes, missing, pair, first, column, header)
        out[:, column] = torch.from_numpy(np.where(missing, np.nan, place))
    return out


def decode(values: Tensor, categories: Categories, dtype: str, *, binary: bool = False) -> np.ndarray:
    """The category of the largest column of each group (of a binary column: the second above ½), in the data's own type.

    A group that holds NaN is a missing value.

    Raises
    ------
    ValueError
        If a value is missing and the data's type has no mark for that.
    """
    groups = values.detach().cpu().split([1 if binary else len(group) for group in categories], dim=1)
    chosen = np.empty((len(values), len(categories)), dtype=object)
    for column, (group, part) in enumerate(zip(categories, groups, strict=True)):
        place = (part[:, 0] > 0.5).long() if binary else part.argmax(1)
        chosen[:, column] = np.array(group, dtype=object)[place.numpy()]
        chosen[part.isnan().any(1).numpy(), column] = None
    to = np.dtype(dtype)
    if to.kind not in "fO" and any(bool(part.isnan().any()) for part in groups):
        raise ValueError(f"values holds NaN, which the data's type {to} cannot; fill missing values before decoding")
    return chosen.astype(to)


def _array(X: np.ndarray | Tensor) -> np.ndarray:
    return X.detach().cpu().numpy() if isinstance(X, Tensor) else X


def _codes(cells: np.ndarray, first: int, column: int, header: Header, allow_missing: bool) -> tuple[np.ndarray, np.ndarray]:
    """A column as int64 or as text, and which cells are missing (None or NaN; their code means nothing)."""
    missing = missing_cells(cells)
    if missing.any() and not allow_missing:
        row = int(missing.argmax())
        raise ValueError(f"{header.cell(first + row, column)} is {_text(cells[row])}; fill it, or leave the row out")
    if cells.dtype.kind == "U":
        return cells, missing
    if cells.dtype == object and not missing.all() and all(isinstance(cell, str) for cell in cells[~missing]):
        return np.where(missing, "", cells).astype(str), missing
    _refuse_neither(cells, ~(missing | _whole(cells)), first, column, header)
    return np.where(missing, 0, cells).astype(np.int64), missing


def _refuse_neither(cells: np.ndarray, broken: np.ndarray, first: int, column: int, header: Header) -> None:
    if broken.any():
        row = int(broken.argmax())
        raise ValueError(
            f"{header.cell(first + row, column)} is {_text(cells[row])}; "
            f"a category is a whole number or text, and a column holds one of the two"
        )


def _refuse_count(known: list[int | str], name: str, binary: bool) -> None:
    if not known:
        raise ValueError(f"X: {name} has no observed value; leave it out")
    if len(known) < 2:
        raise ValueError(f"X: {name} has the one category {known[0]!r} in every row; leave it out")
    if binary and len(known) > 2:
        listed = ", ".join(map(repr, known[:5])) + (", …" if len(known) > 5 else "")
        raise ValueError(f"X: {name} has {len(known)} different values ({listed}); a binary column has two: take it as categorical")


def _whole(cells: np.ndarray) -> np.ndarray:
    if cells.dtype.kind == "f":
        return np.isfinite(cells) & (cells == np.rint(cells))
    if cells.dtype == object:
        return np.array([isinstance(cell, int | float | np.number | np.bool_) and float(cell).is_integer() for cell in cells], dtype=bool)
    return np.ones(len(cells), dtype=bool)


def _text(cell: object) -> str:
    if is_missing(cell) and cell is not None:
        return "NaN"
    return repr(cell.item() if isinstance(cell, np.generic) else cell)


def _places(codes: np.ndarray, missing: np.ndarray, group: tuple[int | str, ...], first: int, column: int, header: Header) -> np.ndarray:
    known = np.array(group)
    if known.dtype.kind != codes.dtype.kind:
        place, unseen = np.zeros(len(codes), np.int64), ~missing
    else:
        place = np.searchsorted(known, codes).clip(max=len(known) - 1)
        unseen = (known[place] != codes) & ~missing
    if unseen.any():
        row = int(unseen.argmax())
        listed = ", ".join(map(repr, group[:10])) + (", …" if len(group) > 10 else "")
        raise ValueError(f"{header.cell(first + row, column)} is {codes[row].item()!r}, which was not among its categories {listed}")
    return place
