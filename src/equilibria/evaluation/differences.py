"""Where samples of a table are unlike its rows: in a column, in a pair of columns, in a few words.

Distances and what chance gives are those of :mod:`~equilibria.evaluation.margins`.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from scipy.stats.contingency import association

from equilibria.evaluation.beside import Cells, beside, called, spelt
from equilibria.evaluation.margins import (
    associations,
    correlations,
    fifths,
    joint,
    margins,
    order,
    parted,
    ranked,
)
from equilibria.evaluation.reasons import Reason, reasons
from equilibria.evaluation.statistics import encoded
from equilibria.numbers import Measure
from equilibria.random import RandomState, as_stream

__all__ = ["MISSING", "Differences", "Histogram", "Pair", "differences"]

BINS = 24  # of a histogram
WORST = 10  # pairs that are told of
MISSING = "missing"


@dataclasses.dataclass(frozen=True, eq=False)
class Histogram:
    """A column in rows and in samples.

    Attributes
    ----------
    cells : Cells
    edges : ndarray or None
        Of the bins that numbers are counted in; both ends count what lies beyond them.
    shares : ndarray, shape (2, bins)
        Of all rows, and of all samples: what a bin, or a level, holds. The rest is missing.
    apart : Measure
        Kolmogorov's distance of numbers, total variation of values; of the cells that are there.
    outside : float
        The share of the samples' numbers that lie below or above all of the rows'.
    """

    cells: Cells
    edges: np.ndarray | None
    shares: np.ndarray
    apart: Measure
    outside: float = 0.0


@dataclasses.dataclass(frozen=True, eq=False)
class Pair:
    """Two columns and how they go together.

    Attributes
    ----------
    first, second : Cells
    counts : ndarray, shape (2, parts, parts)
        Rows, and samples, by the levels or fifths of both columns.
    labels : tuple of tuple of str
        What these parts are, of either column.
    apart : Measure
        How similar they are in this; its parts are the association in rows and in samples.
    """

    first: Cells
    second: Cells
    counts: np.ndarray
    labels: tuple[tuple[str, ...], ...]
    apart: Measure


@dataclasses.dataclass(frozen=True, eq=False)
class Differences:
    """Where samples are unlike rows; what is furthest beyond chance comes first.

    Attributes
    ----------
    margins : tuple of Histogram
        Every column.
    pairs : tuple of Pair
        At most ten.
    beyond, compared : int
        How many pairs are further apart than chance would put them, of how many.
    reasons : tuple of Reason
        A small tree's rules that tell samples from rows, and what share of either each holds of.
    told : Measure or None
        The area under the curve of that tree, on cells it has not seen; None where there are fewer
        than 20 rows or samples.
    left_out : tuple of str
        Columns that nothing is said of: constant ones, and text whose values hardly recur.
    """

    margins: tuple[Histogram, ...]
    pairs: tuple[Pair, ...]
    beyond: int
    compared: int
    reasons: tuple[Reason, ...]
    told: Measure | None
    left_out: tuple[str, ...] = ()


def differences(real: Any, samples: Any, random_state: RandomState = 0) -> Differences:
    """Compare samples with rows column by column, pair by pair, and by a tree of three questions.

    Columns and pairs are as far apart as :func:`~equilibria.evaluation.evaluate` has them.

    Parameters
    ----------
    real, samples : frame or array-like of shape (n, d) and (m, d)
        Rows that the model has not seen, and samples; a frame's columns are matched by name.
    random_state : int or Stream
        Which half of the rows the tree learns from.

    Examples
    --------
    >>> rows = np.arange(400).reshape(-1, 1).repeat(2, axis=1) % [2, 100]
    >>> found = differences(rows, rows[:, :1] * [1, 20])
    >>> [(one.cells.name, round(one.apart.value, 2)) for one in found.margins]
    [('column 1', 0.79), ('column 0', 0.0)]
    """
    table, encodings = encoded(real=real, samples=samples)
    columns = beside(table, *encodings)
    short, found = [one.short for one in columns], associations(columns)
    worst = sorted(found.items(), key=lambda item: order(item[1]))[:WORST]
    drawn = [_histogram(one, own[0]) for one, own in zip(short, margins(columns), strict=True)]
    said, told = reasons(short, as_stream(random_state).child("reasons"))
    return Differences(
        tuple(sorted(drawn, key=lambda one: order(one.apart))),
        tuple(_pair(short[i], short[j], one) for (i, j), one in worst),
        sum(bool(one.warning) for one in found.values()),
        len(found),
        said,
        told,
        tuple(called(table, place) for place, _ in table.aside),
    )


# ------------------------------------------------------------------ columns


def _histogram(cells: Cells, apart: Measure) -> Histogram:
    """What a column's bins or levels hold."""
    rows, samples = cells.known
    whole = np.array([[len(cells.rows)], [len(cells.samples)]])
    if cells.levels:
        places = np.arange(len(cells.levels))[:, None]
        counts = np.stack([(part == places).sum(axis=1) for part in (rows, samples)])
        return Histogram(cells, None, counts / whole, apart)
    edges = _edges(rows if len(rows) else samples, np.concatenate([rows, samples]), cells)
    ends = edges[0], edges[-1]
    counts = np.stack([np.histogram(part.clip(*ends), edges)[0] for part in (rows, samples)])
    outside = (samples < rows.min(initial=np.inf)) | (samples > rows.max(initial=-np.inf))
    share = float(outside.mean()) if len(rows) and len(samples) else 0.0
    return Histogram(cells, edges, counts / whole, apart, share)


