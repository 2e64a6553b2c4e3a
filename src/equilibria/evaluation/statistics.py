"""Tables of rows, nearest rows, and the small statistics behind the measures."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn.utils import check_array
from torch import Tensor

from equilibria.data.columns import Column, Reader, is_frame, nearest_name
from equilibria.data.table import Table

__all__ = ["alike", "as_labels", "as_rows", "central_interval", "conformal", "conformal_level"]
__all__ += ["crps", "encoded", "fewest", "gaussian", "interval_level", "kernel_estimate"]
__all__ += ["kl_chance", "kl_divergence", "likeliest_set", "nearest_row", "set_level", "wilson"]

Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""All rows of one table with all rows of another."""
_APART = ("text", "datetime", "timedelta")  # what a column holds, where it is no numbers


def as_rows(
    values: Any, name: str, columns: int | None = None, least: int = 1, gaps: bool = False
) -> np.ndarray:
    """``values`` (n, …) as a finite float64 table, one example a row, pictures flattened.

    ``name`` is what errors call it; a row must have so many ``columns``, if they are given; with
    ``gaps`` cells may be missing.
    """
    if isinstance(values, Tensor):
        values = values.detach().cpu().double().numpy()
    try:
        how: dict[str, Any] = {"ensure_2d": False, "allow_nd": True, "ensure_min_samples": least}
        how["ensure_all_finite"] = "allow-nan"
        with np.errstate(invalid="ignore"):  # it adds up infinities of both signs
            table = np.asarray(check_array(values, dtype=np.float64, **how))
    except (TypeError, ValueError) as error:
        what = "; encode text and dates by one table for all: Table.fit(rows).encode(rows)"
        raise ValueError(f"{name}: {error}{what * ('convert' in str(error))}") from None
    size = math.prod(table.shape[1:])
    if table.ndim < 2 or (not size and len(table)) or columns not in (None, size):
        expected = "columns" if columns is None else columns
        raise ValueError(f"{name}: expected shape (rows, {expected}), found {table.shape}")
    table = table.reshape(len(table), size)
    if not gaps and (missing := np.isnan(table).any(axis=1)).any():
        what = f"contains NaN in {int(missing.sum())} of {len(table)} rows"
        raise ValueError(f"{name}: Input {what}; leave these rows out, or fill them in")
    if table.size and np.nanmax(np.abs(table), initial=0) > 1e150:  # whose squares are beyond it
        raise ValueError(f"{name}: holds numbers beyond 1e150; rescale its columns")
    return table


def alike(
    least: int = 1, *, gaps: bool = False, apart: bool = False, **tables: Any
) -> list[np.ndarray]:
    """Tables of equal columns by name, as :func:`as_rows` gives them, and of one precision.

    Where one has text, categories, dates or pandas' own numbers, all are encoded by one table
    (:func:`encoded`, with ``apart``); tables of plain numbers stay as they are. Where one is in
    single precision or less, all are rounded to it: a copy then equals its source, whatever the
    type of either.
    """
    types = " ".join(str(getattr(values, "dtype", "")) for values in tables.values())
    if any(map(_speaks, tables.values())):
        tables = dict(zip(tables, encoded(apart=apart, **tables)[1], strict=True))
    rows: list[np.ndarray] = []
    for name, values in tables.items():
        rows.append(as_rows(values, name, rows[0].shape[1] if rows else None, least, gaps))
    if "float32" in types or "float16" in types:
        return [table.astype(np.float32).astype(np.float64) for table in rows]
    return rows


def _speaks(values: Any) -> bool:
    """Whether a table holds more than plain numbers."""
    if is_frame(values):
        return not all(isinstance(one, np.dtype) and one.kind in "biuf" for one in values.dtypes)
    try:
        return not isinstance(values, Tensor) and np.asarray(values).dtype.kind in "OU"
    except ValueError:  # lines of unequal lengths, which as_rows speaks of
        return False


