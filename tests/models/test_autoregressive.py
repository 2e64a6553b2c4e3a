"""NADE and MADE against enumeration: each order, ensembles of them, labels, draws, completions.

Statistical tests raise a false alarm with probability 1e-6; their seeds are fixed.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from equilibria.data.batches import Batch
from equilibria.models.autoregressive import Autoregressive, GaussianMixture
from equilibria.models.made import MADE
from equilibria.models.model import capabilities
from equilibria.models.nade import NADE
from equilibria.random import Stream
from equilibria.units import Bernoulli, Gaussian
from equilibria.units.columns import LABEL
from orders import all_bits, fits, hears, hears_itself, law_given, mixed, moved, states

MODELS: dict[str, tuple[Any, Any, str]] = {
    "made": (MADE, (12, 9), "masks"),
    "made of three layers": (MADE, (8, 9, 7), "masks"),
    "nade": (NADE, (9,), "orders"),
    "nade of three layers": (NADE, (8, 9, 7), "orders"),
}
ORDERS = ("fixed", "any")
CASES = [(name, order, members) for name in MODELS for order in ORDERS for members in (1, 3)]


def model_of(name: str, units: Any, order: str = "fixed", members: int = 1, **more: Any) -> Any:
    cls, hidden, several = MODELS[name]
    how = {"order": order, several: members, **more}
    return moved(cls(units, hidden, Stream(3), **how))


@pytest.mark.parametrize(("name", "order", "members"), CASES)
@torch.no_grad()
def test_probabilities_sum_to_one(name: str, order: str, members: int) -> None:
    """Of 2¹² rows of bits, and of a table of bits, categories, spins and a label."""
    for units, rows in (({"v": Bernoulli(12)}, all_bits(12)), (mixed(True), states(True))):
        model = model_of(name, units, order, members)
        assert model.members == members
        assert float(model.log_prob(rows).exp().sum()) == pytest.approx(1, abs=1e-12)
        for m in range(members):
            total = model.score(rows, model.route(m)).exp().sum()
            assert float(total) == pytest.approx(1, abs=1e-12)
        drawn = model.route_for(Stream(9))  # as in training
        assert float(model.score(rows, drawn).exp().sum()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("components", [1, 3])
def test_a_field_hears_earlier_variables_alone(name: str, components: int) -> None:
    units = {**mixed(True), "real": Gaussian(2, learned=True)}
    units[LABEL] = units.pop(LABEL)
    x = torch.cat([states(True)[40:60, :-3], torch.randn(20, 2, generator=_G()).double()], 1)
    x = torch.cat([x, states(True)[40:60, -3:]], 1)
    for order in ORDERS:
        model = model_of(name, units, order, 2, components=components)
        for route in (model.route(0), model.route(1), model.route_for(Stream(4))):
            assert hears_itself(model, route, x) == []
            assert hears(model, route, x)


def _G() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize(("name", "order", "members"), CASES)
@torch.no_grad()
def test_draws_follow_the_density(name: str, order: str, members: int) -> None:
    model, rows = model_of(name, mixed(), order, members), states()
    assert fits(model.sample(20_000, Stream(7)), rows, model.log_prob(rows).exp())


@pytest.mark.parametrize(("name", "order", "members"), CASES)
@torch.no_grad()
def test_labels_are_summed_out_and_told_by_bayes(name: str, order: str, members: int) -> None:
    model, rows = model_of(name, mixed(True), order, members), states(True)
    torn = rows[::3].clone()
    torn[:, -3:] = torch.nan
    joint = model.log_prob(rows).reshape(-1, 3)
    assert torch.allclose(model.log_prob(torn), joint.logsumexp(1), rtol=0, atol=1e-12)
    expected = joint.log_softmax(1)
    assert torch.allclose(model.class_log_prob(torn, Stream(0)), expected, rtol=0, atol=1e-12)
    some = torch.cat([rows[:5], torn[5:9], rows[30:32]])  # known and missing ones together
    alone = torch.cat([model.log_prob(row[None]) for row in some])
    assert torch.allclose(model.log_prob(some), alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("name", "order", "members"), CASES)
@torch.no_grad()
def test_rows_of_a_class_follow_the_density_given_it(name: str, order: str, members: int) -> None:
    """Where the order is fixed the label is its first variable, and the law is the density's."""
    model, rows = model_of(name, mixed(True), order, members), states(True)
    held = torch.full((20_000, 11), torch.nan, dtype=torch.float64)
    held[:, -3:] = torch.tensor([0.0, 1.0, 0.0])
    drawn, chance = model.sample(20_000, Stream(8), held), law_given(model, rows, held[0])
    assert fits(drawn, rows, chance)
    if order == "fixed" and members == 1:
        p = model.log_prob(rows).exp() * (rows[:, -2] == 1)
        assert torch.allclose(chance, p / p.sum(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("members", [1, 3])
@torch.no_grad()
def test_completions_follow_the_law_of_orders_with_the_observed_first(
    name: str, members: int
) -> None:
    """Draws of three rows with other gaps each, and the exact mean of each missing cell."""
    model, rows = model_of(name, mixed(), "any", members), states()
    torn, nan = rows[[5, 40, 77]].clone(), torch.nan
    torn[0, [0, 3, 4, 5]], torn[1, [1, 2, 6, 7]], torn[2] = nan, nan, nan
    drawn = model.complete(torn, ~torn.isnan(), Stream(6), 8000)
    assert drawn.shape == (8000, 3, 8)
    for i, row in enumerate(torn):
        assert fits(drawn[:, i], rows, law_given(model, rows, row))
    one = torn[:1].clone()
    one[0, 6] = nan  # means are of the next variable: one at a time is missing
    for columns in ([1], [3, 4, 5], [7]):
        gap = rows[[50]].clone()
        gap[0, columns] = nan
        found = model.means(gap, ~gap.isnan(), Stream(0))[0]
        expected = law_given(model, rows, gap[0]) @ rows
        assert torch.allclose(found, expected, rtol=0, atol=1e-12)
    found = model.means(one, ~one.isnan(), Stream(0))[0]
    for columns in ([0], [3, 4, 5], [6]):
        m = model.members
        expected = sum(_next(model, rows, one[0], columns, k) for k in range(m)) / m
        assert torch.allclose(found[columns], expected, rtol=0, atol=1e-12)


def _next(
    model: Autoregressive, rows: Tensor, row: Tensor, columns: list[int], member: int
) -> Tensor:
    """Mean of a variable that comes next after those observed, by sums over all states."""
    known = ~row.isnan()
    seen = known[[place.columns.start for place in model.places]]
    variable = int(model.owner[columns[0]])
    order = [i for i in model.route(member, seen).order if i != variable]
    order.insert(int(seen.sum()), variable)
    route = model.route(member)._replace(rank=torch.tensor(order).argsort())
    p = model.total(model.fields(rows, route), rows).exp()
    p = p * (rows[:, known] == row[known]).all(1)
    return (p / p.sum()) @ rows[:, columns]


@pytest.mark.parametrize("name", MODELS)
def test_cells_are_filled_in_where_any_order_may_come(name: str) -> None:
    can = {"complete", "means"}
    assert can <= capabilities(model_of(name, mixed(), "any"))
    assert not can & capabilities(model_of(name, mixed(), "fixed"))
    assert "classify" in capabilities(model_of(name, mixed(True)))
    assert "classify" not in capabilities(model_of(name, mixed()))


# ------------------------------------------------------------ real columns


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("components", [1, 4])
@torch.no_grad()
def test_a_real_column_integrates_to_one(name: str, components: int) -> None:
    for order in ORDERS:
        units = {"bit": Bernoulli(1), "real": Gaussian(1, learned=True)}
        model = model_of(name, units, order, 2, components=components)
        line = torch.linspace(-200, 200, 80_001).double()
        rows = [torch.stack([torch.full_like(line, bit), line], 1) for bit in (0.0, 1.0)]
        total = sum(float(torch.trapezoid(model.log_prob(x).exp(), line)) for x in rows)
        assert total == pytest.approx(1, abs=1e-8)


@torch.no_grad()
def test_a_mixture_s_draws_and_mean_are_its_density_s() -> None:
    """Shares of 24 cells of the line, and the mean by quadrature."""
    head = GaussianMixture(2, 3).double()
    field = 1.5 * torch.randn(1, head.width, generator=_G()).double()
    line = torch.linspace(-60, 60, 60_001).double()
    density = head.log_density(field.expand(len(line), -1), line[:, None].expand(-1, 2)).exp()
    drawn = head.sample(field.expand(20_000, -1), Stream(3))
    for c in range(2):
        mean = torch.trapezoid(line * density[:, c], line)
        assert float(head.mean(field)[0, c]) == pytest.approx(float(mean), abs=1e-8)
        edges = torch.linspace(-6, 6, 23).double()
        below = torch.cumulative_trapezoid(density[:, c], line)
        levels = below[(edges[:, None] > line[1:]).sum(1)]
        ends = torch.cat([levels.new_zeros(1), levels, levels.new_ones(1)])
        cells = torch.arange(24.0).double()[:, None]
        found = torch.bucketize(drawn[:, c].contiguous(), edges)[:, None].double()
        assert fits(found, cells, ends.diff().clamp(min=0))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.parametrize("order", ORDERS)
def test_far_values_have_finite_gradients(name: str, components: int, order: str) -> None:
    """At ±10⁶ standard deviations, in float32."""
    units = {"bits": Bernoulli(2), "real": Gaussian(3, learned=True)}
    model = model_of(name, units, order, components=components).float()
    x = torch.tensor([[1.0, 0, 1e6, -1e6, 1e6], [0, 1, -1e6, 0, 1e6], [1, 1, 0, 1e6, 0]])
    cost = model.objective(x, Stream(1))
    slopes = torch.autograd.grad(cost.mean(), list(model.parameters()), allow_unused=True)
    assert bool(torch.isfinite(cost).all())
    assert all(bool(torch.isfinite(slope).all()) for slope in slopes if slope is not None)


# ------------------------------------------------------------ training


@pytest.mark.parametrize(("name", "order", "members"), CASES)
def test_what_training_pays_is_drawn_from_its_stream_alone(
    name: str, order: str, members: int
) -> None:
    """One of the members, or a new order; the same stream gives the same number."""
    model, rows = model_of(name, mixed(True), order, members), states(True)[::7]
    paid = [model.objective(rows, Stream(seed)).detach() for seed in (1, 1, *range(2, 30))]
    assert torch.equal(paid[0], paid[1])
    if order == "fixed":
        scores = [-model.score(rows, model.route(m)).detach() for m in range(members)]
        chosen = {next(m for m, s in enumerate(scores) if torch.equal(s, one)) for one in paid}
        assert chosen == set(range(members))
    else:
        assert any(not torch.equal(paid[0], one) for one in paid)


@pytest.mark.parametrize("name", MODELS)
def test_a_missing_label_is_no_class_in_training(name: str) -> None:
    """Whatever lies in a masked cell, the objective is the same; a fixed order sums it out."""
    for order in ORDERS:
        model, rows = model_of(name, mixed(True), order), states(True)[::7]
        mask = torch.ones_like(rows, dtype=torch.bool)
        mask[::2, -3:] = False
        other = rows.clone()
        other[::2, -3:] = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
        found = [model.objective(Batch(x, mask), Stream(1)) for x in (rows, other)]
        assert torch.equal(*found)
        if order == "fixed":
            torn = rows.masked_fill(~mask, math.nan)
            assert torch.equal(found[0], -model.log_prob(torn))
