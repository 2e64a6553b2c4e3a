"""GAN inversion: the latent nearest to a row, interpolation, directions from labels.

An implicit model has no encoder. In its place stands z = argmin ‖G(z) − x‖² (Zhu, Krähenbühl,
Shechtman & Efros 2016; Creswell & Bharath 2018); its residual says whether the generator can make
the row at all.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from equilibria.check import number, whole
from equilibria.inference.langevin import bounded, unbounded
from equilibria.models.generator import Generator, evaluating
from equilibria.random import Stream

__all__ = ["Inverted", "directions", "interpolate", "invert"]

_PART = 2048  # rows × starts at a time


class Inverted(NamedTuple):
    """Latents and how near they come.

    Attributes
    ----------
    noise : Tensor, shape (n, latent_dim)
        The best latent of each row.
    residuals : Tensor, shape (n,)
        ‖G(z) − x‖² there, in the generator's own units.
    spread : Tensor, shape (n,)
        Root mean square distance in a column between the latents of the starts that came within 1 %
        (and 1e-6) of the best: above 0 the row has latents that are as good and elsewhere.
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
    """The latent nearest to each row, min over z of ‖G(z) − x‖² + weight · ‖u‖².

    Adam runs from several draws of the prior, with a rate that falls to 0 as half a cosine wave;
    L-BFGS polishes the best of them, and is kept where it is better. Columns of a uniform prior are
    moved as u with z = erf(u/√2), so that latents stay inside. Columns of ±1 are not moved: they
    are those of the best start, and where they have no more than ``starts`` combinations, each is
    tried.

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
        Draws of the prior a row, Adam's steps from each, and L-BFGS's iterations; 0 leaves these
        out.
    rate : float
        Adam's first rate.
    weight : float
        Of the prior: σ² for data with noise of variance σ² a column gives the most likely z.

    Examples
    --------
    >>> from equilibria.networks.mlp import MLP
    >>> generator = Generator(MLP((2, 5), stream=Stream(2)).requires_grad_(False), latent_dim=2)
    >>> z = Stream(0).normal((3, 2))
    >>> found = invert(generator, generator(z), Stream(1))
    >>> bool(torch.allclose(found.noise, z, atol=1e-3)), float(found.residuals.max()) < 1e-6
    (True, True)
    """
    starts, steps = whole(1)("starts", starts), whole(1)("steps", steps)
    number(0)("weight", weight)
    uniform, first = generator.prior == "uniform", []
    places = (~generator.continuous).nonzero().flatten()
    for start in range(starts):
        noise = generator.noise(len(x), stream.child("start", start))
        if len(places) and 2 ** len(places) <= starts:  # every combination in turn
            bits = start % 2 ** len(places) >> torch.arange(len(places)) & 1
            noise[:, places.to(noise.device)] = (2 * bits - 1).to(noise)
        first.append(noise)
    noise, parts = torch.stack(first, 1), []
    with evaluating(generator):
        for rows in torch.arange(len(x)).split(max(1, _PART // starts)):
            given = None if condition is None else condition[rows]
            u = unbounded(noise[rows]) if uniform else noise[rows]
            parts.append(_best(generator, u, x[rows], given, weight, steps, rate, polish))
    return Inverted(*(torch.cat(part) for part in zip(*parts, strict=True)))


def _best(
    generator: Generator,
    starts: Tensor,
    x: Tensor,
    condition: Tensor | None,
    weight: float,
    steps: int,
    rate: float,
    polish: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """From starts ``(n, starts, d)``: (the best latent, its residual, the spread of equals)."""
    n, count, d = starts.shape
    moving = generator.continuous.to(starts.device)

    def latent(u: Tensor) -> Tensor:
        return bounded(u) if generator.prior == "uniform" else u

    def residuals(u: Tensor) -> Tensor:
        each = len(u) // n
        given = None if condition is None else condition.repeat_interleave(each, 0)
        made = generator(latent(u), given) - x.repeat_interleave(each, 0)
        return made.flatten(1).square().sum(1)

    def costs(u: Tensor) -> Tensor:
        return residuals(u) + weight * (u * moving).square().sum(1)

    def slope(u: Tensor) -> Tensor:  # is left in u, in the moving columns; returns the cost
        cost = costs(u).sum()
        u.grad = torch.autograd.grad(cost, u)[0] * moving
        return cost.detach()

    u = starts.reshape(n * count, d).detach().clone().requires_grad_(True)
    adam = torch.optim.Adam([u], lr=rate, betas=(0.9, 0.99))
    for t in range(steps):
        adam.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * t / steps)) / 2
        slope(u)
        adam.step()
    u = u.detach()
    with torch.no_grad():
        found = costs(u).view(n, count)
    least, chosen = found.min(1)
    u = u.view(n, count, d)
    good = (found <= 1.01 * least[:, None] + 1e-6)[..., None]
    winner = u[torch.arange(n, device=u.device), chosen]
    others = (good.sum((1, 2)) - 1).clamp(min=1)
    apart = ((u - winner[:, None]).square() * good).sum((1, 2)) / (d * others)
    if polish:  # the rows share L-BFGS's step length
        better = winner.clone().requires_grad_(True)
        how: Any = {"line_search_fn": "strong_wolfe", "max_iter": polish}
        how |= {"tolerance_grad": 1e-10, "tolerance_change": 1e-14}
        torch.optim.LBFGS([better], **how).step(lambda: slope(better))
        with torch.no_grad():
            winner = better.where((costs(better) < costs(winner))[:, None], winner)
    with torch.no_grad():
        return latent(winner), residuals(winner), apart.sqrt()


def interpolate(a: Tensor, b: Tensor, steps: int, generator: Generator) -> Tensor:
    """Latents from ``a`` to ``b``, ``(steps, latent_dim)``, both ends included.

    Normal columns go along the great circle, with the length between the two in proportion, since a
    straight line would pass through lengths that the prior hardly has (White 2016, "Sampling
    generative networks"); uniform columns go straight; ±1 columns change at the half.

    Examples
    --------
    >>> from torch import nn
    >>> generator = Generator(nn.Linear(2, 2), latent_dim=2)
    >>> path = interpolate(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0]), 3, generator)
    >>> round(float(path[1].norm()), 4)
    1.5
    """
    moving = generator.continuous.to(a.device)
    t = torch.linspace(0, 1, steps, dtype=a.dtype, device=a.device)[:, None]
    path = (1 - t) * a + t * b
    if generator.prior != "uniform":
        path = _arc(a * moving, b * moving, t)
    return path.where(moving, a.where(t < 0.5, b))


def _arc(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    length = (1 - t) * a.norm() + t * b.norm()
    one, two = torch.nn.functional.normalize(a, dim=0), torch.nn.functional.normalize(b, dim=0)
    angle = torch.arccos((one @ two).clamp(-1, 1))
    if min(a.norm(), b.norm()) == 0 or angle.sin().abs() < 1e-6:  # no one way round
        return (1 - t) * a + t * b
    return length * (((1 - t) * angle).sin() * one + (t * angle).sin() * two) / angle.sin()


def directions(codes: Tensor, labels: Tensor) -> Tensor:
    """The mean of ``codes`` (n, latent_dim) of label 1 minus that of label 0, ``(latent_dim,)``.

    Examples
    --------
    >>> codes, labels = torch.tensor([[0.0, 1.0], [2.0, 1.0], [4.0, 2.0]]), torch.tensor([0, 0, 1])
    >>> directions(codes, labels)
    tensor([3., 1.])
    """
    return codes[labels == 1].mean(0) - codes[labels == 0].mean(0)
