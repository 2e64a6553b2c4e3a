r"""Metropolis-adjusted Langevin chains in a generator's noise: the refinement between the prior's
draws.

The target is p(z) · r(G(z)), with log r(G(z)) differentiated through critic and generator (the
energy of Che et al. 2020, "Your GAN is secretly an energy-based model"). Normal columns are moved
by

.. math:: z' = a z + (1 - a) \nabla_z \log r(G(z)) + s \xi, \qquad a = \sqrt{1 - s^2},
          \quad \xi \sim N(0, I),

the Langevin step that has the prior built in (Cotter, Roberts, Stuart & White 2013, equation 4.11):
for small s it is the usual z + s²/2 ∇ log target + s ξ, and where r is flat every step is taken, at
any s and in any number of columns. Columns of a uniform prior are moved in u with z = erf(u/√2),
whose prior is N(0, 1). Rademacher columns (±1) are flipped one at a time by Metropolis proposals,
between the steps.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from equilibria.check import number, whole
from equilibria.inference import diagnostics
from equilibria.inference.refine import LogWeight, Noise, Refined, gather, metropolis, weigh
from equilibria.random import Stream

__all__ = ["bounded", "langevin", "unbounded"]

TARGET = 0.574
"""The acceptance at which Langevin moves go furthest in many columns (Roberts & Rosenthal 1998)."""

_EDGE = 1 - 2.0**-23


def bounded(u: Tensor) -> Tensor:
    """Normal numbers as uniform ones in (−1, 1): erf(u/√2)."""
    return torch.erf(u / math.sqrt(2.0))


def unbounded(z: Tensor) -> Tensor:
    """The inverse of :func:`bounded`; the ends of [−1, 1] count as the last number within it.

    Examples
    --------
    >>> unbounded(bounded(torch.tensor([-2.0, 0.0, 1.0])))
    tensor([-2.0000,  0.0000,  1.0000])
    """
    return torch.erfinv(z.clamp(-_EDGE, _EDGE)) * math.sqrt(2.0)


class Point(NamedTuple):
    """The chains' u ``(n, d)``, log r ``(n,)`` and its slope in u ``(n, d)``, 0 in ±1 columns."""

    u: Tensor
    log_weight: Tensor
    slope: Tensor

    def where(self, take: Tensor, other: Point) -> Point:
        wide = take[:, None]
        u, slope = self.u.where(wide, other.u), self.slope.where(wide, other.slope)
        return Point(u, self.log_weight.where(take, other.log_weight), slope)


def langevin(
    noise: Noise,
    log_weight: LogWeight,
    n: int,
    stream: Stream,
    *,
    continuous: Tensor | None = None,
    uniform: bool = False,
    start: int | Tensor = 32,
    burn_in: int = 100,
    steps: int = 100,
    step: float = 0.1,
) -> Refined:
    """n Metropolis-adjusted Langevin chains in the noise, one a row, with one step size.

    Parameters
    ----------
    noise, log_weight, n, stream
        As :mod:`~equilibria.inference.refine` says; the noise is ``(n, d)``, N(0, 1) or ±1, and
        ``log_weight`` differentiable in it.
    continuous : Tensor of bool, shape (d,), optional
        Which columns are not ±1 (``generator.continuous``); all by default.
    uniform : bool
        Whether the continuous columns are U(−1, 1) rather than normal.
    start : int or Tensor of shape (n, d)
        Candidates of the prior among which a row's start is chosen by weight (a chain moves in its
        own mode, so the start decides which one), or the start itself.
    burn_in, steps : int
        Rounds in which the step size is adapted, towards 57 % acceptance, and rounds at its last
        value. With a step size of its own a row would be caught where steps are short.
    step : float
        The step size s to begin with, in (0, 1].

    Examples
    --------
    >>> normal = lambda n, stream: stream.normal((n, 1))
    >>> found = langevin(normal, lambda z, rows: 2 * z[:, 0], 500, Stream(0), steps=20)  # N(2, 1)
    >>> abs(float(found.noise.mean()) - 2) < 0.25, found.acceptance > 0.4
    (True, True)
    """
    size = number(0, 1, above=True)("step", step)
    steps, burn_in = whole(1)("steps", steps), whole(0)("burn_in", burn_in)
    walk = Walk(log_weight, noise(1, stream.child("shape")), continuous, uniform, n)
    tries = 0
    if not isinstance(start, Tensor):
        tries = n * whole(1)("start", start)
        with torch.no_grad():
            start = gather(noise, log_weight, n, stream.child("start"), start).kept
    point = walk.at(unbounded(start) if uniform else start)
    history, rates = [], []
    moved = torch.zeros(n, dtype=torch.bool, device=start.device)
    moves = bool(walk.moving.any())
    for t in range(burn_in + steps):
        key = stream.child("round", t)
        point, chance, take = walk.move(point, size, key.child("move"))
        point, flipped = walk.flip(point, key.child("flip"))
        if t < burn_in:
            size = min(max(size * math.exp((chance - TARGET) * (t + 1) ** -0.5), 1e-4), 1.0)
        else:
            history.append(point.log_weight)
            moved |= take | flipped
            rates.append(float((take if moves else flipped).double().mean()))
    tries += n * (1 + (burn_in + steps) * (moves + bool(len(walk.signs))))
    table, ess = torch.stack(history).cpu().numpy(), math.nan
    if len(table) >= 4 and bool((table > -math.inf).all()):
        ess = diagnostics.effective_sample_size(table) / n
    accepted = sum(rates) / steps
    return Refined(walk.noise(point.u), "langevin", tries, accepted, ess, ~moved, step=size)


