"""Normalising flows of real columns, and the dequantisation by which they model pictures.

The splines and masked networks are those of zuko, the extra ``[flows]``, which is imported when a
flow is built.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from equilibria.errors import ExtraError
from equilibria.models.model import Model
from equilibria.random import Stream

__all__ = ["Dequantised", "Flow", "zuko_flows"]

SLOPE = 1e-3
"""The ratio of a spline's narrowest bin, and of its least slope, to the others'."""
SPREAD = math.sqrt(3)
"""What pixels in [−1, 1] are multiplied by: evenly spread ones have then unit variance."""

DRAWS = 1 << 16
"""Of the noise of pictures, at a time."""


def zuko_flows() -> tuple[Any, Any]:
    """zuko's autoregressive transform and its spline; a sentence where it is not installed."""
    try:
        from zuko.flows.autoregressive import MaskedAutoregressiveTransform
        from zuko.transforms import MonotonicRQSTransform
    except ImportError as error:
        what = "is not installed, and flows are made of its splines"
        raise ExtraError(f'zuko {what}: pip install "equilibria[flows]"') from error
    return MaskedAutoregressiveTransform, MonotonicRQSTransform


class Flow(Model):
    r"""Normalising flow of rational-quadratic splines: an invertible map to normal coordinates.

    .. math:: \log p(x) = \log N(f(x); 0, I) + \log \lvert \det \partial f / \partial x \rvert

    f is a chain of transforms. Each maps every column by a monotonic spline in the box [−5, 5],
    outside of which it is the identity; the splines' knots are a masked network's answer to the
    columns before, in an order that is drawn for every other transform and reversed in those
    between. A new flow is the identity.

    Parameters
    ----------
    columns : int
        Of an encoded row; standardised ones lie well within the box.
    stream : Stream
        Of the orders and the initial weights.
    transforms : int
        Length of the chain.
    hidden : sequence of int
        Widths of each transform's network. Where one is less than the columns, only so many of the
        first columns in the order are heard.
    bins : int
        Pieces of each spline.
    coupling : bool
        Whether half of the columns are mapped given the other half, so that drawing takes two
        passes of each network in place of one for each column.

    References
    ----------
    Durkan, Bekasov, Murray & Papamakarios 2019, "Neural spline flows"; Papamakarios, Pavlakou &
    Murray 2017, "Masked autoregressive flow for density estimation".

    Examples
    --------
    >>> model = Flow(2, Stream(0), hidden=(16,))
    >>> density = model.log_prob(torch.zeros(1, 2)).exp()  # N(0; 0, I), until it is trained
    >>> (2 * math.pi * density).round(decimals=4)
    tensor([1.], grad_fn=<RoundBackward1>)
    >>> model.sample(3, Stream(1)).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        columns: int,
        stream: Stream,
        *,
        transforms: int = 5,
        hidden: Sequence[int] = (128, 128),
        bins: int = 8,
        coupling: bool = False,
    ):
        super().__init__()
        transform, spline = zuko_flows()
        self.columns, self.bins, self.coupling = columns, bins, coupling
        self.hidden = tuple(hidden)
        how = {"univariate": functools.partial(spline, slope=SLOPE), "hidden_features": self.hidden}
        how |= {"shapes": [(bins,), (bins,), (bins - 1,)], "passes": 2 if coupling else columns}
        orders = [stream.child("order", i // 2).permutation(columns) for i in range(transforms)]
        orders[1::2] = [columns - 1 - order for order in orders[1::2]]
        # a single column has no network, and zuko no use for its widths and passes
        single = {key: how[key] for key in ("univariate", "shapes")}
        with torch.random.fork_rng(devices=[]):  # zuko draws what is drawn anew below
            chain = [
                transform(columns, order=order, **how) if columns > 1 else transform(1, **single)
                for order in orders
            ]
        self.transforms: Any = nn.ModuleList(chain).to(torch.float32)
        for i, one in enumerate(self.transforms):
            _begin(one, stream.child("transform", i))

    def to_base(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """u = f(x), (n, columns), and log |det ∂f/∂x|, (n,)."""
        total = x.new_zeros(len(x))
        for one in self.transforms:
            x, slope = one().call_and_ladj(x)
            total = total + slope
        return x, total

    def from_base(self, u: Tensor) -> Tensor:
        """The row x with f(x) = u, (n, columns)."""
        for one in reversed(self.transforms):
            u = one().inv(u)
        return u

    def log_prob(self, x: Tensor, given: Tensor | None = None) -> Tensor:
        """log p(x) of complete rows, (n,)."""
        u, slope = self.to_base(x)
        return slope - 0.5 * (u.square() + math.log(2 * math.pi)).sum(1)

    @torch.no_grad()
    def sample(self, n: int, stream: Stream, given: Tensor | None = None) -> Tensor:
        """Independent draws, (n, columns): normal noise through the inverse."""
        like = next(self.parameters())
        return self.from_base(stream.normal((n, self.columns), like.dtype, like.device))

    def features(self, x: Tensor) -> Tensor:
        """The row's normal coordinates f(x), (n, columns)."""
        return self.to_base(x)[0]

    def describe(self) -> str:
        kind = "coupling" if self.coupling else "autoregressive"
        widths = "-".join(map(str, self.hidden))
        return (
            f"Normalising flow of {self.columns} columns: {len(self.transforms)} {kind} transforms "
            f"by splines of {self.bins} bins and networks of {widths} hidden units."
        )


