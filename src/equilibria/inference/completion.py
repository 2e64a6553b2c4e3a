"""What is missing, given what is observed: completions, conditional means, class probabilities."""

from __future__ import annotations

import torch
from torch import Tensor

from equilibria.inference import gibbs
from equilibria.inference.clamp import Clamp, Held, parse, take
from equilibria.inference.mean_field import mean_field
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.random import RandomState, Stream, as_stream

__all__ = ["class_log_prob", "conditional_means"]

_ROWS = 2000  # rows of mean field at a time
_CHAINS = 10_000  # chains at a time


@torch.no_grad()
def class_log_prob(machine: BoltzmannMachine, layer: str, clamp: Clamp, *, tolerance: float = 1e-6, max_steps: int = 1000) -> Tensor:
    r"""log p(class | observed) of a layer with one categorical variable, by clamping each class in turn.

    .. math:: \log p(k \mid v) = F_k - \log \sum_j e^{F_j},

    with F_k the log of Σ exp(−E) over what is free when class k is clamped: exact where the free layers are of one colour (an RBM with
    complete rows), else the mean-field bound, one for each class.

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
    held = _observed(machine, clamp)
    if layer in held:
        raise ValueError(f"clamp: {layer!r} is the layer whose classes are asked for; leave it out")
    rows = next(iter(held.values())).values.shape[0]
    states = units.state_at(torch.arange(units.states, device=machine.device), machine.dtype)
    columns = []
    for state in states:
        bounds = []
        for first in range(0, rows, _ROWS):
            part = take(held, slice(first, first + _ROWS))
            part[layer] = Held(state.expand(len(next(iter(part.values())).values), -1))
            bounds.append(mean_field(machine, part, tolerance=tolerance, max_steps=max_steps).bound)
        columns.append(torch.cat(bounds))
    return torch.log_softmax(torch.stack(columns, 1), 1)


@torch.no_grad()
def conditional_means(
    machine: BoltzmannMachine, clamp: Clamp, *, sweeps: int = 200, chains: int = 1, random_state: RandomState = 0
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
    held, stream = _observed(machine, clamp), as_stream(random_state).child("conditional means")
    rows, block = next(iter(held.values())).values.shape[0], max(1, _CHAINS // chains)
    parts = [
        _means(machine, take(held, slice(first, first + block)), sweeps, chains, stream.child(first)) for first in range(0, rows, block)
    ]
    return {name: torch.cat([part[name] for part in parts]) for name in machine.layers}


def _means(machine: BoltzmannMachine, held: dict[str, Held], sweeps: int, chains: int, stream: Stream) -> dict[str, Tensor]:
    rows = next(iter(held.values())).values.shape[0]
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


def _observed(machine: BoltzmannMachine, clamp: Clamp) -> dict[str, Held]:
    held = parse(machine, clamp)
    if not held:
        raise ValueError("clamp: nothing is observed; give at least one layer, in whole or in part")
    return held
