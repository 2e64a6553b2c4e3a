"""What the two players of an adversarial game pay, as functions of the critic's logits.

With D(x) = sigmoid(logit(x)), the critic of every game here pays the cross-entropy

    J_D = −E_data log D(x) − E_g log(1 − D(x)) = −E_data logsigmoid(logit) − E_g logsigmoid(−logit),

which is least at D* = p_data / (p_data + p_g), where the logit is log p_data / p_g. The games differ in what the generator
pays, and so in the divergence that it goes down once the critic is there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import logsigmoid

__all__ = ["PAYOFFS", "Payoff", "find_payoff"]

Costs = tuple[Tensor, Tensor]


def cross_entropy(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """−log D(x) − log(1 − D(x̃)) of each pair of a real x and a generated x̃."""
    return -logsigmoid(real_logits) - logsigmoid(-fake_logits)


def minimax(real_logits: Tensor, fake_logits: Tensor) -> Costs:
    """J_G = −J_D: the costs sum to zero.

    At D* the generator's cost is 2 JSD(p_data ‖ p_g) − log 4. Its gradient in the logit is −D(x̃), which vanishes when the
    critic wins (the gradient in D itself does not: it goes to −1).
    """
    cost = cross_entropy(real_logits, fake_logits)
    return cost, -cost


def non_saturating(real_logits: Tensor, fake_logits: Tensor) -> Costs:
    """J_G = −E_g log D: a heuristic whose gradient in the logit goes to −1 when the critic wins.

    At D* its gradient is that of KL(p_g ‖ p_data) − 2 JSD(p_data ‖ p_g) (Arjovsky & Bottou 2017, theorem 2.5).
    """
    return cross_entropy(real_logits, fake_logits), -logsigmoid(fake_logits)


def maximum_likelihood(real_logits: Tensor, fake_logits: Tensor) -> Costs:
    """J_G = −E_g exp(logit): at D* its gradient is that of KL(p_data ‖ p_g), so of the likelihood (Goodfellow 2014).

    Nearly all of it comes from the few samples that the critic likes best, so its variance is large.
    """
    return cross_entropy(real_logits, fake_logits), -fake_logits.exp()


@dataclass(frozen=True)
class Payoff:
    """One row of the table.

    Attributes
    ----------
    costs : callable
        ``(real_logits, fake_logits) → (cost of D, cost of G)``, one entry for each pair of examples.
    log_ratio : callable
        The best critic's logit → log p_data / p_g.
    generator_pays_on_real : bool
        Whether G's cost depends on ``real_logits`` at all; where it does not, they need not be worked out for it.

    Examples
    --------
    >>> import torch
    >>> PAYOFFS["non-saturating"].costs(torch.tensor([0.0]), torch.tensor([0.0]))
    (tensor([1.3863]), tensor([0.6931]))
    """

    costs: Callable[[Tensor, Tensor], Costs]
    log_ratio: Callable[[Tensor], Tensor]
    generator_pays_on_real: bool = False


def the_logit(logits: Tensor) -> Tensor:
    """log p_data / p_g is the logit itself."""
    return logits


PAYOFFS: dict[str, Payoff] = {
    "minimax": Payoff(minimax, the_logit, generator_pays_on_real=True),
    "non-saturating": Payoff(non_saturating, the_logit),
    "maximum-likelihood": Payoff(maximum_likelihood, the_logit),
}


def find_payoff(payoff: str | Payoff) -> Payoff:
    """The row of that name; a ``Payoff`` is its own.

    Raises
    ------
    ValueError
        If the table has no such row.
    """
    if isinstance(payoff, Payoff):
        return payoff
    if payoff not in PAYOFFS:
        raise ValueError(f"payoff={payoff!r}: expected one of {', '.join(PAYOFFS)}, or a Payoff")
    return PAYOFFS[payoff]
