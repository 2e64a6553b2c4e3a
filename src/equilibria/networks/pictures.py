"""What the networks of pictures share: rows as planes and back, conditions, initial weights.

A picture is a flattened row of height · width · colours values, the colours of a pixel side by
side; torch's convolutions take planes ``(n, colours, height, width)``. The networks take and give
rows, so that games and estimators need not know what is a picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from equilibria.check import choice, optional, whole
from equilibria.networks.mlp import PRECISIONS, leaky_relu, products
from equilibria.networks.normalisation import BatchNorm, normaliser
from equilibria.random import Stream

__all__ = ["PictureCritic", "PictureGenerator", "halvings", "joined", "to_planes", "to_rows"]

Deviation = Callable[[nn.Module], float]
"""A layer → the standard deviation of its initial weights."""


def halvings(height: int, width: int) -> int:
    """How often both sides can be halved, the shorter one staying at 3 or more.

    >>> [halvings(side, side) for side in (7, 8, 28, 32, 64)]
    [0, 1, 2, 3, 4]
    """
    count = 0
    while height % 2 == 0 and width % 2 == 0 and min(height, width) >= 6:
        height, width, count = height // 2, width // 2, count + 1
    return count


def to_planes(rows: Tensor, shape: Sequence[int], pictures: int = 1) -> Tensor:
    """Rows ``(n, pictures · h · w · c)`` as planes ``(n, pictures · c, h, w)``.

    >>> to_planes(torch.arange(12.0)[None], (2, 2, 3))[0, 0]  # red
    tensor([[0., 3.],
            [6., 9.]])
    """
    height, width, colours = (*shape, 1)[:3]
    planes = rows.reshape(len(rows), pictures, height, width, colours).permute(0, 1, 4, 2, 3)
    return planes.reshape(len(rows), pictures * colours, height, width)


def to_rows(planes: Tensor) -> Tensor:
    """Planes ``(n, c, h, w)`` of one picture as rows ``(n, h · w · c)``."""
    return planes.permute(0, 2, 3, 1).flatten(1)


class PictureNetwork(nn.Module):
    """A network that takes or gives rows of pictures; base of the generators and critics."""

    def __init__(
        self,
        shape: Sequence[int],
        channels: int,
        condition: int,
        planes: int,
        packing: int,
        normalisation: str | None,
        precision: str,
    ):
        super().__init__()
        levels = halvings(shape[0], shape[1]) if len(shape) in (2, 3) else 0
        if not levels:
            raise ValueError(
                f"shape={tuple(shape)!r}: expected (height, width) or (height, width, 3), "
                "both even and at least 6"
            )
        self.shape = tuple(int(side) for side in shape)
        self.colours = (*self.shape, 1)[2]
        self.base = (self.shape[0] >> levels, self.shape[1] >> levels)
        self.widths = [whole(1)("channels", channels) * min(2**i, 8) for i in range(levels)]
        self.columns, self.planes, self.packing = condition, planes, packing
        self.normalisation = optional(choice("batch"))("normalisation", normalisation)
        self.precision = choice(*PRECISIONS)("precision", precision)

    def given(self, condition: Tensor | None, like: Tensor) -> tuple[Tensor, Tensor]:
        """A condition's pictures ``(n, packing · planes · c, h, w)`` and its plain numbers.

        The numbers are ``(n, packing · columns)``; each condition of a pack has its pictures first.
        """
        pixels = self.planes * math.prod(self.shape)
        width = pixels + self.columns
        found = like.new_zeros(len(like), 0) if condition is None else condition.flatten(1)
        if found.shape[1] != self.packing * width:
            raise ValueError(
                f"condition has {found.shape[1]} columns, this network takes {self.packing * width}"
            )
        parts = found.to(next(self.parameters()).dtype).reshape(len(found), self.packing, width)
        pictures, numbers = parts.split([pixels, self.columns], 2)
        return to_planes(pictures, self.shape, self.packing * self.planes), numbers.flatten(1)

    def widen(self, inputs: int, units: int, normalised: bool = True) -> None:
        """Make the dense layer, of ``units`` or none; its rectifier is the caller's."""
        self.hidden = None
        if whole()("hidden", units):
            self.hidden = nn.utils.skip_init(nn.Linear, inputs, units, dtype=torch.float32)
            name = self.normalisation if normalised else None
            self.hidden_norm = normaliser(name, units, maps=False)

    @torch.no_grad()
    def initialise(self, stream: Stream, deviation: Deviation) -> None:
        """Draw the weights of every layer from N(0, ``deviation(layer)``²); biases are 0.

        The gains of batch norm are drawn from N(1, 0.02²), as in Radford, Metz & Chintala (2016).
        """
        for name, part in self.named_modules():
            weight, bias = getattr(part, "weight", None), getattr(part, "bias", None)
            if weight is not None:
                noise = stream.child(name).normal(tuple(weight.shape))
                normed = isinstance(part, BatchNorm)
                weight.copy_(noise.mul_(0.02).add_(1.0) if normed else noise.mul_(deviation(part)))
                if bias is not None:
                    bias.zero_()