def encoded(*, apart: bool = False, **tables: Any) -> tuple[Table, list[np.ndarray]]:
    """Tables of the same columns as people have them, as rows of numbers that are alike.

    Columns are matched by name and are what all the tables together say. A number is in standard
    deviations of the first table, a category has a column for each of its values, a date is a
    number; where a cell is missing there is NaN. Constant columns, and text whose values hardly
    recur, are left aside, and rare values of a category are one, as :class:`Table` does. With
    ``apart`` these are set apart in columns behind the table's (:meth:`Table.signs`), so that equal
    rows of numbers are equal rows.

    Returns
    -------
    table : Table
        What the columns are, by all the tables.
    rows : list of ndarray
        One for each table, float64, (n, table.size), or wider with ``apart``.

    Examples
    --------
    >>> import pandas as pd
    >>> one = pd.DataFrame({"sex": ["f", "m", "f"], "age": [1.0, 3.0, None]})
    >>> table, rows = encoded(one=one, other=one[["age", "sex"]][:2])
    >>> rows[1].tolist() == rows[0][:2].tolist(), rows[0].shape
    (True, (3, 2))
    """
    import pandas as pd

    frames = _framed(tables)
    pool = pd.concat(frames, ignore_index=True)
    found = Table.fit(pool, kinds="mixed", gaps=False)
    numbers = {
        pool.columns[place]: "real"
        for layer in found.layers
        for place in layer.source
        if layer.kind not in ("binary", "categorical")
    }
    table = Table.fit(pool, kinds=numbers, gaps=False)
    rows, layers = table.encode(pool, torch.float64).numpy(), []
    for layer in table.layers:
        if layer.categories is None:  # the first table's deviations: others may have wild values
            own = rows[: len(frames[0]), layer.columns]
            spread = np.nanstd(np.where(np.isnan(own).all(axis=0), 0.0, own), axis=0)
            spread = np.where(spread > 0, spread, 1.0)
            rows[:, layer.columns] /= spread
            scale = tuple(np.multiply(layer.scale or 1.0, spread).tolist())
            layer = dataclasses.replace(layer, scale=scale)
        layers.append(layer)
    table = dataclasses.replace(table, layers=tuple(layers))
    rows = np.hstack([rows, table.signs(pool)]) if apart and table.merged else rows
    return table, np.split(rows, np.cumsum(list(map(len, frames)))[:-1])


def _framed(tables: dict[str, Any]) -> list[Any]:
    """Frames of the same columns in the order of the first's, which go together."""
    import pandas as pd

    frames: list[Any] = []
    for name, values in tables.items():
        rows = Reader(values, name)
        frame = rows.table if rows.is_frame else pd.DataFrame(rows.table).infer_objects()
        first = frames[0] if frames else frame
        unknown = [one for one in frame.columns if one not in first.columns]
        absent = [one for one in first.columns if one not in frame.columns]
        if unknown or absent:
            odd, has = (unknown[0], "has") if unknown else (absent[0], "lacks")
            other = f"which {next(iter(tables))} {'does not have' if unknown else 'has'}"
            hint = nearest_name(odd, list(first.columns if unknown else frame.columns))
            raise ValueError(f"{name} {has} the column {odd!r}, {other}; {hint}")
        frames.append(frame[list(first.columns)])
    for column in frames[0].columns:
        kinds: dict[str, str] = {}
        for name, frame in zip(tables, frames, strict=True):
            if (cells := frame[column].dropna()).size:
                holds = Column.of(cells, f"{name}: column {column!r}").holds
                kinds[name] = holds if holds in _APART else "numbers"
                if kinds[name] == "numbers" and np.isinf(cells.to_numpy(dtype=float)).any():
                    what = "holds an infinite number; replace it by a finite one"
                    raise ValueError(f"{name}: column {column!r} {what}")
        if len(set(kinds.values())) > 1:
            said = " and ".join(f"{kind} in {name}" for name, kind in kinds.items())
            raise ValueError(f"column {column!r} holds {said}; give it one type in all tables")
    seen = [one for one in frames[0] if any(frame[one].notna().any() for frame in frames)]
    return [frame[seen] for frame in frames]


def as_labels(y: Any, name: str, rows: int) -> np.ndarray:
    """One label a row, ``(rows,)``."""
    labels = np.asarray(y)
    if labels.shape != (rows,):
        expected = f"one label for each of the {rows} rows"
        raise ValueError(f"{name}: expected {expected}, found shape {labels.shape}")
    return labels


