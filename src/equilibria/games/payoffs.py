"""What the two players of an adversarial game pay, as functions of the critic's logits.

With D(x) = sigmoid(logit(x)), the critic of the first three games pays the cross-entropy

    J_D = −E_data log D(x) − E_g log(1 − D(x)),

which is least at D* = p_data / (p_data + p_g), where the logit is log p_data / p_g. They differ in
what the generator pays, and so in the divergence that it goes down once the critic is there.

"What G goes down": with the critic held at its best answer t*(p/q), a generator that
pays c(t) on its samples has the gradient of the f-divergence Σ p f(q/p) whose f′(u) = c(t*(1/u)), p
being the data and q the generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, relu, softplus

from equilibria.check import choice

__all__ = ["PAYOFFS", "Payoff", "find_payoff"]

Costs = tuple[Tensor, Tensor]

_EDGE = 1e-6  # least squares and Pearson: answers of no ratio are read as one this close to none


def cross_entropy(real: Tensor, fake: Tensor) -> Tensor:
    """−log D(x) − log(1 − D(x̃)) of each pair of a real x and a generated x̃."""
    return -logsigmoid(real) - logsigmoid(-fake)


def minimax(real: Tensor, fake: Tensor) -> Costs:
    """J_G = −J_D: the costs sum to zero.

    At D* the generator's cost is 2 JSD(p_data ‖ p_g) − log 4. Its gradient in the logit is −D(x̃),
    which vanishes when the critic wins (the gradient in D itself does not: it goes to −1).
    """
    cost = cross_entropy(real, fake)
    return cost, -cost


def non_saturating(real: Tensor, fake: Tensor) -> Costs:
    """J_G = −E_g log D: a heuristic whose gradient in the logit goes to −1 when the critic wins.

    At D* its gradient is that of KL(p_g ‖ p_data) − 2 JSD(p_data ‖ p_g) (Arjovsky & Bottou 2017,
    theorem 2.5).
    """
    return cross_entropy(real, fake), -logsigmoid(fake)


def maximum_likelihood(real: Tensor, fake: Tensor) -> Costs:
    """J_G = −E_g exp(logit): at D* its gradient is that of KL(p_data ‖ p_g) (Goodfellow 2014).

    Nearly all of it comes from the few samples that the critic likes best: its variance is large.
    """
    return cross_entropy(real, fake), -fake.exp()


def relativistic(real: Tensor, fake: Tensor) -> Costs:
    """Pairs: J_D = E softplus(−(t(x) − t(x̃))), J_G = E softplus(t(x) − t(x̃)).

    The critic says which of two independent ones, x and x̃, is real. It is best wherever t = log
    p_data / p_g + a constant, and there J_D = log 2 − JSD(p_data ⊗ p_g ‖ p_g ⊗ p_data). J_G = J_D +
    E_data t − E_g t, so the generator's gradient is that of KL(p_g ‖ p_data) − JSD(p_data ⊗ p_g ‖
    p_g ⊗ p_data): the non-saturating game's, in pairs. Every sample is compared with the data
    rather than with one boundary, so no mode can be given up for good (Jolicoeur-Martineau 2018;
    Sun, Fang & Schwing 2020; with R1 and R2: Huang et al. 2024).
    """
    margin = real - fake
    return softplus(-margin), softplus(margin)


def least_squares(real: Tensor, fake: Tensor) -> Costs:
    """J_D = ½E_data (t − 1)² + ½E_g t², J_G = ½E_g (t − 1)² (Mao et al. 2017; a = 0, b = c = 1).

    Best at t = p_data / (p_data + p_g), a probability. There J_D = ½ Σ p q / (p + q), and G goes
    down the f-divergence of f(u) = ½(u − 2 log(1 + u) − 1/(1 + u)), a finite one. (The paper's
    Pearson χ² is the value of a game in which G pays on the data too.)
    """
    return ((real - 1).square() + fake.square()) / 2, (fake - 1).square() / 2


def hinge(real: Tensor, fake: Tensor) -> Costs:
    """J_D = E_data max(0, 1 − t) + E_g max(0, 1 + t), J_G = −E_g t (Lim & Ye 2017).

    Best at t = sign(p_data − p_g): which is larger, and not by how much, so the logit gives no
    ratio. There J_D = 2 − 2 TV and G goes down 2 TV(p_data, p_g) = Σ |p − q|.
    """
    return relu(1 - real) + relu(1 + fake), -fake


def wasserstein(real: Tensor, fake: Tensor) -> Costs:
    """J_D = −E_data t + E_g t, J_G = −E_g t (Arjovsky, Chintala & Bottou 2017).

    J_D has no least value unless something bounds t's slope: the gradient penalty, R1 and R2. Among
    critics of slope at most 1 the least J_D is −W₁(p_data, p_g), and G goes down W₁.
    """
    return fake - real, -fake


def variational(
    activated: Callable[[Tensor], Tensor], conjugate: Callable[[Tensor], Tensor]
) -> Callable[[Tensor, Tensor], Costs]:
    """J_D = −E_data T + E_g f*(T), J_G = −E_g f*(T), T = g(t): f-GANs (Nowozin et al. 2016).

    D_f(p_data ‖ p_g) = Σ q f(p/q) is the largest value of E_data T − E_g f*(T), where f* is f's
    conjugate and T = f′(p/q). The output activation g (``activated``) keeps T inside f*'s domain
    and rises, so that a large logit t means real; ``conjugate`` is f*(g(t)), in one formula, so
    that nothing overflows. At the best critic J_D = −D_f and G's gradient is that of D_f exactly.
    """

    def costs(real: Tensor, fake: Tensor) -> Costs:
        paid = conjugate(fake)
        return paid - activated(real), -paid

    return costs


@dataclass(frozen=True)
class Payoff:
    """One row of the table.

    ``costs`` is ``(real_logits, fake_logits) → (cost of D, cost of G)``, an entry for each pair;
    ``log_ratio`` the best critic's logit → log p_data / p_g, None where it does not know it;
    ``best_logit`` the inverse, None where there is no best critic. With ``constant`` these are
    right up to a constant alone: E_g exp(log_ratio) is 1 for the right one.
    ``generator_pays_on_real`` says whether G's cost depends on ``real_logits`` at all.

    >>> import torch
    >>> PAYOFFS["non-saturating"].costs(torch.tensor([0.0]), torch.tensor([0.0]))
    (tensor([1.3863]), tensor([0.6931]))
    """

    costs: Callable[[Tensor, Tensor], Costs]
    log_ratio: Callable[[Tensor], Tensor] | None
    best_logit: Callable[[Tensor], Tensor] | None
    constant: bool = False
    generator_pays_on_real: bool = False


def the_logit(logits: Tensor) -> Tensor:
    """log p_data / p_g is the logit itself."""
    return logits


PAYOFFS: dict[str, Payoff] = {
    "minimax": Payoff(minimax, the_logit, the_logit, generator_pays_on_real=True),
    "non-saturating": Payoff(non_saturating, the_logit, the_logit),
    "maximum-likelihood": Payoff(maximum_likelihood, the_logit, the_logit),
    "relativistic": Payoff(relativistic, the_logit, the_logit, True, generator_pays_on_real=True),
    "least-squares": Payoff(least_squares, lambda t: torch.logit(t, eps=_EDGE), torch.sigmoid),
    "hinge": Payoff(hinge, None, torch.sign),
    "wasserstein": Payoff(wasserstein, None, None),
    # f(u) = u log u: D_f = KL(p_data ‖ p_g); T = 1 + log p/q
    "kl": Payoff(variational(the_logit, lambda t: (t - 1).exp()), lambda t: t - 1, lambda r: r + 1),
    # f(u) = −log u: D_f = KL(p_g ‖ p_data); T = −q/p, so t = log p/q behind −exp(−t)
    "reverse-kl": Payoff(variational(lambda t: -(-t).exp(), lambda t: t - 1), the_logit, the_logit),
    # f(u) = (u − 1)²: D_f = Σ (p − q)²/q; T = 2(p/q − 1); −2 or less is read as a ratio of 10⁻⁶
    "pearson": Payoff(
        variational(the_logit, lambda t: t.square() / 4 + t),
        lambda t: (1 + t / 2).clamp(min=_EDGE).log(),
        lambda r: 2 * torch.expm1(r),
    ),
    # f(u) = (√u − 1)²: D_f = Σ (√p − √q)²; T = 1 − √(q/p), so t = ½ log p/q behind 1 − exp(−t)
    "hellinger": Payoff(
        variational(lambda t: -torch.expm1(-t), torch.expm1), lambda t: 2 * t, lambda r: r / 2
    ),
    # f(u) = u log u − (u + 1) log((u + 1)/2): D_f = 2 JSD; T = log 2D
    "js": Payoff(
        variational(lambda t: logsigmoid(t) + math.log(2), lambda t: -logsigmoid(-t) - math.log(2)),
        the_logit,
        the_logit,
    ),
    # f(u) = u log u − (u + 1) log(u + 1): D_f = 2 JSD − log 4; T = log D, as in the minimax game
    "gan": Payoff(variational(logsigmoid, lambda t: -logsigmoid(-t)), the_logit, the_logit),
}
"""Payoffs by name; the last six are one family, ``variational``, with a divergence each."""


def find_payoff(payoff: str | Payoff) -> Payoff:
    """The row of that name; a ``Payoff`` is its own."""
    return payoff if isinstance(payoff, Payoff) else PAYOFFS[choice(*PAYOFFS)("payoff", payoff)]
