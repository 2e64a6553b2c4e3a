"""Two-colour block Gibbs sampling.

All layers of one colour are independent given the other, so a sweep is two block draws, whatever the depth
(*Deep Learning*, section 20.4: "odd" and "even" layers).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from equilibria.inference.clamp import Clamp, Held, parse
from equilibria.models.boltzmann import BoltzmannMachine, State
from equilibria.random import RandomState, Stream, as_stream

__all__ = ["anneal", "block", "run", "start", "sweep"]


def run(
    machine: BoltzmannMachine,
    state: Mapping[str, Any],
    steps: int = 100,
    random_state: RandomState = 0,
    clamp: Clamp | None = None,
    beta: float = 1.0,
) -> dict[str, Tensor]:
    """Run block Gibbs sweeps and return the new state; ``state`` is left as it was, and shares no memory with it.

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
        Inverse temperature: scales the couplings and moves the biases from the base rates to the machine's own.

    Examples
    --------
    >>> from equilibria.units import Bernoulli
    >>> machine = BoltzmannMachine.stack(Bernoulli(6), Bernoulli(5), Bernoulli(4)).initialise(0)
    >>> state = run(machine, start(machine, rows=3), steps=10, random_state=1, clamp={"hidden2": torch.ones(3, 4)})
    >>> state["visible"].shape, float(state["hidden2"].min())
    (torch.Size([3, 6]), 1.0)
    """
    if isinstance(steps, bool) or int(steps) != steps or steps < 0:
        raise ValueError(f"steps={steps!r}: expected a whole number of sweeps, 0 or more")
    values = machine.as_state(state)
    held = parse(machine, clamp, rows=next(iter(values.values())).shape[0])
    values.update({name: h.fill(values[name]) for name, h in held.items()})
    stream = as_stream(random_state)
    with torch.no_grad():
        for step in range(int(steps)):
            values, _ = sweep(machine, values, stream.child(step), held, beta)
    return {name: x.clone() if name in held or not steps else x for name, x in values.items()}


def start(machine: BoltzmannMachine, rows: int, random_state: RandomState = 0, clamp: Clamp | None = None) -> dict[str, Tensor]:
    """A first state for ``rows`` chains: every layer drawn from its base rates, independently."""
    stream = as_stream(random_state)
    held = parse(machine, clamp, rows)
    with torch.no_grad():
        values = {
            name: machine.units(name).sample(machine.base(name).expand(rows, -1), stream.child("start", name)) for name in machine.layers
        }
    return {name: held[name].fill(x) if name in held else x for name, x in values.items()}


def anneal(
    machine: BoltzmannMachine,
    rows: int,
    steps: int = 1000,
    random_state: RandomState = 0,
    clamp: Clamp | None = None,
) -> dict[str, Tensor]:
    """Fresh chains, independent of each other: drawn from the base rates and cooled to β = 1, a sweep at each of
    ``steps`` inverse temperatures 1/steps, 2/steps, …, 1.

    At a low β a chain crosses between the modes that it must choose from at β = 1, so that the chains' shares of the
    modes are about the model's own, the nearer the slower they are cooled. Chains that are merely swept from
    :func:`start` stay in the mode whose basin they began in (Kirkpatrick, Gelatt & Vecchi 1983; as a step of annealed
    importance sampling, Neal 2001).

    Parameters
    ----------
    machine : BoltzmannMachine
        The model.
    rows : int
        Number of chains.
    steps : int
        Sweeps of each, at rising inverse temperatures.
    random_state, clamp
        As in :func:`run`.

    Examples
    --------
    >>> from equilibria.units import Bernoulli
    >>> machine = BoltzmannMachine.stack(Bernoulli(6), Bernoulli(5)).initialise(0)
    >>> anneal(machine, rows=3, steps=10)["visible"].shape
    torch.Size([3, 6])
    """
    stream = as_stream(random_state)
    held = parse(machine, clamp, rows)
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

    Returns the new state and the field that each layer was drawn under; those of ``colours[1]`` belong to the final state of
    ``colours[0]``, so their means are the Rao–Blackwellised negative statistics at no further product.
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

    ``gain`` multiplies the field of the layers that it names: the doubled input of layer-wise pretraining.
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
