"""NADE and MADE of tables whose cells may be missing, against enumeration.

Statistical tests raise a false alarm with probability 1e-6; their seeds are fixed.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from equilibria.data.batches import Batch
from equilibria.models.autoregressive import Autoregressive
from equilibria.models.made import MADE
from equilibria.models.nade import NADE
from equilibria.random import Stream
from equilibria.units import Bernoulli, Categorical, Gaussian
from equilibria.units.columns import LABEL
from orders import fits, hears, hears_itself, law_given, moved

MODELS: dict[str, tuple[Any, Any, str]] = {
    "made": (MADE, (12, 9), "masks"),
    "nade": (NADE, (9,), "orders"),
    "nade of three layers": (NADE, (8, 9, 7), "orders"),
}
CASES = [(name, order, m) for name in MODELS for order in ("fixed", "any") for m in (1, 3)]
GAPS = {1: 4, 3: 5}
"""The second bit and the group of three may be missing."""
GONE = {1: [1], 3: [3, 4, 5]}
"""Their columns."""


def model_of(name: str, order: str = "fixed", members: int = 1, labels: bool = False) -> Any:
    units = {"bits": Bernoulli(3), "group": Categorical([3]), "gap": Bernoulli(2)}
    units |= {LABEL: Categorical([2])} if labels else {}
    cls, hidden, several = MODELS[name]
    return moved(cls(units, hidden, Stream(3), order=order, gaps=GAPS, **{several: members}))


def states(labels: bool = False) -> Tensor:
    """Every row, 0 where a cell is missing: 2 · 3 · 2 · 4 of them, and of each class."""
    second = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)]  # the bit and its indicator
    group = [(*row, 0.0) for row in torch.eye(3).tolist()] + [(0.0, 0.0, 0.0, 1.0)]
    label = torch.eye(2).tolist() if labels else [[]]
    bits = (0.0, 1.0)
    return torch.tensor(
        [
            [a, b[0], c, *g[:3], b[1], g[3], *own]
            for a, b, c, g, own in itertools.product(bits, second, bits, group, label)
        ]
    ).double()


def torn(rows: Tensor) -> Tensor:
    """The same rows as a table encodes them, NaN where a cell is missing."""
    rows = rows.clone()
    for flag, (_, columns) in zip((6, 7), GONE.items(), strict=True):
        rows[:, columns] = rows[:, columns].masked_fill(rows[:, [flag]] == 1, math.nan)
    return rows


@pytest.mark.parametrize(("name", "order", "members"), CASES)
@torch.no_grad()
def test_probabilities_sum_to_one(name: str, order: str, members: int) -> None:
    """Over all rows, a missing cell being one state; in each order, and in those of training."""
    for labels in (False, True):
        model, rows = model_of(name, order, members, labels), torn(states(labels))
        p = model.log_prob(rows).exp()
        assert float(p.sum()) == pytest.approx(1, abs=1e-12)
        assert float(p.max()) > 4 / len(rows), "the variables hardly depend on each other"
        for route in (
            *map(model.route, range(members)),
            *map(model.route_for, map(Stream, (1, 2))),
        ):
            assert all(route.rank[i] > route.rank[g] for i, g in GAPS.items())
            assert float(model.score(rows, route).exp().sum()) == pytest.approx(1, abs=1e-12)
    unknown = rows[:, :-2].new_full((len(rows), 2), math.nan)  # the label
    joint = p.reshape(-1, 2)
    found = model.log_prob(torch.cat([rows[:, :-2], unknown], 1)).exp().reshape(-1, 2)
    assert torch.allclose(found[:, 0], joint.sum(1), rtol=0, atol=1e-12)
    told = model.class_log_prob(rows[::2], Stream(0)).exp()
    assert torch.allclose(told, joint / joint.sum(1, keepdim=True), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("name", "order", "members"), CASES)
@torch.no_grad()
def test_a_missing_value_has_no_factor_and_is_told_from_a_zero(
    name: str, order: str, members: int
) -> None:
    model, rows = model_of(name, order, members), states()
    for m in range(members):
        route = model.route(m)
        fields = model.fields(rows, route)
        each = model.each(fields, rows)
        assert bool((each[rows[:, 6] == 1, 1] == 0).all())
        assert bool((each[rows[:, 7] == 1, 3] == 0).all())
        assert int((each == 0).sum()) == int(rows[:, 6:].sum())
        later = max(range(4), key=lambda i: float(route.rank[i]))
        for flag in (6, 7):
            zero = torch.zeros_like(rows[:1])
            missing = zero.clone()
            missing[0, flag] = 1
            both = [model.fields(x, route)[:, model.field_owner == later] for x in (zero, missing)]
            assert not torch.allclose(*both)
    other = torn(rows)
    other[0, 1] = math.nan  # a gap of which no indicator tells
    found = model.log_prob(other)
    assert bool(found[0].isnan())
    assert not bool(found[1:].isnan().any())


@pytest.mark.parametrize("name", MODELS)
def test_a_field_hears_earlier_variables_alone(name: str) -> None:
    for order in ("fixed", "any"):
        model = model_of(name, order, 2)
        for route in (model.route(0), model.route(1), model.route_for(Stream(4))):
            assert hears_itself(model, route, states()[5:20]) == []
            assert hears(model, route, states()[5:20])


@torch.no_grad()
def test_all_orders_that_are_allowed_are_equally_likely() -> None:
    """χ² of 5,000 draws among 6!/4 orders."""
    model = model_of("made", "any")
    allowed = [o for o in itertools.permutations(range(6)) if o.index(4) < o.index(1)]
    allowed = [o for o in allowed if o.index(5) < o.index(3)]
    assert len(allowed) == 180
    drawn = torch.tensor([model.route_for(Stream(i)).order for i in range(5000)]).double()
    chance = torch.full((180,), 1 / 180, dtype=torch.float64)
    assert fits(drawn, torch.tensor(allowed).double(), chance)


@pytest.mark.parametrize(("name", "order", "members"), CASES)
@torch.no_grad()
def test_draws_follow_the_density(name: str, order: str, members: int) -> None:
    """And have 0 where they say that a cell is missing; given cells are held."""
    model, rows = model_of(name, order, members), states()
    assert fits(model.sample(20_000, Stream(7)), rows, model.log_prob(torn(rows)).exp())
    if order == "any":
        held = torch.full((8000, 8), math.nan, dtype=torch.float64)
        held[:, 1] = 1.0  # it is there, and so its indicator is 0
        there = held[0].clone()
        there[6] = 0.0
        assert fits(model.sample(8000, Stream(8), held), rows, law_given(model, rows, there))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("members", [1, 3])
@torch.no_grad()
def test_values_are_filled_in_as_those_of_rows_that_have_them(name: str, members: int) -> None:
    """Draws, and the exact mean of one missing cell, given an indicator of 0."""
    model, rows = model_of(name, "any", members), states()
    asked = rows[[0, 20, 40]].clone()
    asked[:, 6:] = 0
    asked[:, 3:6] = torch.tensor([0.0, 1.0, 0.0])
    asked[0, [1, 6]], asked[1, [3, 4, 5, 7]] = math.nan, math.nan
    asked[2, [0, 1, 3, 4, 5, 6, 7]] = math.nan
    drawn = model.complete(asked, ~asked.isnan(), Stream(6), 8000)
    means = model.means(asked, ~asked.isnan(), Stream(6))
    assert bool((drawn[..., 6:] == 0).all())
    assert bool((means[:, 6:] == 0).all())
    for i, row in enumerate(asked):
        there = row.clone()
        there[6:] = 0
        law = law_given(model, rows, there)
        assert fits(drawn[:, i], rows, law)
        if i < 2:
            assert torch.allclose(means[i], law @ rows, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("name", "order", "members"), CASES)
def test_what_training_pays_does_not_hear_masked_cells(name: str, order: str, members: int) -> None:
    model, rows = model_of(name, order, members), states()
    mask = ~torn(rows).isnan()
    other = torch.where(mask, rows, torch.ones_like(rows))
    found = [model.objective(Batch(x, mask), Stream(1)) for x in (rows, other)]
    assert torch.equal(*found)
    if order == "fixed" and members == 1:
        assert torch.equal(found[0], -model.log_prob(torn(rows)))
    slopes = torch.autograd.grad(found[0].mean(), list(model.parameters()), allow_unused=True)
    kept = [slope for slope in slopes if slope is not None]
    assert all(bool(torch.isfinite(slope).all()) for slope in kept)
    assert any(bool((slope != 0).any()) for slope in kept)


@torch.no_grad()
@pytest.mark.parametrize("name", ["nade", "nade of three layers"])
def test_training_by_any_order_pays_the_mean_over_all_that_are_allowed(name: str) -> None:
    """Of each row, by 40,000 draws, within six standard errors: a false alarm in ten million."""
    model, rows = model_of(name, "any"), states()[[3, 10, 22, 47]]
    orders = [torch.tensor(o) for o in itertools.permutations(range(6))]
    ranks = [o.argsort() for o in orders]
    routes = [model.route()._replace(rank=r) for r in ranks if r[4] < r[1] and r[5] < r[3]]
    assert len(routes) == 180
    exact = -torch.stack([model.score(rows, route) for route in routes]).mean(0)
    many = 10_000
    batch = torn(rows).repeat(many, 1)
    found = torch.cat([model.objective(batch, Stream(i)) for i in range(4)]).reshape(-1, 4)
    error = found.std(0) / math.sqrt(len(found))
    assert bool(((found.mean(0) - exact).abs() < 6 * error).all())
    assert float(error.max()) < 0.05


@torch.no_grad()
def test_a_real_column_that_may_be_missing_has_its_mass() -> None:
    """∫ p(x, r = 0) dx + p(r = 1) = 1."""
    for name, components in itertools.product(MODELS, (1, 3)):
        cls, hidden, _ = MODELS[name]
        units = {"bit": Bernoulli(1), "real": Gaussian(1, learned=True), "gap": Bernoulli(1)}
        how = {"order": "any", "components": components, "gaps": {1: 2}}
        model: Autoregressive = moved(cls(units, hidden, Stream(3), **how))
        line, total = torch.linspace(-200, 200, 80_001).double(), 0.0
        for bit in (0.0, 1.0):
            there = torch.stack([torch.full_like(line, bit), line, torch.zeros_like(line)], 1)
            gone = torch.tensor([[bit, math.nan, 1.0]]).double()
            total += float(torch.trapezoid(model.log_prob(there).exp(), line))
            total += float(model.log_prob(gone).exp())
        assert total == pytest.approx(1, abs=1e-8)
