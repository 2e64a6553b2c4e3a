"""Modes of a known mixture: found, missed, and how well their width is kept."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from scipy import stats
from scipy.spatial.distance import pdist

from equilibria.data.toy import GaussianMixture
from equilibria.evaluation.metric import Metric
from equilibria.evaluation.rows import as_rows, nearest_row
from equilibria.evaluation.statistics import kl_divergence, kl_floor, wilson

__all__ = ["Modes", "modes", "within", "within_std"]


@dataclasses.dataclass(frozen=True)
class Modes:
    """What :func:`modes` found.

    Attributes
    ----------
    found, total : int
        Modes with at least one high-quality sample, and all modes.
    high_quality : float
        Share of the samples within ``sigmas`` standard deviations of the nearest centre.
    best_high_quality : float
        The share that a perfect sampler has; clearly above it a sampler is too narrow.
    std_ratio : float
        Standard deviation of the high-quality samples about their mode's own mean over the true one, corrected for the cut, so
        that a perfect sampler scores 1; NaN where no mode has two samples.
    kl, kl_floor : float
        KL divergence in nats of the high-quality samples' histogram over the modes from the uniform one, and what it is on
        average for a perfect sampler with as many samples; NaN where no sample is of high quality.
    samples : int
        Number of samples.
    sigmas : float
        The cut.
    """

    found: int
    total: int
    high_quality: float
    best_high_quality: float
    std_ratio: float
    kl: float
    kl_floor: float
    samples: int
    sigmas: float = 3.0

    def __str__(self) -> str:
        return (
            f"{self.found} of {self.total} modes found; {100 * self.high_quality:.2f} % of {self.samples} samples within "
            f"{self.sigmas:g} sigma of one (a perfect sampler {100 * self.best_high_quality:.2f} %); width {self.std_ratio:.3f} of "
            f"the true one; KL over modes {self.kl:.4f} (chance alone gives {self.kl_floor:.4f})"
        )

    def metrics(self) -> tuple[Metric, ...]:
        """The same numbers one by one, for a table or a run folder."""
        note = f"The standard error of a perfect sampler's share is {self.high_quality_error:.4f}; above it the samples are too narrow."
        n, cut = self.samples, f"within {self.sigmas:g} sigma"
        low, high = wilson(round(self.high_quality * n), n)
        return (
            Metric("modes found", self.found, n, best=self.total),
            Metric(f"share of samples {cut}", self.high_quality, n, best=self.best_high_quality, note=note, low=low, high=high),
            Metric("sampled width over true width", self.std_ratio, n, best=1.0, note="Below 1 the samples are too narrow."),
            Metric("KL over modes, nats", self.kl, n, floor=self.kl_floor, best=0.0),
        )

    @property
    def high_quality_error(self) -> float:
        """Standard error of a perfect sampler's high-quality share."""
        return math.sqrt(self.best_high_quality * (1 - self.best_high_quality) / self.samples)


def modes(samples: Any, mixture: GaussianMixture, sigmas: float = 3.0) -> Modes:
    """Measure samples against a mixture whose modes are known.

    A perfect sampler's scores are exact while the discs of radius ``sigmas`` · std lie a few std apart, so that a sample of
    one mode never falls into the disc of another.

    Parameters
    ----------
    samples : array or tensor, shape (n, d)
        Independent samples; the published protocol takes 2,500.
    mixture : GaussianMixture
        The true distribution.
    sigmas : float
        A sample is of high quality within so many standard deviations of a centre.

    Raises
    ------
    ValueError
        For samples with NaN or another number of columns, a cut that is not positive, or modes whose discs overlap.

    References
    ----------
    Lin, Khetan, Fanti and Oh 2018, "PacGAN: the power of two samples in generative adversarial networks", section 4.1.

    Examples
    --------
    >>> from equilibria.random import Stream
    >>> ring = GaussianMixture.ring()
    >>> report = modes(ring.sample(2500, Stream(0)), ring)
    >>> report.found, round(report.best_high_quality, 4), round(report.kl_floor, 4)
    (8, 0.9889, 0.0014)
    """
    centres, std = mixture.centres, mixture.std
    if not (math.isfinite(sigmas) and sigmas > 0):
        raise ValueError(f"sigmas={sigmas!r}: expected a positive number")
    gap = float(pdist(centres).min()) / std if len(centres) > 1 else math.inf
    if gap < 2 * sigmas:
        raise ValueError(
            f"sigmas={sigmas:g}: two modes of the mixture are only {gap:.3g} standard deviations apart; take sigmas <= {gap / 2:.3g}"
        )
    points = as_rows(samples, "samples", columns=centres.shape[1])
    mode, distance = nearest_row(points, centres)
    good = distance <= sigmas * std
    counts = np.bincount(mode[good], minlength=len(centres))
    uniform = np.full(len(centres), 1 / len(centres))
    dimensions = centres.shape[1]
    return Modes(
        found=int((counts > 0).sum()),
        total=len(centres),
        high_quality=float(good.mean()),
        best_high_quality=within(sigmas, dimensions),
        std_ratio=_pooled_std(points[good], mode[good], counts) / (std * within_std(sigmas, dimensions)),
        kl=kl_divergence(counts, uniform),
        kl_floor=kl_floor(uniform, int(counts.sum())),
        samples=len(points),
        sigmas=float(sigmas),
    )


def within(sigmas: float, dimensions: int) -> float:
    """Share of a standard normal in so many dimensions that lies within ``sigmas`` of its mean: the χ² law of |x|².

    Examples
    --------
    >>> round(within(3.0, 2), 4), round(within(4.0, 2), 4)
    (0.9889, 0.9997)
    """
    return float(stats.chi2.cdf(sigmas**2, dimensions))


def within_std(sigmas: float, dimensions: int) -> float:
    r"""Standard deviation, in each direction, of what lies within ``sigmas`` of a standard normal's mean.

    .. math:: E[x_i^2 \mid |x| \le s] = F_{d+2}(s^2) / F_d(s^2)

    with F_k the distribution function of χ² with k degrees of freedom, since r² times the density of χ²_d is d times that of χ²_{d+2}.

    Examples
    --------
    >>> round(within_std(3.0, 2), 4)
    0.9744
    """
    return math.sqrt(within(sigmas, dimensions + 2) / within(sigmas, dimensions))


def _pooled_std(points: np.ndarray, mode: np.ndarray, counts: np.ndarray) -> float:
    """About each mode's own mean, so that a displaced narrow cluster is still seen to be narrow."""
    freedom = (len(points) - (counts > 0).sum()) * points.shape[1]
    if freedom <= 0:
        return math.nan
    sums = np.zeros((len(counts), points.shape[1]))
    np.add.at(sums, mode, points)
    means = sums / np.maximum(counts, 1)[:, None]
    return math.sqrt(float(((points - means[mode]) ** 2).sum()) / freedom)
