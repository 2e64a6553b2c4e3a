"""Exact answers by enumeration: log Z, log-likelihoods, moments and gradients of small machines.

The joint states of one all-discrete colour are enumerated and the other colour is summed out in
closed form, so a machine costs 2^(its smaller colour) however large the other one is. The rest of
the library is tested against these.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from equilibria.inference import gibbs
from equilibria.inference.clamp import Clamp, Held, count_of, observed, parse, take
from equilibria.models.boltzmann import BoltzmannMachine

__all__ = [
    "MAX_STATES",
    "Moments",
    "enumerable",
    "gradient",
    "log_partition",
    "log_prob",
    "moments",
]

MAX_STATES = 2**22
"""The largest number of states that is enumerated unless ``max_states`` says otherwise."""

_CHUNK = 2**14


@dataclasses.dataclass(frozen=True)
class Moments:
    """Expected signals, averaged over a clamp's rows.

    ``layers[name]`` is (size,), ``edges["a-b"]`` is (size of a, size of b). ``own`` holds E[−∂E/∂θ]
    of the parameters of the layers' Units, such as ``own["visible.log_variance"]``.
    """

    layers: dict[str, Tensor]
    edges: dict[str, Tensor]
    own: dict[str, Tensor] = dataclasses.field(default_factory=dict)


def log_partition(
    machine: BoltzmannMachine, clamp: Clamp | None = None, max_states: int = MAX_STATES
) -> float | Tensor:
    """log Z in nats, a float; with a clamp log Σ exp(−E) over what each row leaves free, (rows,).

    A machine whose smaller all-discrete colour has more than ``max_states`` states is refused.

    Examples
    --------
    >>> from equilibria.units import Bernoulli
    >>> machine = BoltzmannMachine.stack(Bernoulli(3), Bernoulli(2))
    >>> round(log_partition(machine) / math.log(2), 6)
    5.0
    """
    held = parse(machine, clamp)
    with torch.no_grad():
        result = torch.cat([_logsumexp(machine, rows, max_states) for rows in _row_blocks(held)])
    return result.to(machine.dtype) if held else float(result)


def log_prob(machine: BoltzmannMachine, clamp: Clamp, max_states: int = MAX_STATES) -> Tensor:
    """log p of what each row observes, exactly, in nats, (rows,).

    Examples
    --------
    >>> from equilibria.units import Bernoulli
    >>> machine = BoltzmannMachine.stack(Bernoulli(3), Bernoulli(2))
    >>> (log_prob(machine, {"visible": torch.zeros(1, 3)}) / math.log(2)).round(decimals=3)
    tensor([-3.])
    """
    result = log_partition(machine, observed(machine, clamp), max_states)
    return result - log_partition(machine, max_states=max_states)  # type: ignore[return-value]


def moments(
    machine: BoltzmannMachine, clamp: Clamp | None = None, max_states: int = MAX_STATES
) -> Moments:
    """E[s] of every layer and E[s_a s_bᵀ] of every edge, of the model or given a clamp.

    They are the derivatives of log Σ exp(−E) in the biases, the weights and the layers' parameters.
    """
    held = parse(machine, clamp)
    machine = copy.deepcopy(machine).requires_grad_(True)  # the caller's may be frozen
    own = dict(machine.layers.named_parameters())
    parameters = [*machine.bias.values(), *machine.weight.values(), *own.values()]
    totals, rows = [torch.zeros_like(p) for p in parameters], 0
    for block in _row_blocks(held):
        with torch.no_grad():
            log_z = _logsumexp(machine, block, max_states)
        rows += len(log_z)
        with torch.enable_grad():
            for chunk in _chunks(machine, block, max_states):
                weight = torch.exp(chunk.detach() - log_z.unsqueeze(1))
                share = (weight * chunk.masked_fill(chunk.isinf(), 0.0)).sum()
                parts = torch.autograd.grad(share, parameters, allow_unused=True)
                for total, part in zip(totals, parts, strict=True):
                    if part is not None:
                        total += part
    means = iter([total / rows for total in totals])
    return Moments(
        *({name: next(means) for name in k} for k in (machine.bias, machine.weight, own))
    )


def gradient(machine: BoltzmannMachine, clamp: Clamp, max_states: int = MAX_STATES) -> Moments:
    """The gradient of the mean of :func:`log_prob`: E[· | data] − E[·] by parameter."""
    data = vars(moments(machine, clamp, max_states))
    model = vars(moments(machine, max_states=max_states))
    return Moments(
        *({n: x - model[kind][n] for n, x in found.items()} for kind, found in data.items())
    )


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


def _row_blocks(held: Mapping[str, Held]) -> Iterator[dict[str, Held]]:
    for first in range(0, count_of(held) or 1, 64):
        yield take(held, slice(first, first + 64))


def _logsumexp(machine: BoltzmannMachine, held: Mapping[str, Held], max_states: int) -> Tensor:
    sums = [torch.logsumexp(chunk, 1) for chunk in _chunks(machine, held, max_states)]
    return torch.logsumexp(torch.stack(sums, 1), 1)


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
    size = max(1, _CHUNK // rows)
    for first in range(0, int(count), size):
        index = torch.arange(first, min(first + size, int(count)), device=machine.device)
        yield _log_marginal(machine, colour, index, held, rows).view(rows, len(index))


def _log_marginal(
    machine: BoltzmannMachine, colour: int, index: Tensor, held: Mapping[str, Held], rows: int
) -> Tensor:
    """Of each (row, state of ``colour``) pair, (rows · states,); −inf where it breaks the clamp."""
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
    return total.masked_fill(broken, -math.inf)
