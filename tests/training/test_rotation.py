"""The Jacobian of a game's flow against closed forms, and the sentence on it."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from equilibria.data import Batch
from equilibria.games.adversarial import AdversarialGame
from equilibria.games.flow import flow_jacobian
from equilibria.games.game import Game
from equilibria.games.toy import DiracGame, XYGame
from equilibria.models.generator import Generator
from equilibria.networks.mlp import MLP
from equilibria.random import Stream
from equilibria.training.rotation import Rotation, jacobian_eigenvalues, rotation


class Quadratic(Game):
    """x pays ½ a x² + b xy, y pays ½ c y² − b xy: the flow is linear, −[[a, b], [−b, c]]."""

    players = ("x", "y")

    def __init__(self, a: float, b: float, c: float):
        super().__init__()
        self.a, self.b, self.c = a, b, c
        self.x, self.y = nn.Parameter(torch.tensor([1.0])), nn.Parameter(torch.tensor([1.0]))

    def cost(self, player: str, drawn: Any) -> torch.Tensor:
        both = self.b * (self.x * self.y).sum()
        return (self.a * self.x.square() / 2 + both if player == "x" else self.c * self.y.square() / 2 - both).sum()


def test_the_xy_game_turns_by_i() -> None:
    assert sorted(jacobian_eigenvalues(XYGame(3.0, -2.0)).tolist(), key=lambda v: v.imag) == pytest.approx([-1j, 1j], abs=1e-12)
    found = rotation(XYGame())
    assert found.circles
    assert not found.stable
    assert found.largest_rate == 0


@pytest.mark.parametrize(("a", "b", "c"), [(1.0, 0.0, 2.0), (1.0, 3.0, 1.0), (0.1, 1.0, 0.3), (-0.5, 0.2, 1.0)])
def test_a_linear_flow_has_its_own_eigenvalues_and_largest_rate(a: float, b: float, c: float) -> None:
    game = Quadratic(a, b, c)
    matrix = -np.array([[a, b], [-b, c]])
    found = rotation(game)
    exact = np.linalg.eigvals(matrix)
    assert np.sort_complex(found.eigenvalues) == pytest.approx(np.sort_complex(exact), abs=1e-6)
    assert found.stable == (exact.real.max() < 0)
    assert found.circles == bool(abs(exact[0].imag) > -4 * exact[0].real and abs(exact[0].imag) > 0)
    if found.stable:
        for rate, shrinks in ((0.999 * found.largest_rate, True), (1.001 * found.largest_rate, False)):
            assert (np.abs(1 + rate * exact).max() < 1) == shrinks


@pytest.mark.parametrize("gamma", [0.0, 0.1, 1.0, 4.0])
def test_the_dirac_game_has_its_closed_form_and_a_penalty_stops_the_circling(gamma: float) -> None:
    found = rotation(DiracGame(penalties={"r1": gamma}, critic=0.0, generator=0.0))
    root = np.emath.sqrt(gamma**2 / 4 - 0.25)
    assert np.sort_complex(found.eigenvalues) == pytest.approx(np.sort_complex([-gamma / 2 + root, -gamma / 2 - root]), abs=1e-7)
    assert found.circles == (gamma < 0.2)
    assert found.stable == (gamma > 0)


def test_a_game_in_float32_is_looked_at_in_float64_and_left_alone() -> None:
    generator = Generator(MLP((1, 3, 2), "tanh", stream=Stream(0).child("generator")), latent_dim=1)
    game = AdversarialGame(generator, MLP((2, 3, 1), "tanh", stream=Stream(0).child("critic")))
    drawn = game.draw(Batch(Stream(1).normal((16, 2))), Stream(2))
    for player in game.players:
        game.gradient(player, drawn)  # whatever a round leaves behind in the game
    before = [p.clone() for p in game.parameters()]
    found = jacobian_eigenvalues(game, drawn)
    assert all(torch.equal(a, b) and a.dtype == torch.float32 for a, b in zip(game.parameters(), before, strict=True))
    wide = type(drawn)(*(part.double() if isinstance(part, torch.Tensor) else part for part in drawn))
    exact = np.linalg.eigvals(flow_jacobian(copy.deepcopy(game).double(), wide).detach().numpy())
    assert len(found) == sum(p.numel() for p in before)
    assert np.sort_complex(found) == pytest.approx(np.sort_complex(exact), abs=1e-12)


def test_the_sentence_tells_circling_from_growing_and_from_calm() -> None:
    assert str(rotation(XYGame())).startswith("The players circle (an eigenvalue of the flow is 0 ± 1i: simultaneous steps do not shrink)")
    assert "shrink below a rate of" in str(rotation(Quadratic(0.1, 1.0, 0.1)))
    assert str(rotation(Quadratic(1.0, 0.5, 1.0))).startswith("The players do not circle: where the game turns most")
    assert "a direction grows" in str(rotation(Quadratic(-1.0, 0.0, 1.0)))
    assert Rotation(np.zeros(2, dtype=complex)).turning == 0


def test_a_large_game_is_refused() -> None:
    generator = Generator(MLP((2, 64, 64, 2), stream=Stream(0)), latent_dim=2)
    with pytest.raises(ValueError, match="the Jacobian is worked out for 2,000 at most"):
        jacobian_eigenvalues(AdversarialGame(generator, MLP((2, 8, 1), stream=Stream(0))))


def test_a_rate_at_the_edge_neither_shrinks_nor_grows() -> None:
    found = Rotation(np.array([-1 + 2j, -1 - 2j]))
    assert abs(1 + found.largest_rate * (-1 + 2j)) == pytest.approx(1)
    assert math.isclose(found.largest_rate, 0.4)
