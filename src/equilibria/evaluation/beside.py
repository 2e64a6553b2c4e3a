"""A table's rows beside samples, column by column: numbers, or places among the column's values."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import numpy as np

from equilibria.data.columns import is_frame

__all__ = ["BEYOND", "LEVELS", "Cells", "beside", "limit", "spelt"]

LEVELS = 8  # values of a column that are told apart; the rarest go together
ALARM = 0.05  # of all columns, or all pairs, together
BEYOND = "Further apart than chance would put them."
_UNITS = (365.25 * 86400, "y"), (86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s")


@dataclasses.dataclass(frozen=True, eq=False)
class Cells:
    """A column of rows and of samples, read alike.

    Attributes
    ----------
    name : str
    rows, samples : ndarray of float64, shape (n,) and (m,)
        Numbers, or places among ``levels``; NaN where a cell is missing. A date is the seconds
        since 1970, a duration its seconds.
    levels : tuple of str
        What the places stand for; empty for numbers.
    holds : str
        ``"number"``, ``"whole"``, ``"date"``, ``"duration"`` or ``"value"``.
    others : int
        How many values the last level stands for, where it stands for several.
    """

    name: str
    rows: np.ndarray
    samples: np.ndarray
    levels: tuple[str, ...] = ()
    holds: str = "number"
    others: int = 0

    @property
    def known(self) -> tuple[np.ndarray, np.ndarray]:
        """The cells that are not missing."""
        return self.rows[~np.isnan(self.rows)], self.samples[~np.isnan(self.samples)]

    @property
    def missing(self) -> tuple[float, float]:
        """The shares of missing cells, in rows and in samples."""
        return float(np.isnan(self.rows).mean()), float(np.isnan(self.samples).mean())


def beside(real: Any, samples: Any) -> list[Cells]:
    """The columns of two tables of the same columns, frames or arrays, in the order of ``real``.

    Numbers, dates and durations are numbers, unless there are no more than 8 different ones; truth
    values, text and categories are values, of which the 8 commonest are told apart. A frame's
    columns are matched by name.

    >>> first = beside(np.array([["a", 1.5], ["b", None]], dtype=object), [["b", 2.5]])[0]
    >>> first.levels, first.rows, first.samples
    (('a', 'b'), array([0., 1.]), array([1.]))
    """
    frames = [_frame(X, name) for X, name in ((real, "real"), (samples, "samples"))]
    here, there = (list(frame.columns) for frame in frames)
    if sorted(map(str, here)) != sorted(map(str, there)):
        lost = [name for name in (*here, *there) if (name in here) != (name in there)]
        what = f"column {lost[0]!r} is in one of both tables alone" if lost else "other columns"
        raise ValueError(f"samples: {what}; give the columns of real")
    return [_cells(name, *(frame[name] for frame in frames)) for name in here]


def _frame(X: Any, name: str) -> Any:
    """Rows as a frame."""
    import pandas as pd

    table = X if is_frame(X) else pd.DataFrame(np.asarray(X, dtype=getattr(X, "dtype", object)))
    if not len(table) or not table.shape[1]:
        raise ValueError(f"{name} has shape {table.shape}: expected a row and a column at least")
    if not table.columns.is_unique:
        raise ValueError(f"{name}: two columns have one name; give each its own")
    return table


def _cells(name: Any, rows: Any, samples: Any) -> Cells:
    """One column of both, read as both together are."""
    import pandas as pd

    both, n = pd.concat([rows, samples], ignore_index=True).infer_objects(), len(rows)
    holds, numbers = _numbers(both)
    if holds:
        if np.isinf(numbers).any():
            raise ValueError(f"column {name!r} holds an infinite number; leave such rows out")
        different = np.unique(numbers[~np.isnan(numbers)])
        if len(different) > LEVELS:
            whole = holds == "number" and bool((np.rint(different) == different).all())
            kind = "whole" if whole else holds
            return Cells(str(name), numbers[:n], numbers[n:], (), kind)
        places = np.searchsorted(different, numbers).astype(float)
        places[np.isnan(numbers)] = np.nan
        levels = tuple(spelt(value, holds) for value in different)
        return Cells(str(name), places[:n], places[n:], levels, "value")
    levels, places, others = _coded(both, n)
    return Cells(str(name), places[:n], places[n:], levels, "value", others)


def _numbers(series: Any) -> tuple[str, np.ndarray]:
    """What a column of numbers holds, and these; "" and nothing of any other."""
    from pandas.api import types

    if types.infer_dtype(series, skipna=True) == "decimal":
        series = series.astype(float)
    if types.is_numeric_dtype(series) and not types.is_bool_dtype(series):
        return "number", series.to_numpy(dtype=np.float64, na_value=np.nan)
    if (kind := series.dtype.kind) in "mM":
        unit = series.to_numpy(f"{kind}8[us]")
        seconds = np.where(np.isnat(unit), np.nan, unit.astype(np.int64) / 1e6)
        return "date" if kind == "M" else "duration", seconds
    return "", np.zeros(0)


def _coded(series: Any, n: int) -> tuple[tuple[str, ...], np.ndarray, int]:
    """The values of a column by their order, or the commonest of the rows first, the places of its
    cells among them, and how many values go together at the end."""
    import pandas as pd

    gaps, counts = series.isna().to_numpy(dtype=bool), series.value_counts()
    counts = counts[counts > 0]
    if isinstance(series.dtype, pd.CategoricalDtype):
        order = [value for value in series.cat.categories if value in counts.index]
    else:
        order = list(dict.fromkeys([*series[:n].value_counts().index, *counts.index]))
    common = set(order if len(order) <= LEVELS else counts.index[: LEVELS - 1])
    kept = [value for value in order if value in common]
    place = {value: i for i, value in enumerate(kept)}
    values = zip(series, gaps, strict=True)
    places = np.array([np.nan if gap else place.get(v, len(kept)) for v, gap in values], float)
    levels = tuple(" ".join(str(value).split()) for value in kept)
    others = len(order) - len(kept)
    return levels + (f"{others} others",) * bool(others), places, others


def spelt(value: float, holds: str, span: float = math.inf) -> str:
    """A number in words, as its column has it; a date as finely as a range of ``span`` seconds
    asks for, by default to the day or, where it has one, to the minute.

    >>> spelt(1234.5, "number"), spelt(86400.0, "date"), spelt(5400.0, "duration")
    ('1234', '1970-01-02', '1.5 h')
    """
    if holds == "date":
        time = np.datetime64(round(value), "s")
        if math.isinf(span):
            return str(time)[: 10 if value % 86400 == 0 else 16].replace("T", " ")
        for least, unit in ((4 * 365, "Y"), (90, "M"), (3, "D")):
            if span >= least * 86400:
                return str(time.astype(f"datetime64[{unit}]"))
        return str(time)[11:16]
    if holds == "duration":
        size, unit = next((one for one in _UNITS if abs(value) >= one[0]), _UNITS[-1])
        return f"{value / size:.3g} {unit}"
    if abs(value) >= 1e6 or (holds != "whole" and 0 < abs(value) < 1e-4):
        return re.sub(r"e\+?(-?)0*", r"e\1", f"{value:.3g}")
    return f"{value:.0f}" if holds == "whole" or abs(value) >= 1000 else f"{value:.4g}"


def limit(chance: Any, spread: Any, tests: int) -> Any:
    """The distance that chance alone passes in less than 5 % of cases, of so many tests together.

    Moving one of n rows moves a distance by 1/n at most, so that by McDiarmid (1989) it is more
    than t above its mean with a probability below exp(−2t² / (1/n + 1/m)); ``spread`` is 1/n + 1/m.

    >>> round(float(limit(0.1, 1 / 200 + 1 / 200, 1)), 3)
    0.222
    """
    return chance + np.sqrt(math.log(max(tests, 1) / ALARM) / 2 * spread)
