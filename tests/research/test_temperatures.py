"""Temperatures that are chosen for a ladder, by the enumerated acceptance of its swaps."""

from __future__ import annotations

from equilibria.inference.ladder import temperatures
from exact import machine_of
from kernels import pair_acceptance
from research.temperatures import choose_betas


def test_chosen_temperatures_are_swapped_evenly() -> None:
    """By the enumerated acceptance of each pair: within 0.06 of each other, where even steps of β
    are 0.3 apart."""
    machine = machine_of("rbm", std=3.0)
    even = pair_acceptance(machine, [beta for _, beta in temperatures(machine, 5)])
    assert even.max() - even.min() > 0.3
    chosen = pair_acceptance(machine, choose_betas(machine, 5, steps=40, chains=500, rounds=4))
    assert chosen.max() - chosen.min() < 0.06
    assert chosen.min() > even.min()


def test_as_many_temperatures_as_an_acceptance_takes() -> None:
    machine = machine_of("rbm", std=3.0)
    counts = []
    for aim in (0.5, 0.8):
        betas = choose_betas(machine, acceptance=aim, steps=30, chains=200, rounds=3)
        assert betas[0] == 0.0
        assert betas[-1] == 1.0
        assert betas == sorted(set(betas))
        found = pair_acceptance(machine, betas)
        assert (
            aim - 0.05 < found.mean() < aim + 0.15
        )  # a whole number of replicas is at least what the aim takes
        counts.append(len(betas))
    assert counts[0] < counts[1]