class PictureCritic(PictureNetwork):
    """A critic of pictures: maps, perhaps a dense layer that sees all of the last ones, logits.

    Without the dense layer a logit is a sum over what the last maps see: of 28 pixels, which halve
    to 7, each sees 10. A stroke can be judged so, a digit not.

    Parameters
    ----------
    shape : (int, int) or (int, int, 3)
        Of a picture; even sides of at least 6.
    channels : int
        Of the finest feature maps; twice as many after each halving, at most eight times.
    condition, planes : int
        Plain numbers in the condition, and pictures before them: more channels of the picture.
    outputs : int
        Logits of a row: 1, or one for each class.
    packing : int
        Pictures that it sees side by side, each with its condition.
    hidden : int, optional
        Units of the dense layer, 0 for none; by default, as in 0.1.0, 256 without batch norm where
        the last maps have a side above 4, else none.
    normalisation : {"batch", None}
        Behind the dense layer, and where the kind of network says. A critic with batch norm judges
        a batch rather than a row.
    precision : {"float32", "bfloat16"}
        Type of the convolutions; rows in and logits out keep their own.
    """

    # build(input channels, settings of the kind) makes the layers and gives the size of the last
    # maps and the deviation of initial weights; maps(planes) runs them.
    build: Callable[..., tuple[int, Deviation]]
    maps: Callable[[Tensor], Tensor]

    def __init__(
        self,
        shape: Sequence[int],
        channels: int = 64,
        *,
        condition: int = 0,
        planes: int = 0,
        outputs: int = 1,
        packing: int = 1,
        hidden: int | None = None,
        normalisation: str | None = "batch",
        precision: str = "float32",
        stream: Stream,
        **kind: Any,
    ):
        super().__init__(shape, channels, condition, planes, packing, normalisation, precision)
        inputs = packing * ((1 + planes) * self.colours + condition)
        width, deviation = self.build(inputs, **kind)
        former = 256 if max(self.base) > 4 else 0
        self.widen(width, former if hidden is None else hidden, normalised=hidden is not None)
        width = width if self.hidden is None else self.hidden.out_features
        self.top = nn.utils.skip_init(nn.Linear, width, outputs, dtype=torch.float32)
        self.initialise(stream, deviation)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Logits ``(n, outputs)`` of rows ``(n, packing · h · w · c)``."""
        return self.top(self.features(x, condition))

    def features(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """What the last layer sees, ``(n, width)``, in the type of ``x``."""
        pictures, numbers = self.given(condition, x)
        planes = to_planes(x.flatten(1), self.shape, self.packing)
        if self.columns or self.planes:  # each number is a constant channel
            flat = numbers[..., None, None].expand(-1, -1, *planes.shape[2:])
            planes = torch.cat([part.to(planes.dtype) for part in (planes, pictures, flat)], 1)
        planes = planes.contiguous(memory_format=torch.channels_last)  # half the time
        with products(self.precision, x.device):
            features = self.maps(planes)
            if self.hidden is not None:
                features = leaky_relu(self.hidden_norm(self.hidden(features)))
        return features.to(x.dtype)


class PictureGenerator(PictureNetwork):
    """A generator of pictures from noise.

    Parameters
    ----------
    shape, channels, normalisation, precision
        As in :class:`PictureCritic`.
    latent_dim : int
        Columns of the noise.
    hidden : int
        Units of the dense layer between the noise and the first maps, 0 for none.
    condition, planes : int
        Plain numbers in the condition, which stand beside the noise, and pictures, which stand
        before them; each convolution sees these, shrunk, beside its maps.
    output : {"tanh", None, "sigmoid"}
        After the last convolution; values are in [−1, 1] by the first.
    """

    # build(input columns, channels beside each map, stream, settings of the kind) makes the layers
    # and gives the deviation of initial weights; draw(z, the condition's pictures) gives planes.
    build: Callable[..., Deviation]
    draw: Callable[[Tensor, Tensor | None], Tensor]

    def __init__(
        self,
        shape: Sequence[int],
        latent_dim: int,
        channels: int = 64,
        *,
        condition: int = 0,
        planes: int = 0,
        hidden: int = 0,
        output: str | None = "tanh",
        normalisation: str | None = "batch",
        precision: str = "float32",
        stream: Stream,
        **kind: Any,
    ):
        super().__init__(shape, channels, condition, planes, 1, normalisation, precision)
        self.output = optional(choice("tanh", "sigmoid"))("output", output)
        self.widen(latent_dim + condition, hidden)
        inputs = latent_dim + condition if self.hidden is None else self.hidden.out_features
        deviation = self.build(inputs, planes * self.colours, stream, **kind)
        self.initialise(stream, deviation)

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Rows ``(n, h · w · c)`` for noise ``(n, latent_dim)``, in its type."""
        pictures, numbers = self.given(condition, z)
        heard = torch.cat([z, numbers], 1) if self.columns else z
        with products(self.precision, z.device):
            if self.hidden is not None:
                heard = functional.relu(self.hidden_norm(self.hidden(heard)))
            planes = self.draw(heard, pictures if self.planes else None)
        return to_rows(planes).to(z.dtype)


def joined(h: Tensor, beside: Tensor | None) -> Tensor:
    """Maps with a condition's pictures beside them, shrunk to their size by means over blocks."""
    if beside is None:
        return h
    factor = beside.shape[2] // h.shape[2]
    shrunk = beside if factor == 1 else functional.avg_pool2d(beside, factor)
    return torch.cat([h, shrunk.to(h.dtype)], 1)
