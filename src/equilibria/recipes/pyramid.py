"""A Laplacian pyramid of adversarial networks: its model, and a pair of players for each level."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from equilibria.data.table import Table
from equilibria.models.pyramid import (
    DetailCritic,
    DetailNetwork,
    LaplacianPyramid,
    Pyramid,
    PyramidGenerator,
)
from equilibria.networks.pictures import halvings
from equilibria.random import Stream
from equilibria.recipes.adversarial import Pair, Players, build, choose, packed, settle

__all__ = ["choose_levels", "pyramid"]


def choose_levels(network: str, shape: Sequence[int], levels: int | None) -> list[str]:
    """The networks of a pyramid's levels, the finest first."""
    choose(network, shape)
    sizes = LaplacianPyramid(shape, levels).shapes
    if network == "auto":
        return [choose(network, size) for size in sizes]
    return [network if halvings(*size[:2]) else "mlp" for size in sizes]


def pyramid(
    how: Any, networks: Sequence[str], known: Mapping[str, Any], table: Table, stream: Stream
) -> tuple[Pyramid, list[Pair]]:
    """The model of a LAPGAN, and its pairs from the coarsest; ``networks`` are from the finest."""
    assert table.shape is not None
    halves, built = LaplacianPyramid(table.shape, len(networks) - 1), []
    for level in range(halves.levels, -1, -1):
        shape, planes = halves.shapes[level], int(level < halves.levels)
        parts = (math.prod(shape), shape, table.classes, planes, "tanh")
        players = Players(networks[level], *parts)
        settings = settle(how, known, players)
        settings.shape = shape
        if not planes:
            settings.steps *= getattr(settings, "coarsest", 1)
        generator, critic = build(players, settings, stream.child("weights", level))
        if planes:
            generator.network = DetailNetwork(generator.network, halves, level)
            critic = DetailCritic(critic, players.size, players.condition)
        built.append((level, generator, critic, settings))
    whole = PyramidGenerator([generator for _, generator, *_ in built], halves)
    critics = nn.ModuleList(packed(critic, how.packing) for _, _, critic, _ in built)
    model, pairs = Pyramid(whole, critics, table.classes), []
    for level, generator, critic, settings in built:
        name = "x".join(map(str, halves.shapes[level][:2]))
        view = functools.partial(model.view, level)
        draw = functools.partial(model.portraits, level)
        pairs.append(Pair(name, generator, critic, settings, view, draw, ("data", name)))
    return model, pairs
