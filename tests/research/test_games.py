"""The xy game and the Dirac game against their closed forms."""

from __future__ import annotations

import math
from itertools import pairwise, repeat

import pytest
import torch

from equilibria.games.toy import XYGame
from equilibria.random import Stream
from equilibria.solvers import Alternating, Optimiser, Simultaneous
from equilibria.solvers.solver import Solver
from research.eigenvalues import flow_jacobian
from research.games import DiracGame


def play(solver: Solver, steps: int, x: float = 0.8, y: float = -0.3) -> list[tuple[float, float]]:
    """The path of a game, its start included."""
    game = XYGame(x, y)
    path = [(x, y)]
    for step in range(steps):
        solver.step(game, repeat(None), Stream(0).child(step), measure=False)
        path.append((game.x.item(), game.y.item()))
    return path


def test_simultaneous_steps_grow_the_distance_by_a_known_factor() -> None:
    for h in [0.01, 0.3, 1.0]:
        path = play(Simultaneous(Optimiser("sgd", h)), 200)
        for before, after in pairwise(path):
            assert math.hypot(*after) / math.hypot(*before) == pytest.approx(
                math.sqrt(1 + h * h), abs=1e-10
            )


@pytest.mark.parametrize(("order", "sign"), [(("x", "y"), -1), (("y", "x"), 1)])
@pytest.mark.parametrize("h", [0.1, 1.0, 1.9])
def test_alternating_steps_conserve_a_quadratic_form_and_stay_bounded(
    order: tuple[str, str], sign: int, h: float
) -> None:
    path = play(Alternating(Optimiser("sgd", h), order=order), 10_000 if h == 0.1 else 1_000)

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
    x, y = play(Simultaneous(Optimiser("sgd", h)), steps)[-1]
    t = h * steps
    assert x == pytest.approx(0.8 * math.cos(t) + 0.3 * math.sin(t), abs=2e-3)
    assert y == pytest.approx(0.8 * math.sin(t) - 0.3 * math.cos(t), abs=2e-3)


def test_it_reports_value_and_distance() -> None:
    measured = XYGame(3.0, 4.0).measure(None)
    assert (measured["value"].item(), measured["distance"].item()) == (12.0, 5.0)


def eigenvalues(game: DiracGame) -> list[complex]:
    return sorted(
        (complex(value) for value in torch.linalg.eigvals(flow_jacobian(game))),
        key=lambda value: (value.real, value.imag),
    )


@pytest.mark.parametrize(
    ("payoff", "slope"),
    [("minimax", 0.5), ("non-saturating", 0.5), ("relativistic", 0.5), ("wasserstein", 1.0)],
)
@pytest.mark.parametrize("gamma", [0.3, 2.5])
def test_the_dirac_games_eigenvalues_under_r1(payoff: str, slope: float, gamma: float) -> None:
    root = complex(gamma**2 / 4 - slope**2) ** 0.5
    expected = sorted(
        [-gamma / 2 - root, -gamma / 2 + root], key=lambda value: (value.real, value.imag)
    )
    for found, formula in zip(
        eigenvalues(DiracGame(payoff, {"r1": gamma}, critic=0, generator=0)), expected, strict=True
    ):
        assert abs(found - formula) < 1e-8


@pytest.mark.parametrize("sigma", [0.2, 1.0])
def test_the_dirac_games_eigenvalues_under_instance_noise(sigma: float) -> None:
    """−f″(0)-damped: f″(0) = −¼ for the logistic loss, so −σ²/4 ± √(σ⁴/16 − ¼)."""
    found = eigenvalues(DiracGame("non-saturating", instance_noise=sigma, critic=0, generator=0))
    root = complex(sigma**4 / 16 - 0.25) ** 0.5
    for value, formula in zip(found, [-(sigma**2) / 4 - root, -(sigma**2) / 4 + root], strict=True):
        assert abs(value - formula) < 1e-8


def test_expectations_under_instance_noise_are_those_of_many_draws() -> None:
    game = DiracGame("non-saturating", instance_noise=0.5, critic=1.3, generator=0.7)
    real, fake = (
        0.5 * Stream(6).child(name).normal((1_000_000,), torch.float64) for name in ("real", "fake")
    )
    costs = game.payoff.costs(1.3 * real, 1.3 * (0.7 + fake))
    for player, cost in zip(game.players, costs, strict=True):
        # 5 standard errors of the mean of a million draws, below .003: false alarm 6e-7
        assert abs(game.cost(player, None) - cost.mean()) < 5 * cost.std() / 1000


def test_without_damping_the_dirac_players_do_not_settle_and_with_r1_they_do() -> None:
    def distance(payoff: str, penalties: dict[str, float]) -> float:
        game, solver = DiracGame(payoff, penalties), Alternating(Optimiser("sgd", 0.2))
        for step in range(300):
            solver.step(game, repeat(None), Stream(0).child(step), measure=False)
        return game.measure(None)["distance"].item()

    assert distance("minimax", {}) > 0.5
    assert distance("wasserstein", {}) > 0.5
    assert (
        distance("non-saturating", {}) > 0.1
    )  # terms of higher order let it creep inward, ever slower
    assert distance("wasserstein", {"gradient-penalty": 1.0}) > 0.05
    assert distance("non-saturating", {"r1": 1.0}) < 1e-8
    assert distance("relativistic", {"r1": 0.5, "r2": 0.5}) < 1e-8


def test_wrong_dirac_games_are_refused() -> None:
    with pytest.raises(ValueError, match="instance_noise=-1"):
        DiracGame(instance_noise=-1)
    with pytest.raises(ValueError, match="penalties='r3'"):
        DiracGame(penalties={"r3": 1.0})
    with pytest.raises(ValueError, match="player='referee'"):
        DiracGame().cost("referee", None)
