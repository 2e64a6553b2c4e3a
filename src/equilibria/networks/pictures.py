"""What the networks of pictures share: rows as planes and back, sizes by halving, conditions, initial weights.

In this library a picture is a flattened row of height · width · colours values, the colours of a pixel side by side; torch's
convolutions take planes ``(n, colours, height, width)``. The networks take and give rows, so that games and estimators need not
know what is a picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from equilibria.networks.precision import products
from equilibria.random import Stream

__all__ = ["SLOPE", "Condition", "PictureNetwork", "halvings", "initialise", "to_planes", "to_rows"]

SLOPE = 0.2  # of the leaky rectifier below zero
HIDDEN = 256  # units of a critic's hidden layer, which it has where its last maps have a side above SEEN_WHOLE
SEEN_WHOLE = 4
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
    """Rows ``(n, pictures · h · w · c)`` as planes ``(n, pictures · c, h, w)``; ``shape`` is (h, w) or (h, w, c).

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
    """How the columns of a condition are read: ``planes`` pictures of the network's own shape first, then ``columns`` plain numbers.

    Parameters
    ----------
    shape : (int, int) or (int, int, int)
        Of a picture.
    columns : int
        Numbers beside the pictures: a one-hot label, say.
    planes : int
        Pictures: the last frames, a coarser version.
    packing : int
        How many conditions stand side by side in a row.
    """

    def __init__(self, shape: Sequence[int], columns: int = 0, planes: int = 0, packing: int = 1):
        self.shape, self.columns, self.planes, self.packing = tuple(shape), columns, planes, packing
        self.colours = (*shape, 1)[2]
        self.size = planes * math.prod(shape) + columns
        self.channels = packing * (planes * self.colours + columns)

    def pictures(self, condition: Tensor) -> Tensor:
        """Its pictures ``(n, packing · planes · c, h, w)``."""
        parts = condition.reshape(len(condition), self.packing, self.size)[..., : self.size - self.columns]
        return to_planes(parts, self.shape, self.packing * self.planes)

    def numbers(self, condition: Tensor) -> Tensor:
        """Its plain numbers ``(n, packing · columns)``."""
        return condition.reshape(len(condition), self.packing, self.size)[..., self.size - self.columns :].flatten(1)

    def beside(self, planes: Tensor, condition: Tensor) -> Tensor:
        """Planes with all of the condition as more channels; a number is the same everywhere in its own."""
        flat = self.numbers(condition)[..., None, None].expand(-1, -1, *planes.shape[2:])
        return torch.cat([planes, self.pictures(condition).to(planes.dtype), flat.to(planes.dtype)], 1)


class PictureNetwork(nn.Module):
    """A network that takes or gives rows of pictures; base of the generators and critics.

    Parameters
    ----------
    shape : (int, int) or (int, int, int)
        Of a picture: height and width, even and at least 6, and 3 where there are colours.
    channels : int
        Of the finest feature maps; twice as many after each halving, at most eight times.
    condition, planes, packing
        See :class:`Condition`.
    precision : {"float32", "bfloat16"}
        Type of the convolutions; rows in and out keep their own.

    Raises
    ------
    ValueError
        For a shape that cannot be halved or a number below 1, and in ``forward`` where rows or their condition have another width.
    """

    def __init__(self, shape: Sequence[int], channels: int, condition: int, planes: int, packing: int, precision: str):
        super().__init__()
        good = len(shape) in (2, 3) and all(int(side) == side >= 1 for side in shape)
        if not good or halvings(shape[0], shape[1]) == 0:
            raise ValueError(f"shape={tuple(shape)!r}: expected (height, width) or (height, width, 3), both even and at least 6")
        if channels < 1:
            raise ValueError(f"channels={channels!r}: expected a whole number of at least 1")
        self.shape = tuple(int(side) for side in shape)
        self.size = math.prod(self.shape)
        self.colours = (*self.shape, 1)[2]
        self.levels = halvings(*self.shape[:2])
        self.base = (self.shape[0] >> self.levels, self.shape[1] >> self.levels)
        self.widths = [channels * min(2**level, 8) for level in range(self.levels)]
        self.given = Condition(self.shape, condition, planes, packing)
        self.packing, self.precision = packing, precision
        products(precision, torch.device("cpu"))  # refuses an unknown one before any work

    def check(self, condition: Tensor | None, rows: int) -> Tensor:
        """The condition as ``(rows, width)``, of no columns where there is none."""
        width, found = self.packing * self.given.size, 0 if condition is None else condition.flatten(1).shape[1]
        if found != width:
            raise ValueError(f"condition has {found} columns, this network takes {width}; build it for that size")
        like = next(self.parameters())
        return torch.zeros(rows, 0, dtype=like.dtype, device=like.device) if condition is None else condition.flatten(1).to(like.dtype)

    def planes_of(self, x: Tensor) -> Tensor:
        """Rows ``(n, packing · size)`` as planes."""
        if x.flatten(1).shape[1] != self.packing * self.size:
            raise ValueError(f"x has {x.flatten(1).shape[1]} columns, this network takes {self.packing * self.size} of {self.shape}")
        return to_planes(x.flatten(1), self.shape, self.packing)


