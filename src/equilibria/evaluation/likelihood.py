r"""Likelihood of held-out rows: its mean or a bound on it with an interval, and the gap to training
rows.

The functions ask a model (:class:`~equilibria.models.model.Model`) for ``log_prob(x)`` or
``log_prob_bound(x, stream, samples)``, and an unnormalised one for ``log_normaliser(stream)``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from equilibria.check import whole
from equilibria.models.model import capabilities
from equilibria.numbers import Measure
from equilibria.random import RandomState, as_stream

__all__ = ["RowBounds", "bits_per_dimension", "bound", "gap", "mean_of", "row_bounds"]

MISSED = "Chains that miss a mode make log Z too small and this too large, outside the interval."


@dataclasses.dataclass(frozen=True)
class RowBounds:
    """log p(v) + log Z of each row, or a lower bound on it, in nats.

    Attributes
    ----------
    values : ndarray of shape (rows,)
        In nats.
    exact : bool
        Whether no value is a mere bound.
    variances : ndarray of shape (rows,)
        Of each value, from its Monte Carlo draws; 0 where nothing is drawn.
    error : float
        Standard error of the values' mean from the draws; equal rows share their draws.
    draws : str
        What was drawn for a value, in words.
    """

    values: np.ndarray
    exact: bool
    variances: np.ndarray
    error: float = 0.0
    draws: str = ""


def is_exact(can: Collection[str], gaps: bool) -> bool:
    """Whether scores are log p(x) + log Z itself, of a model that ``can`` so much; ``gaps`` says
    whether cells are missing, which an unnormalised model sums over by a bound."""
    return "bound" not in can and ("normaliser" not in can or not gaps)


@torch.no_grad()
def row_bounds(
    model: Any, x: Tensor, *, samples: int = 10, random_state: RandomState = 0
) -> RowBounds:
    """log p(x) + log Z of each encoded row (n, d), exact or a bound; equal rows are asked for once.

    A Monte Carlo bound is averaged over ``samples`` draws, 2 or more. With cells missing (NaN) an
    unnormalised model's score is a bound too.
    """
    samples, stream = whole(2)("samples", samples), as_stream(random_state)
    filled = x.nan_to_num(nan=-math.inf)  # as a NaN is equal to none
    rows, place, counts = torch.unique(filled, dim=0, return_inverse=True, return_counts=True)
    rows = rows.masked_fill(rows.isneginf(), math.nan)
    can = capabilities(model)
    if "bound" not in can:
        drawn = model.log_prob(rows)[:, None]
    else:
        keys = [stream.child(i) for i in range(samples)]
        found = [model.log_prob_bound(rows, key) for key in keys[:2]]
        fixed = torch.equal(*found)  # nothing is drawn
        found += [model.log_prob_bound(rows, key) for key in keys[2:]] if not fixed else []
        drawn = torch.stack(found[:1] if fixed else found, 1)
    drawn, place, counts = drawn.double().cpu(), place.cpu(), counts.cpu().double()
    many = drawn.shape[1] > 1
    variance = drawn.var(1) / samples if many else torch.zeros(len(drawn), dtype=torch.float64)
    error = math.sqrt(float((counts.square() * variance).sum())) / len(place)
    said = f"{samples} draws each" if many else ""
    values, variances = drawn.mean(1)[place].numpy(), variance[place].numpy()
    exact = is_exact(can, bool(x.isnan().any()))
    return RowBounds(values, exact, variances, error, said)


def bound(
    model: Any, x: Tensor, log_z: Measure | None = None, *, log_volume: Any = 0.0, **how: Any
) -> Measure:
    """Mean over rows of log p(x), or of a lower bound on it, in nats: its name says which.

    Parameters
    ----------
    model, x
        As in :func:`row_bounds`, which also has the options in ``how``.
    log_z : Measure, optional
        By default the model's own ``log_normaliser``; 0 for one whose likelihood is normalised. The
        conservative one of both sides makes the bound smallest.
    log_volume : float or array of shape (n,)
        Taken from each row's value: log |dx / d(encoded)| of its observed cells, for a density in
        another scale than the model's.

    Returns
    -------
    Measure
        Its interval joins in quadrature the standard error over the rows (of one row there is
        none), that of the draws, and log Z's interval; the note tells what it does not cover.

    References
    ----------
    Salakhutdinov and Hinton 2009, "Deep Boltzmann machines", section 3.2; Salakhutdinov and Murray
    2008, "On the quantitative analysis of deep belief networks", section 4.

    Examples
    --------
    >>> from equilibria.inference.boltzmann import Restricted
    >>> from equilibria.models.boltzmann import BoltzmannMachine
    >>> from equilibria.units import Bernoulli
    >>> machine = BoltzmannMachine.stack(Bernoulli(4), Bernoulli(3))
    >>> print(bound(Restricted(machine.double(), ["visible"]), torch.eye(4).double()))
    mean log-likelihood = -2.77259 (exact; n = 4; 4 rows, log Z by exact enumeration)
    """
    if log_z is None and "normaliser" in capabilities(model):
        log_z = model.log_normaliser(as_stream(how.get("random_state", 0)).child("log Z"))
    return mean_of(row_bounds(model, x, **how), log_z or Measure.exact("log Z", 0, ""), log_volume)


def mean_of(found: RowBounds, log_z: Measure, log_volume: Any = 0.0) -> Measure:
    """The mean of rows' values less log Z, with its interval: what :func:`bound` returns."""
    lower, n, level = found.values - np.asarray(log_volume), len(found.values), log_z.level
    quantile, over_rows = float(stats.norm.ppf(0.5 + level / 2)), 0.0
    if n > 1:
        quantile = float(stats.t.ppf(0.5 + level / 2, n - 1))
        # what the draws add to the spread of the rows
        noise = n / (n - 1) * (float(found.variances.mean()) - found.error**2)
        over_rows = max(0.0, float(lower.var(ddof=1)) - noise) / n
    error = quantile * math.sqrt(over_rows + found.error**2)
    value = float(lower.mean()) - log_z.value
    low, high = (log_z.value if end is None else end for end in (log_z.low, log_z.high))
    parts = [f"{n} rows" if n > 1 else "1 row, whose spread is not known", found.draws]
    parts += [f"log Z by {log_z.method}"] if log_z.method else []
    sources = ["the standard error over rows"] if over_rows else []
    sources += [f"that of the draws ({found.error:.2g})"] if found.error else []
    sources += [] if log_z.is_exact else ["log Z's interval"]
    if sources:
        end = " in quadrature" if len(sources) > 1 else ""
        parts.append(f"interval: {' and '.join(sources)}{end}")
    return Measure(
        "mean log-likelihood" if found.exact else "mean bound on log-likelihood",
        value,
        value - math.hypot(error, high - log_z.value),
        value + math.hypot(error, log_z.value - low),
        level,
        n,
        ", ".join(part for part in parts if part),
        note="" if log_z.is_exact else MISSED,
        warning=log_z.warning,
    )


