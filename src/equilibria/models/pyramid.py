"""The Laplacian pyramid: a picture as a small one and what each doubling lacks, and generators."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from equilibria.data.batches import Batch
from equilibria.models.adversarial import Implicit
from equilibria.models.generator import Generator
from equilibria.networks.pictures import to_planes, to_rows
from equilibria.random import Stream

__all__ = ["DetailCritic", "DetailNetwork", "LaplacianPyramid", "Pyramid", "PyramidGenerator"]


COARSEST = 16
"""Shorter side from which pictures are not halved unasked: a generator of less has little to learn
from, and what it leaves out no finer level brings back."""


class LaplacianPyramid:
    """A picture x₀, halved to x₁, x₂, …, x_K, as x_K and the details h_k = x_k − up(x_{k+1}).

    ``down`` takes the mean of each 2 × 2 pixels and ``up`` writes it into all four, so that
    down(up(x)) = x and a detail's mean over each 2 × 2 pixels is 0 (Burt & Adelson 1983, "The
    Laplacian pyramid as a compact image code", with a wider window).

    Pictures are flattened rows, ``shape`` is (h, w) or (h, w, 3), and ``shapes`` those of x₀, …,
    x_K. There are ``levels`` halvings, by default as long as both sides are even and the shorter
    one is above 16, but at least one.

    >>> pyramid = LaplacianPyramid((28, 28))
    >>> pyramid.shapes
    [(28, 28), (14, 14)]
    >>> detail, coarse = pyramid.at(Stream(0).uniform((5, 784)), 0)
    >>> detail.shape, coarse.shape
    (torch.Size([5, 784]), torch.Size([5, 784]))
    """

    def __init__(self, shape: Sequence[int], levels: int | None = None):
        self.shapes = [tuple(int(side) for side in shape)]
        while self.levels < (levels or math.inf):
            height, width, *colours = self.shapes[-1]
            odd = height % 2 or width % 2
            if levels is None and self.levels and (odd or min(height, width) <= COARSEST):
                break
            if odd:
                raise ValueError(
                    f"levels={levels!r}: pictures of {shape} can be halved {self.levels} times"
                )
            self.shapes.append((height // 2, width // 2, *colours))

    @property
    def levels(self) -> int:
        """K, the number of halvings."""
        return len(self.shapes) - 1

    def down(self, x: Tensor, level: int) -> Tensor:
        """x_{level+1} of rows x_level."""
        return to_rows(functional.avg_pool2d(to_planes(x, self.shapes[level]), 2))

    def up(self, x: Tensor, level: int) -> Tensor:
        """Rows x_{level+1} in the size of x_level."""
        planes = to_planes(x, self.shapes[level + 1])
        return to_rows(functional.interpolate(planes, scale_factor=2, mode="nearest"))

    def at(self, x: Tensor, level: int) -> tuple[Tensor, Tensor | None]:
        """(h_level, up(x_{level+1})) of pictures x₀, or (x_K, None) at the coarsest level."""
        for finer in range(level):
            x = self.down(x, finer)
        if level == self.levels:
            return x, None
        coarse = self.up(self.down(x, level), level)
        return x - coarse, coarse


class DetailNetwork(nn.Module):
    """What a picture drawn by ``network(z, condition)`` lacks of its mean over each 2 × 2 pixels.

    Details of data have no such mean, so a critic would know those that have one by nothing else.
    Every detail of values in [−1, 1] is that of a picture behind a tanh; without this bound details
    ran away from their critic. The condition is up(x_{level+1}) and perhaps more columns.
    """

    def __init__(self, network: nn.Module, pyramid: LaplacianPyramid, level: int):
        super().__init__()
        self.network, self.pyramid, self.level = network, pyramid, level

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Details ``(n, h · w · c)`` for noise ``(n, latent_dim)``."""
        x = self.network(z, condition)
        return x - self.pyramid.up(self.pyramid.down(x, self.level), self.level)


