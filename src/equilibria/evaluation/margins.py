"""How far columns, and pairs of columns, of samples are from the rows' own, beside what chance
gives.

Columns are ``(n, width)``: numbers, or codes of categories where ``coded`` says so, NaN where a
cell is missing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from equilibria.numbers import Measure

__all__ = ["associations", "correlation", "margins", "sampling_error", "total_variation"]

ALARM = 0.05  # of all columns together, or of all pairs
BINS = 10  # of a number beside a category
LEAST = 5.0  # cells that chance would give, below which categories are put together
MANY = 50  # categories above which errors are taken to be independent
APART = "It is further off than chance takes it."

Coded = Sequence[bool]


def margins(
    real: np.ndarray, fake: np.ndarray, coded: Coded, names: Sequence[str]
) -> tuple[Measure, ...]:
    """Each column beside the rows' own: Kolmogorov's distance of a number, the total variation of a
    category, and the share of missing cells where there are any.

    ``chance`` is twice the sampling error, the root mean square that so many rows and samples of
    one law would give. There is a ``warning`` where the difference is not chance, at a false alarm
    of 5 % for all columns together.

    Examples
    --------
    >>> rows = np.arange(100.0)[:, None]
    >>> [found] = margins(rows, rows + 50, [False], ["age"])
    >>> found.name, found.value, round(found.chance, 3), found.warning != ""
    ('Kolmogorov distance of age', 0.5, 0.257, True)
    """
    found = []
    for place, (code, name) in enumerate(zip(coded, names, strict=True)):
        pair = real[:, place], fake[:, place]
        parts = [cells[~np.isnan(cells)] for cells in pair]
        if min(map(len, parts)):
            what = "total variation" if code else "Kolmogorov distance"
            value, chance, p = total_variation(*parts) if code else kolmogorov(*parts)
            how: dict[str, Any] = {"n": len(parts[1]), "chance": chance, "ideal": 0.0}
            found.append((Measure(f"{what} of {name}", value, **how), p))
        gaps = [np.isnan(cells).astype(float) for cells in pair]
        if any(map(np.any, gaps)):
            _, chance, p = total_variation(*gaps)
            shares = [float(part.mean()) for part in gaps]
            how = {"n": len(fake), "chance": chance, "ideal": shares[0]}
            one = Measure(f"share of missing cells of {name}", shares[1], **how)
            found.append((one, p))
    return _warned(found)


def associations(
    real: np.ndarray, fake: np.ndarray, coded: Coded, names: Sequence[str]
) -> tuple[Measure, ...]:
    r"""Each pair of columns beside the rows' own: correlation and contingency similarity.

    .. math:: 1 - \tfrac12 |r_{real} - r_{fake}|, \qquad
        1 - \tfrac12 \sum_{ab} |p_{real}(a, b) - p_{fake}(a, b)|

    The first is of two numbers and their correlations r; the second of two categories. A number
    beside a category is cut into ten equal parts of the rows' range, and a missing cell is a
    category of its own. ``chance`` is 1 less twice the sampling error; there is a ``warning`` where
    the difference is not chance, at a false alarm of 5 % for all pairs together, by the numbers'
    ranks: wild values hide nothing from it. The mean is the "pair trends" of SDMetrics (DataCebo
    2023, *Synthetic Data Metrics*).
    """
    columns = list(zip(real.T, fake.T, coded, strict=True))
    cut, deciles = ([_binned(*one, equal) for one in columns] for equal in (True, False))
    ranks = [stats.rankdata(rows, axis=0, nan_policy="omit") for rows in (real, fake)]
    found = []
    for a, b in itertools.combinations(range(len(names)), 2):
        if coded[a] or coded[b]:
            value, chance, p = _joint(cut[a], cut[b])
            if not (coded[a] and coded[b]):
                p = _joint(deciles[a], deciles[b])[2]
            what = "contingency"
        else:
            moments = [correlation(rows[:, a], rows[:, b]) for rows in (real, fake)]
            if any(map(math.isnan, (moments[0][0], moments[1][0]))):  # a constant column has none
                continue
            value, chance, _ = _difference(*moments)
            p = _difference(*(correlation(r[:, a], r[:, b]) for r in ranks))[2]
            what = "correlation"
        name = f"{what} similarity of {names[a]} and {names[b]}"
        how: dict[str, Any] = {"n": len(fake), "chance": 1 - chance, "ideal": 1.0}
        found.append((Measure(name, 1 - value, **how), p))
    return _warned(found)


def _warned(found: Sequence[tuple[Measure, float]]) -> tuple[Measure, ...]:
    """Measures, with a warning where a p-value is below a fair share of the alarm."""
    least = ALARM / max(1, len(found))
    return tuple(one.replace(warning=APART if p < least else "") for one, p in found)


def kolmogorov(real: np.ndarray, fake: np.ndarray) -> tuple[float, float, float]:
    """Largest difference of the distribution functions, twice its sampling error, and a p-value
    (with ties it is too high): the root mean square of Kolmogorov's law is √(π²/12).

    >>> kolmogorov(np.zeros(50), np.ones(50))[0]
    1.0
    """
    found = stats.ks_2samp(real, fake, method="asymp")
    error = math.sqrt(math.pi**2 / 12 * (1 / len(real) + 1 / len(fake)))
    return float(found.statistic), 2 * error, float(found.pvalue)


def total_variation(real: np.ndarray, fake: np.ndarray) -> tuple[float, float, float]:
    """Half the sum of differences of the categories' shares, twice its sampling error, and the
    p-value of Pearson's test, rare categories together.

    >>> found = total_variation(np.array([0, 0, 1, 1.0]), np.array([0, 1, 1, 1.0]))
    >>> found[0], round(found[1] / 2, 4)  # √(⅜ · ⅝ · ½)
    (0.25, 0.3423)
    """
    values, places = np.unique(np.concatenate([real, fake]), return_inverse=True)
    sides = np.split(places, [len(real)])
    counts = np.stack([np.bincount(side, minlength=len(values)) for side in sides])
    n, m = counts.sum(axis=1)
    value = float(np.abs(counts[0] / n - counts[1] / m).sum() / 2)
    rare = counts.sum(axis=0) * min(n, m) / (n + m) < LEAST
    tested = np.concatenate([counts[:, ~rare], counts[:, rare].sum(axis=1, keepdims=True)], axis=1)
    tested = tested[:, tested.any(axis=0)]
    wide = tested.shape[1] > 1
    p = float(stats.chi2_contingency(tested, correction=False).pvalue) if wide else 1.0
    return value, 2 * sampling_error(counts.sum(axis=0) / (n + m), n, m), p


def sampling_error(shares: np.ndarray, n: int, m: int) -> float:
    r"""Root mean square of the total variation between n and m draws from these shares, which are
    normal.

    .. math:: \tfrac14 \sum_{jk} E|d_j d_k|, \quad
        E|d_j d_k| = \tfrac2\pi σ_j σ_k (ρ \arcsin ρ + \sqrt{1 - ρ^2})

    with ρ the correlation of two counts of a multinomial.

    >>> round(sampling_error(np.array([0.5, 0.5]), 200, 200), 6)  # √(¼ (1/200 + 1/200))
    0.05
    """
    sigma = np.sqrt(shares * (1 - shares) * (1 / n + 1 / m))
    if len(shares) > MANY:
        squares = float(np.square(sigma).sum())
        return math.sqrt(squares + 2 / math.pi * (float(sigma.sum()) ** 2 - squares)) / 2
    odds = np.sqrt(shares / np.where(shares < 1, 1 - shares, 1))
    rho = np.clip(-np.outer(odds, odds), -1, 1)
    np.fill_diagonal(rho, 1)
    both = np.outer(sigma, sigma) * (rho * np.arcsin(rho) + np.sqrt(1 - rho**2))
    return math.sqrt(2 / math.pi * float(both.sum())) / 2


def correlation(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Pearson's correlation of the rows that have both, and its standard error by its influence
    function, whatever the law; NaN where one is constant.

    >>> correlation(np.array([0.0, 1, 2, 3]), np.array([1.0, 0, 3, 2]))[0]
    0.6
    """
    known = ~(np.isnan(x) | np.isnan(y))
    x, y = x[known], y[known]
    if len(x) < 2 or not np.ptp(x) or not np.ptp(y):
        return math.nan, math.nan
    x, y = ((part - part.mean()) / part.std() for part in (x, y))
    r = float((x * y).mean())
    return r, float((x * y - r / 2 * (x**2 + y**2)).std()) / math.sqrt(len(x))


