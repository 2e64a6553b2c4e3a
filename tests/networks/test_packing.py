"""Critics that see several rows in a pack."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equilibria.networks.mlp import MLP
from equilibria.networks.packing import Packed, row_wise
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
    assert torch.equal(
        packed[1], torch.cat([x[3], x[4], x[5], condition[3], condition[4], condition[5]])
    )
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


def test_what_looks_across_rows_is_found() -> None:
    critic = MLP((3, 4, 1), stream=Stream(0))
    assert row_wise(critic)
    assert row_wise(Packed(critic, 2))
    assert not row_wise(nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)))
