"""A deep Boltzmann machine's mean field unrolled into a feed-forward classifier."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from equilibria.random import Stream

__all__ = ["UnrolledNetwork"]


class UnrolledNetwork(nn.Module):
    """One pass of mean field as a network.

    With visible signals v and q² … q^L the posterior means of the hidden layers above the first,
    held as part of the input,

        h¹ = σ(W¹ᵀ v + W² q² + b¹),  h^l = σ(W^lᵀ h^(l−1) + W^(l+1) q^(l+1) + b^l),
        h^L = σ(W^Lᵀ h^(L−1) + b^L),  log p(class) = log softmax(Uᵀ h^L + c).

    Where q is a fixed point of mean field, h¹ … h^L are the posterior's own means. The matrix from
    q^(l+1) into h^l is a parameter of its own, so W² has two copies, which training moves apart.
    Without ``append`` the terms in q are left out: a plain network that begins with the machine's
    weights.

    ``sizes`` are the widths from the visible layer up: d, n₁, …, n_L. ``layers[l]`` has the weight
    (n_l, n_(l−1) + n_(l+1)): what comes from below, then what comes from q^(l+1). ``masked`` are
    the widths of what dropout may mask: the input and each hidden layer (Salakhutdinov & Hinton
    2009, "Deep Boltzmann machines", section 3.3).

    >>> network = UnrolledNetwork((6, 5, 4), classes=3)
    >>> network(torch.zeros(2, 6 + 4)).shape
    torch.Size([2, 3])
    """

    def __init__(self, sizes: Sequence[int], classes: int, append: bool = True):
        super().__init__()
        self.sizes, self.classes, self.append = tuple(sizes), classes, append
        # what each hidden layer hears from above; the last has nothing there
        above = (*self.sizes[2:], 0) if append else (0,) * (len(self.sizes) - 1)
        self.layers = nn.ModuleList(
            _zeros(below + over, own)
            for below, own, over in zip(self.sizes[:-1], self.sizes[1:], above, strict=True)
        )
        self.top = _zeros(self.sizes[-1], self.classes)
        # columns of the input: v, q², …, q^L
        self.parts = (self.sizes[0], *(self.sizes[2:] if append else ()))
        self.masked = (sum(self.parts), *self.sizes[1:])

    @torch.no_grad()
    def adopt(
        self, weights: Sequence[Tensor], biases: Sequence[Tensor], stream: Stream
    ) -> UnrolledNetwork:
        """Take a stack's W¹ … W^L, each (below, above), and its hidden layers' biases.

        The classes' weights are drawn from N(0, .01²), so that the first gradients see the layers
        as they are. Returns the network.
        """
        for i, (layer, bias) in enumerate(zip(self.layers, biases, strict=True)):
            assert isinstance(layer, nn.Linear)
            over = weights[i + 1 : i + 2] if self.append else ()
            layer.weight.copy_(torch.cat([weights[i].T, *over], 1))
            layer.bias.copy_(bias)
        self.top.weight.copy_(stream.normal(self.top.weight.shape).mul_(0.01))
        return self

    def forward(self, x: Tensor, masks: Sequence[Tensor] = ()) -> Tensor:
        """Logits of the classes, (n, classes).

        ``x`` (n, d + n₂ + … + n_L) has the visible signals, then the appended means; ``masks``, one
        for the input and one for each hidden layer, are multiplied in.
        """
        return self.top(self.hidden(x, masks)[-1])

    def hidden(self, x: Tensor, masks: Sequence[Tensor] = ()) -> list[Tensor]:
        """h¹ … h^L, each (n, n_l)."""
        x = x * masks[0] if masks else x
        posterior = x.split(self.parts, 1)[1:]
        heard, out = x[:, : sum(self.parts[:2])], list[Tensor]()  # v and q²
        for i, layer in enumerate(self.layers):
            if i:
                heard = torch.cat([out[-1], *posterior[i : i + 1]], 1)
            h = torch.sigmoid(layer(heard))
            out.append(h * masks[i + 1] if masks else h)
        return out


def _zeros(fan_in: int, fan_out: int) -> nn.Linear:
    layer = nn.utils.skip_init(nn.Linear, fan_in, fan_out, dtype=torch.float32)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
