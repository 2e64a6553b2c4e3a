"""Deep convolutional networks without pooling: strided convolutions down, transposed ones up."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from equilibria.networks.mlp import OUTPUTS, leaky_relu
from equilibria.networks.normalisation import normaliser
from equilibria.networks.pictures import Deviation, PictureCritic, PictureGenerator, joined
from equilibria.random import Stream

__all__ = ["DCGANCritic", "DCGANGenerator", "DetailGenerator"]

# a kernel of twice the stride reaches each pixel by as many weights as any other
HALF: Any = {"kernel_size": 4, "stride": 2, "padding": 1, "dtype": torch.float32}


class DCGANGenerator(PictureGenerator):
    """Noise, a linear layer to small maps, and a transposed convolution for every doubling.

    The maps begin at the picture's sides halved as often as they can be (28 → 7, 32 → 4). Weights
    are drawn from N(0, 0.02²), without normalisation from He's law (Radford, Metz & Chintala 2016,
    "Unsupervised representation learning with deep convolutional generative adversarial networks").
    ``normalisation`` stands behind each layer but the last.

    >>> network = DCGANGenerator((8, 12, 3), latent_dim=5, channels=4, stream=Stream(0))
    >>> network(torch.zeros(2, 5)).shape
    torch.Size([2, 288])
    """

    def build(self, inputs: int, beside: int, stream: Stream) -> Deviation:
        widths = [*reversed(self.widths), self.colours]
        self.first = nn.utils.skip_init(
            nn.Linear, inputs, widths[0] * math.prod(self.base), dtype=torch.float32
        )
        self.norms = nn.ModuleList(normaliser(self.normalisation, width) for width in widths[:-1])
        self.steps = nn.ModuleList(
            nn.utils.skip_init(nn.ConvTranspose2d, a + beside, b, **HALF)
            for a, b in pairwise(widths)
        )
        return _he(bool(self.normalisation))

    def draw(self, z: Tensor, beside: Tensor | None) -> Tensor:
        h = self.first(z).unflatten(1, (self.widths[-1], *self.base))
        h = h.contiguous(memory_format=torch.channels_last)
        for norm, step in zip(self.norms, self.steps, strict=True):
            h = step(joined(functional.relu(norm(h)), beside))
        return OUTPUTS[self.output](h)


class DCGANCritic(PictureCritic):
    """A strided convolution for every halving, leaky rectifiers, and dense layers at the end.

    ``normalisation`` stands behind each layer but the first and the last.

    >>> critic = DCGANCritic((8, 12), channels=4, condition=3, stream=Stream(0))
    >>> critic(torch.zeros(5, 96), torch.zeros(5, 3)).shape
    torch.Size([5, 1])
    """

    def build(self, inputs: int) -> tuple[int, Deviation]:
        self.steps = nn.ModuleList(
            nn.utils.skip_init(nn.Conv2d, a, b, **HALF) for a, b in pairwise([inputs, *self.widths])
        )
        norms = [None] + [self.normalisation] * (len(self.widths) - 1)
        self.norms = nn.ModuleList(map(normaliser, norms, self.widths))
        return self.widths[-1] * math.prod(self.base), _he(bool(self.normalisation))

    def maps(self, planes: Tensor) -> Tensor:
        for norm, step in zip(self.norms, self.steps, strict=True):
            planes = leaky_relu(norm(step(planes)))
        return planes.flatten(1)


class DetailGenerator(PictureGenerator):
    """The finer picture of a coarser one: convolutions at half size, then one transposed.

    The condition's pictures, shrunk to half the size, stand beside ``noise`` planes, a linear map
    of the noise and of the condition's numbers. Two convolutions of 3 × 3 follow, ``normalisation``
    behind each, both of twice the ``channels``. It is for a level of a Laplacian pyramid, whose
    coarser picture is its condition.

    >>> network = DetailGenerator((8, 8), 5, 4, planes=1, stream=Stream(0))
    >>> network(torch.zeros(2, 5), torch.zeros(2, 64)).shape
    torch.Size([2, 64])
    """

    def build(self, inputs: int, beside: int, stream: Stream, noise: int = 4) -> Deviation:
        self.noise = (noise, self.shape[0] // 2, self.shape[1] // 2)
        size = math.prod(self.noise)
        self.first = nn.utils.skip_init(nn.Linear, inputs, size, dtype=torch.float32)
        wide = 2 * self.widths[0]
        same: Any = {"padding": 1, "dtype": torch.float32}
        self.steps = nn.ModuleList(
            nn.utils.skip_init(nn.Conv2d, a, wide, 3, **same) for a in (noise + beside, wide)
        )
        self.norms = nn.ModuleList(normaliser(self.normalisation, wide) for _ in self.steps)
        self.last = nn.utils.skip_init(nn.ConvTranspose2d, wide, self.colours, **HALF)
        return _he(bool(self.normalisation))

    def draw(self, z: Tensor, beside: Tensor | None) -> Tensor:
        h = joined(self.first(z).unflatten(1, self.noise), beside)
        h = h.contiguous(memory_format=torch.channels_last)
        for norm, step in zip(self.norms, self.steps, strict=True):
            h = functional.relu(norm(step(h)))
        return OUTPUTS[self.output](self.last(h))


def terms_of(layer: Any) -> int:
    """Terms of a layer's sum; with stride 2 a quarter of a transposed kernel falls on a pixel."""
    if isinstance(layer, nn.ConvTranspose2d):
        return 4 * layer.in_channels
    return int(layer.weight[0].numel())


def _he(normalised: bool) -> Deviation:
    """√(2 / terms of a sum), or .02 where normalisation makes up for the size."""
    return lambda layer: 0.02 if normalised else math.sqrt(2 / terms_of(layer))