class PictureCritic(PictureNetwork):
    """A critic of pictures: maps, perhaps a hidden layer that sees all of the last ones, and ``top``, the logits.

    Without the hidden layer a logit is a sum over what the last maps see. Where a dcgan's sides are halved to 4 each sees half of the
    picture or more; of 28 pixels, which halve to 7, each sees 10: a stroke can be judged so, a digit not.
    """

    def end(self, width: int, hidden: int | None, outputs: int) -> None:
        """The layers behind the maps, which have ``width`` values in all."""
        if hidden is None:
            hidden = HIDDEN if max(self.base) > SEEN_WHOLE else 0
        if isinstance(hidden, bool) or not isinstance(hidden, int) or hidden < 0:
            raise ValueError(f"hidden={hidden!r}: expected a whole number, 0 for no hidden layer")
        self.hidden = nn.utils.skip_init(nn.Linear, width, hidden) if hidden else None
        self.top = nn.utils.skip_init(nn.Linear, hidden or width, outputs)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Logits ``(n, outputs)`` of rows ``(n, packing · h · w · c)``."""
        logits: Tensor = self.top(self.features(x, condition))
        return logits

    def features(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """What the last layer sees, ``(n, width)``, in the type of ``x``."""
        given = self.check(condition, len(x))
        planes = self.planes_of(x)
        planes = self.given.beside(planes, given) if self.given.size else planes
        with products(self.precision, x.device):
            features = self.maps(planes.contiguous(memory_format=torch.channels_last))  # convolutions take half the time so
            if self.hidden is not None:
                features = functional.leaky_relu(self.hidden(features), SLOPE)
        return features.to(x.dtype)

    def maps(self, planes: Tensor) -> Tensor:
        """Planes → the last maps side by side, ``(n, width)``."""
        raise NotImplementedError


class PictureGenerator(PictureNetwork):
    """A generator of pictures from noise; plain numbers of a condition stand beside the noise, pictures beside the maps of their size."""

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Rows ``(n, h · w · c)`` for noise ``(n, latent_dim)``, in its type."""
        given = self.check(condition, len(z))
        beside = self.given.pictures(given) if self.given.planes else None
        with products(self.precision, z.device):
            planes = self.draw(torch.cat([z, self.given.numbers(given)], 1) if self.given.columns else z, beside)
        return to_rows(planes).to(z.dtype)

    def draw(self, z: Tensor, beside: Tensor | None) -> Tensor:
        """Planes from noise ``(n, latent_dim + columns)`` and the condition's pictures."""
        raise NotImplementedError


def shrunk(planes: Tensor, to: Sequence[int]) -> Tensor:
    """Planes of another size that divides theirs, by means over blocks."""
    factor = planes.shape[2] // to[0]
    return planes if factor == 1 else functional.avg_pool2d(planes, factor)


def initialise(network: nn.Module, stream: Stream, deviation: Callable[[nn.Module], float]) -> None:
    """Draw the weights of every layer that has some from N(0, ``deviation(layer)``²); biases are 0.

    The gains of batch norm are drawn from N(1, 0.02²), as in Radford, Metz & Chintala (2016).
    """
    with torch.no_grad():
        for name, part in network.named_modules():
            weight = getattr(part, "weight", None)
            if weight is None:
                continue
            noise = stream.child(name).normal(tuple(weight.shape))
            weight.copy_(noise.mul_(0.02).add_(1.0) if isinstance(part, nn.modules.batchnorm._BatchNorm) else noise.mul_(deviation(part)))
            if getattr(part, "bias", None) is not None:
                part.bias.zero_()
