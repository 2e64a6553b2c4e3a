"""Two-colour block Gibbs sampling, and the sum over one colour given the other.

All layers of one colour are independent given the other, so a sweep is two block draws, whatever
the depth (*Deep Learning*, section 20.4: "odd" and "even" layers), and one colour sums out in
closed form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from equilibria.check import whole
from equilibria.inference.clamp import Clamp, Held, parse
from equilibria.random import RandomState, Stream, as_stream

if TYPE_CHECKING:
    from equilibria.models.boltzmann import BoltzmannMachine, State

__all__ = ["anneal", "block", "energy", "log_marginal", "run", "start", "sweep"]


def run(
    machine: BoltzmannMachine,
    state: Mapping[str, Any],
    steps: int = 100,
    random_state: RandomState = 0,
    clamp: Clamp | None = None,
    beta: float = 1.0,
) -> dict[str, Tensor]:
    """Run block Gibbs sweeps and return the new state, which shares no memory with ``state``.

    Parameters
    ----------
    machine : BoltzmannMachine
        The model.
    state : mapping of str to array
        Values of every layer, each (rows, size): one chain a row. :func:`start` makes one.
    steps : int
        Number of sweeps; each draws both colours once.
    random_state : int, Stream or numpy generator
        The same value gives the same chains.
    clamp : mapping, optional
        layer → values, or layer → (values, mask), held throughout.
    beta : float
        Inverse temperature: scales the couplings and moves the biases from the base rates (β = 0)
        to the machine's own (β = 1).

    Examples
    --------
    >>> from equilibria.models.boltzmann import BoltzmannMachine
    >>> from equilibria.units import Bernoulli
    >>> machine = BoltzmannMachine.stack(Bernoulli(6), Bernoulli(5), Bernoulli(4)).initialise(0)
    >>> state = run(machine, start(machine, rows=3), steps=10, clamp={"hidden2": torch.ones(3, 4)})
    >>> state["visible"].shape, float(state["hidden2"].min())
    (torch.Size([3, 6]), 1.0)
    """
    steps = whole()("steps", steps)
    values = machine.as_state(state)
    held = parse(machine, clamp, rows=len(next(iter(values.values()))))
    values |= {name: h.fill(values[name]) for name, h in held.items()}
    stream = as_stream(random_state)
    with torch.no_grad():
        for step in range(steps):
            values, _ = sweep(machine, values, stream.child(step), held, beta)
    return {name: x.clone() if name in held or not steps else x for name, x in values.items()}


def start(
    machine: BoltzmannMachine, rows: int, random_state: RandomState = 0, clamp: Clamp | None = None
) -> dict[str, Tensor]:
    """A first state for ``rows`` chains: every layer drawn from its base rates, independently."""
    stream, held, values = as_stream(random_state), parse(machine, clamp, rows), {}
    with torch.no_grad():
        for name in machine.layers:
            base = machine.base(name).expand(rows, -1)
            x = machine.units(name).sample(base, stream.child("start", name))
            values[name] = held[name].fill(x) if name in held else x
    return values


def anneal(
    machine: BoltzmannMachine,
    rows: int,
    steps: int = 1000,
    random_state: RandomState = 0,
    clamp: Clamp | None = None,
) -> dict[str, Tensor]:
    """Independent fresh chains, cooled from the base rates (β = 0) to β = 1 in ``steps`` sweeps.

    At a low β chains still cross between modes, so their shares of the modes at β = 1 are about the
    model's own, the nearer the slower they are cooled; chains merely swept from :func:`start` stay
    in the mode that they began in (Kirkpatrick, Gelatt & Vecchi 1983).

    Examples
    --------
    >>> from equilibria.models.boltzmann import BoltzmannMachine
    >>> from equilibria.units import Bernoulli
    >>> machine = BoltzmannMachine.stack(Bernoulli(6), Bernoulli(5)).initialise(0)
    >>> anneal(machine, rows=3, steps=10)["visible"].shape
    torch.Size([3, 6])
    """
    stream, held = as_stream(random_state), parse(machine, clamp, rows)
    values = start(machine, rows, stream.child("first"), held)
    with torch.no_grad():
        for step in range(1, steps + 1):
            values, _ = sweep(machine, values, stream.child(step), held, step / steps)
    return values


def sweep(
    machine: BoltzmannMachine,
    state: State,
    stream: Stream,
    held: Mapping[str, Held] | None = None,
    beta: float = 1.0,
    gain: Mapping[str, float] | None = None,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """One sweep: ``colours[0]`` given ``colours[1]``, then the reverse.

    Returns the new state and the field that each layer was drawn under. The fields of
    ``colours[1]`` belong to the final state of ``colours[0]``: their means are the
    Rao–Blackwellised negative statistics at no further product.
    """
    first, fields_0 = block(machine, 0, state, stream, held, beta, gain)
    second, fields_1 = block(machine, 1, {**state, **first}, stream, held, beta, gain)
    return {**state, **first, **second}, {**fields_0, **fields_1}


def block(
    machine: BoltzmannMachine,
    colour: int,
    state: State,
    stream: Stream,
    held: Mapping[str, Held] | None = None,
    beta: float = 1.0,
    gain: Mapping[str, float] | None = None,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Draw every layer of one colour given the other: (new values, their fields).

    ``gain`` multiplies the field of the layers that it names: the doubled input of pretraining.
    """
    values: dict[str, Tensor] = {}
    fields: dict[str, Tensor] = {}
    for name in machine.colours[colour]:
        hold = held.get(name) if held else None
        if hold is not None and hold.mask is None:
            values[name] = hold.values
            continue
        field = machine.field(name, state, beta)
        if gain and name in gain:
            field = field * gain[name]
        drawn = machine.units(name).sample(field, stream.child(name))
        values[name] = drawn if hold is None else hold.fill(drawn)
        fields[name] = field
    return values, fields


