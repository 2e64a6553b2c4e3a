"""Pairs of columns whose dependence differs between rows and samples."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats
from scipy.stats.contingency import association

from equilibria.evaluation.beside import BEYOND, Cells, limit, spelt
from equilibria.numbers import Measure

__all__ = ["Pair", "pairs"]

PARTS = 5  # of a number's range, of as many rows each
WORST = 10  # pairs that are told of
SIDES = ("rows", "samples")
MISSING = "missing"


@dataclasses.dataclass(frozen=True, eq=False)
class Pair:
    """Two columns and how they go together.

    Attributes
    ----------
    first, second : Cells
    counts : tuple of ndarray
        Rows, and samples, by the parts (or levels) of both columns.
    labels : tuple of tuple of str
        What these parts are, of either column.
    apart : Measure
        How far apart the dependences are; its parts are the association in rows and in samples.
    """

    first: Cells
    second: Cells
    counts: tuple[np.ndarray, np.ndarray]
    labels: tuple[tuple[str, ...], tuple[str, ...]]
    apart: Measure


def pairs(columns: Sequence[Cells]) -> tuple[tuple[Pair, ...], int]:
    """The ten pairs of columns that are furthest apart, by their distance beyond chance, and how
    many of all are further apart than chance would put them.

    See :func:`~equilibria.evaluation.differences.differences` for the distance.
    """
    tables = [_parted(one) for one in columns]
    distances, chances, spreads = _dependences(tables)
    first, second = np.triu_indices(len(columns), 1)
    value, chance, spread = (one[first, second] for one in (distances, chances, spreads))
    far, found = value > limit(chance, spread, len(first)), []
    for k in np.argsort(chance - value, kind="stable")[:WORST]:
        both = int(first[k]), int(second[k])
        parts = [columns[i] for i in both], [tables[i] for i in both]
        found.append(_pair(*parts, float(value[k]), float(chance[k]), BEYOND if far[k] else ""))
    return tuple(found), int(far.sum())


@dataclasses.dataclass(frozen=True, eq=False)
class _Parts:
    """A column as places of few parts, −1 where a cell is left out, and what the parts are."""

    rows: np.ndarray
    samples: np.ndarray
    labels: tuple[str, ...]


def _parted(cells: Cells) -> _Parts:
    """A column's levels, or fifths of its rows' numbers; missing cells as one more, if both have
    some."""
    labels, both = cells.levels, (cells.rows, cells.samples)
    if labels:
        places = list(both)
    else:
        rows = cells.known[0] if len(cells.known[0]) else cells.known[1]
        cuts = np.unique(np.quantile(rows, np.arange(1, PARTS) / PARTS)) if len(rows) else rows
        if len(cuts) and cuts[-1] == rows.max():
            cuts = cuts[:-1]
        places = [np.searchsorted(cuts, x, side="left").astype(float) for x in both]
        labels = _ranges(cuts, cells)
    gaps = [np.isnan(x) for x in both]
    apart = all(one.any() for one in gaps)
    left_out = len(labels) if apart else -1
    rows, samples = (
        np.where(gap, left_out, x).astype(int) for x, gap in zip(places, gaps, strict=True)
    )
    return _Parts(rows, samples, (*labels, MISSING) if apart else labels)


def _ranges(cuts: np.ndarray, cells: Cells) -> tuple[str, ...]:
    """Parts of a number's range in words; of whole numbers from the first to the last."""
    if not len(cuts):
        return ("all",)
    span = float(np.ptp(cuts)) if len(cuts) > 1 else math.inf
    ends = np.floor(cuts) if cells.holds == "whole" else cuts
    firsts = ends + 1 if cells.holds == "whole" else ends
    low, high = ([spelt(float(v), cells.holds, span) for v in part] for part in (firsts, ends))
    between = [a if a == b else f"{a}–{b}" for a, b in zip(low, high[1:], strict=False)]
    return (f"≤ {high[0]}", *between, f"> {high[-1]}")


