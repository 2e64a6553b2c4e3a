"""Sample quality: distances, precision and recall, memorisation.

:func:`frechet`, :func:`kernel` and :func:`prdc` halve the real rows, and compare the halves with
each other as they compare the samples: that is what chance gives. ``real`` (n, …) are rows held out
from the model, ``fake`` (m, …) samples on the same scale; at most ``max_rows`` of each half and of
the samples are used, and ``random_state`` says which. Frames of mixed columns will do: numbers are
then in standard deviations and categories one-hot; a row with a gap has no distance, and is
refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy import linalg, stats
from scipy.spatial.distance import cdist

from equilibria import check
from equilibria.evaluation.features import PIXELS, Features
from equilibria.evaluation.statistics import alike, as_rows, kernel_estimate, nearest_row, wilson
from equilibria.numbers import Measure
from equilibria.random import RandomState, Stream, as_stream

__all__ = ["frechet", "frechet_distance", "kernel"]
__all__ += ["memorisation", "prdc", "prdc_scores"]

_Z = float(stats.norm.ppf(0.975))
_BLOCK = 500  # rows of a distance matrix at a time
_COPIED = 0.25  # share of copies below which a difference between the sets of real rows may be it
_SURE = 0.999


class Halves(NamedTuple):
    """Features of two disjoint sets of real rows and of samples, ``(n, width)`` each."""

    first: np.ndarray
    second: np.ndarray
    fake: np.ndarray


def halves(
    real: Any, fake: Any, features: Features, stream: Stream, max_rows: int, least: int = 2
) -> Halves:
    """Equally many random rows of each half of ``real`` and of ``fake``, seen through ``features``.

    Measures are biased by the number of rows, so it must be the same. All features are centred at
    the real ones' mean, so that none depends on the origin.
    """
    max_rows = check.whole(least)("max_rows", max_rows)
    table, samples = alike(least, real=real, fake=fake)
    rows, others = features(as_rows(table, "real", least=2 * least), "real"), features(samples)
    for found, name in ((rows, "real"), (others, "fake")):
        if not np.ptp(found, axis=0).any():
            same = f"all {len(found)} rows are the same through {features.name}"
            raise ValueError(f"{name}: {same}, and have no distance (has the generator collapsed?)")
    n = min(len(rows) // 2, len(others), max_rows)
    order = stream.child("real").permutation(len(rows)).numpy()
    drawn = stream.child("fake").permutation(len(others)).numpy()[:n]
    centre = rows.mean(axis=0)
    return Halves(*(x - centre for x in (rows[order[:n]], rows[order[n : 2 * n]], others[drawn])))


def frechet(
    real: Any,
    fake: Any,
    features: Features = PIXELS,
    *,
    random_state: RandomState = 0,
    resamples: int = 30,
    max_rows: int = 10_000,
) -> Measure:
    r"""Squared Fréchet distance of the normal distributions fitted to features of rows and samples.

    .. math:: |\mu_1 - \mu_2|^2 + \mathrm{tr}\bigl(\Sigma_1 + \Sigma_2
        - 2 (\Sigma_1 \Sigma_2)^{1/2}\bigr)

    Through Inception's features it is the FID. The value is the mean of the samples' distances to
    both halves of the real rows, ± 1.96 standard deviations of ``resamples`` bootstrap draws;
    chance is the distance between the halves. It falls as the number of rows grows: compare it at
    equal numbers only. Each half must have more rows than features, or covariances are singular.

    References
    ----------
    Heusel et al. 2017, "GANs trained by a two time-scale update rule"; Chong and Forsyth 2020,
    "Effectively unbiased FID and inception score".

    Examples
    --------
    >>> noise = Stream(0).normal((3000, 2))
    >>> found = frechet(noise[:2000], 1 + noise[2000:])
    >>> abs(found.value - 2) < 0.3, found.chance < 0.02, found.n
    (True, True, 1000)
    """
    resamples = check.whole(2)("resamples", resamples)
    stream = as_stream(random_state).child("frechet")
    parts = halves(real, fake, features, stream, max_rows)
    n, width = parts.fake.shape
    if n <= width:
        raise ValueError(
            f"{n} rows for {width} features ({features.name}): each half of the real rows and the "
            "samples need more rows than features; give more rows, or features of fewer columns"
        )

    def distance(first: np.ndarray, second: np.ndarray, fake: np.ndarray) -> float:
        return (frechet_distance(first, fake) + frechet_distance(second, fake)) / 2

    def resampled(draw: Stream) -> Iterator[np.ndarray]:
        return (rows[draw.child(i).integers((n,), n).numpy()] for i, rows in enumerate(parts))

    keys = (stream.child("bootstrap", i) for i in range(resamples))
    half = _Z * float(np.std([distance(*resampled(key)) for key in keys], ddof=1))
    value, chance = distance(*parts), frechet_distance(parts.first, parts.second)
    return Measure(
        "Fréchet distance (squared)",
        value,
        max(0.0, value - half),
        value + half,
        n=n,
        method=features.name,
        chance=chance,
        ideal=0.0,
        note=f"With {n} rows on each side: at other numbers it is another number.",
    )


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Squared Fréchet distance of two tables ``(n, d)``, ``(m, d)``, exact at any rank.

    With centred tables A and B scaled so that Σ = AᵀA, the eigenvalues of Σ₁Σ₂ are the squared
    singular values of A Bᵀ, so no matrix root is taken. A and B are first shortened by QR.

    >>> round(frechet_distance(np.array([[-1.0], [1.0]]), np.array([[2.0], [8.0]])), 9)
    33.0
    """
    means = [rows.mean(axis=0) for rows in (first, second)]
    root, other = (
        linalg.qr((rows - mean) / math.sqrt(len(rows) - 1), mode="economic")[1]
        for rows, mean in zip((first, second), means, strict=True)
    )
    traces = np.square(root).sum() + np.square(other).sum()
    overlap = linalg.svdvals(root @ other.T).sum()
    return max(0.0, float(np.square(means[0] - means[1]).sum() + traces - 2 * overlap))


