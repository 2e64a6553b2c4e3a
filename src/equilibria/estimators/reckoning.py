"""What a model would take of memory, reckoned from models like it that are small."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from equilibria.check import affordable
from equilibria.data.table import Table
from equilibria.estimators.params import parameters
from equilibria.random import Stream

__all__ = ["refuse_unaffordable"]

LARGE = 1 << 14  # from this on a whole number is reckoned with
SMALL = 8  # what the largest of them becomes in the smallest of the models
COPIES = 4  # of a parameter: its gradient and what the optimiser keeps of it
NO_SIZES = ("random_state", "verbose", "picture_shape")


def refuse_unaffordable(how: Any, table: Table) -> None:
    """Refuse a whole number, or the widths, that would make a model larger than memory.

    The numbers in a model are a polynomial of degree two at most in its sizes together: of the
    weights between two layers. So small models, whose large sizes are in their proportion, tell how
    many there are; no estimator says it of itself.
    """
    fields = [field for field in parameters(how) if field.metadata["check"].kind is int]
    names = {field.name for field in fields}.difference(NO_SIZES, how.lengths)
    values = {name: getattr(how, name) for name in names if getattr(how, name) is not None}
    sizes = {name: max(np.ravel(value).tolist()) for name, value in values.items()}
    large = sorted((name for name in sizes if sizes[name] > LARGE), key=lambda name: -sizes[name])

    def numbers(made: Mapping[str, Any]) -> int:
        twin = copy.copy(how)
        vars(twin).update(made)
        found = twin.build(table, Stream(0)).model.state_dict().values()
        return sum(tensor.numel() for tensor in found)

    try:
        first = {name: _shrunk(values[name], sizes[name]) for name in large}
        least = numbers(first) if large else 0
        doubled = {name: _shrunk(values[name], sizes[name], 2) for name in large}
        causes = [name for name in large if numbers({**first, name: doubled[name]}) != least]
        if not causes:
            return
        most = sizes[causes[0]]
        made = [{n: _shrunk(values[n], most, times) for n in causes} for times in (1, 2, 3)]
        one, two, three = (numbers({**first, **sized}) for sized in made)
    except ValueError:  # the large model is refused too, in words of its own
        return
    apart, bend, far = two - one, three - 2 * two + one, most / SMALL - 1
    count = one + far * apart + far * (far - 1) / 2 * bend
    affordable(causes[0], values[causes[0]], COPIES * count)


def _shrunk(value: Any, most: int, times: int = 1) -> Any:
    """A value in a small model; what is nothing beside the largest is left out of account."""
    if isinstance(value, tuple):
        return tuple(_shrunk(size, most, times) for size in value)
    return value if value <= LARGE else max(1, value * SMALL // most) * times