def _edges(rows: np.ndarray, everything: np.ndarray, cells: Cells) -> np.ndarray:
    """Ends of bins that suit the rows: their middle 98 %, and a quarter more towards the rest."""
    least, most = float(everything.min()), float(everything.max())
    low, high = (float(end) for end in np.quantile(rows, (0.01, 0.99)))
    room = (high - low) / 4
    if room:
        least, most = max(least, low - room), min(most, high + room)
    if cells.holds == "whole":
        step = math.ceil((most - least + 1) / BINS)
        return np.arange(math.floor(least), math.ceil(most) + step + 1, step) - 0.5
    return np.linspace(least, most, BINS + 1)


# ------------------------------------------------------------------ pairs


def _pair(first: Cells, second: Cells, apart: Measure) -> Pair:
    """A pair of columns with its counts and associations."""
    labels = tuple(_labels(one) for one in (first, second))
    counts = joint(parted(first, fifths), parted(second, fifths))
    if first.levels or second.levels:
        what, found = "Cramér's V", [_cramer(one) for one in counts]
    else:
        what, both = "rank correlation", (ranked(first), ranked(second))
        found = [0.0 if math.isnan(r) else r for r, _ in correlations(*both)]
    named = zip(("rows", "samples"), found, strict=True)
    apart = apart.replace(parts=tuple(Measure(f"{what} in {side}", v) for side, v in named))
    return Pair(first, second, counts, labels, apart)


def _labels(cells: Cells) -> tuple[str, ...]:
    """Levels, or fifths in words, of whole numbers from the first to the last."""
    gone, cuts = (MISSING,) * any(cells.missing), fifths(cells)
    if cells.levels or not len(cuts):
        return *(cells.levels or ("all",)), *gone
    span = float(np.ptp(cuts)) if len(cuts) > 1 else math.inf
    ends = np.floor(cuts) if cells.holds == "whole" else cuts
    firsts = ends + 1 if cells.holds == "whole" else ends
    low, high = ([spelt(float(v), cells.holds, span) for v in part] for part in (firsts, ends))
    between = [a if a == b else f"{a}–{b}" for a, b in zip(low, high[1:], strict=False)]
    return f"≤ {high[0]}", *between, f"> {high[-1]}", *gone


def _cramer(counts: np.ndarray) -> float:
    """Cramér's V; 0 where a column has one value."""
    seen = counts[counts.sum(1) > 0][:, counts.sum(0) > 0]
    return float(association(seen, method="cramer")) if min(seen.shape, default=0) > 1 else 0.0