def kernel(
    real: Any,
    fake: Any,
    features: Features = PIXELS,
    *,
    random_state: RandomState = 0,
    max_rows: int = 3000,
) -> Measure:
    r"""Squared maximum mean discrepancy under the kernel k(x, y) = (x·y / width + 1)³.

    Through Inception's features, not centred, it is the KID; here features are centred at the real
    rows' mean. It is unbiased at any number of rows, so it may fall below 0. The value is the mean
    of the samples' distances to both halves of the real rows, ± 1.96 standard errors; chance is
    1.96 standard errors of the distance between the halves. Time grows with the square of the rows.

    References
    ----------
    Bińkowski et al. 2018, "Demystifying MMD GANs".

    Examples
    --------
    >>> noise = Stream(0).normal((3000, 2))
    >>> found = kernel(noise[:2000], 1 + noise[2000:])
    >>> found.low > found.chance
    True
    """
    stream = as_stream(random_state).child("kernel")
    first, second, other = halves(real, fake, features, stream, max_rows, least=4)
    found = [kernel_estimate(half, other) for half in (first, second)]
    # Both have the samples in common, so averaging does not shrink the error.
    value, error = np.mean(found, axis=0).tolist()
    low, high, chance = value - _Z * error, value + _Z * error, kernel_estimate(first, second)[1]
    note = "Unbiased: it does not depend on the number of rows."
    shared: dict[str, Any] = {"n": len(other), "method": features.name, "ideal": 0.0, "note": note}
    return Measure("kernel MMD (squared)", value, low, high, chance=_Z * chance, **shared)


_SCORES = {
    "precision": "Low where samples are not like real rows.",
    "recall": "Low where kinds of real rows are missing among the samples.",
    "density": "Low where samples are not like real rows; above the ideal where they crowd where "
    "real rows are densest.",
    "coverage": "Low where kinds of real rows are missing among the samples; less moved by single "
    "far samples than recall.",
}


