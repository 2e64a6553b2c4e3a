"""What the lecture proves of the adversarial games, on distributions small enough to be exact."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from scipy.stats import wasserstein_distance
from torch import Tensor

from equilibria.games.payoffs import PAYOFFS, find_payoff
from equilibria.random import Stream
from research.games import DiscreteGame

POINTS = 7


def game_at(payoff: str, seed: int, best_critic: bool = True) -> DiscreteGame:
    """A game with random p and q, far apart, and the critic at its optimum."""
    stream = Stream(seed)
    game = DiscreteGame(
        torch.softmax(2 * stream.child("p").normal((POINTS,), torch.float64), dim=0), payoff
    )
    with torch.no_grad():
        game.generator.copy_(2 * stream.child("q").normal((POINTS,), torch.float64))
        if best_critic and game.payoff.best_logit is not None:
            game.critic.copy_(game.optimal_critic())
    return game


def kl(a: Tensor, b: Tensor) -> Tensor:
    return (a * (a / b).log()).sum()


def jsd(a: Tensor, b: Tensor) -> Tensor:
    middle = (a + b) / 2
    return (kl(a, middle) + kl(b, middle)) / 2


def gradient_of(divergence: Tensor, game: DiscreteGame) -> Tensor:
    return torch.autograd.grad(divergence, game.generator)[0]


def product_jsd(p: Tensor, q: Tensor) -> Tensor:
    """JSD(p ⊗ q ‖ q ⊗ p)."""
    return jsd((p[:, None] * q).flatten(), (q[:, None] * p).flatten())


def least_squares_divergence(p: Tensor, q: Tensor) -> Tensor:
    u = q / p
    return (p * (u - 2 * torch.log1p(u) - 1 / (1 + u)) / 2).sum()


Divergence = Callable[[Tensor, Tensor], Tensor]

CROSS_ENTROPY = ("minimax", "non-saturating", "maximum-likelihood")

# J_D at the best critic, and what the generator then goes down
THEORY: dict[str, tuple[Divergence, Divergence]] = {
    "minimax": (lambda p, q: math.log(4) - 2 * jsd(p, q), lambda p, q: 2 * jsd(p, q)),
    "non-saturating": (
        lambda p, q: math.log(4) - 2 * jsd(p, q),
        lambda p, q: kl(q, p) - 2 * jsd(p, q),
    ),
    "maximum-likelihood": (lambda p, q: math.log(4) - 2 * jsd(p, q), kl),
    "relativistic": (
        lambda p, q: math.log(2) - product_jsd(p, q),
        lambda p, q: kl(q, p) - product_jsd(p, q),
    ),
    "least-squares": (lambda p, q: (p * q / (p + q)).sum() / 2, least_squares_divergence),
    "hinge": (lambda p, q: 2 - (p - q).abs().sum(), lambda p, q: (p - q).abs().sum()),
    "kl": (lambda p, q: -kl(p, q), kl),
    "reverse-kl": (lambda p, q: -kl(q, p), lambda p, q: kl(q, p)),
    "pearson": (
        lambda p, q: -((p - q).square() / q).sum(),
        lambda p, q: ((p - q).square() / q).sum(),
    ),
    "hellinger": (
        lambda p, q: -(p.sqrt() - q.sqrt()).square().sum(),
        lambda p, q: (p.sqrt() - q.sqrt()).square().sum(),
    ),
    "js": (lambda p, q: -2 * jsd(p, q), lambda p, q: 2 * jsd(p, q)),
    "gan": (lambda p, q: math.log(4) - 2 * jsd(p, q), lambda p, q: 2 * jsd(p, q)),
}
SMOOTH = [
    payoff for payoff in THEORY if payoff != "hinge"
]  # whose critic's cost is smooth and convex in the logits


def test_every_row_of_the_table_has_its_theory() -> None:
    assert set(PAYOFFS) == {*THEORY, "wasserstein"}
    assert {name for name, row in PAYOFFS.items() if row.log_ratio is None} == {
        "hinge",
        "wasserstein",
    }
    assert {name for name, row in PAYOFFS.items() if row.constant} == {"relativistic"}


@pytest.mark.parametrize("payoff", SMOOTH)
def test_descent_on_all_critics_finds_the_formulas(payoff: str) -> None:
    game = game_at(payoff, seed=0, best_critic=False)
    with torch.no_grad():
        game.critic.fill_(0.5)  # an answer that every row's formulas admit
    descent = torch.optim.LBFGS(
        [game.critic],
        max_iter=2000,
        tolerance_grad=1e-13,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> float:
        descent.zero_grad()
        cost = game.cost("critic", None)
        cost.backward()
        return cost.item()

    descent.step(closure)
    p, q = game.p, game.generated().detach()
    found, free = game.critic.detach(), game.payoff.constant
    difference = found - game.optimal_critic()
    assert (difference - difference.mean() if free else difference).abs().max() < 1e-6
    assert abs(game.cost("critic", None) - THEORY[payoff][0](p, q)) < 1e-8
    ratio = game.payoff.log_ratio(found) - torch.log(p / q)
    assert (ratio - ratio.mean() if free else ratio).abs().max() < 1e-5
    assert torch.log(p / q).abs().max() > 1  # far enough apart to see a wrong scale


def test_the_best_critic_is_the_stationary_point_and_gives_the_log_ratio() -> None:
    for payoff in SMOOTH:
        game = game_at(payoff, seed=4)
        ratio = torch.log(game.p / game.generated())
        assert torch.allclose(game.payoff.log_ratio(game.critic), ratio, rtol=0, atol=1e-12)
        assert game.gradient("critic", None)[0].abs().max() < 1e-14
        with torch.no_grad():
            game.critic.mul_(1.1).add_(0.1 * torch.arange(POINTS))
        assert game.gradient("critic", None)[0].abs().max() > 1e-3


def test_the_best_discriminator_is_the_share_of_the_data() -> None:
    for payoff in CROSS_ENTROPY:
        game = game_at(payoff, seed=4)
        assert torch.allclose(
            torch.sigmoid(game.critic), game.p / (game.p + game.generated()), rtol=0, atol=1e-15
        )


def test_what_both_pay_at_the_best_critic() -> None:
    for payoff in THEORY:
        game = game_at(payoff, seed=0)
        value, divergence = THEORY[payoff]
        assert abs(game.cost("critic", None) - value(game.p, game.generated())) < 1e-12
        expected = gradient_of(divergence(game.p, game.generated()), game)
        assert torch.allclose(game.gradient("generator", None)[0], expected, rtol=1e-12, atol=1e-10)
        assert expected.abs().max() > 1e-2


def test_a_hinge_critic_at_its_best_knows_the_sign_alone() -> None:
    game = game_at("hinge", seed=7)
    p, q = game.p, game.generated()
    assert torch.equal(game.critic, torch.sign(p - q))
    # the cost is a sum over points of functions that are linear between −1 and 1 and grow outside:
    # its least value is at one of the two
    best = torch.minimum(2 * q, 2 * p).sum()
    assert abs(game.cost("critic", None) - best) < 1e-15
    least = game.cost("critic", None)
    for point in range(POINTS):
        for other in (-1.5, -0.5, 0.0, 0.5, 1.5):
            with torch.no_grad():
                kept = game.critic[point].clone()
                game.critic[point] = other
                assert game.cost("critic", None) > least
                game.critic[point] = kept


def test_a_wasserstein_critic_of_slope_1_gives_the_earth_movers_distance() -> None:
    game = game_at("wasserstein", seed=8, best_critic=False)
    with pytest.raises(ValueError, match="no best critic"):
        game.optimal_critic()
    places = np.sort(Stream(8).child("places").normal((POINTS,), torch.float64).numpy())
    p, q = game.p, game.generated()
    # slope at most 1 between neighbours; the first answer is held at 0, as a constant is free
    steps = np.zeros((POINTS - 1, POINTS))
    for i in range(POINTS - 1):
        steps[i, i], steps[i, i + 1] = -1, 1
    gaps = np.diff(places)
    gain = (q - p).detach().numpy()
    bounds = [(0, 0)] + [(None, None)] * (POINTS - 1)
    found = linprog(
        gain, A_ub=np.concatenate([steps, -steps]), b_ub=np.concatenate([gaps, gaps]), bounds=bounds
    )
    with torch.no_grad():
        game.critic.copy_(torch.as_tensor(found.x))
    distance = wasserstein_distance(places, places, p.numpy(), q.detach().numpy())
    assert abs(-game.cost("critic", None).item() - distance) < 1e-10
    earth = ((p - q).cumsum(0)[:-1].abs() * torch.as_tensor(gaps)).sum()
    assert torch.allclose(
        game.gradient("generator", None)[0], gradient_of(earth, game), rtol=0, atol=1e-10
    )
    # without the bound, the critic's cost falls for ever
    with torch.no_grad():
        game.critic.mul_(100)
    assert abs(game.cost("critic", None).item() + 100 * distance) < 1e-8


def logit_gradient(payoff: str, logit: float) -> float:
    fake = torch.tensor([logit], dtype=torch.float64, requires_grad=True)
    cost = PAYOFFS[payoff].costs(torch.zeros(1, dtype=torch.float64), fake)[1]
    return torch.autograd.grad(cost.sum(), fake)[0].item()


def test_the_minimax_gradient_vanishes_when_the_critic_wins_and_the_other_does_not() -> None:
    assert logit_gradient("minimax", 0.0) == pytest.approx(-0.5, abs=1e-15)
    for logit in (-5.0, -20.0, -40.0):
        assert logit_gradient("minimax", logit) == pytest.approx(
            -math.exp(logit) / (1 + math.exp(logit)), rel=1e-12
        )
        assert logit_gradient("non-saturating", logit) == pytest.approx(
            -1 / (1 + math.exp(logit)), rel=1e-12
        )
    assert -1e-17 < logit_gradient("minimax", -40.0) < 0
    assert logit_gradient("non-saturating", -40.0) == pytest.approx(-1, abs=1e-15)


def test_in_d_itself_the_minimax_gradient_goes_to_minus_one() -> None:
    for share in (1e-1, 1e-3, 1e-9):
        discriminator = torch.tensor([share], dtype=torch.float64, requires_grad=True)
        cost = PAYOFFS["minimax"].costs(
            torch.zeros(1, dtype=torch.float64), torch.logit(discriminator)
        )[1]
        slope = torch.autograd.grad(cost.sum(), discriminator)[0].item()
        assert slope == pytest.approx(-1 / (1 - share), rel=1e-6)


def test_the_minimax_costs_sum_to_zero() -> None:
    real, fake = Stream(7).child("real").normal((100,)), Stream(7).child("fake").normal((100,))
    critic, generator = PAYOFFS["minimax"].costs(real, fake)
    assert torch.equal(critic, -generator)


def test_costs_and_ratios_are_finite_at_extreme_logits() -> None:
    for payoff, row in PAYOFFS.items():
        extreme = torch.tensor([-80.0, 80.0], requires_grad=True)
        costs = torch.stack(row.costs(extreme, extreme.flip(0)))
        assert costs.isfinite().all(), payoff
        assert torch.autograd.grad(costs.sum(), extreme)[0].isfinite().all(), payoff
        if payoff in CROSS_ENTROPY:
            assert torch.allclose(costs[0], torch.tensor([160.0, 0.0]), rtol=0, atol=1e-30)
        if row.log_ratio is not None:
            low, high = row.log_ratio(extreme).tolist()
            assert -math.inf < low < -10, payoff
            assert 3 < high < math.inf, payoff


def test_the_flag_says_whether_the_generator_pays_on_real_rows() -> None:
    fake = torch.tensor([0.3])
    for payoff, row in PAYOFFS.items():
        one, other = (row.costs(torch.tensor([real]), fake)[1] for real in (-1.0, 2.0))
        assert row.generator_pays_on_real == (not torch.equal(one, other)), payoff


def test_unknown_names_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"payoff='huge'.*'minimax', 'non-saturating', 'maximum-likelihood'"
    ):
        find_payoff("huge")
    with pytest.raises(ValueError, match=r"p=.*sum to 1"):
        DiscreteGame(torch.tensor([0.5, 0.4]), "minimax")
    with pytest.raises(ValueError, match="player='third'"):
        DiscreteGame(torch.tensor([0.5, 0.5]), "minimax").cost("third", None)
