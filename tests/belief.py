"""Truths for small belief networks, by brute force in numpy's float64 from the formula of the joint
and the parameters alone."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from scipy import special, stats

import exact
from equilibria.models.belief_network import BeliefNetwork
from equilibria.units import Bernoulli, Categorical, Gaussian, Units
from research.untied import UntiedNetwork

Array = np.ndarray[Any, np.dtype[Any]]

_SHAPES: dict[str, list[Units]] = {
    "binary": [Bernoulli(5), Bernoulli(4), Bernoulli(3)],
    "deep": [Bernoulli(4), Bernoulli(3), Bernoulli(3), Bernoulli(2)],
    "softmax": [Categorical([3, 2]), Bernoulli(3), Categorical([2, 3])],
    "groups": [Bernoulli(4), Categorical([3, 2]), Bernoulli(3)],
    "gaussian": [Gaussian(2, [0.5, 2.0]), Bernoulli(3), Bernoulli(3)],
}
NETWORKS = tuple(_SHAPES)
DISCRETE = tuple(name for name in NETWORKS if name != "gaussian")


def network_of(shape: str, std: float = 1.0, untied: bool = False) -> BeliefNetwork:
    """A float64 network with all parameters from N(0, std²).

    Untied, its recognition weights are others than the generative ones.
    """
    network = (UntiedNetwork if untied else BeliefNetwork).stack(*_SHAPES[shape]).double()
    generator = np.random.default_rng(NETWORKS.index(shape))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.from_numpy(generator.normal(0.0, std, parameter.shape)))
    return network


def visible_of(network: BeliefNetwork, rows: int = 6) -> torch.Tensor:
    """Random possible values of the first layer."""
    return exact.values_of(network.machine(0), network.layers[0], rows)


def log_law(units: Units, field: Array, x: Array) -> Array:
    """log p(x | field) for each pair (row of x, row of the field)."""
    x, field = np.broadcast_arrays(x[:, None, :], field[None, :, :])
    if isinstance(units, Bernoulli):
        return (x * field - np.logaddexp(0, field)).sum(2)
    if isinstance(units, Categorical):
        ends = np.cumsum(units.sizes)[:-1]
        groups = zip(np.split(x, ends, axis=2), np.split(field, ends, axis=2), strict=True)
        return sum((a * b).sum(2) - special.logsumexp(b, axis=2) for a, b in groups)
    return stats.norm.logpdf(x, field, np.sqrt(units.variance.numpy())).sum(2)


def _signal(units: Units, x: Array) -> Array:
    return x / units.variance.numpy() if isinstance(units, Gaussian) else x


def _array(tensor: torch.Tensor) -> Array:
    return tensor.detach().numpy()


def down(network: BeliefNetwork, i: int, below: Array, above: Array) -> Array:
    """log p(layer i | layer i + 1), (states below, states above)."""
    lower, upper = network.layers[i : i + 2]
    machine = network.machine(i)
    field = (
        _array(machine.bias[lower])
        + _signal(network.units(upper), above) @ _array(machine.weight[f"{lower}-{upper}"]).T
    )
    return log_law(network.units(lower), field, below)


def up(network: BeliefNetwork, i: int, below: Array, above: Array) -> Array:
    """log Q(layer i + 1 | layer i), (states below, states above)."""
    lower, upper = network.layers[i : i + 2]
    machine, key = network.machine(i), f"{lower}-{upper}"
    recognition = network.recognition if isinstance(network, UntiedNetwork) else machine.weight
    weight = recognition[key]
    field = _array(machine.bias[upper]) + _signal(network.units(lower), below) @ _array(weight)
    return log_law(network.units(upper), field, above).T


def prior(network: BeliefNetwork) -> Array:
    """log p of each state of the topmost machine's lower layer, by summing exp(−E) over its hidden
    one."""
    below, above = (exact.layer_states(network.units(name)) for name in network.layers[-2:])
    pairs = {
        network.layers[-2]: np.repeat(below, len(above), 0),
        network.layers[-1]: np.tile(above, (len(below), 1)),
    }
    sums = special.logsumexp(
        -exact.energy(network.top, pairs).reshape(len(below), len(above)), axis=1
    )
    return sums - special.logsumexp(sums)


def joint(network: BeliefNetwork, v: torch.Tensor) -> tuple[Array, Array]:
    """(log p(v, h¹, …, h^{L−1}), log Q(h¹, …, h^{L−1} | v)) of every state of the hidden layers,
    each (rows, states)."""
    tables = [
        v.numpy(),
        *(exact.layer_states(network.units(name)) for name in network.layers[1:-1]),
    ]
    downs = [down(network, i, *tables[i : i + 2]) for i in range(len(tables) - 1)]
    ups = [up(network, i, *tables[i : i + 2]) for i in range(len(tables) - 1)]
    top, logs_p, logs_q = prior(network), [], []
    for path in itertools.product(*(range(len(table)) for table in tables[1:])):
        steps = list(itertools.pairwise(path))
        logs_p.append(
            downs[0][:, path[0]]
            + sum(downs[i + 1][a, b] for i, (a, b) in enumerate(steps))
            + top[path[-1]]
        )
        logs_q.append(ups[0][:, path[0]] + sum(ups[i + 1][a, b] for i, (a, b) in enumerate(steps)))
    return np.stack(logs_p, 1), np.stack(logs_q, 1)


def log_prob(network: BeliefNetwork, v: torch.Tensor) -> Array:
    return special.logsumexp(joint(network, v)[0], axis=1)


def bound(network: BeliefNetwork, v: torch.Tensor, importance: int = 1) -> tuple[Array, Array]:
    """(the bound, the standard deviation of one Monte Carlo term of it) of each row: exactly, over
    all tuples of hidden states."""
    log_p, log_q = joint(network, v)
    logs, weights = log_p - log_q, np.exp(log_q)
    terms, chances = logs[:, :, None], weights
    for _ in range(importance - 1):
        chances = (chances[:, :, None] * weights[:, None, :]).reshape(len(v), -1)
        terms = np.concatenate(
            [np.repeat(terms, logs.shape[1], 1), np.tile(logs, (1, terms.shape[1]))[:, :, None]],
            2,
        )
    terms = special.logsumexp(terms, axis=2) - np.log(importance)
    mean = (chances * terms).sum(1)
    return mean, np.sqrt((chances * (terms - mean[:, None]) ** 2).sum(1))


def log_partition(network: BeliefNetwork) -> float:
    return float(exact.log_partition(network.top)[0])


def g_test(counts: Array, expected: Array) -> float:
    """p-value of the G-test; states that are expected fewer than five times count as one with the
    rarest of the others."""
    order = np.argsort(expected)
    counts, expected = counts[order], expected[order]
    rare = int((expected < 5).sum())
    observed, wanted = (
        np.append(counts[: rare + 1].sum(), counts[rare + 1 :]),
        np.append(expected[: rare + 1].sum(), expected[rare + 1 :]),
    )
    return float(
        stats.power_divergence(
            observed, wanted * observed.sum() / wanted.sum(), lambda_="log-likelihood"
        ).pvalue
    )
