"""Log density ratios judged: their calibration, and the divergence they bound from below."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from scipy import special, stats

from equilibria import check
from equilibria.evaluation.statistics import as_rows
from equilibria.inference.ratio import fit_ratio
from equilibria.numbers import Measure, effective
from equilibria.random import RandomState, as_stream

__all__ = ["Calibration", "calibration", "jensen_shannon", "reliability"]

_BINS = 10
_HALF_NORMAL = math.sqrt(2 / math.pi)  # E|z| of a standard normal z


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Calibration of a log ratio, and the recalibration that was fitted to it.

    Attributes
    ----------
    measure : Measure
        As :func:`reliability` gives it, with "calibration error after recalibration" as its last
        part. There is a ``warning`` where the error is above twice what chance gives.
    slope, intercept : float
        The recalibration; a slope below 1 says that the critic is overconfident.
    """

    measure: Measure
    slope: float
    intercept: float

    def recalibrate(self, log_ratio: Any) -> Any:
        """``slope · log_ratio + intercept``."""
        return self.slope * log_ratio + self.intercept


def calibration(real: Any, fake: Any, *, random_state: RandomState = 0) -> Calibration:
    """Calibration of a log ratio, before and after logistic recalibration (Platt scaling).

    Half of the rows of each kind fit the recalibration, the other half judge both. ``real`` (n,)
    and ``fake`` (m,) are log p_data/p_g at real rows that the ratio was not fitted to and at fresh
    samples, 40 or more of each.

    References
    ----------
    Platt 1999, "Probabilistic outputs for support vector machines"; Turner et al. 2019,
    "Metropolis-Hastings generative adversarial networks", which calibrates a critic so.

    Examples
    --------
    Of N(1, 1) against N(0, 1) the log ratio is x − ½; one three times as confident is corrected:

    >>> from equilibria.random import Stream
    >>> x, y = 1 + Stream(0).normal((4000,)), Stream(1).normal((4000,))
    >>> found = calibration(3 * (x - 0.5), 3 * (y - 0.5))
    >>> bool(found.measure.warning), abs(found.slope - 1 / 3) < 0.05
    (True, True)
    """
    tables = [_log_ratios(real, "real", 40), _log_ratios(fake, "fake", 40)]
    stream = as_stream(random_state).child("calibration")
    mixed = [table[stream.child(i).permutation(len(table))] for i, table in enumerate(tables)]
    slope, intercept = _recalibration(*(table[: len(table) // 2] for table in mixed))
    judged = [table[len(table) // 2 :] for table in mixed]
    found = reliability(*judged)
    after = reliability(*(slope * table + intercept for table in judged))
    after = after.replace(name="calibration error after recalibration")
    wrong = found.chance is not None and found.value > 2 * found.chance
    warning = "The log ratio is not calibrated." if wrong else ""
    found = found.replace(parts=(*found.parts, after), warning=warning)
    return Calibration(found, slope, intercept)


def reliability(real: Any, fake: Any, bins: int = _BINS) -> Measure:
    """Expected calibration error of D = σ(log ratio), with its Brier score and E_g[ratio].

    It is the mean over rows of |mean D − share of real rows| in the row's bin; chance is its mean
    for a D that is right. Real rows and samples count alike, whatever their numbers. Bins hold
    equal numbers of rows, so that rows with equal ratios share a bin. The parts are "Brier score of
    D", whose ideal is its mean for a D that is right, and "mean ratio over samples": 1 for the true
    ratio, less the data's mass outside the samples' support.

    Examples
    --------
    >>> round(reliability(np.zeros(100), np.zeros(100)).value, 12)  # p_g = p_data, known
    0.0
    """
    first, second = _log_ratios(real, "real"), _log_ratios(fake, "fake")
    logits = np.concatenate([first, second])
    is_real = np.arange(len(logits)) < len(first)
    weight = np.where(is_real, 0.5 / len(first), 0.5 / len(second))
    d = special.expit(logits)
    cuts = np.unique(np.quantile(logits, np.arange(1, bins) / bins))
    place = np.searchsorted(cuts, logits, side="right")
    # Were D right, a bin's sum of weight · (D − is real) would be about normal, of this variance.
    variance = np.bincount(place, weight**2 * d * (1 - d))
    ratios = np.exp(np.minimum(second, 350.0))  # neither a ratio nor its square overflows
    mean = float(ratios.mean())
    half = 1.96 * float(ratios.std(ddof=1)) / math.sqrt(len(ratios))
    n, error = len(logits), float(np.abs(np.bincount(place, weight * (d - is_real))).sum())
    chance = float(np.sqrt(variance).sum()) * _HALF_NORMAL
    brier, best = (float((weight * x).sum()) for x in (np.square(d - is_real), d * (1 - d)))
    note = "0.25 for a D that knows nothing."
    parts = [Measure("Brier score of D", brier, n=n, ideal=best, note=note)]
    low, high, m, ess = mean - half, mean + half, len(second), effective(second)
    parts.append(Measure("mean ratio over samples", mean, low, high, n=m, ideal=1.0, ess=ess))
    name, method = "calibration error of D", f"{bins} bins of equal numbers of rows"
    return Measure(name, error, n=n, method=method, chance=chance, ideal=0.0, parts=tuple(parts))


def _recalibration(real: np.ndarray, fake: np.ndarray) -> tuple[float, float]:
    """Slope and intercept of the logistic regression of "is real" on the log ratio."""
    if np.ptp(np.concatenate([real, fake])) == 0:  # a constant knows nothing of any row
        return 1.0, -float(real[0])
    n = min(len(real), len(fake))
    fitted = fit_ratio(real[:n, None], fake[:n, None], "scale")
    return float(fitted.weights[0]), fitted.bias


def jensen_shannon(real: Any, fake: Any, level: float = 0.95) -> Measure:
    r"""A lower bound on JSD(p_data ‖ p_g) in nats, from log ratios r = log p_data/p_g.

    .. math::
        \mathrm{JSD} \ge \log 2 + \tfrac12 E_{p_\text{data}} \log \sigma(r(x))
        + \tfrac12 E_{p_g} \log \sigma(-r(x)),

    log 2 less the cross-entropy of D = σ(r) at equal numbers of both, with equality for the true
    ratio.

    ``real`` (n,) and ``fake`` (m,) are log ratios at real rows that the ratio was not fitted to and
    at fresh samples. The value may fall below 0, where the critic does worse than no critic.

    References
    ----------
    Goodfellow et al. 2014, "Generative adversarial nets", theorem 1.

    Examples
    --------
    >>> found = jensen_shannon([50.0, 60.0], [-50.0, -40.0])  # told apart without doubt
    >>> round(found.value, 4)
    0.6931
    """
    level = check.number(0, 0.999999, above=True)("level", level)
    both = (_log_ratios(real, "real"), -_log_ratios(fake, "fake"))
    parts = [special.log_expit(table) for table in both]
    value = math.log(2) + sum(float(part.mean()) for part in parts) / 2
    error = math.sqrt(sum(float(part.var(ddof=1)) / len(part) for part in parts)) / 2
    half = float(stats.norm.ppf(0.5 + level / 2)) * error
    sizes = [len(part) for part in parts]
    rows = f"{sizes[0]:,} held-out real rows and {sizes[1]:,} samples"
    method = f"log 2 less the critic's cross-entropy on {rows}"
    low, high = value - half, min(value + half, math.log(2))
    found = Measure("lower bound on JSD, nats", value, low, high, level, sum(sizes), method)
    return found.replace(
        ideal=0.0,
        note="A lower bound in expectation: a better critic could only raise it, so a small value "
        "is no proof that the samples are as the data are. It can be no more than log 2 = .693.",
    )


def _log_ratios(values: Any, name: str, least: int = 2) -> np.ndarray:
    """Log ratios, one a row, as float64 ``(n,)``."""
    if np.ndim(values) == 1:
        values = values[:, None] if hasattr(values, "shape") else np.reshape(values, (-1, 1))
    return as_rows(values, name, 1, least)[:, 0]