def bits_per_dimension(found: Measure, dimensions: int) -> Measure:
    r"""A mean log-probability in nats as bits for each of a row's cells; of a bound, at most so
    many are needed.

    .. math:: -\frac{\log P(x)}{d \log 2}

    References
    ----------
    Theis, van den Oord & Bethge 2016, "A note on the evaluation of generative models", section 3.1.

    Examples
    --------
    >>> found = Measure("mean log-likelihood", -math.log(256), -6.0, -5.0)  # of rows of one byte
    >>> print(bits_per_dimension(found, 1))
    bits per dimension = 8 (95 % interval 7.21348 to 8.65617)
    """
    unit = whole(1)("dimensions", dimensions) * math.log(2)
    low, high = (None if end is None else -end / unit for end in (found.high, found.low))
    name = "bits per dimension" + (", at most" if "bound" in found.name else "")
    return found.replace(name=name, value=-found.value / unit, low=low, high=high)


def gap(seen: np.ndarray, unseen: np.ndarray, name: str) -> Measure:
    """How much better training rows ``seen`` score than held-out ``unseen``, in nats."""
    for what, rows in (("train", seen), ("held_out", unseen)):
        whole(2)(f"rows of {what}", len(rows))
    error = math.sqrt(seen.var(ddof=1) / len(seen) + unseen.var(ddof=1) / len(unseen))
    note = f"Held-out minus {len(seen)} training rows; up to 1.96 standard errors may be chance."
    measured: dict[str, Any] = {"n": len(unseen), "chance": 1.96 * error, "ideal": 0.0}
    return Measure(name, float(seen.mean() - unseen.mean()), note=note, **measured)
