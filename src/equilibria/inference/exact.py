"""Exact answers by enumeration: log Z, log-likelihoods, moments and gradients of small machines.

The joint states of one all-discrete colour are enumerated, the other colour is summed out in closed form, so a machine
costs 2^(its smaller colour) however large the other one is. These are the truths that the rest of the library is held to.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from equilibria.inference.clamp import Clamp, Held, count_of, parse, take
from equilibria.models.boltzmann import BoltzmannMachine

__all__ = ["MAX_STATES", "Moments", "enumerable", "gradient", "log_partition", "log_prob", "moments"]

MAX_STATES = 2**22
"""The largest number of states that is enumerated unless ``max_states`` says otherwise."""

_CHUNK = 2**14


@dataclasses.dataclass(frozen=True)
class Moments:
    """Expected signals: ``layers[name]`` (size,) and ``edges["a-b"]`` (size of a, size of b), averaged over a clamp's rows.

    ``own["visible.log_variance"]`` is E[−∂E/∂θ] of a parameter of a layer's Units, where they have any.
    """

    layers: dict[str, Tensor]
    edges: dict[str, Tensor]
    own: dict[str, Tensor] = dataclasses.field(default_factory=dict)


def log_partition(machine: BoltzmannMachine, clamp: Clamp | None = None, max_states: int = MAX_STATES) -> float | Tensor:
    """log Z in nats: a float; with a clamp, log Σ exp(−E) over what is free for each of its rows, a tensor (rows,).

    Raises
    ------
    ValueError
        When the smaller all-discrete colour has more than ``max_states`` states, or no colour is all-discrete.

    Examples
    --------
    >>> from equilibria.units import Bernoulli
    >>> machine = BoltzmannMachine.stack(Bernoulli(3), Bernoulli(2))
    >>> round(log_partition(machine) / math.log(2), 6)
    5.0
    """
    held = parse(machine, clamp)
    with torch.no_grad():
        blocks = [_logsumexp(machine, rows, max_states) for rows in _row_blocks(held)]
    result = torch.cat(blocks)
    return result if held else float(result)


def log_prob(machine: BoltzmannMachine, clamp: Clamp, max_states: int = MAX_STATES) -> Tensor:
    """log p of what is observed, for each row: exact, shape (rows,).

    Examples
    --------
    >>> from equilibria.units import Bernoulli
    >>> machine = BoltzmannMachine.stack(Bernoulli(3), Bernoulli(2))
    >>> (log_prob(machine, {"visible": torch.zeros(1, 3)}) / math.log(2)).round(decimals=3)
    tensor([-3.])
    """
    result = log_partition(machine, clamp, max_states)
    if not isinstance(result, Tensor):
        raise ValueError("clamp: nothing is observed; give at least one layer, in whole or in part")
    return result - log_partition(machine, max_states=max_states)


def moments(machine: BoltzmannMachine, clamp: Clamp | None = None, max_states: int = MAX_STATES) -> Moments:
    """E[s] of every layer and E[s_a s_bᵀ] of every edge, under the model or given what a clamp observes.

    They are the derivatives of log Σ exp(−E) in the biases and the weights, and in the layers' own parameters.
    """
    held = parse(machine, clamp)
    machine = copy.deepcopy(machine).requires_grad_(True)  # a solver may have frozen the player's own parameters
    own = dict(machine.layers.named_parameters())
    parameters = [*machine.bias.values(), *machine.weight.values(), *own.values()]
    totals = [torch.zeros_like(p) for p in parameters]
    rows = 0
    for block in _row_blocks(held):
        with torch.no_grad():
            log_z = _logsumexp(machine, block, max_states)
        rows += len(log_z)
        with torch.enable_grad():
            for chunk in _chunks(machine, block, max_states):
                share = (torch.exp(chunk.detach() - log_z.unsqueeze(1)) * chunk.masked_fill(chunk.isinf(), 0.0)).sum()
                for total, part in zip(totals, torch.autograd.grad(share, parameters, allow_unused=True), strict=True):
                    if part is not None:
                        total += part
    means = [total / rows for total in totals]
    kinds, taken = (machine.bias, machine.weight, own), iter(means)
    return Moments(*({name: next(taken) for name in kind} for kind in kinds))


def gradient(machine: BoltzmannMachine, clamp: Clamp, max_states: int = MAX_STATES) -> Moments:
    """The gradient of the mean of :func:`log_prob` over the rows: E[· | data] − E[·] by parameter."""
    data, model = moments(machine, clamp, max_states), moments(machine, max_states=max_states)
    return Moments(
        {name: data.layers[name] - model.layers[name] for name in data.layers},
        {key: data.edges[key] - model.edges[key] for key in data.edges},
        {key: data.own[key] - model.own[key] for key in data.own},
    )


def enumerable(machine: BoltzmannMachine, clamp: Clamp | None = None, max_states: int = MAX_STATES) -> bool:
    """Whether the functions of this module accept the machine."""
    try:
        _enumerated_colour(machine, parse(machine, clamp), max_states)
    except ValueError:
        return False
    return True


def _enumerated_colour(machine: BoltzmannMachine, held: Mapping[str, Held], max_states: int) -> tuple[int, int]:
    """(colour, number of its free states): the smaller all-discrete one."""
    best: tuple[float, int] = (math.inf, 0)
    for colour, names in enumerate(machine.colours):
        states = [machine.units(n).states for n in names if not (n in held and held[n].mask is None)]
        if None not in states:
            best = min(best, (math.prod(s for s in states if s), colour))
    if best[0] > max_states:
        size = "" if best[0] == math.inf else f"2^{math.log2(best[0]):.1f}"  # too large for a float, perhaps
        what = f"its smaller colour has {size} states" if size else "no colour has only discrete layers"
        raise ValueError(f"machine: {what}, and at most max_states={max_states} are enumerated; use annealing.log_partition instead")
    return best[1], int(best[0])


def _row_blocks(held: Mapping[str, Held]) -> Iterator[dict[str, Held]]:
    if not held:
        yield {}
        return
    for first in range(0, count_of(held), 64):
        yield take(held, slice(first, first + 64))


def _logsumexp(machine: BoltzmannMachine, held: Mapping[str, Held], max_states: int) -> Tensor:
    return torch.logsumexp(torch.stack([torch.logsumexp(c, 1) for c in _chunks(machine, held, max_states)], 1), 1)


def _chunks(machine: BoltzmannMachine, held: Mapping[str, Held], max_states: int) -> Iterator[Tensor]:
    """log Σ exp(−E) over the summed colour for each (row of the clamp, enumerated state), some states at a time."""
    colour, count = _enumerated_colour(machine, held, max_states)
    rows = count_of(held) or 1
    size = max(1, _CHUNK // rows)
    for first in range(0, count, size):
        index = torch.arange(first, min(first + size, count), device=machine.device)
        yield _log_marginal(machine, colour, index, held, rows).view(rows, len(index))


def _log_marginal(machine: BoltzmannMachine, colour: int, index: Tensor, held: Mapping[str, Held], rows: int) -> Tensor:
    """−(free energy) of each (row, state of ``colour``) pair, rows · len(index) of them; −inf where a state breaks the clamp."""
    width = len(index)
    state: dict[str, Tensor] = {}
    total = torch.zeros(rows * width, dtype=machine.dtype, device=machine.device)
    for name in machine.colours[colour]:
        units, hold = machine.units(name), held.get(name)
        if hold is not None and hold.mask is None:
            state[name] = hold.values.repeat_interleave(width, 0)
        else:
            states = units.states or 1
            state[name] = units.state_at(index % states, machine.dtype).repeat(rows, 1)
            index = index // states
            if hold is not None and hold.mask is not None:
                # Of the states that agree in the free cells one counts, whatever is observed in the others: a grey level is no state.
                mask, values = hold.mask.repeat_interleave(width, 0), hold.values.repeat_interleave(width, 0)
                counted = units.state_at(index.new_zeros(1), machine.dtype)
                total = total.masked_fill((mask & (state[name] != counted)).any(1), -math.inf)
                state[name] = torch.where(mask, values, state[name])
        total = total - machine.own_energy(name, state[name])
    for name in machine.colours[1 - colour]:
        units, field, hold = machine.units(name), machine.field(name, state), held.get(name)
        free = units.log_partition(field)
        if hold is not None:
            values = hold.values.repeat_interleave(width, 0)
            pull, own = field * units.signal(values), units.base_energy(values)
            if hold.mask is None or hold.variables is None:
                total = total + pull.sum(1) - own.sum(1)
                continue
            mask, variables = hold.mask.repeat_interleave(width, 0), hold.variables.repeat_interleave(width, 0)
            total = total + torch.where(mask, pull, torch.zeros_like(pull)).sum(1)
            free = torch.where(variables, -own, free)
        total = total + free.sum(1)
    return total
