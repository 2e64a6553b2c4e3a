"""Precision, recall, density and coverage: whether samples lie among the real rows, and real rows among the samples."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from equilibria.evaluation.distances import thirds
from equilibria.evaluation.features import PIXELS, Features
from equilibria.evaluation.metric import Metric
from equilibria.evaluation.statistics import wilson
from equilibria.random import RandomState, as_stream

__all__ = ["Neighbours", "expected_coverage", "neighbours", "prdc"]

_BLOCK = 500  # rows of the distance matrix at a time


class Scores(NamedTuple):
    """What :func:`prdc` works out of two tables."""

    precision: float
    recall: float
    density: float
    coverage: float


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """What :func:`neighbours` found; every share is the mean of those beside either half of the real rows.

    Attributes
    ----------
    precision : float
        Share of the samples within a ball around some real row, out to that row's k-th nearest real row.
    recall : float
        Share of the real rows within such a ball around some sample.
    density : float
        Number of real rows whose ball a sample lies in, over k: 1 on average for a perfect sampler, and not bounded by it.
    coverage : float
        Share of the real rows in whose ball there is a sample.
    best : Scores
        The same for a perfect sampler with as many rows: precision and recall of one half of the real rows beside the other, a
        density of 1, and the exact expectation of coverage.
    density_error : float
        Standard error of the density over samples.
    k, samples : int
        Neighbours, and rows of each kind.
    features : str
        What the rows were looked at through.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    best: Scores
    density_error: float
    k: int
    samples: int
    features: str

    def __str__(self) -> str:
        best = self.best
        return (
            f"{100 * self.precision:.1f} % of {self.samples} samples lie among the real rows (of a perfect sampler's "
            f"{100 * best.precision:.1f} %), "
            f"{100 * self.recall:.1f} % of the real rows among the samples ({100 * best.recall:.1f} %); density {self.density:.3f} (1), "
            f"coverage {100 * self.coverage:.1f} % ({100 * best.coverage:.1f} %); {self.k} neighbours, seen through {self.features}"
        )

    def metrics(self) -> tuple[Metric, ...]:
        """The same numbers one by one, for a table or a run folder."""
        n, low = self.samples, "Low where samples are not like real rows"
        notes = {
            "precision": f"{low}.",
            "recall": "Low where kinds of real rows are missing among the samples.",
            "density": f"{low}; above the best where they crowd where real rows are densest.",
            "coverage": "Low where kinds of real rows are missing among the samples; less moved by single far samples than recall.",
        }
        return tuple(
            Metric(f"{name}, {self.k} neighbours", getattr(self, name), n, None, getattr(self.best, name), self.features, note, *ends)
            for (name, note), ends in zip(notes.items(), self._intervals(), strict=True)
        )

    def _intervals(self) -> Iterator[tuple[float, float]]:
        """95 %, over the rows that are counted, the balls being given."""
        shares = {name: wilson(round(getattr(self, name) * self.samples), self.samples) for name in ("precision", "recall", "coverage")}
        half = 1.96 * self.density_error
        yield from (shares["precision"], shares["recall"], (max(0.0, self.density - half), self.density + half), shares["coverage"])