class Dequantised(Model):
    r"""A density of real rows as a model of pictures: uniform noise fills the cell of each value.

    .. math:: \log P(x) \ge \mathrm{E}_{u \sim U[-½, ½)^d} \log p(x + w u) + d \log w

    by Jensen's inequality, where w is the distance of two values of a pixel and P(x) the density's
    mass in the cell around x.

    Parameters
    ----------
    inner : Model
        A density of rows of pixels, which it is given multiplied by √3.
    levels : int
        Values of a pixel, at equal distances from −1 to 1.

    References
    ----------
    Theis, van den Oord & Bethge 2016, "A note on the evaluation of generative models", section 3.1.

    Examples
    --------
    >>> model = Dequantised(Flow(2, Stream(0), hidden=(16,)), levels=4)
    >>> pixels = model.sample(5, Stream(1))
    >>> bool(torch.isin((3 * pixels).round(), torch.tensor([-3.0, -1.0, 1.0, 3.0])).all())
    True
    >>> model.log_prob_bound(pixels, Stream(2)).shape
    torch.Size([5])
    """

    def __init__(self, inner: Model, levels: int):
        super().__init__()
        self.inner: Any = inner
        self.levels, self.cell = levels, 2 / (levels - 1)

    def objective(self, batch: Any, stream: Stream) -> Tensor:
        """Minus the bound by one draw of the noise, (n,)."""
        x = batch if isinstance(batch, Tensor) else batch.values
        return -self._filled(x, stream.centred(tuple(x.shape), x.dtype, x.device))

    def log_prob_bound(self, x: Tensor, stream: Stream, samples: int = 1) -> Tensor:
        """The mean over draws of the noise, (n,), in nats.

        The noise is keyed by the row's content: a row has the same bound in any company.
        """
        contents = (row.numpy().tobytes() for row in x.double().cpu())
        keys = [hashlib.blake2b(content, digest_size=8).hexdigest() for content in contents]
        shape, parts, size = (samples, x.shape[1]), list[Tensor](), max(1, DRAWS // samples)
        for first in range(0, len(x), size):
            rows, own = x[first : first + size], keys[first : first + size]
            draws = [stream.child(key).centred(shape, x.dtype, x.device) for key in own]
            noise = torch.stack(draws).unbind(1)
            parts.append(torch.stack([self._filled(rows, draw) for draw in noise]).mean(0))
        return torch.cat(parts)

    def _filled(self, x: Tensor, noise: Tensor) -> Tensor:
        volume = x.shape[1] * math.log(self.cell * SPREAD)
        return self.inner.log_prob(SPREAD * (x + self.cell * noise)) + volume

    @torch.no_grad()
    def sample(self, n: int, stream: Stream, given: Tensor | None = None) -> Tensor:
        """Independent draws, (n, d), each pixel at the nearest of its values."""
        pixels = (self.inner.sample(n, stream) / SPREAD).clamp(-1, 1)
        return ((pixels + 1) / self.cell).round() * self.cell - 1

    def features(self, x: Tensor) -> Tensor:
        """The inner model's representation, at the middle of each cell."""
        return self.inner.features(SPREAD * x)

    def describe(self) -> str:
        return f"{self.inner.describe()[:-1]}, of pixels of {self.levels} values with noise added."


@torch.no_grad()
def _begin(transform: nn.Module, stream: Stream) -> None:
    """Weights of a transform that is the identity: He's by what a unit hears, zero at the end."""
    for parameter in transform.parameters():
        parameter.zero_()
    layers = [layer for layer in transform.modules() if hasattr(layer, "mask")]
    for i, layer in enumerate(layers[:-1]):
        mask, weight = (getattr(layer, name) for name in ("mask", "weight"))
        heard = mask.sum(1, keepdim=True).clamp(min=1)
        weight.copy_(stream.child(i).normal(tuple(weight.shape)) * (2 / heard).sqrt() * mask)
