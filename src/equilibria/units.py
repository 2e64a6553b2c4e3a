"""Units: the variables of one layer, given the field that they feel.

One sentence is the whole contract: under a field f a layer's law is p(x) ∝ exp(f · signal(x) − base_energy(x)), with a signal that
is linear in x. ``log_partition(f)`` is the logarithm of its normaliser. Everything else in the library (energies, Gibbs draws,
mean field, annealing) is written with the functions below and never asks which units it has.
"""

from __future__ import annotations

import abc
import math
import numbers
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from equilibria.random import Stream

__all__ = ["UNITS", "Bernoulli", "Categorical", "Gaussian", "Units"]


class Units(nn.Module, abc.ABC):
    """The variables of one layer.

    Parameters
    ----------
    size : int
        Number of columns of the layer's values.

    Attributes
    ----------
    variables : int
        Number of independent variables; a categorical variable has several columns.
    bounded : bool
        Whether the signal is bounded. Between two unbounded layers Z may not exist.
    states : int or None
        Number of joint states of the layer, ``None`` for a continuous one.
    """

    bounded: bool = True

    def __init__(self, size: int):
        super().__init__()
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"size={size!r}: a layer needs a positive whole number of columns")
        self.size = size

    @property
    def variables(self) -> int:
        return self.size

    @property
    def states(self) -> int | None:
        return None

    @abc.abstractmethod
    def sample(self, field: Tensor, stream: Stream) -> Tensor:
        """One draw x ~ p(x | field), shape (rows, size)."""

    @abc.abstractmethod
    def mean(self, field: Tensor) -> Tensor:
        """E[x | field], shape (rows, size)."""

    @abc.abstractmethod
    def log_partition(self, field: Tensor) -> Tensor:
        """log ∫ exp(f · signal(x) − base_energy(x)) dx for each variable, shape (rows, variables)."""

    def base_energy(self, x: Tensor) -> Tensor:
        """The energy of x under a zero field, for each variable, shape (rows, variables)."""
        return x.new_zeros(x.shape[0], self.variables)

    def signal(self, x: Tensor) -> Tensor:
        """What the neighbours see of x; linear in x, so E[signal(x)] = signal(E[x])."""
        return x

    def field_of(self, mean: Tensor) -> Tensor:
        """The field under which the layer has this mean: the inverse of :meth:`mean`."""
        raise NotImplementedError

    def state_at(self, index: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Joint states by number, 0 ≤ index < ``states`` (int64), shape (len(index), size)."""
        raise ValueError(f"{type(self).__name__}({self.size}) has a continuum of states and cannot be enumerated")

    def per_variable(self, mask: Tensor) -> Tensor:
        """A mask over columns as a mask over variables."""
        return mask

    def check(self, x: Tensor, name: str) -> None:
        """Raise a ``ValueError`` that names ``name`` if x is not a possible value of the layer (a mean counts as one)."""
        if not bool(torch.isfinite(x).all()):
            raise ValueError(f"{name}: expected finite numbers, found NaN or infinity; mark missing cells by a mask or take the rows out")

    def config(self) -> dict[str, Any]:
        """What :data:`UNITS` needs to build the layer again: JSON-able."""
        return {"units": type(self).__name__, "size": self.size}

    def extra_repr(self) -> str:
        return f"{self.size}"


class Bernoulli(Units):
    """Binary units, x ∈ {0, 1}: p(x = 1) = σ(f), log partition softplus(f).

    Values between 0 and 1 are read as means (grey levels as probabilities).

    Examples
    --------
    >>> Bernoulli(2).mean(torch.tensor([[0.0, 100.0]]))
    tensor([[0.5000, 1.0000]])
    """

    @property
    def states(self) -> int:
        return 2**self.size

    def sample(self, field: Tensor, stream: Stream) -> Tensor:
        if field.dtype == torch.bfloat16:  # a probability needs more digits than its field
            return self.sample(field.float(), stream).to(torch.bfloat16)
        draw = stream.centred(field.shape, field.dtype, field.device)
        return torch.lt(draw, torch.sigmoid(field).sub_(0.5), out=torch.empty_like(draw))

    def mean(self, field: Tensor) -> Tensor:
        return torch.sigmoid(field)

    def log_partition(self, field: Tensor) -> Tensor:
        return functional.softplus(field, threshold=50.0)  # torch's own threshold of 20 is wrong by 2e-9, too much in float64

    def field_of(self, mean: Tensor) -> Tensor:
        return torch.logit(mean)

    def state_at(self, index: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        return (index.unsqueeze(1) >> torch.arange(self.size, device=index.device)).bitwise_and_(1).to(dtype)

    def check(self, x: Tensor, name: str) -> None:
        super().check(x, name)
        low, high = float(x.min()), float(x.max())
        if low < 0 or high > 1:
            raise ValueError(f"{name}: binary units take values in [0, 1], found {low:g} to {high:g}; rescale them or use Gaussian units")


class Categorical(Units):
    """Groups of one-hot columns: in a group of K columns exactly one is 1, with probabilities softmax(f).

    Parameters
    ----------
    sizes : sequence of int
        Number of categories of each variable; the layer has ``sum(sizes)`` columns.

    Examples
    --------
    >>> layer = Categorical([3, 2])
    >>> layer.size, layer.variables, layer.states
    (5, 2, 6)
    >>> layer.mean(torch.zeros(1, 5))
    tensor([[0.3333, 0.3333, 0.3333, 0.5000, 0.5000]])
    """

    def __init__(self, sizes: Sequence[int]):
        if isinstance(sizes, numbers.Integral):
            raise ValueError(
                f"sizes={sizes!r}: expected a list with the number of categories of each variable; for one variable, [{sizes}]"
            )
        sizes = [int(k) for k in sizes]
        if not sizes or min(sizes) < 2:
            raise ValueError(f"sizes={sizes!r}: a categorical layer needs at least one variable, each with two categories or more")
        super().__init__(sum(sizes))
        self.sizes = sizes
        # Groups are padded to the widest: `column` reads a (groups, widest) table out of the columns, `place` reads it back.
        starts = [sum(sizes[:g]) for g in range(len(sizes))]
        widest = max(sizes)
        column = torch.tensor([[s + min(j, k - 1) for j in range(widest)] for s, k in zip(starts, sizes, strict=True)])
        padding = torch.tensor([[j >= k for j in range(widest)] for k in sizes])
        place = torch.tensor([g * widest + j for g, k in enumerate(sizes) for j in range(k)])
        self.register_buffer("column", column, persistent=False)
        self.register_buffer("padding", padding, persistent=False)
        self.register_buffer("place", place, persistent=False)
        self.column: Tensor
        self.padding: Tensor
        self.place: Tensor

    @property
    def variables(self) -> int:
        return len(self.sizes)

    @property
    def states(self) -> int:
        return math.prod(self.sizes)

    def _grouped(self, field: Tensor) -> Tensor:
        return field[:, self.column].masked_fill(self.padding, -math.inf)

    def _columns(self, grouped: Tensor) -> Tensor:
        return grouped.flatten(1)[:, self.place]

    def sample(self, field: Tensor, stream: Stream) -> Tensor:
        if field.dtype == torch.bfloat16:
            return self.sample(field.float(), stream).to(torch.bfloat16)
        cumulative = torch.softmax(self._grouped(field), -1).cumsum(-1)
        draw = stream.uniform((field.shape[0], self.variables), field.dtype, field.device)
        # Scaling by the last sum keeps the choice inside the group whatever the rounding of the cumulative sums.
        chosen = (cumulative <= draw.unsqueeze(-1) * cumulative[..., -1:]).sum(-1, keepdim=True)
        return self._columns(torch.zeros_like(cumulative).scatter_(-1, chosen.clamp_(max=cumulative.shape[-1] - 1), 1.0))

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
        """Raises a ``ValueError`` if a variable is observed in part."""
        grouped = mask[:, self.column]
        if not bool((grouped == grouped[..., :1]).all()):
            raise ValueError("mask: a categorical variable is observed whole or not at all; give all its columns the same mask")
        return grouped[..., 0]

    def check(self, x: Tensor, name: str) -> None:
        super().check(x, name)
        total = x[:, self.column].masked_fill(self.padding, 0.0).sum(-1)
        if float(x.min()) < 0 or not torch.allclose(total, torch.ones_like(total), atol=1e-5):
            raise ValueError(f"{name}: each group of {self.sizes} columns must be non-negative and sum to 1; one-hot encode the categories")

    def config(self) -> dict[str, Any]:
        return {"units": "Categorical", "sizes": self.sizes}

    def extra_repr(self) -> str:
        return f"{self.sizes}"


class Gaussian(Units):
    """Real-valued units with variance σ²: base energy x²/2σ², signal x/σ², so that x | f ~ N(f, σ²).

    The field is in the units of x: a bias is the mean that the layer has on its own. This is the form of Cho, Ilin and
    Raiko (2011), equation 20.42 of *Deep Learning* with precision 1/σ².

    Parameters
    ----------
    size : int
        Number of columns.
    variance : float or sequence of float
        σ², for all columns or for each.

    Examples
    --------
    >>> Gaussian(1, variance=4.0).mean(torch.tensor([[3.0]]))
    tensor([[3.]])
    """

    bounded = False

    def __init__(self, size: int, variance: float | Sequence[float] | Tensor = 1.0):
        super().__init__(size)
        value = torch.as_tensor(variance, dtype=torch.get_default_dtype()).detach()
        if value.ndim > 1 or value.numel() not in (1, size) or not bool((torch.isfinite(value) & (value > 0)).all()):
            raise ValueError(f"variance={variance!r}: expected one positive number or {size} of them")
        self.register_buffer("variance", value.expand(size).clone())
        self.variance: Tensor

    def sample(self, field: Tensor, stream: Stream) -> Tensor:
        noise = stream.normal(field.shape, field.dtype, field.device)
        return noise.mul_(self.variance.sqrt()).add_(field)

    def mean(self, field: Tensor) -> Tensor:
        return field

    def log_partition(self, field: Tensor) -> Tensor:
        return 0.5 * (field.square() / self.variance + torch.log(2 * math.pi * self.variance))

    def base_energy(self, x: Tensor) -> Tensor:
        return 0.5 * x.square() / self.variance

    def signal(self, x: Tensor) -> Tensor:
        return x / self.variance

    def field_of(self, mean: Tensor) -> Tensor:
        return mean

    def config(self) -> dict[str, Any]:
        return {"units": "Gaussian", "size": self.size, "variance": self.variance.tolist()}


UNITS: dict[str, type[Units]] = {"Bernoulli": Bernoulli, "Categorical": Categorical, "Gaussian": Gaussian}
