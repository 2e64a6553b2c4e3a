"""Which encoded columns make a visible layer, and which units they are for."""

from __future__ import annotations

import dataclasses

from equilibria.data.categories import Categories

__all__ = ["SchemaLayer"]


@dataclasses.dataclass(frozen=True)
class SchemaLayer:
    """One visible layer: a group of encoded columns of one kind.

    Attributes
    ----------
    name : str
        ``"visible"``; in a mixed table ``"binary"``, ``"categorical"``, ``"real"`` or ``"positive"``, or the name of a group of columns.
    kind : {"bernoulli", "categorical", "gaussian", "spin", "rectified"}
        Which units the columns are for.
    columns : slice
        Which encoded columns.
    variables : int
        Number of the data's columns in it.
    categories : tuple of tuples or None
        Of a categorical layer: each variable's categories, one encoded column for each.
    source : tuple of int
        Which of the data's columns, in the order of the variables.
    """

    name: str
    kind: str
    columns: slice
    variables: int
    categories: Categories | None
    source: tuple[int, ...]