def prdc(
    real: Any,
    fake: Any,
    features: Features = PIXELS,
    k: int = 5,
    *,
    random_state: RandomState = 0,
    max_rows: int = 5000,
) -> Measure:
    r"""Improved precision and recall, density and coverage (PRDC) with ``k`` neighbours.

    With B(x) the closed ball around x out to its k-th nearest row of its own kind, and n rows of
    each kind:

    .. math::
        \text{precision} = \tfrac1n \sum_j 1[\exists i: y_j \in B(x_i)], \quad
        \text{density} = \tfrac1{kn} \sum_{ij} 1[y_j \in B(x_i)], \quad
        \text{coverage} = \tfrac1n \sum_i 1[\exists j: y_j \in B(x_i)],

    and recall is precision with the roles of real rows x and samples y exchanged. "precision",
    "recall" and "density" are the parts of the coverage returned; each is the mean beside both
    halves of the real rows. The ideal precision and recall are those of one half beside the other.
    Intervals are over the rows counted, the balls being given. Time grows with the square of the
    rows. Distances between pixels say little of pictures: take other ``features``.

    References
    ----------
    Kynkäänniemi et al. 2019, "Improved precision and recall metric for assessing generative
    models"; Naeem et al. 2020, "Reliable fidelity and diversity metrics for generative models".

    Examples
    --------
    >>> noise = Stream(0).normal((900, 2))
    >>> found = prdc(noise[:600], 0.1 * noise[600:])  # too narrow
    >>> found["precision"].value > 0.99, found["recall"].value < 0.1, found["density"].value > 1.2
    (True, True, True)
    """
    k = check.whole(1)("k", k)
    stream = as_stream(random_state).child("neighbours")
    parts = halves(real, fake, features, stream, max_rows, least=k + 1)
    n = len(parts.fake)
    beside = [prdc_scores(half, parts.fake, k) for half in (parts.first, parts.second)]
    values = np.mean([scores for scores, _ in beside], axis=0).tolist()
    within = prdc_scores(parts.first, parts.second, k)[0]
    reached = (within[0] + within[1]) / 2  # each half stands in for the samples once
    ideals = (reached, reached, 1.0, expected_coverage(n, n, k))
    error = float(np.mean([counts.std(ddof=1) for _, counts in beside])) / (k * math.sqrt(n))
    found = []
    for (name, note), value, ideal in zip(_SCORES.items(), values, ideals, strict=True):
        density = (max(0.0, value - _Z * error), value + _Z * error)
        low, high = density if name == "density" else wilson(round(value * n), n)
        via = f"{k} neighbours; {features.name}"
        found.append(Measure(name, value, low, high, n=n, method=via, ideal=ideal, note=note))
    return found[3].replace(parts=tuple(found[:3]))


def prdc_scores(
    real: np.ndarray, fake: np.ndarray, k: int
) -> tuple[tuple[float, float, float, float], np.ndarray]:
    """The four scores of two tables ``(n, d)``, ``(m, d)`` as published, with all rows of both, and
    for each sample the number of real rows whose ball it lies in.

    >>> prdc_scores(np.array([[0.0], [1.0], [10.0]]), np.array([[0.5], [0.6]]), k=1)
    ((1.0, 0.0, 2.0, 0.6666666666666666), array([2., 2.]))
    """
    real_radii, fake_radii = _radii(real, k), _radii(fake, k)
    counts, recalled, covered = np.zeros(len(fake)), [], []
    for i, distances in enumerate(_distances(real, fake)):
        inside = distances <= real_radii[i * _BLOCK : (i + 1) * _BLOCK, None]
        counts += inside.sum(axis=0)
        covered.append(inside.any(axis=1))
        recalled.append((distances <= fake_radii).any(axis=1))
    recall, coverage = (float(np.concatenate(parts).mean()) for parts in (recalled, covered))
    precision, density = float((counts > 0).mean()), float(counts.mean()) / k
    return (precision, recall, density, coverage), counts


