"""What is free given what is observed: its sum, class probabilities, conditional means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from equilibria.check import whole
from equilibria.inference import exact, gibbs
from equilibria.inference.clamp import (
    Clamp,
    Held,
    by_completeness,
    count_of,
    observed,
    one_block,
    take,
)
from equilibria.inference.mean_field import bounds_of_states, mean_field
from equilibria.random import RandomState, Stream, as_stream

if TYPE_CHECKING:
    from equilibria.models.boltzmann import BoltzmannMachine

__all__ = ["FEW_STATES", "Evidence", "class_log_prob", "conditional_means", "evidence"]

FEW_STATES = 2**10
"""Up to so many states are enumerated for missing cells: more cost more than chains."""

_ROWS = 2000  # rows of mean field at a time
_CHAINS = 10_000  # chains at a time


class Evidence(NamedTuple):
    """log Σ exp(−E) over what is free, row by row.

    ``values`` (rows,) in nats are the sum itself where ``exact`` (rows,) is True, else mean field's
    lower bound.
    """

    values: Tensor
    exact: Tensor


@torch.no_grad()
def evidence(
    machine: BoltzmannMachine, clamp: Clamp, *, tolerance: float = 1e-6, max_steps: int = 1000
) -> Evidence:
    """log Σ exp(−E) of each row over what it leaves free; ``tolerance`` of mean field.

    It is exact where what is free is of one colour (an RBM, complete rows), and where a layer with
    one categorical variable is free besides (its labels): the exact sums of the classes are added
    up. Else it is the mean-field bound. The value of a row does not depend on the rows beside it.

    Examples
    --------
    >>> from equilibria.models.boltzmann import BoltzmannMachine
    >>> from equilibria.units import Categorical
    >>> machine = BoltzmannMachine(
    ...     {"visible": Categorical([4]), "hidden": Categorical([2]), "label": Categorical([3])},
    ...     [("visible", "hidden"), ("hidden", "label")])
    >>> found = evidence(machine, {"visible": torch.eye(4)[:1]})
    >>> found.values.exp(), found.exact  # of two hidden states and three labels
    (tensor([6.]), tensor([True]))
    """
    held = observed(machine, clamp)
    values = torch.empty(count_of(held), dtype=machine.dtype, device=machine.device)
    right, how = torch.ones(len(values), dtype=torch.bool), (tolerance, max_steps)
    for places, part in by_completeness(held):
        label = _label(machine, part)
        if label is not None:
            values[places] = _by_class(machine, label, part, *how).logsumexp(1)
            continue
        found = [
            mean_field(machine, rows, tolerance=tolerance, max_steps=max_steps).bound
            for rows in _blocks(part, _ROWS)
        ]
        values[places], right[places] = torch.cat(found), one_block(machine, part)
    return Evidence(values, right)


@torch.no_grad()
def class_log_prob(
    machine: BoltzmannMachine,
    layer: str,
    clamp: Clamp,
    *,
    max_states: int = FEW_STATES,
    sweeps: int = 200,
    chains: int = 50,
    random_state: RandomState = 0,
) -> Tensor:
    r"""log p(class | observed) of a layer with one categorical variable, (rows, classes).

    Rows in which no cell is missing are judged by clamping each class in turn,

    .. math:: \log p(k \mid v) = F_k - \log \sum_j e^{F_j},

    with F_k the log of Σ exp(−E) over what is free when class k is clamped: exact where that is of
    one colour (an RBM), else the mean-field bound. Where cells are missing the bounds' gaps differ
    from class to class and make them overconfident, so F_k is enumerated if the machine is small
    enough, and else the probabilities are the layer's means in clamped Gibbs chains, with the same
    draws for every row.

    Parameters
    ----------
    machine : BoltzmannMachine
        The model.
    layer : str
        A layer with one categorical variable, not clamped.
    clamp : mapping
        What is observed of the other layers: layer → values, or layer → (values, mask).
    max_states : int
        For missing cells: the most states of a smaller all-discrete colour that are enumerated.
    sweeps, chains, random_state
        Of the chains: see :func:`conditional_means`.

    Examples
    --------
    >>> from equilibria.models.boltzmann import BoltzmannMachine
    >>> from equilibria.units import Bernoulli, Categorical
    >>> machine = BoltzmannMachine(
    ...     {"visible": Bernoulli(4), "hidden": Bernoulli(3), "label": Categorical([2])},
    ...     [("visible", "hidden"), ("hidden", "label")])
    >>> class_log_prob(machine, "label", {"visible": torch.ones(1, 4)}).exp()
    tensor([[0.5000, 0.5000]])
    """
    units, held = machine.units(layer), observed(machine, clamp)
    if units.variables != 1 or units.states is None or layer in held:
        raise ValueError(f"layer={layer!r}: expected a free layer with one categorical variable")
    shape = (count_of(held), units.states)
    found = torch.empty(shape, dtype=machine.dtype, device=machine.device)
    small = exact.enumerable(machine, max_states=max_states)  # unclamped: all rows are judged alike
    for places, part in by_completeness(held):
        if all(h.mask is None for h in part.values()):
            scores = _by_class(machine, layer, part)
        elif small:
            states = (Held(state.expand(len(places), -1)) for state in _classes(machine, layer))
            sums = [exact.log_partition(machine, {**part, layer: x}, max_states) for x in states]
            scores = torch.stack([torch.as_tensor(one) for one in sums], 1)
        else:
            how: dict[str, Any] = {"sweeps": sweeps, "chains": chains, "alike": True}
            means = conditional_means(machine, part, random_state=random_state, **how)
            found[places] = means[layer].log()
            continue
        found[places] = torch.log_softmax(scores, 1)
    return found


@torch.no_grad()
def conditional_means(
    machine: BoltzmannMachine,
    clamp: Clamp,
    *,
    sweeps: int = 200,
    chains: int = 1,
    random_state: RandomState = 0,
    alike: bool = False,
) -> dict[str, Tensor]:
    """E[x | observed] of every layer, (rows, size), by clamped block Gibbs chains.

    The average over the second half of the sweeps, of ``chains`` chains a row, is of conditional
    means rather than draws (Rao–Blackwell), which makes the error smaller at no further product.
    Observed cells have their values. With ``alike`` the chains of every row have the same draws, so
    that the means of a row depend on its own content alone; else on its place.

    Examples
    --------
    >>> from equilibria.models.boltzmann import BoltzmannMachine
    >>> from equilibria.units import Bernoulli
    >>> machine = BoltzmannMachine.stack(Bernoulli(3), Bernoulli(2))
    >>> clamp = {"visible": (torch.ones(1, 3), torch.tensor([[True, False, True]]))}
    >>> conditional_means(machine, clamp)["visible"]
    tensor([[1.0000, 0.5000, 1.0000]])
    """
    sweeps, chains = whole(2)("sweeps", sweeps), whole(1)("chains", chains)
    held, stream = observed(machine, clamp), as_stream(random_state).child("conditional means")
    block, parts = max(1, _CHAINS // chains), []
    for i, part in enumerate(_blocks(held, block)):
        key = stream.cycle(chains) if alike else stream.child(i * block)
        parts.append(_means(machine, part, sweeps, chains, key))
    return {name: torch.cat([part[name] for part in parts]) for name in machine.layers}


def _means(
    machine: BoltzmannMachine, held: dict[str, Held], sweeps: int, chains: int, stream: Stream
) -> dict[str, Tensor]:
    rows = count_of(held)
    held = take(held, torch.arange(rows, device=machine.device).repeat_interleave(chains))
    state = gibbs.start(machine, rows * chains, stream, held)
    total = {name: torch.zeros_like(x) for name, x in state.items()}
    for step in range(sweeps):
        state, fields = gibbs.sweep(machine, state, stream.child(step), held)
        if 2 * step >= sweeps:
            for name, field in fields.items():
                total[name] += machine.units(name).mean(field)
    means = {name: x / (sweeps - (sweeps + 1) // 2) for name, x in total.items()}
    means = {name: held[name].fill(x) if name in held else x for name, x in means.items()}
    return {name: x.unflatten(0, (rows, chains)).mean(1) for name, x in means.items()}


def _by_class(
    machine: BoltzmannMachine,
    layer: str,
    held: Mapping[str, Held],
    tolerance: float = 1e-6,
    max_steps: int = 1000,
) -> Tensor:
    """Mean field's bound with each class of ``layer`` clamped, (rows, classes)."""
    states, blocks = _classes(machine, layer), _blocks(held, _ROWS)
    how = (layer, states, tolerance, max_steps)
    return torch.cat([bounds_of_states(machine, rows, *how) for rows in blocks])


def _classes(machine: BoltzmannMachine, layer: str) -> Tensor:
    units = machine.units(layer)
    return units.state_at(torch.arange(units.states or 0, device=machine.device), machine.dtype)


def _label(machine: BoltzmannMachine, held: Mapping[str, Held]) -> str | None:
    """A free layer with one categorical variable whose classes, one by one, leave exact sums."""
    if one_block(machine, held):
        return None
    units = {name: machine.units(name) for name in machine.layers if name not in held}
    labels = (name for name, layer in units.items() if layer.variables == 1 < layer.size)
    clamps = ((name, {**held, name: Held(machine.bias[name])}) for name in labels)
    return next((name for name, clamp in clamps if one_block(machine, clamp)), None)


def _blocks(held: Mapping[str, Held], size: int) -> Iterator[dict[str, Held]]:
    return (take(held, slice(i, i + size)) for i in range(0, count_of(held), size))
