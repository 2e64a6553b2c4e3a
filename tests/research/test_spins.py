"""Spins as a change of variable: the same distribution, energies and annealing path in both
descriptions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from equilibria.inference import exact, partition
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.random import Stream
from equilibria.units import Bernoulli, Gaussian, Spin
from exact import energy, log_partition, machine_of, values_of
from research.spins import to_binary, to_spins


def as_binary(machine: BoltzmannMachine, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        name: (x + 1) / 2 if isinstance(machine.units(name), Spin) else x
        for name, x in state.items()
    }


@torch.no_grad()
def test_energies_and_log_z_differ_by_the_constant() -> None:
    """Energies from the formula in numpy, at every β; log Z by brute force. With Gaussian
    neighbours too."""
    for beta in [1.0, 0.4, 0.0]:
        for shape in ["spin", "learned"]:
            machine = machine_of(shape)
            binary, constant = to_binary(machine)
            assert not any(isinstance(binary.units(name), Spin) for name in binary.layers)
            state = {
                name: values_of(machine, name, 20, seed=i) for i, name in enumerate(machine.layers)
            }
            there = energy(machine, {n: x.numpy() for n, x in state.items()}, beta)
            here = energy(
                binary, {n: x.numpy() for n, x in as_binary(machine, state).items()}, beta
            )
            shift = there - here
            assert np.ptp(shift) < 1e-12
            assert log_partition(machine, beta=beta)[0] == pytest.approx(
                log_partition(binary, beta=beta)[0] - shift[0], abs=1e-11
            )
            if beta == 1.0:
                assert shift[0] == pytest.approx(constant, abs=1e-12)
                assert exact.log_partition(machine) == pytest.approx(
                    exact.log_partition(binary) - constant, abs=1e-11
                )


@torch.no_grad()
def test_there_and_back() -> None:
    for shape in ["rbm", "dbm", "label", "towers", "spin"]:
        machine = machine_of(shape)
        spins, forth = to_spins(machine)
        assert exact.log_partition(machine) == pytest.approx(
            exact.log_partition(spins) - forth, abs=1e-11
        )
        again, back = to_binary(spins)
        if shape != "spin":  # there a layer was a spin before
            assert forth + back == pytest.approx(0.0, abs=1e-12)
            assert str(again.layers) == str(machine.layers)
            for name, value in machine.state_dict().items():
                assert torch.allclose(again.state_dict()[name], value, atol=1e-12)


def test_the_machine_is_left_as_it_was() -> None:
    machine = BoltzmannMachine.stack(Spin(3), Gaussian(2), Bernoulli(2)).initialise(0)
    before = {name: x.clone() for name, x in machine.state_dict().items()}
    to_binary(machine)
    to_spins(machine)
    assert all(torch.equal(x, before[name]) for name, x in machine.state_dict().items())


def test_the_draws_are_the_same_draws() -> None:
    """x = 2 v − 1 cell by cell from one stream, since p(x = 1) = σ(2 f); annealing's estimates
    differ by the constant to rounding."""
    field = Stream(1).normal((50, 4), torch.float64)
    assert torch.equal(
        Spin(4).sample(field, Stream(2)), 2 * Bernoulli(4).sample(2 * field, Stream(2)) - 1
    )
    machine = machine_of("spin", std=0.5)
    binary, constant = to_binary(machine)
    first, second = (partition.forward_ais(m, chains=20, betas=20) for m in (machine, binary))
    assert first.value == pytest.approx(second.value - constant, abs=1e-10)
