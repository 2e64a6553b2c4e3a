"""Layers with a continuum of states: Gaussian units, and Gaussian units cut off at zero."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from equilibria.random import Stream
from equilibria.units.base import Units

__all__ = ["FLOOR", "Gaussian", "Rectified"]

FLOOR = 0.01
"""The part of a learned variance that is not learned."""

_TAIL = 8.0  # standard deviations below zero where the mean's continued fraction takes over


class Quadratic(Units):
    """Units with the base energy x²/2σ² and the signal x/σ²."""

    bounded = False
    variance: Tensor | Any

    @property
    def field_unit(self) -> Tensor:
        return self.variance.detach()

    def base_energy(self, x: Tensor) -> Tensor:
        return 0.5 * x.square() / self.variance

    def signal(self, x: Tensor) -> Tensor:
        return x / self.variance


class Gaussian(Quadratic):
    """Real-valued units: x | f ~ N(f, σ²), with base energy x²/2σ² and signal x/σ².

    The field is in the units of x: a bias is the mean that the layer has on its own. This is the
    form of Cho, Ilin and Raiko (2011), equation 20.42 of *Deep Learning* with precision 1/σ².

    With ``learned`` the machine's player also owns ``log_variance`` θ, one number a column:
    σ² = 0.01 + e^θ and ∂E/∂θ = −(e^θ/σ⁴)(x²/2 − x f). The floor of 0.01 is for standardised data.
    The likelihood has no maximum without one: a column that is constant, or a function of the
    others, would send its variance to zero and every gradient to infinity.

    ``variance`` is σ², for all columns or for each; where it starts, where it is learned.

    >>> Gaussian(1, variance=4.0).mean(torch.tensor([[3.0]]))
    tensor([[3.]])
    >>> layer = Gaussian(2, variance=0.5, learned=True)
    >>> [name for name, _ in layer.named_parameters()], layer.variance.detach()
    (['log_variance'], tensor([0.5000, 0.5000]))
    """

    def __init__(
        self, size: int, variance: float | Sequence[float] | Tensor = 1.0, learned: bool = False
    ):
        super().__init__(size)
        self.learned = bool(learned)
        if self.learned:
            self.log_variance = nn.Parameter(torch.zeros(size))
            self.variance = variance
        else:  # by hand: the class has a property of this name, and older runs keep it as a buffer
            self._buffers["variance"] = _variances(variance, size)

    @property
    def variance(self) -> Tensor:
        """σ² as it is now, (size,)."""
        if self.learned:
            return FLOOR + torch.exp(self.log_variance)
        return self._buffers["variance"]  # type: ignore[return-value]

    @variance.setter
    def variance(self, value: Any) -> None:  # torch's own __setattr__ sets a plain buffer
        above = _variances(value, self.size) - FLOOR
        if not bool((above > 0).all()):
            raise ValueError(
                f"variance={value!r}: a learned variance is above {FLOOR}, its floor; "
                "standardise the data or set learned=False"
            )
        with torch.no_grad():
            self.log_variance.copy_(above.log())

    def sample(self, field: Tensor, stream: Stream) -> Tensor:
        noise = stream.normal(field.shape, field.dtype, field.device)
        return noise.mul_(self.variance.sqrt()).add_(field)

    def mean(self, field: Tensor) -> Tensor:
        return field

    def log_partition(self, field: Tensor) -> Tensor:
        variance = self.variance
        return 0.5 * (field.square() / variance + torch.log(2 * math.pi * variance))

    def field_of(self, mean: Tensor) -> Tensor:
        return mean

    @torch.no_grad()
    def energy_slopes(
        self, x: Tensor, field: Tensor, free: Tensor | bool | None = None
    ) -> dict[str, Tensor]:
        if not self.learned:
            return {}
        variance = self.variance
        slope = (x * (0.5 * x - field)).mean(0)
        if free is not None:  # E[x²] is the mean's square and the variance
            means = torch.as_tensor(free, dtype=x.dtype, device=x.device).expand_as(x)
            slope += 0.5 * variance * means.mean(0)
        return {"log_variance": -slope * (variance - FLOOR) / variance.square()}


class Rectified(Quadratic):
    """Non-negative units, a Gaussian cut off at zero: x ≥ 0, base energy x²/2σ², signal x/σ².

    Under a field f, x is N(f, σ²) given that x ≥ 0. With z = f/σ, φ and Φ the normal density and
    distribution function, E[x] = σ(z + φ(z)/Φ(z)), and the log partition is
    z²/2 + log Φ(z) + ½ log 2πσ².

    The mean is a smooth rectifier: near f for a large field, near −σ²/f for a very negative one.
    This is the version that has an energy (Socci, Lee & Seung 1998, "The rectified Gaussian
    distribution"; Su et al. 2017, "Unsupervised learning with truncated Gaussian graphical
    models"); the noisy rectifier max(0, N(f, σ(f))) of Nair & Hinton (2010) has none.

    ``variance`` is σ² of the Gaussian before it is cut, for all columns or for each.

    >>> Rectified(3).mean(torch.tensor([[-1000.0, 0.0, 1000.0]]))
    tensor([[1.0000e-03, 7.9788e-01, 1.0000e+03]])
    """

    def __init__(self, size: int, variance: float | Sequence[float] | Tensor = 1.0):
        super().__init__(size)
        self.register_buffer("variance", _variances(variance, size))

    def sample(self, field: Tensor, stream: Stream) -> Tensor:
        """By the inverse of the distribution function, one cell of the stream a number."""
        scale = self.variance.sqrt()
        draw = stream.centred(field.shape, field.dtype, field.device)
        # in the middle of its cell: neither end is ever drawn
        draw.add_(2.0**-25 if draw.dtype != torch.float64 else 2.0**-54)
        return _truncated_normal(field / scale, draw).mul_(scale)

    def mean(self, field: Tensor) -> Tensor:
        scale = self.variance.sqrt()
        return _mean(field / scale) * scale

    def log_partition(self, field: Tensor) -> Tensor:
        z = field / self.variance.sqrt()
        # where z is negative Φ is tiny and z²/2 large; their sum is the logarithm of erfcx
        below = torch.log(0.5 * torch.special.erfcx(z.clamp(max=0.0) * -math.sqrt(0.5)))
        above = 0.5 * z.square() + torch.special.log_ndtr(z.clamp(min=0.0))
        return torch.where(z < 0, below, above) + 0.5 * torch.log(2 * math.pi * self.variance)

    def field_of(self, mean: Tensor) -> Tensor:
        """The inverse of the mean; minus infinity for a mean of zero, NaN below it."""
        scale = self.variance.sqrt().double()
        target = mean.double() / scale
        target = target.where(target >= 0, math.nan)
        # m − 1/m has slopes of 0.92 … 1.11 in z: Newton's step with a slope of 1 gains a digit each
        z = goal = target - 1 / target
        for _ in range(20):
            reached = _mean(z)
            z = z + goal - (reached - 1 / reached)
        return (torch.where(target > 0, z, goal) * scale).to(mean.dtype)

    def check(self, x: Tensor, name: str) -> None:
        super().check(x, name)
        if float(x.min()) < 0:
            found = f"found {float(x.min()):g}; shift them or use Gaussian units"
            raise ValueError(f"{name}: rectified units take no values below 0, {found}")


def _variances(variance: float | Sequence[float] | Tensor, size: int) -> Tensor:
    """One variance for each column, checked."""
    value = torch.as_tensor(variance, dtype=torch.float32).detach()
    good = bool((torch.isfinite(value) & (value > 0)).all())
    if value.ndim > 1 or value.numel() not in (1, size) or not good:
        raise ValueError(f"variance={variance!r}: expected one positive number or {size} of them")
    return value.expand(size).clone()


def _mean(z: Tensor) -> Tensor:
    """m(z) = z + φ(z)/Φ(z), the mean of N(z, 1) given that it is not negative.

    For a very negative z the sum cancels: there it is Laplace's 1/(t + 2/(t + 3/(t + …))), t = −z.
    """
    near = z.clamp(min=-_TAIL)
    direct = near + math.sqrt(2 / math.pi) / torch.special.erfcx(near * -math.sqrt(0.5))
    t = (-z).clamp(min=_TAIL)
    rest = torch.zeros_like(t)
    for k in range(16, 1, -1):
        rest = k / (t + rest)
    return torch.where(z < -_TAIL, 1 / (t + rest), direct)


def _truncated_normal(z: Tensor, draw: Tensor) -> Tensor:
    """N(z, 1) given that it is not negative, as a rising function of uniform numbers in (−½, ½).

    Below z = −1 the upper tail is too thin for the difference of two normal quantiles.
    """
    above = z.clamp(min=-1.0)
    share = 2 * draw * torch.special.ndtr(above) + torch.special.ndtr(-above)
    share.clamp_(max=1 - torch.finfo(share.dtype).eps / 2)
    bulk = above + math.sqrt(2) * torch.erfinv(share)
    # of 1 − u, exact at both of its ends
    depth = -torch.where(draw > 0, torch.log(0.5 - draw), torch.log1p(-(0.5 + draw)))
    return torch.where(z < -1, _excess((-z).clamp(min=1.0), depth), bulk.clamp_(min=0.0))


def _excess(t: Tensor, depth: Tensor) -> Tensor:
    """y ≥ 0 with log Q(t) − log Q(t + y) = depth, Q = 1 − Φ: a normal number's excess over t ≥ 1.

    Newton's method from the solution for the density u·exp(−u²/2); with Q(u) = ½ exp(−u²/2)
    erfcx(u/√2) nothing cancels.
    """
    root = math.sqrt(0.5)
    scaled = torch.special.erfcx(t * root)
    y = 2 * depth / (t + torch.hypot(t, torch.sqrt(2 * depth)))
    for _ in range(4):
        here = torch.special.erfcx((t + y) * root)
        hazard = math.sqrt(2 / math.pi) / here
        y = (y - (y * (t + 0.5 * y) + torch.log(scaled / here) - depth) / hazard).clamp_(min=0.0)
    return y
