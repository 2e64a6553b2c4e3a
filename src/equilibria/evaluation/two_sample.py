"""Classifier two-sample tests by boosted trees: what is told apart, by what, and with what power.

Rows are encoded, ``(n, size)``, NaN where a cell is missing; ``owner`` says which of the table's
columns each encoded one is of.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats
from threadpoolctl import threadpool_limits

from equilibria import check
from equilibria.evaluation.statistics import alike
from equilibria.numbers import Measure
from equilibria.random import RandomState, Stream, as_stream

__all__ = ["area", "areas", "detectable", "give_away", "of_area", "told_apart", "two_sample"]

DRAWS = 999  # permutations behind a p-value
CELLS = 2_000_000  # of a classifier's table: rows times columns
TREES = 100
ALARM = 0.05
POWER = 0.9
C2ST = "C2ST area under the curve"
SEEN = "area that would have been seen"
SUSPECTS = 5  # columns among which pairs are looked at


def two_sample(
    real: Any, fake: Any, random_state: RandomState = 0, *, max_rows: int = 5000
) -> Measure:
    """Classifier two-sample test (C2ST): how often boosted trees put a sample above a real row.

    The area under the curve is 0.5 where the kinds cannot be told apart, 1 where they always can.
    Trees learn from one half of the rows and judge the other, and the other way round, so every row
    is judged by trees that have not seen it. The note says what would have been seen with so many
    rows. Frames may hold text, dates and gaps; a gap tells something where samples have some too.
    Prepare ``real`` and ``fake`` alike: a difference in rounding or in grey levels is a difference.

    References
    ----------
    Lopez-Paz and Oquab 2017, "Revisiting classifier two-sample tests".

    Examples
    --------
    >>> noise = Stream(1).normal((800, 2))
    >>> same, other = two_sample(noise[:400], noise[400:]), two_sample(noise[:400], 5 + noise[400:])
    >>> same.warning, other.value > 0.98
    ('', True)
    """
    max_rows = check.whole(4)("max_rows", max_rows)
    stream = as_stream(random_state).child("two_sample")
    both = [
        rows[stream.child(name).permutation(len(rows))[:max_rows].numpy()]
        for name, rows in zip(
            ("real", "fake"), alike(4, gaps=True, real=real, fake=fake), strict=True
        )
    ]
    # The trees' bins are of single precision: columns are standardised before.
    table = np.concatenate(both)
    empty = np.isnan(table).all(axis=0)
    table[:, empty] = 0.0
    centre, spread = np.nanmean(table, axis=0), np.nanstd(table, axis=0)
    rows, samples = ((x - centre) / np.where(spread > 0, spread, 1.0) for x in both)
    half = len(rows) // 2
    return told_apart([(rows[:half], rows[half:]), (rows[half:], rows[:half])], samples, stream)


def area(low: np.ndarray, high: np.ndarray) -> float:
    """Area under the ROC curve: the chance that one of ``high`` scores above one of ``low``.

    >>> area(np.array([0.0, 1.0]), np.array([1.0, 2.0]))
    0.875
    """
    ranks = stats.rankdata(np.concatenate([low, high]))
    n, m = len(low), len(high)
    return float((ranks[n:].sum() - m * (m + 1) / 2) / (n * m))


def detectable(n: int, m: int, alarm: float = ALARM / 2, power: float = POWER) -> float:
    """The area under the curve that a one-sided test finds with this power at this false alarm, by
    its standard deviation √((n + m + 1) / 12nm) where there is no difference.

    >>> round(detectable(500, 500), 3)
    0.559
    """
    deviation = math.sqrt((n + m + 1) / (12 * n * m))
    return 0.5 + float(stats.norm.ppf(1 - alarm) + stats.norm.ppf(power)) * deviation


def areas(low: np.ndarray, high: np.ndarray, stream: Stream) -> tuple[float, float, float]:
    """Area under the curve and the p-values that it is above ½ and below it, by permutations of the
    labels."""
    found, n = area(low, high), len(low)
    ranks = stats.rankdata(np.concatenate([low, high]))
    draw = np.random.default_rng(stream.integer())  # a stream of its own for each would be slow
    sums = np.array([draw.permutation(ranks)[n:].sum() for _ in range(DRAWS)])
    own = ranks[n:].sum()
    beyond = [int((side >= -1e-9).sum()) for side in (sums - own, own - sums)]
    return found, (1 + beyond[0]) / (1 + DRAWS), (1 + beyond[1]) / (1 + DRAWS)


def judge(real: np.ndarray, fake: np.ndarray, stream: Stream) -> Any:
    """Gradient-boosted trees that tell rows from samples; as many of both as they can take."""
    n = min(len(real), len(fake), max(50, CELLS // (2 * real.shape[1])))
    rows = np.concatenate([real[:n], fake[:n]])
    how: dict[str, Any] = {"max_iter": TREES, "early_stopping": False}
    how["random_state"] = stream.integer() % 2**32
    how["min_samples_leaf"] = max(2, min(20, n // 10))
    with threadpool_limits(1):  # threads that wait for each other are slower on so few rows
        from sklearn.ensemble import HistGradientBoostingClassifier

        return HistGradientBoostingClassifier(**how).fit(rows, np.repeat([0, 1], n))


def told_apart(
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
    samples: np.ndarray,
    stream: Stream,
    name: str = C2ST,
) -> Measure:
    """Classifier two-sample test: how often boosted trees put a sample above a held-out row.

    Each fold, of one or two, is (rows to learn from, rows to judge); one half of the samples goes
    with either, so that no row and no sample is judged by trees that saw it. Given the trees,
    scores of rows and samples have one law where both have, so the p-value by permuting labels is
    exact; it is twice the smaller of both sides, and of two folds twice that. An area below ½ says
    that samples are nearer to the rows that were learnt from than held-out rows are. Its part is
    the area that would have been seen.
    """
    half, found = len(samples) // 2, []
    halves = samples[:half], samples[half:]
    for i, (known, judged) in enumerate(folds):
        learnt, fresh = with_gaps(halves[i], known), with_gaps(halves[1 - i], judged)
        trees = judge(known, learnt, stream.child("trees", i))
        scores = [trees.decision_function(part) for part in (judged, fresh)]
        key = stream.child("permutations", i)
        found.append((*areas(scores[0], scores[1], key), len(judged), len(fresh)))
    value = float(np.mean([one[0] for one in found]))
    tests = 2 * len(found)
    p = min(1.0, tests * min(min(one[1:3]) for one in found))
    n, m = (int(sum(one[i] for one in found)) for i in (3, 4))
    seen = detectable(n // len(found), m // len(found), ALARM / tests)
    return of_area(
        name,
        value,
        n,
        m,
        seen,
        method=f"{TREES} boosted trees on rows they had not seen, p = {p:.3g} by {DRAWS} "
        "permutations",
        note=f"With {n} real rows and {m} samples a fault in {200 * (seen - 0.5):.2g} % of the "
        f"samples that such trees can see would be found in {100 * POWER:.0f} % of cases at a "
        f"false alarm of {100 * ALARM:.0f} %.",
        warning="" if p > ALARM else f"Samples are told from rows, p = {p:.3g}.",
    )


def with_gaps(samples: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Samples whose cells are missing as rows' are, so that a gap tells nothing."""
    missing = np.isnan(rows)
    if not missing.any() or np.isnan(samples).any():
        return samples
    return np.where(missing[np.arange(len(samples)) % len(rows)], np.nan, samples)


