"""MADE: an autoregressive density by one masked network."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from equilibria.models.autoregressive import NO_GAPS, Autoregressive, Route
from equilibria.random import Stream
from equilibria.units import Units

__all__ = ["MADE"]


class MADE(Autoregressive):
    r"""Masked autoencoder for distribution estimation.

    .. math:: \log p(x) = \sum_i \log p(x_i \mid f_i(x_1, \dots, x_{i-1}))

    One network gives the fields f of all variables; masks on its weights cut every path from a
    variable to itself and to those before it. A variable's conditional is that of its
    :class:`~equilibria.units.Units` under the field, or a mixture of normal distributions.

    Parameters
    ----------
    units : mapping of str to Units
        The visible layers in the order of an encoded row.
    hidden : sequence of int
        Widths of the hidden layers.
    stream : Stream
        Of the ordering of the variables, the hidden units' degrees and the initial weights.
    masks : int
        Orders and connectivities that share the weights; the density is the mean of theirs (section
        4.2 of the paper).
    order : {"fixed", "any"}
        With ``"any"`` the order, and with it every mask, is new in each batch, and any cells can be
        filled in; all orders have one set of hidden units' degrees.
    components : int
        Of the mixtures of normal distributions of real columns.
    gaps : mapping of int to int
        Variable → the binary variable that is 1 where it is missing.

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

    layers: Any
    known: Tensor

    def __init__(
        self,
        units: Mapping[str, Units],
        hidden: Sequence[int],
        stream: Stream,
        *,
        masks: int = 1,
        order: str = "fixed",
        components: int = 1,
        gaps: Mapping[int, int] = NO_GAPS,
    ):
        how: dict[str, Any] = {"order": order, "components": components, "gaps": gaps}
        super().__init__(units, stream, orders=masks, degrees=hidden, **how)
        alone, cut = masks == 1 and not self.any_order, self.masks_of(self.route())
        layers = (_Masked(mask, stream.child("layer", i), alone) for i, mask in enumerate(cut))
        self.layers = nn.ModuleList(layers)
        self.alone = alone  # its masks, which every step wants, and the ranks that they are of
        self.register_buffer("known", self.route().rank, persistent=False)
        for i, mask in enumerate(cut if alone else ()):
            self.register_buffer(f"mask{i}", mask.float(), persistent=False)

    def masks_of(self, route: Route) -> list[Tensor]:
        """Which weights of each layer are there, (outputs, inputs)."""
        heard = [route.rank[self.owner], *route.degrees]
        masks = [above[:, None] >= below for below, above in itertools.pairwise(heard)]
        return [*masks, route.rank[self.field_owner][:, None] > heard[-1]]

    def weights(self, route: Route) -> list[tuple[Tensor, Tensor]]:
        """The layers' weights, zero where the way has no path, and their biases."""
        if self.alone and torch.equal(route.rank, self.known):
            masks = [getattr(self, f"mask{i}") for i in range(len(self.layers))]
        else:
            masks = [mask.to(self.layers[0].weight) for mask in self.masks_of(route)]
        pairs = zip(self.layers, masks, strict=True)
        return [layer.masked(mask) for layer, mask in pairs]

    def through(self, x: Tensor, weights: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """What the network gives with these weights, (n, width)."""
        *inner, last = weights
        for pair in inner:
            x = functional.relu(functional.linear(x, *pair))
        return functional.linear(x, *last)

    def fields(self, x: Tensor, route: Route | None = None) -> Tensor:
        """Each variable's field given those before it, (n, width)."""
        return self.through(x, self.weights(self.route() if route is None else route))

    def fields_given(self, x: Tensor, seen: Tensor, member: int) -> Tensor:
        """Each missing variable's field given all that are ``seen``, (n, width)."""
        route = self.route(member, seen)
        # none of the missing hears another: it is the next in an order of its own
        return self.fields(x, Route(route.rank.clamp(max=int(seen.sum())), route.degrees))

    def walk(self, x: Tensor, route: Route, start: int) -> Iterator[tuple[int, Tensor]]:
        """The variables from place ``start`` on, each with its field given those before it."""
        weights = self.weights(route)
        for variable in route.order[start:]:
            yield variable, self.through(x, weights)[:, self.places[variable].fields]

    def describe(self) -> str:
        widths = "-".join(str(layer.weight.shape[0]) for layer in list(self.layers)[:-1])
        orders = f" in {self.members} orders" if self.members > 1 else ""
        many = f"{len(self.places)} variables{orders}"
        return f"Masked autoencoder of {many} with {widths} hidden units."


class _Masked(nn.Linear):
    """A linear layer some of whose weights count as zero; He's initial weights by its fan-in.

    Of masks that share it none is ``alone``: each unit begins with the mean fan-in, and has the sum
    of its ``connectivity`` beside its bias, which tells it whom it hears (section 4.2).
    """

    connectivity: Any

    def __init__(self, mask: Tensor, stream: Stream, alone: bool):
        nn.Module.__init__(self)
        self.out_features, self.in_features = mask.shape
        heard = mask.sum(1, keepdim=True).clamp(min=1).float()
        kept = mask if alone else torch.ones_like(mask)
        scale = (2 / (heard if alone else heard.mean())).sqrt()
        self.weight = nn.Parameter(stream.normal(tuple(mask.shape)) * scale * kept)
        self.bias = nn.Parameter(torch.zeros(mask.shape[0], dtype=torch.float32))
        told = None if alone else nn.Parameter(torch.zeros(mask.shape, dtype=torch.float32))
        self.register_parameter("connectivity", told)

    def masked(self, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Weights and bias under a mask."""
        if self.connectivity is None:
            return self.weight * mask, self.bias
        return self.weight * mask, self.bias + (self.connectivity * mask).sum(1)
