"""Solvers: how the players' gradients move them.

From (1, 0) on the xy game, V = x·y, with plain descent of rate ½, where two rounds are taken:

>>> from equilibria.games.toy import XYGame
>>> from equilibria.random import Stream
>>> for name, solver in SOLVERS.items():
...     game, play = XYGame(1.0, 0.0), solver(Optimiser("sgd", rate=0.5))
...     for _ in range(2):
...         _ = play.step(game, iter([None]), Stream(0))
...     print(f"{name}: {game.x.item():.4f}, {game.y.item():.4f}")
simultaneous: 0.7500, 1.0000
alternating: 0.7500, 0.8750
extragradient: 0.3125, 0.7500
optimistic: 0.5000, 1.0000
lookahead: 0.7500, 1.0000
consensus: 0.6525, 0.9500
"""

from __future__ import annotations

from equilibria.solvers.extrapolation import Consensus, Extragradient, Lookahead, Optimistic
from equilibria.solvers.gradient_play import Alternating, Simultaneous
from equilibria.solvers.optimiser import Optimiser
from equilibria.solvers.solver import Solver

__all__ = [
    "SOLVERS",
    "Alternating",
    "Consensus",
    "Extragradient",
    "Lookahead",
    "Optimiser",
    "Optimistic",
    "Simultaneous",
    "Solver",
]

SOLVERS: dict[str, type[Solver]] = {
    "simultaneous": Simultaneous,
    "alternating": Alternating,
    "extragradient": Extragradient,
    "optimistic": Optimistic,
    "lookahead": Lookahead,
    "consensus": Consensus,
}
"""Solvers by the names that a run folder and the command line use."""
