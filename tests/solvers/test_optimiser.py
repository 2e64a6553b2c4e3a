"""Rules: schedules at their ends, and the steps against hand-written ones."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from equilibria.random import Stream
from equilibria.solvers.optimiser import SCHEDULES, Optimiser
from equilibria.solvers.solver import Moved


def test_schedules_fall_from_the_rate_to_nothing() -> None:
    halfway = {"constant": 0.5, "linear": 0.25, "cosine": 0.25}
    assert set(halfway) == set(SCHEDULES)
    for schedule, rate in halfway.items():
        settings = Optimiser("sgd", 0.5, schedule=schedule, steps=200)
        rates = [settings.rate_at(t) for t in range(201)]
        assert rates[0] == 0.5
        assert rates[100] == pytest.approx(rate, rel=1e-12)
        assert rates[200] == (0.5 if schedule == "constant" else 0.0)
        assert settings.rate_at(10**9) == rates[200]
        assert all(a > b for a, b in pairwise(rates)) or schedule == "constant"
    quarter = 0.5 * (1 + math.cos(math.pi / 4)) / 2
    cosine = Optimiser("sgd", 0.5, schedule="cosine", steps=200)
    assert cosine.rate_at(50) == pytest.approx(quarter, rel=1e-12)


def run(rule: Optimiser, parameters: list[nn.Parameter], gradients: list[list[Tensor]]) -> None:
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
    parameters = [
        nn.Parameter(draw.child("start", i).normal(shape, torch.float64))
        for i, shape in enumerate(shapes)
    ]
    gradients = [
        [
            draw.child("gradient", t, i).normal(shape, torch.float64)
            for i, shape in enumerate(shapes)
        ]
        for t in range(steps)
    ]
    return parameters, gradients


def test_sgd_with_switched_momentum_schedule_and_decay_of_weights_only() -> None:
    rule = Optimiser(
        "sgd",
        0.1,
        momentum=0.5,
        final_momentum=0.9,
        momentum_steps=3,
        weight_decay=0.3,
        schedule="linear",
        steps=10,
    )
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
    rule = Optimiser("sgd", 0.1, final_momentum=0.9, momentum_steps=2)
    parameters, gradients = start(4)
    w, velocity = parameters[0].detach().clone(), torch.zeros(3, 2, dtype=torch.float64)
    for t, gradient in enumerate(gradients):
        velocity = gradient[0] + (
            0.9 * velocity if t > 2 else 0
        )  # nothing was remembered before the switch
        w = w - 0.1 * velocity
    run(rule, parameters, gradients)
    assert torch.allclose(parameters[0], w, rtol=0, atol=1e-13)


def test_adam_with_decoupled_decay_of_weights_only() -> None:
    rule = Optimiser("adam", 0.1, betas=(0.5, 0.9), weight_decay=0.3)
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


def test_bad_arguments_are_named() -> None:
    for name, wrong in [
        ("kind", {"kind": "lion"}),
        ("rate", {"rate": 0.0}),
        ("momentum", {"momentum": 1.0}),
        ("momentum", {"kind": "adam", "momentum": 0.5}),
        ("betas", {"betas": (0.9, 1.0)}),
        ("schedule", {"schedule": "step"}),
        ("steps", {"schedule": "linear", "steps": 0}),
    ]:
        with pytest.raises(ValueError, match=f"^{name}="):
            Optimiser(**{"kind": "sgd", "rate": 0.1, **wrong})


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_a_players_step_is_the_optimisers_and_has_its_hooks(kind: str) -> None:
    rule, called = Optimiser(kind, 0.1, weight_decay=0.3), list[str]()
    (alone, gradients), (other, _) = start(), start()
    run(rule, alone, gradients)
    optimiser = rule.build(other)
    moved = Moved(other, [], rule, optimiser)
    hooks = [
        lambda: optimiser.register_step_pre_hook(lambda *_: called.append("before")),
        lambda: optimiser.register_step_post_hook(lambda *_: called.append("after")),
        lambda: register_optimizer_step_pre_hook(lambda *_: called.append("before any")),
        lambda: register_optimizer_step_post_hook(lambda *_: called.append("after any")),
    ]
    for t, gradient in enumerate(gradients):
        handle = hooks[t]() if t < len(hooks) else None
        for parameter, tensor in zip(other, gradient, strict=True):
            parameter.grad = tensor.clone()
        moved.step()
        if handle is not None:
            handle.remove()
    assert called == ["before", "after", "before any", "after any"]
    assert all(torch.equal(a, b) for a, b in zip(alone, other, strict=True))
