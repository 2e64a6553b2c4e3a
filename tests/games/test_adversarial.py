"""The adversarial game on batches: its draws, costs and what it reports."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from equilibria.data import Batch
from equilibria.games.adversarial import AdversarialGame
from equilibria.games.payoffs import PAYOFFS
from equilibria.models.generator import Generator
from equilibria.networks.mlp import MLP
from equilibria.random import Stream
from equilibria.solvers import SOLVERS, Rule

STREAM = Stream(11)


def build(payoff: str = "non-saturating", columns: int = 0) -> AdversarialGame:
    generator = Generator(MLP((2 + columns, 8, 3), output="tanh", stream=STREAM.child("generator")), latent_dim=2)
    return AdversarialGame(generator, MLP((3 + columns, 8, 1), stream=STREAM.child("critic")), payoff).double()


def batch(rows: int = 6, columns: int = 0) -> Batch:
    condition = STREAM.child("condition").normal((rows, columns), torch.float64) if columns else None
    return Batch(STREAM.child("data").normal((rows, 3), torch.float64), condition=condition)


@pytest.mark.parametrize("payoff", PAYOFFS)
def test_costs_are_the_payoff_averaged_over_rows(payoff: str) -> None:
    game, rows = build(payoff), batch()
    drawn = game.draw(rows, STREAM.child("round"))
    assert torch.equal(drawn.real, rows.values)
    real = game.critic(rows.values, None)[:, 0]
    fake = game.critic(game.generator(drawn.noise, None), None)[:, 0]
    expected = PAYOFFS[payoff].costs(real, fake)
    for player, cost in zip(game.players, expected, strict=True):
        assert torch.allclose(game.cost(player, drawn), cost.mean(), rtol=0, atol=1e-14)
    measured = game.measure(drawn)
    assert measured["critic_cost"] == expected[0].mean()
    assert measured["generator_cost"] == expected[1].mean()
    assert measured["real_logit"] == real.mean()
    assert measured["fake_logit"] == fake.mean()
    right = ((real > 0).sum() + (fake < 0).sum()).item()
    assert measured["accuracy"].item() == pytest.approx(right / 12)
    assert all(value.dim() == 0 and not value.requires_grad for value in measured.values())


def test_the_condition_reaches_both_players() -> None:
    game, rows = build(columns=2), batch(columns=2)
    drawn = game.draw(rows, STREAM)
    other = drawn._replace(condition=drawn.condition + 1)
    for player in game.players:
        assert game.cost(player, drawn) != game.cost(player, other)


def test_noise_follows_global_rows_and_the_stream() -> None:
    game = build()
    whole = game.draw(batch(6), STREAM.child("round", 0)).noise
    part = game.draw(batch(2), STREAM.child("round", 0).rows(4)).noise
    assert torch.equal(part, whole[4:])
    assert not torch.equal(game.draw(batch(6), STREAM.child("round", 1)).noise, whole)


def test_missing_values_and_unknown_names_are_refused() -> None:
    rows = batch()
    with pytest.raises(ValueError, match="batch has a mask"):
        build().draw(Batch(rows.values, mask=torch.ones(6, 3, dtype=torch.bool)), STREAM)
    with pytest.raises(ValueError, match="payoff='hinge'"):
        build("hinge")
    with pytest.raises(ValueError, match="player='referee'"):
        build().cost("referee", build().draw(rows, STREAM))


def test_a_critic_with_several_logits_a_row_is_refused() -> None:
    game = build()
    game.critic = MLP((3, 2), stream=STREAM).double()
    with pytest.raises(RuntimeError, match="shape"):
        game.cost("critic", game.draw(batch(), STREAM))


class Shift(nn.Module):
    """x = z + shift."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, z: Tensor, condition: Tensor | None) -> Tensor:
        return z + self.shift


class Line(nn.Module):
    """A logit linear in x."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(1, 1, dtype=torch.float64)
        with torch.no_grad():
            self.line.weight.zero_()
            self.line.bias.zero_()

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        return self.line(x)


@pytest.mark.parametrize("payoff", PAYOFFS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_each_game_moves_the_generator_towards_the_data(payoff: str, solver: str) -> None:
    game = AdversarialGame(Generator(Shift(), latent_dim=1), Line(), payoff)
    rounds = SOLVERS[solver]({"critic": Rule("sgd", 0.5, weight_decay=0.2), "generator": Rule("sgd", 0.1)})
    data = Stream(3)
    rows = (Batch(data.child(i).normal((64, 1), torch.float64) + 1) for i in range(400))
    for step in range(150):
        rounds.step(game, rows, STREAM.child("step", step), measure=False)
    assert 0.6 < game.generator.network.shift.item() < 1.4
