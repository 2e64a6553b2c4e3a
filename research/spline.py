r"""Monotone rational-quadratic splines: rising curves known both ways, with their slopes.

Between knots (z_k, x_k) with slopes d_k, with s the mean slope of the piece, h its height and θ the
place in it,

.. math:: x = x_k + h \frac{s θ^2 + d_k θ(1-θ)}{s + (d_{k+1} + d_k - 2s) θ(1-θ)}

rises everywhere, and its inverse is the root of a quadratic (Gregory & Delbourgo 1982; Durkan,
Bekasov, Murray & Papamakarios 2019, "Neural spline flows"). Outside [−bound, bound] the curve is
the identity.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["spline"]

_LEAST = 1e-3  # of a piece's share of the width and of the height, and of a slope


class Piece(NamedTuple):
    """The piece that each number is in: its left knot, size and the slopes at its ends."""

    left: Tensor
    bottom: Tensor
    width: Tensor
    height: Tensor
    slope: Tensor
    next_slope: Tensor


def spline(
    x: Tensor, parameters: Tensor, bound: float, inverse: bool = False
) -> tuple[Tensor, Tensor]:
    """The curve at ``x`` and the logarithm of its slope, or the same of the inverse curve.

    Parameters
    ----------
    x : Tensor
    parameters : Tensor, shape (\\*x.shape, 3 · bins − 1)
        Logits of the pieces' widths and heights, and what gives the inner knots' slopes: at 0 the
        curve is the identity.
    bound : float
        Half the side of the square that the knots span.
    inverse : bool

    Examples
    --------
    >>> x = torch.tensor([-1.0, 0.5, 7.0])
    >>> y, slope = spline(x, torch.ones(3, 11), bound=3.0)
    >>> back, _ = spline(y, torch.ones(3, 11), bound=3.0, inverse=True)
    >>> bool(torch.allclose(back, x, atol=1e-5)), y[2].item()
    (True, 7.0)
    """
    inside = x.abs() < bound
    piece = _piece(x.clamp(-bound, bound), parameters, bound, inverse)
    y, log_slope = (_backward if inverse else _forward)(x.clamp(-bound, bound), piece)
    return y.where(inside, x), log_slope.where(inside, torch.zeros_like(x))


def _piece(x: Tensor, parameters: Tensor, bound: float, inverse: bool) -> Piece:
    bins = (parameters.shape[-1] + 1) // 3
    widths, heights = (
        _shares(part) * 2 * bound
        for part in (parameters[..., :bins], parameters[..., bins : 2 * bins])
    )
    # softplus(0 + log(e^(1 − least) − 1)) + least = 1: the identity's slope
    slopes = (
        functional.softplus(parameters[..., 2 * bins :] + math.log(math.expm1(1 - _LEAST))) + _LEAST
    )
    slopes = functional.pad(slopes, (1, 1), value=1.0)
    lefts, bottoms = (
        functional.pad(part.cumsum(-1)[..., :-1], (1, 0)) - bound for part in (widths, heights)
    )
    knots = bottoms if inverse else lefts
    index = (knots[..., 1:] <= x[..., None]).sum(-1, keepdim=True)
    left, bottom, width, height, slope = (
        part.gather(-1, index)[..., 0] for part in (lefts, bottoms, widths, heights, slopes)
    )
    return Piece(left, bottom, width, height, slope, slopes.gather(-1, index + 1)[..., 0])


def _shares(logits: Tensor) -> Tensor:
    return _LEAST + (1 - _LEAST * logits.shape[-1]) * logits.softmax(-1)


def _forward(x: Tensor, p: Piece) -> tuple[Tensor, Tensor]:
    theta = (x - p.left) / p.width
    mean, between = p.height / p.width, theta * (1 - theta)
    below = mean + (p.slope + p.next_slope - 2 * mean) * between
    return p.bottom + p.height * (mean * theta.square() + p.slope * between) / below, _log_slope(
        theta, p
    )


def _backward(y: Tensor, p: Piece) -> tuple[Tensor, Tensor]:
    mean, up = p.height / p.width, y - p.bottom
    bend = p.slope + p.next_slope - 2 * mean
    a, b, c = p.height * (mean - p.slope) + up * bend, p.height * p.slope - up * bend, -mean * up
    theta = 2 * c / (-b - (b.square() - 4 * a * c).clamp(min=0).sqrt())
    return p.left + theta * p.width, -_log_slope(theta, p)


def _log_slope(theta: Tensor, p: Piece) -> Tensor:
    mean, between = p.height / p.width, theta * (1 - theta)
    above = mean.square() * (
        p.next_slope * theta.square() + 2 * mean * between + p.slope * (1 - theta).square()
    )
    return above.log() - 2 * (mean + (p.slope + p.next_slope - 2 * mean) * between).log()
