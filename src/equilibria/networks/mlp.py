"""Plain fully connected networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from equilibria.networks.precision import products
from equilibria.random import Stream

__all__ = ["ACTIVATIONS", "LEAK", "MLP", "OUTPUTS"]

LEAK = 0.2  # of "leaky_relu" below zero

ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[int, int], float]]] = {
    "relu": (functional.relu, lambda fan_in, fan_out: math.sqrt(2 / fan_in)),
    "leaky_relu": (lambda x: functional.leaky_relu(x, LEAK), lambda fan_in, fan_out: math.sqrt(2 / (fan_in * (1 + LEAK**2)))),
    "tanh": (torch.tanh, lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out))),
}
"""Name → the function, and the standard deviation of the initial weights before it (He's or Glorot's) from a layer's widths."""

OUTPUTS: dict[str | None, Callable[[Tensor], Tensor]] = {None: lambda x: x, "tanh": torch.tanh, "sigmoid": torch.sigmoid}
"""What the last layer's sums pass through."""


class MLP(nn.Module):
    """Layers h ← a(W h + b), the last one without a unless ``output`` names one.

    Initial weights are normal with He's standard deviation √(2 / fan in) before a rectifier and Glorot's
    √(2 / (fan in + fan out)) elsewhere; biases are 0.

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
    stream : Stream
        Where the initial weights come from; nothing is drawn from torch's own generator.

    Raises
    ------
    ValueError
        For sizes or names outside these, and in ``forward`` for an input of another width.

    References
    ----------
    He et al. 2015, "Delving deep into rectifiers", equation 10; Glorot & Bengio 2010, equation 12.

    Examples
    --------
    >>> network = MLP((4, 16, 1), activation="relu", stream=Stream(0))
    >>> network(torch.zeros(3, 2, 2)).shape
    torch.Size([3, 1])
    """

    def __init__(
        self, sizes: Sequence[int], activation: str = "relu", output: str | None = None, *, precision: str = "float32", stream: Stream
    ):
        super().__init__()
        sizes = tuple(int(size) for size in sizes)
        if len(sizes) < 2 or min(sizes) < 1:
            raise ValueError(f"sizes={sizes}: expected at least an input and an output width, each 1 or more")
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation={activation!r}: expected one of {', '.join(ACTIVATIONS)}")
        if output not in OUTPUTS:
            raise ValueError(f'output={output!r}: expected None, "tanh" or "sigmoid"')
        products(precision, torch.device("cpu"))  # refuses an unknown one
        self.sizes, self.activation, self.output, self.precision = sizes, activation, output, precision
        last = len(sizes) - 2
        self.layers = nn.ModuleList(
            _linear(fan_in, fan_out, activation if i < last else "tanh", stream.child("layer", i))
            for i, (fan_in, fan_out) in enumerate(pairwise(sizes))
        )

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Output ``(n, sizes[-1])`` for ``x`` ``(n, …)``, flattened, with ``condition`` ``(n, …)`` beside it if there is one."""
        h = self.features(x, condition)
        with products(self.precision, h.device):
            return OUTPUTS[self.output](self.layers[-1](h)).to(h.dtype)

    def features(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """What the last layer sees, ``(n, sizes[-2])``."""
        h = x.flatten(1)
        if condition is not None:
            h = torch.cat([h, condition.flatten(1).to(h.dtype)], dim=1)
        if h.shape[1] != self.sizes[0]:
            raise ValueError(f"x has {h.shape[1]} columns with its condition, this network takes {self.sizes[0]}; build it with that size")
        function, _ = ACTIVATIONS[self.activation]
        dtype = h.dtype
        with products(self.precision, h.device):
            for layer in list(self.layers)[:-1]:
                h = function(layer(h))
        return h.to(dtype)


def _linear(fan_in: int, fan_out: int, activation: str, stream: Stream) -> nn.Linear:
    _, deviation = ACTIVATIONS[activation]
    layer = nn.utils.skip_init(nn.Linear, fan_in, fan_out)
    with torch.no_grad():
        layer.weight.copy_(stream.normal((fan_out, fan_in)).mul_(deviation(fan_in, fan_out)))
        layer.bias.zero_()
    return layer
