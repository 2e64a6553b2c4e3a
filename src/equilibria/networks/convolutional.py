"""Deep convolutional networks without pooling: strided convolutions down, transposed ones up."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from equilibria.check import choice, optional
from equilibria.networks.mlp import OUTPUTS, leaky_relu
from equilibria.networks.pictures import Deviation, PictureCritic, PictureGenerator, joined
from equilibria.random import Stream

__all__ = ["DCGANCritic", "DCGANGenerator"]

_KERNEL = 4  # twice the stride, so that each pixel is reached by as many weights as any other


class DCGANGenerator(PictureGenerator):
    """Noise, a linear layer to small maps, and a transposed convolution for every doubling.

    The maps begin at the picture's sides halved as often as they can be (28 → 7, 32 → 4). Weights
    are drawn from N(0, 0.02²), without normalisation from He's law.

    Parameters
    ----------
    shape, latent_dim, channels, condition, planes, output, precision, stream
        As in :class:`~equilibria.networks.pictures.PictureGenerator`.
    normalisation : {"batch", None}
        Behind each convolution but the last.

    References
    ----------
    Radford, Metz & Chintala 2016, "Unsupervised representation learning with deep convolutional
    generative adversarial networks".

    Examples
    --------
    >>> network = DCGANGenerator((8, 12, 3), latent_dim=5, channels=4, stream=Stream(0))
    >>> network(torch.zeros(2, 5)).shape
    torch.Size([2, 288])
    """

    def build(
        self, inputs: int, beside: int, stream: Stream, normalisation: str | None = "batch"
    ) -> Deviation:
        deep = self.widths[-1]
        self.first = nn.utils.skip_init(
            nn.Linear, inputs, deep * math.prod(self.base), dtype=torch.float32
        )
        ends = [*reversed(self.widths[:-1]), self.colours]
        starts = [deep, *ends[:-1]]
        self.norms = nn.ModuleList(_norm(normalisation, width) for width in starts)
        self.steps = nn.ModuleList(
            nn.utils.skip_init(
                nn.ConvTranspose2d, a + beside, b, _KERNEL, stride=2, padding=1, dtype=torch.float32
            )
            for a, b in zip(starts, ends, strict=True)
        )
        return _small if normalisation else _he

    def draw(self, z: Tensor, beside: Tensor | None) -> Tensor:
        h = self.first(z).unflatten(1, (self.widths[-1], *self.base))
        h = h.contiguous(memory_format=torch.channels_last)
        for norm, step in zip(self.norms, self.steps, strict=True):
            h = step(joined(functional.relu(norm(h)), beside))
        return OUTPUTS[self.output](h)


class DCGANCritic(PictureCritic):
    """A strided convolution for every halving, leaky rectifiers, and a linear layer at the end.

    Parameters
    ----------
    shape, channels, condition, planes, outputs, packing, hidden, precision, stream
        As in :class:`~equilibria.networks.pictures.PictureCritic`.
    normalisation : {"batch", None}
        Behind each convolution but the first.

    Examples
    --------
    >>> critic = DCGANCritic((8, 12), channels=4, condition=3, stream=Stream(0))
    >>> x, condition = torch.zeros(5, 96), torch.zeros(5, 3)
    >>> critic(x, condition).shape, critic.features(x, condition).shape
    (torch.Size([5, 1]), torch.Size([5, 256]))
    """

    def build(self, inputs: int, normalisation: str | None = "batch") -> tuple[int, Deviation]:
        starts = [inputs, *self.widths[:-1]]
        self.steps = nn.ModuleList(
            nn.utils.skip_init(nn.Conv2d, a, b, _KERNEL, stride=2, padding=1, dtype=torch.float32)
            for a, b in zip(starts, self.widths, strict=True)
        )
        norms = [None] + [normalisation] * (len(self.widths) - 1)
        self.norms = nn.ModuleList(map(_norm, norms, self.widths))
        return self.widths[-1] * math.prod(self.base), _small if normalisation else _he

    def maps(self, planes: Tensor) -> Tensor:
        for norm, step in zip(self.norms, self.steps, strict=True):
            planes = leaky_relu(norm(step(planes)))
        return planes.flatten(1)


def _norm(name: str | None, width: int) -> nn.Module:
    batch = optional(choice("batch"))("normalisation", name)
    return nn.BatchNorm2d(width, dtype=torch.float32) if batch else nn.Identity()


def _small(layer: nn.Module) -> float:
    return 0.02  # normalisation makes up for the size


def _he(layer: nn.Module) -> float:
    """√(2 / terms of a sum): with stride 2 a quarter of a transposed kernel falls on a pixel."""
    if isinstance(layer, nn.ConvTranspose2d):
        return math.sqrt(2 / (layer.in_channels * _KERNEL**2 / 4))
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    return math.sqrt(2 / layer.weight[0].numel())