def _dependences(tables: Sequence[_Parts]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of all pairs (i < j): how far apart the dependences are, what chance gives, and 1 / rows + 1
    / samples."""
    width, sizes = len(tables), [len(one.labels) for one in tables]
    ends = np.concatenate([[0], np.cumsum(sizes)])
    hot = [_one_hot([getattr(t, side) for t in tables], sizes) for side in SIDES]
    distances, chances, spreads = (np.zeros((width, width)) for _ in range(3))
    for i in range(width - 1):
        own, rest, starts = slice(ends[i], ends[i + 1]), ends[i + 1], ends[i + 1 : -1] - ends[i + 1]
        joint = [(h[:, own].T @ h[:, rest:]).astype(float) for h in hot]
        counts = [np.add.reduceat(part.sum(0), starts) for part in joint]
        spread = 1 / np.maximum(counts[0], 1) + 1 / np.maximum(counts[1], 1)
        each = np.repeat(np.arange(len(starts)), sizes[i + 1 :])
        known = np.minimum(*counts) > 0
        residues = [_residue(p, n, starts, each) for p, n in zip(joint, counts, strict=True)]
        apart = np.abs(residues[0] - residues[1]).sum(0)
        variance = _variance(joint[0] + joint[1], counts[0] + counts[1], starts, each)
        by_chance = np.sqrt(2 / math.pi * variance * spread[each]).sum(0)
        for table, terms in ((distances, apart), (chances, by_chance)):
            table[i, i + 1 :] = np.add.reduceat(terms, starts) / 2 * known
        spreads[i, i + 1 :] = spread
    return distances, chances, spreads


def _one_hot(places: Sequence[np.ndarray], sizes: Sequence[int]) -> np.ndarray:
    """All columns' levels side by side, (n, sum of sizes)."""
    parts = [column[:, None] == np.arange(size) for column, size in zip(places, sizes, strict=True)]
    return np.concatenate(parts, 1).astype(np.float32)


def _residue(joint: np.ndarray, n: np.ndarray, starts: np.ndarray, each: np.ndarray) -> np.ndarray:
    """p_ab − p_a p_b of one column's parts (down) with those of all that follow (across)."""
    p, a, b = _margins(joint, n, starts, each)
    return p - a * b


def _margins(
    joint: np.ndarray, n: np.ndarray, starts: np.ndarray, each: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """p_ab; p_a, over the rows that have the other cell too; p_b."""
    p = joint / np.maximum(n, 1)[each]
    return p, np.add.reduceat(p, starts, axis=1)[:, each], p.sum(0)


def _variance(joint: np.ndarray, n: np.ndarray, starts: np.ndarray, each: np.ndarray) -> np.ndarray:
    """Of one row's share in p_ab − p_a p_b: that of (1_a − p_a)(1_b − p_b)."""
    p, a, b = _margins(joint, n, starts, each)
    square = p * (1 - 2 * a) * (1 - 2 * b) + a * (1 - 2 * a) * b**2 + b * (1 - 2 * b) * a**2
    return np.maximum(square + (a * b) ** 2 - (p - a * b) ** 2, 0.0)


def _pair(
    columns: Sequence[Cells], tables: Sequence[_Parts], value: float, chance: float, warning: str
) -> Pair:
    """A pair of columns with its counts and associations."""
    labels = tables[0].labels, tables[1].labels
    shape = len(labels[0]), len(labels[1])
    rows = _counted(tables[0].rows, tables[1].rows, shape)
    samples = _counted(tables[0].samples, tables[1].samples, shape)
    if columns[0].levels or columns[1].levels:
        what, found = "Cramér's V", [_cramer(rows), _cramer(samples)]
    else:
        what = "rank correlation"
        found = [_rank_correlation(*(getattr(c, side) for c in columns)) for side in SIDES]
    parts = tuple(Measure(f"{what} in {k}", v) for k, v in zip(SIDES, found, strict=True))
    how: dict[str, Any] = {"n": int(rows.sum()), "ideal": 0.0, "warning": warning}
    apart = Measure("distance", value, chance=chance, method="of dependences", parts=parts, **how)
    return Pair(columns[0], columns[1], (rows, samples), labels, apart)


def _counted(a: np.ndarray, b: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    both = (a >= 0) & (b >= 0)
    return np.bincount(a[both] * shape[1] + b[both], minlength=shape[0] * shape[1]).reshape(shape)


def _cramer(counts: np.ndarray) -> float:
    """Cramér's V; 0 where a column has one value."""
    seen = counts[counts.sum(1) > 0][:, counts.sum(0) > 0]
    return float(association(seen, method="cramer")) if min(seen.shape, default=0) > 1 else 0.0


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's; 0 where a column has one value."""
    both = ~(np.isnan(a) | np.isnan(b))
    a, b = a[both], b[both]
    if len(a) < 2 or not np.ptp(a) or not np.ptp(b):
        return 0.0
    return float(stats.spearmanr(a, b).statistic)
