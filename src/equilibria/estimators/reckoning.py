"""What a model would take of memory, reckoned from models like it that are small."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from equilibria.check import affordable, memory
from equilibria.data.table import Table
from equilibria.estimators.params import parameters
from equilibria.random import Stream

__all__ = ["refuse_unaffordable"]

STEP = 8  # a large size becomes so many in the smallest of the models, and goes up by as many
COPIES = 4  # of a parameter: its gradient and what the optimiser keeps of it
SHARED = 100  # at most so many numbers (gates, kernels, outputs) for each product of two sizes
NO_SIZES = ("random_state", "verbose", "picture_shape")


def refuse_unaffordable(how: Any, table: Table) -> None:
    """Refuse a whole number, or the widths, that would make a model larger than memory.

    The numbers in a model are a polynomial of degree two at most in its sizes together: of the
    weights between two layers. So small models, in which one or two of the large sizes at a time
    are larger by a step or two, tell how many there are; no estimator says it of itself. A size is
    large where its products with all others might not fit.
    """
    fields = [field for field in parameters(how) if field.metadata["check"].kind is int]
    names = {field.name for field in fields}.difference(NO_SIZES, how.lengths)
    values = {name: getattr(how, name) for name in names if getattr(how, name) is not None}
    sizes = {name: np.ravel(value).tolist() for name, value in values.items()}
    width = table.size + sum(sum(found) for found in sizes.values())
    least = memory() / (COPIES * SHARED * width)
    large = [name for name in sizes if max(sizes[name]) > least]
    large.sort(key=lambda name: (-max(sizes[name]), name))

    def numbers(named: Sequence[str], *larger: int) -> int:
        """In the small model where in these parameters these sizes are a step larger."""

        def small(name: str, size: int) -> int:
            steps = larger.count(size) if name in named else 0
            return STEP * (1 + steps) if size > least else size

        twin = copy.copy(how)
        for name in large:
            made = [small(name, size) for size in sizes[name]]
            vars(twin)[name] = tuple(made) if isinstance(values[name], tuple) else made[0]
        found = twin.build(table, Stream(0)).model.state_dict().values()
        return sum(tensor.numel() for tensor in found)

    try:
        base = numbers(()) if large else 0
        causes = [name for name in large if numbers((name,), *{*sizes[name]}) != base]
        if not causes:
            return
        varied = {size for name in causes for size in sizes[name] if size > least}
        once = {size: numbers(causes, size) for size in varied}
        pairs = [*itertools.combinations_with_replacement(varied, 2)]
        twice = {(a, b): numbers(causes, a, b) for a, b in pairs}
    except ValueError:  # the large model is refused too, in words of its own
        return
    far = {size: size / STEP - 1 for size in varied}
    count = base + sum(far[size] * (found - base) for size, found in once.items())
    for (a, b), found in twice.items():
        ways = far[a] * (far[a] - 1) / 2 if a == b else far[a] * far[b]
        count += ways * (found - once[a] - once[b] + base)
    affordable(causes[0], values[causes[0]], COPIES * count)