def _difference(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float, float]:
    """Half the difference of two correlations, twice its sampling error, and a p-value."""
    value, sigma = abs(one[0] - other[0]) / 2, math.hypot(one[1], other[1])
    p = 2 * float(stats.norm.sf(2 * value / sigma)) if sigma else float(value == 0)
    return value, sigma, p


Codes = tuple[np.ndarray, np.ndarray, int]
"""Codes of both sides, a missing cell's the last, and how many there are."""


def _joint(one: Codes, other: Codes) -> tuple[float, float, float]:
    """Total variation of the pairs of two columns' codes."""
    (x, fake_x, _), (y, fake_y, size) = one, other
    return total_variation(x * size + y, fake_x * size + fake_y)


def _binned(real: np.ndarray, fake: np.ndarray, coded: bool, equal: bool) -> Codes:
    """A column as codes: its own, or ten parts of the rows' range or of their ranks."""
    if coded:
        size = int(np.nanmax(np.concatenate([real, fake, [0.0]]))) + 1
        parts = [np.where(np.isnan(side), size, side) for side in (real, fake)]
    else:
        known, size = real[~np.isnan(real)], BINS
        known = known if len(known) else np.zeros(1)
        ends = np.linspace(known.min(), known.max(), BINS + 1)
        edges = ends if equal else np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)))
        edges = edges[1:-1] - 1e-9 * np.ptp(ends)  # a number that lies on an edge is above it
        parts = [np.where(np.isnan(side), size, np.digitize(side, edges)) for side in (real, fake)]
    return parts[0].astype(np.int64), parts[1].astype(np.int64), size + 1
