"""Whether a log density ratio can be taken at its word: D = σ(log ratio) against what share is real, and E_g[ratio] against 1."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from scipy import special
from sklearn.linear_model import LogisticRegression

from equilibria.evaluation.divergence import as_log_ratios
from equilibria.evaluation.metric import Metric
from equilibria.random import RandomState, as_stream

__all__ = ["Calibration", "Reliability", "calibration", "ratio_rmse", "recalibration", "reliability"]

_BINS = 10
_NO_PENALTY = 1e6


@dataclasses.dataclass(frozen=True)
class Reliability:
    """What :func:`reliability` found of one log ratio.

    Attributes
    ----------
    error, floor : float
        Expected calibration error of D: the mean over rows of |mean D − share of real rows| of the row's bin; and what it is on average for
        a D that is right, with so many rows.
    brier, best_brier : float
        Mean squared error of D, and what it would be on average were D right; ¼ for a D that knows nothing.
    mean_ratio, ratio_error : float
        Mean ratio over samples, and its standard error. The truth has E_g[ratio] = 1 wherever p_g covers the data: what is missing is the
        data's mass outside the samples' support.
    ess : float
        Effective sample size of the ratios as weights, (Σw)²/Σw²: where it is small, the mean rests on a few samples.
    real, fake : int
        Numbers of rows.
    """

    error: float
    floor: float
    brier: float
    best_brier: float
    mean_ratio: float
    ratio_error: float
    ess: float
    real: int
    fake: int

    def __str__(self) -> str:
        return (
            f"calibration error {self.error:.4f} (chance alone gives {self.floor:.4f}), Brier score {self.brier:.4f} "
            f"({self.best_brier:.4f} were it right), E_g[ratio] {self.mean_ratio:.3f} ± {self.ratio_error:.3f} (1 were it right; effective "
            f"sample size {self.ess:.0f} of {self.fake})"
        )


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What :func:`calibration` found, on rows that the recalibration was not fitted on.

    Attributes
    ----------
    before, after : Reliability
        Of the log ratio as given, and after r ↦ slope · r + intercept.
    slope, intercept : float
        The recalibration; a slope below 1 says that the critic is too sure of itself.
    rmse, rmse_after : float or None
        Root mean squared error of the log ratio at held-out real rows and samples, where the truth was given.
    """

    before: Reliability
    after: Reliability
    slope: float
    intercept: float
    rmse: float | None = None
    rmse_after: float | None = None

    def recalibrate(self, log_ratio: Any) -> Any:
        """``slope · log_ratio + intercept``."""
        return self.slope * log_ratio + self.intercept

    @property
    def calibrated(self) -> bool:
        """Whether the given log ratio's calibration error is within twice what chance gives."""
        return self.before.error <= 2 * self.before.floor

    def __str__(self) -> str:
        verdict = "The log ratio is calibrated" if self.calibrated else "The log ratio is not calibrated"
        truth = "" if self.rmse is None else f" Against the known truth it is off by {self.rmse:.3f} nats, then by {self.rmse_after:.3f}."
        return (
            f"{verdict}: {self.before}. After {self.slope:.3g} · ratio {self.intercept:+.3g}: {self.after}. "
            f"Judged on {self.before.real} held-out real rows and {self.before.fake} samples.{truth}"
        )

    def metrics(self) -> tuple[Metric, ...]:
        """The same numbers one by one, before and after, for a table or a run folder."""
        named = (("", self.before, self.rmse), (" after recalibration", self.after, self.rmse_after))
        return tuple(metric for suffix, found, rmse in named for metric in _metrics(found, suffix, rmse))


def _metrics(found: Reliability, suffix: str, rmse: float | None) -> list[Metric]:
    n, half = found.real + found.fake, 1.96 * found.ratio_error
    few = f"Effective sample size {found.ess:.0f} of {found.fake}."
    metrics = [
        Metric(f"calibration error of D{suffix}", found.error, n, floor=found.floor, best=0.0, note=f"{_BINS} bins of equal numbers."),
        Metric(f"Brier score of D{suffix}", found.brier, n, best=found.best_brier, note="0.25 for a D that knows nothing."),
        Metric(
            f"mean ratio over samples{suffix}",
            found.mean_ratio,
            found.fake,
            best=1.0,
            note=few,
            low=found.mean_ratio - half,
            high=found.mean_ratio + half,
        ),
    ]
    return metrics if rmse is None else [*metrics, Metric(f"RMSE of the log ratio{suffix}, nats", rmse, n, best=0.0)]


