r"""Langevin moves in a generator's noise, with a Metropolis test: the refinement that can go between the draws of the prior.

The target is p(z) · r(G(z)), with log r(G(z)) differentiated through critic and generator (the energy of Che et al. 2020, "Your GAN is
secretly an energy-based model"). Normal columns are moved by

.. math:: z' = a z + (1 - a) \nabla_z \log r(G(z)) + s \xi, \qquad a = \sqrt{1 - s^2}, \quad \xi \sim N(0, I),

the Metropolis-adjusted Langevin step that has the prior built in (Cotter, Roberts, Stuart & White 2013, equation 4.11): for small s it is
the usual z + s²/2 ∇ log target + s ξ, and where r is flat every step is taken, at any s and in any number of columns. A uniform prior's
columns are moved in u with z = erf(u/√2), whose prior is N(0, 1): a change of variables, so nothing has to be reflected at the ends.
Coins are flipped one at a time by Metropolis proposals, between the Langevin steps.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from equilibria.inference import diagnostics
from equilibria.inference.refinement import LogWeight, Noise, Refined, gather, metropolis, weigh
from equilibria.random import Stream

__all__ = ["bounded", "langevin", "unbounded"]

TARGET = 0.574
"""The share of steps taken at which Langevin moves go furthest in many columns (Roberts & Rosenthal 1998)."""

_STEPS = (1e-4, 1.0)
_EDGE = 1 - 2.0**-23


def bounded(u: Tensor) -> Tensor:
    """Normal numbers as uniform ones in (−1, 1): erf(u/√2)."""
    return torch.erf(u / math.sqrt(2.0))


def unbounded(z: Tensor) -> Tensor:
    """The way back; the ends of [−1, 1] are taken as the last number within it.

    Examples
    --------
    >>> unbounded(bounded(torch.tensor([-2.0, 0.0, 1.0])))
    tensor([-2.0000,  0.0000,  1.0000])
    """
    return torch.erfinv(z.clamp(-_EDGE, _EDGE)) * math.sqrt(2.0)


class Point(NamedTuple):
    """Where every chain is: u ``(n, d)``, log r there ``(n,)`` and its slope in u ``(n, d)``, 0 in the columns that are coins."""

    u: Tensor
    log_weight: Tensor
    slope: Tensor

    def where(self, take: Tensor, other: Point) -> Point:
        wide = take[:, None]
        return Point(self.u.where(wide, other.u), self.log_weight.where(take, other.log_weight), self.slope.where(wide, other.slope))


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
    """n Metropolis-adjusted Langevin chains in the noise, one a row; the step size is all that they share.

    Parameters
    ----------
    noise, log_weight, n, stream
        As :mod:`~equilibria.inference.refinement` says; the noise is ``(n, d)``, N(0, 1) or coins of ±1, and ``log_weight``
        differentiable in it.
    continuous : Tensor of bool, shape (d,), optional
        Which columns are no coins (``generator.continuous``); all by default.
    uniform : bool
        Whether the continuous columns are U(−1, 1) rather than normal.
    start : int or Tensor of shape (n, d)
        Candidates of the prior among which a row's start is chosen by weight (a chain moves in its own mode, so the start decides which
        one), or the start itself.
    burn_in, steps : int
        Rounds in which the step size is adapted, towards 57 % taken, and rounds with what it has become. All rows share it: with one of
        its own, a row would be caught where steps are short, and the burn-in would not leave the target as it is.
    step : float
        The step size s to begin with, in (0, 1].

    Raises
    ------
    ValueError
        For numbers outside these, noise that is no table, or weights that are NaN or +∞.

    Examples
    --------
    >>> found = langevin(lambda n, stream: stream.normal((n, 1)), lambda z, rows: 2 * z[:, 0], 500, Stream(0), steps=20)  # N(2, 1)
    >>> abs(float(found.noise.mean()) - 2) < 0.25, found.acceptance > 0.4
    (True, True)
    """
    if not 0 < step <= 1:
        raise ValueError(f"step={step!r}: expected a number above 0 and at most 1")
    if min(n, steps) < 1 or burn_in < 0:
        raise ValueError(f"n={n!r}, burn_in={burn_in!r}, steps={steps!r}: expected whole numbers, n and steps 1 or more")
    walk = Walk(log_weight, noise(1, stream.child("shape")), continuous, uniform, n)
    began, tries = _start(noise, log_weight, n, stream.child("start"), start)
    point = walk.at(unbounded(began) if uniform else began)
    size = step
    history, taken, flips, moved = [], 0.0, 0.0, torch.zeros(n, dtype=torch.bool, device=began.device)
    for t in range(burn_in + steps):
        key = stream.child("round", t)
        point, chance, take = walk.move(point, size, key.child("move"))
        if t < burn_in:
            size = min(max(size * math.exp((chance - TARGET) * (t + 1) ** -0.5), _STEPS[0]), _STEPS[1])
        point, flipped = walk.flip(point, key.child("flip"))
        if t >= burn_in:
            history.append(point.log_weight)
            moved |= take | flipped
            taken, flips = taken + float(take.double().mean()), flips + float(flipped.double().mean())
    rounds = burn_in + steps
    tries += n * (1 + rounds * (bool(walk.moving.any()) + bool(len(walk.coins))))
    accepted = (taken if bool(walk.moving.any()) else flips) / steps
    return Refined(walk.noise(point.u), "langevin", tries, accepted, _draws(history), ~moved, step=size)


class Walk:
    """The two moves, each of which leaves p(z) · r(G(z)) as it is."""

    def __init__(self, log_weight: LogWeight, like: Tensor, continuous: Tensor | None, uniform: bool, n: int):
        if like.ndim != 2:
            raise ValueError(f"noise: rows have shape {tuple(like.shape[1:])}; Langevin moves need one axis of columns")
        moving = torch.ones(like.shape[1], dtype=torch.bool) if continuous is None else continuous
        if moving.shape != like.shape[1:]:
            raise ValueError(f"continuous has shape {tuple(moving.shape)}; the noise has {like.shape[1]} columns")
        self.moving, self.uniform = moving.to(like.device), uniform
        self.coins = (~self.moving).nonzero().flatten()
        self.log_weight, self.rows = log_weight, torch.arange(n, device=like.device)

    def noise(self, u: Tensor) -> Tensor:
        """The generator's own noise."""
        return bounded(u).where(self.moving, u) if self.uniform else u

    def at(self, u: Tensor) -> Point:
        """log r and its slope there."""
        with torch.enable_grad():
            u = u.detach().requires_grad_(True)
            logs = weigh(self.log_weight, self.noise(u), self.rows)
            # a row where r = 0 has no slope to speak of, and is left by the first move to anywhere else
            (slope,) = torch.autograd.grad(logs.masked_fill(logs.isneginf(), 0.0).sum(), u, allow_unused=True, materialize_grads=True)
        return Point(u.detach(), logs.detach(), (slope * self.moving).nan_to_num(0.0, 0.0, 0.0))

    def move(self, here: Point, s: float, stream: Stream) -> tuple[Point, float, Tensor]:
        """A Langevin step of size s: where it leads, the mean chance of being taken, and which were."""
        if not bool(self.moving.any()):
            return here, TARGET, torch.zeros_like(here.log_weight, dtype=torch.bool)
        xi = stream.child("xi").normal(here.u.shape, here.u.dtype, here.u.device)
        a = math.sqrt(1 - s * s)
        there = self.at((a * here.u + (1 - a) * here.slope + s * xi).where(self.moving, here.u))
        odds = self.log_odds(here, there, s)
        take = metropolis(torch.zeros_like(odds), odds, stream.child("accept"))
        return there.where(take, here), float(odds.clamp(max=0.0).exp().mean()), take

    def log_odds(self, here: Point, there: Point, s: float) -> Tensor:
        """log of target(there) q(here | there) / target(here) q(there | here), in float64."""
        a = math.sqrt(1 - s * s)

        def joint(x: Point, y: Point) -> Tensor:  # log of target(x) q(y | x), but for what both orders share
            u, v, slope = ((part * self.moving).double() for part in (x.u, y.u, x.slope))
            return x.log_weight - (u**2).sum(1) / 2 - ((v - a * u - (1 - a) * slope) ** 2).sum(1) / (2 * s * s)

        forth, back = joint(here, there), joint(there, here)
        return (back - forth).masked_fill(forth.isneginf(), math.inf)

    def flip(self, here: Point, stream: Stream) -> tuple[Point, Tensor]:
        """One coin a row turned over, taken with probability min(1, r′/r): where that leads, and which were taken."""
        if not len(self.coins):
            return here, torch.zeros_like(here.log_weight, dtype=torch.bool)
        column = self.coins[stream.child("column").integers((len(here.u),), len(self.coins), here.u.device)]
        u = here.u.clone()
        u[self.rows, column] *= -1
        there = self.at(u)
        take = metropolis(here.log_weight, there.log_weight, stream.child("accept"))
        return there.where(take, here), take


def _start(noise: Noise, log_weight: LogWeight, n: int, stream: Stream, start: int | Tensor) -> tuple[Tensor, int]:
    if not isinstance(start, Tensor):
        if start < 1:
            raise ValueError(f"start={start!r}: expected the number of candidates, 1 or more, or a table of noise")
        with torch.no_grad():
            return gather(noise, log_weight, n, stream, start).kept, n * start
    if len(start) != n:
        raise ValueError(f"start has {len(start)} rows for n={n} chains; give one row for each")
    return start, 0


def _draws(history: list[Tensor]) -> float:
    """Independent draws of the log-weight in a chain; NaN where there are too few rounds to say or nothing moves."""
    table = torch.stack(history).cpu().numpy()
    if len(table) < 4 or not bool((table > -math.inf).all()):
        return math.nan
    return diagnostics.effective_sample_size(table) / table.shape[1]