def neighbours(
    real: Any,
    fake: Any,
    features: Features = PIXELS,
    k: int = 5,
    *,
    random_state: RandomState = 0,
    max_rows: int = 5000,
) -> Neighbours:
    r"""Improved precision and recall, density and coverage, beside what a perfect sampler scores.

    With B(x) the ball around x out to its k-th nearest row of its own kind, its edge included, and n rows of each kind:

    .. math::
        \text{precision} = \tfrac1n \sum_j 1[\exists i: y_j \in B(x_i)], \quad
        \text{density} = \tfrac1{kn} \sum_{ij} 1[y_j \in B(x_i)], \quad
        \text{coverage} = \tfrac1n \sum_i 1[\exists j: y_j \in B(x_i)],

    and recall is precision with the roles of real rows x and samples y exchanged.

    Parameters
    ----------
    real, fake : array or tensor, shape (n, …), (m, …)
        Real rows (held out from the model) and samples, on the same scale. The real rows are halved: one half beside the other is what a
        perfect sampler scores.
    features : Features
        What they are looked at through: distances between pixels say little of pictures.
    k : int
        Neighbours.
    random_state : int, Stream or numpy generator
        How the real rows are halved.
    max_rows : int
        At most so many rows of each half and of the samples; time grows with their square.

    Raises
    ------
    ValueError
        For NaN, constant rows, different numbers of columns, ``k`` below 1, or no more than k rows in a half.

    References
    ----------
    Kynkäänniemi et al. 2019, "Improved precision and recall metric for assessing generative models"; Naeem et al. 2020, "Reliable
    fidelity and diversity metrics for generative models".

    Examples
    --------
    >>> from equilibria.random import Stream
    >>> noise = Stream(0).normal((900, 2))
    >>> found = neighbours(noise[:600], 0.1 * noise[600:])  # too narrow
    >>> found.precision > 0.99, found.recall < 0.1, found.density > 1.2
    (True, True, True)
    """
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise ValueError(f"k={k!r}: expected a whole number of neighbours, 1 or more")
    parts = thirds(real, fake, features, as_stream(random_state).child("neighbours"), max_rows, least=k + 1)
    n = len(parts.fake)
    radii = {name: _radii(rows, k) for name, rows in parts._asdict().items()}
    beside = [_scores(getattr(parts, half), parts.fake, radii[half], radii["fake"], k) for half in ("first", "second")]
    real_beside = _scores(parts.first, parts.second, radii["first"], radii["second"], k)[0]
    mean = Scores(*(float(np.mean(values)) for values in zip(*(scores for scores, _ in beside), strict=True)))
    both = (real_beside.precision + real_beside.recall) / 2  # each half stands in for the samples once
    return Neighbours(
        **mean._asdict(),
        best=Scores(both, both, 1.0, expected_coverage(n, n, k)),
        density_error=float(np.mean([counts.std(ddof=1) for _, counts in beside])) / (k * math.sqrt(n)),
        k=k,
        samples=n,
        features=features.name,
    )


def prdc(real: np.ndarray, fake: np.ndarray, k: int) -> Scores:
    """The four scores of two tables ``(n, d)``, ``(m, d)`` as they are published, with all rows of both.

    Examples
    --------
    >>> prdc(np.array([[0.0], [1.0], [10.0]]), np.array([[0.5], [0.6]]), k=1)  # balls of radius 1, 1 and 9, and of .1
    Scores(precision=1.0, recall=0.0, density=2.0, coverage=0.6666666666666666)
    """
    return _scores(real, fake, _radii(real, k), _radii(fake, k), k)[0]


def expected_coverage(real: int, fake: int, k: int) -> float:
    r"""E[coverage] of a perfect sampler: all rows are exchangeable, so a real row is missed when its k nearest of all others are real.

    .. math:: 1 - \prod_{i=1}^{k} \frac{n - i}{n + m - i}

    Examples
    --------
    >>> round(expected_coverage(1000, 1000, 5), 4)
    0.969
    """
    return 1 - math.prod((real - i) / (real + fake - i) for i in range(1, k + 1))


def _radii(rows: np.ndarray, k: int) -> np.ndarray:
    """Of each row, the distance to the k-th nearest other row."""
    # The row itself is at distance 0 and so among the nearest: the k-th other one is the (k + 1)-th of all.
    return np.concatenate([np.partition(distances, k, axis=1)[:, k] for distances in _blocks(rows, rows)])


def _scores(real: np.ndarray, fake: np.ndarray, real_radii: np.ndarray, fake_radii: np.ndarray, k: int) -> tuple[Scores, np.ndarray]:
    """The scores, and of each sample the number of real rows whose ball it lies in."""
    counts, recalled, covered = np.zeros(len(fake)), [], []
    for i, distances in enumerate(_blocks(real, fake)):
        inside = distances <= real_radii[i * _BLOCK : (i + 1) * _BLOCK, None]
        counts += inside.sum(axis=0)
        covered.append(inside.any(axis=1))
        recalled.append((distances <= fake_radii).any(axis=1))
    recall, coverage = (float(np.concatenate(parts).mean()) for parts in (recalled, covered))
    return Scores(float((counts > 0).mean()), recall, float(counts.mean()) / k, coverage), counts


def _blocks(rows: np.ndarray, others: np.ndarray) -> Iterator[np.ndarray]:
    """The distance matrix a few rows at a time, so that memory does not grow with the square of their number."""
    for first in range(0, len(rows), _BLOCK):
        yield cdist(rows[first : first + _BLOCK], others)  # no expansion of the square: a copy is at exactly 0
