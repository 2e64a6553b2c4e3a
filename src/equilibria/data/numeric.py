"""Tables of numbers in blocks of rows: conversion, checks and moments without a second copy of the table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equilibria.data.columns import Columns, Header, is_missing, missing_cells

__all__ = ["Table", "extremes", "moments", "numbers", "own_column", "own_type", "refuse_outside", "row_blocks", "row_ranges"]

Table = np.ndarray | Tensor | Columns

_BLOCK_CELLS = 1 << 22
_NARROW = frozenset(["bool", "int8", "uint8", "int16", "uint16", "float16", "float32", "bfloat16"])  # float32 holds them exactly


def row_ranges(X: Table) -> Iterator[tuple[int, slice]]:
    """Ranges of rows of some millions of cells each, with the number of the first."""
    rows = max(1, _BLOCK_CELLS // X.shape[1])
    for first in range(0, len(X), rows):
        yield first, slice(first, first + rows)


def row_blocks(X: Table) -> Iterator[tuple[int, np.ndarray | Tensor]]:
    """The table in such ranges."""
    for first, rows in row_ranges(X):
        yield first, X[rows]


def numbers(block: np.ndarray | Tensor, dtype: torch.dtype, first: int, header: Header, *, precise: bool = False) -> Tensor:
    """The block as floats, in float64 where float32 would lose something or ``precise`` asks for it."""
    narrow = str(block.dtype).removeprefix("torch.") in _NARROW
    wide = precise or not narrow or dtype == torch.float64
    if isinstance(block, Tensor):
        return block.to(torch.float64 if wide else torch.float32)
    if block.dtype.kind not in "biuf":
        block = _parse(block, first, header)
    return torch.from_numpy(block.astype(np.float64 if wide else np.float32))  # astype copies: torch wants a writable array


def refuse_outside(
    values: Tensor, first: int, header: Header, allow_missing: bool, low: float = -np.inf, high: float = np.inf
) -> tuple[float, float]:
    """The smallest and the largest observed value; refuses a cell that is not finite, or outside ``low`` … ``high``.

    NaN is refused too, unless cells may be missing. Without a single observed value the ends are +∞ and −∞.
    """
    smallest, largest = (float(end) for end in torch.aminmax(values))  # NaN wins over every number here
    if np.isfinite(smallest) and np.isfinite(largest):
        _refuse_cells((values < low) | (values > high) if smallest < low or largest > high else None, values, first, header)
        return smallest, largest
    _refuse_cells(torch.isinf(values) if allow_missing else ~torch.isfinite(values), values, first, header)
    _refuse_cells((values < low) | (values > high), values, first, header)
    observed = values[~torch.isnan(values)]
    return (float(observed.min()), float(observed.max())) if observed.numel() else (np.inf, -np.inf)


def extremes(X: Table, header: Header, allow_missing: bool, low: float = -np.inf) -> tuple[float, float]:
    """The smallest and the largest observed value of the table.

    Raises
    ------
    ValueError
        If a value is not finite or below ``low``, or there is no value at all.
    """
    blocks = ((first, numbers(block, torch.float32, first, header)) for first, block in row_blocks(X))
    lows, highs = zip(*(refuse_outside(values, first, header, allow_missing, low) for first, values in blocks), strict=True)
    if min(lows) > max(highs):
        raise ValueError("X has no observed value; expected at least one number that is not NaN")
    return min(lows), max(highs)


def moments(X: Table, header: Header) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each column's observed values, float64 (d,); a constant column's deviation counts as 1.

    Raises
    ------
    ValueError
        If a column has no value at all, or its deviation is beyond the range of float64.
    """
    width = X.shape[1]
    total, count, squares = (torch.zeros(width, dtype=torch.float64) for _ in range(3))
    minima, maxima = torch.full_like(total, torch.inf), torch.full_like(total, -torch.inf)
    for values in _precise_blocks(X, header):
        total += values.nansum(0)
        count += (~values.isnan()).sum(0)
        minima = torch.minimum(minima, values.nan_to_num(nan=torch.inf).amin(0))
        maxima = torch.maximum(maxima, values.nan_to_num(nan=-torch.inf).amax(0))
    empty = (count == 0).nonzero()
    if len(empty):
        raise ValueError(f"X: {header.column(int(empty[0]))} has no observed value; leave it out")
    constant = minima == maxima  # asked exactly: rounding would give such a column a tiny deviation to divide by
    mean = torch.where(constant, minima, total / count)
    for values in _precise_blocks(X, header):
        squares += (values - mean).square().nansum(0)
    deviation = torch.where(constant, 1.0, (squares / count).sqrt())
    beyond = (~(mean.isfinite() & deviation.isfinite() & (deviation > 0))).nonzero()
    if len(beyond):
        j = int(beyond[0])
        found = f"holds values from {minima[j]:g} to {maxima[j]:g}, whose squares float64 cannot hold"
        raise ValueError(f"X: {header.column(j)} {found}; give it in another unit")
    return mean, deviation


