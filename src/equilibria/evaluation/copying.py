"""Whether samples are copies of training rows: their distances to the nearest one, beside those of held-out rows."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from equilibria.evaluation.metric import Metric
from equilibria.evaluation.rows import as_rows, nearest_row
from equilibria.evaluation.statistics import wilson
from equilibria.random import RandomState, as_stream

__all__ = ["Copying", "nearest"]

_LOW = 0.01  # the quantile for "the nearest few"
_LEVEL = 0.999
_SHARE = 0.25  # of the neighbours: below it, what the two sets of real rows differ by is not told apart from copying


@dataclasses.dataclass(frozen=True)
class Copying:
    """What :func:`nearest` found; distances are Euclidean, in the units of the data.

    Attributes
    ----------
    median, low : float
        Median and 1 % quantile of the distances from the samples to the nearest training row.
    median_real, low_real : float
        The same for held-out rows, which cannot be copies.
    identical, identical_real : float
        Share of the samples, and of the held-out rows, that are a training row (to float32). Of binary data that repeat
        themselves both may be large.
    neighbours : int
        Number of different real rows, training and held-out, that are the nearest one of some sample.
    nearer, nearer_expected : float
        Share of training rows among these neighbours, and what it is for samples that know the training rows no better than
        the held-out ones: the training rows' share of all real rows.
    samples, train, held_out : int
        Numbers of rows.
    """

    median: float
    low: float
    median_real: float
    low_real: float
    identical: float
    identical_real: float
    neighbours: int
    nearer: float
    nearer_expected: float
    samples: int
    train: int
    held_out: int

    @property
    def excess(self) -> float:
        """The share of copies that ``nearer`` speaks of: (nearer − expected) / (1 − expected), at least 0."""
        return max(0.0, (self.nearer - self.nearer_expected) / (1 - self.nearer_expected))

    @property
    def copies(self) -> bool:
        """Whether samples copy training rows.

        Either more of them are a training row than of the held-out rows, beyond the 99.9 % intervals of both shares; or
        ``nearer`` is above what is expected, beyond its 99.9 % interval, and speaks of a quarter of copies or more.
        """
        return self._more_identical or (self.excess >= _SHARE and _ends(self.nearer, self.neighbours)[0] > self.nearer_expected)

    @property
    def _more_identical(self) -> bool:
        return _ends(self.identical, self.samples)[0] > _ends(self.identical_real, self.held_out)[1]

    def __str__(self) -> str:
        verdict = "The samples copy training rows" if self.copies else "No sign that the samples copy training rows"
        return (
            f"{verdict}: distance to the nearest of {self.train} training rows {self.median:.4g} (median) and {self.low:.4g} (1 % "
            f"quantile) for {self.samples} samples, {self.median_real:.4g} and {self.low_real:.4g} for {self.held_out} held-out rows; "
            f"{100 * self.identical:.1f} % of the samples are a training row, of the held-out rows {100 * self.identical_real:.1f} %; "
            f"of the {self.neighbours} real rows nearest to a sample {100 * self.nearer:.1f} % are training rows, where "
            f"{100 * self.nearer_expected:.1f} % are expected"
        )

    def metrics(self) -> tuple[Metric, ...]:
        """The same numbers one by one, for a table or a run folder."""
        n = self.samples
        note = "Clearly below the best, which is that of held-out rows, samples sit on training rows or are too average."
        return (
            Metric("median distance to the nearest training row", self.median, n, best=self.median_real, note=note),
            Metric("1 % quantile of the distance to the nearest training row", self.low, n, best=self.low_real, note=note),
            _share("share of samples that are a training row", self.identical, n, self.identical_real),
            _share("share of training rows among the nearest real rows", self.nearer, self.neighbours, self.nearer_expected),
        )


def nearest(samples: Any, train: Any, held_out: Any, random_state: RandomState = 0) -> Copying:
    """Compare how near samples and held-out rows lie to the training rows.

    Distances alone do not tell copies from samples that are merely too average, since both lie near the training rows. So the
    training and the held-out rows are also pooled: for samples that know them equally well, a sample's nearest row is a
    training row with the probability that is the training rows' share of the pool. Every row of the pool counts once,
    however many samples it is nearest to, so a collapsed model is not taken for a copying one.

    Parameters
    ----------
    samples : array or tensor, shape (n, …)
        From the model, prepared as the real rows are (same scale, same binarisation).
    train, held_out : array or tensor, shape (m, …), (k, …)
        Real rows that the model was fitted on, and real rows that it never saw, drawn alike.
    random_state : int, Stream or numpy generator
        Which of several equally near rows counts as the nearest.

    Raises
    ------
    ValueError
        For NaN, no rows, or different numbers of columns.

    Examples
    --------
    >>> from equilibria.random import Stream
    >>> rows = Stream(0).normal((300, 5))
    >>> report = nearest(rows[:100], train=rows[:200], held_out=rows[200:])
    >>> report.copies, report.identical, report.identical_real
    (True, 1.0, 0.0)
    """
    real = as_rows(train, "train")
    rows, unseen = as_rows(samples, "samples", real.shape[1]), as_rows(held_out, "held_out", real.shape[1])
    order = as_stream(random_state).child("copying").permutation(len(real) + len(unseen)).numpy()
    pool, from_train = np.concatenate([real, unseen])[order], order < len(real)
    index, distance = nearest_row(rows, pool)
    others = ~from_train[index]
    if others.any():
        distance[others] = nearest_row(rows[others], real)[1]
    neighbours = np.unique(index)
    distance_real = nearest_row(unseen, real)[1]
    return Copying(
        median=float(np.median(distance)),
        low=float(np.quantile(distance, _LOW)),
        median_real=float(np.median(distance_real)),
        low_real=float(np.quantile(distance_real, _LOW)),
        identical=float((distance == 0).mean()),
        identical_real=float((distance_real == 0).mean()),
        neighbours=len(neighbours),
        nearer=float(from_train[neighbours].mean()),
        nearer_expected=len(real) / len(pool),
        samples=len(rows),
        train=len(real),
        held_out=len(unseen),
    )


def _ends(share: float, trials: int, level: float = _LEVEL) -> tuple[float, float]:
    return wilson(round(share * trials), trials, level)


def _share(name: str, share: float, trials: int, best: float) -> Metric:
    low, high = _ends(share, trials, 0.95)
    return Metric(name, share, trials, best=best, low=low, high=high)
