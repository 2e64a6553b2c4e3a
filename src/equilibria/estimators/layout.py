"""Which layers a Boltzmann machine has and how they are joined: from the schema, the hidden widths and the classes."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from equilibria.data.layers import SchemaLayer
from equilibria.data.schema import Schema
from equilibria.estimators.stack import LABEL, Levels
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.units import Bernoulli, Categorical, Gaussian, Rectified, Spin, Units

__all__ = ["HIDDEN", "VISIBLE", "Layout", "joined", "smoothed_means", "split"]

HIDDEN: dict[str, Callable[[int], Units]] = {"bernoulli": Bernoulli, "spin": Spin, "rectified": Rectified}
"""Hidden units by the names that the estimators use."""

VISIBLE: dict[str, Callable[[SchemaLayer], Units]] = {
    "bernoulli": lambda layer: Bernoulli(layer.variables),
    "spin": lambda layer: Spin(layer.variables),
    "gaussian": lambda layer: Gaussian(layer.variables, learned=True),
    "rectified": lambda layer: Rectified(layer.variables),
    "categorical": lambda layer: Categorical([len(group) for group in layer.categories or ()]),
}
"""A visible layer's units, by the kind that the schema calls it."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """A graph of layers.

    Attributes
    ----------
    visible : tuple of SchemaLayer
        The visible layers, side by side in an encoded row.
    hidden : tuple of int
        Widths from the visible layers up.
    units : str
        A key of ``HIDDEN``: the hidden layers' kind.
    classes : int
        Of the label layer on top; 0 for none.
    towers : bool
        Whether each visible layer has hidden layers of its own below a common top, rather than one stack for all. A layer of a single
        variable has none and is joined to the top: its bias says all there is to say about one variable alone, so hidden layers between
        would be taught nothing by pretraining, and hear nothing of the other towers. Where all layers are like that there is one stack.
    """

    visible: tuple[SchemaLayer, ...]
    hidden: tuple[int, ...]
    units: str = "bernoulli"
    classes: int = 0
    towers: bool = False

    @property
    def hidden_levels(self) -> list[list[str]]:
        """Names of the hidden layers, level by level: of each tower below the top, where there are towers."""
        if not self._tall:
            return [[f"hidden{i}"] for i in range(1, len(self.hidden) + 1)]
        return [*([f"{name}_hidden{i}" for name in self._tall] for i in range(1, len(self.hidden))), [f"hidden{len(self.hidden)}"]]

    @property
    def levels(self) -> Levels:
        """What is pretrained together: the visible layers, then the hidden ones; a tower of one variable comes in below the top."""
        low = self._tall or self.visible_names
        *rest, last, top = [low, *self.hidden_levels]
        return [*rest, [*last, *(name for name in self.visible_names if name not in low)], top]

    @property
    def visible_names(self) -> list[str]:
        """The visible layers, in the order of an encoded row."""
        return [layer.name for layer in self.visible]

    @property
    def _tall(self) -> list[str]:
        """The visible layers that have hidden layers of their own."""
        return [layer.name for layer in self.visible if layer.variables > 1] if self.towers and len(self.hidden) > 1 else []

    @property
    def clamped(self) -> list[str]:
        """The layers that data belong to: the visible ones, and the label's."""
        return [*self.visible_names, *([LABEL] if self.classes else [])]

    def build(self) -> BoltzmannMachine:
        """The machine, all zeros."""
        layers: dict[str, Units] = {layer.name: VISIBLE[layer.kind](layer) for layer in self.visible}
        for names, width in zip(self.hidden_levels, self.hidden, strict=True):
            layers.update({name: HIDDEN[self.units](width) for name in names})
        edges = [edge for below, above in itertools.pairwise(self.levels) for edge in self._joined(below, above)]
        if self.classes:
            layers[LABEL] = Categorical([self.classes])
            edges.append((self.hidden_levels[-1][0], LABEL))
        return BoltzmannMachine(layers, edges)

    def _joined(self, below: Sequence[str], above: Sequence[str]) -> list[tuple[str, str]]:
        """Every layer with every one above; in towers each with its own (behind those may stand towers of one variable)."""
        apart = self._tall and above != self.levels[-1]
        return list(zip(below, above[: len(below)], strict=True)) if apart else list(itertools.product(below, above))


def split(visible: Sequence[SchemaLayer], values: Tensor) -> dict[str, Tensor | tuple[Tensor, Tensor]]:
    """Encoded rows as a clamp of the visible layers; NaN is a missing cell."""
    clamp: dict[str, Tensor | tuple[Tensor, Tensor]] = {}
    for layer in visible:
        part = values[:, layer.columns]
        missing = part.isnan()
        clamp[layer.name] = (part.masked_fill(missing, 0.0), ~missing) if bool(missing.any()) else part
    return clamp


def joined(visible: Sequence[SchemaLayer], state: dict[str, Tensor]) -> Tensor:
    """The visible layers' values side by side."""
    return torch.cat([state[layer.name] for layer in visible], 1)


def smoothed_means(schema: Schema, total: Tensor, counts: Tensor) -> dict[str, Tensor]:
    """Each visible layer's mean, with one more observation of each kind where units are discrete, so that no rate is 0 or 1.

    Parameters
    ----------
    total, counts : Tensor, shape (size,)
        Sum of the observed values of each encoded column, and how many there are.
    """
    means = {}
    for layer in schema.layers:
        sums, n = total[layer.columns], counts[layer.columns]
        if layer.kind == "categorical":
            sizes = torch.tensor([len(group) for group in layer.categories or () for _ in group], device=sums.device)
            means[layer.name] = (sums + 1) / (n + sizes)
        elif layer.kind == "bernoulli":
            means[layer.name] = (sums + 1) / (n + 2)
        elif layer.kind == "spin":
            means[layer.name] = sums / (n + 2)
        else:
            means[layer.name] = sums / n.clamp(min=1)
    return means
