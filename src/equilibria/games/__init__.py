"""Games: who plays and what each player pays."""

from __future__ import annotations

from equilibria.games.adversarial import AdversarialGame
from equilibria.games.game import Game
from equilibria.games.payoffs import PAYOFFS, Payoff

__all__ = ["PAYOFFS", "AdversarialGame", "Game", "Payoff"]
