"""Where a gradient lies in memory is nothing to a step: every solver moves a parameter by its own
gradient, entry by entry.

A convolution's backward pass may give its gradient channels-last beside a contiguous weight;
torch's fused optimisers walk both as flat memory.
"""

from __future__ import annotations

from itertools import repeat
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from equilibria.data import Batch
from equilibria.games.adversarial import AdversarialGame
from equilibria.games.game import Game
from equilibria.models.generator import Generator
from equilibria.networks import MLP, DCGANCritic, DCGANGenerator, ResidualCritic, ResidualGenerator
from equilibria.random import Stream
from equilibria.solvers import SOLVERS, Optimiser, Simultaneous

RULES = {
    "adam": Optimiser("adam", 0.01, betas=(0.5, 0.9), weight_decay=0.1),
    "sgd": Optimiser("sgd", 0.01, momentum=0.9, weight_decay=0.1),
}
SHAPE = (28, 28)


class Maps(Game):
    """A cost of two maps that are bent entry by entry, whose gradients come in the order that is
    asked for."""

    players = ("first", "second")

    def __init__(self, order: torch.memory_format) -> None:
        super().__init__()
        self.order = order
        draw = Stream(0)
        self.first = nn.Parameter(draw.child("first").normal((6, 5, 3, 3), torch.float64))
        self.second = nn.Parameter(draw.child("second").normal((6, 5, 3, 3), torch.float64))

    def draw(self, batch: Any, stream: Stream) -> Tensor:
        return stream.normal((6, 5, 3, 3), torch.float64)

    def cost(self, player: str, drawn: Tensor) -> Tensor:
        own, other = self.get_parameter(player), self.first if player == "second" else self.second
        sign = 1.0 if player == "first" else -1.0
        return (sign * own * other + drawn * own + own.square() / 2).sum()

    def gradient(self, player: str, drawn: Tensor) -> list[Tensor]:
        return [own.contiguous(memory_format=self.order) for own in super().gradient(player, drawn)]


class CurvedMaps(Maps):
    """The same for a solver that differentiates the cost itself: a product of differently ordered
    maps."""

    gradient = Game.gradient

    def cost(self, player: str, drawn: Tensor) -> Tensor:
        own = self.get_parameter(player).contiguous(memory_format=self.order)
        other = self.second if player == "first" else self.first
        sign = 1.0 if player == "first" else -1.0
        return (sign * own * other + drawn.contiguous(memory_format=self.order) * own).sum()


@pytest.mark.parametrize(
    ("solver", "rule"), [*((solver, "adam") for solver in SOLVERS), ("simultaneous", "sgd")]
)
def test_a_gradient_s_order_in_memory_is_nothing_to_a_solver(solver: str, rule: str) -> None:
    def played(order: torch.memory_format) -> list[Tensor]:
        game: Game = (CurvedMaps if solver == "consensus" else Maps)(order)
        player = SOLVERS[solver](RULES[rule])
        for step in range(6):  # lookahead looks back after five
            if step == 3:  # what a checkpoint brings back is contiguous
                saved = player.state_dict()
                player = SOLVERS[solver](RULES[rule])
                player.bind(game)
                player.load_state_dict(saved)
            player.step(game, repeat(None), Stream(step), measure=False)
        return [parameter.detach() for parameter in game.parameters()]

    for turned, straight in zip(
        played(torch.channels_last), played(torch.contiguous_format), strict=True
    ):
        assert torch.allclose(turned, straight, rtol=0, atol=1e-14)


def test_a_parameter_may_itself_be_channels_last() -> None:
    rule = "adam"

    def played(order: torch.memory_format) -> Tensor:
        game = Maps(torch.contiguous_format)
        for parameter in game.parameters():
            parameter.data = parameter.data.contiguous(memory_format=order)
        solver = Simultaneous(RULES[rule])
        for step in range(4):
            if step == 2:
                saved = {
                    **solver.state_dict(),
                    "optimisers": {
                        player: {
                            index: {name: value.contiguous() for name, value in entry.items()}
                            for index, entry in state.items()
                        }
                        for player, state in solver.state_dict()["optimisers"].items()
                    },
                }
                solver = Simultaneous(RULES[rule])
                solver.bind(game)
                solver.load_state_dict(saved)
            solver.step(game, repeat(None), Stream(step), measure=False)
        return game.first.detach()

    assert torch.allclose(
        played(torch.channels_last), played(torch.contiguous_format), rtol=0, atol=1e-14
    )


def pair(kind: str) -> tuple[nn.Module, nn.Module]:
    """A generator's network and a critic of pictures of 28 pixels a side."""
    ours, its = Stream(1), Stream(2)
    if kind == "mlp":
        return MLP((8, 16, 784), stream=ours), MLP(
            (784, 16, 1), activation="leaky_relu", stream=its
        )
    if kind == "dcgan":
        return DCGANGenerator(SHAPE, 8, 16, stream=ours), DCGANCritic(SHAPE, 16, stream=its)
    return ResidualGenerator(SHAPE, 8, 16, stream=ours), ResidualCritic(SHAPE, 16, stream=its)


@pytest.mark.parametrize(
    ("kind", "rule"), [("mlp", "adam"), ("dcgan", "adam"), ("residual", "sgd")]
)
def test_an_update_of_every_kind_of_network_is_the_one_that_a_loop_over_entries_gives(
    kind: str, rule: str
) -> None:
    """Held to torch's plain optimisers, which go tensor by tensor and heed strides."""
    network, critic = pair(kind)
    game = AdversarialGame(Generator(network, latent_dim=8), critic)
    rows = Stream(3).uniform((12, 784))
    drawn = game.draw(Batch(rows), Stream(4))
    expected = {}
    for player in game.players:
        parameters = game.parameters_of(player)
        copies = [nn.Parameter(parameter.detach().clone().contiguous()) for parameter in parameters]
        plain = RULES[rule].build(copies)
        for group in plain.param_groups:
            group["fused"], group["foreach"] = False, False
        for copied, gradient in zip(copies, game.gradient(player, drawn), strict=True):
            copied.grad = gradient.contiguous().clone()
        plain.step()
        expected[player] = copies
    Simultaneous(RULES[rule]).step(game, repeat(Batch(rows)), Stream(4), measure=False)
    for player, copies in expected.items():
        moved = False
        for parameter, copied in zip(game.parameters_of(player), copies, strict=True):
            assert torch.allclose(parameter, copied, rtol=0, atol=1e-6)
            moved |= parameter.dim() == 4
        assert moved or kind == "mlp"
