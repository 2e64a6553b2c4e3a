"""Every solver's rate on the xy game and on Dirac games, measured beside its formula.

    python experiments/lecture/rates.py

A game's flow has the Jacobian [[−d, −a], [b, 0]] at its equilibrium, with eigenvalues λ = −d/2 ±
√(d²/4 − ab) (Mescheder, Geiger & Nowozin 2018; the xy game of the lecture is a = b = 1, d = 0). A
solver with steps of size h multiplies a small distance by its update's eigenvalues μ, which
formulas below give from λ, or from a, b and d. They are compared with the eigenvalues of the
Jacobian of the update itself, by differences of the solver that is played. The rate is the largest
|μ|, for one round: above 1 the players leave the equilibrium.
"""

from __future__ import annotations

import cmath
import itertools
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

from record import record

from equilibria.games.game import Game
from equilibria.games.toy import XYGame
from equilibria.solvers import (
    Alternating,
    Consensus,
    Extragradient,
    Lookahead,
    Optimiser,
    Optimistic,
    Simultaneous,
    Solver,
)
from research.eigenvalues import flow_jacobian, update_jacobian
from research.games import DiracGame

H, GAMMA, K, ALPHA = 0.3, 0.5, 5, 0.5


class Linear(NamedTuple):
    """A game's flow at its equilibrium: [[−d, −a], [b, 0]]."""

    a: float
    b: float
    d: float

    def eigenvalues(self) -> list[complex]:
        return roots(-self.d, self.a * self.b)


class Played(NamedTuple):
    """How a solver is made, how many rounds its period has, and its update's eigenvalues over
    them."""

    make: Callable[[Optimiser], Solver]
    rounds: int
    formula: Callable[[Linear], list[complex]]


def roots(trace: complex, determinant: complex) -> list[complex]:
    """The eigenvalues of a 2 × 2 matrix."""
    half, root = trace / 2, cmath.sqrt(trace * trace / 4 - determinant)
    return [half + root, half - root]


def of_each(
    multiplier: Callable[[complex], complex | list[complex]],
) -> Callable[[Linear], list[complex]]:
    """The update's eigenvalues where each comes from one of the flow's."""

    def formula(linear: Linear) -> list[complex]:
        found = [multiplier(eigenvalue) for eigenvalue in linear.eigenvalues()]
        return [mu for part in found for mu in (part if isinstance(part, list) else [part])]

    return formula


def consensus(linear: Linear) -> list[complex]:
    """Of 1 + h(J − γJᵀJ)."""
    a, b, d = linear
    trace = -d - GAMMA * (d * d + b * b + a * a)
    determinant = (d + GAMMA * (d * d + b * b)) * GAMMA * a * a + (a + GAMMA * a * d) * (
        b - GAMMA * a * d
    )
    return [1 + H * mu for mu in roots(trace, determinant)]