class DetailCritic(nn.Module):
    """A critic that is shown up(x_{k+1}) + h_k, the picture that a detail makes, and its condition.

    A row of details has ``size`` columns; its condition has ``condition``, up(x_{k+1}) first.
    """

    critic: Any

    def __init__(self, critic: nn.Module, size: int, condition: int):
        super().__init__()
        self.critic, self.size, self.condition = critic, size, condition

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Logits of details ``(n, size)``, or of packs of them side by side."""
        return self.critic(self._shown(x, condition), condition)

    def features(self, x: Tensor, condition: Tensor) -> Tensor:
        """What the inner critic's last layer sees."""
        return self.critic.features(self._shown(x, condition), condition)

    def _shown(self, x: Tensor, condition: Tensor) -> Tensor:
        coarse = condition.reshape(len(x), -1, self.condition)[..., : self.size]
        return x + coarse.reshape(x.shape)


class PyramidGenerator(nn.Module):
    """p_g of a pyramid: x_K, then each level's details given the coarser picture, from fresh noise.

    The generators stand from the coarsest, which draws x_K, to the finest; each of the others draws
    h_k given up(x_{k+1}) (Denton, Chintala, Szlam & Fergus 2015, "Deep generative image models
    using a Laplacian pyramid of adversarial networks").
    """

    def __init__(self, generators: Sequence[Generator], pyramid: LaplacianPyramid):
        super().__init__()
        self.generators, self.pyramid = nn.ModuleList(generators), pyramid

    @torch.no_grad()
    def sample(
        self, n: int, stream: Stream, condition: Tensor | None = None, level: int = 0
    ) -> Tensor:
        """``n`` pictures as rows, values within [−1, 1]; sample i depends on its row i alone.

        Every level has the ``condition``, a row of plain numbers for every sample, behind the
        coarser picture. ``level`` is where to stop: the finest is 0.
        """
        x = torch.empty(0)
        for at in range(self.pyramid.levels, level - 1, -1):
            generator: Any = self.generators[self.pyramid.levels - at]
            draw = stream.child("level", at)
            if at == self.pyramid.levels:
                x = generator.sample(n, draw, condition)
                continue
            coarse = self.pyramid.up(x.clamp(-1, 1), at)
            given = coarse if condition is None else torch.cat([coarse, condition], 1)
            x = coarse + generator.sample(n, draw, given)
        return x.clamp(-1, 1)


class Pyramid(Implicit):
    """Generators and critics of the levels of a Laplacian pyramid, the coarsest first."""

    def __init__(self, generator: PyramidGenerator, critics: nn.ModuleList, classes: int):
        super().__init__(classes, bool(classes))
        self.generator, self.critics = generator, critics

    def sample(self, n: int, stream: Stream, given: Tensor | None = None) -> Tensor:
        """Draw ``n`` pictures coarse to fine, (n, size); ``given`` holds the label's columns."""
        return self.generator.sample(n, stream, self.condition(n, given, stream))

    def condition(self, n: int, given: Tensor | None, stream: Stream) -> Tensor | None:
        """The label's columns of ``n`` rows; None where there are none."""
        codes = self.drawn_classes(n, given, stream)
        return None if codes is None else self.one_hot(codes).to(self.device)

    def view(self, level: int, batch: Batch, stream: Stream) -> Batch:
        """A level's details, and as their condition the doubled coarser picture and the class."""
        values, coarse = self.generator.pyramid.at(batch.values, level)
        parts = [] if coarse is None else [coarse]
        if batch.label is not None and self.by_class:
            parts.append(self.one_hot(batch.label))
        return Batch(values, None, None, torch.cat(parts, 1) if parts else None)

    def portraits(self, level: int, generator: Generator, n: int, stream: Stream) -> Tensor:
        """Pictures of the levels so far, with another generator in the place of this level's."""
        levels: list[Any] = list(self.generator.generators)
        levels[self.generator.pyramid.levels - level] = generator
        condition = self.condition(n, self.one_of_each(n, 0), stream)
        return PyramidGenerator(levels, self.generator.pyramid).sample(n, stream, condition, level)

    def describe(self) -> str:
        what = f"A pyramid of {len(self.critics)} generators of"
        return self.described(what, self.generator, self.critics)