def own_type(values: np.ndarray, dtype: str, low: float | None = None, high: float | None = None) -> np.ndarray:
    """Numbers in the data's own type: whole numbers are rounded, and clipped to their range and to their type's.

    Raises
    ------
    ValueError
        If a value is not finite where the data were whole numbers.
    """
    to = np.dtype(dtype)
    if to.kind not in "biu":
        return values.astype(to)
    if not np.isfinite(values).all():
        raise ValueError(f"values holds NaN or inf, which the data's type {to} cannot; fill missing values before decoding")
    lowest, highest = (0.0, 1.0) if to.kind == "b" else (float(np.iinfo(to).min), float(np.iinfo(to).max))
    lowest = lowest if low is None else max(lowest, np.ceil(low))
    highest = highest if high is None else min(highest, np.floor(high))
    return np.rint(values).clip(lowest, highest).astype(to)


def own_column(values: np.ndarray, dtype: str) -> np.ndarray:
    """One decoded column (n,) of a mixed table in its own type; what is no number to numpy stays a Python object."""
    name = dtype.lower().replace("boolean", "bool")  # pandas' types that have a mark for missing values
    if not re.fullmatch(r"bool|u?int\d+|float\d+", name):
        return values
    if values.dtype != object:
        return own_type(values, name)
    if np.dtype(name).kind != "f" and missing_cells(values).any():
        raise ValueError(f"values holds NaN, which the data's type {dtype} cannot; fill missing values before decoding")
    return values.astype(name)


def _precise_blocks(X: Table, header: Header) -> Iterator[Tensor]:
    for first, block in row_blocks(X):
        yield numbers(block, torch.float64, first, header).cpu()


def _refuse_cells(bad: Tensor | None, values: Tensor, first: int, header: Header) -> None:
    """A sentence about the first of the bad cells, if there is one."""
    if bad is None or not bad.any():
        return
    row, column = bad.nonzero()[0].tolist()
    value = values[row, column].item()
    text = "NaN" if np.isnan(value) else f"{value:g}"
    remedy = "replace it by a finite number" if np.isinf(value) else "fill it, or leave the row out"
    if np.isfinite(value):
        remedy = "such a column holds zero or more; correct it, or take the column as real numbers"
    raise ValueError(f"{header.cell(first + row, column)} is {text}; {remedy}")


def _parse(block: np.ndarray, first: int, header: Header) -> np.ndarray:
    """Numbers in an array of Python objects; text is refused even where it spells a number."""
    parsed = np.empty(block.shape, dtype=np.float64)
    for (row, column), cell in np.ndenumerate(block):
        parsed[row, column] = _number(cell, first + row, column, header)
    return parsed


def _number(cell: Any, row: int, column: int, header: Header) -> float:
    if is_missing(cell):
        return np.nan
    if not isinstance(cell, int | float | np.number | np.bool_):
        raise ValueError(f'{header.cell(row, column)} is {cell!r}; expected numbers (recode the column, or use units="categorical")')
    return float(cell)
