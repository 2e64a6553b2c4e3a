"""The adversarial game: a generator against a critic that tells its samples from the data."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from equilibria.data.batches import Batch
from equilibria.games.game import Game
from equilibria.games.payoffs import Payoff, find_payoff
from equilibria.models.generator import Generator
from equilibria.random import Stream

__all__ = ["AdversarialDraw", "AdversarialGame"]


class AdversarialDraw(NamedTuple):
    """What a round holds fixed: data ``(n, …)``, noise ``(n, latent_dim)``, and the condition ``(n, …)`` that both go with."""

    real: Tensor
    noise: Tensor
    condition: Tensor | None


class AdversarialGame(Game):
    """Critic and generator, each paying its column of a payoff.

    J_D = mean over rows of costs(critic(x), critic(G(z)))[0], J_G of the same [1], with x the batch and z fresh noise.

    Parameters
    ----------
    generator : Generator
        Called ``generator(z, condition)``.
    critic : nn.Module
        Called ``critic(x, condition)``; gives one logit a row, ``(n,)`` or ``(n, 1)``.
    payoff : str or Payoff
        A row of ``PAYOFFS``.

    Raises
    ------
    ValueError
        For an unknown payoff; in ``draw`` for a batch with missing values, in ``cost`` for a player that does not play.

    References
    ----------
    Goodfellow et al. 2014, "Generative adversarial nets".

    Examples
    --------
    >>> from equilibria.data import Batch
    >>> from equilibria.networks.mlp import MLP
    >>> generator = Generator(MLP((2, 8, 3), stream=Stream(0).child("generator")), latent_dim=2)
    >>> game = AdversarialGame(generator, MLP((3, 8, 1), stream=Stream(0).child("critic")))
    >>> drawn = game.draw(Batch(torch.zeros(4, 3)), Stream(1))
    >>> sorted(game.measure(drawn))
    ['accuracy', 'critic_cost', 'fake_logit', 'generator_cost', 'real_logit']
    """

    players = ("critic", "generator")

    def __init__(self, generator: Generator, critic: nn.Module, payoff: str | Payoff = "non-saturating"):
        super().__init__()
        self.payoff = find_payoff(payoff)
        self.generator = generator
        self.critic = critic

    def draw(self, batch: Batch, stream: Stream) -> AdversarialDraw:
        """The batch as it is, and as many rows of fresh noise."""
        if batch.mask is not None:
            raise ValueError("batch has a mask of missing values; an adversarial game needs complete rows: fill them in or leave them out")
        return AdversarialDraw(batch.values, self.generator.noise(len(batch.values), stream.child("noise")), batch.condition)

    def cost(self, player: str, drawn: AdversarialDraw) -> Tensor:
        """What ``player`` pays on average over the rows."""
        if player not in self.players:
            raise ValueError(f"player={player!r}: expected one of {', '.join(self.players)}")
        fake = self.logits(self.generator(drawn.noise, drawn.condition), drawn.condition)
        if player == "critic":
            return self.payoff.costs(self.logits(drawn.real, drawn.condition), fake)[0].mean()
        # a generator that pays nothing on real rows is spared the critic's pass over them: any logits do in their place
        real = self.logits(drawn.real, drawn.condition) if self.payoff.generator_pays_on_real else fake
        return self.payoff.costs(real, fake)[1].mean()

    def logits(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """The critic's answer ``(n,)`` to ``x`` ``(n, …)``; above 0 means real."""
        return self.critic(x, condition).reshape(len(x))

    @torch.no_grad()
    def measure(self, drawn: AdversarialDraw) -> dict[str, Tensor]:
        """Both costs, the mean logit on real and on generated rows, and the share of the critic's answers that are right."""
        real = self.logits(drawn.real, drawn.condition)
        fake = self.logits(self.generator(drawn.noise, drawn.condition), drawn.condition)
        critic_cost, generator_cost = self.payoff.costs(real, fake)
        return {
            "critic_cost": critic_cost.mean(),
            "generator_cost": generator_cost.mean(),
            "real_logit": real.mean(),
            "fake_logit": fake.mean(),
            "accuracy": torch.cat([real > 0, fake < 0]).to(real.dtype).mean(),
        }
