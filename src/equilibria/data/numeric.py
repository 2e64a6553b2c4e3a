"""Tables of numbers in blocks of rows: conversion, checks and moments without a second copy of the table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["column_name", "extremes", "moments", "numbers", "refuse_non_finite", "row_blocks"]

_BLOCK_CELLS = 1 << 22
_NARROW = frozenset(["bool", "int8", "uint8", "int16", "uint16", "float16", "float32", "bfloat16"])  # float32 holds them exactly


def row_blocks(X: np.ndarray | Tensor) -> Iterator[tuple[int, np.ndarray | Tensor]]:
    """The table in blocks of some millions of cells, each with the number of its first row."""
    rows = max(1, _BLOCK_CELLS // X.shape[1])
    for first in range(0, len(X), rows):
        yield first, X[first : first + rows]


def numbers(block: np.ndarray | Tensor, dtype: torch.dtype, first: int, columns: Sequence[str] | None, *, precise: bool = False) -> Tensor:
    """The block as floats, in float64 where float32 would lose something or ``precise`` asks for it."""
    narrow = str(block.dtype).removeprefix("torch.") in _NARROW
    wide = precise or not narrow or dtype == torch.float64
    if isinstance(block, Tensor):
        return block.to(torch.float64 if wide else torch.float32)
    if block.dtype.kind not in "biuf":
        block = _parse(block, first, columns)
    return torch.from_numpy(block.astype(np.float64 if wide else np.float32))  # astype copies: torch wants a writable array


def column_name(column: int, columns: Sequence[str] | None) -> str:
    """How an error calls a column."""
    return f"column {column}" if columns is None else f"column {columns[column]!r}"


def refuse_non_finite(values: Tensor, first: int, columns: Sequence[str] | None, allow_missing: bool) -> tuple[float, float]:
    """The smallest and the largest value; a ValueError names the first cell that is infinite or, unless it may be missing, NaN."""
    smallest, largest = (float(end) for end in torch.aminmax(values))  # NaN wins over every number here
    if np.isfinite(smallest) and np.isfinite(largest):
        return smallest, largest
    bad = torch.isinf(values) if allow_missing else ~torch.isfinite(values)
    if bad.any():
        row, column = bad.nonzero()[0].tolist()
        value = values[row, column].item()
        text = "NaN" if np.isnan(value) else str(value)
        remedy = "fill it, or leave the row out" if np.isnan(value) else "replace it by a finite number"
        raise ValueError(f"X[{first + row}, {column}] ({column_name(column, columns)}) is {text}; {remedy}")
    observed = values[~torch.isnan(values)]
    return (float(observed.min()), float(observed.max())) if observed.numel() else (np.inf, -np.inf)


def extremes(X: np.ndarray | Tensor, columns: Sequence[str] | None, allow_missing: bool) -> tuple[float, float]:
    """The smallest and the largest observed value of the table.

    Raises
    ------
    ValueError
        If a value is not finite, or there is no value at all.
    """
    blocks = ((first, numbers(block, torch.float32, first, columns)) for first, block in row_blocks(X))
    lows, highs = zip(*(refuse_non_finite(values, first, columns, allow_missing) for first, values in blocks), strict=True)
    if min(lows) > max(highs):
        raise ValueError("X has no observed value; expected at least one number that is not NaN")
    return min(lows), max(highs)


def moments(X: np.ndarray | Tensor, columns: Sequence[str] | None) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each column's observed values, float64 (d,); a constant column's deviation counts as 1.

    Raises
    ------
    ValueError
        If a column has no value at all.
    """
    width = X.shape[1]
    total, count, squares = (torch.zeros(width, dtype=torch.float64) for _ in range(3))
    minima, maxima = torch.full_like(total, torch.inf), torch.full_like(total, -torch.inf)
    for values in _precise_blocks(X, columns):
        total += values.nansum(0)
        count += (~values.isnan()).sum(0)
        minima = torch.minimum(minima, values.nan_to_num(nan=torch.inf).amin(0))
        maxima = torch.maximum(maxima, values.nan_to_num(nan=-torch.inf).amax(0))
    empty = (count == 0).nonzero()
    if len(empty):
        raise ValueError(f"X: {column_name(int(empty[0]), columns)} has no observed value; leave it out")
    constant = minima == maxima  # asked exactly: rounding would give such a column a tiny deviation to divide by
    mean = torch.where(constant, minima, total / count)
    for values in _precise_blocks(X, columns):
        squares += (values - mean).square().nansum(0)
    return mean, torch.where(constant, 1.0, (squares / count).sqrt())


def _precise_blocks(X: np.ndarray | Tensor, columns: Sequence[str] | None) -> Iterator[Tensor]:
    for first, block in row_blocks(X):
        yield numbers(block, torch.float64, first, columns).cpu()


def _parse(block: np.ndarray, first: int, columns: Sequence[str] | None) -> np.ndarray:
    """Numbers in an array of Python objects; text is refused even where it spells a number."""
    for (row, column), cell in np.ndenumerate(block):
        if not isinstance(cell, int | float | np.number | np.bool_ | None):
            raise ValueError(
                f"X[{first + row}, {column}] ({column_name(column, columns)}) is {cell!r}; expected numbers "
                f'(recode the column, or use units="categorical")'
            )
    return block.astype(np.float64)
