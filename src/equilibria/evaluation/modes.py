"""Modes of a known mixture: how many are found, and how well their widths are kept."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import stats
from scipy.spatial.distance import pdist

from equilibria import check
from equilibria.data.toy import GaussianMixture
from equilibria.evaluation.statistics import as_rows, kl_chance, kl_divergence, nearest_row, wilson
from equilibria.numbers import Measure

__all__ = ["modes", "within", "within_std"]


def modes(samples: Any, mixture: GaussianMixture, sigmas: float = 3.0) -> Measure:
    """Modes found by samples, of a mixture whose modes are known.

    A sample (n, d) is *of high quality* within ``sigmas`` standard deviations of a centre. A mode
    is found if it has such a sample. The ideal values are exact where modes lie a few standard
    deviations more than 2 ``sigmas`` apart. The published protocol takes 2,500 samples. The parts:

    - "share of high-quality samples";
    - "sampled width over true width", the standard deviation of those samples about their mode's
      own mean, corrected for the cut (NaN where no mode has two);
    - "KL over modes", the divergence of their histogram from the uniform one (NaN without any).

    References
    ----------
    Lin, Khetan, Fanti and Oh 2018, "PacGAN: the power of two samples in generative adversarial
    networks", section 4.1.

    Examples
    --------
    >>> from equilibria.random import Stream
    >>> ring = GaussianMixture.ring()
    >>> found = modes(ring.sample(2500, Stream(0)), ring)
    >>> found.value, found.ideal, round(found["KL over modes"].chance, 4)
    (8.0, 8.0, 0.0014)
    """
    centres, std = mixture.centres, mixture.std
    sigmas = check.number(0, above=True)("sigmas", sigmas)
    gap = float(pdist(centres).min()) / std if len(centres) > 1 else math.inf
    if gap < 2 * sigmas:
        what = f"two modes of the mixture are only {gap:.3g} standard deviations apart"
        raise ValueError(f"sigmas={sigmas:g}: {what}; take sigmas <= {gap / 2:.3g}")
    count, dimensions = centres.shape
    points = as_rows(samples, "samples", columns=dimensions)
    n = len(points)
    mode, distance = nearest_row(points, centres)
    good = distance <= sigmas * std
    counts = np.bincount(mode[good], minlength=count)
    uniform = np.full(count, 1 / count)
    width = _pooled_std(points[good], mode[good], counts) / (std * within_std(sigmas, dimensions))
    share, ideal, kept = float(good.mean()), within(sigmas, dimensions), int(counts.sum())
    note = (
        "Above the ideal by more than its standard error, "
        f"{math.sqrt(ideal * (1 - ideal) / n):.4f}, samples are too narrow."
    )
    how: dict[str, Any] = {"n": n, "method": f"within {sigmas:g} sigma"}
    name, ends = "share of high-quality samples", wilson(kept, n)
    parts = (
        Measure(name, share, *ends, ideal=ideal, note=note, **how),
        Measure(
            "sampled width over true width",
            width,
            n=kept,
            ideal=1.0,
            note="Below 1 the samples are too narrow.",
        ),
        Measure(
            "KL over modes",
            kl_divergence(counts, uniform),
            n=kept,
            chance=kl_chance(uniform, kept),
            ideal=0.0,
            note="In nats.",
        ),
    )
    found = float((counts > 0).sum())
    return Measure("modes found", found, ideal=float(count), parts=parts, **how)


def within(sigmas: float, dimensions: int) -> float:
    """Mass of a standard normal within ``sigmas`` of its mean; |x|² has a χ² distribution."""
    return float(stats.chi2.cdf(sigmas**2, dimensions))


def within_std(sigmas: float, dimensions: int) -> float:
    r"""Standard deviation per coordinate of a standard normal cut at ``sigmas`` from its mean.

    .. math:: E[x_i^2 \mid |x| \le s] = F_{d+2}(s^2) / F_d(s^2)

    with F_k the distribution function of χ² with k degrees of freedom, since r² times the density
    of χ²_d is d times that of χ²_{d+2}.
    """
    return math.sqrt(within(sigmas, dimensions + 2) / within(sigmas, dimensions))


def _pooled_std(points: np.ndarray, mode: np.ndarray, counts: np.ndarray) -> float:
    """About each mode's own mean, so that a displaced narrow cluster is still seen to be narrow."""
    freedom = (len(points) - (counts > 0).sum()) * points.shape[1]
    if freedom <= 0:
        return math.nan
    points = points - points.mean(axis=0)
    sums = np.zeros((len(counts), points.shape[1]))
    np.add.at(sums, mode, points)
    means = sums / np.maximum(counts, 1)[:, None]
    return math.sqrt(float(np.square(points - means[mode]).sum()) / freedom)
