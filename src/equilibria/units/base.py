"""The contract of Units: what a layer is, given the field that it feels."""

from __future__ import annotations

import abc

import torch
from torch import Tensor, nn

from equilibria.check import whole
from equilibria.random import Stream

__all__ = ["Units"]


class Units(nn.Module, abc.ABC):
    """The variables of one layer.

    ``size`` is the number of columns of the layer's values, ``variables`` that of independent
    variables (a categorical one has several columns) and ``states`` that of joint states, None for
    a continuous layer.
    """

    bounded: bool = True
    """Whether the signal is bounded. Between two unbounded layers Z may not exist."""
    lowest: float = 0.0
    """The smallest value of a bounded unit; the largest is 1."""

    def __init__(self, size: int):
        super().__init__()
        self.size: int = whole(1)("size", size)

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
        """log ∫ exp(f · signal(x) − base_energy(x)) dx of each variable, (rows, variables)."""

    @abc.abstractmethod
    def field_of(self, mean: Tensor) -> Tensor:
        """The field under which the layer has this mean: the inverse of :meth:`mean`."""

    def base_energy(self, x: Tensor) -> Tensor:
        """The energy of x under a zero field, for each variable, shape (rows, variables)."""
        return x.new_zeros(x.shape[0], self.variables)

    def signal(self, x: Tensor) -> Tensor:
        """What the neighbours see of x; linear in x, so E[signal(x)] = signal(E[x])."""
        return x

    @property
    def field_unit(self) -> Tensor | None:
        """The square of the unit of each column's field, (size,); ``None`` where it has none.

        A step of bias and weights that means the same whatever the unit is the gradient times this.
        """
        return None

    def energy_slopes(
        self, x: Tensor, field: Tensor, free: Tensor | bool | None = None
    ) -> dict[str, Tensor]:
        """The gradient of the energy in the layer's own trainable parameters, by their names.

        For a parameter θ it is the mean over rows of E[∂/∂θ (base_energy(x) − field · signal(x))]
        with the field held: all of ∂E/∂θ, and it may be taken at the neighbours' means. In the
        cells that are ``free`` (True for all of them) x is the mean under ``field``, and the
        expectation runs over their distribution.
        """
        return {}

    def state_at(self, index: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Joint states by number, 0 ≤ index < ``states`` (int64), shape (len(index), size)."""
        raise ValueError(f"{type(self).__name__}({self.size}) has a continuum of states")

    def per_variable(self, mask: Tensor) -> Tensor:
        """A mask over columns as a mask over variables."""
        return mask

    def check(self, x: Tensor, name: str) -> None:
        """Refuse, naming ``name``, what the layer cannot take; means count as values."""
        if not bool(torch.isfinite(x).all()):
            raise ValueError(f"{name}: expected finite numbers, found NaN or infinity")

    def extra_repr(self) -> str:
        return f"{self.size}"
