"""NADE's recursion against its definition, its gradient against differences, its training by sets.

What it shares with MADE is in ``test_autoregressive.py``.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from equilibria.models import nade
from equilibria.models.nade import NADE
from equilibria.random import Stream
from equilibria.units import Bernoulli, Gaussian
from orders import all_bits, mixed, moved, states

ACTIVATIONS = {"sigmoid": torch.sigmoid, "relu": torch.relu}
CASES = list(itertools.product([(7,), (6, 5)], ["fixed", "any"], ACTIVATIONS))


def model_of(hidden: Any, order: str, activation: str, **more: Any) -> NADE:
    units = {**mixed(), "real": Gaussian(2, learned=True)}
    how = {"order": order, "activation": activation, "components": 2, **more}
    return moved(NADE(units, hidden, Stream(3), **how))


def rows_of(n: int = 9) -> Tensor:
    real = torch.randn(n, 2, generator=torch.Generator().manual_seed(1)).double()
    return torch.cat([states()[:: 96 // n][:n], real], 1)


def naive(model: NADE, x: Tensor, order: list[int]) -> Tensor:
    """Each variable's field by a pass of its own over those before it."""
    found = torch.zeros(len(x), len(model.field_owner), dtype=x.dtype)
    function = ACTIVATIONS[model.activation]
    for place, variable in enumerate(order):
        before = torch.tensor([j in order[:place] for j in model.owner.tolist()])
        inputs = x * before
        if model.any_order:
            there = [float(j in order[:place]) for j in range(len(order))]
            inputs = torch.cat([inputs, torch.tensor(there).to(x).expand(len(x), -1)], 1)
        for layer in model.layers[:-1]:
            inputs = function(functional.linear(inputs, layer.weight, layer.bias))
        own = model.field_owner == variable
        last = model.layers[-1]
        found[:, own] = functional.linear(inputs, last.weight[own], last.bias[own])
    return found


@pytest.mark.parametrize(("hidden", "order", "activation"), CASES)
@pytest.mark.parametrize(("block", "cells"), [(3, 2**20), (8, 2**20), (8, 100)])
def test_the_recursion_is_the_definition(
    hidden: Any, order: str, activation: str, block: int, cells: int, monkeypatch: Any
) -> None:
    """With and without a gradient, in blocks of all sizes, to 1e-10; its gradient too."""
    monkeypatch.setattr(nade, "BLOCK", block)
    monkeypatch.setattr(nade, "CELLS", cells)
    model, x = model_of(hidden, order, activation, orders=2), rows_of()
    weight = torch.randn(len(x), len(model.field_owner), generator=torch.Generator()).double()
    for m in range(2):
        route = model.route(m)
        expected, found = naive(model, x, route.order), model.fields(x, route)
        assert torch.allclose(found, expected, rtol=0, atol=1e-10)
        with torch.no_grad():
            assert torch.allclose(model.fields(x, route), expected, rtol=0, atol=1e-10)
        parameters = list(model.layers.parameters())
        slopes = [
            torch.autograd.grad((weight * fields).sum(), parameters) for fields in (expected, found)
        ]
        for one, other in zip(*slopes, strict=True):
            assert torch.allclose(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_gradient_is_that_of_finite_differences(activation: str) -> None:
    model, x = model_of((7,), "fixed", activation), rows_of()

    def cost() -> Tensor:
        return model.objective(x, Stream(0)).mean()

    slopes = torch.autograd.grad(cost(), list(model.parameters()))
    step = 1e-6
    for parameter, slope in zip(model.parameters(), slopes, strict=True):
        flat = parameter.data.view(-1)
        for i in range(0, len(flat), 7):
            here, ends = float(flat[i]), []
            for sign in (1, -1):
                flat[i] = here + sign * step
                ends.append(float(cost().detach()))
            flat[i] = here
            found = (ends[0] - ends[1]) / (2 * step)
            assert float(slope.reshape(-1)[i]) == pytest.approx(found, abs=1e-6)


@torch.no_grad()
def test_training_by_sets_is_the_mean_over_all_orders() -> None:
    """Of four variables all 24 orders are listed: 40,000 draws come within six standard errors."""
    model = moved(NADE({"v": Bernoulli(4)}, (5,), Stream(1), order="any"))
    row = torch.tensor([[1.0, 0, 1, 1]]).double()
    costs = []
    for order in itertools.permutations(range(4)):
        route = model.route()._replace(rank=torch.tensor(order).argsort())
        costs.append(-model.score(row, route))
    paid = model.objective(row.expand(40_000, -1), Stream(2))
    error = float(paid.std()) / len(paid) ** 0.5
    assert abs(float(paid.mean()) - float(torch.cat(costs).mean())) < 6 * error
    assert error < 0.02


@torch.no_grad()
def test_what_a_set_predicts_is_what_the_recursion_says_next() -> None:
    """The fields given a set of variables are those of any order that begins with them."""
    model = moved(NADE({"v": Bernoulli(6)}, (8, 7), Stream(1), order="any"))
    x, seen = all_bits(6)[::5], torch.tensor([True, False, True, False, False, True])
    found = model.fields_given(x, seen)
    for variable in (1, 3, 4):
        rest = [i for i in (1, 3, 4) if i != variable]
        rank = torch.tensor([0, 2, 5, variable, *rest]).argsort()
        fields = model.fields(x, model.route()._replace(rank=rank))
        assert torch.allclose(found[:, variable], fields[:, variable], rtol=0, atol=1e-12)
