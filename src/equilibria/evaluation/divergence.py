"""What a density ratio says of the divergence between the data and a generator: a lower bound on JSD."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import special, stats

from equilibria.numbers import Measure

__all__ = ["as_log_ratios", "jensen_shannon"]

CAVEAT = (
    "A lower bound in expectation: a better critic could only raise it, so a small value is no proof that the samples are as the data are. "
    "It can be no more than log 2 = .693."
)


def jensen_shannon(real: Any, fake: Any, level: float = 0.95) -> Measure:
    r"""A lower bound on JSD(p_data ‖ p_g) in nats, from log p_data/p_g at held-out real rows and at samples.

    .. math::
        \mathrm{JSD} \ge \log 2 + \tfrac12 E_{p_\text{data}} \log \sigma(r(x)) + \tfrac12 E_{p_g} \log \sigma(-r(x)),

    log 2 less the cross-entropy of D = σ(r) at equal numbers of both; with equality for the true log ratio r.

    Parameters
    ----------
    real, fake : array or tensor, shape (n,), (m,)
        Log ratios at real rows that neither network was trained on, and at fresh samples.
    level : float
        The interval's nominal coverage.

    Returns
    -------
    Measure
        It may fall below 0, where the critic does worse than no critic.

    Raises
    ------
    ValueError
        For NaN or infinity, or fewer than 2 of either.

    References
    ----------
    Goodfellow et al. 2014, "Generative adversarial nets", theorem 1.

    Examples
    --------
    >>> estimate = jensen_shannon([50.0, 60.0], [-50.0, -40.0])  # told apart without doubt
    >>> round(estimate.value, 4)
    0.6931
    """
    if not 0 < level < 1:
        raise ValueError(f"level={level!r}: expected a number between 0 and 1")
    parts = [special.log_expit(as_log_ratios(real, "real")), special.log_expit(-as_log_ratios(fake, "fake"))]
    value = math.log(2) + sum(float(part.mean()) for part in parts) / 2
    error = math.sqrt(sum(float(part.var(ddof=1)) / len(part) for part in parts)) / 2
    half = float(stats.norm.ppf(0.5 + level / 2)) * error
    return Measure(
        "lower bound on JSD, nats",
        value,
        value - half,
        min(value + half, math.log(2)),
        method=f"log 2 less the critic's cross-entropy on {len(parts[0]):,} held-out real rows and {len(parts[1]):,} samples",
        level=level,
        n=len(parts[0]) + len(parts[1]),
        note=CAVEAT,
    )


def as_log_ratios(values: Any, name: str, least: int = 2) -> np.ndarray:
    """Log ratios as float64 ``(n,)``.

    Raises
    ------
    ValueError
        For NaN or infinity, another shape, or too few.
    """
    if hasattr(values, "detach"):
        values = values.detach().cpu().double().numpy()
    ratios = np.asarray(values, dtype=np.float64)
    if ratios.ndim == 2 and ratios.shape[1] == 1:
        ratios = ratios[:, 0]
    if ratios.ndim != 1 or len(ratios) < least:
        raise ValueError(f"{name}: expected log ratios of shape (rows,), at least {least}, found shape {ratios.shape}")
    if not np.isfinite(ratios).all():
        raise ValueError(
            f"{name}: {int((~np.isfinite(ratios)).sum())} of {len(ratios)} log ratios are NaN or infinite; has the critic diverged?"
        )
    return ratios
