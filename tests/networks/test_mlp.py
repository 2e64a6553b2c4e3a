"""Fully connected networks: their weights' law and shapes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from equilibria.networks.mlp import ACTIVATIONS, MLP, OUTPUTS
from equilibria.random import Stream


def test_it_is_the_composition_of_its_layers() -> None:
    network = MLP((3, 5, 4, 2), activation="relu", output="tanh", stream=Stream(0)).double()
    x = Stream(1).normal((7, 3), torch.float64)
    h = x
    for layer in list(network.layers)[:-1]:
        h = (h @ layer.weight.T + layer.bias).clamp(min=0)
    expected = torch.tanh(h @ network.layers[-1].weight.T + network.layers[-1].bias)
    assert torch.allclose(network(x), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("activation", "deviation"),
    [
        ("relu", math.sqrt(2 / 400)),
        ("leaky_relu", math.sqrt(2 / (400 * 1.04))),
        ("tanh", math.sqrt(2 / 700)),
    ],
)
def test_initial_weights_are_he_or_glorot_normal(activation: str, deviation: float) -> None:
    hidden, top = MLP((400, 300, 200), activation=activation, stream=Stream(2)).layers
    for layer, expected, cells in ((hidden, deviation, 120_000), (top, math.sqrt(2 / 500), 60_000)):
        # 5 standard errors of the mean and of the deviation: false alarm below 1e-6 each
        assert abs(layer.weight.mean().item()) < 5 * expected / math.sqrt(cells)
        assert abs(layer.weight.std().item() / expected - 1) < 5 / math.sqrt(2 * cells)
        assert torch.equal(layer.bias, torch.zeros_like(layer.bias))


def test_weights_come_from_the_stream_alone() -> None:
    before = torch.get_rng_state()
    one, same, other = (MLP((3, 4, 4, 1), stream=Stream(seed)) for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), before)
    for mine, its, others in zip(one.layers, same.layers, other.layers, strict=True):
        assert torch.equal(mine.weight, its.weight)
        assert not torch.equal(mine.weight, others.weight)
    square = MLP((4, 4, 4), activation="tanh", stream=Stream(5)).layers  # of one scale
    assert not torch.equal(square[0].weight, square[1].weight)


def test_inputs_are_flattened_and_conditions_joined() -> None:
    network = MLP((8, 2), stream=Stream(0))
    x, condition = Stream(1).normal((5, 2, 3)), torch.eye(2, dtype=torch.int64)[[0, 1, 0, 1, 1]]
    joined = torch.cat([x.reshape(5, 6), condition.float()], dim=1)
    assert torch.equal(network(x, condition), network(joined))


@pytest.mark.parametrize(("activation", "output"), list(zip(ACTIVATIONS, OUTPUTS, strict=True)))
def test_every_row_of_the_tables_trains(activation: str, output: str | None) -> None:
    network = MLP((3, 4, 2), activation=activation, output=output, stream=Stream(0))
    values = network(10 * Stream(1).normal((50, 3)))
    low, high = {None: (-math.inf, math.inf), "tanh": (-1, 1), "sigmoid": (0, 1)}[output]
    assert low <= values.min() < values.max() <= high
    values.square().sum().backward()
    assert all(
        isinstance(p, nn.Parameter) and p.grad is not None and p.grad.abs().sum() > 0
        for p in network.parameters()
    )


def test_bad_arguments_are_named() -> None:
    for arguments, name in [
        ({"sizes": (3,)}, "sizes"),
        ({"activation": "gelu"}, "activation"),
        ({"output": "relu"}, "output"),
        ({"precision": "half"}, "precision"),
    ]:
        with pytest.raises(ValueError, match=f"{name}="):
            MLP(**{"sizes": (3, 2), "stream": Stream(0), **arguments})
