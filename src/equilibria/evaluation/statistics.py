"""Tables of rows, nearest rows, and the small statistics behind the measures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import stats
from sklearn.metrics import pairwise_distances_argmin
from torch import Tensor

__all__ = ["alike", "as_labels", "as_rows", "kl_chance", "kl_divergence", "nearest_row", "wilson"]

_LARGEST = 1e150  # the squares of larger numbers are beyond double precision


def as_rows(values: Any, name: str, columns: int | None = None, least: int = 1) -> np.ndarray:
    """``values`` (n, …) as a finite float64 table, one example a row, pictures flattened.

    ``name`` is what errors call it; a row must have so many ``columns``, if they are given.
    """
    if isinstance(values, Tensor):
        values = values.detach().cpu().double().numpy()
    try:
        table = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        found = type(values).__name__
        raise ValueError(
            f"{name}: expected a table of numbers, found {found}; encode text as numbers first"
        ) from None
    shape, count = table.shape, "columns" if columns is None else columns
    if table.ndim < 2 or (table.size == 0 and len(table)):
        raise ValueError(f"{name}: expected shape (rows, {count}), found {shape}")
    if len(table) < least:
        rows = f"{least} row{'s' if least > 1 else ''}"
        raise ValueError(f"{name}: expected at least {rows}, found {len(table)}")
    table = table.reshape(len(table), -1)
    if columns is not None and table.shape[1] != columns:
        raise ValueError(f"{name}: expected shape (rows, {count}), found {table.shape}")
    bad = int((~np.isfinite(table)).any(axis=1).sum())
    if bad:
        cure = "the model may have diverged, or take these rows out"
        raise ValueError(f"{name}: {bad} of {len(table)} rows hold NaN or infinity; {cure}")
    if table.size and np.abs(table).max() > _LARGEST:
        raise ValueError(f"{name}: holds numbers beyond {_LARGEST:g}; rescale its columns")
    return table


def alike(least: int = 1, **tables: Any) -> list[np.ndarray]:
    """Tables of equal columns by name, as :func:`as_rows` gives them, and of one precision.

    Where one is in single precision or less, all are rounded to it: a copy then equals its source,
    whatever the type of either.

    Examples
    --------
    >>> first, second = alike(real=np.array([[0.1]]), fake=np.array([[0.1]], dtype=np.float32))
    >>> bool(first == second)
    True
    """
    rows: list[np.ndarray] = []
    for name, values in tables.items():
        rows.append(as_rows(values, name, rows[0].shape[1] if rows else None, least))
    if any(_is_single(values) for values in tables.values()):
        largest = float(np.finfo(np.float32).max)
        return [np.clip(r, -largest, largest).astype(np.float32).astype(np.float64) for r in rows]
    return rows


def _is_single(values: Any) -> bool:
    if isinstance(values, Tensor):
        return values.is_floating_point() and values.element_size() < 8
    dtype = getattr(values, "dtype", np.dtype(float))
    return isinstance(dtype, np.dtype) and dtype.kind == "f" and dtype.itemsize < 8


def as_labels(y: Any, name: str, rows: int) -> np.ndarray:
    """One label a row, ``(rows,)``."""
    labels = np.asarray(y)
    if labels.shape != (rows,):
        expected = f"one label for each of the {rows} rows"
        raise ValueError(f"{name}: expected {expected}, found shape {labels.shape}")
    return labels


def nearest_row(rows: np.ndarray, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index of the row of ``table`` nearest to each of ``rows``, and their Euclidean distance.

    Examples
    --------
    >>> nearest_row(np.array([[0.0, 1.0], [9.0, 9.0]]), np.array([[0.0, 0.0], [9.0, 9.0]]))
    (array([0, 1]), array([1., 0.]))
    """
    # The search expands |a − b|², which cancels far from the origin: so both are centred. It works
    # in blocks. The winner's distance is computed without expansion, so a copy is at exactly 0.
    origin = table.mean(axis=0)
    index = pairwise_distances_argmin(rows - origin, table - origin)
    return index, np.linalg.norm(rows - table[index], axis=1)


def wilson(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval for a proportion: it stays in [0, 1] and has width at 0 and at 1.

    References
    ----------
    Wilson 1927, "Probable inference, the law of succession, and statistical inference".

    Examples
    --------
    >>> low, high = wilson(360, 360)
    >>> round(low, 4), high
    (0.9894, 1.0)
    """
    z2 = float(stats.norm.ppf(0.5 + level / 2)) ** 2
    p = successes / trials
    centre = (p + z2 / (2 * trials)) / (1 + z2 / trials)
    half = math.sqrt(z2 * (p * (1 - p) / trials + z2 / (4 * trials**2))) / (1 + z2 / trials)
    low = 0.0 if successes == 0 else centre - half
    return low, 1.0 if successes == trials else centre + half


def kl_divergence(counts: np.ndarray, probabilities: np.ndarray) -> float:
    """KL(counts / n ‖ probabilities) in nats; NaN for an empty histogram.

    Examples
    --------
    >>> kl_divergence(np.array([10, 0]), np.array([0.5, 0.5])) == math.log(2)
    True
    """
    n = counts.sum()
    if not n:
        return math.nan
    seen = counts > 0
    share = counts[seen] / n
    return max(0.0, float((share * np.log(share / probabilities[seen])).sum()))


def kl_chance(probabilities: np.ndarray, n: int) -> float:
    r"""Mean of :func:`kl_divergence` when ``n`` samples do come from ``probabilities``.

    .. math:: \sum_k E\left[\frac{c_k}{n} \log \frac{c_k}{n p_k}\right], \qquad
        c_k \sim \mathrm{Binomial}(n, p_k)

    It is exact; (K − 1)/2n is its limit for large n. NaN for n = 0.

    Examples
    --------
    >>> round(kl_chance(np.full(8, 1 / 8), 2500), 4)
    0.0014
    """
    if not n:
        return math.nan
    total = 0.0
    for p, repeats in zip(*np.unique(probabilities, return_counts=True), strict=True):
        spread = 12 * math.sqrt(n * p * (1 - p)) + 60  # what is left out weighs less than 1e-15
        low, high = max(1, math.floor(n * p - spread)), min(n, math.ceil(n * p + spread))
        counts = np.arange(low, high + 1)
        terms = stats.binom.pmf(counts, n, p) * counts / n * np.log(counts / (n * p))
        total += float(repeats * terms.sum())
    return total
