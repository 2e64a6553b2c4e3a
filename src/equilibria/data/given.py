"""Which columns of a table a conditional model is given, and which it draws (:class:`Given`)."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from torch import Tensor

from equilibria.data.table import Table

__all__ = ["Given"]


@dataclasses.dataclass(frozen=True)
class Given:
    """Encoded columns in two parts: those that are given, and those that are drawn given them.

    Attributes
    ----------
    given, drawn : tuple of int
        Places in an encoded row, ascending.
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
    def of(cls, table: Table, columns: Any) -> Given:
        """The parts of a table's rows; ``columns`` are numbers or names, None where none is given.

        A row that is a tall picture may be given from the top: it is then a pile of pictures, of
        which the last is drawn, if the given part is as high as it, twice as high and so on.

        Examples
        --------
        >>> how = {"kinds": "picture", "value_range": (0, 1), "picture_shape": (9, 3)}
        >>> pile = Table.fit([[0.0] * 27] * 2, **how)
        >>> parts = Given.of(pile, range(18))
        >>> parts.shape, parts.planes
        ((3, 3), 2)
        """
        if columns is None:
            return cls((), tuple(range(table.size)), table.shape)
        order = [place for layer in table.layers for place in layer.source]
        names = list(table.names or ())
        for column in columns:
            if column not in (names if isinstance(column, str) else range(table.width)):
                known = f"names, or numbers from 0 to {table.width - 1}"
                raise ValueError(f"condition: there is no column {column!r}; expected {known}")
        places = [names.index(one) if isinstance(one, str) else int(one) for one in columns]
        given = tuple(sorted(order.index(place) for place in places if place in order))
        drawn = tuple(place for place in range(table.size) if place not in set(given))
        if len(set(given)) < len(columns) or not given or not drawn:
            raise ValueError(
                f"condition={columns!r:.60}: expected some of the {table.size} columns that vary, "
                "each once, and some left to be drawn"
            )
        return cls(given, drawn, *_pile(table.shape, given, len(drawn)))

    def parts(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Encoded rows as (drawn, given)."""
        return rows[:, _index(self.drawn)], rows[:, _index(self.given)]

    def joined(self, drawn: Tensor, given: Tensor | None) -> Tensor:
        """The inverse of :meth:`parts`."""
        if given is None or not self.given:
            return drawn
        rows = drawn.new_empty(len(drawn), len(self.drawn) + len(self.given))
        rows[:, _index(self.drawn)], rows[:, _index(self.given)] = drawn, given.to(drawn)
        return rows


def _index(places: tuple[int, ...]) -> slice | list[int]:
    """Places as a slice where they are one, which takes no copy."""
    first = places[0] if places else 0
    run = slice(first, first + len(places))
    return run if places == tuple(range(run.start, run.stop)) else list(places)


def _pile(shape: Any, given: tuple[int, ...], drawn: int) -> tuple[tuple[int, ...] | None, int]:
    """Shape and number of the pictures, where the rest of a picture is given by those above it."""
    if shape is None or given != tuple(range(len(given))) or len(given) % drawn:
        return None, 0
    planes = len(given) // drawn
    one = (shape[0] // (planes + 1), *shape[1:])
    return (one, planes) if math.prod(one) == drawn else (None, 0)
