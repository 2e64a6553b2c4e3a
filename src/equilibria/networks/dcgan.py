"""Deep convolutional networks of pictures without pooling: strided convolutions down, transposed ones up."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from equilibria.networks.mlp import OUTPUTS
from equilibria.networks.pictures import SLOPE, PictureCritic, PictureGenerator, initialise, shrunk
from equilibria.random import Stream

__all__ = ["NORMALISATIONS", "DCGANCritic", "DCGANGenerator"]

NORMALISATIONS: dict[str | None, type[nn.BatchNorm2d] | type[nn.Identity]] = {"batch": nn.BatchNorm2d, None: nn.Identity}
"""What stands behind each convolution but the generator's last and the critic's first."""

_STD = 0.02  # of the initial weights, where normalisation makes up for their size
_KERNEL = 4  # twice the stride, so that each pixel is reached by as many weights as any other


class DCGANGenerator(PictureGenerator):
    """Noise, a linear layer to small maps, and a transposed convolution for every doubling up to the picture.

    The maps begin at the picture's sides halved as often as they can be (28 → 7, 32 → 4) and have ``channels`` before the last
    convolution, twice as many a halving further down, at most eight times. Weights are drawn from N(0, 0.02²), without
    normalisation from He's law.

    Parameters
    ----------
    shape : (int, int) or (int, int, 3)
        Of a picture; even sides of at least 6. Rows hold the colours of a pixel side by side.
    latent_dim : int
        Columns of the noise.
    channels : int
    condition : int
        Plain numbers in the condition, which stand beside the noise.
    planes : int
        Pictures in it, of the same shape, which stand before the plain numbers; each convolution sees them, shrunk, beside its maps.
    normalisation : {"batch", None}
    output : {"tanh", None, "sigmoid"}
        After the last convolution; values are in [−1, 1] by the first.
    precision : {"float32", "bfloat16"}
    stream : Stream
        Where the initial weights come from.

    Raises
    ------
    ValueError
        For a shape, name or number outside these; in ``forward`` for a condition of another width.

    References
    ----------
    Radford, Metz & Chintala 2016, "Unsupervised representation learning with deep convolutional generative adversarial networks".

    Examples
    --------
    >>> network = DCGANGenerator((8, 12, 3), latent_dim=5, channels=4, stream=Stream(0))
    >>> network(torch.zeros(2, 5)).shape
    torch.Size([2, 288])
    """

    def __init__(
        self,
        shape: Sequence[int],
        latent_dim: int,
        channels: int = 64,
        *,
        condition: int = 0,
        planes: int = 0,
        normalisation: str | None = "batch",
        output: str | None = "tanh",
        precision: str = "float32",
        stream: Stream,
    ):
        super().__init__(shape, channels, condition, planes, 1, precision)
        _check(normalisation, output)
        self.output = output
        beside, deep = planes * self.colours, self.widths[-1]
        self.first = nn.utils.skip_init(nn.Linear, latent_dim + condition, deep * math.prod(self.base))
        ends = [*reversed(self.widths[:-1]), self.colours]
        starts = [deep, *ends[:-1]]
        self.norms = nn.ModuleList(_norm(normalisation, width) for width in starts)
        self.steps = nn.ModuleList(_up(a + beside, b) for a, b in zip(starts, ends, strict=True))
        initialise(self, stream, _small if normalisation else _he)

    def draw(self, z: Tensor, beside: Tensor | None) -> Tensor:
        h = self.first(z).unflatten(1, (self.widths[-1], *self.base)).contiguous(memory_format=torch.channels_last)
        for norm, step in zip(self.norms, self.steps, strict=True):
            h = functional.relu(norm(h))
            h = step(h if beside is None else torch.cat([h, shrunk(beside, h.shape[2:]).to(h.dtype)], 1))
        return OUTPUTS[self.output](h)


class DCGANCritic(PictureCritic):
    """A strided convolution for every halving, leaky rectifiers, and a linear layer over the last maps, perhaps behind a hidden one.

    Parameters
    ----------
    shape, channels, condition, planes, precision, stream
        As in :class:`DCGANGenerator`; the whole condition stands beside the picture as more channels.
    outputs : int
        Logits of a row: 1, or one for each class.
    packing : int
        Pictures that it sees side by side, each with its condition.
    hidden : int, optional
        Units of a hidden layer that sees all of the last maps, 0 for none; by default 256 where these have a side above 4, for then each
        may see a small part of the picture (10 of 28 pixels), else 0 as in the paper.
    normalisation : {"batch", None}

    Raises
    ------
    ValueError
        As in :class:`DCGANGenerator`.

    Examples
    --------
    >>> critic = DCGANCritic((8, 12), channels=4, condition=3, stream=Stream(0))
    >>> critic(torch.zeros(5, 96), torch.zeros(5, 3)).shape, critic.features(torch.zeros(5, 96), torch.zeros(5, 3)).shape
    (torch.Size([5, 1]), torch.Size([5, 256]))
    """

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
    ):
        super().__init__(shape, channels, condition, planes, packing, precision)
        _check(normalisation, None)
        starts = [packing * self.colours + self.given.channels, *self.widths[:-1]]
        self.steps = nn.ModuleList(_down(a, b) for a, b in zip(starts, self.widths, strict=True))
        self.norms = nn.ModuleList(_norm(normalisation if level else None, width) for level, width in enumerate(self.widths))
        self.end(self.widths[-1] * math.prod(self.base), hidden, outputs)
        initialise(self, stream, _small if normalisation else _he)

    def maps(self, planes: Tensor) -> Tensor:
        for norm, step in zip(self.norms, self.steps, strict=True):
            planes = functional.leaky_relu(norm(step(planes)), SLOPE)
        return planes.flatten(1)


def _check(normalisation: str | None, output: str | None) -> None:
    if normalisation not in NORMALISATIONS:
        raise ValueError(f"normalisation={normalisation!r}: expected one of {', '.join(map(repr, NORMALISATIONS))}")
    if output not in OUTPUTS:
        raise ValueError(f"output={output!r}: expected one of {', '.join(map(repr, OUTPUTS))}")


def _norm(name: str | None, width: int) -> nn.Module:
    return NORMALISATIONS[name](width)


def _up(inputs: int, outputs: int) -> nn.Module:
    return nn.utils.skip_init(nn.ConvTranspose2d, inputs, outputs, _KERNEL, stride=2, padding=1)


def _down(inputs: int, outputs: int) -> nn.Module:
    return nn.utils.skip_init(nn.Conv2d, inputs, outputs, _KERNEL, stride=2, padding=1)


def _small(layer: nn.Module) -> float:
    return _STD


def _he(layer: nn.Module) -> float:
    """√(2 / terms of a sum): of a transposed convolution with stride 2 a quarter of the kernel falls on a pixel."""
    if isinstance(layer, nn.ConvTranspose2d):
        return math.sqrt(2 / (layer.in_channels * _KERNEL**2 / 4))
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    return math.sqrt(2 / layer.weight[0].numel())
