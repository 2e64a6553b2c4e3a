"""Solvers: how the players' gradients move them."""

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
