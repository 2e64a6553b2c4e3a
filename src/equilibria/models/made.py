"""MADE: an autoregressive density by one masked network."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from equilibria.models.model import Model
from equilibria.random import Stream
from equilibria.units import Units

__all__ = ["MADE"]


class MADE(Model):
    r"""Masked autoencoder for distribution estimation.

    .. math:: \log p(x) = \sum_i \log p(x_i \mid f_i(x_1, \dots, x_{i-1}))

    One network gives the fields f of all variables; masks on its weights cut every path from a
    variable to itself and to those before it. A variable's conditional is that of its
    :class:`~equilibria.units.Units` under the field.

    Parameters
    ----------
    units : mapping of str to Units
        The visible layers in the order of an encoded row.
    hidden : sequence of int
        Widths of the hidden layers.
    stream : Stream
        Of the ordering of the variables, the hidden units' degrees and the initial weights.

    References
    ----------
    Germain, Gregor, Murray & Larochelle 2015, "MADE: masked autoencoder for distribution
    estimation".

    Examples
    --------
    >>> from equilibria.units import Bernoulli
    >>> model = MADE({"visible": Bernoulli(3)}, (16,), Stream(0))
    >>> states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    >>> model.log_prob(states).exp().sum().round(decimals=5)  # of all eight states
    tensor(1., grad_fn=<RoundBackward1>)
    """

    order: Tensor
    owner: Tensor
    units: Any
    layers: Any

    def __init__(self, units: Mapping[str, Units], hidden: Sequence[int], stream: Stream):
        super().__init__()
        self.units = nn.ModuleDict(units)
        # columns of each variable; the variable that each column belongs to
        sizes = [size for one in units.values() for size in getattr(one, "sizes", [1] * one.size)]
        owner = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
        order = stream.child("order").permutation(len(sizes))
        rank = order.argsort()
        degrees = [rank[owner]]
        for i, width in enumerate(hidden):
            # spread over all ranks but the last, which no variable may hear
            cycle = torch.arange(width) % max(1, len(order) - 1)
            degrees.append(cycle[stream.child("degrees", i).permutation(width)])
        masks = [above[:, None] >= below for below, above in itertools.pairwise(degrees)]
        masks.append(rank[owner][:, None] > degrees[-1])
        layers = (_Masked(mask, stream.child("layer", i)) for i, mask in enumerate(masks))
        self.layers = nn.ModuleList(layers)
        self.register_buffer("order", order)
        self.register_buffer("owner", owner)

    def fields(self, x: Tensor) -> Tensor:
        """Each column's field given the variables before its own, (n, size)."""
        *inner, last = self.layers
        for layer in inner:
            x = functional.relu(layer(x))
        return last(x)

    def log_prob(self, x: Tensor, given: Tensor | None = None) -> Tensor:
        """log p(x) of complete rows, (n,)."""
        total, parts = x.new_zeros(len(x)), map(self._split, (self.fields(x), x))
        for units, field, values in zip(self.units.values(), *parts, strict=True):
            energy = units.base_energy(values).sum(1) + units.log_partition(field).sum(1)
            total = total + (field * units.signal(values)).sum(1) - energy
        return total

    @torch.no_grad()
    def sample(self, n: int, stream: Stream, given: Tensor | None = None) -> Tensor:
        """Ancestral sampling: the variables one by one, in their order; (n, size)."""
        x = next(self.parameters()).new_zeros(n, len(self.owner))
        for i, variable in enumerate(self.order.tolist()):
            fields = zip(self.units.items(), self._split(self.fields(x)), strict=True)
            drawn = [units.sample(f, stream.child(i, name)) for (name, units), f in fields]
            columns = self.owner == variable
            x[:, columns] = torch.cat(drawn, 1)[:, columns]
        return x

    def describe(self) -> str:
        widths = "-".join(str(layer.weight.shape[0]) for layer in list(self.layers)[:-1])
        return f"Masked autoencoder of {len(self.order)} variables with {widths} hidden units."

    def _split(self, values: Tensor) -> tuple[Tensor, ...]:
        return values.split([units.size for units in self.units.values()], 1)


class _Masked(nn.Linear):
    """A linear layer some of whose weights are always zero; He's initial weights by its fan-in."""

    mask: Tensor

    def __init__(self, mask: Tensor, stream: Stream):
        nn.Module.__init__(self)
        self.out_features, self.in_features = mask.shape
        self.register_buffer("mask", mask.float(), persistent=False)
        heard = mask.sum(1, keepdim=True).clamp(min=1)
        self.weight = nn.Parameter(
            stream.normal(tuple(mask.shape)) * (2 / heard.float()).sqrt() * mask
        )
        self.bias = nn.Parameter(torch.zeros(mask.shape[0], dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight * self.mask, self.bias)
