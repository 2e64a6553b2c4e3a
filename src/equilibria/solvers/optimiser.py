"""How one player's gradient moves it: an optimiser, its rate and its schedule, as data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import nn

from equilibria.check import choice, number, optional, sequence, whole

__all__ = ["SCHEDULES", "Optimiser"]

SCHEDULES: dict[str, Callable[[float, float], float]] = {
    "constant": lambda rate, done: rate,
    "linear": lambda rate, done: rate - rate * done,
    "cosine": lambda rate, done: rate * (1 + math.cos(math.pi * done)) / 2,
}
"""Learning rate from the first one and the share of the steps done, in [0, 1]."""

_BELOW_ONE = number(0, math.nextafter(1, 0))
_CHECKS = {
    "kind": choice("sgd", "adam"),
    "rate": number(0, above=True),
    "momentum": _BELOW_ONE,
    "final_momentum": optional(_BELOW_ONE),
    "momentum_steps": whole(),
    "betas": sequence(_BELOW_ONE, expected="two numbers of at least 0 and below 1", length=2),
    "weight_decay": number(0),
    "schedule": choice(*SCHEDULES),
    "steps": whole(),
}


@dataclass(frozen=True)
class Optimiser:
    """Settings of an optimiser; it holds no state.

    With gradient g, weights w, rate r and decay λ, ``"sgd"`` is v ← momentum · v + (g + λw),
    w ← w − r·v; ``"adam"`` is Adam with decoupled decay, w ← (1 − rλ)·w before Adam's step. Decay
    leaves parameters of fewer than two dimensions (biases) alone.

    Parameters
    ----------
    kind : {"sgd", "adam"}
    rate : float
        Learning rate, before the schedule.
    momentum, final_momentum : float
        Of ``"sgd"``, in [0, 1); the second takes the place of the first from update
        ``momentum_steps`` on (the classical .5, then .9).
    betas : pair of float
        Adam's averaging rates of the gradient and of its square (Kingma & Ba 2015; decay:
        Loshchilov & Hutter 2019).
    schedule : {"constant", "linear", "cosine"}
        The rate as it is, or down to 0 over ``steps`` updates: in a line, or as half a cosine.

    Examples
    --------
    >>> settings = Optimiser("sgd", 0.1, schedule="linear", steps=1000)
    >>> settings.rate_at(0), settings.rate_at(500), settings.rate_at(1000)
    (0.1, 0.05, 0.0)
    """

    kind: str
    rate: float
    momentum: float = 0.0
    final_momentum: float | None = None
    momentum_steps: int = 0
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    schedule: str = "constant"
    steps: int = 0

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            check(name, getattr(self, name))
        if self.kind == "adam" and (self.momentum or self.final_momentum is not None):
            raise ValueError(f'momentum={self.momentum!r}: "adam" has none; set betas[0]')
        if self.schedule != "constant":
            whole(1)("steps", self.steps)

    def rate_at(self, t: int) -> float:
        """The learning rate of update ``t`` (the first is 0), a pure function of the count."""
        return SCHEDULES[self.schedule](self.rate, min(t / self.steps, 1.0) if self.steps else 0.0)

    def momentum_at(self, t: int) -> float:
        """The momentum of update ``t``."""
        if self.final_momentum is None or t < self.momentum_steps:
            return self.momentum
        return self.final_momentum

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """A torch optimiser, weights (two dimensions or more) before the rest."""
        parameters = list(parameters)
        weights = [parameter for parameter in parameters if parameter.dim() >= 2]
        others = [parameter for parameter in parameters if parameter.dim() < 2]
        decays = [(weights, self.weight_decay), (others, 0.0)]
        if not self.weight_decay:  # one group is one call less, and its state has the same order
            decays = [(weights + others, 0.0)]
        groups = [{"params": group, "weight_decay": decay} for group, decay in decays if group]
        rate = self.rate_at(0)
        if self.kind == "sgd":
            return torch.optim.SGD(groups, lr=rate, momentum=self.momentum_at(0), fused=True)
        return torch.optim.AdamW(groups, lr=rate, betas=self.betas, fused=True)

    def set_update(self, optimiser: torch.optim.Optimizer, t: int) -> None:
        """Give ``optimiser`` the rate and the momentum of update ``t``."""
        for group in optimiser.param_groups:
            group["lr"] = self.rate_at(t)
            if self.kind == "sgd":
                group["momentum"] = self.momentum_at(t)
