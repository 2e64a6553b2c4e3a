r"""Likelihood of held-out rows: its mean or a bound on it with an interval, and the gap to training
rows.

The functions serve every model with a likelihood: a ``log_prob(x)``, a ``log_prob_bound(x, stream,
samples)``, or ``log_weights`` of draws from Q(h | v), as a belief network has; a Boltzmann
machine's is exact or mean field's bound. log Z is that of :mod:`equilibria.inference.partition`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from equilibria.check import whole
from equilibria.inference.clamp import Clamp
from equilibria.inference.completion import evidence
from equilibria.inference.partition import log_partition
from equilibria.models.belief_network import BeliefNetwork, tightened
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.numbers import Measure
from equilibria.random import RandomState, Stream, as_stream

__all__ = ["RowBounds", "bound", "free_energy_gap", "mean_of", "row_bounds"]

MISSED = "Chains that miss a mode make log Z too small and this too large, outside the interval."

_DRAWS = 4000  # draws of the hidden layers at a time


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
    note : str
        What to beware of.
    """

    values: np.ndarray
    exact: bool
    variances: np.ndarray
    error: float = 0.0
    draws: str = ""
    note: str = ""


def row_bounds(
    model: Any,
    values: Any,
    *,
    samples: int = 10,
    importance: int = 1,
    random_state: RandomState = 0,
    tolerance: float = 1e-6,
    max_steps: int = 1000,
) -> RowBounds:
    r"""log p(v) + log Z of each row: exact where a sum over classes is enough, else a bound.

    For a Boltzmann machine it is :math:`E_Q[-E(v, h)] + H(Q)` at mean field's Q, exact where Q is
    the posterior (an RBM). For a belief network it is :math:`E_Q[\log p(v \mid h^1) + \dots + \log
    p^*(h^{L-1})] + H(Q)` by Monte Carlo, the topmost layer summed out; a network of one hidden
    layer has nothing to draw.

    Parameters
    ----------
    model : Module
        The model.
    values : array or tensor, shape (n, size), or mapping
        Rows of the first layer, or, for a Boltzmann machine, a clamp: layer → values or (values,
        mask).
    samples, importance, random_state : int, int, RandomState
        Of Monte Carlo bounds: ``importance`` draws make one importance-weighted bound (Burda,
        Grosse & Salakhutdinov 2016), of which ``samples``, 2 or more, are averaged. A belief
        network's draws are keyed by the row's content: a row has the same bound in any company.
    tolerance, max_steps
        Of mean field. A row that stops early has a lower bound all the same.
    """
    if isinstance(model, BoltzmannMachine):
        first = next(iter(model.layers))
        clamp: Clamp = values if isinstance(values, Mapping) else {first: _rows(model, values)}
        found = evidence(model, clamp, tolerance=tolerance, max_steps=max_steps)
        n, late = len(found.values), int((~found.converged).sum())
        said = f"Mean field had not converged on {late} of {n} rows." if late else ""
        lower, exact = found.values.double().cpu().numpy(), bool(found.exact.all())
        return RowBounds(lower, exact, np.zeros(n), note=said)
    if not hasattr(model, "log_weights") and hasattr(model, "log_prob"):
        with torch.no_grad():
            lower = model.log_prob(torch.as_tensor(values)).double().cpu().numpy()
        return RowBounds(lower, True, np.zeros(len(lower)))
    samples, importance = whole(2)("samples", samples), whole(1)("importance", importance)
    said = f"{samples} draws each"
    if importance > 1:
        said = f"{samples} importance-weighted means of {importance} draws each"
    stream, exact = as_stream(random_state), False
    if hasattr(model, "log_weights"):
        if exact := model.exact:
            samples, importance, said = 1, 1, ""  # there is nothing to draw
        drawn, place, counts = _keyed_draws(
            model, _rows(model, values), samples, importance, stream
        )
    else:
        keys, x = [stream.child(i) for i in range(samples)], torch.as_tensor(values)
        with torch.no_grad():
            drawn = torch.stack([model.log_prob_bound(x, key, importance) for key in keys], 1)
        drawn, place, counts = drawn.double().cpu(), torch.arange(len(x)), torch.ones(len(x))
    variance = drawn.var(1) / samples if samples > 1 else torch.zeros(len(drawn)).double()
    error = math.sqrt(float((counts.double().square() * variance).sum())) / len(place)
    means, spread = drawn.mean(1)[place].numpy(), variance[place].numpy()
    return RowBounds(means, exact, spread, error, said)


