"""Adversarial games small enough to be solved by hand: at a point, and on m points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from equilibria.games.game import Game
from equilibria.games.payoffs import Payoff, find_payoff
from equilibria.games.penalties import find_penalties
from equilibria.random import Stream

__all__ = ["DiracGame", "DiscreteGame"]


class DiracGame(Game):
    """The smallest adversarial game: data at 0, a generator at θ, and the critic D(x) = ψx.

    J_D = costs(D(0), D(θ))[0] + Σ γ·penalty(ψ), J_G = costs(D(0), D(θ))[1]; the equilibrium is (0,
    0). There the flow of (ψ, θ) has the Jacobian [[−d, −a], [b, 0]] with the eigenvalues −d/2 ±
    √(d²/4 − ab), where a and b are the slopes of J_D and −J_G in the logit of a sample at 0 (½ for
    the logistic games, 1 for Wasserstein's; b = 1 for maximum likelihood's) and d is what damps
    them: γ for R1 and for R2 each, and (with the logistic games) σ²/2 for instance noise. Without
    any, d = 0 and the players circle for ever. Under the gradient penalty they do not come to rest
    either.

    Parameters
    ----------
    payoff : str or Payoff
        A row of ``PAYOFFS``.
    penalties : mapping of str to float
        Rows of ``PENALTIES`` and their weights γ.
    instance_noise : float
        The σ of normal noise on both what is real and what is generated; the expectation is worked
        out by quadrature.
    critic, generator : float
        Where ψ and θ start; held in float64.

    References
    ----------
    Mescheder, Geiger & Nowozin 2018, "Which training methods for GANs do actually converge?"

    Examples
    --------
    Critically damped at γ = 1:

    >>> from research.eigenvalues import flow_jacobian
    >>> game = DiracGame("non-saturating", penalties={"r1": 1.0}, critic=0.0, generator=0.0)
    >>> flow_jacobian(game)
    tensor([[-1.0000, -0.5000],
            [ 0.5000, -0.0000]], dtype=torch.float64)
    """

    players = ("critic", "generator")
    nodes: Tensor
    weights: Tensor

    def __init__(
        self,
        payoff: str | Payoff = "non-saturating",
        penalties: Mapping[str, float] | None = None,
        instance_noise: float = 0.0,
        critic: float = 1.0,
        generator: float = 1.0,
    ):
        super().__init__()
        if not 0 <= instance_noise < float("inf"):
            raise ValueError(
                f"instance_noise={instance_noise!r}: expected a standard deviation of at least 0"
            )
        self.payoff = find_payoff(payoff)
        self.penalties = find_penalties(penalties or {})
        self.critic = nn.Parameter(torch.tensor(float(critic), dtype=torch.float64))
        self.generator = nn.Parameter(torch.tensor(float(generator), dtype=torch.float64))
        # of N(0, 1): exact for polynomials of degree 79; without noise one node is enough
        nodes, weights = np.polynomial.hermite_e.hermegauss(40 if instance_noise else 1)
        self.register_buffer("nodes", torch.as_tensor(instance_noise * nodes))
        self.register_buffer("weights", torch.as_tensor(weights / weights.sum()))

    def draw(self, batch: Any, stream: Stream) -> None:
        """Nothing is random here."""

    def cost(self, player: str, drawn: Any) -> Tensor:
        """The exact expectation of what ``player`` pays."""
        if player not in self.players:
            raise ValueError(f"player={player!r}: expected one of {', '.join(self.players)}")
        real, fake = (
            self.critic * self.nodes[:, None],
            self.critic * (self.generator + self.nodes[None, :]),
        )
        pairs = self.payoff.costs(real, fake)[self.players.index(player)].expand(
            len(self.nodes), len(self.nodes)
        )
        cost = self.weights @ pairs @ self.weights
        if player == "generator":
            return cost
        slope = self.critic.reshape(1, 1)  # the same everywhere
        return cost + sum(
            weight * penalty.of(slope).sum() for penalty, weight in self.penalties.values()
        )

    def measure(self, drawn: Any) -> dict[str, Tensor]:
        """Where the players are, and their distance to the equilibrium."""
        with torch.no_grad():
            return {
                "critic": self.critic.clone(),
                "generator": self.generator.clone(),
                "distance": torch.hypot(self.critic, self.generator),
            }


class DiscreteGame(Game):
    """The adversarial game on m points, with every expectation worked out to rounding.

    The critic is a table of m free logits; the generator is q = softmax of m logits. A player pays
    Σᵢⱼ pᵢ qⱼ cost(criticᵢ, criticⱼ), which is E over a real point i and a generated point j. Both
    tables start at 0.

    Parameters
    ----------
    p : Tensor
        The data's probabilities, ``(m,)``, all above 0; held in float64.
    payoff : str or Payoff
        A row of ``PAYOFFS``.

    References
    ----------
    Goodfellow et al. 2014, "Generative adversarial nets", section 4.

    Examples
    --------
    With q = p the best critic cannot tell, and the value is −log 4:

    >>> game = DiscreteGame(torch.tensor([0.5, 0.5]), "minimax")
    >>> game.optimal_critic()
    tensor([0., 0.], dtype=torch.float64)
    >>> round(game.cost("generator", None).item(), 4)
    -1.3863
    """

    players = ("critic", "generator")
    p: Tensor

    def __init__(self, p: Tensor, payoff: str | Payoff):
        super().__init__()
        p = torch.as_tensor(p, dtype=torch.float64)
        if p.dim() != 1 or not bool((p > 0).all()) or abs(p.sum().item() - 1) > 1e-6:
            raise ValueError(
                f"p={p.tolist()}: expected a row of probabilities above 0 that sum to 1"
            )
        self.payoff = find_payoff(payoff)
        self.register_buffer("p", p / p.sum())
        self.critic = nn.Parameter(torch.zeros_like(p))
        self.generator = nn.Parameter(torch.zeros_like(p))

    def generated(self) -> Tensor:
        """q, the generator's probabilities ``(m,)``."""
        return torch.softmax(self.generator, dim=0)

    @torch.no_grad()
    def optimal_critic(self) -> Tensor:
        """The logits ``(m,)`` of the payoff's best critic: log p/q where its D* is p / (p + q)."""
        if self.payoff.best_logit is None:
            raise ValueError("payoff: it has no best critic unless the critic's slope is bounded")
        return self.payoff.best_logit(torch.log(self.p / self.generated()))

    def draw(self, batch: Any, stream: Stream) -> None:
        """Nothing is random here."""

    def cost(self, player: str, drawn: Any) -> Tensor:
        """The exact expectation of what ``player`` pays."""
        if player not in self.players:
            raise ValueError(f"player={player!r}: expected one of {', '.join(self.players)}")
        pairs = self.payoff.costs(self.critic[:, None], self.critic[None, :])[
            self.players.index(player)
        ]
        pairs = pairs.expand(len(self.p), len(self.p))
        return self.p @ pairs @ self.generated()
