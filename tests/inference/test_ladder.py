"""Replica exchange: swaps against enumerated and integrated marginals, long runs against exact
moments, and the choice of temperatures.

The kernels themselves are held to their enumerated transition matrices in ``test_kernels.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from equilibria.inference import gibbs
from equilibria.inference.clamp import parse
from equilibria.inference.ladder import (
    Replica,
    exchange,
    kept_colour,
    run,
    start,
    step,
    temperatures,
    trajectory,
)
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.random import Stream
from equilibria.units import Bernoulli, Rectified
from exact import (
    MACHINES,
    Array,
    clamps_of,
    enumerate_states,
    log_partition,
    machine_of,
    paired,
    values_of,
)
from kernels import ALARM, pair_acceptance

SIGMA = stats.norm.isf(ALARM / 2)


def replicas_of(shape: str, kind: str) -> list[Replica]:
    now, before = machine_of(shape), machine_of(shape, seed=1)
    return {
        "temperatures": [Replica(now, 0.4), Replica(now, 1.0)],
        "snapshot": [Replica(before, 1.0), Replica(now, 1.0)],
        "base": [Replica(now, 0.0), Replica(now, 1.0)],
    }[kind]


def two_modes() -> BoltzmannMachine:
    """All zeros and all ones weigh the same; a plain Gibbs sweep crosses with a chance of about
    1e-7."""
    return BoltzmannMachine.from_arrays(
        [np.full((6, 4), 6.0)], [np.full(6, -12.0), np.full(4, -18.0)]
    )


# ------------------------------------------------------------------ a move


CASES = (("temperatures", "masked"), ("snapshot", "several"), ("base", None))


@pytest.mark.parametrize(("shape", "case"), paired(MACHINES, CASES, 1))
@torch.no_grad()
def test_the_chance_of_a_swap_is_the_ratio_of_exact_marginals(
    shape: str, case: tuple[str, str | None]
) -> None:
    """To 1e-9, for every kind of layer: discrete ones enumerated, Gaussian ones by the full
    Gaussian integral."""
    kind, clamp = case
    replicas = replicas_of(shape, kind)
    given = {} if clamp is None else clamps_of(shape)[clamp]
    held = parse(replicas[0].machine, given)
    states = start(replicas, 4, 3, held)
    moved = exchange(replicas, states, Stream(0), held=held)
    kept = replicas[0].machine.colours[kept_colour(replicas[0].machine)]
    elsewhere = {n: v for n, v in given.items() if n not in kept}

    def log_marginal(replica: Replica, state: dict[str, torch.Tensor]) -> Array:
        return log_partition(
            replica.machine, {**elsewhere, **{n: state[n] for n in kept}}, replica.beta
        )

    (low, high), (x, y) = replicas, states
    log_ratio = (
        log_marginal(low, y) + log_marginal(high, x) - log_marginal(low, x) - log_marginal(high, y)
    )
    assert np.abs(moved.chance[0].numpy() - np.exp(np.minimum(log_ratio, 0.0))).max() < 1e-9


@pytest.mark.parametrize(
    ("shape", "kind"), [("dbm", "temperatures"), ("gaussian", "snapshot"), ("label", "snapshot")]
)
@torch.no_grad()
def test_what_is_swapped_is_kept_and_the_rest_is_drawn_under_the_returned_fields(
    shape: str, kind: str
) -> None:
    replicas = replicas_of(shape, kind)
    states = start(replicas, 50, 1)
    before = [{n: x.clone() for n, x in state.items()} for state in states]
    moved = exchange(replicas, states, Stream(2))
    assert 0 < int(moved.accepted.sum()) < 50
    for i, (machine, beta) in enumerate(replicas):
        for name in machine.colours[kept_colour(machine)]:
            other = states[1 - i][name]
            assert torch.equal(
                moved.states[i][name],
                torch.where(moved.accepted[0][:, None], other, states[i][name]),
            )
        for name in machine.colours[1 - kept_colour(machine)]:
            assert torch.allclose(
                moved.fields[i][name], machine.field(name, moved.states[i], beta), atol=1e-12
            )
            drawn = machine.units(name).sample(
                moved.fields[i][name], Stream(2).child("second", i, name)
            )
            assert torch.equal(moved.states[i][name], drawn)
        assert list(moved.states[i]) == list(machine.layers)
        assert all(torch.equal(states[i][n], before[i][n]) for n in before[i])


@pytest.mark.parametrize("shape", ["dbm", "gaussian"])
@torch.no_grad()
def test_two_shards_move_as_one_process_does(shape: str) -> None:
    replicas = [Replica(machine_of(shape), 0.0), *replicas_of(shape, "snapshot")]
    whole = start(replicas, 8, Stream(3))
    moved = step(replicas, whole, Stream(4))
    for rank in range(2):
        mine = slice(4 * rank, 4 * rank + 4)
        part = start(replicas, 4, Stream(3).shard(rank))
        after = step(replicas, part, Stream(4).shard(rank))
        assert torch.equal(after.accepted, moved.accepted[:, mine])
        for i, state in enumerate(after.states):
            assert all(
                torch.allclose(x, moved.states[i][n][mine], atol=1e-12) for n, x in state.items()
            )


def test_the_larger_colour_is_summed_out() -> None:
    """The fewer states are kept: of a DBM 4-3-3 the middle layer, of one with Gaussian layers the
    discrete colour; of equals the first."""
    kept = {
        shape: machine_of(shape).colours[kept_colour(machine_of(shape))]
        for shape in ("dbm", "gaussian", "learned", "rbm")
    }
    assert kept == {
        "dbm": ("hidden1",),
        "gaussian": ("hidden1",),
        "learned": ("hidden1",),
        "rbm": ("hidden1",),
    }
    assert kept_colour(BoltzmannMachine.stack(Bernoulli(3), Bernoulli(3))) == 0
    assert kept_colour(BoltzmannMachine.stack(Bernoulli(3), Bernoulli(4))) == 0
    assert kept_colour(BoltzmannMachine.stack(Bernoulli(3), Rectified(2))) == 0


# ------------------------------------------------------------------ runs


def test_a_ladder_crosses_where_gibbs_sampling_is_stuck() -> None:
    """500 ladders from one mode; the share in the other is within 4.9 standard errors of ½: a false
    alarm in 1e-6."""
    machine = two_modes()
    zeros = {"visible": torch.zeros(500, 6), "hidden1": torch.zeros(500, 4)}
    assert not bool(gibbs.run(machine, zeros, steps=100)["visible"].any())
    states, info = run(temperatures(machine, 12), steps=100, states=[zeros] * 12, random_state=1)
    ones = states[-1]["visible"].mean(1) > 0.5
    assert abs(float(ones.double().mean()) - 0.5) < SIGMA * 0.5 / 500**0.5
    assert float(info.round_trips.double().mean()) > 1


@pytest.mark.parametrize("kind", ["temperatures", "trajectory"])
@torch.no_grad()
def test_every_replica_has_its_own_distribution_in_the_long_run(kind: str) -> None:
    """A Gaussian machine: means of all signals after 20 moves of 10,000 ladders within 4.9 standard
    errors of the integrated ones."""
    machine, before = machine_of("gaussian", std=0.7), machine_of("gaussian", std=0.4)
    replicas = temperatures(machine, 3) if kind == "temperatures" else trajectory(machine, [before])
    states, info = run(replicas, steps=20, chains=10_000, random_state=4)
    assert float(info.acceptance.min()) > 0.05
    assert float(info.acceptance.max()) < 0.95
    for (replica, beta), state in zip(replicas, states, strict=True):
        listed = enumerate_states(replica, beta=beta)
        for name in replica.layers:
            signal = replica.units(name).signal(state[name])
            truth = torch.from_numpy(listed.probabilities @ listed.signals[name])
            assert float(((signal.mean(0) - truth) / (signal.std(0) / 100)).abs().max()) < SIGMA


@torch.no_grad()
def test_the_reported_acceptance_is_the_enumerated_one() -> None:
    """One move of 10,000 ladders that have settled, within 4.9 standard errors for each pair."""
    machine = machine_of("rbm", std=1.5)
    betas = [0.0, 0.3, 0.6, 1.0]
    states, _ = run(temperatures(machine, betas), steps=20, chains=10_000)
    _, info = run(temperatures(machine, betas), steps=1, states=states, random_state=1)
    spread = 0.5 / 100  # a number between 0 and 1 has a standard deviation of at most ½
    assert np.abs(info.acceptance.numpy() - pair_acceptance(machine, betas)).max() < SIGMA * spread


@pytest.mark.parametrize(
    ("replicas", "steps", "trips"),
    [(2, 0, 0), (2, 1, 0), (2, 5, 4), (3, 2, 0), (3, 3, 1), (3, 5, 3)],
)
def test_round_trips_are_counted(replicas: int, steps: int, trips: int) -> None:
    """Replicas that are all alike always swap: of two, a state is back every second move; of three,
    two replicas up at once, it takes three."""
    _, info = run([Replica(machine_of("rbm"), 1.0)] * replicas, steps=steps, chains=4)
    assert info.round_trips.tolist() == [trips] * 4
    assert steps == 0 or info.acceptance.tolist() == pytest.approx(
        [1.0] * (replicas - 1), abs=1e-12
    )


@pytest.mark.parametrize("clamp", [None, "whole", "masked"])
def test_run_leaves_what_it_was_given_and_holds_its_clamp(clamp: str | None) -> None:
    replicas = temperatures(machine_of("dbm"), 3)
    given = None if clamp is None else clamps_of("dbm")[clamp]
    states = start(replicas, 4, 0)
    kept = [{n: x.clone() for n, x in state.items()} for state in states]
    for steps in (0, 3):
        found, _ = run(replicas, steps=steps, states=states, clamp=given, random_state=1)
        for state in found:
            assert all(
                torch.equal(held.fill(state[n]), state[n])
                for n, held in parse(machine_of("dbm"), given).items()
            )
            for x in state.values():
                x.fill_(0.5)  # and what comes back shares no memory with what went in
        assert all(torch.equal(states[i][n], kept[i][n]) for i in range(3) for n in kept[i])


def test_the_same_seed_gives_the_same_chains() -> None:
    runs = [
        run(temperatures(machine_of("rbm"), 3), steps=5, chains=20, random_state=seed)[0][-1]
        for seed in (0, 0, 1)
    ]
    assert all(torch.equal(runs[0][n], runs[1][n]) for n in runs[0])
    assert not all(torch.equal(runs[0][n], runs[2][n]) for n in runs[0])


# ------------------------------------------------------------------ ladders


def test_ladders() -> None:
    machine, before = machine_of("rbm"), machine_of("rbm", seed=1)
    assert temperatures(machine, 3) == [(machine, 0.0), (machine, 0.5), (machine, 1.0)]
    assert temperatures(machine, [0, 0.7, 1]) == [(machine, 0.0), (machine, 0.7), (machine, 1.0)]
    assert trajectory(machine, [before]) == [(machine, 0.0), (before, 1.0), (machine, 1.0)]
    assert trajectory(machine) == [(machine, 0.0), (machine, 1.0)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: temperatures(m, 1), "betas=1: expected a whole number, 2 or more"),
        (lambda m: temperatures(m, [0.0, 0.5, 0.5, 1.0]), "rise from 0 to 1"),
        (lambda m: run(temperatures(m, 2), chains=0), "chains=0"),
    ],
)
def test_refusals(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(machine_of("rbm"))


def test_values_of_every_type_are_taken() -> None:
    machine = machine_of("rbm")
    states = [{n: values_of(machine, n, 3).numpy() for n in machine.layers}] * 2
    found, _ = run(temperatures(machine, 2), steps=1, states=states)
    assert found[1]["visible"].dtype == torch.float64