def give_away(
    rows: np.ndarray,
    samples: np.ndarray,
    owner: Sequence[int],
    names: Sequence[str],
    stream: Stream,
) -> list[tuple[float, str]]:
    """The columns, and pairs of the worst, by which trees tell samples from rows best: (area under
    the curve, name), highest first. A pair is named where it says more than both its columns."""
    half, other = len(rows) // 2, len(samples) // 2
    owner_of, found = np.asarray(owner), dict[tuple[int, ...], float]()

    def told(*columns: int) -> float:
        own = np.isin(owner_of, columns)
        trees = judge(rows[:half][:, own], samples[:other][:, own], stream.child(*columns))
        scores = [trees.decision_function(x[:, own]) for x in (rows[half:], samples[other:])]
        return area(*scores)

    apart = [(_moved(rows, samples, owner_of == column), column) for column in set(owner)]
    suspects = [column for _, column in sorted(apart, reverse=True)[: 2 * SUSPECTS]]
    found = {(column,): told(column) for column in suspects}
    worst = sorted(suspects, key=lambda column: -found[(column,)])[:SUSPECTS]
    least = detectable(len(rows) - half, len(samples) - other) - 0.5
    for a, b in itertools.combinations(sorted(worst), 2):
        both = told(a, b)
        if both > max(found[(a,)], found[(b,)]) + least:
            found[(a, b)] = both
    listed = [
        (value, " with ".join(names[i] for i in key))
        for key, value in found.items()
        if value > 0.5 + least
    ]
    return sorted(listed, reverse=True)


def _moved(rows: np.ndarray, samples: np.ndarray, own: np.ndarray) -> float:
    """How far a column's encoded law is moved: Kolmogorov and Smirnov's distance."""
    pairs = zip(rows[:, own].T, samples[:, own].T, strict=True)
    seen = [(a[~np.isnan(a)], b[~np.isnan(b)]) for a, b in pairs]
    apart = (stats.ks_2samp(a, b, method="asymp").statistic for a, b in seen if len(a) and len(b))
    return float(max(apart, default=0.0))


def of_area(name: str, value: float, rows: int, samples: int, seen: float, **how: Any) -> Measure:
    """An area under the curve of so many scores of either kind, by its standard error (Hanley &
    McNeil 1982); its part is the area that would have been seen."""
    first, second = value / (2 - value), 2 * value**2 / (1 + value)
    more = (samples - 1) * (first - value**2) + (rows - 1) * (second - value**2)
    square = max(value * (1 - value) + more, 0.25 / max(rows, samples))
    error = 1.96 * math.sqrt(square / (rows * samples))
    how = {"n": rows + samples, "chance": 0.5, "ideal": 0.5, "parts": (Measure(SEEN, seen),), **how}
    return Measure(name, value, max(0.0, value - error), min(1.0, value + error), **how)
