"""The Laplacian pyramid: exact inverses, and samples that agree with the coarser picture they were
made from."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from equilibria.models.generator import Generator
from equilibria.models.pyramid import (
    DetailCritic,
    DetailNetwork,
    LaplacianPyramid,
    PyramidGenerator,
)
from equilibria.networks.mlp import MLP
from equilibria.networks.packing import Packed
from equilibria.random import Stream


def test_a_picture_comes_back() -> None:
    for shape, levels in [
        ((8, 8), None),
        ((28, 28), None),
        ((32, 48, 3), None),
        ((16, 8, 3), 2),
        ((12, 12), 1),
    ]:
        pyramid = LaplacianPyramid(shape, levels)
        x = Stream(0).uniform((7, math.prod(shape)), torch.float64) * 2 - 1
        again, _ = pyramid.at(x, pyramid.levels)
        for level in reversed(range(pyramid.levels)):
            detail, coarse = pyramid.at(x, level)
            assert detail.shape[1] == math.prod(pyramid.shapes[level])
            assert (coarse - pyramid.up(again, level)).abs().max() < 1e-14
            again = pyramid.up(again, level) + detail
        assert (again - x).abs().max() < 1e-14


def test_the_levels_stop_where_pictures_are_small() -> None:
    halved = {side: LaplacianPyramid((side, side)).levels for side in (8, 14, 16, 20, 28, 32, 64)}
    assert halved == {8: 1, 14: 1, 16: 1, 20: 1, 28: 1, 32: 1, 64: 2}
    assert LaplacianPyramid((32, 32), 4).shapes[-1] == (2, 2)


def test_the_parts_are_means_and_what_is_left() -> None:
    pyramid = LaplacianPyramid((4, 4))
    x = torch.arange(16.0).view(1, 16)
    (coarse, _), (detail, _) = pyramid.at(x, 1), pyramid.at(x, 0)
    assert coarse.tolist() == [[2.5, 4.5, 10.5, 12.5]]
    assert detail.view(4, 4)[:2, :2].tolist() == [[-2.5, -1.5], [1.5, 2.5]]


def level_generator(pyramid: LaplacianPyramid, level: int) -> Generator:
    size = math.prod(pyramid.shapes[level])
    top = level == pyramid.levels
    network: nn.Module = MLP(
        (3 + (0 if top else size), 8, size), output="tanh" if top else None, stream=Stream(level)
    )
    return Generator(network if top else DetailNetwork(network, pyramid, level), 3)


def test_samples_agree_with_the_coarser_picture() -> None:
    """Details change nothing of the means of 2 × 2 pixels, so a sample halved is the coarser
    sample, but for what leaves the range."""
    pyramid = LaplacianPyramid((8, 8, 3), 2)
    generator = PyramidGenerator([level_generator(pyramid, level) for level in (2, 1, 0)], pyramid)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.mul_(0.2)  # nothing leaves the range
    fine, middle, coarse = (generator.sample(50, Stream(0), level=level) for level in range(3))
    assert fine.abs().max() < 1
    assert (pyramid.down(fine, 0) - middle).abs().max() < 1e-6
    assert (pyramid.down(middle, 1) - coarse).abs().max() < 1e-6
    assert (fine - pyramid.up(middle, 0)).abs().max() > 1e-3
    assert torch.equal(generator.sample(20, Stream(0)), fine[:20]), (
        "sample i depends on its row alone"
    )


def test_a_critic_is_shown_the_picture_and_what_it_was_made_from() -> None:
    inner = MLP((2 * (4 + 6), 5, 1), stream=Stream(0))
    critic = Packed(DetailCritic(inner, 4, 6), 2)
    x, condition = Stream(1).normal((6, 4)), Stream(2).normal((6, 6))
    sums = x + condition[:, :4]
    expected = inner(sums.view(3, 8), condition.view(3, 12))
    assert torch.equal(critic(x, condition), expected)
    assert critic.features(x, condition).shape == (6, 5)


def test_impossible_pyramids_are_refused() -> None:
    with pytest.raises(ValueError, match=r"pictures of \(7, 8\) can be halved 0 times"):
        LaplacianPyramid((7, 8))
    with pytest.raises(ValueError, match=r"levels=3: pictures of \(12, 12\) can be halved 2 times"):
        LaplacianPyramid((12, 12), 3)
