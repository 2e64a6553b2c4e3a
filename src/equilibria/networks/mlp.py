"""Fully connected networks, and the type in which matrix products are worked out."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from equilibria.check import choice, optional, widths
from equilibria.random import Stream

__all__ = ["ACTIVATIONS", "LEAK", "MLP", "OUTPUTS", "PRECISIONS", "leaky_relu", "products"]

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
