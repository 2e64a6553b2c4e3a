r"""Whether chains have mixed: autocorrelation time, split R̂, effective sample size, frozen chains.

Pure functions of a scalar of the state (its energy, the mean of a layer, one cell) over draws and
chains, (draws, chains). They can show that chains have *not* mixed; no number can show that they
have met every mode.

Sources: Sokal 1997, "Monte Carlo methods in statistical mechanics" (the window); Geyer 1992,
"Practical Markov chain Monte Carlo" (the initial monotone sequence); Vehtari, Gelman, Simpson,
Carpenter & Bürkner 2021, "Rank-normalization, folding, and localization: an improved R̂".
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats
from torch import Tensor

__all__ = ["autocorrelation", "autocorrelation_time", "effective_sample_size", "frozen", "r_hat"]

Array = np.ndarray[Any, np.dtype[Any]]


def autocorrelation(draws: Any) -> Array:
    r"""The autocorrelation at every lag, averaged over chains, (draws,); NaN where nothing varies.

    .. math:: \rho_t = \frac{1}{\sigma^2 M (N - t)} \sum_{m, n} (x_{n,m} - \bar x)
              (x_{n+t,m} - \bar x)

    The mean and the variance are those of all chains together, so chains that are stuck in
    different places show up as correlated for ever.

    Examples
    --------
    >>> autocorrelation([[1.0], [-1.0], [1.0], [-1.0]])
    array([ 1., -1.,  1., -1.])
    """
    x = _table(draws)
    n, variance = len(x), x.var()
    if variance == 0:
        return np.full(n, np.nan)
    return _autocovariance(x - x.mean()).mean(1) / (variance * (n - np.arange(n)))


def autocorrelation_time(draws: Any) -> float:
    r"""The integrated autocorrelation time τ, in draws: so many are worth one independent draw.

    .. math:: \tau = 1 + 2 \sum_{t=1}^{T} \rho_t,

    T being the first lag with T ≥ 5 τ(T): Sokal's rule cuts off about e⁻⁵ of τ. Infinite where no
    window closes (chains too short, or stuck), NaN where nothing varies. Runs shorter than 50 τ say
    little about τ itself.

    Examples
    --------
    >>> autocorrelation_time([[0.0, 1.0]] * 20)
    inf
    """
    rho = autocorrelation(draws)
    if np.isnan(rho).any():
        return float("nan")
    tau = 2.0 * np.cumsum(rho) - 1.0
    # at least .1: a negative sum would close at once
    closed = np.flatnonzero(np.arange(len(tau)) >= 5.0 * np.maximum(tau, 0.1))
    return float(tau[closed[0]]) if len(closed) else float("inf")


def r_hat(draws: Any) -> float:
    r"""Split R̂ with ranks (Vehtari et al. 2021) of 4 or more draws: 1 for mixed chains.

    Every chain is cut in two, values are replaced by the normal scores of their ranks z, and with W
    the mean variance within the halves and B that of their means,

    .. math:: \hat R = \sqrt{\frac{(N - 1) / N \cdot W + B}{W}} .

    The larger of R̂ of the values and of their distances from the median is returned: the latter
    sees chains of different width. Above 1.01 the chains have not mixed. Infinite for chains that
    stand still in different places, NaN where nothing varies.

    Examples
    --------
    >>> still = np.random.default_rng(0).normal(size=(500, 4))
    >>> r_hat(still) < 1.01, r_hat(still + np.arange(4)) > 1.5
    (True, True)
    """
    halves = _halves(draws)
    values = _spread(_scores(halves))
    widths = _spread(_scores(np.abs(halves - np.median(halves))))
    return values if np.isnan(widths) else max(values, widths)  # two values: equal distances


def effective_sample_size(draws: Any) -> float:
    r"""How many independent draws the mean over all chains is worth (Vehtari et al. 2021).

    It is the *bulk* size, of the normal scores of the values' ranks, which long tails cannot spoil.
    The chains are cut in two, and the sum over lags runs over pairs of neighbouring lags as long as
    these are positive, each no larger than the one before (Geyer 1992). At most draws · chains ·
    log₁₀(draws · chains); NaN where nothing varies.

    Examples
    --------
    >>> 3000 < effective_sample_size(np.random.default_rng(0).normal(size=(1000, 4))) < 5000
    True
    """
    x = _scores(_halves(draws))
    n, chains = x.shape
    if x.var() == 0:
        return float("nan")
    covariance = _autocovariance(x - x.mean(0)).mean(1) / n
    within = covariance[0] * n / (n - 1)
    total = covariance[0] + x.mean(0).var(ddof=1)
    rho = 1.0 - (within - covariance) / total
    rho[0] = 1.0
    pairs = rho[: n - n % 2].reshape(-1, 2).sum(1)
    negative = np.flatnonzero(pairs <= 0)
    kept = np.minimum.accumulate(pairs[: negative[0] if len(negative) else len(pairs)])
    tau = max(2.0 * float(kept.sum()) - 1.0, 1.0 / np.log10(n * chains))
    return n * chains / tau


def frozen(history: Any) -> float:
    """The share of chains that never moved, of states or a scalar of them (draws, chains, …).

    Examples
    --------
    >>> frozen([[0.0, 1.0], [0.0, 2.0], [0.0, 1.0]])
    0.5
    """
    x = _array(history)
    return float((x == x[:1]).reshape(len(x), x.shape[1], -1).all((0, 2)).mean())


def _array(given: Any) -> Array:
    return given.detach().cpu().numpy() if isinstance(given, Tensor) else np.asarray(given)


def _table(draws: Any, least: int = 2) -> Array:
    x = _array(draws).astype(np.float64)
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2 or len(x) < least or not x.shape[1] or not np.isfinite(x).all():
        wanted = f"(draws, chains) with at least {least} draws and a chain"
        raise ValueError(f"draws: expected finite numbers {wanted}, found shape {x.shape}")
    return x


def _autocovariance(x: Array) -> Array:
    """Σ_n x_n x_{n+t} for every lag t and chain, by a Fourier transform, padded."""
    n = len(x)
    size = 2 ** int(np.ceil(np.log2(2 * n)))
    spectrum = np.fft.rfft(x, size, axis=0)
    return np.fft.irfft(spectrum * spectrum.conj(), size, axis=0)[:n]


def _halves(draws: Any) -> Array:
    """Each chain as two, the middle draw of an odd number left out."""
    x = _table(draws, least=4)
    half = len(x) // 2
    return np.concatenate([x[:half], x[-half:]], 1)


def _scores(x: Array) -> Array:
    """The normal scores of the ranks among all values (Blom's), ties sharing their mean rank."""
    ranks = stats.rankdata(x, method="average").reshape(x.shape)
    return stats.norm.ppf((ranks - 0.375) / (x.size + 0.25))


def _spread(x: Array) -> float:
    n = len(x)
    within, between = x.var(0, ddof=1).mean(), x.mean(0).var(ddof=1)
    if within == 0:
        return float("nan") if between == 0 else float("inf")
    return float(np.sqrt(((n - 1) / n * within + between) / within))
