"""Critics that see several rows: packs, and the deviation within a batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from equilibria.networks.mlp import MLP
from equilibria.networks.packing import MinibatchDeviation, Packed, row_wise
from equilibria.random import Stream


class Echo(nn.Module):
    """What it is shown, as its answer and as its features."""

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return x if condition is None else torch.cat([x, condition], 1)

    def features(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.forward(x, condition).flatten(1)


def test_packs_of_tables_and_pictures_and_their_conditions() -> None:
    x, condition = Stream(0).normal((6, 2)), Stream(1).normal((6, 1))
    packed = Packed(Echo(), 3)(x, condition)
    assert torch.equal(packed[1], torch.cat([x[3], x[4], x[5], condition[3], condition[4], condition[5]]))
    pictures = Stream(2).normal((4, 3, 5, 2))
    seen = Packed(Echo(), 2)(pictures)
    assert seen.shape == (2, 6, 5, 2)
    assert torch.equal(seen[1], torch.cat([pictures[2], pictures[3]]))


def test_one_row_in_a_pack_of_its_own_copies() -> None:
    x = Stream(0).normal((5, 2))
    critic = MLP((6, 4, 1), stream=Stream(1))
    packed = Packed(critic, 3)
    expected = critic(torch.cat([x, x, x], 1)) / 3
    assert torch.allclose(packed.of_one(x), expected, rtol=0, atol=1e-7)
    assert torch.equal(Packed(Echo(), 3).features(x), torch.cat([x, x, x], 1))


@pytest.mark.parametrize("shape", [(6, 4), (6, 2, 3, 3)])
@pytest.mark.parametrize("group", [None, 3, 2])
def test_the_deviation_is_that_of_each_group(shape: tuple[int, ...], group: int | None) -> None:
    x = Stream(3).normal(shape, torch.float64)
    wider = MinibatchDeviation(group=group)(x)
    assert torch.equal(wider[:, :-1], x)
    assert wider.shape[1] == shape[1] + 1
    size = group or 6
    for first in range(0, 6, size):
        expected = x[first : first + size].flatten(1).var(0, correction=0).add(1e-8).sqrt().mean()
        found = wider[first : first + size, -1]
        assert torch.allclose(found, expected.expand(found.shape), rtol=0, atol=1e-12)
    assert torch.equal(MinibatchDeviation(Echo(), group)(x), wider)
    assert torch.equal(MinibatchDeviation(Echo(), group).features(x), wider.flatten(1))


def test_rows_that_are_all_alike_have_a_finite_slope() -> None:
    x = torch.ones(4, 3, requires_grad=True)
    deviation = MinibatchDeviation()(x)[:, -1]
    assert (deviation < 1e-3).all()
    assert torch.autograd.grad(deviation.sum(), x)[0].isfinite().all()


def test_what_looks_across_rows_is_found() -> None:
    critic = MLP((3, 4, 1), stream=Stream(0))
    assert row_wise(critic)
    assert row_wise(Packed(critic, 2))
    assert not row_wise(MinibatchDeviation(critic))
    assert not row_wise(Packed(MinibatchDeviation(critic), 2))
    assert not row_wise(nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)))


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="packing=0"):
        Packed(Echo(), 0)
    with pytest.raises(ValueError, match="x has 5 rows, which packs of 2 do not divide"):
        Packed(Echo(), 2)(torch.zeros(5, 1))
    with pytest.raises(ValueError, match="group=1"):
        MinibatchDeviation(group=1)
    with pytest.raises(ValueError, match="x has 5 rows, which groups of 2 do not divide"):
        MinibatchDeviation(group=2)(torch.zeros(5, 1))
