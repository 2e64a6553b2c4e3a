"""Penalties on the critic's slope ∇_x D(x), which keep it smooth at the data and the samples.

A row says where the slope is taken and what a slope costs; the adversarial game multiplies it by a
weight γ and adds it to the critic's cost, every step. (Paid every eighth step only, R1 and R2 fail
outright on a thousand modes.) The slope is that in x alone: a condition is held fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from equilibria.check import choice, number

__all__ = ["PENALTIES", "PLACES", "Penalty", "find_penalties"]

PLACES = ("real", "fake", "mixed")
"""Of a slope: the data, the samples, or a random point of the line between one of each."""


def half_square(slopes: Tensor) -> Tensor:
    """½‖∇D‖² of each row, ``(n,)`` for ``slopes`` ``(n, …)`` of any rank.

    At an equilibrium the best critic is flat on the data; without this the Dirac game circles for
    ever, with it the eigenvalues of the flow there are −γ/2 ± √(γ²/4 − f′(0)²) (Mescheder, Geiger &
    Nowozin 2018).
    """
    return slopes.flatten(1).square().sum(1) / 2


def distance_to_one(slopes: Tensor) -> Tensor:
    """(‖∇D‖ − 1)² of each row, ``(n,)``.

    A Wasserstein critic has slope 1 between the two distributions (Gulrajani et al. 2017).
    """
    return (torch.linalg.vector_norm(slopes.flatten(1), dim=1) - 1).square()


@dataclass(frozen=True)
class Penalty:
    """Slopes ``(n, …)`` → penalties ``(n,)``, and where the slope is taken.

    at : {"real", "fake", "mixed"}

    >>> PENALTIES["r1"].of(torch.tensor([[3.0, 4.0]]))
    tensor([12.5000])
    """

    at: str
    of: Callable[[Tensor], Tensor]


PENALTIES: dict[str, Penalty] = {
    "r1": Penalty("real", half_square),
    "r2": Penalty("fake", half_square),
    "gradient-penalty": Penalty("mixed", distance_to_one),
}
"""R1 = ½·E_data‖∇D‖², R2 the same over the generator's samples, and E(‖∇D‖ − 1)² between the
two."""


def find_penalties(weights: Mapping[str, float]) -> dict[str, tuple[Penalty, float]]:
    """Name → (row, γ) for every name whose weight γ is above 0."""
    for name, weight in weights.items():
        choice(*PENALTIES)("penalties", name)
        number(0)(f"penalties[{name!r}]", weight)
    return {
        name: (PENALTIES[name], float(weight)) for name, weight in weights.items() if weight > 0
    }