def expected_coverage(real: int, fake: int, k: int) -> float:
    r"""E[coverage] of a perfect sampler.

    All rows are then exchangeable, and a real row is missed if its k nearest others are all real:

    .. math:: 1 - \prod_{i=1}^{k} \frac{n - i}{n + m - i}

    >>> round(expected_coverage(1000, 1000, 5), 4)
    0.969
    """
    return 1 - math.prod((real - i) / (real + fake - i) for i in range(1, k + 1))


def _radii(rows: np.ndarray, k: int) -> np.ndarray:
    """Distance of each row to its k-th nearest other row."""
    # The row itself is among the nearest: the k-th other one is the (k + 1)-th of all.
    return np.concatenate([np.partition(d, k, axis=1)[:, k] for d in _distances(rows, rows)])


def _distances(rows: np.ndarray, others: np.ndarray) -> Iterator[np.ndarray]:
    """The distance matrix in blocks of rows; without expanding the square, a copy is at 0."""
    for first in range(0, len(rows), _BLOCK):
        yield cdist(rows[first : first + _BLOCK], others)


def memorisation(samples: Any, train: Any, held_out: Any, random_state: RandomState = 0) -> Measure:
    """Share of training rows among the real rows nearest to samples: whether samples are copies.

    Distances alone do not tell copies from samples that are merely too average: both lie near the
    training rows. So training and held-out rows, drawn alike, are pooled. To samples that know both
    equally well, the nearest row of the pool is a training row with the training rows' share of the
    pool, the ideal. Each row counts once, however many samples it is nearest to, so a collapsed
    model is not taken for a copying one. ``random_state`` chooses among equally near rows.

    There is a ``warning`` where samples are copies: beyond 99.9 % intervals, the share exceeds the
    ideal (by a quarter of what is possible or more), or more samples than held-out rows are
    training rows. The parts, "samples that are a training row", and "median" and "1 % quantile of
    the distance to the nearest training row", have the held-out rows' values as their ideal.

    Examples
    --------
    >>> rows = Stream(0).normal((300, 5))
    >>> found = memorisation(rows[:100], train=rows[:200], held_out=rows[200:])
    >>> found.warning, found["samples that are a training row"].value
    ('The samples copy training rows.', 1.0)
    """
    real, unseen, rows = alike(apart=True, train=train, held_out=held_out, samples=samples)
    order = as_stream(random_state).child("copying").permutation(len(real) + len(unseen)).numpy()
    pool, from_train = np.concatenate([real, unseen])[order], order < len(real)
    nearest = np.unique(nearest_row(rows, pool)[0])
    n, found, expected = len(nearest), int(from_train[nearest].sum()), len(real) / len(pool)
    distances = [nearest_row(table, real)[1] for table in (rows, unseen)]
    same, same_unseen = (int((distance == 0).sum()) for distance in distances)
    least, most = wilson(same, len(rows), _SURE)[0], wilson(same_unseen, len(unseen), _SURE)[1]
    much = found / n - expected >= _COPIED * (1 - expected)
    copies = least > most or (much and wilson(found, n, _SURE)[0] > expected)
    ends, ideal = wilson(same, len(rows)), same_unseen / len(unseen)
    name = "samples that are a training row"
    parts = [Measure(name, same / len(rows), *ends, n=len(rows), ideal=ideal)]
    note = (
        "Where it is clearly below the ideal, which is the held-out rows', samples lie on training "
        "rows or are too average."
    )
    for prefix, q in (("median", 0.5), ("1 % quantile", 0.01)):
        name = f"{prefix} of the distance to the nearest training row"
        value, ideal = (float(np.quantile(distance, q)) for distance in distances)
        parts.append(Measure(name, value, n=len(rows), ideal=ideal, note=note))
    return Measure(
        "training rows among the nearest real rows",
        found / n,
        *wilson(found, n),
        n=n,
        method=f"{len(rows)} samples, {len(real)} training rows, {len(unseen)} held-out rows",
        ideal=expected,
        parts=tuple(parts),
        warning="The samples copy training rows." if copies else "",
        note="" if copies else "No sign that the samples copy training rows.",
    )
