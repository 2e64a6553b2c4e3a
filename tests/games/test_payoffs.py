"""What the lecture proves of the adversarial games, on distributions small enough to be exact."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from equilibria.games.payoffs import PAYOFFS, find_payoff
from equilibria.games.toy import DiscreteGame
from equilibria.random import Stream

POINTS = 7


def game_at(payoff: str, seed: int, best_critic: bool = True) -> DiscreteGame:
    """A game with random p and q, far apart, and the critic at its optimum."""
    stream = Stream(seed)
    game = DiscreteGame(torch.softmax(2 * stream.child("p").normal((POINTS,), torch.float64), dim=0), payoff)
    with torch.no_grad():
        game.generator.copy_(2 * stream.child("q").normal((POINTS,), torch.float64))
        if best_critic:
            game.critic.copy_(game.optimal_critic())
    return game


def kl(a: Tensor, b: Tensor) -> Tensor:
    return (a * (a / b).log()).sum()


def jsd(a: Tensor, b: Tensor) -> Tensor:
    middle = (a + b) / 2
    return (kl(a, middle) + kl(b, middle)) / 2


def gradient_of(divergence: Tensor, game: DiscreteGame) -> Tensor:
    return torch.autograd.grad(divergence, game.generator)[0]


@pytest.mark.parametrize("payoff", PAYOFFS)
@pytest.mark.parametrize("seed", range(3))
def test_the_value_at_the_best_critic_is_twice_the_jsd_less_log_4(payoff: str, seed: int) -> None:
    game = game_at(payoff, seed)
    value = -game.cost("critic", None)
    assert abs(value - (2 * jsd(game.p, game.generated()) - math.log(4))) < 1e-12
    assert value + math.log(4) > 0.05  # p and q are far enough apart for the test to see a missing term


@pytest.mark.parametrize("payoff", PAYOFFS)
def test_the_best_critic_is_the_stationary_point(payoff: str) -> None:
    game = game_at(payoff, seed=4)
    assert game.gradient("critic", None)[0].abs().max() < 1e-15
    discriminator = torch.sigmoid(game.critic)
    assert torch.allclose(discriminator, game.p / (game.p + game.generated()), rtol=0, atol=1e-15)
    with torch.no_grad():
        game.critic.add_(0.1)
    assert game.gradient("critic", None)[0].abs().max() > 1e-3


@pytest.mark.parametrize("payoff", PAYOFFS)
def test_newton_finds_the_best_critic(payoff: str) -> None:
    game = game_at(payoff, seed=5, best_critic=False)
    for _ in range(50):
        (gradient,) = game.gradient("critic", None)
        share = torch.sigmoid(game.critic.detach())
        with torch.no_grad():
            curvature = (game.p + game.generated()) * share * (1 - share)
            game.critic.sub_((gradient / curvature).clamp(-1, 1))
    assert torch.allclose(game.critic, game.optimal_critic(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("payoff", PAYOFFS)
def test_the_logit_gives_the_log_ratio(payoff: str) -> None:
    game = game_at(payoff, seed=6)
    assert torch.allclose(game.payoff.log_ratio(game.critic), torch.log(game.p / game.generated()), rtol=0, atol=1e-14)


@pytest.mark.parametrize("seed", range(3))
def test_what_the_generator_goes_down_at_the_best_critic(seed: int) -> None:
    divergences = {
        "minimax": lambda p, q: 2 * jsd(p, q),
        "non-saturating": lambda p, q: kl(q, p) - 2 * jsd(p, q),
        "maximum-likelihood": kl,
    }
    assert set(divergences) == set(PAYOFFS)
    for payoff, divergence in divergences.items():
        game = game_at(payoff, seed)
        expected = gradient_of(divergence(game.p, game.generated()), game)
        assert torch.allclose(game.gradient("generator", None)[0], expected, rtol=0, atol=1e-10), payoff
        assert expected.abs().max() > 1e-2


def logit_gradient(payoff: str, logit: float) -> float:
    fake = torch.tensor([logit], dtype=torch.float64, requires_grad=True)
    cost = PAYOFFS[payoff].costs(torch.zeros(1, dtype=torch.float64), fake)[1]
    return torch.autograd.grad(cost.sum(), fake)[0].item()


def test_the_minimax_gradient_vanishes_in_the_logit_when_the_critic_wins_and_the_non_saturating_one_does_not() -> None:
    assert logit_gradient("minimax", 0.0) == pytest.approx(-0.5, abs=1e-15)
    for logit in (-5.0, -20.0, -40.0):
        assert logit_gradient("minimax", logit) == pytest.approx(-math.exp(logit) / (1 + math.exp(logit)), rel=1e-12)
        assert logit_gradient("non-saturating", logit) == pytest.approx(-1 / (1 + math.exp(logit)), rel=1e-12)
    assert -1e-17 < logit_gradient("minimax", -40.0) < 0
    assert logit_gradient("non-saturating", -40.0) == pytest.approx(-1, abs=1e-15)


def test_in_d_itself_the_minimax_gradient_goes_to_minus_one() -> None:
    for share in (1e-1, 1e-3, 1e-9):
        discriminator = torch.tensor([share], dtype=torch.float64, requires_grad=True)
        cost = PAYOFFS["minimax"].costs(torch.zeros(1, dtype=torch.float64), torch.logit(discriminator))[1]
        slope = torch.autograd.grad(cost.sum(), discriminator)[0].item()
        assert slope == pytest.approx(-1 / (1 - share), rel=1e-6)


def test_the_minimax_costs_sum_to_zero() -> None:
    real, fake = Stream(7).child("real").normal((100,)), Stream(7).child("fake").normal((100,))
    critic, generator = PAYOFFS["minimax"].costs(real, fake)
    assert torch.equal(critic, -generator)


@pytest.mark.parametrize("payoff", PAYOFFS)
def test_costs_are_finite_at_extreme_logits(payoff: str) -> None:
    extreme = torch.tensor([-80.0, 80.0], requires_grad=True)
    costs = torch.stack(PAYOFFS[payoff].costs(extreme, extreme.flip(0)))
    assert costs.isfinite().all()
    assert torch.autograd.grad(costs.sum(), extreme)[0].isfinite().all()
    assert torch.allclose(costs[0], torch.tensor([160.0, 0.0]), rtol=0, atol=1e-30)


@pytest.mark.parametrize("payoff", PAYOFFS)
def test_the_flag_says_whether_the_generator_pays_on_real_rows(payoff: str) -> None:
    row = PAYOFFS[payoff]
    fake = torch.tensor([0.3])
    one, other = (row.costs(torch.tensor([real]), fake)[1] for real in (-1.0, 2.0))
    assert row.generator_pays_on_real == (not torch.equal(one, other))


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"payoff='hinge'.*minimax, non-saturating, maximum-likelihood"):
        find_payoff("hinge")
    with pytest.raises(ValueError, match=r"p=.*sum to 1"):
        DiscreteGame(torch.tensor([0.5, 0.4]), "minimax")
    with pytest.raises(ValueError, match="player='third'"):
        DiscreteGame(torch.tensor([0.5, 0.5]), "minimax").cost("third", None)
