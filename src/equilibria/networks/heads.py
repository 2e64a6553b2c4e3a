"""Generators of tables: what a network's numbers become in each of the table's columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Head", "Heads"]

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
