"""Arrays as checked tables of rows, and the nearest row of one table to each row of another."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import pairwise_distances_argmin
from torch import Tensor

__all__ = ["as_rows", "nearest_row"]


def as_rows(values: Any, name: str, columns: int | None = None, least: int = 1) -> np.ndarray:
    """``values`` as a float64 table, one example a row; further axes (those of pictures) are flattened.

    Values pass through float32, the type that models sample in, so that a copied row equals its source whatever its type was.

    Parameters
    ----------
    values : array or tensor, shape (n, …)
    name : str
        What errors call it.
    columns : int, optional
        Number of columns that each row must have.
    least : int
        Fewest rows that will do.

    Raises
    ------
    ValueError
        For text, NaN or infinity, too few rows, or another number of columns.
    """
    if isinstance(values, Tensor):
        values = values.detach().cpu().float().numpy()
    try:
        table = np.asarray(values, dtype=np.float32).astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: expected a table of numbers, found {type(values).__name__}; encode text as numbers first") from None
    wanted = f"(rows, {'columns' if columns is None else columns})"
    if table.ndim < 2 or (table.size == 0 and len(table)):
        raise ValueError(f"{name}: expected shape {wanted}, found {table.shape}")
    if len(table) < least:
        raise ValueError(f"{name}: expected at least {least} row{'s' if least > 1 else ''}, found {len(table)}")
    table = table.reshape(len(table), -1)
    if columns is not None and table.shape[1] != columns:
        raise ValueError(f"{name}: expected shape {wanted}, found {table.shape}")
    if not np.isfinite(table).all():
        bad = int((~np.isfinite(table)).any(axis=1).sum())
        raise ValueError(f"{name}: {bad} of {len(table)} rows hold NaN or infinity; the model may have diverged, or take these rows out")
    return table


def nearest_row(rows: np.ndarray, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each of ``rows``, the index of the nearest row of ``table`` and the Euclidean distance to it, each (len(rows),).

    Examples
    --------
    >>> index, distance = nearest_row(np.array([[0.0, 1.0], [9.0, 9.0]]), np.array([[0.0, 0.0], [9.0, 9.0]]))
    >>> index.tolist(), distance.tolist()
    ([0, 1], [1.0, 0.0])
    """
    index = pairwise_distances_argmin(rows, table)  # in blocks, so that memory does not grow with the product of the sizes
    # The search expands |a − b|² and rounds; the distance of the winner is worked out again, so a copy is at exactly 0.
    return index, np.linalg.norm(rows - table[index], axis=1)
