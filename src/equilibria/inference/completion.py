"""What is free, given what is observed: its sum, class probabilities, conditional means."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from equilibria.inference import exact, gibbs
from equilibria.inference.clamp import Clamp, Held, by_completeness, count_of, observed, one_block, take
from equilibria.inference.mean_field import bounds_of_states, mean_field
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.random import RandomState, Stream, as_stream
from equilibria.units import Categorical

__all__ = ["FEW_STATES", "Evidence", "class_log_prob", "conditional_means", "evidence"]

FEW_STATES = 2**10
"""Up to so many states of its smaller all-discrete colour a machine is summed over where cells are missing: more cost more than chains."""

_ROWS = 2000  # rows of mean field at a time
_CHAINS = 10_000  # chains at a time


@dataclasses.dataclass(frozen=True)
class Evidence:
    """log Σ exp(−E) over what is free, row by row.

    Attributes
    ----------
    values : Tensor
        In nats, (rows,): the sum itself, or mean field's lower bound on it.
    exact : Tensor
        Which of the two, (rows,) bool.
    converged : Tensor
        Whether mean field has, (rows,) bool; True where it is exact.
    """

    values: Tensor
    exact: Tensor
    converged: Tensor


@torch.no_grad()
def evidence(machine: BoltzmannMachine, clamp: Clamp, *, tolerance: float = 1e-6, max_steps: int = 1000) -> Evidence:
    """log Σ exp(−E) of each row over what it leaves free, exact where that takes no more than a sum over classes.

    It does where what is free is of one colour (an RBM, complete rows), and where a layer with one categorical variable is free besides
    (its labels): the exact sums with each class clamped are added up. Else it is the mean-field bound. What a row gets does not depend on
    the rows beside it.

    Parameters
    ----------
    machine : BoltzmannMachine
        The model.
    clamp : mapping
        What is observed: layer → values, or layer → (values, mask).
    tolerance, max_steps
        Of mean field.

    Examples
    --------
    >>> machine = BoltzmannMachine({"visible": Categorical([4]), "hidden": Categorical([2]), "label": Categorical([3])},
    ...                            [("visible", "hidden"), ("hidden", "label")])
    >>> found = evidence(machine, {"visible": torch.eye(4)[:1]})
    >>> found.values.exp(), found.exact  # of two hidden states and three labels
    (tensor([6.]), tensor([True]))
    """
    held = observed(machine, clamp)
    values = torch.empty(count_of(held), dtype=machine.dtype, device=machine.device)
    right, converged = torch.ones(len(values), dtype=torch.bool), torch.ones(len(values), dtype=torch.bool)
    for places, part in by_completeness(held):
        summed = _summed(machine, part)
        if summed is not None:
            values[places] = torch.logsumexp(_by_class(machine, summed, part, tolerance, max_steps), 1)
            continue
        found = [mean_field(machine, rows, tolerance=tolerance, max_steps=max_steps) for rows in _blocks(part)]
        values[places] = torch.cat([one.bound for one in found])
        if not one_block(machine, part):
            right[places.cpu()] = False
            converged[places.cpu()] = torch.cat([one.converged for one in found])
    return Evidence(values, right, converged)


@torch.no_grad()
def class_log_prob(
    machine: BoltzmannMachine,
    layer: str,
    clamp: Clamp,
    *,
    tolerance: float = 1e-6,
    max_steps: int = 1000,
    max_states: int = FEW_STATES,
    sweeps: int = 200,
    chains: int = 50,
    random_state: RandomState = 0,
) -> Tensor:
    r"""log p(class | observed) of a layer with one categorical variable.

    Rows in which no cell is missing are judged by clamping each class in turn,

    .. math:: \log p(k \mid v) = F_k - \log \sum_j e^{F_j},

    with F_k the log of Σ exp(−E) over what is free when class k is clamped: exact where that is of one colour (an RBM), else the mean-field
    bound, one for each class. Where cells are missing the bounds' gaps differ from class to class and make them too sure of themselves, so
    there F_k is enumerated if the machine is small enough, and else the probabilities are the layer's means in clamped Gibbs chains, whose
    draws are the same for every row. What a row gets does not depend on the rows beside it in any case.

    Parameters
    ----------
    machine : BoltzmannMachine
        The model.
    layer : str
        A layer with one categorical variable.
    clamp : mapping
        What is observed of the other layers: layer → values, or layer → (values, mask).
    tolerance, max_steps
        Of mean field.
    max_states : int
        Of rows with missing cells: a machine whose smaller all-discrete colour has at most so many states is enumerated.
    sweeps, chains, random_state
        Of the others: see :func:`conditional_means`.

    Returns
    -------
    Tensor, shape (rows, classes)

    Raises
    ------
    ValueError
        When the layer has more than one variable, or is itself clamped.

    Examples
    --------
    >>> from equilibria.units import Bernoulli, Categorical
    >>> machine = BoltzmannMachine({"visible": Bernoulli(4), "hidden": Bernoulli(3), "label": Categorical([2])},
    ...                            [("visible", "hidden"), ("hidden", "label")])
    >>> class_log_prob(machine, "label", {"visible": torch.ones(1, 4)}).exp()
    tensor([[0.5000, 0.5000]])
    """
    units = machine.units(layer)
    if units.variables != 1 or units.states is None:
        raise ValueError(f"layer={layer!r}: has {units.variables} variables; classes are those of a layer with one categorical variable")
    held = observed(machine, clamp)
    if layer in held:
        raise ValueError(f"clamp: {layer!r} is the layer whose classes are asked for; leave it out")
    found = torch.empty(count_of(held), units.states, dtype=machine.dtype, device=machine.device)
    for places, part in by_completeness(held):
        if all(h.mask is None for h in part.values()):
            found[places] = torch.log_softmax(_by_class(machine, layer, part, tolerance, max_steps), 1)
        elif exact.enumerable(machine, max_states=max_states):  # whatever is observed, so that all rows are judged alike
            clamps = ({**part, layer: Held(state.expand(len(places), -1))} for state in _classes(machine, layer))
            sums = [exact.log_partition(machine, clamped, max_states) for clamped in clamps]
            found[places] = torch.log_softmax(torch.stack([torch.as_tensor(one) for one in sums], 1), 1)
        else:
            means = conditional_means(machine, part, sweeps=sweeps, chains=chains, random_state=random_state, alike=True)
            found[places] = means[layer].log()
    return found


@torch.no_grad()
def conditional_means(
    machine: BoltzmannMachine, clamp: Clamp, *, sweeps: int = 200, chains: int = 1, random_state: RandomState = 0, alike: bool = False
) -> dict[str, Tensor]:
    """E[x | observed] of every layer, by clamped block Gibbs chains.

    A cell's conditional means are averaged over the second half of the sweeps: averaging means rather than draws (Rao–Blackwell)
    makes the error smaller at no further product.

    Parameters
    ----------
    machine : BoltzmannMachine
        The model.
    clamp : mapping
        What is observed.
    sweeps : int
        Of each chain; the first half is dropped.
    chains : int
        For each row.
    random_state : int, Stream or numpy generator
        The same value gives the same means.
    alike : bool
        Whether the chains of every row have the same draws, so that what a row gets depends on its own content alone; else on its place.

    Returns
    -------
    dict of str to Tensor, each (rows, size)
        Observed cells have their values.

    Examples
    --------
    >>> from equilibria.units import Bernoulli
    >>> machine = BoltzmannMachine.stack(Bernoulli(3), Bernoulli(2))
    >>> conditional_means(machine, {"visible": (torch.ones(1, 3), torch.tensor([[True, False, True]]))})["visible"]
    tensor([[1.0000, 0.5000, 1.0000]])
    """
    if sweeps < 2 or chains < 1:
        raise ValueError(
            f"sweeps={sweeps!r}, chains={chains!r}: expected at least 2 sweeps, since the first half is dropped, of at least 1 chain"
        )
    held, stream = observed(machine, clamp), as_stream(random_state).child("conditional means")
    block = max(1, _CHAINS // chains)
    parts = [
        _means(machine, take(held, slice(first, first + block)), sweeps, chains, stream.cycle(chains) if alike else stream.child(first))
        for first in range(0, count_of(held), block)
    ]
    return {name: torch.cat([part[name] for part in parts]) for name in machine.layers}


def _means(machine: BoltzmannMachine, held: dict[str, Held], sweeps: int, chains: int, stream: Stream) -> dict[str, Tensor]:
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


def _by_class(machine: BoltzmannMachine, layer: str, held: Mapping[str, Held], tolerance: float, max_steps: int) -> Tensor:
    """Mean field's bound, exact where one update is, with each class of ``layer`` clamped: (rows, classes)."""
    states = _classes(machine, layer)
    return torch.cat([bounds_of_states(machine, rows, layer, states, tolerance=tolerance, max_steps=max_steps) for rows in _blocks(held)])


def _classes(machine: BoltzmannMachine, layer: str) -> Tensor:
    units = machine.units(layer)
    return units.state_at(torch.arange(units.states or 0, device=machine.device), machine.dtype)


def _summed(machine: BoltzmannMachine, held: Mapping[str, Held]) -> str | None:
    """A free layer with one categorical variable whose classes, clamped one by one, leave exact sums, where there is need of it."""
    if one_block(machine, held):
        return None
    free = [name for name in machine.layers if name not in held and isinstance(machine.units(name), Categorical)]
    single = (name for name in free if machine.units(name).variables == 1)
    return next((name for name in single if one_block(machine, {**held, name: Held(machine.bias[name])})), None)


def _blocks(held: Mapping[str, Held]) -> Iterator[dict[str, Held]]:
    return (take(held, slice(first, first + _ROWS)) for first in range(0, count_of(held), _ROWS))
