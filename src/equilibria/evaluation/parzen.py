"""Parzen-window log-likelihood: a measure of the early papers on adversarial networks, kept so that their tables can be set beside ours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import special

from equilibria.evaluation.rows import as_rows
from equilibria.numbers import Measure

__all__ = ["SIGMAS", "parzen", "parzen_scores"]

SIGMAS = tuple(np.logspace(-1, 0, 10).tolist())
"""The published grid of widths."""

CAVEAT = (
    "A high value does not mean good samples: on MNIST the training images themselves score about 243 and k-means centres about 313 "
    "(Theis et al. 2016), so more is not better, and the value is no likelihood of the model."
)
_BLOCK = 1000  # rows of the distance matrix at a time


def parzen(rows: Any, samples: Any, validation: Any, sigmas: Sequence[float] = SIGMAS) -> Measure:
    """Mean log-likelihood in nats of ``rows`` under normal windows around ``samples``, their width chosen on ``validation``.

    Protocol of Goodfellow et al. (2014) on MNIST, with pixels in [0, 1]: 10,000 samples; widths ``logspace(-1, 0, 10)``, chosen on
    the first 1,000 validation images; mean and standard error over the 10,000 test images.

    Parameters
    ----------
    rows : array or tensor, shape (n, …)
        Test rows, at least 2.
    samples : array or tensor, shape (m, …)
        From the model, on the same scale.
    validation : array or tensor, shape (v, …)
        Rows that are neither test rows nor behind the samples.
    sigmas : sequence of float
        Widths to choose from.

    Returns
    -------
    Measure
        With a 95 % interval from the standard error over ``rows``, which the choice of the width and of the samples are not part of.

    Raises
    ------
    ValueError
        For NaN, different numbers of columns, or a width that is not positive.

    References
    ----------
    Goodfellow et al. 2014, "Generative adversarial nets", section 5; Theis, van den Oord and Bethge 2016, "A note on the evaluation of
    generative models", on why it should not be trusted.

    Examples
    --------
    >>> from equilibria.random import Stream
    >>> noise = Stream(0).normal((1500, 1))
    >>> estimate = parzen(noise[:500], noise[500:1000], noise[1000:])
    >>> estimate.low < -0.5 * math.log(2 * math.pi * math.e) < estimate.high
    True
    """
    table, centres = _tables(rows, "rows", samples, least=2)
    held = as_rows(validation, "validation", centres.shape[1])
    widths = _widths(sigmas)
    means = _scores(held, centres, widths).mean(axis=1)
    sigma = widths[int(means.argmax())]
    scores = _scores(table, centres, [sigma])[0]
    value, half = float(scores.mean()), 1.96 * float(scores.std(ddof=1)) / math.sqrt(len(scores))
    edge = len(widths) > 1 and sigma in (min(widths), max(widths))
    warning = f"The chosen width {sigma:.3g} is at the end of those tried: try others. " if edge else ""
    return Measure(
        "Parzen log-likelihood, nats",
        value,
        value - half,
        value + half,
        method=f"normal windows of width {sigma:.3g} on {len(centres):,} samples, the width chosen on {len(held):,} validation rows",
        n=len(table),
        note=CAVEAT,
        warning=warning.strip(),
    )


def parzen_scores(rows: Any, samples: Any, sigma: float) -> np.ndarray:
    r"""Log density in nats of every row under windows of width ``sigma``, ``(n,)`` in float64:

    .. math:: \log \tfrac1m \sum_j \mathcal N(x; s_j, \sigma^2 I)

    Examples
    --------
    >>> parzen_scores([[0.0]], [[0.0]], sigma=1.0).round(4)
    array([-0.9189])
    """
    return _scores(*_tables(rows, "rows", samples), _widths([sigma]))[0]


def _tables(rows: Any, name: str, samples: Any, least: int = 1) -> tuple[np.ndarray, np.ndarray]:
    centres = as_rows(samples, "samples")
    return as_rows(rows, name, centres.shape[1], least), centres


def _widths(sigmas: Sequence[float]) -> list[float]:
    widths = [float(sigma) for sigma in sigmas]
    if not widths or not all(math.isfinite(sigma) and sigma > 0 for sigma in widths):
        raise ValueError(f"sigmas={sigmas!r}: expected positive widths")
    return widths


def _scores(rows: np.ndarray, centres: np.ndarray, widths: Sequence[float]) -> np.ndarray:
    """(widths, rows): every block's distances serve all the widths."""
    squares = np.square(centres).sum(axis=1)
    found = []
    for first in range(0, len(rows), _BLOCK):
        block = rows[first : first + _BLOCK]
        distances = np.maximum(np.square(block).sum(axis=1)[:, None] + squares - 2 * block @ centres.T, 0)
        found.append([_log_density(distances, sigma, centres.shape) for sigma in widths])
    return np.concatenate(found, axis=1)


def _log_density(squares: np.ndarray, sigma: float, shape: tuple[int, ...]) -> np.ndarray:
    count, columns = shape
    return special.logsumexp(squares / (-2 * sigma**2), axis=1) - math.log(count) - columns / 2 * math.log(2 * math.pi * sigma**2)