def nearest_row(rows: np.ndarray, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index of the row of ``table`` nearest to each of ``rows``, and their Euclidean distance.

    >>> nearest_row(np.array([[0.0, 1.0], [9.0, 9.0]]), np.array([[0.0, 0.0], [9.0, 9.0]]))
    (array([0, 1]), array([1., 0.]))
    """
    # The search expands |a − b|², which cancels far from the origin: so both are centred. It works
    # in blocks. The winner's distance is computed without expansion, so a copy is at exactly 0; one
    # that lost to a row within the rounding error of the squares is looked up.
    origin = table.mean(axis=0)
    from sklearn.metrics import pairwise_distances_argmin

    centred = rows - origin
    index = pairwise_distances_argmin(centred, table - origin)
    distance = np.linalg.norm(rows - table[index], axis=1)
    error = 100 * np.sqrt(np.finfo(centred.dtype).eps) * np.linalg.norm(centred, axis=1)
    doubtful = np.flatnonzero((distance > 0) & (distance <= error)).tolist()
    places = {hash(row.tobytes()): i for i, row in enumerate(table + 0.0)} if doubtful else {}
    for i in doubtful:  # adding 0 makes −0 a 0
        place = places.get(hash((rows[i] + 0.0).tobytes()))
        if place is not None and np.array_equal(rows[i], table[place]):
            index[i], distance[i] = place, 0.0
    return index, distance


def wilson(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval for a proportion (1927): it stays in [0, 1] and has width at 0 and at 1."""
    test = stats.binomtest(successes, trials)
    low, high = test.proportion_ci(confidence_level=level, method="wilson")
    return float(low), float(high)


def kl_divergence(counts: np.ndarray, probabilities: np.ndarray) -> float:
    """KL(counts / n ‖ probabilities) in nats; NaN for an empty histogram.

    >>> kl_divergence(np.array([10, 0]), np.array([0.5, 0.5])) == math.log(2)
    True
    """
    return max(0.0, float(stats.entropy(counts, probabilities))) if counts.sum() else math.nan


def kl_chance(probabilities: np.ndarray, n: int) -> float:
    r"""Mean of :func:`kl_divergence` when ``n`` samples do come from ``probabilities``.

    .. math:: \sum_k E\left[\frac{c_k}{n} \log \frac{c_k}{n p_k}\right], \qquad
        c_k \sim \mathrm{Binomial}(n, p_k)

    It is exact; (K − 1)/2n is its limit for large n. NaN for n = 0.

    >>> round(kl_chance(np.full(8, 1 / 8), 2500), 4)
    0.0014
    """
    counts, total = np.arange(1, n + 1), 0.0
    for p, repeats in zip(*np.unique(probabilities, return_counts=True), strict=True):
        terms = stats.binom.pmf(counts, n, p) * counts / n * np.log(counts / (n * p))
        total += float(repeats * terms.sum())
    return total if n else math.nan


def conformal(calibration: np.ndarray, scores: np.ndarray, two_sided: bool = False) -> np.ndarray:
    """Conformal p-values of rows by their scores: (1 + calibration rows as low) / (1 + all).

    A row from the law of the calibration rows has p ≤ α with a probability of at most α, whatever
    the model (Bates et al. 2023, "Testing for outliers with conformal p-values"). ``two_sided``
    also finds scores that are too high, as those of rows that lie where the density is
    highest and no data are: twice the smaller of both.

    >>> conformal(np.arange(9.0), np.array([-1.0, 8.0, 20.0]))
    array([0.1, 1. , 1. ])
    """
    known, n = np.sort(calibration), len(calibration)
    low = (1 + np.searchsorted(known, scores, side="right")) / (n + 1)
    if not two_sided:
        return low
    high = (1 + n - np.searchsorted(known, scores, side="left")) / (n + 1)
    return np.minimum(1.0, 2 * np.minimum(low, high))


def central_interval(
    draws: np.ndarray, level: float, unit: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """The central interval of nominal ``level`` between equally likely values, (m,) each end.

    Of n sorted values (1 − level)/2 · (n + 1) − 1 are left out on either side: one more value of
    the same law falls between the two with a chance of ``level``, with ties of at least that. Above
    1 the interval is all values and (level − 1) · ``unit`` more on either side.

    Parameters
    ----------
    draws : ndarray of shape (n, m)
        n equally likely values of each of m cells.

    Examples
    --------
    >>> low, high = central_interval(np.arange(1.0, 200.0)[:, None], 0.9)
    >>> float(low[0]), float(high[0])
    (10.0, 190.0)
    """
    ordered, n = np.sort(draws, 0), len(draws)
    place = max(1, math.floor((1 - level) / 2 * (n + 1) + 1e-6))
    more = max(0.0, level - 1) * unit
    return ordered[place - 1] - more, ordered[n - place] + more


def interval_level(draws: np.ndarray, truth: np.ndarray, unit: float = 1.0) -> np.ndarray:
    """The smallest nominal level, (m,), at which :func:`central_interval` holds each true value.

    Above 1 it is 1 + the distance to the nearest draw in units.

    >>> interval_level(np.arange(1.0, 200.0)[:, None], np.array([190.0])).round(9)
    array([0.9])
    """
    n, unit = len(draws), unit or 1.0
    out = np.maximum((draws < truth).sum(0), (draws > truth).sum(0))
    found = 1 - 2 * np.minimum(n - out, (n + 1) // 2) / (n + 1)
    beyond = np.maximum(draws.min(0) - truth, truth - draws.max(0))
    return np.where(beyond > 0, 1 + beyond / unit, found)


def likeliest_set(chances: np.ndarray, level: float) -> np.ndarray:
    """The sets of likeliest categories that reach ``level`` together, bool (m, K); never empty."""
    return chance_before(chances) <= max(level - 1e-9, 0)


def set_level(chances: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The smallest level, (m,), at which :func:`likeliest_set` has the true category (m,)."""
    return chance_before(chances)[np.arange(len(truth)), truth] + 1e-9


def chance_before(chances: np.ndarray) -> np.ndarray:
    """The total chance of all categories that are likelier than each, (m, K)."""
    order = np.argsort(-chances, 1, kind="stable")
    ordered = np.take_along_axis(chances, order, 1)
    sums = np.cumsum(ordered, 1) - ordered
    return np.take_along_axis(sums, np.argsort(order, 1), 1)


def conformal_level(found: np.ndarray, level: float) -> float:
    r"""The nominal level at which new cells are held with a chance of at least ``level``.

    ``found`` are the smallest nominal levels that hold the true values of n cells that the model
    has not seen, :func:`fewest` or more. The ⌈(n + 1) level⌉-th of them holds a further cell of the
    same law with a chance from ``level`` to ``level`` + 1/(n + 1), ties apart, whatever the model:
    intervals that grow with their nominal level are split-conformal (Gupta, Kuchibhotla & Ramdas
    2022, "Nested conformal prediction"; of sets: Romano, Sesia & Candès 2020, "Classification with
    valid and adaptive coverage").

    >>> conformal_level(np.arange(1, 100) / 100, 0.9)
    0.9
    """
    return float(np.sort(found)[math.ceil((len(found) + 1) * level - 1e-9) - 1])


def fewest(level: float) -> int:
    """How many cells :func:`conformal_level` needs.

    >>> fewest(0.9)
    9
    """
    return math.ceil(level / (1 - level) - 1e-9)


def crps(draws: np.ndarray, truth: np.ndarray) -> np.ndarray:
    r"""Continuous ranked probability score of each cell by n equally likely values, (m,).

    .. math:: \mathrm{E} |X - y| - \tfrac12 \mathrm{E} |X - X'|

    in the units of the cell; of a single value it is the absolute error (Gneiting & Raftery 2007,
    "Strictly proper scoring rules"). The second part is unbiased.

    >>> crps(np.array([[0.0], [2.0]]), np.array([1.0]))  # 1 − ½ · 2
    array([0.])
    """
    n, ordered = len(draws), np.sort(draws, 0)
    error = np.abs(draws - truth).mean(0)
    if n == 1:
        return error
    weights = (2 * np.arange(n) - n + 1)[:, None] / (n * (n - 1))
    return error - (weights * ordered).sum(0)


def cubic(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """k(x, y) = (x·y / width + 1)³ of all pairs: it sees the first three moments alone."""
    return (first @ second.T / first.shape[1] + 1) ** 3


def gaussian(rows: np.ndarray) -> Kernel:
    """exp(−|x − y|² / 2w²) with w half the median distance of ``rows``: sees every difference."""
    distances = cdist(rows, rows)
    width = 0.5 * float(np.median(distances[~np.eye(len(rows), dtype=bool)]))
    width = width or 0.5 * float(distances.max()) or 1.0  # most rows may be the same
    return lambda first, second: np.exp(-np.square(cdist(first, second) / width) / 2)


def kernel_estimate(x: np.ndarray, y: np.ndarray, k: Kernel = cubic) -> tuple[float, float]:
    r"""Unbiased estimate of the squared MMD of two tables of n rows each, and its standard error.

    .. math:: \frac{1}{n (n-1)} \sum_{i \ne j} h_{ij}, \qquad
        h_{ij} = k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(x_j, y_i)

    Its variance is 4 (n − 2) ζ₁ / n(n − 1) + 2 ζ₂ / n(n − 1), with ζ₁ the variance of a row's mean
    and ζ₂ that of a single term (Serfling 1980, *Approximation theorems*, section 5.2; Gretton et
    al. 2012, "A kernel two-sample test", lemma 6). For two equal distributions ζ₁ is 0 and the
    second part is left, so the error holds there too. Of longer tables the first n rows are taken.

    >>> kernel_estimate(np.zeros((3, 1)), np.ones((3, 1)))  # 1 + 8 − 1 − 1
    (7.0, 0.0)
    """
    n = min(len(x), len(y))
    x, y = x[:n], y[:n]
    across = k(x, y)
    terms = k(x, x) + k(y, y) - across - across.T
    np.fill_diagonal(terms, 0)
    pairs = n * (n - 1)
    value = float(terms.sum()) / pairs
    single = max(0.0, float(np.square(terms).sum()) / pairs - value**2)
    rows = max(0.0, float((terms.sum(axis=1) / (n - 1)).var(ddof=1)) - single / (n - 1))
    return value, math.sqrt((4 * (n - 2) * rows + 2 * single) / pairs)
