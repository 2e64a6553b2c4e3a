"""Residual networks of pictures without normalisation: blocks that begin as the identity."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from equilibria.check import whole
from equilibria.networks.convolutional import HALF, terms_of
from equilibria.networks.mlp import LEAK, OUTPUTS, leaky_relu
from equilibria.networks.normalisation import normaliser
from equilibria.networks.pictures import Deviation, PictureCritic, PictureGenerator, joined
from equilibria.random import Stream

__all__ = ["ResidualCritic", "ResidualGenerator"]

_PER_GROUP = 8  # channels that a grouped convolution mixes


class Block(nn.Module):
    """h ← h + C₃ a(C₂ a(C₁ h)): one pixel to twice the channels, grouped 3 × 3, one pixel back.

    C₃ begins at 0.
    """

    def __init__(self, channels: int):
        super().__init__()
        wide = 2 * channels
        self.widen = _conv(channels, wide, 1)
        self.mix = _conv(wide, wide, 3, math.gcd(wide, max(1, wide // _PER_GROUP)))
        self.narrow = _conv(wide, channels, 1)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.narrow(leaky_relu(self.mix(leaky_relu(self.widen(h)))))


class ResidualGenerator(PictureGenerator):
    """Small maps made of the noise, then blocks at each size; sizes are doubled bilinearly.

    The small maps come from dense layers, normalised as ``normalisation`` says, and the picture
    from a transposed convolution. Without ``hidden`` it is R3GAN's: one learnt map that the noise
    scales channel by channel, and one convolution at the picture's own size, where blocks would
    take three quarters of the time. Blocks are not normalised: the last convolution of each begins
    at 0 and the others are scaled down by the number of blocks, so that the output keeps its size
    at first however deep the network is (Huang, Gokaslan, Kuleshov & Tompkin 2024, "The GAN is
    dead; long live the GAN! A modern GAN baseline"; Zhang, Dauphin & Ma 2019, "Fixup
    initialization"). Beside the parameters of ``PictureGenerator`` it has ``blocks``, residual
    blocks at each size.

    >>> network = ResidualGenerator((8, 8), latent_dim=5, channels=4, stream=Stream(0))
    >>> network(torch.zeros(2, 5)).shape
    torch.Size([2, 64])
    """

    def build(self, inputs: int, beside: int, stream: Stream, blocks: int = 1) -> Deviation:
        widths = list(reversed(self.widths))  # from the base up
        small = widths[0]
        if self.hidden is None:
            self.map = nn.Parameter(stream.child("map").normal((small, *self.base)))
        else:
            small *= math.prod(self.base)
            self.norm = normaliser(self.normalisation, widths[0])
        self.first = nn.utils.skip_init(nn.Linear, inputs, small, dtype=torch.float32)
        changes = pairwise([widths[0], *widths])
        self.enter = nn.ModuleList(_conv(a + beside, b, 1) for a, b in changes)
        self.blocks = _blocks(widths, blocks)
        wide = widths[-1] + beside
        if self.hidden is None:
            self.last: nn.Module = _conv(wide, self.colours, 3)
        else:
            self.end = normaliser(self.normalisation, widths[-1])
            self.last = nn.utils.skip_init(nn.ConvTranspose2d, wide, self.colours, **HALF)
        return _deviation(self)

    def draw(self, z: Tensor, beside: Tensor | None) -> Tensor:
        h = self.first(z)
        if self.hidden is None:
            h = self.map * h[:, :, None, None]
        else:
            h = functional.relu(self.norm(h.unflatten(1, (self.widths[-1], *self.base))))
        h = h.contiguous(memory_format=torch.channels_last)
        for i, (enter, blocks) in enumerate(zip(self.enter, self.blocks, strict=True), 1):
            h = blocks(enter(joined(h, beside)))
            if self.hidden is None or i < len(self.blocks):
                h = functional.interpolate(h, scale_factor=2, mode="bilinear")
        if self.hidden is not None:
            h = functional.relu(self.end(h))
        return OUTPUTS[self.output](self.last(joined(h, beside)))


class ResidualCritic(PictureCritic):
    """A convolution, then blocks at each size; each map is weighed pixel by pixel at last.

    Sizes are halved by means of four pixels; nothing but a dense layer is normalised. It is meant
    for a payoff of pairs with R1 and R2 (``payoff="relativistic"``), which holds it back.

    Beside the parameters of ``PictureCritic`` it has ``blocks``, residual blocks at each size.

    >>> ResidualCritic((8, 8), channels=4, stream=Stream(0))(torch.zeros(5, 64)).shape
    torch.Size([5, 1])
    """

    def build(self, inputs: int, blocks: int = 1) -> tuple[int, Deviation]:
        widths, deep = self.widths, self.widths[-1]
        self.first = _conv(inputs, widths[0], 3)
        self.enter = nn.ModuleList(_conv(a, b, 1) for a, b in pairwise([widths[0], *widths]))
        self.blocks = _blocks(widths, blocks)
        self.weigh = nn.utils.skip_init(
            nn.Conv2d, deep, deep, self.base, groups=deep, bias=False, dtype=torch.float32
        )
        return deep, _deviation(self)

    def maps(self, planes: Tensor) -> Tensor:
        h = leaky_relu(self.first(planes))
        for enter, blocks in zip(self.enter, self.blocks, strict=True):
            h = blocks(enter(functional.avg_pool2d(h, 2)))
        return self.weigh(h).flatten(1)


def _blocks(widths: list[int], count: int) -> nn.ModuleList:
    times = range(whole(1)("blocks", count))
    return nn.ModuleList(nn.Sequential(*(Block(width) for _ in times)) for width in widths)


def _conv(inputs: int, outputs: int, kernel: int, groups: int = 1) -> nn.Conv2d:
    same: Any = {"padding": kernel // 2, "groups": groups, "dtype": torch.float32}
    return nn.utils.skip_init(nn.Conv2d, inputs, outputs, kernel, **same)


def _deviation(network: nn.Module) -> Deviation:
    """Weights that keep the size of what passes; within blocks those of Fixup with three layers."""
    within = [block for block in network.modules() if isinstance(block, Block)]
    inner = {part for block in within for part in (block.widen, block.mix)}
    outer = {block.narrow for block in within}
    gain = math.sqrt(2 / (1 + LEAK**2)) * len(within) ** -0.25

    def deviation(layer: Any) -> float:
        scale = 0.0 if layer in outer else gain if layer in inner else 1.0
        return scale / math.sqrt(terms_of(layer))

    return deviation
