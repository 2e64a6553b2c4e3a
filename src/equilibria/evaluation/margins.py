"""How far columns, and pairs of columns, of samples are from the rows' own, beside what chance
gives: the distances and marks of :func:`~equilibria.evaluation.evaluate` and of the page."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import special, stats

from equilibria.evaluation.beside import Cells
from equilibria.numbers import Measure
from equilibria.random import Stream

__all__ = ["Parts", "associations", "correlation", "correlations", "distance", "fifths"]
__all__ += ["homogeneity", "interaction", "joint", "kolmogorov", "margins", "order", "parted"]
__all__ += ["ranked", "sampling_error", "total_variation"]

ALARM = 0.05  # of all columns together, or of all pairs
BINS = 10  # of a number's range beside a category
FIFTHS = 5  # of a number's ranks
FITS = 20  # of expected counts to each of three margins
LEAST = 5.0  # cells that chance would give, below which categories are put together
PAIRS = 20_000  # of columns, that are looked at
MANY = 50  # categories above which errors are taken to be independent
APART = "It is further off than chance takes it."


def margins(columns: Sequence[Cells]) -> tuple[tuple[Measure, ...], ...]:
    """Each column beside the rows' own: Kolmogorov's distance of a number or the total variation of
    a category, and the share of missing cells where there are any.

    ``chance`` is twice the sampling error, the root mean square that so many rows and samples of
    one law would give. There is a ``warning`` where the difference is not chance, at a false alarm
    of 5 % for all columns together. A column that one side has no cell of is at distance 1, of
    which its missing cells warn.

    Examples
    --------
    >>> rows = np.arange(100.0)
    >>> [[found]] = margins([Cells("age", rows, rows + 50)])
    >>> found.name, found.value, round(found.chance, 3), found.warning != ""
    ('Kolmogorov distance of age', 0.5, 0.257, True)
    """
    found = [_margin(one) for one in columns]
    tests = sum(map(len, found))
    return tuple(tuple(_warned(*one, tests) for one in own) for own in found)


def _margin(one: Cells) -> list[tuple[Measure, float]]:
    """A column's numbers and their p-values."""
    known, size = one.known, len(one.levels)
    what = "total variation" if size else "Kolmogorov distance"
    if not min(map(len, known)):
        value, chance, p = float(any(map(len, known))), 0.0, 1.0
    elif size:
        value, chance, p = total_variation(_counted(known, size))
    else:
        value, chance, p = kolmogorov(*known)
    how: dict[str, Any] = {"n": len(known[1]), "chance": chance, "ideal": 0.0}
    found = [(Measure(f"{what} of {one.name}", value, **how), p)]
    if any(one.missing):
        gaps = [np.isnan(cells).astype(int) for cells in (one.rows, one.samples)]
        _, chance, p = total_variation(_counted(gaps, 2))
        how = {"n": len(one.samples), "chance": chance, "ideal": one.missing[0]}
        share = Measure(f"share of missing cells of {one.name}", one.missing[1], **how)
        found.append((share, p))
    return found


def associations(columns: Sequence[Cells]) -> dict[tuple[int, int], Measure]:
    r"""Pairs of columns, by their places, beside the rows' own: correlation and contingency
    similarity.

    .. math:: 1 - \tfrac12 |r_{real} - r_{fake}|, \qquad
        1 - \tfrac12 \sum_{ab} |p_{real}(a, b) - p_{fake}(a, b)|

    The first is of two numbers and their correlations r; the second of two categories. A number
    beside a category is cut into ten equal parts of the rows' range, and a missing cell is a
    category of its own. The mean is the "pair trends" of SDMetrics (DataCebo 2023, *Synthetic Data
    Metrics*). Two numbers of which one is constant have no similarity, and are left out. Of more
    than 200 columns some 20,000 pairs are looked at, chosen at random.

    ``chance`` is 1 less twice the sampling error. There is a ``warning`` where the columns do not
    depend on each other as in the rows, at a false alarm of 5 % for all pairs together: where
    neither, given the other, has the rows' shares of levels or fifths (:func:`homogeneity`), nor
    the pair their odds (:func:`interaction`), so that columns that are wrong by themselves do not
    count; of two numbers also where rank correlations differ. Wild values hide nothing from it.
    """
    cut = [parted(one, _tenths) for one in columns]
    parts, ranks = [parted(one.short, fifths) for one in columns], list(map(ranked, columns))
    found = {}
    for i, j in _pairs(len(columns)):
        counts = joint(parts[i], parts[j])
        p = max(homogeneity(counts), homogeneity(counts.swapaxes(1, 2)))
        p = p if p > ALARM else max(p, interaction(counts))
        pair = columns[i], columns[j]
        if pair[0].levels or pair[1].levels:
            value, chance, _ = total_variation(joint(cut[i], cut[j]).reshape(2, -1))
            what = "contingency"
        else:
            moments = correlations(*pair)
            if any(math.isnan(r) for r, _ in moments):  # a constant column has none
                continue
            value, chance, _ = _difference(*moments)
            p = min(1.0, 2 * min(p, _difference(*correlations(ranks[i], ranks[j]))[2]))
            what = "correlation"
        name = f"{what} similarity of {pair[0].name} and {pair[1].name}"
        how: dict[str, Any] = {"n": len(pair[0].samples), "chance": 1 - chance, "ideal": 1.0}
        found[i, j] = Measure(name, 1 - value, **how), p
    return {places: _warned(*one, len(found)) for places, one in found.items()}


