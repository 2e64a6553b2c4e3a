"""Spin machines and binary machines are one another by a change of variable, x = 2 v − 1."""

from __future__ import annotations

import copy

import torch

from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.units import Bernoulli, Spin, Units

__all__ = ["to_binary", "to_spins"]


def to_binary(machine: BoltzmannMachine) -> tuple[BoltzmannMachine, float]:
    r"""The same distribution with every spin x written as a binary unit v, x = 2 v − 1.

    For the scale α = 2 and the shift γ = 1 of a spin layer (1 and 0 of any other), a signal is s =
    α v − γ, and so

    .. math:: W'_{lm} = \alpha_l \alpha_m W_{lm},
              \qquad b'_l = \alpha_l \Big( b_l - \sum_m W_{lm} \gamma_m \Big), \qquad
              E(x) = E'(v) + c, \qquad
              c = \sum_l \gamma_l \mathbf{1}^\top b_l
              - \sum_{(l, m)} \gamma_l \gamma_m \mathbf{1}^\top W_{lm} \mathbf{1},

    with each edge once in the second sum. It holds at every β, base rates included, so annealing
    takes the same path.

    Returns
    -------
    (BoltzmannMachine, float)
        The machine, and c: log Z of the spin machine is log Z of the binary one minus c.

    Examples
    --------
    >>> from equilibria.inference import exact
    >>> spins = BoltzmannMachine.stack(Spin(4), Spin(3)).double().initialise(0, std=0.5)
    >>> binary, constant = to_binary(spins)
    >>> abs(exact.log_partition(spins) - (exact.log_partition(binary) - constant)) < 1e-12
    True
    """
    return _change(machine, Spin, Bernoulli, 2.0, 1.0)


def to_spins(machine: BoltzmannMachine) -> tuple[BoltzmannMachine, float]:
    """The same distribution with every binary unit v as a spin: inverse of :func:`to_binary`.

    Returns
    -------
    (BoltzmannMachine, float)
        The machine, and c with E(v) = E'(x) + c: log Z of the binary machine is log Z of the spin
        one minus c.

    Examples
    --------
    >>> binary = BoltzmannMachine.stack(Bernoulli(4), Bernoulli(3)).initialise(0)
    >>> to_binary(to_spins(binary)[0])[0].units("visible")
    Bernoulli(4)
    """
    return _change(machine, Bernoulli, Spin, 0.5, -0.5)


def _change(
    machine: BoltzmannMachine, old: type[Units], new: type[Units], scale: float, shift: float
) -> tuple[BoltzmannMachine, float]:
    """Write the ``old`` units' values as scale · (value of ``new`` units) − shift."""
    changed = [name for name in machine.layers if type(machine.units(name)) is old]
    layers = {
        name: new(machine.units(name).size)
        if name in changed
        else copy.deepcopy(machine.units(name))
        for name in machine.layers
    }
    result = BoltzmannMachine(layers, machine.edges)
    result = result.to(dtype=machine.dtype, device=machine.device)
    alpha = {name: scale if name in changed else 1.0 for name in machine.layers}
    gamma = {name: shift if name in changed else 0.0 for name in machine.layers}
    with torch.no_grad():
        result.load_state_dict(machine.state_dict())
        constant = sum(gamma[name] * float(bias.sum()) for name, bias in machine.bias.items())
        for a, b in machine.edges:
            weight = machine.weight[f"{a}-{b}"]
            result.bias[a] -= gamma[b] * weight.sum(1)
            result.bias[b] -= gamma[a] * weight.sum(0)
            result.weight[f"{a}-{b}"] *= alpha[a] * alpha[b]
            constant -= gamma[a] * gamma[b] * float(weight.sum())
        for name in machine.layers:
            result.bias[name] *= alpha[name]
            result.base(name).mul_(alpha[name])
    return result, constant
