"""Intervals and sets from equally likely values, calibrated by rows kept aside; their scores."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["calibrated", "central", "crps", "depth", "least", "likeliest", "rank"]


def central(draws: np.ndarray, level: float, unit: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
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
    >>> low, high = central(np.arange(1.0, 200.0)[:, None], 0.9)
    >>> float(low[0]), float(high[0])
    (10.0, 190.0)
    """
    ordered, n = np.sort(draws, 0), len(draws)
    place = max(1, math.floor((1 - level) / 2 * (n + 1) + 1e-6))
    more = max(0.0, level - 1) * unit
    return ordered[place - 1] - more, ordered[n - place] + more


def depth(draws: np.ndarray, truth: np.ndarray, unit: float = 1.0) -> np.ndarray:
    """The smallest nominal level, (m,), at which :func:`central` holds each of the true values.

    Above 1 it is 1 + the distance to the nearest draw in units.

    >>> depth(np.arange(1.0, 200.0)[:, None], np.array([190.0])).round(9)
    array([0.9])
    """
    n, unit = len(draws), unit or 1.0
    out = np.maximum((draws < truth).sum(0), (draws > truth).sum(0))
    found = 1 - 2 * np.minimum(n - out, (n + 1) // 2) / (n + 1)
    beyond = np.maximum(draws.min(0) - truth, truth - draws.max(0))
    return np.where(beyond > 0, 1 + beyond / unit, found)


def likeliest(chances: np.ndarray, level: float) -> np.ndarray:
    """The sets of likeliest categories that reach ``level`` together, bool (m, K); never empty."""
    return before(chances) <= max(level - 1e-9, 0)


def rank(chances: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The smallest level, (m,), at which :func:`likeliest` has the true category (m,)."""
    return before(chances)[np.arange(len(truth)), truth] + 1e-9


def before(chances: np.ndarray) -> np.ndarray:
    """The total chance of all categories that are likelier than each, (m, K)."""
    order = np.argsort(-chances, 1, kind="stable")
    ordered = np.take_along_axis(chances, order, 1)
    sums = np.cumsum(ordered, 1) - ordered
    return np.take_along_axis(sums, np.argsort(order, 1), 1)


def calibrated(found: np.ndarray, level: float) -> float:
    r"""The nominal level at which new cells are held with a chance of at least ``level``.

    ``found`` are the smallest nominal levels that hold the true values of n cells that the model
    has not seen, :func:`least` or more. The ⌈(n + 1) level⌉-th of them holds a further cell of the
    same law with a chance from ``level`` to ``level`` + 1/(n + 1), ties apart, whatever the model:
    intervals that grow with their nominal level are split-conformal (Gupta, Kuchibhotla & Ramdas
    2022, "Nested conformal prediction"; of sets: Romano, Sesia & Candès 2020, "Classification with
    valid and adaptive coverage").

    >>> calibrated(np.arange(1, 100) / 100, 0.9)
    0.9
    """
    return float(np.sort(found)[math.ceil((len(found) + 1) * level - 1e-9) - 1])


def least(level: float) -> int:
    """How many cells :func:`calibrated` needs.

    >>> least(0.9)
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
