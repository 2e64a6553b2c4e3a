"""The bias of chains in bfloat16, without a sample drawn: the stationary distribution of the kernel
with its rounded fields.

The machines are trained on bars and stripes by the exact gradient until their modes are sharp,
since rounding matters most
where weights are large. A chain in bfloat16 draws a colour from fields that the rounded machine
gives, each rounded again;
both conditionals are tabulated with these very fields, and the fixed point of their product is
compared with the enumerated model.
"""

from __future__ import annotations

import copy
import functools
import math

import pytest
import torch
from torch import Tensor

from equilibria.data import bars_and_stripes
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.units import Bernoulli

SHAPES = {"rbm": (9, 8), "dbm": (9, 7, 3)}


def states_of(machine: BoltzmannMachine, colour: int) -> dict[str, Tensor]:
    """Every joint state of one colour, by layer."""
    sizes = [machine.units(name).size for name in machine.colours[colour]]
    joint = Bernoulli(sum(sizes)).state_at(torch.arange(2 ** sum(sizes)), machine.dtype)
    return dict(zip(machine.colours[colour], joint.split(sizes, 1), strict=True))


def log_visible(machine: BoltzmannMachine) -> Tensor:
    """log p of every visible state, by enumeration; differentiable."""
    logs = machine.log_marginal(0, states_of(machine, 0)).view(
        -1, 2 ** machine.units("visible").size
    )
    return torch.log_softmax(torch.logsumexp(logs, 0), 0)


@functools.cache
def patterns() -> Tensor:
    """The numbers of the 14 bars and stripes among the visible states."""
    rows = torch.as_tensor(bars_and_stripes(3), dtype=torch.int64)
    return (rows << torch.arange(9)).sum(1)


@functools.cache
def trained(shape: str) -> BoltzmannMachine:
    machine = BoltzmannMachine.stack(*map(Bernoulli, SHAPES[shape])).initialise(0, std=0.5)
    optimiser = torch.optim.Adam(machine.parameters(), lr=0.1)
    for _ in range(150):
        optimiser.zero_grad()
        (-log_visible(machine)[patterns()].mean()).backward()
        optimiser.step()
    return machine.requires_grad_(False)


def conditional(machine: BoltzmannMachine, colour: int) -> Tensor:
    """P(colour = column | other colour = row) by the machine's own fields, in the type that it
    computes them in; float64."""
    given, to = states_of(machine, 1 - colour), states_of(machine, colour)
    log_p = torch.zeros(
        len(next(iter(given.values()))), len(next(iter(to.values()))), dtype=torch.float64
    )
    for name, x in to.items():
        field = machine.field(name, given).double()
        log_p += field @ x.double().T - torch.nn.functional.softplus(field).sum(1, keepdim=True)
    return log_p.exp()


def stationary(machine: BoltzmannMachine) -> tuple[Tensor, Tensor]:
    """What the sweep leaves as it is, over the states of colour 0 and of colour 1."""
    first, second = conditional(machine, 0), conditional(machine, 1)
    kernel = first @ second  # from the state of colour 1 to the next one
    equations = torch.cat(
        [
            kernel.T - torch.eye(len(kernel), dtype=torch.float64),
            torch.ones(1, len(kernel), dtype=torch.float64),
        ]
    )
    right = torch.zeros(len(equations), 1, dtype=torch.float64)
    right[-1] = 1.0
    after = torch.linalg.lstsq(equations, right, driver="gelsd").solution.squeeze(1)
    assert float((after @ kernel - after).abs().max()) < 1e-10
    return after @ first, after


def enumerated(machine: BoltzmannMachine) -> tuple[Tensor, Tensor]:
    """The model's own marginals of the two colours, in float64."""
    exactly = copy.deepcopy(machine).double()
    logs = [exactly.log_marginal(colour, states_of(exactly, colour)) for colour in (0, 1)]
    return tuple(torch.softmax(log, 0) for log in logs)  # type: ignore[return-value]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_machines_have_learnt_sharp_modes(shape: str) -> None:
    """Within .2 nats of −log 14, the best that any machine can do on the 14 patterns."""
    machine = trained(shape)
    assert float(log_visible(machine)[patterns()].mean()) > -math.log(14) - 0.2
    assert max(float(weight.abs().max()) for weight in machine.weight.values()) > 3


@pytest.mark.parametrize("shape", SHAPES)
def test_in_float64_the_fixed_point_is_the_model(shape: str) -> None:
    machine = copy.deepcopy(trained(shape)).double()
    for mine, true in zip(stationary(machine), enumerated(machine), strict=True):
        assert float((mine - true).abs().sum()) / 2 < 1e-8


def bias_of(machine: BoltzmannMachine, rough: BoltzmannMachine) -> tuple[float, float, float]:
    """The larger of the two colours' total variations, largest shifts of a unit's mean, and
    KL(model ‖ chains) in nats."""
    measures = []
    for colour, (mine, true) in enumerate(zip(stationary(rough), enumerated(machine), strict=True)):
        x = torch.cat(list(states_of(machine, colour).values()), 1).double()
        divergence = (true * (true.log() - mine.clamp_min(1e-300).log())).sum()
        measures.append(
            (
                float((mine - true).abs().sum()) / 2,
                float(((mine - true) @ x).abs().max()),
                float(divergence),
            )
        )
    return tuple(map(max, zip(*measures, strict=True)))  # type: ignore[return-value]


BOUNDS = (0.025, 0.025, 0.002)
"""What docs/architecture.md states: total variation, shift of a unit's mean, KL(model ‖ chains) in
nats."""


def rounded(machine: BoltzmannMachine, digits: int) -> BoltzmannMachine:
    """The machine in bfloat16 with every parameter at so many binary digits; the type itself has
    eight."""
    rough = copy.deepcopy(machine)
    for parameter in rough.parameters():
        mantissa, exponent = torch.frexp(parameter)
        parameter.copy_(torch.ldexp((mantissa * 2**digits).round() / 2**digits, exponent))
    return rough.to(torch.bfloat16)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_bias_of_bfloat16_is_within_what_is_stated(shape: str) -> None:
    machine = trained(shape)
    found = bias_of(machine, copy.deepcopy(machine).to(torch.bfloat16))
    assert all(value < bound for value, bound in zip(found, BOUNDS, strict=True)), found
    assert found == bias_of(machine, rounded(machine, 8))


@pytest.mark.parametrize("shape", SHAPES)
def test_two_digits_less_would_be_noticed(shape: str) -> None:
    found = bias_of(trained(shape), rounded(trained(shape), 6))
    assert all(value > bound for value, bound in zip(found, BOUNDS, strict=True)), found


@pytest.mark.parametrize("shape", SHAPES)
def test_nearly_all_of_it_is_the_parameters_rounding(shape: str) -> None:
    """Chains of the rounded machine in float32: the fields' own rounding adds little, so the chains
    are exact for a machine nearby."""
    machine = trained(shape)
    of_parameters = bias_of(machine, copy.deepcopy(machine).to(torch.bfloat16).float())
    whole = bias_of(machine, copy.deepcopy(machine).to(torch.bfloat16))
    assert of_parameters[0] > 0.8 * whole[0]
