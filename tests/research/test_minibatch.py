"""The deviation within a batch that a critic is shown."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from equilibria.networks.mlp import MLP
from equilibria.networks.packing import Packed, row_wise
from equilibria.random import Stream
from research.minibatch import MinibatchDeviation


class Echo(nn.Module):
    """What it is shown, as its answer and as its features."""

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return x if condition is None else torch.cat([x, condition], 1)

    def features(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.forward(x, condition).flatten(1)


def test_the_deviation_is_that_of_each_group() -> None:
    for group in [None, 3]:
        for shape in [(6, 4), (6, 2, 3, 3)]:
            x = Stream(3).normal(shape, torch.float64)
            wider = MinibatchDeviation(group=group)(x)
            assert torch.equal(wider[:, :-1], x)
            assert wider.shape[1] == shape[1] + 1
            size = group or 6
            for first in range(0, 6, size):
                expected = (
                    x[first : first + size].flatten(1).var(0, correction=0).add(1e-8).sqrt().mean()
                )
                found = wider[first : first + size, -1]
                assert torch.allclose(found, expected.expand(found.shape), rtol=0, atol=1e-12)
            assert torch.equal(MinibatchDeviation(Echo(), group)(x), wider)
            assert torch.equal(MinibatchDeviation(Echo(), group).features(x), wider.flatten(1))


def test_rows_that_are_all_alike_have_a_finite_slope() -> None:
    x = torch.ones(4, 3, requires_grad=True)
    deviation = MinibatchDeviation()(x)[:, -1]
    assert (deviation < 1e-3).all()
    assert torch.autograd.grad(deviation.sum(), x)[0].isfinite().all()


def test_it_looks_across_rows() -> None:
    critic = MinibatchDeviation(MLP((4, 4, 1), stream=Stream(0)))
    assert not row_wise(critic)
    assert not row_wise(Packed(critic, 2))


def test_groups_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="group=1"):
        MinibatchDeviation(group=1)
    with pytest.raises(ValueError, match="x has 5 rows, which groups of 2 do not divide"):
        MinibatchDeviation(group=2)(torch.zeros(5, 1))
