"""Likelihood of deep belief networks: the bound on held-out log-likelihood with its interval, and the exact value of small ones.

log Z is that of the topmost machine alone: :func:`equilibria.evaluation.log_partition` of ``network.top``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from equilibria.estimate import Estimate
from equilibria.evaluation.bounds import described, gap, less_log_z, refuse_few
from equilibria.evaluation.likelihood import log_partition
from equilibria.inference import exact
from equilibria.models.belief_network import BeliefNetwork, tightened
from equilibria.numbers import Measure
from equilibria.random import RandomState, as_stream

__all__ = ["RowBounds", "bound", "free_energy_gap", "log_prob", "row_bounds"]

_DRAWS = 4000  # draws of the hidden layers at a time


@dataclasses.dataclass(frozen=True)
class RowBounds:
    """Lower bounds on log p(v) + log Z, one a row, by Monte Carlo.

    Attributes
    ----------
    values : ndarray of shape (rows,)
        In nats.
    variances : ndarray of shape (rows,)
        Of each value, from its draws.
    error : float
        Standard error of the values' mean that comes from the draws; rows that are alike share theirs.
    """

    values: np.ndarray
    variances: np.ndarray
    error: float


def row_bounds(network: BeliefNetwork, values: Any, samples: int = 10, importance: int = 1, random_state: RandomState = 0) -> RowBounds:
    """The bound of each row before log Z is taken off, with draws that are keyed by the row's content.

    A row therefore has the same bound in any company, and rows that are alike are worked out once.

    Parameters
    ----------
    network : BeliefNetwork
        The model.
    values : array or tensor, shape (n, size)
        Rows of the first layer.
    samples, importance, random_state
        As in :meth:`equilibria.models.belief_network.BeliefNetwork.log_prob_bound`; at least 2 samples, since the error comes from
        their spread. Where many rows are alike so few give an error that is too small too often; 10 are enough.
    """
    for name, value in {"samples": samples, "importance": importance}.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < (2 if name == "samples" else 1):
            raise ValueError(f"{name}={value!r}: expected a whole number, {2 if name == 'samples' else 1} or more")
    tensor, stream = _rows(network, values, "values"), as_stream(random_state)
    distinct, place, counts = torch.unique(tensor, dim=0, return_inverse=True, return_counts=True)
    if network.exact:
        samples, importance = 1, 1  # there is nothing to draw
    keys = [hashlib.blake2b(row.tobytes(), digest_size=8).hexdigest() for row in distinct.double().cpu().numpy()]
    parts, size = [], max(1, _DRAWS // (samples * importance))
    for first in range(0, len(keys), size):
        part = slice(first, first + size)
        parts.append(tightened(network.log_weights(distinct[part], samples * importance, stream, keys[part]), importance).double().cpu())
    drawn = torch.cat(parts)
    variance = drawn.var(1) / samples if samples > 1 else torch.zeros(len(drawn), dtype=torch.float64)
    counts, place = counts.cpu(), place.cpu()
    error = math.sqrt(float((counts.double().square() * variance).sum())) / len(tensor)
    return RowBounds(drawn.mean(1)[place].numpy(), variance[place].numpy(), error)


def bound(
    network: BeliefNetwork,
    values: Any,
    log_z: Estimate | None = None,
    *,
    samples: int = 10,
    importance: int = 1,
    random_state: RandomState = 0,
) -> Estimate:
    r"""Mean over rows of the variational lower bound on log p(v), in nats.

    .. math:: \frac1n \sum_i \left( E_Q[\log p(v_i \mid h^1) + \dots + \log p^*(h^{L-1})] + H(Q_i) \right) - \log Z

    The expectation over Q(h | v) is by Monte Carlo, the topmost hidden layer is summed out. A network of one hidden layer has
    no directed part: its value is the mean log-likelihood, and is called so.

    Parameters
    ----------
    network : BeliefNetwork
        The model.
    values : array or tensor, shape (n, size)
        Held-out rows of the first layer.
    log_z : Estimate, optional
        Of ``network.top``; by default :func:`equilibria.evaluation.log_partition` with ``random_state``.
    samples, importance, random_state
        As in :func:`row_bounds`: ``importance`` draws make one importance-weighted bound, of which ``samples`` are averaged.

    Returns
    -------
    Estimate
        Its interval joins the standard error over the rows (of one row there is none), the draws' own, and log Z's interval in quadrature.

    Raises
    ------
    ValueError
        For no rows, a wrong shape, values that the layer cannot take, or fewer than two samples.

    References
    ----------
    Salakhutdinov and Murray 2008, "On the quantitative analysis of deep belief networks", section 4; Burda, Grosse and
    Salakhutdinov 2016, "Importance weighted autoencoders".

    Examples
    --------
    >>> from equilibria.units import Bernoulli
    >>> network = BeliefNetwork.stack(Bernoulli(4), Bernoulli(3), Bernoulli(2)).double()
    >>> print(bound(network, torch.eye(4)))
    mean bound on log-likelihood = -2.773 (4 rows, 10 draws each, log Z by exact enumeration)
    """
    tensor = _rows(network, values, "values")
    log_z = log_partition(network.top, random_state) if log_z is None else log_z
    found, n, level = row_bounds(network, tensor, samples, importance, random_state), len(tensor), log_z.level
    quantile, over_rows = float(stats.norm.ppf(0.5 + level / 2)), 0.0
    if n > 1:
        noise = n / (n - 1) * (float(found.variances.mean()) - found.error**2)  # what the draws add to the spread of the rows
        quantile, over_rows = float(stats.t.ppf(0.5 + level / 2, n - 1)), max(0.0, float(found.values.var(ddof=1)) - noise) / n
    error = quantile * math.sqrt(over_rows + found.error**2)
    each = f"{samples} draws each" if importance == 1 else f"{samples} importance-weighted means of {importance} draws each"
    method = described(n, log_z, error, draws="" if network.exact else each, noise=found.error)
    return less_log_z(float(found.values.mean()), error, log_z, method, exact=network.exact, rows=n)


def free_energy_gap(
    network: BeliefNetwork, train: Any, held_out: Any, *, samples: int = 10, importance: int = 1, random_state: RandomState = 0
) -> Measure:
    """Mean bound of training rows minus that of held-out rows, in nats: how much better the model knows the former. It needs no log Z.

    Parameters
    ----------
    network : BeliefNetwork
        The model.
    train, held_out : array or tensor, shape (m, size), (n, size)
        Rows of the first layer.
    samples, importance, random_state
        As in :func:`row_bounds`.

    Returns
    -------
    Measure
        Near 0 without overfitting and growing with it; its floor is 1.96 standard errors.

    Examples
    --------
    >>> from equilibria.units import Bernoulli
    >>> network = BeliefNetwork.stack(Bernoulli(4), Bernoulli(3), Bernoulli(2)).double()
    >>> round(free_energy_gap(network, torch.eye(4), torch.ones(5, 4)).value, 9)
    0.0
    """
    tables = (_rows(network, rows, name, least=2) for rows, name in ((train, "train"), (held_out, "held_out")))
    seen, unseen = (row_bounds(network, table, samples, importance, random_state).values for table in tables)
    return gap(seen, unseen, exact=network.exact)


@torch.no_grad()
def log_prob(network: BeliefNetwork, values: Any, max_states: int = exact.MAX_STATES) -> Tensor:
    """Exact log p(v) of each row, (n,), by passing the law of each hidden layer down over all of its states.

    Raises
    ------
    ValueError
        When a hidden layer below the topmost is continuous, or two neighbours have more than ``max_states`` pairs of states.

    Examples
    --------
    >>> from equilibria.units import Bernoulli
    >>> network = BeliefNetwork.stack(Bernoulli(3), Bernoulli(2), Bernoulli(2))
    >>> (log_prob(network, torch.zeros(1, 3)) / math.log(2)).round(decimals=3)
    tensor([-3.])
    """
    table, top = _rows(network, values, "values"), network.top
    tables = [table, *(_states(network, name, max_states) for name in network.layers[1:-1])]
    for below, above in itertools.pairwise(tables[1:]):
        if len(below) * len(above) > max_states:
            raise ValueError(f"network: neighbouring layers have {len(below)} × {len(above)} states, more than max_states={max_states}")
    law = top.log_marginal(0, {network.layers[-2]: tables[-1]}) - exact.log_partition(top, max_states=max_states)
    for i in reversed(range(len(tables) - 1)):
        units, field = network.units(network.layers[i]), network.down_field(i, tables[i + 1])
        pull = units.signal(tables[i]) @ field.T - units.base_energy(tables[i]).sum(1, keepdim=True)
        law = torch.logsumexp(pull + (law - units.log_partition(field).sum(1)), 1)
    return law


def _states(network: BeliefNetwork, name: str, max_states: int) -> Tensor:
    states = network.units(name).states
    if states is None or states > max_states:
        raise ValueError(f"network: layer {name!r} has {states or 'a continuum of'} states, and at most max_states={max_states} are listed")
    return network.units(name).state_at(torch.arange(states, device=network.device), network.dtype)


def _rows(network: BeliefNetwork, values: Any, name: str, least: int = 1) -> Tensor:
    units = network.units(network.layers[0])
    tensor = torch.as_tensor(values, dtype=network.dtype, device=network.device)
    if tensor.ndim != 2 or tensor.shape[1] != units.size:
        raise ValueError(f"{name}: expected shape (rows, {units.size}) for layer {network.layers[0]!r}, found {tuple(tensor.shape)}")
    refuse_few(len(tensor), name, least)
    units.check(tensor, name)
    return tensor