def _pairs(n: int) -> list[tuple[int, int]]:
    """All pairs of n columns; of very many, some."""
    if n * (n - 1) // 2 <= PAIRS:
        return list(itertools.combinations(range(n), 2))
    drawn = Stream(0).child("pairs").integers((2 * PAIRS, 2), n)
    some = drawn[drawn[:, 0] != drawn[:, 1]].sort(1).values.unique(dim=0)
    chosen = Stream(0).child("chosen").permutation(len(some))[:PAIRS].sort().values
    return [(i, j) for i, j in some[chosen].tolist()]


def _warned(one: Measure, p: float, tests: int) -> Measure:
    """A number, with a warning where its p-value is below a fair share of the alarm."""
    return one.replace(warning=APART if p < ALARM / tests else "")


def distance(one: Measure) -> tuple[float, float]:
    """How far a number of a column or a pair is from its ideal, and twice its sampling error."""
    chance, similar = one.chance or 0.0, one.name.partition(" of ")[0].endswith("similarity")
    return abs(one.value - (one.ideal or 0.0)), 1 - chance if similar else chance


def order(one: Measure) -> tuple[bool, float]:
    """Sorts numbers: those that are not chance first, the furthest beyond it first."""
    far, error = distance(one)
    return not one.warning, error - far


# ------------------------------------------------------------------ parts of columns


Parts = tuple[np.ndarray, np.ndarray, int]
"""A column's rows and samples as places of few parts, missing cells the last where there are any;
and how many parts there are."""


def fifths(one: Cells) -> np.ndarray:
    """What lies between a number's parts of as many rows each, and belongs to the lower one."""
    rows = next((known for known in one.known if len(known)), np.zeros(1))
    cuts = np.unique(np.quantile(rows, np.arange(1, FIFTHS) / FIFTHS))
    return np.asarray(cuts[cuts < rows.max()])


def _tenths(one: Cells) -> np.ndarray:
    """What lies between ten equal parts of the rows' range, a shade lower: a number that lies on an
    edge is above it."""
    rows = one.known[0] if len(one.known[0]) else np.zeros(1)
    ends = np.linspace(rows.min(), rows.max(), BINS + 1)
    return np.asarray(ends[1:-1] - 1e-9 * np.ptp(ends))


def parted(one: Cells, cuts: Callable[[Cells], np.ndarray]) -> Parts:
    """A column's levels, or the parts between cuts."""
    places, size = [one.rows, one.samples], len(one.levels)
    if not size:
        edges = cuts(one)
        places, size = [np.searchsorted(edges, x) for x in places], len(edges) + 1
    rows = np.where(np.isnan(one.rows), size, places[0]).astype(int)
    samples = np.where(np.isnan(one.samples), size, places[1]).astype(int)
    return rows, samples, size + any(one.missing)


def joint(one: Parts, other: Parts) -> np.ndarray:
    """How many rows, and samples, are in each pair of two columns' parts, (2, one's, other's)."""
    shape = 2, one[2], other[2]
    codes = [own * shape[2] + its for own, its in zip(one[:2], other[:2], strict=True)]
    return _counted(codes, shape[1] * shape[2]).reshape(shape)


