"""Which units the columns of a table have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from equilibria.units.base import Units
from equilibria.units.continuous import Gaussian, Rectified
from equilibria.units.discrete import Bernoulli, Categorical, Spin

__all__ = ["LABEL", "VISIBLE", "units_of"]

LABEL = "label"
"""The layer of the labels, whose columns stand behind those of the table."""

VISIBLE: Mapping[str, Callable[[Any], Units]] = {
    "binary": lambda layer: Bernoulli(layer.variables),
    "categorical": lambda layer: Categorical([len(group) for group in layer.categories]),
    "spin": lambda layer: Spin(layer.variables),
    "real": lambda layer: Gaussian(layer.variables, learned=True),
    "quantile": lambda layer: Gaussian(layer.variables, learned=True),
    "gap": lambda layer: Bernoulli(layer.variables),
    "positive": lambda layer: Rectified(layer.variables),
}
"""Kind of column → the units of a layer of such columns."""


def units_of(table: Any) -> dict[str, Units]:
    """The units of a table's visible layers by name, in the order of a row, the label last."""
    units = {layer.name: VISIBLE[layer.kind](layer) for layer in table.layers}
    if table.classes:
        units[LABEL] = Categorical([table.classes])
    return units
