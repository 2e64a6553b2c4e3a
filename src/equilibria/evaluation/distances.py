"""How far samples are from real rows in the law of their features: the Fréchet and the kernel distance, each beside real rows' own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import linalg, stats
from scipy.spatial.distance import cdist

from equilibria.evaluation.features import PIXELS, Features
from equilibria.evaluation.metric import Metric
from equilibria.evaluation.rows import as_rows
from equilibria.random import RandomState, Stream, as_stream

__all__ = ["cubic", "frechet", "frechet_distance", "gaussian", "kernel", "kernel_estimate", "thirds"]

Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""All rows of one table with all rows of another."""

_Z = float(stats.norm.ppf(0.975))


class Thirds(NamedTuple):
    """Features of two disjoint sets of real rows and of samples, ``(n, width)`` each: the two say what chance alone gives."""

    first: np.ndarray
    second: np.ndarray
    fake: np.ndarray


def thirds(real: Any, fake: Any, features: Features, stream: Stream, max_rows: int, least: int = 2) -> Thirds:
    """As many random rows of each of two halves of ``real`` and of ``fake``, seen through ``features``.

    A measure's bias depends on its numbers of rows, so real rows can stand beside samples as a floor only where the numbers are equal.

    Raises
    ------
    ValueError
        For NaN, different numbers of columns, too few rows, or rows that are all the same: there is nothing to compare then.
    """
    table = as_rows(real, "real", least=2 * least)
    rows, others = features(table, "real"), features(as_rows(fake, "fake", table.shape[1], least), "fake")
    for found, name, cure in ((rows, "real", "leave them out"), (others, "fake", "the generator has collapsed")):
        if not np.ptp(found, axis=0).any():
            raise ValueError(f"{name}: all {len(found)} rows are the same through {features.name}; no distance is worked out: {cure}")
    n = min(len(rows) // 2, len(others), int(max_rows))
    if n < least:
        raise ValueError(f"max_rows={max_rows!r}: expected at least {least}")
    order = stream.child("real").permutation(len(rows)).numpy()
    return Thirds(rows[order[:n]], rows[order[n : 2 * n]], others[stream.child("fake").permutation(len(others)).numpy()[:n]])


# ---------------------------------------------------------------- Fréchet


def frechet(
    real: Any,
    fake: Any,
    features: Features = PIXELS,
    *,
    random_state: RandomState = 0,
    resamples: int = 30,
    max_rows: int = 10_000,
) -> Metric:
    r"""Squared Fréchet distance between the normal laws fitted to the features of real rows and of samples (FID, for Inception's).

    .. math:: |\mu_1 - \mu_2|^2 + \mathrm{tr}\bigl(\Sigma_1 + \Sigma_2 - 2 (\Sigma_1 \Sigma_2)^{1/2}\bigr)

    The real rows are halved at random: the value is the mean of the samples' distances to both halves, the floor the distance between
    the halves, all at the same number of rows, since the distance falls as that grows. Compare it at equal numbers only.

    Parameters
    ----------
    real, fake : array or tensor, shape (n, …), (m, …)
        Real rows (held out from the model) and samples, on the same scale.
    features : Features
        What they are looked at through.
    random_state : int, Stream or numpy generator
        How the rows are halved and resampled.
    resamples : int
        Bootstrap draws behind the interval, value ± 1.96 of their standard deviations.
    max_rows : int
        At most so many rows in each half.

    Returns
    -------
    Metric

    Raises
    ------
    ValueError
        For NaN, constant rows, different numbers of columns, or no more rows than features in a half: such covariances are singular, and
        the distance would say more about the number of rows than about the samples.

    References
    ----------
    Heusel et al. 2017, "GANs trained by a two time-scale update rule converge to a local Nash equilibrium"; Chong and Forsyth 2020,
    "Effectively unbiased FID and inception score", on the bias.

    Examples
    --------
    >>> noise = Stream(0).normal((3000, 2))
    >>> found = frechet(noise[:2000], 1 + noise[2000:])
    >>> abs(found.value - 2) < 0.3, found.floor < 0.02, found.samples
    (True, True, 1000)
    """
    if resamples < 2:
        raise ValueError(f"resamples={resamples!r}: expected 2 or more")
    stream = as_stream(random_state).child("frechet")
    parts = thirds(real, fake, features, stream, max_rows)
    n, width = parts.fake.shape
    if n <= width:
        raise ValueError(
            f"{n} rows for {width} features ({features.name}): a Fréchet distance needs more rows than features in each half of the real "
            "rows and in the samples; give more rows, or features of fewer columns"
        )
    draws = [_both_halves(_resampled(parts, stream.child("bootstrap", i))) for i in range(resamples)]
    value, half = _both_halves(parts), _Z * float(np.std(draws, ddof=1))
    return Metric(
        "Fréchet distance (squared)",
        value,
        n,
        floor=frechet_distance(parts.first, parts.second),
        best=0.0,
        features=features.name,
        note=f"With {n} rows on each side: at other numbers it is another number.",
        low=max(0.0, value - half),
        high=value + half,
    )


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """The squared Fréchet distance between the normal laws fitted to two tables ``(n, d)``, ``(m, d)``, exact to rounding for any rank.

    With centred tables A and B scaled so that Σ = AᵀA, the eigenvalues of Σ₁Σ₂ are the squared singular values of A Bᵀ, so no matrix root
    is taken; A and B are shortened to their triangular factors first.

    Examples
    --------
    >>> round(frechet_distance(np.array([[-1.0], [1.0]]), np.array([[2.0], [8.0]])), 9)  # means 0 and 5, deviations √2 and 3√2
    33.0
    """
    (mean_1, root_1), (mean_2, root_2) = _moments(first), _moments(second)
    traces = np.square(root_1).sum() + np.square(root_2).sum()
    overlap = linalg.svdvals(root_1 @ root_2.T).sum()
    return max(0.0, float(np.square(mean_1 - mean_2).sum() + traces - 2 * overlap))


def _moments(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean, and R with RᵀR the covariance."""
    mean = rows.mean(axis=0)
    return mean, linalg.qr((rows - mean) / math.sqrt(len(rows) - 1), mode="economic")[1]


def _both_halves(parts: Thirds) -> float:
    return (frechet_distance(parts.first, parts.fake) + frechet_distance(parts.second, parts.fake)) / 2


def _resampled(parts: Thirds, stream: Stream) -> Thirds:
    return Thirds(*(rows[stream.child(i).integers((len(rows),), len(rows)).numpy()] for i, rows in enumerate(parts)))


# ---------------------------------------------------------------- kernel


def kernel(real: Any, fake: Any, features: Features = PIXELS, *, random_state: RandomState = 0, max_rows: int = 3000) -> Metric:
    r"""Kernel distance: the squared maximum mean discrepancy under k(x, y) = (x·y / width + 1)³ (KID, for Inception's features).

    Unbiased at any number of rows, so it may fall below 0 by chance. The value is the mean of the samples' distances to both halves of the
    real rows, with 1.96 standard errors on either side; the floor is 1.96 standard errors of the distance between the halves: what a
    perfect sampler stays below.

    Parameters
    ----------
    real, fake, features, random_state
        As for :func:`frechet`.
    max_rows : int
        At most so many rows in each half; time and memory grow with their square.

    Returns
    -------
    Metric

    Raises
    ------
    ValueError
        For NaN, constant rows, different numbers of columns, or too few rows.

    References
    ----------
    Bińkowski et al. 2018, "Demystifying MMD GANs".

    Examples
    --------
    >>> noise = Stream(0).normal((3000, 2))
    >>> found = kernel(noise[:2000], 1 + noise[2000:])
    >>> found.low > found.floor
    True
    """
    parts = thirds(real, fake, features, as_stream(random_state).child("kernel"), max_rows, least=4)
    (first, error), (second, other) = kernel_estimate(parts.first, parts.fake), kernel_estimate(parts.second, parts.fake)
    value, half = (first + second) / 2, _Z * (error + other) / 2  # both have the samples in common, so neither error shrinks
    return Metric(
        "kernel distance (squared)",
        value,
        len(parts.fake),
        floor=_Z * kernel_estimate(parts.first, parts.second)[1],
        best=0.0,
        features=features.name,
        note="Unbiased: it does not depend on the number of rows.",
        low=value - half,
        high=value + half,
    )


def cubic(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """k(x, y) = (x·y / width + 1)³ of all rows with all others: it sees differences in the first three moments alone."""
    return (first @ second.T / first.shape[1] + 1) ** 3


def gaussian(rows: np.ndarray) -> Kernel:
    """exp(−|x − y|² / 2w²) with w half the median distance between ``rows``: it sees every difference, at any scale of the data."""
    distances = cdist(rows, rows)
    width = max(0.5 * float(np.median(distances[~np.eye(len(rows), dtype=bool)])), 1e-12)
    return lambda first, second: np.exp(-cdist(first, second, "sqeuclidean") / (2 * width**2))


def kernel_estimate(first: np.ndarray, second: np.ndarray, k: Kernel = cubic) -> tuple[float, float]:
    r"""The unbiased estimate of the squared discrepancy between two tables of n rows each, and its standard error.

    .. math:: \frac{1}{n (n-1)} \sum_{i \ne j} h_{ij}, \qquad
        h_{ij} = k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(x_j, y_i)

    Its variance is 4 (n − 2) ζ₁ / n(n − 1) + 2 ζ₂ / n(n − 1) with ζ₁ the variance of a row's mean and ζ₂ that of a single term. Of two
    equal laws ζ₁ is 0 and the second part is left, so the error holds there too. Of longer tables the first n rows are taken.

    References
    ----------
    Serfling 1980, *Approximation theorems of mathematical statistics*, section 5.2; Gretton et al. 2012, "A kernel two-sample test",
    lemma 6.

    Examples
    --------
    >>> kernel_estimate(np.zeros((3, 1)), np.ones((3, 1)))  # 1 + 8 − 1 − 1
    (7.0, 0.0)
    """
    n = min(len(first), len(second))
    x, y = first[:n], second[:n]
    across = k(x, y)
    terms = k(x, x) + k(y, y) - across - across.T
    np.fill_diagonal(terms, 0)
    pairs = n * (n - 1)
    value = float(terms.sum()) / pairs
    single = max(0.0, float(np.square(terms).sum()) / pairs - value**2)
    of_rows = max(0.0, float((terms.sum(axis=1) / (n - 1)).var(ddof=1)) - single / (n - 1))
    return value, math.sqrt((4 * (n - 2) * of_rows + 2 * single) / pairs)
