"""Gradient of a cost of a rectifier network's answers and of their slopes in x, in closed form.

Between its kinks such a network is linear in x. With h_l the layers' values, S_l the derivative of
each answer in layer l's sums, δ and u the cost's derivatives in the answers and in the slopes, and
t the change of the layers' values along u (t_0 = u, t_l = gate_l · W_l t_(l−1)),

    ∂cost/∂W_l = S_lᵀ (δ·h_(l−1) + t_(l−1)),   ∂cost/∂b_l = S_lᵀ δ:

four matrix products a layer in place of six, and a third of the calls.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from equilibria.networks.mlp import ACTIVATIONS, LEAK, MLP

__all__ = ["answer_gradient", "is_piecewise_linear"]

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
