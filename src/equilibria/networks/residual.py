"""Residual networks of pictures without normalisation: blocks that begin as the identity."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from equilibria.check import whole
from equilibria.networks.mlp import LEAK, OUTPUTS, leaky_relu
from equilibria.networks.pictures import Deviation, PictureCritic, PictureGenerator, joined
from equilibria.random import Stream

__all__ = ["ResidualCritic", "ResidualGenerator"]

_EXPANSION = 2  # of the channels within a block
_PER_GROUP = 8  # channels that a grouped convolution mixes


class Block(nn.Module):
    """h ← h + C₃ a(C₂ a(C₁ h)): one pixel to more channels, grouped 3 × 3, one pixel back.

    C₃ begins at 0.
    """

    def __init__(self, channels: int):
        super().__init__()
        wide = _EXPANSION * channels
        groups = math.gcd(wide, max(1, wide // _PER_GROUP))
        self.widen = _conv(channels, wide, 1)
        self.mix = _conv(wide, wide, 3, groups)
        self.narrow = _conv(wide, channels, 1)

    def forward(self, h: Tensor) -> Tensor:
        result: Tensor = h + self.narrow(leaky_relu(self.mix(leaky_relu(self.widen(h)))))
        return result


class ResidualGenerator(PictureGenerator):
    """A learned small map scaled channel by channel by the noise, then blocks at each size.

    Sizes are doubled bilinearly. Nothing is normalised: the last convolution of each block begins
    at 0 and the others are scaled down by the number of blocks, so that the network's output keeps
    its size at first however deep it is.

    Parameters
    ----------
    shape, latent_dim, channels, condition, planes, output, precision, stream
        As in :class:`~equilibria.networks.pictures.PictureGenerator`.
    blocks : int
        Residual blocks at each size. At the picture's own, where they would take three quarters of
        the time, there is one convolution.

    References
    ----------
    Huang, Gokaslan, Kuleshov & Tompkin 2024, "The GAN is dead; long live the GAN! A modern GAN
    baseline"; Zhang, Dauphin & Ma 2019, "Fixup initialization".

    Examples
    --------
    >>> network = ResidualGenerator((8, 8), latent_dim=5, channels=4, stream=Stream(0))
    >>> network(torch.zeros(2, 5)).shape
    torch.Size([2, 64])
    """

    def build(self, inputs: int, beside: int, stream: Stream, blocks: int = 1) -> Deviation:
        widths = list(reversed(self.widths))  # from the base up
        self.map = nn.Parameter(stream.child("map").normal((widths[0], *self.base)))
        self.first = nn.utils.skip_init(nn.Linear, inputs, widths[0], dtype=torch.float32)
        changes = [(widths[0], widths[0]), *pairwise(widths)]
        self.enter = nn.ModuleList(_conv(a + beside, b, 1) for a, b in changes)
        self.blocks = nn.ModuleList(_blocks(width, blocks) for width in widths)
        self.last = _conv(widths[-1] + beside, self.colours, 3)
        return _deviation(self)

    def draw(self, z: Tensor, beside: Tensor | None) -> Tensor:
        h = self.map * self.first(z)[:, :, None, None]
        h = h.contiguous(memory_format=torch.channels_last)
        for enter, blocks in zip(self.enter, self.blocks, strict=True):
            h = blocks(enter(joined(h, beside)))
            h = functional.interpolate(h, scale_factor=2, mode="bilinear")
        return OUTPUTS[self.output](self.last(joined(h, beside)))


class ResidualCritic(PictureCritic):
    """A convolution, then blocks at each size; each map is weighed pixel by pixel at last.

    Sizes are halved by means of four pixels. It is meant for a payoff of pairs with R1 and R2
    (``payoff="relativistic"``), which holds it back where normalisation would.

    Parameters
    ----------
    shape, channels, condition, planes, outputs, packing, hidden, precision, stream
        As in :class:`~equilibria.networks.pictures.PictureCritic`.
    blocks : int
        Residual blocks at each size.

    Examples
    --------
    >>> critic = ResidualCritic((8, 8), channels=4, stream=Stream(0))
    >>> critic(torch.zeros(5, 64)).shape, critic.features(torch.zeros(5, 64)).shape
    (torch.Size([5, 1]), torch.Size([5, 4]))
    """

    def build(self, inputs: int, blocks: int = 1) -> tuple[int, Deviation]:
        widths, deep = self.widths, self.widths[-1]
        self.first = _conv(inputs, widths[0], 3)
        changes = [(widths[0], widths[0]), *pairwise(widths)]
        self.enter = nn.ModuleList(_conv(a, b, 1) for a, b in changes)
        self.blocks = nn.ModuleList(_blocks(width, blocks) for width in widths)
        self.weigh = nn.utils.skip_init(
            nn.Conv2d, deep, deep, self.base, groups=deep, bias=False, dtype=torch.float32
        )
        return deep, _deviation(self)

    def maps(self, planes: Tensor) -> Tensor:
        h = leaky_relu(self.first(planes))
        for enter, blocks in zip(self.enter, self.blocks, strict=True):
            h = blocks(enter(functional.avg_pool2d(h, 2)))
        return self.weigh(h).flatten(1)


def _blocks(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(Block(width) for _ in range(whole(1)("blocks", count))))


def _conv(inputs: int, outputs: int, kernel: int, groups: int = 1) -> nn.Conv2d:
    padding = kernel // 2
    return nn.utils.skip_init(
        nn.Conv2d, inputs, outputs, kernel, padding=padding, groups=groups, dtype=torch.float32
    )


def _deviation(network: nn.Module) -> Deviation:
    """Weights that keep the size of what passes; within blocks those of Fixup with three layers."""
    within = [block for block in network.modules() if isinstance(block, Block)]
    inner = {part for block in within for part in (block.widen, block.mix)}
    outer = {block.narrow for block in within}
    gain = math.sqrt(2 / (1 + LEAK**2)) * len(within) ** -0.25

    def deviation(layer: nn.Module) -> float:
        weight = layer.weight
        assert isinstance(weight, Tensor)
        if layer in outer:
            return 0.0
        return (gain if layer in inner else 1.0) / math.sqrt(weight[0].numel())

    return deviation
