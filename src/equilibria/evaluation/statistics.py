"""The small statistics behind the metrics: an interval for a share, a divergence between histograms and its floor."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

__all__ = ["kl_divergence", "kl_floor", "wilson"]


def wilson(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval for a share: unlike value ± error it stays in [0, 1] and has width at 0 and at 1.

    References
    ----------
    Wilson 1927, "Probable inference, the law of succession, and statistical inference".

    Examples
    --------
    >>> low, high = wilson(360, 360)
    >>> round(low, 4), high
    (0.9894, 1.0)
    """
    z2 = float(stats.norm.ppf(0.5 + level / 2)) ** 2
    share = successes / trials
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = math.sqrt(z2 * (share * (1 - share) / trials + z2 / (4 * trials**2))) / (1 + z2 / trials)
    low = 0.0 if successes == 0 else centre - half
    return low, 1.0 if successes == trials else centre + half


def kl_divergence(counts: np.ndarray, probabilities: np.ndarray) -> float:
    """KL(counts / n ‖ probabilities) in nats; NaN for an empty histogram.

    Examples
    --------
    >>> round(kl_divergence(np.array([10, 0]), np.array([0.5, 0.5])), 4) == round(math.log(2), 4)
    True
    """
    n = counts.sum()
    if not n:
        return math.nan
    seen = counts > 0
    share = counts[seen] / n
    return max(0.0, float((share * np.log(share / probabilities[seen])).sum()))


def kl_floor(probabilities: np.ndarray, n: int) -> float:
    r"""What :func:`kl_divergence` is on average when ``n`` samples do come from ``probabilities``; NaN for n = 0.

    .. math:: \sum_k E\left[\frac{c_k}{n} \log \frac{c_k}{n p_k}\right], \qquad c_k \sim \mathrm{Binomial}(n, p_k),

    exact, where (K − 1)/2n is its limit for large n.

    Examples
    --------
    >>> round(kl_floor(np.full(8, 1 / 8), 2500), 4), round(kl_floor(np.full(25, 1 / 25), 2500), 4)
    (0.0014, 0.0048)
    """
    if not n:
        return math.nan
    values, repeats = np.unique(probabilities, return_counts=True)
    return float(sum(r * _expected_term(float(p), n) for p, r in zip(values, repeats, strict=True)))


def _expected_term(p: float, n: int) -> float:
    spread = 12 * math.sqrt(n * p * (1 - p)) + 60  # what is left out weighs less than 1e-15
    counts = np.arange(max(1, math.floor(n * p - spread)), min(n, math.ceil(n * p + spread)) + 1)
    return float((stats.binom.pmf(counts, n, p) * counts / n * np.log(counts / (n * p))).sum())