def energy(machine: BoltzmannMachine, state: State, fields: State) -> Tensor:
    """E(x) of what :func:`sweep` returns, (rows,), at no further product."""
    total = torch.zeros((), dtype=machine.dtype)
    for name in machine.colours[0]:
        total = total + machine.own_energy(name, state[name])
    for name in machine.colours[1]:
        units, x = machine.units(name), state[name]
        total = total + units.base_energy(x).sum(1) - (units.signal(x) * fields[name]).sum(1)
    return total


def log_marginal(
    machine: BoltzmannMachine,
    colour: int,
    state: State,
    fields: State,
    beta: float = 1.0,
    held: Mapping[str, Held] | None = None,
) -> Tensor:
    """log Σ exp(−E_β) over what is free in the other colour, given ``colour``: (rows,), float64.

    ``fields`` are what the layers of the other colour feel at β. What a clamp observes of them is
    not summed over. Energies run to thousands of nats, so the sums are double precision whatever
    the machine's is.
    """
    total, wide = torch.zeros((), dtype=torch.float64), torch.float64
    for name in machine.colours[colour]:
        units, x = machine.units(name), state[name]
        own = units.signal(x) * machine.bias_at(name, beta)
        total = total + own.sum(1, dtype=wide) - units.base_energy(x).sum(1, dtype=wide)
    for name, field in fields.items():
        units, hold = machine.units(name), held.get(name) if held else None
        if hold is None:
            total = total + units.log_partition(field).sum(1, dtype=wide)
            continue
        pull, own = field * units.signal(hold.values), -units.base_energy(hold.values)
        if hold.mask is not None and hold.variables is not None:
            pull = pull.masked_fill(~hold.mask, 0.0)
            own = torch.where(hold.variables, own, units.log_partition(field))
        total = total + pull.sum(1, dtype=wide) + own.sum(1, dtype=wide)
    return total
