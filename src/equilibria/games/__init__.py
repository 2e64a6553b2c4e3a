"""Games: who plays and what each player pays."""

from __future__ import annotations

from equilibria.games.adversarial import AdversarialGame
from equilibria.games.game import Game
from equilibria.games.payoffs import PAYOFFS, Payoff
from equilibria.games.penalties import PENALTIES, Penalty

__all__ = ["PAYOFFS", "PENALTIES", "AdversarialGame", "Game", "Payoff", "Penalty"]
