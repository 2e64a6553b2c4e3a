"""Networks of pictures, as a family: rows and planes, conditions, resolutions, weights, types."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from equilibria.networks import DCGANCritic, DCGANGenerator, ResidualCritic, ResidualGenerator
from equilibria.networks.convolutional import DetailGenerator
from equilibria.networks.normalisation import batch_norms, reestimate
from equilibria.networks.pictures import halvings, to_planes, to_rows
from equilibria.random import Stream

GENERATORS, CRITICS = (DCGANGenerator, ResidualGenerator), (DCGANCritic, ResidualCritic)


def trained_a_little(network: nn.Module, seed: int = 9) -> nn.Module:
    """Weights that are none of them 0, so that every path shows."""
    with torch.no_grad():
        for i, parameter in enumerate(network.parameters()):
            parameter.add_(Stream(seed).child(i).normal(tuple(parameter.shape)) * 0.05)
    return network


def test_rows_are_planes_and_back() -> None:
    pictures = torch.arange(2 * 4 * 6 * 3.0).view(2, 4, 6, 3)
    planes = to_planes(pictures.flatten(1), (4, 6, 3))
    assert torch.equal(planes, pictures.movedim(3, 1))
    assert torch.equal(to_rows(planes), pictures.flatten(1))
    packed = to_planes(pictures.view(1, -1), (4, 6, 3), pictures=2)
    assert torch.equal(packed[0], planes.flatten(0, 1))


def test_sides_are_halved_as_often_as_they_can_be() -> None:
    halved = {(8, 8): 1, (12, 12): 2, (8, 32): 1, (14, 14): 1, (28, 28): 2, (64, 64): 4, (7, 8): 0}
    assert {sides: halvings(*sides) for sides in halved} == halved


def test_a_condition_is_read_pictures_first_and_pack_by_pack() -> None:
    critic = DCGANCritic((6, 6), 2, condition=2, planes=1, packing=2, stream=Stream(0))
    pictures, numbers = Stream(1).normal((2, 36)), torch.tensor([[10.0, 20], [30, 40]])
    packed = torch.cat([pictures, numbers], 1).view(1, 76)
    found = critic.given(packed, packed)
    assert torch.equal(found[0], pictures.view(1, 2, 6, 6))
    assert torch.equal(found[1], numbers.view(1, 4))
    seen = []
    critic.maps = lambda planes: seen.append(planes) or planes.new_zeros(1, 18)
    critic.features(torch.zeros(1, 72), packed)
    assert torch.equal(seen[0][:, 2:4], found[0])
    assert torch.equal(seen[0][0, 4:].flatten(1), numbers.view(4, 1).expand(4, 36))


@pytest.mark.parametrize("hidden", [0, 6])
@pytest.mark.parametrize(
    ("kind", "shape"),
    [(0, (20, 28)), (0, (32, 32, 3)), (1, (8, 8)), (1, (14, 14)), (2, (14, 14)), (2, (8, 12, 3))],
)
def test_every_resolution_trains(kind: int, shape: tuple[int, ...], hidden: int) -> None:
    """Shapes, the range of a picture, and a gradient in every parameter of both players."""
    size = math.prod(shape)
    how: dict[str, Any] = {"condition": 3, "planes": 2, "hidden": hidden}
    kinds = (*GENERATORS, DetailGenerator)
    generator = trained_a_little(kinds[kind](shape, 5, 4, stream=Stream(0), **how))
    critic = trained_a_little(CRITICS[kind % 2](shape, 4, stream=Stream(1), **how))
    z, condition = Stream(2).normal((4, 5)), Stream(3).normal((4, 2 * size + 3))
    x = generator(z, condition)
    assert x.shape == (4, size)
    assert -1 <= x.min() < x.max() <= 1
    features = critic.features(x, condition)
    assert features.dim() == 2
    assert torch.allclose(critic.top(features), critic(x, condition))
    critic(x, condition).square().sum().backward()
    for parameter in (*generator.parameters(), *critic.parameters()):
        assert parameter.grad is not None
    for name, parameter in (*generator.named_parameters(), *critic.named_parameters()):
        # a mean is taken off what it adds
        before_norm = name.endswith("bias") and any(
            part in name for part in ("first", "steps", "hidden.")
        )
        assert before_norm or parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("kind", range(2), ids=["dcgan", "residual"])
def test_a_picture_moves_with_its_rows_pixels(kind: int) -> None:
    """A critic's slope in the pixels is that of finite differences, in the right places of the
    row."""
    critic = trained_a_little(CRITICS[kind]((8, 12, 3), 4, stream=Stream(0))).double().eval()
    x = Stream(1).normal((1, 288), torch.float64).requires_grad_()
    (slope,) = torch.autograd.grad(critic(x).sum(), x)
    with torch.no_grad():
        for pixel in (0, 1, 37, 287):
            step = torch.zeros_like(x)
            step[0, pixel] = 1e-5
            difference = (critic(x + step) - critic(x - step)).item() / 2e-5
            assert math.isclose(difference, slope[0, pixel].item(), rel_tol=1e-5, abs_tol=1e-9)


@pytest.mark.parametrize("kind", range(2), ids=["dcgan", "residual"])
def test_the_squared_slope_has_a_gradient(kind: int) -> None:
    """R1's: twice differentiable in one go, right to finite differences in a weight."""
    critic = trained_a_little(
        CRITICS[kind]((8, 8), 4, stream=Stream(0), **({"normalisation": None} if kind == 0 else {}))
    ).double()
    x = Stream(1).normal((3, 64), torch.float64).requires_grad_()

    def penalty() -> torch.Tensor:
        (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
        return slope.square().sum()

    weight = critic.top.weight
    (gradient,) = torch.autograd.grad(penalty(), weight)
    place = (0, 1)
    with torch.no_grad():
        weight[place] += 1e-6
    above = penalty().item()
    with torch.no_grad():
        weight[place] -= 2e-6
    below = penalty().item()
    assert math.isclose((above - below) / 2e-6, gradient[place].item(), rel_tol=1e-4)


def test_a_finer_picture_is_that_of_its_coarser_one_and_of_noise() -> None:
    """Pixels far from where the coarser picture was changed stay as they are, and noise changes
    pixels everywhere."""
    network = trained_a_little(DetailGenerator((16, 16), 5, 4, planes=1, stream=Stream(0))).eval()
    z, coarse = Stream(1).normal((1, 5)), torch.zeros(1, 16, 16)
    before = network(z, coarse.flatten(1)).view(16, 16)
    coarse[0, :2, :2] = 1
    moved = (network(z, coarse.flatten(1)).view(16, 16) - before).abs()
    assert moved[:4, :4].max() > 1e-4
    # two 3 × 3 convolutions at half size and a kernel of 4 reach 7 pixels beyond the block
    assert moved[9:].max() == moved[:, 9:].max() == 0
    coarse[0, :2, :2] = 0
    other = (network(z + 1, coarse.flatten(1)).view(16, 16) - before).abs()
    assert (other > 1e-6).double().mean() > 0.9


def test_dense_ends_are_normalised_but_for_runs_of_the_first_edition() -> None:
    """Behind the dense layers stands batch norm; where no number of units is said there is the
    critic of 0.1.0, whose dense layer has none."""
    for kind, more in zip(CRITICS, (1, 0), strict=True):  # a dcgan's second convolution has one
        critic = kind((28, 28), 4, hidden=6, stream=Stream(0))
        assert len(batch_norms(critic)) == 1 + more
        assert critic.features(torch.zeros(3, 784)).shape == (3, 6)
        former = kind((28, 28), 4, stream=Stream(0))
        assert len(batch_norms(former)) == more
        assert former.features(torch.zeros(3, 784)).shape == (3, 256)
    for shape, width in (((28, 28), 8 * 49), ((32, 32), 16 * 16)):
        assert DCGANCritic(shape, 4, hidden=0, stream=Stream(0)).top.in_features == width
    small = DCGANGenerator((28, 28), 5, 4, hidden=6, stream=Stream(0))
    assert (small.hidden.out_features, small.first.in_features) == (6, 6)
    assert not batch_norms(DCGANGenerator((28, 28), 5, 4, normalisation=None, stream=Stream(0)))


def test_weights_come_from_the_stream_alone() -> None:
    for network in [*GENERATORS, *CRITICS]:
        arguments = ((8, 8), 5, 4) if network in GENERATORS else ((8, 8), 4)
        before = torch.get_rng_state()
        one, same, other = (network(*arguments, stream=Stream(seed)) for seed in (5, 5, 6))
        assert torch.equal(torch.get_rng_state(), before)
        states = [torch.cat([p.flatten() for p in n.parameters()]) for n in (one, same, other)]
        assert torch.equal(states[0], states[1])
        assert not torch.equal(states[0], states[2])
        assert torch.isfinite(states[0]).all()


def test_dcgans_weights_have_the_papers_law() -> None:
    """Standard deviation 0.02 within 5 standard errors: a false alarm below 1e-6, an error of 5 %
    is seen."""
    generator = DCGANGenerator((16, 16), 20, 32, stream=Stream(0))
    weights = torch.cat([step.weight.flatten() for step in generator.steps])
    assert abs(weights.std().item() / 0.02 - 1) < 5 / math.sqrt(2 * len(weights))
    gains = torch.cat([norm.weight for norm in batch_norms(generator)])
    assert abs(gains.mean().item() - 1) < 5 * 0.02 / math.sqrt(len(gains))
    assert not batch_norms(DCGANGenerator((16, 16), 20, 32, normalisation=None, stream=Stream(0)))


def test_a_residual_network_begins_with_the_identity_in_its_blocks() -> None:
    """So the output of a deep one has the size that the shallow one's has."""
    for blocks in [1, 4]:
        network = ResidualGenerator((16, 16), 20, 16, blocks=blocks, output=None, stream=Stream(0))
        h = Stream(1).normal((2, 16, 4, 4))
        block = network.blocks[-1][0]
        assert torch.equal(block(h), h)
        assert 0.1 < network(Stream(2).normal((200, 20))).std().item() < 3


@pytest.mark.parametrize("kind", range(2), ids=["dcgan", "residual"])
def test_bfloat16_is_near_and_its_ends_are_float32(kind: int) -> None:
    pairs = [(GENERATORS[kind], ((16, 16), 5, 8)), (CRITICS[kind], ((16, 16), 8))]
    for network, arguments in pairs:
        single = trained_a_little(network(*arguments, stream=Stream(0)))
        half = trained_a_little(network(*arguments, precision="bfloat16", stream=Stream(0)))
        x = Stream(1).normal((6, 5 if network in GENERATORS else 256))
        exact, found = single(x), half(x)
        assert found.dtype == torch.float32
        assert 0 < (found - exact).norm() / exact.norm() < 0.05


def test_a_pack_is_seen_side_by_side() -> None:
    """A critic of packs of two knows their order, and needs each one's condition."""
    for kind in range(2):
        critic = trained_a_little(
            CRITICS[kind]((8, 8), 4, condition=1, packing=2, stream=Stream(0))
        )
        x, condition = Stream(1).normal((4, 128)), Stream(2).normal((4, 2))
        answer = critic(x, condition)
        assert answer.shape == (4, 1)
        assert not torch.allclose(critic(x.roll(64, 1), condition.roll(1, 1)), answer)


def test_bad_arguments_are_named() -> None:
    for build, message in [
        (lambda: DCGANGenerator((7, 8), 2, stream=Stream(0)), r"shape=\(7, 8\): expected"),
        (lambda: ResidualCritic((8,), stream=Stream(0)), r"shape=\(8,\): expected"),
        (lambda: DCGANCritic((8, 8), 0, stream=Stream(0)), "channels=0: expected"),
        (lambda: DCGANCritic((28, 28), normalisation="layer", stream=Stream(0)), "normalisation="),
        (lambda: DCGANGenerator((8, 8), 2, output="relu", stream=Stream(0)), "output='relu'"),
        (lambda: ResidualGenerator((8, 8), 2, blocks=0, stream=Stream(0)), "blocks=0: expected"),
    ]:
        with pytest.raises(ValueError, match=message):
            build()


def test_a_condition_of_another_width_is_refused() -> None:
    critic = DCGANCritic((8, 8), 2, condition=3, stream=Stream(0))
    with pytest.raises(ValueError, match="condition has 0 columns, this network takes 3"):
        critic(torch.zeros(1, 64))


def test_reestimated_batch_norm_is_that_of_the_weights_as_they_are() -> None:
    """In evaluation mode the output is what training mode gives on a large batch; with the trailing
    statistics it is far off."""
    network = DCGANGenerator((8, 8), 5, 8, stream=Stream(0))
    batches = [(Stream(1).child(i).normal((200, 5)),) for i in range(10)]
    for batch in batches:
        network(*batch)
    trained_a_little(network, seed=3)
    z = Stream(2).normal((2000, 5))
    network.train()
    momenta = [norm.momentum for norm in batch_norms(network)]
    for norm in batch_norms(network):
        norm.momentum = 0.0
    truth = network(z)
    for norm, momentum in zip(batch_norms(network), momenta, strict=True):
        norm.momentum = momentum
    trailing = network.eval()(z)
    network.train()
    reestimate(network, batches)
    assert network.training
    assert [norm.momentum for norm in batch_norms(network)] == momenta
    again = network.eval()(z)
    assert (again - truth).norm() < 0.1 * (trailing - truth).norm()


def test_a_hidden_layer_sees_what_the_last_maps_do_not() -> None:
    for kind, shape, units in [(0, (28, 28), 256), (1, (14, 14), 256), (0, (32, 32), 0)]:
        critics = [CRITICS[kind](shape, 4, hidden=hidden, stream=Stream(0)) for hidden in (None, 0)]
        assert [
            0 if critic.hidden is None else critic.hidden.out_features for critic in critics
        ] == [units, 0]


@pytest.mark.parametrize("kind", range(2), ids=["dcgan", "residual"])
def test_only_a_hidden_layer_joins_corners_that_no_map_sees_both_of(kind: int) -> None:
    """With it the effect of one corner depends on the other, however far; a sum over maps that see
    parts of 28 pixels has no such term."""
    together = []
    for hidden in (None, 0):
        critic = trained_a_little(
            CRITICS[kind]((28, 28), 4, hidden=hidden, stream=Stream(0))
        ).double()
        x = torch.zeros(4, 28, 28, dtype=torch.float64)
        x[1, 0, 0] = x[3, 0, 0] = x[2, -1, -1] = x[3, -1, -1] = 5.0
        none, left, right, both = critic.eval()(x.flatten(1))[:, 0].tolist()
        together.append(abs(both - left - right + none))
    assert together[0] > 1e-6 > 1e-10 > together[1]
