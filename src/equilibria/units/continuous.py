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
"""The part of a learned variance that is not learned: .1 standard deviations of standardised
data."""

_TAIL = 8.0  # standard deviations below zero where the mean's continued fraction takes over
_TERMS = 16
_NEWTON = 4


class Quadratic(Units):
    """Units with the base energy x²/2σ² and the signal x/σ²."""

    bounded = False
    variance: Tensor | Any

    @property
    def field_unit(self) -> Tensor:
        unit: Tensor = self.variance.detach()
        return unit

    def base_energy(self, x: Tensor) -> Tensor:
        return 0.5 * x.square() / self.variance

    def signal(self, x: Tensor) -> Tensor:
        return x / self.variance

    def config(self) -> dict[str, Any]:
        variance = self.variance.tolist()
        return {"units": type(self).__name__, "size": self.size, "variance": variance}


class Gaussian(Quadratic):
    r"""Real-valued units: x | f ~ N(f, σ²), with base energy x²/2σ² and signal x/σ².

    The field is in the units of x: a bias is the mean that the layer has on its own. This is the
    form of Cho, Ilin and Raiko (2011), equation 20.42 of *Deep Learning* with precision 1/σ².

    With ``learned`` the machine's player also owns ``log_variance`` θ, one number a column, and

    .. math:: \sigma^2 = 0.01 + e^{\theta}, \qquad
              \frac{\partial E}{\partial\theta}
              = -\frac{e^\theta}{\sigma^4}\left(\frac{x^2}{2} - x f\right).

    The 0.01 (:data:`FLOOR`) is a floor for data that were standardised. The likelihood of a
    real-valued machine has no maximum without one: a column that is constant, or a function of the
    others, would send its variance to zero and every other gradient, all of which are divided by
    it, to infinity.

    Parameters
    ----------
    size : int
        Number of columns.
    variance : float or sequence of float
        σ², for all columns or for each; where it is learned, where it starts. As an attribute σ² as
        it is now, (size,).
    learned : bool
        Whether σ² is trained.

    Examples
    --------
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
        value = _variances(variance, size)
        self.learned = bool(learned)
        if self.learned:
            self.log_variance = nn.Parameter(_above_floor(value).log())
        else:  # by hand: the class has a property of this name, and older runs keep it as a buffer
            self._buffers["variance"] = value

    @property
    def variance(self) -> Tensor:
        if self.learned:
            return FLOOR + torch.exp(self.log_variance)
        value = self._buffers["variance"]
        assert value is not None
        return value

    @variance.setter
    def variance(self, value: Tensor) -> None:  # torch's own __setattr__ sets a plain buffer
        with torch.no_grad():
            self.log_variance.copy_(_above_floor(_variances(value, self.size)).log())

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

    def config(self) -> dict[str, Any]:
        return {**super().config(), **({"learned": True} if self.learned else {})}


class Rectified(Quadratic):
    r"""Non-negative units, a Gaussian cut off at zero: x ≥ 0, base energy x²/2σ², signal x/σ².

    Under a field f, x is N(f, σ²) given that x ≥ 0. With z = f/σ, φ and Φ the normal density and
    distribution function,

    .. math:: E[x] = \sigma \left( z + \frac{\varphi(z)}{\Phi(z)} \right), \qquad
              \log\int_0^\infty e^{f x / \sigma^2 - x^2 / 2\sigma^2} dx
              = \frac{z^2}{2} + \log\Phi(z) + \frac{1}{2}\log 2\pi\sigma^2.

    The mean is a smooth rectifier: near f for a large field, near −σ²/f for a very negative one,
    where the law is all but exponential. This is the version that has an energy (Socci, Lee & Seung
    1998, "The rectified Gaussian distribution"; Su et al. 2017, "Unsupervised learning with
    truncated Gaussian graphical models"), so a likelihood, a bound and annealing; the noisy
    rectifier max(0, N(f, σ(f))) of Nair & Hinton (2010) has none.

    Parameters
    ----------
    size : int
        Number of columns.
    variance : float or sequence of float
        σ² of the Gaussian before it is cut, for all columns or for each; it is not trained.

    Examples
    --------
    >>> Rectified(3).mean(torch.tensor([[-1000.0, 0.0, 1000.0]]))
    tensor([[1.0000e-03, 7.9788e-01, 1.0000e+03]])
    """

    def __init__(self, size: int, variance: float | Sequence[float] | Tensor = 1.0):
        super().__init__(size)
        self.register_buffer("variance", _variances(variance, size))

    def sample(self, field: Tensor, stream: Stream) -> Tensor:
        """By the inverse of the distribution function, one cell of the stream a number.

        The tails end as :meth:`Stream.normal`'s do.
        """
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
        # Where z is negative Φ is tiny and z²/2 large; their sum is the logarithm of erfcx.
        below = torch.log(0.5 * torch.special.erfcx(z.clamp(max=0.0) * -math.sqrt(0.5)))
        above = 0.5 * z.square() + torch.special.log_ndtr(z.clamp(min=0.0))
        return torch.where(z < 0, below, above) + 0.5 * torch.log(2 * math.pi * self.variance)

    def field_of(self, mean: Tensor) -> Tensor:
        """The inverse of the mean; minus infinity for a mean of zero, NaN below it."""
        scale = self.variance.sqrt().double()
        target = mean.double() / scale
        target = torch.where(target >= 0, target, torch.full_like(target, math.nan))
        # m − 1/m has slopes of 0.92 … 1.11 in z: Newton's step with a slope of 1 gains a digit each
        goal = target - 1 / target
        z = goal.clone()
        for _ in range(20):
            reached = _mean(z)
            z = z + goal - (reached - 1 / reached)
        return (torch.where(target > 0, z, goal) * scale).to(mean.dtype)

    def check(self, x: Tensor, name: str) -> None:
        super().check(x, name)
        if float(x.min()) < 0:
            raise ValueError(
                f"{name}: rectified units take no values below 0, found {float(x.min()):g}; "
                "shift them or use Gaussian units"
            )


def _variances(variance: float | Sequence[float] | Tensor, size: int) -> Tensor:
    """One variance for each column, checked."""
    value = torch.as_tensor(variance, dtype=torch.float32).detach()
    good = bool((torch.isfinite(value) & (value > 0)).all())
    if value.ndim > 1 or value.numel() not in (1, size) or not good:
        raise ValueError(f"variance={variance!r}: expected one positive number or {size} of them")
    return value.expand(size).clone()


def _above_floor(variance: Tensor) -> Tensor:
    if not bool((variance > FLOOR).all()):
        raise ValueError(
            f"variance={variance.tolist()}: a learned variance is above {FLOOR}, its floor; "
            "standardise the data or set learned=False"
        )
    return variance - FLOOR


def _mean(z: Tensor) -> Tensor:
    """m(z) = z + φ(z)/Φ(z), the mean of N(z, 1) given that it is not negative.

    The sum cancels for a very negative z; there it is Laplace's continued fraction with t = −z,
    1/(t + 2/(t + 3/(t + …))).
    """
    near = z.clamp(min=-_TAIL)
    direct = near + math.sqrt(2 / math.pi) / torch.special.erfcx(near * -math.sqrt(0.5))
    t = (-z).clamp(min=_TAIL)
    rest = torch.zeros_like(t)
    for k in range(_TERMS, 1, -1):
        rest = k / (t + rest)
    return torch.where(z < -_TAIL, 1 / (t + rest), direct)


def _truncated_normal(z: Tensor, draw: Tensor) -> Tensor:
    """N(z, 1) given that it is not negative, as a rising function of uniform numbers in (−½, ½).

    Above z = −1 it is the normal quantile of the share of the upper tail. Below, that tail is too
    thin for the difference of two normal quantiles, and the excess y over zero is found from its
    own equation.
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

    Newton's method from the solution for the density u·exp(−u²/2), which is right to a factor 1 +
    O(t⁻²); with Q(u) = ½ exp(−u²/2) erfcx(u/√2) nothing cancels. The function is convex in y, so
    that the steps, after the first, come down from above.
    """
    root = math.sqrt(0.5)
    scaled = torch.special.erfcx(t * root)
    y = 2 * depth / (t + torch.hypot(t, torch.sqrt(2 * depth)))
    for _ in range(_NEWTON):
        here = torch.special.erfcx((t + y) * root)
        hazard = math.sqrt(2 / math.pi) / here
        y = (y - (y * (t + 0.5 * y) + torch.log(scaled / here) - depth) / hazard).clamp_(min=0.0)
    return y