class Walk:
    """The two moves, each of which has p(z) · r(G(z)) as its invariant distribution."""

    def __init__(
        self, log_weight: LogWeight, like: Tensor, continuous: Tensor | None, uniform: bool, n: int
    ):
        if like.ndim != 2:
            found = f"rows have shape {tuple(like.shape[1:])}"
            raise ValueError(f"noise: {found}; Langevin moves need one axis of columns")
        moving = torch.ones(like.shape[1], dtype=torch.bool) if continuous is None else continuous
        self.moving, self.uniform = moving.to(like.device), uniform
        self.signs = (~self.moving).nonzero().flatten()
        self.log_weight, self.rows = log_weight, torch.arange(n, device=like.device)

    def noise(self, u: Tensor) -> Tensor:
        """The generator's own noise."""
        return bounded(u).where(self.moving, u) if self.uniform else u

    def at(self, u: Tensor) -> Point:
        """log r and its slope there."""
        with torch.enable_grad():
            u = u.detach().requires_grad_(True)
            logs = weigh(self.log_weight, self.noise(u), self.rows)
            # where r = 0 there is no slope, and the first move to anywhere else is taken
            total = logs.masked_fill(logs.isneginf(), 0.0).sum()
            (slope,) = torch.autograd.grad(total, u, allow_unused=True, materialize_grads=True)
        return Point(u.detach(), logs.detach(), (slope * self.moving).nan_to_num(0.0, 0.0, 0.0))

    def move(self, here: Point, s: float, stream: Stream) -> tuple[Point, float, Tensor]:
        """A Langevin step of size s: (the new point, the mean acceptance, which were taken)."""
        if not bool(self.moving.any()):
            return here, TARGET, torch.zeros_like(here.log_weight, dtype=torch.bool)
        xi = stream.child("xi").normal(here.u.shape, here.u.dtype, here.u.device)
        a = math.sqrt(1 - s * s)
        there = (a * here.u + (1 - a) * here.slope + s * xi).where(self.moving, here.u)
        new = self.at(there)
        odds = self.log_odds(here, new, s)
        take = metropolis(torch.zeros_like(odds), odds, stream.child("accept"))
        return new.where(take, here), float(odds.clamp(max=0.0).exp().mean()), take

    def log_odds(self, here: Point, there: Point, s: float) -> Tensor:
        """log of target(there) q(here | there) / target(here) q(there | here), in float64."""
        a = math.sqrt(1 - s * s)

        def joint(x: Point, y: Point) -> Tensor:  # log of target(x) q(y | x), up to a constant
            u, v, slope = ((part * self.moving).double() for part in (x.u, y.u, x.slope))
            step = (v - a * u - (1 - a) * slope) ** 2
            return x.log_weight - (u**2).sum(1) / 2 - step.sum(1) / (2 * s * s)

        forth, back = joint(here, there), joint(there, here)
        return (back - forth).masked_fill(forth.isneginf(), math.inf)

    def flip(self, here: Point, stream: Stream) -> tuple[Point, Tensor]:
        """One ±1 column a row flipped with probability min(1, r′/r): (the new point, taken)."""
        if not len(self.signs):
            return here, torch.zeros_like(here.log_weight, dtype=torch.bool)
        picked = stream.child("column").integers((len(here.u),), len(self.signs), here.u.device)
        u = here.u.clone()
        u[self.rows, self.signs[picked]] *= -1
        there = self.at(u)
        take = metropolis(here.log_weight, there.log_weight, stream.child("accept"))
        return there.where(take, here), take
