"""Checks of autoregressive models, each by enumeration: of a table of bits, categories and spins.

A model is made by ``make(units, **options)``; its parameters are then moved so that variables
depend on each other.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from scipy import stats
from torch import Tensor

from equilibria.models.autoregressive import Autoregressive, Route
from equilibria.random import Stream
from equilibria.units import Bernoulli, Categorical, Spin
from equilibria.units.columns import LABEL

ALARM = 1e-6
Make = Callable[..., Autoregressive]


def moved(model: Any, scale: float = 0.5) -> Any:
    """A model in float64 whose parameters are large enough that variables depend on each other."""
    model = model.double()
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.add_(scale * Stream(5).child(i).normal(tuple(parameter.shape)).double())
    return model


def mixed(labels: bool = False) -> dict[str, Any]:
    """Three bits, a variable of three categories, two spins; with a label of three classes."""
    units = {"bits": Bernoulli(3), "group": Categorical([3]), "spins": Spin(2)}
    return {**units, LABEL: Categorical([3])} if labels else units


def states(labels: bool = False) -> Tensor:
    """Every state of :func:`mixed`, (96, 8) or (288, 11)."""
    bits, spins = torch.cartesian_prod(*[torch.arange(2.0)] * 3), torch.tensor([-1.0, 1.0])
    parts = [bits, torch.eye(3), torch.cartesian_prod(spins, spins)]
    parts += [torch.eye(3)] if labels else []
    return torch.stack([torch.cat(row) for row in itertools.product(*parts)]).double()


def all_bits(columns: int) -> Tensor:
    """All binary rows, (2**columns, columns)."""
    return (torch.arange(2**columns)[:, None] >> torch.arange(columns) & 1).double()


def hears_itself(model: Autoregressive, route: Route, x: Tensor) -> list[tuple[int, int]]:
    """Pairs of a field's column and a variable not before its own that it depends on."""
    found, x = [], x.clone().requires_grad_(True)
    fields = model.fields(x, route)
    for column, owner in enumerate(model.field_owner.tolist()):
        (slope,) = torch.autograd.grad(fields[:, column].sum(), x, retain_graph=True)
        heard = model.owner[(slope != 0).any(0)].tolist()
        found += [(column, j) for j in heard if route.rank[j] >= route.rank[owner]]
    return found


def hears(model: Autoregressive, route: Route, x: Tensor) -> bool:
    """Whether an order's last variable hears its first: the test above is not empty."""
    x = x.clone().requires_grad_(True)
    fields = model.fields(x, route)[:, model.field_owner == route.order[-1]]
    (slope,) = torch.autograd.grad(fields.sum(), x)
    return bool((slope[:, model.owner == route.order[0]] != 0).any())


def law_given(model: Autoregressive, rows: Tensor, held: Tensor) -> Tensor:
    """p of each state given the cells of one row that are no NaN, by enumeration of each order.

    The order of each member has those variables first; its joint law over all states is divided by
    the mass of the states that have these cells.
    """
    known = ~held.isnan()
    same = (rows[:, known] == held[known]).all(1)
    seen = known[[place.columns.start for place in model.places]]
    total = torch.zeros(len(rows), dtype=torch.float64)
    for m in range(model.members):
        route = model.route(m, seen)
        assert set(route.order[: int(seen.sum())]) == set(seen.nonzero()[:, 0].tolist())
        p = model.total(model.fields(rows, route), rows).exp() * same
        total += p / p.sum() / model.members
    return total


def fits(drawn: Tensor, rows: Tensor, chance: Tensor) -> bool:
    """χ² of draws among states with these chances, those expected less than five times together; a
    false alarm in a million."""
    places = torch.cdist(drawn, rows).argmin(1)
    assert float((drawn - rows[places]).abs().max()) == 0
    expected = len(drawn) * chance
    found, rare = torch.bincount(places, minlength=len(rows)).double(), expected < 5
    both = [torch.cat([x[~rare], x[rare].sum()[None]]) for x in (found, expected)]
    kept = both[1] > 0
    assert float(both[0][~kept].sum()) == 0
    return stats.chisquare(*(x[kept].numpy() for x in both)).pvalue > ALARM
