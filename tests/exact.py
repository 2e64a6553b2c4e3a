"""Truths for small Boltzmann machines, by brute force in numpy's float64 and with nothing of the
library's inference.

Every joint state of every discrete layer is listed; Gaussian layers are integrated out by the full
Gaussian integral of their quadratic form, rectified ones, which no edge joins, cell by cell. The
energy is written out from its formula here, from the parameters alone.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from scipy import special

from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.units import Bernoulli, Categorical, Gaussian, Rectified, Spin, Units

Array = np.ndarray[Any, np.dtype[Any]]

# ------------------------------------------------------------------ the machines


def _graph(
    layers: dict[str, Units], edges: list[tuple[str, str]]
) -> Callable[[], BoltzmannMachine]:
    return lambda: BoltzmannMachine(layers, edges)


def _stack(*units: Units) -> Callable[[], BoltzmannMachine]:
    return lambda: BoltzmannMachine.stack(*units)


_SHAPES: dict[str, Callable[[], BoltzmannMachine]] = {
    "rbm": _stack(Bernoulli(5), Bernoulli(4)),
    "dbm": _stack(Bernoulli(4), Bernoulli(3), Bernoulli(3)),
    "dbm4": _stack(Bernoulli(3), Bernoulli(3), Bernoulli(2), Bernoulli(2)),
    "softmax": _stack(Categorical([3, 2]), Bernoulli(3), Categorical([3])),
    "gaussian": _stack(Gaussian(3, [0.5, 1.0, 2.0]), Bernoulli(3), Bernoulli(2)),
    "label": _graph(
        {
            "visible": Bernoulli(3),
            "hidden1": Bernoulli(3),
            "hidden2": Bernoulli(2),
            "label": Categorical([3]),
        },
        [("visible", "hidden1"), ("hidden1", "hidden2"), ("label", "hidden2")],
    ),
    "towers": _graph(
        {
            "left": Bernoulli(3),
            "left_hidden": Bernoulli(2),
            "top": Bernoulli(2),
            "right_hidden": Bernoulli(2),
            "right": Gaussian(2, 0.5),
        },
        [
            ("left", "left_hidden"),
            ("left_hidden", "top"),
            ("right_hidden", "top"),
            ("right", "right_hidden"),
        ],
    ),
    "spin": _stack(Spin(4), Bernoulli(3), Spin(3)),
    "learned": _stack(
        Gaussian(3, [0.5, 1.0, 2.0], learned=True), Spin(3), Gaussian(2, 0.7, learned=True)
    ),
    "rectified": _stack(Bernoulli(4), Rectified(3, [0.5, 1.0, 2.0]), Bernoulli(2)),
}

MACHINES = tuple(_SHAPES)
CONTINUOUS = ("gaussian", "towers", "learned", "rectified")
DISCRETE = tuple(name for name in MACHINES if name not in CONTINUOUS)


def paired(
    shapes: tuple[str, ...], options: tuple[Any, ...], each: int = 2
) -> list[tuple[str, Any]]:
    """``each`` options for every shape, in turn, in place of the whole product."""
    turns = [(i, i * each + j) for i in range(len(shapes)) for j in range(each)]
    return [(shapes[i], options[turn % len(options)]) for i, turn in turns]


def machine_of(shape: str, std: float = 1.0, seed: int = 0) -> BoltzmannMachine:
    """A float64 machine, weights and biases from N(0, std²), base rates other than its own."""
    machine = copy.deepcopy(
        _SHAPES[shape]()
    ).double()  # a layer's own parameters are not shared between machines
    generator = np.random.default_rng([seed, MACHINES.index(shape)])
    with torch.no_grad():
        for parameter in machine.parameters():
            parameter.copy_(torch.from_numpy(generator.normal(0.0, std, parameter.shape)))
        for name in machine.layers:
            machine.base(name).copy_(
                torch.from_numpy(generator.normal(0.0, 0.5, machine.bias[name].shape))
            )
    return machine


def values_of(machine: BoltzmannMachine, name: str, rows: int, seed: int = 0) -> torch.Tensor:
    """Random possible values of one layer."""
    generator = np.random.default_rng(seed)
    states = layer_states(machine.units(name))
    if states is None:
        values = generator.normal(0.0, 1.0, (rows, machine.units(name).size))
        return torch.from_numpy(
            np.abs(values) if isinstance(machine.units(name), Rectified) else values
        )
    return torch.from_numpy(states[generator.integers(len(states), size=rows)])


# ------------------------------------------------------------------ states and energies


def layer_states(units: Units) -> Array | None:
    """All states of a discrete layer; None for a continuous one."""
    if isinstance(units, Bernoulli):
        groups = [[(0.0,), (1.0,)]] * units.size
    elif isinstance(units, Spin):
        groups = [[(-1.0,), (1.0,)]] * units.size
    elif isinstance(units, Categorical):
        groups = [[tuple(row) for row in np.eye(k)] for k in units.sizes]
    else:
        return None
    return np.array([np.concatenate(parts) for parts in itertools.product(*groups)])


def joint_states(machine: BoltzmannMachine, layers: list[str] | None = None) -> dict[str, Array]:
    """Every joint state of the discrete layers (of ``layers`` only, if given), the last layer's
    turning fastest."""
    tables = {
        n: layer_states(machine.units(n)) for n in (machine.layers if layers is None else layers)
    }
    discrete = {n: table for n, table in tables.items() if table is not None}
    index = np.indices([len(table) for table in discrete.values()]).reshape(len(discrete), -1)
    return {name: table[i] for (name, table), i in zip(discrete.items(), index, strict=True)}


def parameters_of(
    machine: BoltzmannMachine, beta: float = 1.0
) -> tuple[dict[str, Array], dict[tuple[str, str], Array]]:
    """Biases and weights at inverse temperature β."""
    bias = {
        n: beta * b.detach().numpy() + (1 - beta) * machine.base(n).numpy()
        for n, b in machine.bias.items()
    }
    weight = {(a, b): beta * machine.weight[f"{a}-{b}"].detach().numpy() for a, b in machine.edges}
    return bias, weight


def _scale(units: Units) -> Array:
    """The signal is x times this."""
    if isinstance(units, Gaussian) and units.learned:
        return 1.0 / (0.01 + np.exp(units.log_variance.detach().numpy()))
    return (
        1.0 / units.variance.numpy()
        if isinstance(units, Gaussian | Rectified)
        else np.ones(units.size)
    )


def energy(machine: BoltzmannMachine, state: Mapping[str, Array], beta: float = 1.0) -> Array:
    """E(x) = Σ x²/2σ² (Gaussian and rectified layers) − Σ b · s − Σ s W s, row by row."""
    bias, weight = parameters_of(machine, beta)
    signal = {name: np.asarray(x) * _scale(machine.units(name)) for name, x in state.items()}
    total = np.zeros(len(next(iter(signal.values()))))
    for name in machine.layers:
        total -= signal[name] @ bias[name]
        if isinstance(machine.units(name), Gaussian | Rectified):
            total += 0.5 * (signal[name] * state[name]).sum(1)
    for (a, b), matrix in weight.items():
        total -= np.einsum("ri,ij,rj->r", signal[a], matrix, signal[b])
    return total


# ------------------------------------------------------------------ sums over states


@dataclasses.dataclass(frozen=True)
class Enumerated:
    """The free states given one row of a clamp: ``logs`` is log ∫ exp(−E) over the continuous cells
    of each discrete state.

    ``signals`` are expected signals given the discrete state: the state itself for a discrete
    layer. ``squares`` are E[x²] of the continuous ones.
    """

    logs: Array
    signals: dict[str, Array]
    squares: dict[str, Array] = dataclasses.field(default_factory=dict)

    @property
    def log_total(self) -> float:
        top = self.logs.max()
        return float(top + np.log(np.exp(self.logs - top).sum()))

    @property
    def probabilities(self) -> Array:
        return np.exp(self.logs - self.log_total)


def enumerate_states(
    machine: BoltzmannMachine,
    clamp: Mapping[str, tuple[Array, Array]] | None = None,
    beta: float = 1.0,
) -> Enumerated:
    """``clamp``: layer → (values (size,), mask (size,)) of one row."""
    clamp = clamp or {}
    state = joint_states(machine)
    count = len(next(iter(state.values())))
    keep = np.ones(count, dtype=bool)
    for name, states in state.items():
        if name in clamp:
            values, mask = clamp[name]
            keep &= (states[:, mask] == layer_states(machine.units(name))[0][mask]).all(1)  # type: ignore[index]
    state = {name: states[keep].copy() for name, states in state.items()}
    for name in state:
        if name in clamp:
            values, mask = clamp[name]
            state[name][:, mask] = values[
                mask
            ]  # a grey level is no state, so it is put in after the states are counted
    return _integrate(machine, state, clamp, beta)


def _integrate(
    machine: BoltzmannMachine,
    state: dict[str, Array],
    clamp: Mapping[str, tuple[Array, Array]],
    beta: float,
) -> Enumerated:
    """The integral over what is free of the continuous layers, for each discrete state."""
    bias, weight = parameters_of(machine, beta)
    continuous = [n for n in machine.layers if layer_states(machine.units(n)) is None]
    count = len(next(iter(state.values())))
    nothing = {
        n: (np.zeros(machine.units(n).size), np.zeros(machine.units(n).size, dtype=bool))
        for n in continuous
    }
    parts = {n: clamp.get(n, nothing[n]) for n in continuous}
    settled = {n: np.tile(np.where(parts[n][1], parts[n][0], 0.0), (count, 1)) for n in continuous}
    logs = -energy(machine, {**state, **settled}, beta)
    means, squares = dict(settled), {n: x**2 for n, x in settled.items()}
    linear = {}
    for n in continuous:
        felt = np.tile(bias[n], (count, 1))
        for (a, b), matrix in weight.items():
            felt = felt + (state[b] @ matrix.T if a == n else state[a] @ matrix if b == n else 0.0)
        linear[n] = felt * _scale(machine.units(n))
    gaussian = [n for n in continuous if isinstance(machine.units(n), Gaussian)]
    if gaussian:
        free = np.concatenate([~parts[n][1] for n in gaussian])
        precision = np.diag(np.concatenate([_scale(machine.units(n)) for n in gaussian]))[
            np.ix_(free, free)
        ]
        added, mean, variance = gaussian_integral(
            precision, np.concatenate([linear[n] for n in gaussian], 1)[:, free]
        )
        logs = logs + added
        whole, spread = np.concatenate([settled[n] for n in gaussian], 1), np.zeros(len(free))
        whole[:, free], spread[free] = mean, variance
        cuts = np.cumsum([machine.units(n).size for n in gaussian])[:-1]
        for n, columns, extra in zip(
            gaussian, np.split(whole, cuts, axis=1), np.split(spread, cuts), strict=True
        ):
            means[n], squares[n] = columns, columns**2 + extra
    for n in continuous:
        if n not in gaussian:
            free = ~parts[n][1]
            added, mean, square = rectified_integral(
                _scale(machine.units(n))[free], linear[n][:, free]
            )
            logs = logs + added
            means[n][:, free], squares[n][:, free] = mean, square
    signals = {**state, **{n: x * _scale(machine.units(n)) for n, x in means.items()}}
    return Enumerated(logs, signals, squares)


def gaussian_integral(precision: Array, h: Array) -> tuple[Array, Array, Array]:
    """log ∫ exp(−½ xᵀAx + xᵀh) dx for each row of h, with A as a matrix; the mean, and the variance
    of each cell."""
    mean = np.linalg.solve(precision, h.T).T
    logs = 0.5 * (h * mean).sum(1) - 0.5 * np.linalg.slogdet(precision / (2 * np.pi))[1]
    return logs, mean, np.diag(np.linalg.inv(precision))


def rectified_integral(precision: Array, h: Array) -> tuple[Array, Array, Array]:
    """log ∫₀^∞ exp(−½ a x² + h x) dx summed over cells; E[x] and E[x²] of each cell."""
    root = np.sqrt(precision)
    z = h / root
    log_upper = special.log_ndtr(z)
    hazard = np.exp(-0.5 * z**2 - 0.5 * np.log(2 * np.pi) - log_upper)
    logs = 0.5 * z**2 + log_upper + 0.5 * np.log(2 * np.pi / precision)
    return logs.sum(1), (z + hazard) / root, (1 + z * (z + hazard)) / precision


def clamp_rows(clamp: Mapping[str, Any]) -> list[dict[str, tuple[Array, Array]]]:
    """A clamp as the library takes it, as one dictionary of (values, mask) for each row."""
    pairs = {}
    for name, given in clamp.items():
        values, mask = (
            given if isinstance(given, tuple) else (given, torch.ones_like(given, dtype=torch.bool))
        )
        pairs[name] = (np.asarray(values), np.asarray(mask))
    rows = len(next(iter(pairs.values()))[0])
    return [
        {name: (values[row], mask[row]) for name, (values, mask) in pairs.items()}
        for row in range(rows)
    ]


def log_partition(
    machine: BoltzmannMachine, clamp: Mapping[str, Any] | None = None, beta: float = 1.0
) -> Array:
    """log Σ exp(−E) over what is free: one number, or one for each row of the clamp."""
    rows = [None] if clamp is None else clamp_rows(clamp)
    return np.array([enumerate_states(machine, row, beta).log_total for row in rows])


def log_likelihood(machine: BoltzmannMachine, clamp: Mapping[str, Any]) -> float:
    """Mean over rows of log p of what is observed."""
    return float(log_partition(machine, clamp).mean() - log_partition(machine)[0])


def moments(
    machine: BoltzmannMachine, clamp: Mapping[str, Any] | None = None
) -> dict[str, torch.Tensor]:
    """E[−∂E/∂θ] by parameter name (``bias.visible``, ``weight.visible-hidden1``, …), averaged over
    a clamp's rows.

    For biases and weights these are expected signals and their products.
    """
    results: list[dict[str, Array]] = []
    for row in [None] if clamp is None else clamp_rows(clamp):
        listed = enumerate_states(machine, row)
        p, s = listed.probabilities, listed.signals
        result = {f"bias.{n}": p @ s[n] for n in machine.layers}
        # No edge joins two continuous layers: one's state times the other's conditional mean is
        # exact.
        result.update({f"weight.{a}-{b}": (p[:, None] * s[a]).T @ s[b] for a, b in machine.edges})
        result.update(
            {
                f"layers.{n}.log_variance": _variance_moment(machine, n, listed)
                for n in machine.layers
                if _learned(machine, n)
            }
        )
        results.append(result)
    return {key: torch.from_numpy(np.mean([r[key] for r in results], axis=0)) for key in results[0]}


def _learned(machine: BoltzmannMachine, name: str) -> bool:
    units = machine.units(name)
    return isinstance(units, Gaussian) and units.learned


def _variance_moment(machine: BoltzmannMachine, name: str, listed: Enumerated) -> Array:
    """E[−∂E/∂θ] with σ² = 0.01 + exp(θ) and E = (x²/2 − x f)/σ² + …: the field f is a function of
    the discrete state."""
    bias, weight = parameters_of(machine)
    scale = _scale(machine.units(name))
    field = np.tile(bias[name], (len(listed.logs), 1))
    for (a, b), matrix in weight.items():
        field = field + (
            listed.signals[b] @ matrix.T
            if a == name
            else listed.signals[a] @ matrix
            if b == name
            else 0.0
        )
    slope = 0.5 * listed.squares[name] - listed.signals[name] / scale * field
    return (listed.probabilities @ slope) * scale**2 * (1 / scale - 0.01)


def finite_differences(
    machine: BoltzmannMachine, function: Callable[[], float], step: float = 1e-4
) -> dict[str, torch.Tensor]:
    """The gradient of ``function`` in every parameter, by fourth-order central differences."""
    gradients = {}
    for name, parameter in machine.named_parameters():
        flat, slopes = parameter.data.view(-1), []
        for i in range(flat.numel()):
            here = float(flat[i])

            def at(
                shift: float, i: int = i, here: float = here, flat: torch.Tensor = flat
            ) -> float:
                flat[i] = here + shift
                return function()

            slopes.append(
                (8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12 * step)
            )
            flat[i] = here
        gradients[name] = torch.tensor(slopes, dtype=torch.float64).view_as(parameter)
    return gradients


@functools.cache
def clamps_of(shape: str) -> dict[str, dict[str, Any]]:
    """Named clamps of a machine: the first layer whole, a mask within it, several layers at once,
    only a mask on two layers."""
    machine = machine_of(shape)
    names = list(machine.layers)
    first, second, last = names[0], names[1], names[-1]
    rows = 4
    x = {n: values_of(machine, n, rows, seed=i) for i, n in enumerate(names)}
    clamps: dict[str, dict[str, Any]] = {
        "whole": {first: x[first]},
        "masked": {first: (x[first], mask_of(machine, first, rows, 1))},
        "several": {first: (x[first], mask_of(machine, first, rows, 2)), last: x[last]},
        "hidden": {
            second: (x[second], mask_of(machine, second, rows, 3)),
            first: (x[first], mask_of(machine, first, rows, 4)),
        },
    }
    return clamps


def mask_of(machine: BoltzmannMachine, name: str, rows: int, seed: int) -> torch.Tensor:
    """A random mask, a categorical variable whole or not at all; never the same for all cells."""
    units = machine.units(name)
    generator = np.random.default_rng(seed)
    observed = generator.random((rows, units.variables)) < 0.5
    observed[0], observed[1] = False, True  # a row with nothing observed, and one with everything
    widths = units.sizes if isinstance(units, Categorical) else [1] * units.size
    return torch.from_numpy(np.repeat(observed, widths, axis=1))
