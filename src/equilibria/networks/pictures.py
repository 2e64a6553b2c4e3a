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
from equilibria.networks.mlp import leaky_relu
from equilibria.networks.normalisation import BatchNorm
from equilibria.networks.precision import PRECISIONS, products
from equilibria.random import Stream

__all__ = [
    "Condition",
    "PictureCritic",
    "PictureGenerator",
    "halvings",
    "initialise",
    "joined",
    "to_planes",
    "to_rows",
]

Deviation = Callable[[nn.Module], float]
"""A layer → the standard deviation of its initial weights."""

SMALLEST = 3  # the shorter side where halving ends, at the least: below it there is no picture left


def halvings(height: int, width: int) -> int:
    """How often both sides can be halved, the shorter one staying at 3 or more.

    Examples
    --------
    >>> [halvings(side, side) for side in (7, 8, 28, 32, 64)]
    [0, 1, 2, 3, 4]
    """
    count = 0
    while height % 2 == 0 and width % 2 == 0 and min(height, width) // 2 >= SMALLEST:
        height, width, count = height // 2, width // 2, count + 1
    return count


def to_planes(rows: Tensor, shape: Sequence[int], pictures: int = 1) -> Tensor:
    """Rows ``(n, pictures · h · w · c)`` as planes ``(n, pictures · c, h, w)``.

    ``shape`` is (h, w) or (h, w, c).

    Examples
    --------
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


class Condition:
    """How the columns of a condition are read: pictures first, then plain numbers.

    Parameters
    ----------
    shape : (int, int) or (int, int, int)
        Of a picture.
    columns : int
        Numbers beside the pictures: a one-hot label, say.
    planes : int
        Pictures of the network's own shape: the last frames, a coarser version.
    packing : int
        How many conditions stand side by side in a row.
    """

    def __init__(self, shape: Sequence[int], columns: int = 0, planes: int = 0, packing: int = 1):
        self.shape, self.columns, self.planes, self.packing = shape, columns, planes, packing
        self.size = planes * math.prod(shape) + columns
        self.channels = packing * (planes * (*shape, 1)[2] + columns)

    def pictures(self, condition: Tensor) -> Tensor:
        """Its pictures ``(n, packing · planes · c, h, w)``."""
        parts = condition.reshape(len(condition), self.packing, self.size)
        parts = parts[..., : self.size - self.columns]
        return to_planes(parts, self.shape, self.packing * self.planes)

    def numbers(self, condition: Tensor) -> Tensor:
        """Its plain numbers ``(n, packing · columns)``."""
        parts = condition.reshape(len(condition), self.packing, self.size)
        return parts[..., self.size - self.columns :].flatten(1)

    def beside(self, planes: Tensor, condition: Tensor) -> Tensor:
        """Planes with all of the condition as more channels, each number a constant one."""
        flat = self.numbers(condition)[..., None, None].expand(-1, -1, *planes.shape[2:])
        parts = [planes, self.pictures(condition), flat]
        return torch.cat([part.to(planes.dtype) for part in parts], 1)


class PictureNetwork(nn.Module):
    """A network that takes or gives rows of pictures; base of the generators and critics."""

    def __init__(
        self,
        shape: Sequence[int],
        channels: int,
        condition: int,
        planes: int,
        packing: int,
        precision: str,
    ):
        super().__init__()
        if len(shape) not in (2, 3) or halvings(shape[0], shape[1]) == 0:
            raise ValueError(
                f"shape={tuple(shape)!r}: expected (height, width) or (height, width, 3), "
                "both even and at least 6"
            )
        self.shape = tuple(int(side) for side in shape)
        self.colours = (*self.shape, 1)[2]
        levels = halvings(*self.shape[:2])
        self.base = (self.shape[0] >> levels, self.shape[1] >> levels)
        whole(1)("channels", channels)
        self.widths = [channels * min(2**level, 8) for level in range(levels)]
        self.given = Condition(self.shape, condition, planes, packing)
        self.packing = packing
        self.precision = choice(*PRECISIONS)("precision", precision)

    def checked(self, condition: Tensor | None, like: Tensor) -> Tensor:
        """The condition as ``(rows, width)``, of no columns where there is none."""
        width = self.packing * self.given.size
        found = 0 if condition is None else condition.flatten(1).shape[1]
        if found != width:
            raise ValueError(f"condition has {found} columns, this network takes {width}")
        if condition is None:
            return like.new_zeros(len(like), 0)
        return condition.flatten(1).to(next(self.parameters()).dtype)


class PictureCritic(PictureNetwork):
    """A critic of pictures: maps, perhaps a hidden layer that sees all of the last ones, logits.

    Without the hidden layer a logit is a sum over what the last maps see. Where a DCGAN's sides are
    halved to 4 each sees half of the picture or more; of 28 pixels, which halve to 7, each sees 10:
    a stroke can be judged so, a digit not.

    Parameters
    ----------
    shape : (int, int) or (int, int, 3)
        Of a picture; even sides of at least 6. Rows hold the colours of a pixel side by side.
    channels : int
        Of the finest feature maps; twice as many after each halving, at most eight times.
    condition : int
        Plain numbers in the condition.
    planes : int
        Pictures in it, of the same shape, which stand before the numbers. The whole condition
        stands beside the picture as more channels.
    outputs : int
        Logits of a row: 1, or one for each class.
    packing : int
        Pictures that it sees side by side, each with its condition.
    hidden : int, optional
        Units of the hidden layer, 0 for none; by default 256 where the last maps have a side above
        4, else 0 as in the DCGAN paper.
    precision : {"float32", "bfloat16"}
        Type of the convolutions; rows in and logits out keep their own.
    stream : Stream
        Where the initial weights come from.
    """

    # What a kind of critic gives: build(input channels, its own settings) makes its layers and
    # gives the size of the last maps and the deviation of initial weights; maps(planes) runs them.
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
        precision: str = "float32",
        stream: Stream,
        **kind: Any,
    ):
        super().__init__(shape, channels, condition, planes, packing, precision)
        width, deviation = self.build(packing * self.colours + self.given.channels, **kind)
        if optional(whole())("hidden", hidden) is None:
            hidden = 256 if max(self.base) > 4 else 0
        self.hidden = (
            nn.utils.skip_init(nn.Linear, width, hidden, dtype=torch.float32) if hidden else None
        )
        self.top = nn.utils.skip_init(nn.Linear, hidden or width, outputs, dtype=torch.float32)
        initialise(self, stream, deviation)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Logits ``(n, outputs)`` of rows ``(n, packing · h · w · c)``."""
        logits: Tensor = self.top(self.features(x, condition))
        return logits

    def features(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """What the last layer sees, ``(n, width)``, in the type of ``x``."""
        given = self.checked(condition, x)
        planes = to_planes(x.flatten(1), self.shape, self.packing)
        planes = self.given.beside(planes, given) if self.given.size else planes
        planes = planes.contiguous(memory_format=torch.channels_last)  # half the time
        with products(self.precision, x.device):
            features = self.maps(planes)
            if self.hidden is not None:
                features = leaky_relu(self.hidden(features))
        return features.to(x.dtype)


class PictureGenerator(PictureNetwork):
    """A generator of pictures from noise.

    Parameters
    ----------
    shape, channels, precision, stream
        As in :class:`PictureCritic`.
    latent_dim : int
        Columns of the noise.
    condition : int
        Plain numbers in the condition, which stand beside the noise.
    planes : int
        Pictures in it, of the same shape, which stand before the numbers; each convolution sees
        them, shrunk, beside its maps.
    output : {"tanh", None, "sigmoid"}
        After the last convolution; values are in [−1, 1] by the first.
    """

    # What a kind of generator gives. build(input columns, channels beside each map, stream, its own
    # settings) makes its layers and gives the deviation of initial weights; draw(z, pictures of the
    # condition) gives planes.
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
        output: str | None = "tanh",
        precision: str = "float32",
        stream: Stream,
        **kind: Any,
    ):
        super().__init__(shape, channels, condition, planes, 1, precision)
        self.output = optional(choice("tanh", "sigmoid"))("output", output)
        deviation = self.build(latent_dim + condition, planes * self.colours, stream, **kind)
        initialise(self, stream, deviation)

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Rows ``(n, h · w · c)`` for noise ``(n, latent_dim)``, in its type."""
        given = self.checked(condition, z)
        beside = self.given.pictures(given) if self.given.planes else None
        heard = torch.cat([z, self.given.numbers(given)], 1) if self.given.columns else z
        with products(self.precision, z.device):
            planes = self.draw(heard, beside)
        return to_rows(planes).to(z.dtype)


def joined(h: Tensor, beside: Tensor | None) -> Tensor:
    """Maps with a condition's pictures beside them, shrunk to their size by means over blocks."""
    if beside is None:
        return h
    factor = beside.shape[2] // h.shape[2]
    shrunk = beside if factor == 1 else functional.avg_pool2d(beside, factor)
    return torch.cat([h, shrunk.to(h.dtype)], 1)


@torch.no_grad()
def initialise(network: nn.Module, stream: Stream, deviation: Callable[[nn.Module], float]) -> None:
    """Draw the weights of every layer that has some from N(0, ``deviation(layer)``²); biases are 0.

    The gains of batch norm are drawn from N(1, 0.02²), as in Radford, Metz & Chintala (2016).
    """
    for name, part in network.named_modules():
        weight, bias = getattr(part, "weight", None), getattr(part, "bias", None)
        if weight is not None:
            noise = stream.child(name).normal(tuple(weight.shape))
            normed = isinstance(part, BatchNorm)
            weight.copy_(noise.mul_(0.02).add_(1.0) if normed else noise.mul_(deviation(part)))
            if bias is not None:
                bias.zero_()
