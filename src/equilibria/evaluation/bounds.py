"""From rows' bounds before log Z is taken off to an `Estimate` or a gap: the same for every kind of model."""

from __future__ import annotations

import math

import numpy as np

from equilibria.estimate import Estimate
from equilibria.numbers import Measure

__all__ = ["described", "gap", "less_log_z", "refuse_few"]

MISSED = "Chains that miss a mode make log Z too small and this figure too large: the interval does not cover that."


def refuse_few(count: int, name: str, least: int = 2) -> None:
    """Refuse fewer rows than a measure needs."""
    if count < least:
        enough = "1 row" if least == 1 else f"{least} rows, since the interval comes from their spread"
        raise ValueError(f"{name}: expected at least {enough}, found {count}")


def described(rows: int, log_z: Estimate, spread: float, *, draws: str = "", noise: float = 0.0) -> str:
    """How a mean over rows was worked out, and what its interval joins.

    ``spread`` is 0 where the rows add nothing to the interval; ``draws`` says what a row's value was drawn from, with the error ``noise``.

    Examples
    --------
    >>> log_z = Estimate(2.0, 1.6, 2.3, "AIS", "log Z")
    >>> described(5, log_z, 0.4)
    "5 rows, log Z by AIS, interval: the standard error over rows and log Z's interval in quadrature"
    >>> described(1, log_z, 0.0)
    "1 row, whose spread is not known, log Z by AIS, interval: log Z's interval"
    """
    parts = ["1 row, whose spread is not known" if rows == 1 else f"{rows} rows", *([draws] if draws else []), f"log Z by {log_z.method}"]
    sources = ["the standard error over rows"] if spread and rows > 1 else []
    sources += [f"that of the draws ({noise:.2g})"] if noise else []
    sources += [] if log_z.exact else ["log Z's interval"]
    if sources:
        parts.append(f"interval: {' and '.join(sources)}" + (" in quadrature" if len(sources) > 1 else ""))
    return ", ".join(parts)


def less_log_z(mean: float, error: float, log_z: Estimate, method: str, *, exact: bool, rows: int, said: str = "") -> Estimate:
    """A mean over rows less log Z, whose interval joins in quadrature with ``error``, half the interval of the mean.

    ``said`` goes into the caveat, beside what log Z's own warning says and what no interval of an estimated log Z covers.

    Examples
    --------
    >>> log_z = Estimate(2.0, 1.6, 2.3, "AIS", "log Z")
    >>> estimate = less_log_z(-1.0, 0.4, log_z, "5 rows", exact=True, rows=5)
    >>> estimate.name, estimate.low, round(estimate.high, 3)  # a larger log Z means a smaller likelihood
    ('mean log-likelihood', -3.5, -2.434)
    """
    value = mean - log_z.value
    sentences = [log_z.warning, said, "" if log_z.exact else MISSED]
    return Estimate(
        value,
        value - math.hypot(error, log_z.high - log_z.value),
        value + math.hypot(error, log_z.value - log_z.low),
        method,
        "mean log-likelihood" if exact else "mean bound on log-likelihood",
        log_z.level,
        samples=rows,
        caveat=" ".join(sentence for sentence in sentences if sentence),
        warning=log_z.warning,
    )


def gap(seen: np.ndarray, unseen: np.ndarray, exact: bool) -> Measure:
    """The mean of training rows minus that of held-out ones, in nats; its floor is 1.96 standard errors."""
    error = math.sqrt(seen.var(ddof=1) / len(seen) + unseen.var(ddof=1) / len(unseen))
    kind = "free energy" if exact else "variational free energy"
    note = f"Held-out minus {len(seen)} training rows; a gap within the floor (1.96 standard errors) may be chance."
    return Measure(f"{kind} gap, nats", float(seen.mean() - unseen.mean()), n=len(unseen), chance=1.96 * error, ideal=0.0, note=note)
