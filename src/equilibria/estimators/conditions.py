"""What a conditional GAN is conditioned on: columns of the table, and where they are pictures."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equilibria.data import Schema

__all__ = ["Given"]


@dataclasses.dataclass(frozen=True)
class Given:
    """Columns of a table in two parts: those that are given, and those that are drawn given them.

    Attributes
    ----------
    given, drawn : tuple of int
        Places in a row, ascending.
    shape : tuple of int or None
        Of the drawn part, where it is a picture.
    planes : int
        How many pictures of that shape the given part is; 0 where it is no pictures.
    """

    given: tuple[int, ...]
    drawn: tuple[int, ...]
    shape: tuple[int, ...] | None
    planes: int = 0

    @classmethod
    def of(cls, schema: Schema, columns: Any) -> Given:
        """The parts of a schema's rows; ``columns`` are numbers or names, None where nothing is given.

        A row that is a tall picture may be given from the top: it is then a pile of pictures, of which the last is drawn, if the given part
        is as high as it, twice as high and so on.

        Raises
        ------
        ValueError
            For a column that is not there or there twice, or where none is left to be drawn.

        Examples
        --------
        >>> pile = Schema.infer(np.zeros((2, 27)), kind="picture", low=0, high=1, shape=[9, 3])
        >>> parts = Given.of(pile, range(18))
        >>> parts.shape, parts.planes
        ((3, 3), 2)
        """
        if columns is None:
            return cls((), tuple(range(schema.width)), schema.shape)
        given = tuple(sorted(_place(schema, column) for column in columns))
        if len(set(given)) < len(given):
            raise ValueError(f"condition={columns!r}: a column is named twice; name each once")
        drawn = tuple(place for place in range(schema.width) if place not in set(given))
        if not given or not drawn:
            raise ValueError(f"condition={columns!r}: expected some of the {schema.width} columns, and some left to be drawn")
        return cls(given, drawn, *_pile(schema.shape, given, len(drawn)))

    def parts(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Encoded rows as (drawn, given)."""
        return rows[:, _index(self.drawn)], rows[:, _index(self.given)]

    def joined(self, drawn: Tensor, given: Tensor | None) -> Tensor:
        """The inverse of :meth:`parts`."""
        if given is None or not self.given:
            return drawn
        rows = torch.empty(len(drawn), len(self.drawn) + len(self.given), dtype=drawn.dtype, device=drawn.device)
        rows[:, _index(self.drawn)], rows[:, _index(self.given)] = drawn, given.to(drawn)
        return rows


def _index(places: tuple[int, ...]) -> slice | list[int]:
    """Places as a slice where they are one, which takes no copy."""
    first = places[0] if places else 0
    run = slice(first, first + len(places))
    return run if places == tuple(range(run.start, run.stop)) else list(places)


def _place(schema: Schema, column: Any) -> int:
    if isinstance(column, str):
        if schema.columns is None or column not in schema.columns:
            raise ValueError(f"condition: there is no column {column!r}; name columns of the data, or give their numbers")
        return schema.columns.index(column)
    if isinstance(column, bool) or not isinstance(column, int | np.integer) or not 0 <= column < schema.width:
        raise ValueError(f"condition: there is no column {column!r}; expected names, or numbers from 0 to {schema.width - 1}")
    return int(column)


def _pile(shape: Sequence[int] | None, given: tuple[int, ...], drawn: int) -> tuple[tuple[int, ...] | None, int]:
    """Shape and number of the pictures, where the rest of a picture's rows is given by the pictures above it."""
    if shape is None or given != tuple(range(len(given))) or len(given) % drawn:
        return None, 0
    planes = len(given) // drawn
    one = (shape[0] // (planes + 1), *shape[1:])
    return (one, planes) if math.prod(one) == drawn else (None, 0)
