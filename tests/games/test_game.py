"""The contract of a game: what a player owns, and its default gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from equilibria.games.game import Game
from equilibria.random import Stream


class Pair(Game):
    """A module and a lone parameter as players; half of the module is fixed, and one weight does
    not enter the cost."""

    players = ("network", "scale")

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.ParameterDict(
            {"fixed": torch.ones(2), "unused": torch.ones(3), "used": torch.ones(2)}
        )  # in order of names
        self.network["fixed"].requires_grad_(False)
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.other = 3.0

    def draw(self, batch: Any, stream: Stream) -> Tensor:
        return stream.uniform((2,))

    def cost(self, player: str, drawn: Tensor) -> Tensor:
        return self.scale * (self.network["used"] * self.network["fixed"] * drawn).sum()


def test_a_player_is_a_submodule_or_a_parameter() -> None:
    game = Pair()
    assert [parameter.shape for parameter in game.parameters_of("network")] == [(3,), (2,)]
    assert game.parameters_of("scale")[0] is game.scale


def test_the_gradient_is_that_of_the_cost_with_zeros_where_it_does_not_reach() -> None:
    game = Pair()
    drawn = game.draw(None, Stream(0))
    unused, used = game.gradient("network", drawn)
    assert torch.equal(used, 2 * drawn)
    assert torch.equal(unused, torch.zeros(3))
    with torch.no_grad():
        (scale,) = game.gradient("scale", drawn)
    assert torch.equal(scale, drawn.sum())
    assert all(parameter.grad is None for parameter in game.parameters())


class Aliased(Game):
    """Automatic differentiation hands both weights of this game one and the same expanded
    tensor."""

    players = ("both",)

    def __init__(self) -> None:
        super().__init__()
        self.both = nn.ParameterList([torch.zeros(3), torch.zeros(3)])

    def cost(self, player: str, drawn: Any) -> Tensor:
        return (self.both[0] + self.both[1]).sum()


def test_gradients_may_be_changed_in_place() -> None:
    first, second = Aliased().gradient("both", None)
    first.mul_(0.5)
    assert torch.equal(first, torch.full((3,), 0.5))
    assert torch.equal(second, torch.ones(3))


def test_defaults() -> None:
    game = Pair()
    drawn = game.draw(None, Stream(0))
    assert game.shared(drawn) == []
    assert game.settle(drawn) is None
    measured = game.measure(drawn)
    assert set(measured) == {"network_cost", "scale_cost"}
    assert all(value.dim() == 0 and not value.requires_grad for value in measured.values())


def test_a_player_without_parameters_is_named() -> None:
    game = Pair()
    game.empty = nn.Identity()
    with pytest.raises(ValueError, match="player='empty' owns no parameter"):
        game.parameters_of("empty")
