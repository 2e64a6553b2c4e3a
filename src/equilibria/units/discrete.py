"""Layers with a finite number of states: binary, spin and categorical units."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from equilibria.check import sequence, whole
from equilibria.random import Stream
from equilibria.units.base import Units

__all__ = ["Bernoulli", "Categorical", "Spin"]

_SIZES = sequence(whole(2), expected="numbers of categories, such as [3, 5], each 2 or more")


class Binary(Units):
    """Units with two values, ``lowest`` and 1."""

    @property
    def states(self) -> int:
        return 2**self.size

    def state_at(self, index: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        bits = index.unsqueeze(1) >> torch.arange(self.size, device=index.device)
        return bits.bitwise_and_(1).to(dtype).mul_(1 - self.lowest).add_(self.lowest)

    def check(self, x: Tensor, name: str) -> None:
        super().check(x, name)
        low, high = float(x.min()), float(x.max())
        if low < self.lowest or high > 1:
            found = f"found {low:g} to {high:g}; rescale them or use Gaussian units"
            kind = f"{type(self).__name__} units take values in [{self.lowest:g}, 1]"
            raise ValueError(f"{name}: {kind}, {found}")


class Bernoulli(Binary):
    """Binary units, x ∈ {0, 1}: p(x = 1) = σ(f), log partition softplus(f).

    Values between 0 and 1 are read as means (grey levels as probabilities).

    Examples
    --------
    >>> Bernoulli(2).mean(torch.tensor([[0.0, 100.0]]))
    tensor([[0.5000, 1.0000]])
    """

    def sample(self, field: Tensor, stream: Stream) -> Tensor:
        # a probability needs more digits than a bfloat16 field has
        wide = torch.promote_types(field.dtype, torch.float32)
        return stream.bernoulli_(field.detach().to(wide).sigmoid()).to(field.dtype)

    def mean(self, field: Tensor) -> Tensor:
        return torch.sigmoid(field)

    def log_partition(self, field: Tensor) -> Tensor:
        # torch's own threshold of 20 is wrong by 2e-9, too much in float64
        return functional.softplus(field, threshold=50.0)

    def field_of(self, mean: Tensor) -> Tensor:
        return torch.logit(mean)


class Spin(Binary):
    """Spins, x ∈ {−1, +1}: p(x) ∝ exp(f x), mean tanh(f), log partition log 2 cosh(f).

    They are binary units in another variable, x = 2 v − 1 with p(v = 1) = σ(2 f).

    Examples
    --------
    >>> Spin(2).mean(torch.tensor([[0.0, 100.0]]))
    tensor([[0., 1.]])
    """

    lowest = -1.0

    def sample(self, field: Tensor, stream: Stream) -> Tensor:
        wide = torch.promote_types(field.dtype, torch.float32)
        up = stream.bernoulli_(torch.sigmoid(2 * field.detach().to(wide)))
        return up.mul_(2).sub_(1).to(field.dtype)

    def mean(self, field: Tensor) -> Tensor:
        return torch.tanh(field)

    def log_partition(self, field: Tensor) -> Tensor:
        return functional.softplus(2 * field, threshold=50.0) - field

    def field_of(self, mean: Tensor) -> Tensor:
        return torch.atanh(mean)


class Categorical(Units):
    """Groups of one-hot columns: in each exactly one is 1, with probabilities softmax(f).

    ``sizes`` are the numbers of categories; the layer has ``sum(sizes)`` columns.

    >>> layer = Categorical([3, 2])
    >>> layer.size, layer.variables, layer.states
    (5, 2, 6)
    >>> layer.mean(torch.zeros(1, 5))
    tensor([[0.3333, 0.3333, 0.3333, 0.5000, 0.5000]])
    """

    column: Tensor
    padding: Tensor
    place: Tensor

    def __init__(self, sizes: Sequence[int]):
        sizes = list(_SIZES("sizes", sizes))
        super().__init__(sum(sizes))
        self.sizes = sizes
        # Groups are padded to the widest: `column` reads a table (groups, widest) out of the
        # columns, `place` reads it back.
        width, place = torch.tensor(sizes)[:, None], torch.arange(max(sizes))
        tables = {
            "column": width.cumsum(0) - width + place.minimum(width - 1),
            "padding": place >= width,
            "place": (place < width).flatten().nonzero()[:, 0],
        }
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)

    @property
    def variables(self) -> int:
        return len(self.sizes)

    @property
    def states(self) -> int:
        return math.prod(self.sizes)

    def _grouped(self, x: Tensor, padding: float = -math.inf) -> Tensor:
        return x[:, self.column].masked_fill(self.padding, padding)

    def _columns(self, grouped: Tensor) -> Tensor:
        return grouped.flatten(1)[:, self.place]

    def sample(self, field: Tensor, stream: Stream) -> Tensor:
        if field.dtype == torch.bfloat16:
            return self.sample(field.float(), stream).to(torch.bfloat16)
        cumulative = torch.softmax(self._grouped(field), -1).cumsum(-1)
        draw = stream.uniform((field.shape[0], self.variables), field.dtype, field.device)
        # Scaling by the last sum keeps the choice inside the group whatever the sums' rounding.
        chosen = (cumulative <= draw.unsqueeze(-1) * cumulative[..., -1:]).sum(-1, keepdim=True)
        chosen.clamp_(max=cumulative.shape[-1] - 1)
        return self._columns(torch.zeros_like(cumulative).scatter_(-1, chosen, 1.0))

    def mean(self, field: Tensor) -> Tensor:
        return self._columns(torch.softmax(self._grouped(field), -1))

    def log_partition(self, field: Tensor) -> Tensor:
        return torch.logsumexp(self._grouped(field), -1)

    def field_of(self, mean: Tensor) -> Tensor:
        return torch.log(mean)

    def state_at(self, index: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        columns = []
        for categories in self.sizes:
            columns.append(functional.one_hot(index % categories, categories))
            index = index // categories
        return torch.cat(columns, 1).to(dtype)

    def per_variable(self, mask: Tensor) -> Tensor:
        grouped = mask[:, self.column]
        if not bool((grouped == grouped[..., :1]).all()):
            raise ValueError("mask: a categorical variable is observed whole or not at all")
        return grouped[..., 0]

    def check(self, x: Tensor, name: str) -> None:
        super().check(x, name)
        total = self._grouped(x, 0.0).sum(-1)
        if float(x.min()) < 0 or not torch.allclose(total, torch.ones_like(total), atol=1e-5):
            wanted = "must be non-negative and sum to 1; one-hot encode the categories"
            raise ValueError(f"{name}: each group of {self.sizes} columns {wanted}")

    def extra_repr(self) -> str:
        return f"{self.sizes}"
