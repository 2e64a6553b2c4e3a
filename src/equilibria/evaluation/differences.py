r"""Where samples of a table are unlike its rows: in a column, in a pair of columns, in a few words.

A distance is in [0, 1], and stands beside what chance alone gives with so many rows and samples.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from scipy import stats

from equilibria.evaluation.beside import BEYOND, Cells, beside, limit
from equilibria.evaluation.dependence import Pair, pairs
from equilibria.evaluation.reasons import Reason, reasons
from equilibria.numbers import Measure
from equilibria.random import RandomState, as_stream

__all__ = ["Differences", "Margin", "Pair", "differences"]

BINS = 24  # of a histogram


@dataclasses.dataclass(frozen=True, eq=False)
class Margin:
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
class Differences:
    """Where samples are unlike rows; what is furthest beyond chance comes first.

    Attributes
    ----------
    margins : tuple of Margin
        Every column.
    pairs : tuple of Pair
        At most ten.
    beyond : int
        How many of all pairs are further apart than chance would put them.
    reasons : tuple of Reason
        A small tree's rules that tell samples from rows, and what share of either each holds of.
    told : Measure or None
        The area under the curve of that tree, on cells it has not seen; None where there are fewer
        than 20 rows or samples.
    """

    margins: tuple[Margin, ...]
    pairs: tuple[Pair, ...]
    beyond: int
    reasons: tuple[Reason, ...]
    told: Measure | None


def differences(real: Any, samples: Any, random_state: RandomState = 0) -> Differences:
    r"""Compare samples with rows column by column, pair by pair, and by a tree of three questions.

    Columns are compared by their cells that are there. Of a pair, with the joint distribution
    :math:`p_{ab}` over levels or fifths of the rows, the dependence is
    :math:`d_{ab} = p_{ab} - p_a p_b`, and the distance half of the sum of its differences,

    .. math:: \tfrac{1}{2} \sum_{ab} |d_{ab}(rows) - d_{ab}(samples)|,

    so that columns that are wrong by themselves do not count here. Chance is its mean where both
    have one law, by the normal approximation of each term. A missing cell is a level of its own
    where rows and samples have some; else pairs are of the rows that have both cells.

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
    [('1', 0.79), ('0', 0.0)]
    """
    columns = beside(real, samples)
    margins = sorted((_margin(one, len(columns)) for one in columns), key=_beyond)
    found, beyond = pairs(columns)
    said, told = reasons(columns, as_stream(random_state).child("reasons"))
    return Differences(tuple(margins), found, beyond, said, told)


def _beyond(one: Margin) -> float:
    return (one.apart.chance or 0.0) - one.apart.value


# ------------------------------------------------------------------ columns


def _margin(cells: Cells, tests: int) -> Margin:
    """A column; ``tests`` columns share one false alarm."""
    rows, samples = cells.known
    if not len(rows) or not len(samples):
        apart = Measure("distance", float(bool(len(rows)) != bool(len(samples))), chance=0.0)
        edges = None if cells.levels else np.array([0.0, 1.0])
        return Margin(cells, edges, np.zeros((2, len(cells.levels) or 1)), apart)
    edges = np.arange(len(cells.levels) + 1) - 0.5 if cells.levels else _edges(rows, samples, cells)
    ends = edges[0], edges[-1]
    counts = np.stack([np.histogram(part.clip(*ends), edges)[0] for part in (rows, samples)])
    shares = counts / np.array([[len(cells.rows)], [len(cells.samples)]])
    apart = _variation(counts, tests) if cells.levels else _kolmogorov(rows, samples, tests)
    if cells.levels:
        return Margin(cells, None, shares, apart)
    outside = float(((samples < rows.min()) | (samples > rows.max())).mean())
    return Margin(cells, edges, shares, apart, outside)


def _variation(counts: np.ndarray, tests: int) -> Measure:
    """Total variation; beyond its mean by chance as McDiarmid's inequality (1989) bounds it."""
    n = counts.sum(1)
    spread, pooled = float((1 / n).sum()), counts.sum(0) / counts.sum()
    value = float(np.abs(counts[0] / n[0] - counts[1] / n[1]).sum()) / 2
    terms = np.sqrt(2 / math.pi * pooled * (1 - pooled) * spread)
    chance = float(terms.sum()) / 2
    bound = limit(chance, spread, tests)
    return _measure(value, chance, bound, int(n[0]), "total variation")


def _kolmogorov(rows: np.ndarray, samples: np.ndarray, tests: int) -> Measure:
    """Kolmogorov's distance; its mean by chance is √(π/2) log 2 √(1/n + 1/m), and with so many rows
    it is beyond t with a probability below 2 exp(−2t² / (1/n + 1/m))."""
    spread = 1 / len(rows) + 1 / len(samples)
    value = float(stats.ks_2samp(rows, samples, method="asymp").statistic)
    chance = math.sqrt(math.pi / 2 * spread) * math.log(2)
    bound = limit(0.0, spread, 2 * tests)
    return _measure(value, chance, bound, len(rows), "Kolmogorov's distance")


def _measure(value: float, chance: float, bound: float, n: int, method: str) -> Measure:
    warning = BEYOND if value > bound else ""
    how: dict[str, Any] = {"n": n, "ideal": 0.0, "method": method, "warning": warning}
    return Measure("distance", value, chance=chance, **how)


def _edges(rows: np.ndarray, samples: np.ndarray, cells: Cells) -> np.ndarray:
    """Ends of bins that suit the rows: their middle 98 %, and a quarter more towards the rest."""
    everything = np.concatenate([rows, samples])
    least, most = float(everything.min()), float(everything.max())
    low, high = (float(end) for end in np.quantile(rows, (0.01, 0.99)))
    room = (high - low) / 4
    if room:
        least, most = max(least, low - room), min(most, high + room)
    if cells.holds == "whole":
        step = math.ceil((most - least + 1) / BINS)
        return np.arange(math.floor(least), math.ceil(most) + step + 1, step) - 0.5
    return np.linspace(least, most, BINS + 1)
