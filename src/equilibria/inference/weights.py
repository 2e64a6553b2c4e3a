"""Importance weights: the logarithm of their mean, an interval for it, and the signs that it is not to be trusted.

The weights of annealing average to a ratio of partition functions, and are skewed: the usual interval, value ± t · error, covers
80 % instead of 95 % of log-normal weights at σ = 2. Two corrections are used here, both in closed form (no bootstrap, no randomness).
"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from equilibria.estimate import Estimate

__all__ = ["estimate", "interval", "pareto_shape", "warning"]

FEW = 0.1
"""The share of the samples below which the effective sample size is called degenerate."""

_NORMAL = (3, 2000)  # rows for which log-normality is tested; beyond the upper one the skewness correction is enough


def estimate(log_weights: np.ndarray, method: str, caveat: str, *, sign: float = 1.0, level: float = 0.95, name: str = "log Z") -> Estimate:
    """``sign`` · log of the mean weight as an Estimate: its interval, effective sample size, and a warning where they degenerate.

    Parameters
    ----------
    log_weights : ndarray, shape (n,)
        Of independent samples, at least two.
    method, caveat, level, name
        Of the Estimate. A warning is put before the caveat.
    sign : float
        −1 where the weights average to 1/Z.

    Raises
    ------
    ValueError
        For weights that are not finite.

    Examples
    --------
    >>> print(estimate(np.array([0.0, 0.1, -0.1, 0.0]), "four weights", ""))
    log Z = 0.002 (95 % interval -0.131 to 0.134; four weights; effective sample size 4 of 4)
    """
    if not np.isfinite(log_weights).all():
        raise ValueError("machine: its annealed weights are not finite; a parameter may be infinite or a Gaussian layer unstable")
    value, low, high = interval(log_weights, level)
    ends = (low, high) if sign > 0 else (-high, -low)
    said = warning(log_weights)
    return Estimate(
        sign * value,
        *ends,
        method,
        name,
        level,
        effective(log_weights),
        len(log_weights),
        " ".join(part for part in (said, caveat) if part),
        said,
    )


def effective(log_weights: np.ndarray) -> float:
    """(Σw)² / Σw²: how many equal weights would say as much."""
    relative = np.exp(log_weights - log_weights.max())
    return float(relative.sum() ** 2 / np.square(relative).sum())


def interval(log_weights: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
    r"""(log of the mean weight, lower end, upper end) for weights of mean e^{log Z}.

    With g the sample skewness, the pivot of the ends is Hall's monotone cubic in t, t + g t²/3√n + g² t³/27n + g/6√n, solved for
    ± t_{n−1} (Hall 1992, "On the removal of skewness by transformation"). Where the log-weights pass for normal (Shapiro and Wilk at 1 %)
    the interval is widened to Cox's for a log-normal mean,

    .. math:: \bar\ell + \tfrac12 s_\ell^2 \pm t_{n-1} \sqrt{s_\ell^2 / n + s_\ell^4 / 2(n - 1)},

    which knows of the tail that n weights have not shown yet. The lower end is never further down than log(2/(1 − level)):
    by Markov's inequality an average of positive weights with mean Z is above that multiple of Z less often than it may.

    Examples
    --------
    >>> interval(np.zeros(10))
    (0.0, 0.0, 0.0)
    """
    n = len(log_weights)
    top = log_weights.max()
    value = float(top + math.log(np.exp(log_weights - top).mean()))
    relative = np.exp(log_weights - value)
    t = float(stats.t.ppf(0.5 + level / 2, n - 1))
    low, high = _skewed(relative, t)
    if _normal(log_weights):
        variance = float(log_weights.var(ddof=1))
        centre = float(log_weights.mean()) + variance / 2 - value
        half = t * math.sqrt(variance / n + variance**2 / (2 * (n - 1)))
        low, high = min(low, centre - half), max(high, centre + half)
    return value, value + max(low, -math.log(2 / (1 - level))), value + high


def _skewed(relative: np.ndarray, t: float) -> tuple[float, float]:
    """Hall's interval for the mean of ``relative`` (itself 1), on the scale of logarithms."""
    n = len(relative)
    deviation = float(relative.std(ddof=1))
    if deviation < 1e-12:
        return 0.0, 0.0
    slope = float(((relative - 1.0) ** 3).mean()) / deviation**3 / 3  # a third of the skewness
    root = math.sqrt(n)

    def solved(target: float) -> float:
        if abs(slope) < 1e-9:
            return target / root
        return (math.copysign(abs(x := 1 + 3 * slope * (target - slope / (2 * root)) / root) ** (1 / 3), x) - 1) / slope

    ends = 1 - solved(t) * deviation, 1 - solved(-t) * deviation
    return tuple(math.log(end) if end > 0 else -math.inf for end in ends)  # type: ignore[return-value]


def _normal(log_weights: np.ndarray) -> bool:
    few, many = _NORMAL
    if not few <= len(log_weights) <= many or np.ptp(log_weights) < 1e-9:
        return False
    return bool(stats.shapiro(log_weights).pvalue > 0.01)


def pareto_shape(log_weights: np.ndarray) -> float:
    """k̂, the shape of a generalised Pareto distribution fitted to the largest weights; moments above 1/k do not exist.

    The tail holds min(n/5, 3√n) weights, the fit is that of Zhang and Stephens (2009) with the weak prior of Vehtari, Simpson, Gelman, Yao
    and Gabry (2024), "Pareto smoothed importance sampling". NaN where fewer than five weights are in the tail or they are all equal.

    Examples
    --------
    >>> tail = np.log(stats.pareto(1.25).ppf((np.arange(4000) + 0.5) / 4000))  # k = 0.8
    >>> round(pareto_shape(tail), 1)
    0.8
    """
    n = len(log_weights)
    size = int(min(n / 5, 3 * math.sqrt(n)))
    ordered = np.sort(log_weights)
    if size < 5:
        return math.nan
    cut = ordered[-size - 1]
    excess = np.exp(ordered[-size:] - ordered[-1]) - math.exp(cut - ordered[-1])
    if excess[-1] <= 1e-12 or excess[0] <= 0:
        return math.nan
    grid = 30 + int(math.sqrt(size))
    theta = 1 / excess[-1] + (1 - np.sqrt(grid / (np.arange(1, grid + 1) - 0.5))) / (3 * excess[size // 4])
    shape = np.log1p(-theta[:, None] * excess).mean(1)
    profile = size * (np.log(-theta / shape) - shape - 1)
    weight = np.exp(profile - profile.max())
    best = float((theta * weight).sum() / weight.sum())
    fitted = float(np.log1p(-best * excess).mean())
    return (fitted * size + 5.0) / (size + 10)


def warning(log_weights: np.ndarray) -> str:
    """A sentence where the weights say themselves that their mean is not to be trusted; else nothing.

    They say so by an effective sample size below 10 %, or by a tail so heavy that its mean converges too slowly for any n at hand, k̂ > 0.7.
    The tail is only looked at where the effective sample size is below 50 %: k̂ of a hundred weights is known to about ± 0.3.
    """
    n = len(log_weights)
    few = effective(log_weights)
    if few < FEW * n or few < 3:
        return f"Few chains carry the estimate ({few:.0f} of {n}): use more temperatures, and read the interval as too narrow."
    shape = pareto_shape(log_weights)
    if few < 0.5 * n and shape > 0.7:
        return (
            f"The largest weights have a heavy tail (Pareto shape {shape:.2f}), so rarer and larger ones are to be expected: "
            "use more temperatures or chains, and read the interval as too narrow."
        )
    return ""
