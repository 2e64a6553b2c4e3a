"""NADE: an autoregressive density by hidden units that hear one variable more at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from equilibria.models.autoregressive import NO_GAPS, Autoregressive, Route, rows_of
from equilibria.random import Stream
from equilibria.units import Units

__all__ = ["NADE"]

BLOCK = 8  # variables whose hidden units are worked out by one product
CELLS = 2**20  # hidden units, of all rows, that are worked out at a time
ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "sigmoid": (torch.sigmoid, 1.0),
    "relu": (functional.relu, 2.0),
}
"""Name → the function, and the variance of a layer's weights times its inputs."""
IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = {"sigmoid": torch.sigmoid_, "relu": torch.relu_}
"""The same, in place."""
Spans = list[tuple[slice, slice]]
"""Columns of the inputs, in the order of the variables, and the variables that they are of."""


class NADE(Autoregressive):
    r"""Neural autoregressive distribution estimator.

    .. math:: a_i = c + \sum_{j \text{ before } i} W_j x_j, \quad f_i = b_i + V_i \sigma(a_i)

    The sums a of one variable are those of the one before it and one product more, so a row's
    density costs as much as a pass through a network of one hidden layer. Further layers lie
    between σ(a) and f, and are worked out for each variable.

    With ``order="any"`` the inputs have beside them which of them are there, and training predicts
    a random set of variables from the others: in expectation that is the mean over all orders.

    Parameters
    ----------
    units : mapping of str to Units
        The visible layers in the order of an encoded row.
    hidden : sequence of int
        Widths of the hidden layers.
    stream : Stream
        Of the orders and the initial weights.
    orders : int
        Orders whose densities are averaged.
    order : {"fixed", "any"}
    components : int
        Of the mixtures of normal distributions of real columns.
    activation : {"sigmoid", "relu"}
    gaps : mapping of int to int
        Variable → the binary variable that is 1 where it is missing.

    References
    ----------
    Larochelle & Murray 2011, "The neural autoregressive distribution estimator".

    Uria, Murray & Larochelle 2014, "A deep and tractable density estimator".

    Examples
    --------
    >>> from equilibria.units import Bernoulli
    >>> model = NADE({"visible": Bernoulli(3)}, (16,), Stream(0))
    >>> states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    >>> model.log_prob(states).exp().sum().round(decimals=5)  # of all eight states
    tensor(1., grad_fn=<RoundBackward1>)
    """

    input_owner: Tensor
    layers: Any

    def __init__(
        self,
        units: Mapping[str, Units],
        hidden: Sequence[int],
        stream: Stream,
        *,
        orders: int = 1,
        order: str = "fixed",
        components: int = 1,
        activation: str = "sigmoid",
        gaps: Mapping[int, int] = NO_GAPS,
    ):
        how: dict[str, Any] = {"order": order, "components": components, "gaps": gaps}
        super().__init__(units, stream, orders=orders, **how)
        self.activation = activation
        # beside the columns, where any may be missing, one input for each variable: it is there
        there = torch.arange(len(self.places) if self.any_order else 0)
        self.register_buffer("input_owner", torch.cat([self.owner, there]), persistent=False)
        sizes = [len(self.input_owner), *hidden, len(self.field_owner)]
        gains = [*[ACTIVATIONS[activation][1]] * len(hidden), 1.0]
        self.layers = nn.ModuleList()
        for i, gain in enumerate(gains):
            layer = nn.utils.skip_init(nn.Linear, *sizes[i : i + 2], dtype=torch.float32)
            weights = stream.child("layer", i).normal((sizes[i + 1], sizes[i]))
            with torch.no_grad():
                layer.weight.copy_(weights.mul_(math.sqrt(gain / sizes[i])))
                layer.bias.zero_()
            self.layers.append(layer)

    # ------------------------------------------------------------ the network

    def above(self, sums: Tensor) -> Tensor:
        """The last hidden layer, given the sums of the first, (…, width)."""
        function, _ = ACTIVATIONS[self.activation]
        found = function(sums)
        for layer in self.layers[1:-1]:
            found = function(layer(found))
        return found

    def fields(self, x: Tensor, route: Route | None = None) -> Tensor:
        """Each variable's field given those before it, (n, width): the recursion, in blocks."""
        rank = (self.route() if route is None else route).rank
        place, first = rank[self.input_owner].argsort(stable=True), self.layers[0]
        ranks, inputs = rank[self.input_owner][place], self.inputs(x)[:, place]
        heads, shifts, back = self._heads(rank)
        spans = spans_of(ranks, CELLS // (max(1, len(x)) * first.out_features))
        weights = first.weight.t()[place], first.bias, heads, shifts
        if len(self.layers) == 2 and torch.is_grad_enabled() and not x.requires_grad:
            found = _Recursion.apply(self.activation, spans, ranks, inputs, *weights)
        else:
            found = self._recursion(spans, ranks, inputs, *weights)
        return found.transpose(0, 1).flatten(1)[:, back]

    def _recursion(
        self,
        spans: Spans,
        ranks: Tensor,
        inputs: Tensor,
        weights: Tensor,
        sums: Tensor,
        heads: Tensor,
        shifts: Tensor,
    ) -> Tensor:
        """The fields of the variables in their order, (variables, n, widest field)."""
        sums, found = sums.expand(len(inputs), -1), []
        for columns, own in spans:
            block = weights[columns], inputs[:, columns]
            hidden = self.above(sums_of(sums, *block, ranks[columns], own))
            found.append(torch.baddbmm(shifts[own, None], hidden, heads[own].transpose(1, 2)))
            sums = torch.addmm(sums, block[1], block[0])
        return torch.cat(found)

    def _heads(self, rank: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Weights and biases of the fields in the order of the variables, each padded to the widest
        field; and where each column of the fields then is."""
        last, count = self.layers[-1], len(self.field_owner)
        widest = max(one.fields.stop - one.fields.start for one in self.places)
        begin = torch.tensor([one.fields.start for one in self.places], device=rank.device)
        numbers = torch.arange(count, device=rank.device)
        back = rank[self.field_owner] * widest + numbers - begin[self.field_owner]
        table = back.new_full((len(rank) * widest,), count).scatter(0, back, numbers)
        weights = functional.pad(last.weight, (0, 0, 0, 1))[table].unflatten(0, (-1, widest))
        return weights, functional.pad(last.bias, (0, 1))[table].unflatten(0, (-1, widest)), back

    def inputs(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """What the first layer is given of rows whose variables, or those ``seen``, are there."""
        if not self.any_order:
            return x
        if seen is None:
            return torch.cat([x, x.new_ones(len(x), len(self.places))], 1)
        seen = seen.expand(len(x), -1).to(x)
        return torch.cat([x * seen[:, self.owner], seen], 1)

    def fields_given(self, x: Tensor, seen: Tensor, member: int = 0) -> Tensor:
        """Each missing variable's field given all that are ``seen``, (n, width)."""
        return self.layers[-1](self.above(self.layers[0](self.inputs(x, seen))))

    def walk(self, x: Tensor, route: Route, start: int) -> Iterator[tuple[int, Tensor]]:
        """The variables from place ``start`` on, each with its field given those before it."""
        first, last = self.layers[0], self.layers[-1]
        weights, order = first.weight.t(), route.order
        seen = (route.rank < start)[self.input_owner]
        sums = torch.addmm(first.bias, self.inputs(x)[:, seen], weights[seen])
        for variable in order[start:]:
            _, columns, fields, _, _ = self.places[variable]
            hidden = self.above(sums)
            yield variable, functional.linear(hidden, last.weight[fields], last.bias[fields])
            sums = torch.addmm(sums, x[:, columns], weights[columns])
            if self.any_order:
                sums = sums + weights[len(self.owner) + variable]

    def objective(self, batch: Any, stream: Stream) -> Tensor:
        """Minus the log-density in one order; where any may come, an estimate of its mean over all.

        Of d variables that are there the others, each given these, are scored, times D/(D − d): as
        often as each is the next. With an indicator before it a value never is, and the indicator
        twice as often.
        """
        if not self.any_order:
            return super().objective(batch, stream)
        x = self.with_zeros(rows_of(batch))
        known = ~x[:, self.first].isnan()
        x, count = x.nan_to_num(), known.sum(1)
        share = stream.child("seen").uniform((len(x),), device=x.device)
        draws = stream.child("order").uniform(tuple(known.shape), device=x.device)
        draws = self.indicators_first(draws).masked_fill(~known, 2.0)
        place = (share * count).long().minimum(count - 1)
        seen = draws < draws.sort(1).values.gather(1, place[:, None])
        scored = known & ~seen
        each = self.each(self.fields_given(x, seen), x)
        weight = scored.to(each)
        both = weight[:, self.values] * weight[:, self.indicators]
        weight = weight.index_add(1, self.indicators, both).index_add(1, self.values, -both)
        return -(each * weight).sum(1) * count / scored.sum(1)

    def describe(self) -> str:
        widths = "-".join(str(layer.out_features) for layer in list(self.layers)[:-1])
        orders = f" in {self.members} orders" if self.members > 1 else ""
        kind = "in any order" if self.any_order else "one by one"
        many = f"{len(self.places)} variables{orders}"
        return f"Network of {widths} hidden units that predicts {many} {kind}."


class _Recursion(torch.autograd.Function):
    """The same of one hidden layer, in memory that is used again: a gradient works it out twice.

    All hidden units would be n · D · H numbers.
    """

    @staticmethod
    def forward(ctx: Any, name: str, spans: Spans, *tensors: Tensor) -> Tensor:
        ranks, inputs, weights, bias, heads, shifts = tensors
        sums, room = bias.expand(len(inputs), -1), _room(spans, inputs, bias)
        found = inputs.new_empty(len(heads), len(inputs), heads.shape[1])
        ctx.name, ctx.spans, ctx.starts = name, spans, []
        for columns, own in spans:
            block = weights[columns], inputs[:, columns]
            hidden = IN_PLACE[name](sums_of(sums, *block, ranks[columns], own, room))
            more = shifts[own, None], hidden, heads[own].transpose(1, 2)
            torch.baddbmm(*more, out=found[own])
            ctx.starts.append(sums)
            sums = torch.addmm(sums, block[1], block[0])
        ctx.save_for_backward(*tensors)
        return found

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: Tensor) -> Any:
        ranks, inputs, weights, bias, heads, _ = ctx.saved_tensors
        rooms = [_room(ctx.spans, inputs, bias) for _ in range(3)]
        of_weights, of_heads = torch.empty_like(weights), torch.empty_like(heads)
        after = torch.zeros_like(ctx.starts[0], memory_format=torch.contiguous_format)
        for (columns, own), sums in zip(reversed(ctx.spans), reversed(ctx.starts), strict=True):
            values, rank, out = inputs[:, columns], ranks[columns], slope[own]
            hidden = sums_of(sums, weights[columns], values, rank, own, rooms[0])
            IN_PLACE[ctx.name](hidden)
            torch.bmm(out.transpose(1, 2), hidden, out=of_heads[own])
            inner = torch.bmm(out, heads[own], out=rooms[1][: len(out)])
            inner.mul_(_slope(ctx.name, hidden, rooms[2][: len(out)]))
            heard = heard_of(values, rank, own).flatten(0, 1)
            torch.mm(heard.t(), inner.flatten(0, 1), out=of_weights[columns])
            of_weights[columns].addmm_(values.t(), after)
            after += inner.sum(0)
        return None, None, None, None, of_weights, after.sum(0), of_heads, slope.sum(1)


def _room(spans: Spans, inputs: Tensor, bias: Tensor) -> Tensor:
    """Memory for a number of each hidden unit of a block."""
    most = max(own.stop - own.start for _, own in spans)
    return inputs.new_empty(most, len(inputs), len(bias))


def _slope(name: str, hidden: Tensor, out: Tensor) -> Tensor:
    """The slope of an activation where it is ``hidden``."""
    if name == "relu":
        return torch.gt(hidden, 0, out=out)
    return torch.sub(hidden, torch.mul(hidden, hidden, out=out), out=out)


def spans_of(ranks: Tensor, most: int) -> Spans:
    """Blocks of variables, of which no more than ``most`` are held at a time."""
    size, count = min(BLOCK, max(1, most)), int(ranks[-1]) + 1
    ends = (ranks // size).bincount().cumsum(0).tolist()
    starts = zip([0, *ends[:-1]], ends, range(0, count, size), strict=True)
    return [(slice(a, b), slice(k, min(k + size, count))) for a, b, k in starts]


def heard_of(inputs: Tensor, rank: Tensor, own: slice) -> Tensor:
    """Inputs of which each of a block's variables hears those before it, (variables, n, inputs)."""
    numbers = torch.arange(own.start, own.stop, device=rank.device)
    return inputs * (rank < numbers[:, None])[:, None]


def sums_of(
    sums: Tensor, weights: Tensor, inputs: Tensor, rank: Tensor, own: slice, out: Any = None
) -> Tensor:
    """The sums of the first layer for each of a block's variables, (variables, n, width)."""
    heard = heard_of(inputs, rank, own)
    each, room = (len(heard), -1, -1), None if out is None else out[: len(heard)]
    return torch.baddbmm(sums.expand(each), heard, weights.expand(each), out=room)