GAMES: dict[str, tuple[Callable[[], Game], Linear]] = {
    "xy": (lambda: XYGame(0.0, 0.0), Linear(1, 1, 0)),
    "minimax": (lambda: dirac("minimax"), Linear(0.5, 0.5, 0)),
    "non-saturating": (lambda: dirac("non-saturating"), Linear(0.5, 0.5, 0)),
    "maximum-likelihood": (lambda: dirac("maximum-likelihood"), Linear(0.5, 1, 0)),
    "relativistic": (lambda: dirac("relativistic"), Linear(0.5, 0.5, 0)),
    "wasserstein": (lambda: dirac("wasserstein"), Linear(1, 1, 0)),
    "non-saturating, R1 γ=.4": (
        lambda: dirac("non-saturating", penalties={"r1": 0.4}),
        Linear(0.5, 0.5, 0.4),
    ),
    "non-saturating, R1 γ=2": (
        lambda: dirac("non-saturating", penalties={"r1": 2.0}),
        Linear(0.5, 0.5, 2),
    ),
    "relativistic, R1 + R2 γ=.3": (
        lambda: dirac("relativistic", penalties={"r1": 0.3, "r2": 0.3}),
        Linear(0.5, 0.5, 0.6),
    ),
    "wasserstein, R1 γ=1": (lambda: dirac("wasserstein", penalties={"r1": 1.0}), Linear(1, 1, 1)),
    "non-saturating, instance noise σ=.7": (
        lambda: dirac("non-saturating", instance_noise=0.7),
        Linear(0.5, 0.5, 0.7**2 / 2),
    ),
    "relativistic, instance noise σ=.7": (
        lambda: dirac("relativistic", instance_noise=0.7),
        Linear(0.5, 0.5, 0.7**2 / 2),
    ),
    "wasserstein, instance noise σ=.7": (
        lambda: dirac("wasserstein", instance_noise=0.7),
        Linear(1, 1, 0),
    ),
}
SOLVERS: dict[str, Played] = {
    "simultaneous": Played(Simultaneous, 1, of_each(lambda eigenvalue: 1 + H * eigenvalue)),
    "alternating": Played(
        Alternating,
        1,
        lambda linear: roots(2 - H * linear.d - H * H * linear.a * linear.b, 1 - H * linear.d),
    ),
    "extragradient": Played(
        Extragradient, 1, of_each(lambda eigenvalue: 1 + H * eigenvalue + (H * eigenvalue) ** 2)
    ),
    "optimistic": Played(
        Optimistic, 1, of_each(lambda eigenvalue: roots(1 + 2 * H * eigenvalue, H * eigenvalue))
    ),
    "lookahead": Played(
        lambda rule: Lookahead(rule, k=K, alpha=ALPHA),
        K,
        of_each(lambda eigenvalue: 1 - ALPHA + ALPHA * (1 + H * eigenvalue) ** K),
    ),
    "consensus": Played(lambda rule: Consensus(rule, gamma=GAMMA), 1, consensus),
}


def dirac(payoff: str, **options: Any) -> DiracGame:
    return DiracGame(payoff, critic=0.0, generator=0.0, **options)


def apart(formula: list[complex], measured: torch.Tensor) -> float:
    """The largest distance between the formula's eigenvalues and the measured ones of absolute
    value above 10⁻⁶, paired as best."""
    found = [complex(value) for value in measured if abs(value) > 1e-6]
    if len(found) != len(formula):
        return math.inf
    return min(
        max(abs(x - y) for x, y in zip(formula, order, strict=True))
        for order in itertools.permutations(found)
    )


def table() -> list[dict[str, Any]]:
    """A row for the flow of each game, and one for each solver on it."""
    rows = []
    for name, (make, linear) in GAMES.items():
        measured = torch.linalg.eigvals(flow_jacobian(make()))
        expected = linear.eigenvalues()
        rows.append(
            {
                "game": name,
                "solver": "flow",
                "formula": max(value.real for value in expected),
                "measured": measured.real.max().item(),
                "difference": apart(expected, measured),
            }
        )
        for solver, played in SOLVERS.items():
            eigenvalues = torch.linalg.eigvals(
                update_jacobian(make(), played.make(Optimiser("sgd", H)), played.rounds)
            )
            formula = played.formula(linear)
            rows.append(
                {
                    "game": name,
                    "solver": solver,
                    "formula": max(abs(mu) for mu in formula) ** (1 / played.rounds),
                    "measured": eigenvalues.abs().max().item() ** (1 / played.rounds),
                    "difference": apart(formula, eigenvalues),
                }
            )
    return rows


if __name__ == "__main__":
    torch.set_num_threads(1)
    found = table()
    for row in found:
        print(
            f"{row['game']:36} {row['solver']:14} {row['formula']:9.6f} {row['measured']:9.6f}  "
            f"{row['difference']:.1e}"
        )
    record("rates", settings={"h": H, "consensus": GAMMA, "lookahead": [K, ALPHA]}, rows=found)