def calibration(
    real: Any,
    fake: Any,
    truth: tuple[Any, Any] | None = None,
    *,
    random_state: RandomState = 0,
) -> Calibration:
    """Judge a log ratio on held-out real rows and samples, as it is and after a logistic recalibration (Platt's).

    Half of the rows of each kind fit the recalibration, the other half judge both; the kinds count alike, whatever their numbers.

    Parameters
    ----------
    real, fake : array or tensor, shape (n,), (m,)
        Log p_data/p_g at held-out real rows and at fresh samples; 40 or more of each.
    truth : pair of arrays, optional
        The true log ratios at the same rows, where they are known.
    random_state : int, Stream or numpy generator
        Which half is which.

    Raises
    ------
    ValueError
        For NaN or infinity, too few rows, or a truth of other lengths.

    References
    ----------
    Platt 1999, "Probabilistic outputs for support vector machines"; Turner et al. 2019, "Metropolis-Hastings generative adversarial
    networks", which calibrates a critic so.

    Examples
    --------
    Of N(1, 1) against N(0, 1) the log ratio is x − ½; one three times as sure is set right:

    >>> from equilibria.random import Stream
    >>> x, y = 1 + Stream(0).normal((4000,)), Stream(1).normal((4000,))
    >>> report = calibration(3 * (x - 0.5), 3 * (y - 0.5))
    >>> report.calibrated, abs(report.slope - 1 / 3) < 0.05, report.after.error < 2 * report.after.floor
    (False, True, True)
    """
    tables = [as_log_ratios(real, "real", 40), as_log_ratios(fake, "fake", 40)]
    truths = None if truth is None else [as_log_ratios(t, "truth") for t in truth]
    if truths is not None and [len(t) for t in truths] != [len(t) for t in tables]:
        raise ValueError(f"truth: expected {len(tables[0])} and {len(tables[1])} true log ratios, found {[len(t) for t in truths]}")
    stream = as_stream(random_state).child("calibration")
    orders = [stream.child(i).permutation(len(table)).numpy() for i, table in enumerate(tables)]
    fitted = [table[order[: len(order) // 2]] for table, order in zip(tables, orders, strict=True)]
    judged = [np.sort(order[len(order) // 2 :]) for order in orders]
    slope, intercept = recalibration(*fitted)
    kept = [table[rows] for table, rows in zip(tables, judged, strict=True)]
    changed = [slope * table + intercept for table in kept]
    rmse: list[float | None] = [None, None]
    if truths is not None:
        true = np.concatenate([t[rows] for t, rows in zip(truths, judged, strict=True)])
        rmse = [ratio_rmse(np.concatenate(found), true) for found in (kept, changed)]
    return Calibration(reliability(*kept), reliability(*changed), slope, intercept, *rmse)


def reliability(real: Any, fake: Any, bins: int = _BINS) -> Reliability:
    """Calibration error, Brier score and E_g[ratio] of one log ratio; real rows and samples count alike, whatever their numbers.

    The bins hold equal numbers of rows, cut at quantiles of the log ratio, so that rows with equal ones are in one bin.

    Examples
    --------
    >>> found = reliability(np.zeros(100), np.zeros(100))  # p_g = p_data and a critic that knows it
    >>> round(found.error, 12), round(found.brier, 12), found.mean_ratio, found.ess
    (0.0, 0.25, 1.0, 100.0)
    """
    first, second = as_log_ratios(real, "real"), as_log_ratios(fake, "fake")
    logits = np.concatenate([first, second])
    is_real = np.arange(len(logits)) < len(first)
    weight = np.where(is_real, 0.5 / len(first), 0.5 / len(second))
    chance = special.expit(logits)
    place = np.searchsorted(np.unique(np.quantile(logits, np.arange(1, bins) / bins)), logits, side="right")
    ratios = _ratios(second)
    return Reliability(
        error=float(np.abs(np.bincount(place, weight * (chance - is_real))).sum()),
        floor=_floor(place, weight, chance),
        brier=float((weight * np.square(chance - is_real)).sum()),
        best_brier=float((weight * chance * (1 - chance)).sum()),
        mean_ratio=float(ratios.mean()),
        ratio_error=float(ratios.std(ddof=1)) / math.sqrt(len(ratios)),
        ess=_effective(second),
        real=len(first),
        fake=len(second),
    )


def recalibration(real: Any, fake: Any) -> tuple[float, float]:
    """Slope and intercept of the logistic regression of "is real" on the log ratio, real rows and samples counting alike.

    Examples
    --------
    >>> slope, intercept = recalibration([-1.0, 2.0, 3.0], [-3.0, -2.0, 1.0])
    >>> slope > 0, abs(intercept) < 1e-3
    (True, True)
    """
    first, second = as_log_ratios(real, "real"), as_log_ratios(fake, "fake")
    logits, labels = np.concatenate([first, second]), np.repeat([1, 0], [len(first), len(second)])
    scale = float(logits.std())
    if scale == 0:
        return 1.0, -float(logits[0])  # a constant knows nothing of any row: log ratio 0 is all that can be said
    model = LogisticRegression(C=_NO_PENALTY, class_weight="balanced", tol=1e-8, max_iter=1000).fit(logits[:, None] / scale, labels)
    return float(model.coef_[0, 0]) / scale, float(model.intercept_[0])


def ratio_rmse(estimated: Any, true: Any) -> float:
    """Root mean squared error of log ratios, in nats."""
    found, known = as_log_ratios(estimated, "estimated", 1), as_log_ratios(true, "true", 1)
    if found.shape != known.shape:
        raise ValueError(f"true: expected {len(found)} log ratios, found {len(known)}")
    return float(np.sqrt(np.square(found - known).mean()))


def _floor(place: np.ndarray, weight: np.ndarray, chance: np.ndarray) -> float:
    """E|sum over a bin of weight (D − is real)| were D right: that of a normal variable with the sum's variance."""
    variance = np.bincount(place, weight**2 * chance * (1 - chance))
    return float(np.sqrt(variance).sum()) * math.sqrt(2 / math.pi)


def _ratios(logs: np.ndarray) -> np.ndarray:
    """exp of no more than 350, so that neither a ratio nor its square is infinite."""
    return np.exp(np.minimum(logs, 350.0))


def _effective(logs: np.ndarray) -> float:
    weights = np.exp(logs - logs.max())
    return float(weights.sum() ** 2 / np.square(weights).sum())