def _keyed_draws(
    model: BeliefNetwork, table: Tensor, samples: int, importance: int, stream: Stream
) -> tuple[Tensor, Tensor, Tensor]:
    """Of the distinct rows: (their bounds, each row's place among them, their counts)."""
    distinct, place, counts = torch.unique(table, dim=0, return_inverse=True, return_counts=True)
    contents = (row.tobytes() for row in distinct.double().cpu().numpy())
    keys = [hashlib.blake2b(content, digest_size=8).hexdigest() for content in contents]
    parts, size = [], max(1, _DRAWS // (samples * importance))
    for start in range(0, len(keys), size):
        part = slice(start, start + size)
        logs = model.log_weights(distinct[part], samples * importance, stream, keys[part])
        parts.append(tightened(logs, importance).double().cpu())
    return torch.cat(parts), place.cpu(), counts.cpu()


def bound(
    model: Any, values: Any, log_z: Measure | None = None, *, log_volume: Any = 0.0, **how: Any
) -> Measure:
    """Mean over rows of log p(v), or of a lower bound on it, in nats: its name says which.

    Parameters
    ----------
    model, values
        As in :func:`row_bounds`, which also has the options in ``how``.
    log_z : Measure, optional
        By default :func:`equilibria.inference.partition.log_partition` with ``random_state`` of the
        machine, or of the topmost one of a belief network; 0 for a model whose likelihood is
        normalised. The conservative one of both sides makes the bound smallest.
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
    >>> from equilibria.units import Bernoulli
    >>> machine = BoltzmannMachine.stack(Bernoulli(4), Bernoulli(3)).double()
    >>> print(bound(machine, torch.eye(4)))
    mean log-likelihood = -2.77259 (exact; n = 4; 4 rows, log Z by exact enumeration)
    >>> network = BeliefNetwork.stack(Bernoulli(4), Bernoulli(3), Bernoulli(2)).double()
    >>> bound(network, torch.eye(4)).name
    'mean bound on log-likelihood'
    """
    machine = model if isinstance(model, BoltzmannMachine) else getattr(model, "top", None)
    if log_z is None and machine is not None:
        log_z = log_partition(machine, how.get("random_state", 0))
    log_z = log_z or Measure.exact("log Z", 0.0, "")
    return mean_of(row_bounds(model, values, **how), log_z, log_volume)


def mean_of(found: RowBounds, log_z: Measure, log_volume: Any = 0.0) -> Measure:
    """The mean of rows' values less log Z, with its interval: what :func:`bound` returns."""
    lower, n, level = found.values - np.asarray(log_volume), len(found.values), log_z.level
    quantile, over_rows = float(stats.norm.ppf(0.5 + level / 2)), 0.0
    if n > 1:
        quantile = float(stats.t.ppf(0.5 + level / 2, n - 1))
        # what the draws add to the spread of the rows
        noise = n / (n - 1) * (float(found.variances.mean()) - found.error**2)
        over_rows = max(0.0, float(lower.var(ddof=1)) - noise) / n
    error, value = (
        quantile * math.sqrt(over_rows + found.error**2),
        float(lower.mean()) - log_z.value,
    )
    low, high = (log_z.value if end is None else end for end in (log_z.low, log_z.high))
    parts = [f"{n} rows" if n > 1 else "1 row, whose spread is not known"]
    parts += [found.draws] if found.draws else []
    parts += [f"log Z by {log_z.method}"] if log_z.method else []
    sources = ["the standard error over rows"] if over_rows else []
    sources += [f"that of the draws ({found.error:.2g})"] if found.error else []
    sources += [] if log_z.is_exact else ["log Z's interval"]
    if sources:
        end = " in quadrature" if len(sources) > 1 else ""
        parts.append(f"interval: {' and '.join(sources)}{end}")
    notes = (found.note, "" if log_z.is_exact else MISSED)
    return Measure(
        "mean log-likelihood" if found.exact else "mean bound on log-likelihood",
        value,
        value - math.hypot(error, high - log_z.value),
        value + math.hypot(error, log_z.value - low),
        level,
        n,
        ", ".join(parts),
        note=" ".join(note for note in notes if note),
        warning=log_z.warning,
    )


def free_energy_gap(model: Any, train: Any, held_out: Any, **how: Any) -> Measure:
    """Mean free energy of held-out rows minus that of training rows, in nats: overfitting.

    It is the gap in mean log-likelihood, and needs no log Z. Where hidden layers depend on each
    other the variational free energy, minus the bound, takes the free energy's place. ``how`` are
    the options of :func:`row_bounds`.

    Returns
    -------
    Measure
        Near 0 without overfitting and growing with it; chance alone gives 1.96 standard errors.

    Examples
    --------
    >>> from equilibria.units import Bernoulli
    >>> machine = BoltzmannMachine.stack(Bernoulli(4), Bernoulli(3))
    >>> free_energy_gap(machine, torch.eye(4), torch.ones(5, 4)).value
    0.0
    """
    found = [row_bounds(model, rows, **how) for rows in (train, held_out)]
    kind = "free energy" if found[0].exact else "variational free energy"
    return gap(found[0].values, found[1].values, f"{kind} gap, nats")


def gap(seen: Any, unseen: Any, name: str) -> Measure:
    """How much better training rows ``seen`` score than held-out ``unseen``, in nats, (rows,) each."""
    for what, rows in (("train", seen), ("held_out", unseen)):
        whole(2)(f"rows of {what}", len(rows))
    error = math.sqrt(seen.var(ddof=1) / len(seen) + unseen.var(ddof=1) / len(unseen))
    return Measure(
        name,
        float(seen.mean() - unseen.mean()),
        n=len(unseen),
        chance=1.96 * error,
        ideal=0.0,
        note=f"Held-out minus {len(seen)} training rows; up to 1.96 standard errors may be chance.",
    )


def _rows(model: Any, values: Any) -> Tensor:
    """Rows of the first layer, checked."""
    name = next(iter(model.layers))
    units = model.units(name)
    table = torch.as_tensor(values, dtype=model.dtype, device=model.device)
    if table.ndim != 2 or table.shape[1] != units.size or not len(table):
        found = (
            f"(rows, {units.size}) of layer {name!r}, one row or more, found {tuple(table.shape)}"
        )
        raise ValueError(f"values: expected {found}")
    units.check(table, "values")
    return table
