"""Rules: schedules at their ends, and the steps against hand-written ones."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from equilibria.random import Stream
from equilibria.solvers.rule import SCHEDULES, Rule


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_start_at_the_rate_and_end_at_the_final_one(schedule: str) -> None:
    rule = Rule("sgd", 0.5, schedule=schedule, final_rate=0.02, steps=200)
    last = 0.5 if schedule == "constant" else 0.02
    assert rule.rate_at(0) == 0.5
    assert rule.rate_at(200) == pytest.approx(last, rel=1e-12)
    assert rule.rate_at(10**9) == rule.rate_at(200)
    rates = [rule.rate_at(t) for t in range(201)]
    assert all(a > b for a, b in pairwise(rates)) or schedule == "constant"


def test_schedules_halfway() -> None:
    halfway = {
        "constant": 0.5,
        "linear": (0.5 + 0.02) / 2,
        "cosine": (0.5 + 0.02) / 2,
        "geometric": math.sqrt(0.5 * 0.02),
        "inverse": 1 / ((1 / 0.5 + 1 / 0.02) / 2),
    }
    for schedule, rate in halfway.items():
        assert Rule("sgd", 0.5, schedule=schedule, final_rate=0.02, steps=200).rate_at(100) == pytest.approx(rate, rel=1e-12)
    quarter = 0.02 + 0.48 * (1 + math.cos(math.pi / 4)) / 2
    assert Rule("sgd", 0.5, schedule="cosine", final_rate=0.02, steps=200).rate_at(50) == pytest.approx(quarter, rel=1e-12)


def test_warmup_climbs_in_a_line_and_leaves_the_rest_alone() -> None:
    rule = Rule("sgd", 1.0, warmup=4)
    assert [rule.rate_at(t) for t in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0], rel=1e-15)
    plain = Rule("sgd", 1.0, schedule="linear", steps=100)
    warm = Rule("sgd", 1.0, schedule="linear", steps=100, warmup=4)
    assert [warm.rate_at(t) for t in (4, 50, 100)] == [plain.rate_at(t) for t in (4, 50, 100)]


def run(rule: Rule, parameters: list[nn.Parameter], gradients: list[list[Tensor]]) -> None:
    optimiser = rule.build(parameters)
    for t, gradient in enumerate(gradients):
        rule.set_update(optimiser, t)
        for parameter, tensor in zip(parameters, gradient, strict=True):
            parameter.grad = tensor.clone()
        optimiser.step()


def start(steps: int = 7) -> tuple[list[nn.Parameter], list[list[Tensor]]]:
    """A weight matrix and a bias in float64, and a gradient of both for every step."""
    draw = Stream(0)
    shapes = ((3, 2), (2,))
    parameters = [nn.Parameter(draw.child("start", i).normal(shape, torch.float64)) for i, shape in enumerate(shapes)]
    gradients = [[draw.child("gradient", t, i).normal(shape, torch.float64) for i, shape in enumerate(shapes)] for t in range(steps)]
    return parameters, gradients


def test_sgd_with_switched_momentum_schedule_and_decay_of_weights_only() -> None:
    rule = Rule("sgd", 0.1, momentum=0.5, final_momentum=0.9, momentum_steps=3, weight_decay=0.3, schedule="linear", steps=10)
    parameters, gradients = start()
    expected = []
    for i, parameter in enumerate(parameters):
        w, velocity = parameter.detach().clone(), torch.zeros_like(parameter)
        for t, gradient in enumerate(gradients):
            velocity = (0.5 if t < 3 else 0.9) * velocity + gradient[i] + (0.3 * w if i == 0 else 0)
            w = w - 0.1 * (1 - t / 10) * velocity
        expected.append(w)
    run(rule, parameters, gradients)
    for parameter, w in zip(parameters, expected, strict=True):
        assert torch.allclose(parameter, w, rtol=0, atol=1e-13)


def test_momentum_may_start_at_zero() -> None:
    rule = Rule("sgd", 0.1, final_momentum=0.9, momentum_steps=2)
    parameters, gradients = start(4)
    w, velocity = parameters[0].detach().clone(), torch.zeros(3, 2, dtype=torch.float64)
    for t, gradient in enumerate(gradients):
        velocity = gradient[0] + (0.9 * velocity if t > 2 else 0)  # nothing was remembered before the switch
        w = w - 0.1 * velocity
    run(rule, parameters, gradients)
    assert torch.allclose(parameters[0], w, rtol=0, atol=1e-13)


def test_adam_with_decoupled_decay_of_weights_only() -> None:
    rule = Rule("adam", 0.1, betas=(0.5, 0.9), weight_decay=0.3)
    parameters, gradients = start()
    expected = []
    for i, parameter in enumerate(parameters):
        w = parameter.detach().clone()
        first, second = torch.zeros_like(w), torch.zeros_like(w)
        for t, gradient in enumerate(gradients, start=1):
            first = 0.5 * first + 0.5 * gradient[i]
            second = 0.9 * second + 0.1 * gradient[i].square()
            w = w * (1 - 0.1 * 0.3) if i == 0 else w
            w = w - 0.1 * (first / (1 - 0.5**t)) / ((second / (1 - 0.9**t)).sqrt() + 1e-8)
        expected.append(w)
    run(rule, parameters, gradients)
    for parameter, w in zip(parameters, expected, strict=True):
        assert torch.allclose(parameter, w, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("named", "wrong"),
    [
        ("optimiser", {"optimiser": "lion"}),
        ("rate", {"rate": 0.0}),
        ("rate", {"rate": math.nan}),
        ("momentum", {"momentum": 1.0}),
        ("momentum", {"optimiser": "adam", "momentum": 0.5}),
        ("final_momentum", {"final_momentum": -0.1}),
        ("momentum_steps", {"momentum_steps": -1}),
        ("betas", {"betas": (0.9, 1.0)}),
        ("weight_decay", {"weight_decay": -1e-4}),
        ("schedule", {"schedule": "step"}),
        ("final_rate", {"final_rate": -0.1}),
        ("final_rate", {"schedule": "geometric", "steps": 5, "final_rate": 0.0}),
        ("final_rate", {"schedule": "inverse", "steps": 5}),
        ("steps", {"schedule": "linear", "steps": 0}),
        ("warmup", {"warmup": -1}),
    ],
)
def test_the_bad_argument_is_named(named: str, wrong: dict[str, Any]) -> None:
    value = {"final_rate": 0.0, **wrong}.get(named)
    with pytest.raises(ValueError, match=rf"^{named}={re.escape(repr(value))}: expected "):
        Rule(**{"optimiser": "sgd", "rate": 0.1, **wrong})
