"""The generator backwards: the noise whose picture a row is, ways between two such codes, and directions from labels.

An implicit model has no encoder. What stands for one is the noise that comes nearest, z = argmin ‖G(z) − x‖² (Zhu, Krähenbühl, Shechtman
& Efros 2016; Creswell & Bharath 2018), and how near it comes says whether the generator can make the row at all.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from equilibria.inference.langevin import bounded, unbounded
from equilibria.models.generator import Generator, evaluating
from equilibria.random import Stream

__all__ = ["Inverted", "directions", "interpolate", "invert"]

_PART = 2048  # rows × starts at a time


@dataclasses.dataclass(frozen=True, eq=False)
class Inverted:
    """Codes and how near they come.

    Attributes
    ----------
    noise : Tensor, shape (n, latent_dim)
        The best code of each row.
    residuals : Tensor, shape (n,)
        ‖G(z) − x‖² there, in the generator's own units.
    spread : Tensor, shape (n,)
        Root mean square distance in a column between the codes of the starts that came within 1 % (and 1e-6) of the best: above 0 the row
        has codes that are as good and elsewhere.
    """

    noise: Tensor
    residuals: Tensor
    spread: Tensor


def invert(
    generator: Generator,
    x: Tensor,
    stream: Stream,
    *,
    condition: Tensor | None = None,
    starts: int = 8,
    steps: int = 300,
    rate: float = 0.1,
    weight: float = 0.0,
    polish: int = 50,
) -> Inverted:
    """The noise that comes nearest to each row, min over z of ‖G(z) − x‖² + weight · ‖u‖².

    Each row is sought from several draws of the prior by Adam with a rate that falls to 0 as half a cosine wave; the best of them is
    polished by L-BFGS, which is kept where it is better. A uniform prior's columns are moved as u with z = erf(u/√2), so that codes stay
    inside. Coins are not moved: they are those of the best start, and where their combinations are no more than ``starts``, each is tried.

    Parameters
    ----------
    generator : Generator
    x : Tensor, shape (n, …)
        Rows as the generator gives them.
    stream : Stream
        Of the starts.
    condition : Tensor, optional
        A row for each.
    starts, steps, polish : int
        Draws of the prior a row, Adam's steps from each, and L-BFGS's iterations; 0 leaves them out.
    rate : float
        Adam's first rate.
    weight : float
        Of the prior: 2σ² · half the squared length, for data known up to noise of variance σ² a column, gives the most likely z.

    Raises
    ------
    ValueError
        For numbers outside these, or rows that are not the generator's.

    Examples
    --------
    >>> from equilibria.networks.mlp import MLP
    >>> generator = Generator(MLP((2, 5), stream=Stream(2)).requires_grad_(False), latent_dim=2)
    >>> z = Stream(0).normal((3, 2))
    >>> found = invert(generator, generator(z), Stream(1))
    >>> bool(torch.allclose(found.noise, z, atol=1e-3)), float(found.residuals.max()) < 1e-6
    (True, True)
    """
    if min(starts, steps) < 1 or polish < 0 or not rate > 0 or not weight >= 0:
        said = f"starts={starts!r}, steps={steps!r}, polish={polish!r}, rate={rate!r}, weight={weight!r}"
        raise ValueError(f"{said}: expected starts and steps of 1 or more, a positive rate, and no negative number")
    search = Search(generator, weight)
    noise = torch.stack([_coins(generator, generator.noise(len(x), stream.child("start", i)), i, starts) for i in range(starts)], 1)
    parts = []
    with evaluating(generator):
        for rows in torch.arange(len(x)).split(max(1, _PART // starts)):
            given = None if condition is None else condition[rows]
            parts.append(search.best(search.coordinates(noise[rows]), x[rows], given, steps, rate, polish))
    codes, residuals, spread = (torch.cat(part) for part in zip(*parts, strict=True))
    return Inverted(codes, residuals, spread)


class Search:
    """Minimising over codes, in normal coordinates u; the rows never mix, but in L-BFGS's step lengths."""

    def __init__(self, generator: Generator, weight: float):
        self.generator, self.weight = generator, weight
        self.moving = generator.continuous
        self.uniform = generator.prior == "uniform"

    def coordinates(self, z: Tensor) -> Tensor:
        return unbounded(z) if self.uniform else z

    def noise(self, u: Tensor) -> Tensor:
        return bounded(u) if self.uniform else u

    def residuals(self, u: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        made = self.generator(self.noise(u), condition)
        if made.shape != x.shape:
            raise ValueError(f"x has rows of shape {tuple(x.shape[1:])}, the generator makes {tuple(made.shape[1:])}")
        return (made - x).flatten(1).square().sum(1)

    def costs(self, u: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        return self.residuals(u, x, condition) + self.weight * (u * self.moving.to(u.device)).square().sum(1)

    def best(self, u: Tensor, x: Tensor, condition: Tensor | None, steps: int, rate: float, polish: int) -> tuple[Tensor, Tensor, Tensor]:
        """From the starts ``(n, starts, d)``: the best code, its residual and the spread of those that are as good."""
        n, starts, d = u.shape
        each = x.repeat_interleave(starts, 0), None if condition is None else condition.repeat_interleave(starts, 0)
        u = self.descend(u.reshape(n * starts, d), *each, steps, rate)
        with torch.no_grad():
            costs = self.costs(u, *each).view(n, starts)
        least, chosen = costs.min(1)
        u = u.view(n, starts, d)
        good = (costs <= 1.01 * least[:, None] + 1e-6)[..., None]
        winner = u[torch.arange(n, device=u.device), chosen]
        apart = ((u - winner[:, None]).square() * good).sum((1, 2)) / (d * (good.sum((1, 2)) - 1).clamp(min=1))
        winner = self.polished(winner, x, condition, polish) if polish else winner
        with torch.no_grad():
            return self.noise(winner), self.residuals(winner, x, condition), apart.sqrt()

    def descend(self, u: Tensor, x: Tensor, condition: Tensor | None, steps: int, rate: float) -> Tensor:
        u = u.detach().clone().requires_grad_(True)
        adam, moving = torch.optim.Adam([u], lr=rate, betas=(0.9, 0.99)), self.moving.to(u.device)
        for t in range(steps):
            adam.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * t / steps)) / 2
            (slope,) = torch.autograd.grad(self.costs(u, x, condition).sum(), u)
            u.grad = slope * moving
            adam.step()
        return u.detach()

    def polished(self, u: Tensor, x: Tensor, condition: Tensor | None, iterations: int) -> Tensor:
        before, moved = u, u.detach().clone().requires_grad_(True)
        moving = self.moving.to(u.device)
        solver = torch.optim.LBFGS(
            [moved], max_iter=iterations, tolerance_grad=1e-10, tolerance_change=1e-14, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            cost = self.costs(moved, x, condition).sum()
            (slope,) = torch.autograd.grad(cost, moved)
            moved.grad = slope * moving
            return cost.detach()

        solver.step(closure)
        with torch.no_grad():
            better = self.costs(moved, x, condition) < self.costs(before, x, condition)
        return moved.detach().where(better[:, None], before)


def interpolate(a: Tensor, b: Tensor, steps: int, generator: Generator) -> Tensor:
    """Codes on the way from ``a`` to ``b``, ``(steps, latent_dim)``, both ends included.

    Normal columns go along the great circle, with the length between the two in proportion, since a straight line would pass through
    lengths that the prior hardly has (White 2016, "Sampling generative networks"); uniform columns go straight; coins change at the half.

    Raises
    ------
    ValueError
        For fewer than 2 steps, or codes that are not ``(latent_dim,)``.

    Examples
    --------
    >>> from torch import nn
    >>> generator = Generator(nn.Linear(2, 2), latent_dim=2)
    >>> way = interpolate(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0]), 3, generator)
    >>> round(float(way[1].norm()), 4)
    1.5
    """
    if steps < 2:
        raise ValueError(f"steps={steps!r}: expected at least 2, the two ends")
    for name, code in (("a", a), ("b", b)):
        if code.shape != (generator.latent_dim,):
            raise ValueError(f"{name} has shape {tuple(code.shape)}: expected one code, ({generator.latent_dim},)")
    moving = generator.continuous.to(a.device)
    t = torch.linspace(0, 1, steps, dtype=a.dtype, device=a.device)[:, None]
    straight = (1 - t) * a + t * b
    way = straight if generator.prior == "uniform" else _arc(a * moving, b * moving, t)
    return way.where(moving, a.where(t < 0.5, b))


def _arc(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    lengths = a.norm(), b.norm()
    if min(float(length) for length in lengths) == 0:
        return (1 - t) * a + t * b
    one, two = a / lengths[0], b / lengths[1]
    angle = torch.arccos((one @ two).clamp(-1, 1))
    length = (1 - t) * lengths[0] + t * lengths[1]
    if float(angle.sin().abs()) < 1e-6:  # the same direction, or opposite ones, between which there is no one way round
        return (1 - t) * a + t * b
    return length * (((1 - t) * angle).sin() * one + (t * angle).sin() * two) / angle.sin()


def directions(codes: Tensor, labels: Tensor) -> Tensor:
    """The mean code of label 1 minus that of label 0, ``(latent_dim,)``: what to add to a code to change the label.

    Parameters
    ----------
    codes : Tensor, shape (n, latent_dim)
    labels : Tensor of int, shape (n,)
        0 and 1.

    Raises
    ------
    ValueError
        Unless there are rows of both.

    Examples
    --------
    >>> directions(torch.tensor([[0.0, 1.0], [2.0, 1.0], [4.0, 2.0]]), torch.tensor([0, 0, 1]))
    tensor([3., 1.])
    """
    if len(codes) != len(labels) or set(labels.unique().tolist()) != {0, 1}:
        raise ValueError(f"labels: expected {len(codes)} of 0 and 1, both of them there, found {sorted(labels.unique().tolist())}")
    return codes[labels == 1].mean(0) - codes[labels == 0].mean(0)


def _coins(generator: Generator, noise: Tensor, start: int, starts: int) -> Tensor:
    """Coins of start number ``start``: all combinations in turn, where there are no more than starts."""
    places = (~generator.continuous).nonzero().flatten()
    if len(places) and 2 ** len(places) <= starts:
        bits = start % 2 ** len(places) >> torch.arange(len(places)) & 1
        noise[:, places.to(noise.device)] = (2 * bits - 1).to(noise)
    return noise
