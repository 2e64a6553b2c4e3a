"""Parzen-window log-likelihood, a measure of the early papers on adversarial networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import special

from equilibria import check
from equilibria.evaluation.statistics import as_rows
from equilibria.numbers import Measure

__all__ = ["SIGMAS", "parzen", "parzen_scores"]

SIGMAS = tuple(np.logspace(-1, 0, 10).tolist())
"""The published grid of widths."""

_NOTE = (
    "A high value does not mean good samples: on MNIST the training images themselves score about "
    "243 and k-means centres about 313 (Theis et al. 2016), so more is not better, and the value "
    "is no likelihood of the model."
)
_BLOCK = 1000  # rows of the distance matrix at a time


def parzen(rows: Any, samples: Any, validation: Any, sigmas: Sequence[float] = SIGMAS) -> Measure:
    """Mean log-likelihood in nats of test rows (n, …) under normal windows around samples (m, …).

    The width is chosen on validation rows (v, …), never on the test rows. The interval is from the
    standard error over test rows, and leaves out the choice of the width and of the samples.
    Goodfellow et al. (2014) on MNIST, with pixels in [0, 1]: 10,000 samples; widths
    ``logspace(-1, 0, 10)``, chosen on 1,000 validation images; 10,000 test images.

    References
    ----------
    Goodfellow et al. 2014, "Generative adversarial nets", section 5; Theis, van den Oord and Bethge
    2016, "A note on the evaluation of generative models", on why it should not be trusted.

    Examples
    --------
    >>> from equilibria.random import Stream
    >>> noise = Stream(0).normal((1500, 1))
    >>> found = parzen(noise[:500], noise[500:1000], noise[1000:])
    >>> found.low < -0.5 * math.log(2 * math.pi * math.e) < found.high
    True
    """
    widths = check.sequence(check.number(0, above=True))("sigmas", sigmas)
    centres = as_rows(samples, "samples")
    table = as_rows(rows, "rows", centres.shape[1], least=2)
    held = as_rows(validation, "validation", centres.shape[1])
    sigma = widths[int(_scores(held, centres, widths).mean(axis=1).argmax())]
    scores = _scores(table, centres, [sigma])[0]
    value, half = float(scores.mean()), 1.96 * float(scores.std(ddof=1)) / math.sqrt(len(scores))
    edge = len(widths) > 1 and sigma in (min(widths), max(widths))
    return Measure(
        "Parzen log-likelihood, nats",
        value,
        value - half,
        value + half,
        n=len(table),
        method=f"normal windows of width {sigma:.3g} on {len(centres):,} samples, the width chosen "
        f"on {len(held):,} validation rows",
        note=_NOTE,
        warning=f"The chosen width {sigma:.3g} is at the end of those tried: try others."
        if edge
        else "",
    )


def parzen_scores(rows: Any, samples: Any, sigma: float) -> np.ndarray:
    r"""Log density in nats of each row under windows of width ``sigma``, ``(n,)``.

    .. math:: \log \tfrac1m \sum_j \mathcal N(x; s_j, \sigma^2 I)

    Examples
    --------
    >>> parzen_scores([[0.0]], [[0.0]], sigma=1.0).round(4)
    array([-0.9189])
    """
    centres = as_rows(samples, "samples")
    width = check.number(0, above=True)("sigma", sigma)
    return _scores(as_rows(rows, "rows", centres.shape[1]), centres, [width])[0]


def _scores(rows: np.ndarray, centres: np.ndarray, widths: Sequence[float]) -> np.ndarray:
    """(widths, rows): each block's distances serve all the widths."""
    origin = centres.mean(axis=0)  # |x − s|² is expanded below, which cancels far from the origin
    rows, centres = rows - origin, centres - origin
    squares, (count, columns) = np.square(centres).sum(axis=1), centres.shape
    found = []
    for first in range(0, len(rows), _BLOCK):
        block = rows[first : first + _BLOCK]
        distances = np.square(block).sum(axis=1)[:, None] + squares - 2 * block @ centres.T
        distances = np.maximum(distances, 0)
        found.append([special.logsumexp(distances / (-2 * w**2), axis=1) for w in widths])
    volumes = columns / 2 * np.log(2 * math.pi * np.square(widths))
    return np.concatenate(found, axis=1) - math.log(count) - volumes[:, None]
