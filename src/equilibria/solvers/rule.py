"""How one player's gradient moves it: an optimiser, its rate and its schedule, as data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import nn

__all__ = ["ENDING_AT_ZERO", "SCHEDULES", "Rule"]

SCHEDULES: dict[str, Callable[[float, float, float], float]] = {
    "constant": lambda rate, final, done: rate,
    "linear": lambda rate, final, done: rate + (final - rate) * done,
    "cosine": lambda rate, final, done: final + (rate - final) * (1 + math.cos(math.pi * done)) / 2,
    "geometric": lambda rate, final, done: rate * (final / rate) ** done,
    "inverse": lambda rate, final, done: rate / (1 + (rate / final - 1) * done),
}
"""Rate from (first rate, final rate, share of the steps done in [0, 1]); every schedule but the constant ends at the final rate."""
DIVIDING = ("geometric", "inverse")  # whose final rate must be above 0
ENDING_AT_ZERO = tuple(name for name in SCHEDULES if name not in DIVIDING)
"""Schedules that need no final rate."""


@dataclass(frozen=True)
class Rule:
    """How a player is moved along its gradient; a table of numbers, no state.

    With gradient g, weights w, rate r and decay λ, ``"sgd"`` is v ← momentum · v + (g + λw), w ← w − r·v; ``"adam"`` is
    Adam with decoupled decay, w ← (1 − rλ)·w before Adam's step. Decay never touches parameters of fewer than two
    dimensions (biases).

    Parameters
    ----------
    optimiser : {"sgd", "adam"}
    rate : float
        Learning rate, before the schedule.
    momentum : float, default 0
        In [0, 1); for ``"sgd"``.
    final_momentum : float or None
        Takes the place of ``momentum`` from update ``momentum_steps`` on (the classical .5, then .9).
    momentum_steps : int
        Updates made with ``momentum`` before the switch.
    betas : pair of float
        Adam's averaging rates of the gradient and of its square.
    weight_decay : float, default 0
    schedule : {"constant", "linear", "cosine", "geometric", "inverse"}
        With s = min(t / steps, 1): rate + (final_rate − rate)·s; half a cosine wave from one to the other;
        rate·(final_rate / rate)^s; rate / (1 + (rate / final_rate − 1)·s).
    final_rate : float, default 0
        The rate from update ``steps`` on; must be above 0 for ``"geometric"`` and ``"inverse"``.
    steps : int
        Length of the schedule in updates; not used by ``"constant"``.
    warmup : int, default 0
        Over the first ``warmup`` updates the rate is also multiplied by (t + 1) / (warmup + 1).

    Raises
    ------
    ValueError
        For a name or a number outside these.

    References
    ----------
    Kingma & Ba 2015 (Adam); Loshchilov & Hutter 2019 (decoupled decay).

    Examples
    --------
    >>> rule = Rule("sgd", rate=0.1, momentum=0.5, final_momentum=0.9, momentum_steps=100, schedule="linear", steps=1000)
    >>> rule.rate_at(0), rule.rate_at(500), rule.rate_at(1000)
    (0.1, 0.05, 0.0)
    >>> rule.momentum_at(99), rule.momentum_at(100)
    (0.5, 0.9)
    """

    optimiser: str
    rate: float
    momentum: float = 0.0
    final_momentum: float | None = None
    momentum_steps: int = 0
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    schedule: str = "constant"
    final_rate: float = 0.0
    steps: int = 0
    warmup: int = 0

    def __post_init__(self) -> None:
        _require(self.optimiser in ("sgd", "adam"), "optimiser", self.optimiser, '"sgd" or "adam"')
        _require(0 < self.rate < math.inf, "rate", self.rate, "a finite number above 0")
        _require(0 <= self.momentum < 1, "momentum", self.momentum, "a number in [0, 1)")
        _require(self.final_momentum is None or 0 <= self.final_momentum < 1, "final_momentum", self.final_momentum, "one in [0, 1)")
        moved = self.momentum > 0 or self.final_momentum is not None
        _require(self.optimiser == "sgd" or not moved, "momentum", self.momentum, 'none with "adam"; set betas[0]')
        _require(len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas), "betas", self.betas, "two numbers in [0, 1)")
        _require(0 <= self.weight_decay < math.inf, "weight_decay", self.weight_decay, "a finite number of at least 0")
        _require(self.schedule in SCHEDULES, "schedule", self.schedule, f"one of {', '.join(SCHEDULES)}")
        _require(0 <= self.final_rate < math.inf, "final_rate", self.final_rate, "a finite number of at least 0")
        divides = self.schedule in DIVIDING
        _require(not divides or self.final_rate > 0, "final_rate", self.final_rate, f"above 0 with schedule={self.schedule!r}")
        for name in ("momentum_steps", "steps", "warmup"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "a whole number of at least 0")
        _require(self.schedule == "constant" or self.steps >= 1, "steps", self.steps, f"at least 1 with schedule={self.schedule!r}")

    def rate_at(self, t: int) -> float:
        """The learning rate of update ``t`` (the first is 0), a pure function of the count."""
        done = min(t / self.steps, 1.0) if self.steps else 0.0
        rate = SCHEDULES[self.schedule](self.rate, self.final_rate, done)
        return rate * min((t + 1) / (self.warmup + 1), 1.0)

    def momentum_at(self, t: int) -> float:
        """The momentum of update ``t``."""
        if self.final_momentum is None or t < self.momentum_steps:
            return self.momentum
        return self.final_momentum

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """A torch optimiser over ``parameters``, the weights (two dimensions or more) before the rest, in groups where they decay."""
        parameters = list(parameters)
        weights = [parameter for parameter in parameters if parameter.dim() >= 2]
        others = [parameter for parameter in parameters if parameter.dim() < 2]
        decays = ((weights, self.weight_decay), (others, 0.0))
        if not self.weight_decay:  # one group: its step is one call less, and the order of its state the same
            decays = ((weights + others, 0.0), ([], 0.0))
        groups = [{"params": group, "weight_decay": decay} for group, decay in decays if group]
        if self.optimiser == "sgd":
            return torch.optim.SGD(groups, lr=self.rate_at(0), momentum=self.momentum_at(0), fused=True)
        return torch.optim.AdamW(groups, lr=self.rate_at(0), betas=self.betas, fused=True)

    def set_update(self, optimiser: torch.optim.Optimizer, t: int) -> None:
        """Give ``optimiser`` the rate and the momentum of update ``t``."""
        for group in optimiser.param_groups:
            group["lr"] = self.rate_at(t)
            if self.optimiser == "sgd":
                group["momentum"] = self.momentum_at(t)


def _require(holds: bool, name: str, value: object, expected: str) -> None:
    if not holds:
        raise ValueError(f"{name}={value!r}: expected {expected}")
