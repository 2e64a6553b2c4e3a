"""Categories as one-hot groups of columns, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from equilibria.data.numeric import column_name

__all__ = ["Categories", "decode", "encode", "find"]

Categories = tuple[tuple[int | str, ...], ...]


def find(X: np.ndarray | Tensor, columns: Sequence[str] | None, allow_missing: bool) -> Categories:
    """Each column's categories in sorted order.

    Raises
    ------
    ValueError
        If a cell is neither a whole number nor text, if a column holds both, or none; or for a missing one without ``allow_missing``.
    """
    table = _array(X)
    found = []
    for column in range(table.shape[1]):
        codes, missing = _codes(table[:, column], 0, column, columns, allow_missing)
        if missing.all():
            raise ValueError(f"X: {column_name(column, columns)} has no observed value; leave it out")
        found.append(tuple(np.unique(codes[~missing]).tolist()))
        if len(found[-1]) < 2:
            raise ValueError(f"X: {column_name(column, columns)} has the one category {found[-1][0]!r} in every row; leave it out")
    return tuple(found)


def encode(
    X: np.ndarray | Tensor, first: int, categories: Categories, columns: Sequence[str] | None, dtype: torch.dtype, allow_missing: bool
) -> Tensor:
    """One-hot columns (n, Σ groups); a missing category is NaN in its whole group."""
    table = _array(X)
    out = torch.zeros((len(table), sum(len(group) for group in categories)), dtype=dtype)
    start = 0
    for column, group in enumerate(categories):
        codes, missing = _codes(table[:, column], first, column, columns, allow_missing)
        place = _places(codes, missing, group, first, column, columns)
        block = out[:, start : start + len(group)]
        block.scatter_(1, torch.from_numpy(place)[:, None], 1.0)
        if missing.any():
            block[torch.from_numpy(missing)] = torch.nan
        start += len(group)
    return out


def decode(values: Tensor, categories: Categories, dtype: np.dtype) -> np.ndarray:
    """The category of the largest column of each group, in the data's own type."""
    groups = values.detach().cpu().split([len(group) for group in categories], dim=1)
    chosen = [np.array(group, dtype=object)[part.argmax(1).numpy()] for group, part in zip(categories, groups, strict=True)]
    return np.stack(chosen, axis=1).astype(dtype)


def _array(X: np.ndarray | Tensor) -> np.ndarray:
    return X.detach().cpu().numpy() if isinstance(X, Tensor) else X


def _codes(cells: np.ndarray, first: int, column: int, columns: Sequence[str] | None, allow_missing: bool) -> tuple[np.ndarray, np.ndarray]:
    """A column as int64 or as text, and which cells are missing (None or NaN; their code means nothing)."""
    missing = np.array([cell is None or cell != cell for cell in cells], dtype=bool) if cells.dtype == object else cells != cells
    if missing.any() and not allow_missing:
        row = int(missing.argmax())
        raise ValueError(
            f"X[{first + row}, {column}] ({column_name(column, columns)}) is {_text(cells[row])}; fill it, or leave the row out"
        )
    if cells.dtype.kind == "U":
        return cells, missing
    if cells.dtype == object and not missing.all() and all(isinstance(cell, str) for cell in cells[~missing]):
        return np.where(missing, "", cells).astype(str), missing
    broken = ~(missing | _whole(cells))
    if broken.any():
        row = int(broken.argmax())
        raise ValueError(
            f"X[{first + row}, {column}] ({column_name(column, columns)}) is {_text(cells[row])}; "
            f"a category is a whole number or text, and a column holds one of the two"
        )
    return np.where(missing, 0, cells).astype(np.int64), missing


def _whole(cells: np.ndarray) -> np.ndarray:
    if cells.dtype.kind == "f":
        return np.isfinite(cells) & (cells == np.rint(cells))
    if cells.dtype == object:
        return np.array([isinstance(cell, int | float | np.number | np.bool_) and float(cell).is_integer() for cell in cells], dtype=bool)
    return np.ones(len(cells), dtype=bool)


def _text(cell: object) -> str:
    return (
        "NaN" if isinstance(cell, float | np.floating) and np.isnan(cell) else repr(cell.item() if isinstance(cell, np.generic) else cell)
    )


def _places(
    codes: np.ndarray, missing: np.ndarray, group: tuple[int | str, ...], first: int, column: int, columns: Sequence[str] | None
) -> np.ndarray:
    known = np.array(group)
    if known.dtype.kind != codes.dtype.kind:
        place, unseen = np.zeros(len(codes), np.int64), ~missing
    else:
        place = np.searchsorted(known, codes).clip(max=len(known) - 1)
        unseen = (known[place] != codes) & ~missing
    if unseen.any():
        row = int(unseen.argmax())
        listed = ", ".join(map(repr, group[:10])) + (", …" if len(group) > 10 else "")
        raise ValueError(
            f"X[{first + row}, {column}] ({column_name(column, columns)}) is {codes[row].item()!r}, "
            f"which was not among its categories {listed}"
        )
    return place
