"""Fully connected networks, the type in which matrix products are worked out, what a generator's
last sums become in the columns of a table, and the gradient of rectifier networks in closed form.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from equilibria.check import choice, optional, widths
from equilibria.random import Stream

__all__ = [
    "ACTIVATIONS",
    "LEAK",
    "MLP",
    "OUTPUTS",
    "PRECISIONS",
    "Head",
    "Heads",
    "answer_gradient",
    "is_piecewise_linear",
    "leaky_relu",
    "products",
]

PRECISIONS: dict[str, torch.dtype | None] = {"float32": None, "bfloat16": torch.bfloat16}
"""Name → the type of the matrix products, where it is not the parameters' own."""


def products(precision: str, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Within it matrix products and convolutions are worked out in ``precision``."""
    dtype = PRECISIONS[precision]
    return torch.autocast(device.type, dtype=dtype) if dtype else contextlib.nullcontext()


LEAK = 0.2
"""Slope of the leaky rectifier below zero."""


def leaky_relu(x: Tensor) -> Tensor:
    """max(x, 0.2 x)."""
    return functional.leaky_relu(x, LEAK)


ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[int, int], float]]] = {
    "relu": (functional.relu, lambda fan_in, fan_out: math.sqrt(2 / fan_in)),
    "leaky_relu": (leaky_relu, lambda fan_in, fan_out: math.sqrt(2 / (fan_in * (1 + LEAK**2)))),
    "tanh": (torch.tanh, lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out))),
}
"""Name → the function, and the deviation of the weights before it from a layer's widths."""

OUTPUTS: dict[str | None, Callable[[Tensor], Tensor]] = {
    None: lambda x: x,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}
"""What the last layer's sums pass through."""


class MLP(nn.Module):
    """Layers h ← a(W h + b), the last one without a unless ``output`` names one.

    Initial weights are normal with He's standard deviation √(2 / fan in) before a rectifier (2015,
    equation 10) and Glorot's √(2 / (fan in + fan out)) elsewhere (2010, equation 12); biases are 0.

    Parameters
    ----------
    sizes : sequence of int
        Widths from the input (the condition's columns included) to the output: at least two.
    activation : {"relu", "leaky_relu", "tanh"}
        Between the layers; the slope of ``"leaky_relu"`` is 0.2.
    output : {None, "tanh", "sigmoid"}
        After the last layer.
    precision : {"float32", "bfloat16"}
        Type of the matrix products; what goes in and comes out keeps its own.

    Examples
    --------
    >>> network = MLP((4, 16, 1), activation="relu", stream=Stream(0))
    >>> network(torch.zeros(3, 2, 2)).shape
    torch.Size([3, 1])
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: str = "relu",
        output: str | None = None,
        *,
        precision: str = "float32",
        stream: Stream,
    ):
        super().__init__()
        self.sizes: tuple[int, ...] = widths(2)("sizes", sizes)
        self.activation = choice(*ACTIVATIONS)("activation", activation)
        self.output = optional(choice("tanh", "sigmoid"))("output", output)
        self.precision = choice(*PRECISIONS)("precision", precision)
        self.layers = nn.ModuleList()
        for i, (fan_in, fan_out) in enumerate(pairwise(self.sizes)):
            _, deviation = ACTIVATIONS[activation if i < len(self.sizes) - 2 else "tanh"]
            layer = nn.utils.skip_init(nn.Linear, fan_in, fan_out, dtype=torch.float32)
            weights = stream.child("layer", i).normal((fan_out, fan_in))
            with torch.no_grad():
                layer.weight.copy_(weights.mul_(deviation(fan_in, fan_out)))
                layer.bias.zero_()
            self.layers.append(layer)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Output ``(n, sizes[-1])`` for ``x`` ``(n, …)``, flattened, with a condition beside it."""
        h = self.features(x, condition)
        with products(self.precision, h.device):
            return OUTPUTS[self.output](self.layers[-1](h)).to(h.dtype)

    def features(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """What the last layer sees, ``(n, sizes[-2])``."""
        h = x.flatten(1)
        if condition is not None:
            h = torch.cat([h, condition.flatten(1).to(h.dtype)], dim=1)
        (function, _), dtype = ACTIVATIONS[self.activation], h.dtype
        with products(self.precision, h.device):
            for layer in list(self.layers)[:-1]:
                h = function(layer(h))
        return h.to(dtype)


# ------------------------------------------------------------------ the columns of a table

Head = tuple[str, tuple[int, ...]]
"""A kind (``"number"``, ``"grey"``, ``"binary"``, ``"categorical"``) and its places in a row."""


class Heads(nn.Module):
    """A network whose output is a row of a table: numbers as they are, categories as one-hot.

    A category is the one with the largest logit, a binary column 1 where its logit is above 0, so
    that a critic cannot tell samples by soft values; their gradient is that of the softmax, or of
    the sigmoid (the straight-through estimator: Bengio, Léonard & Courville 2013). Chance comes
    from the network's noise alone. Where an indicator says that a cell is missing its columns
    are 0.

    Parameters
    ----------
    network : nn.Module
        Called ``network(z, condition)``; gives ``(n, size)``.
    heads : sequence of Head
        Every column of a row in one of them.
    gaps : sequence of (int, tuple of int)
        Place of an indicator, and those of the column of which it tells.

    Examples
    --------
    >>> heads = [("number", (0,)), ("categorical", (1, 2))]
    >>> Heads(lambda z, condition: z, heads)(torch.tensor([[0.3, -1.0, 2.0]]))
    tensor([[0.3000, 0.0000, 1.0000]])
    """

    network: Any

    def __init__(
        self, network: Any, heads: Sequence[Head], gaps: Sequence[tuple[int, tuple[int, ...]]] = ()
    ):
        super().__init__()
        self.network, self.heads, self.gaps = network, tuple(heads), tuple(gaps)

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Rows ``(n, size)``."""
        sums = self.network(z, condition)
        columns: list[Tensor] = [sums[:, 0]] * sums.shape[1]
        for kind, places in self.heads:
            part = _OUTPUTS[kind](sums[:, places])
            for place, column in zip(places, part.unbind(1), strict=True):
                columns[place] = column
        for indicator, places in self.gaps:
            present = 1 - columns[indicator]
            for place in places:
                columns[place] = columns[place] * present
        return torch.stack(columns, 1)


def _straight(hard: Tensor, soft: Tensor) -> Tensor:
    """The values of ``hard`` with the gradient of ``soft``."""
    return hard + (soft - soft.detach())


def _binary(sums: Tensor) -> Tensor:
    return _straight((sums > 0).to(sums.dtype), sums.sigmoid())


def _categorical(sums: Tensor) -> Tensor:
    places = torch.arange(sums.shape[1], device=sums.device)
    hard = (places == sums.argmax(1, keepdim=True)).to(sums.dtype)
    return _straight(hard, sums.softmax(1))


_OUTPUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "number": lambda sums: sums,
    "grey": lambda sums: sums.sigmoid(),
    "binary": _binary,
    "categorical": _categorical,
}


# ------------------------------------------------------------------ gradients in closed form

_BELOW_ZERO = {"relu": 0.0, "leaky_relu": LEAK}  # slopes of the activations with one kink, at 0


def is_piecewise_linear(network: nn.Module) -> bool:
    """Whether it is an ``MLP`` of rectifiers with one output, float32 products, all trainable."""
    return (
        type(network) is MLP
        and network.activation in _BELOW_ZERO
        and network.output is None
        and network.precision == "float32"
        and network.sizes[-1] == 1
        and all(parameter.requires_grad for parameter in network.parameters())
    )


@torch.no_grad()
def answer_gradient(
    network: MLP, x: Tensor, columns: int, sloped: int, pay: Callable[[Tensor, Tensor], Tensor]
) -> list[Tensor]:
    """The gradient of ``pay(answers, slopes)`` in the network's parameters, in their order.

    Of rows ``x`` ``(n, sizes[0])`` all have an answer ``(n,)``, and the first ``sloped`` a slope in
    their first ``columns`` columns, ``(sloped, columns)``; ``pay`` makes a scalar of them.

    Between its kinks such a network is linear in x. With h_l the layers' values, S_l the derivative
    of each answer in layer l's sums, δ and u the cost's derivatives in the answers and in the
    slopes, and t the change of the layers' values along u (t_0 = u, t_l = gate_l · W_l t_(l−1)),

        ∂cost/∂W_l = S_lᵀ (δ·h_(l−1) + t_(l−1)),   ∂cost/∂b_l = S_lᵀ δ:

    four matrix products a layer in place of six, and a third of the calls.
    """
    function, _ = ACTIVATIONS[network.activation]
    below = _BELOW_ZERO[network.activation]
    parameters = list(network.parameters())
    weights, biases = parameters[::2], parameters[1::2]
    values = [x]
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        values.append(function(torch.addmm(bias, values[-1], weight.T)))
    answers = torch.addmv(biases[-1], values[-1], weights[-1][0])

    def gated(change: Tensor, layer: int) -> Tensor:
        kept = values[layer][: len(change)]
        return torch.ops.aten.leaky_relu_backward(change, kept, below, True)

    signals = [weights[-1].expand(len(x), -1)]  # of each layer's values, the last hidden one first
    for layer in range(len(weights) - 1, 0, -1):
        signals.append(gated(signals.pop(), layer))
        if layer > 1:
            signals.append(signals[-1] @ weights[layer - 1])
        else:
            signals.append(signals[-1][:sloped] @ weights[0][:, :columns])
    slopes = signals.pop() if len(weights) > 1 else signals.pop()[:sloped, :columns]
    with torch.enable_grad():
        leaves = answers.detach().requires_grad_(), slopes.detach().requires_grad_()
        by_answer, by_slope = torch.autograd.grad(
            pay(*leaves), leaves, allow_unused=True, materialize_grads=True
        )

    gradients: list[Tensor] = []
    along = torch.nn.functional.pad(by_slope, (0, x.shape[1] - columns))
    for layer, weight in enumerate(weights[:-1]):
        carried = values[layer] * by_answer[:, None]
        carried[:sloped] += along
        signal = signals.pop()
        gradients += [signal.T @ carried, signal.T @ by_answer]
        along = gated(along @ weight.T, layer + 1)
    carried = values[-1] * by_answer[:, None]
    carried[:sloped] += along
    return [*gradients, carried.sum(0, keepdim=True), by_answer.sum().reshape(1)]