def _counted(sides: Sequence[np.ndarray], size: int) -> np.ndarray:
    """How often each code comes on either side, (2, size)."""
    return np.stack([np.bincount(side.astype(int), minlength=size) for side in sides])


# ------------------------------------------------------------------ distances


def kolmogorov(real: np.ndarray, fake: np.ndarray) -> tuple[float, float, float]:
    """Largest difference of the distribution functions, twice its sampling error, and a p-value
    (with ties it is too high): the root mean square of Kolmogorov's law is √(π²/12).

    >>> kolmogorov(np.zeros(50), np.ones(50))[0]
    1.0
    """
    found = stats.ks_2samp(real, fake, method="asymp")
    error = math.sqrt(math.pi**2 / 12 * (1 / len(real) + 1 / len(fake)))
    return float(found.statistic), 2 * error, float(found.pvalue)


def total_variation(counts: np.ndarray) -> tuple[float, float, float]:
    """Half the sum of differences of the categories' shares, from counts (2, categories); twice its
    sampling error, and the p-value of :func:`homogeneity`.

    >>> found = total_variation(np.array([[2, 2], [1, 3]]))
    >>> found[0], round(found[1] / 2, 4)  # √(⅜ · ⅝ · ½)
    (0.25, 0.3423)
    """
    counts = counts[:, counts.any(axis=0)]
    n, m = counts.sum(axis=1)
    value = float(np.abs(counts[0] / n - counts[1] / m).sum() / 2)
    error = sampling_error(counts.sum(axis=0) / (n + m), n, m)
    return value, 2 * error, homogeneity(counts[:, None])


def homogeneity(counts: np.ndarray) -> float:
    """The p-value of Pearson's test that samples have the rows' shares of levels within each part,
    from counts (2, parts, levels), the rare levels of a part together.

    >>> homogeneity(np.array([[[40, 10], [5, 5]], [[80, 20], [30, 30]]]))  # the same shares
    1.0
    """
    n = counts.sum(axis=2, keepdims=True)
    whole = np.maximum(n.sum(axis=0), 1)
    rare = counts.sum(axis=0) * n.min(axis=0) / whole < LEAST
    together = np.where(rare, counts, 0).sum(axis=2, keepdims=True)
    counts = np.concatenate([np.where(rare, 0, counts), together], axis=2)
    levels = counts.sum(axis=0)
    expected = n * levels / whole
    terms = np.square(counts - expected) / np.where(expected > 0, expected, 1)
    freedom = np.maximum((levels > 0).sum(axis=1) - 1, 0)[n.min(axis=0)[:, 0] > 0].sum()
    return float(special.chdtrc(freedom, terms.sum())) if freedom else 1.0


def interaction(counts: np.ndarray) -> float:
    """The p-value of the test that two columns have the same odds ratios on both sides, whatever
    their own shares are, from counts (2, parts, levels); cells that chance would give less than one
    of are left out (Bartlett 1935, "Contingency table interactions").

    >>> round(interaction(np.array([[[40, 20], [40, 20]], [[90, 10], [9, 1]]])), 6)
    1.0
    """
    fitted = np.ones(counts.shape)
    for axis in (0, 1, 2) * FITS:
        now = fitted.sum(axis=axis, keepdims=True)
        fitted *= counts.sum(axis=axis, keepdims=True) / np.where(now > 0, now, 1)
    terms = np.square(counts - fitted) / np.maximum(fitted, 1)
    both = [(counts.sum(axis=axis) > 0).all(axis=0).sum() - 1 for axis in (1, 2)]
    freedom = max(both[0], 0) * max(both[1], 0)
    return float(special.chdtrc(freedom, terms[fitted >= 1].sum())) if freedom else 1.0


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


def correlations(one: Cells, other: Cells) -> list[tuple[float, float]]:
    """Of rows and of samples."""
    return [correlation(one.rows, other.rows), correlation(one.samples, other.samples)]


def ranked(one: Cells) -> Cells:
    """A column's ranks on either side."""
    ranks = [stats.rankdata(x, nan_policy="omit") for x in (one.rows, one.samples)]
    return Cells(one.name, *ranks)
