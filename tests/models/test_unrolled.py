"""The unrolled network: its equations by hand, and its masks."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from equilibria.models.unrolled import UnrolledNetwork
from equilibria.random import Stream


def build(*sizes: int) -> tuple[UnrolledNetwork, list[Tensor], list[Tensor]]:
    """A float64 network with random weights, and the stack's own W and b."""
    stream = Stream(0)
    weights = [
        stream.child("W", i).normal((a, b), torch.float64)
        for i, (a, b) in enumerate(pairwise(sizes))
    ]
    biases = [stream.child("b", i).normal((b,), torch.float64) for i, b in enumerate(sizes[1:])]
    return (
        UnrolledNetwork(sizes, classes=3).double().adopt(weights, biases, stream.child("top")),
        weights,
        biases,
    )


def test_each_layer_hears_the_one_below_and_the_posterior_above() -> None:
    for sizes in [(6, 5), (6, 5, 4), (6, 5, 4, 3, 7)]:
        network, weights, biases = build(*sizes)
        v = Stream(1).normal((8, sizes[0]), torch.float64)
        above = [
            Stream(2).child(i).uniform((8, size), torch.float64) for i, size in enumerate(sizes[2:])
        ]
        h, expected = v, []
        for i, bias in enumerate(biases):
            field = h @ weights[i] + bias + (above[i] @ weights[i + 1].T if i < len(above) else 0)
            h = 1 / (1 + torch.exp(-field))
            expected.append(h)
        x = torch.cat([v, *above], 1)
        for found, wanted in zip(network.hidden(x), expected, strict=True):
            assert torch.allclose(found, wanted, rtol=0, atol=1e-14)
        assert torch.allclose(
            network(x), h @ network.top.weight.T, rtol=0, atol=1e-14
        )  # the classes' biases are 0 at first


def test_masks_multiply_the_input_and_each_hidden_layer() -> None:
    network, _, _ = build(6, 5, 4)
    x = Stream(1).normal((8, 10), torch.float64)
    masks = [
        Stream(3).child(i).uniform((8, width), torch.float64)
        for i, width in enumerate(network.masked)
    ]
    first, second = network.layers
    h1 = torch.sigmoid((x * masks[0]) @ first.weight.T + first.bias) * masks[1]
    h2 = torch.sigmoid(h1 @ second.weight.T + second.bias) * masks[2]
    assert torch.allclose(network(x, masks), h2 @ network.top.weight.T, rtol=0, atol=1e-14)
    assert torch.equal(network(x, [torch.ones(1, dtype=torch.float64)] * 3), network(x))


def test_the_two_copies_of_a_matrix_are_parameters_of_their_own() -> None:
    network, _, _ = build(6, 5, 4)
    before = network.layers[1].weight.clone()
    with torch.no_grad():
        network.layers[0].weight.add_(1)
    assert torch.equal(network.layers[1].weight, before)


def test_without_the_posterior_each_layer_hears_only_the_one_below() -> None:
    network = UnrolledNetwork((6, 5, 4), classes=3, append=False).double()
    weights = [
        Stream(0).child(i).normal(shape, torch.float64) for i, shape in enumerate([(6, 5), (5, 4)])
    ]
    biases = [Stream(1).child(i).normal((width,), torch.float64) for i, width in enumerate([5, 4])]
    network.adopt(weights, biases, Stream(2))
    x = Stream(3).normal((7, 6), torch.float64)
    h1 = torch.sigmoid(x @ weights[0] + biases[0])
    for found, wanted in zip(
        network.hidden(x), (h1, torch.sigmoid(h1 @ weights[1] + biases[1])), strict=True
    ):
        assert torch.allclose(found, wanted, rtol=0, atol=1e-12)
    assert network.masked == (6, 5, 4)
