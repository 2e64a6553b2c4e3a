"""Whether samples are copies of training rows: their distances to the nearest one, beside those of held-out rows."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from equilibria.evaluation.metric import Metric
from equilibria.evaluation.rows import as_rows, nearest_row
from equilibria.evaluation.statistics import wilson

__all__ = ["Copying", "nearest"]

_LOW = 0.01  # the quantile for "the nearest few"
_LEVEL = 0.999
_SHARE = 0.25  # of the samples: below it, what the two sets of real rows differ by is not told apart from copying


@dataclasses.dataclass(frozen=True)
class Copying:
    """What :func:`nearest` found; distances are Euclidean, in the units of the data.

    Attributes
    ----------
    median, low : float
        Median and 1 % quantile of the distances from the samples to the nearest training row.
    median_real, low_real : float
        The same for held-out rows: what rows have that cannot be copies.
    identical, identical_real : float
        Share of the samples, and of the held-out rows, that are a training row (to float32). Of binary data that repeat
        themselves both may be large.
    nearer, nearer_expected : float
        Share of the samples whose nearest real row is a training row, not a held-out one (ties are shared out), and what
        it is for samples that know the training rows no better than the held-out ones: the training rows' share.
    samples, train, held_out : int
        Numbers of rows.
    """

    median: float
    low: float
    median_real: float
    low_real: float
    identical: float
    identical_real: float
    nearer: float
    nearer_expected: float
    samples: int
    train: int
    held_out: int

    @property
    def copied(self) -> float:
        """The share of copies that ``nearer`` speaks of: (nearer − expected) / (1 − expected), at least 0."""
        return max(0.0, (self.nearer - self.nearer_expected) / (1 - self.nearer_expected))

    @property
    def copies(self) -> bool:
        """Whether samples copy training rows.

        Either more of them are a training row than of the held-out rows, beyond the 99.9 % intervals of both shares; or
        ``nearer`` is above what is expected, beyond its 99.9 % interval, and speaks of a quarter of copies or more.
        """
        real_high = wilson(round(self.identical_real * self.held_out), self.held_out, _LEVEL)[1]
        sample_low = wilson(round(self.identical * self.samples), self.samples, _LEVEL)[0]
        nearer_low = wilson(round(self.nearer * self.samples), self.samples, _LEVEL)[0]
        return sample_low > real_high or (nearer_low > self.nearer_expected and self.copied >= _SHARE)

    def __str__(self) -> str:
        verdict = "The samples copy training rows" if self.copies else "No sign that the samples copy training rows"
        return (
            f"{verdict}: distance to the nearest of {self.train} training rows {self.median:.4g} (median) and {self.low:.4g} (1 % "
            f"quantile) for {self.samples} samples, {self.median_real:.4g} and {self.low_real:.4g} for {self.held_out} held-out rows; "
            f"{100 * self.identical:.1f} % of the samples are a training row, of the held-out rows {100 * self.identical_real:.1f} %; "
            f"{100 * self.nearer:.1f} % are nearest to a training row, where {100 * self.nearer_expected:.1f} % are expected"
        )

    def metrics(self) -> tuple[Metric, ...]:
        """The same numbers one by one, for a table or a run folder."""
        n, note = (
            self.samples,
            "Clearly below what held-out rows have (given as the best) the samples sit on training rows or are too average.",
        )
        return (
            Metric("median distance to the nearest training row", self.median, n, best=self.median_real, note=note),
            Metric("1 % quantile of the distance to the nearest training row", self.low, n, best=self.low_real, note=note),
            Metric("share of samples that are a training row", self.identical, n, best=self.identical_real),
            Metric("share of samples nearest to a training row", self.nearer, n, floor=self.nearer_expected, best=self.nearer_expected),
        )


def nearest(samples: Any, train: Any, held_out: Any) -> Copying:
    """Compare how near samples and held-out rows lie to the training rows.

    Parameters
    ----------
    samples : array or tensor, shape (n, …)
        From the model, prepared as the real rows are (same scale, same binarisation).
    train, held_out : array or tensor, shape (m, …), (k, …)
        Real rows that the model was fitted on, and real rows that it never saw, drawn alike.

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
    distance, distance_real = nearest_row(rows, real)[1], nearest_row(unseen, real)[1]
    expected = len(real) / (len(real) + len(unseen))
    to_unseen = nearest_row(rows, unseen)[1]
    nearer = np.where(distance == to_unseen, expected, distance < to_unseen)
    return Copying(
        median=float(np.median(distance)),
        low=float(np.quantile(distance, _LOW)),
        median_real=float(np.median(distance_real)),
        low_real=float(np.quantile(distance_real, _LOW)),
        identical=float((distance == 0).mean()),
        identical_real=float((distance_real == 0).mean()),
        nearer=float(nearer.mean()),
        nearer_expected=expected,
        samples=len(rows),
        train=len(real),
        held_out=len(unseen),
    )
