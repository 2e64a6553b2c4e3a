"""The xy game against its closed forms."""

from __future__ import annotations

import math
from itertools import pairwise, repeat

import pytest

from equilibria.games.toy import XYGame
from equilibria.random import Stream
from equilibria.solvers import Alternating, Rule, Simultaneous
from equilibria.solvers.solver import Solver


def play(solver: Solver, steps: int, x: float = 0.8, y: float = -0.3) -> list[tuple[float, float]]:
    """The path of a game, its start included."""
    game = XYGame(x, y)
    path = [(x, y)]
    for step in range(steps):
        solver.step(game, repeat(None), Stream(0).child(step), measure=False)
        path.append((game.x.item(), game.y.item()))
    return path


@pytest.mark.parametrize("h", [0.01, 0.3, 1.0])
def test_simultaneous_steps_grow_the_distance_by_a_known_factor(h: float) -> None:
    path = play(Simultaneous(Rule("sgd", h)), 200)
    for before, after in pairwise(path):
        assert math.hypot(*after) / math.hypot(*before) == pytest.approx(math.sqrt(1 + h * h), abs=1e-10)


@pytest.mark.parametrize(("order", "sign"), [(("x", "y"), -1), (("y", "x"), 1)])
@pytest.mark.parametrize("h", [0.1, 1.0, 1.9])
def test_alternating_steps_conserve_a_quadratic_form_and_stay_bounded(order: tuple[str, str], sign: int, h: float) -> None:
    path = play(Alternating(Rule("sgd", h), order=order), 10_000 if h == 0.1 else 1_000)

    def form(point: tuple[float, float]) -> float:
        x, y = point
        return x * x + y * y + sign * h * x * y

    assert max(abs(form(point) - form(path[0])) for point in path) < 1e-10
    farthest = math.sqrt(form(path[0]) / (1 - h / 2))  # the form is at least (1 − h/2)·(x² + y²)
    assert max(math.hypot(*point) for point in path) <= farthest + 1e-10
    if h < 1.9:
        other = [abs(form((x, -y)) - form((path[0][0], -path[0][1]))) for x, y in path]
        assert max(other) > 1e-2  # the other order's form is not conserved


def test_small_steps_follow_the_circle() -> None:
    h, steps = 1e-3, 1_000
    x, y = play(Simultaneous(Rule("sgd", h)), steps)[-1]
    t = h * steps
    assert x == pytest.approx(0.8 * math.cos(t) + 0.3 * math.sin(t), abs=2e-3)
    assert y == pytest.approx(0.8 * math.sin(t) - 0.3 * math.cos(t), abs=2e-3)


def test_it_reports_value_and_distance() -> None:
    measured = XYGame(3.0, 4.0).measure(None)
    assert (measured["value"].item(), measured["distance"].item()) == (12.0, 5.0)
