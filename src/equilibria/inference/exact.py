"""Exact answers by enumeration: log Z and log-likelihoods of small machines, with their gradients.

The joint states of one all-discrete colour are enumerated and the other colour is summed out in
closed form, so a machine costs 2^(its smaller colour) however large the other one is. The rest of
the library is tested against these.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from equilibria.inference import gibbs
from equilibria.inference.clamp import Clamp, Held, count_of, observed, parse, take

if TYPE_CHECKING:
    from equilibria.models.boltzmann import BoltzmannMachine

__all__ = ["MAX_STATES", "enumerable", "log_partition", "log_prob", "log_sum"]

MAX_STATES = 2**22
"""The largest number of states that is enumerated unless ``max_states`` says otherwise."""

_CHUNK = 2**14


def log_partition(
    machine: BoltzmannMachine, clamp: Clamp | None = None, max_states: int = MAX_STATES
) -> float | Tensor:
    """log Z in nats, a float; with a clamp log Σ exp(−E) over what each row leaves free, (rows,).

    A machine whose smaller all-discrete colour has more than ``max_states`` states is refused.

    Examples
    --------
    >>> from equilibria.models.boltzmann import BoltzmannMachine
    >>> from equilibria.units import Bernoulli
    >>> machine = BoltzmannMachine.stack(Bernoulli(3), Bernoulli(2))
    >>> round(log_partition(machine) / math.log(2), 6)
    5.0
    """
    with torch.no_grad():
        result = log_sum(machine, clamp, max_states)
    return result.to(machine.dtype) if clamp else float(result)


def log_prob(machine: BoltzmannMachine, clamp: Clamp, max_states: int = MAX_STATES) -> Tensor:
    """log p of what each row observes, exactly, in nats, (rows,)."""
    result = log_partition(machine, observed(machine, clamp), max_states)
    return result - log_partition(machine, max_states=max_states)  # type: ignore[return-value]


def log_sum(
    machine: BoltzmannMachine, clamp: Clamp | None = None, max_states: int = MAX_STATES
) -> Tensor:
    """log Σ exp(−E) of each row, or log Z as one row, (rows,), float64 and differentiable.

    Its slopes in the parameters are the expected signals: exact learning of a small machine.
    """
    held, parts = parse(machine, clamp), []
    for first in range(0, count_of(held) or 1, 64):
        rows = take(held, slice(first, first + 64))
        sums = [torch.logsumexp(chunk, 1) for chunk in _chunks(machine, rows, max_states)]
        parts.append(torch.logsumexp(torch.stack(sums, 1), 1))
    return torch.cat(parts)


def enumerable(
    machine: BoltzmannMachine, clamp: Clamp | None = None, max_states: int = MAX_STATES
) -> bool:
    """Whether the functions of this module accept the machine."""
    return _smaller(machine, parse(machine, clamp))[0] <= max_states


def _smaller(machine: BoltzmannMachine, held: Mapping[str, Held]) -> tuple[float, int]:
    """(free states of the smaller all-discrete colour, that colour); infinite if there is none."""
    best: tuple[float, int] = (math.inf, 0)
    for colour, names in enumerate(machine.colours):
        free = [n for n in names if not (n in held and held[n].mask is None)]
        states = [machine.units(n).states for n in free]
        if None not in states:
            best = min(best, (math.prod(s for s in states if s), colour))
    return best


def _chunks(
    machine: BoltzmannMachine, held: Mapping[str, Held], max_states: int
) -> Iterator[Tensor]:
    """log Σ exp(−E) over the summed colour of each (row, state), some states at a time."""
    count, colour = _smaller(machine, held)
    if count > max_states:
        size = f"a smaller colour of 2^{math.log2(count):.1f} states" if count < math.inf else ""
        said = f"{size or 'no all-discrete colour'}; at most {max_states=} are enumerated"
        raise ValueError(f"machine: has {said}; estimate log Z with partition.log_partition")
    rows = count_of(held) or 1
    for index in torch.arange(int(count), device=machine.device).split(max(1, _CHUNK // rows)):
        yield _log_marginal(machine, colour, index, held, rows).view(rows, len(index))


def _log_marginal(
    machine: BoltzmannMachine, colour: int, index: Tensor, held: Mapping[str, Held], rows: int
) -> Tensor:
    """Of each (row, state of ``colour``) pair, (rows · states,); none where it breaks the clamp."""
    width = len(index)
    wide = take(held, torch.arange(rows, device=index.device).repeat_interleave(width))
    state: dict[str, Tensor] = {}
    broken = torch.zeros(rows * width, dtype=torch.bool, device=machine.device)
    for name in machine.colours[colour]:
        units, hold = machine.units(name), wide.get(name)
        if hold is not None and hold.mask is None:
            state[name] = hold.values
            continue
        states = units.states or 1
        state[name] = units.state_at(index % states, machine.dtype).repeat(rows, 1)
        index = index // states
        if hold is not None and hold.mask is not None:
            # Of the states that agree in the free cells one counts: a grey level is no state.
            counted = units.state_at(index.new_zeros(1), machine.dtype)
            broken |= (hold.mask & (state[name] != counted)).any(1)
            state[name] = hold.fill(state[name])
    fields = {name: machine.field(name, state) for name in machine.colours[1 - colour]}
    total = gibbs.log_marginal(machine, colour, state, fields, held=wide)
    return total.masked_fill(broken, torch.finfo(total.dtype).min)  # −∞ would have no slope
