"""Tempering: swaps against enumerated and integrated marginals, long runs against exact moments, and where the rungs are put.

The kernels themselves are held to their enumerated transition matrices in ``test_kernels.py``.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from scipy import special, stats

from equilibria.inference import gibbs, tempering
from equilibria.inference.clamp import parse
from equilibria.inference.tempering import Rung, choose_betas, kept_colour, ladder, run, start, step, swap, sweep, trajectory
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.random import Stream
from equilibria.units import Bernoulli, Rectified
from exact import MACHINES, Array, clamps_of, enumerate_states, log_partition, machine_of, values_of
from kernels import ALARM, colour_states, count, log_joint

SIGMA = stats.norm.isf(ALARM / 2)


def rungs_of(shape: str, kind: str) -> list[Rung]:
    now, before = machine_of(shape), machine_of(shape, seed=1)
    return {
        "temperatures": [Rung(now, 0.4), Rung(now, 1.0)],
        "snapshot": [Rung(before, 1.0), Rung(now, 1.0)],
        "base": [Rung(now, 0.0), Rung(now, 1.0)],
    }[kind]


def two_modes() -> BoltzmannMachine:
    """All zeros and all ones weigh the same; a plain Gibbs sweep crosses with a chance of about 1e-7."""
    return BoltzmannMachine.from_arrays([np.full((6, 4), 6.0)], [np.full(6, -12.0), np.full(4, -18.0)])


def pair_acceptance(machine: BoltzmannMachine, betas: list[float]) -> Array:
    """The mean probability of a swap between neighbours, all at their own distributions: enumerated."""
    zero, one = colour_states(machine, 0, {}), colour_states(machine, 1, {})
    logs = [special.logsumexp(log_joint(machine, zero, one, beta), axis=int(count(zero) <= count(one))) for beta in betas]
    found = []
    for a, b in itertools.pairwise(logs):
        p, q = special.softmax(a), special.softmax(b)
        ratio = a[None, :] + b[:, None] - a[:, None] - b[None, :]  # (state of the lower rung, state of the upper one)
        found.append((p[:, None] * q[None, :] * np.exp(np.minimum(ratio, 0.0))).sum())
    return np.array(found)


# ------------------------------------------------------------------ a move


@pytest.mark.parametrize("shape", MACHINES)
@pytest.mark.parametrize("kind", ["temperatures", "snapshot", "base"])
@pytest.mark.parametrize("clamp", [None, "masked", "several", "hidden"])
@torch.no_grad()
def test_the_chance_of_a_swap_is_the_ratio_of_exact_marginals(shape: str, kind: str, clamp: str | None) -> None:
    """To 1e-9, for every kind of layer: discrete ones enumerated, Gaussian ones by the full Gaussian integral."""
    rungs = rungs_of(shape, kind)
    given = {} if clamp is None else clamps_of(shape)[clamp]
    held = parse(rungs[0].machine, given)
    states = start(rungs, 4, 3, held)
    moved = swap(rungs, states, Stream(0), held=held)
    kept = rungs[0].machine.colours[kept_colour(rungs[0].machine)]
    elsewhere = {n: v for n, v in given.items() if n not in kept}

    def log_marginal(rung: Rung, state: dict[str, torch.Tensor]) -> Array:
        return log_partition(rung.machine, {**elsewhere, **{n: state[n] for n in kept}}, rung.beta)

    (low, high), (x, y) = rungs, states
    log_ratio = log_marginal(low, y) + log_marginal(high, x) - log_marginal(low, x) - log_marginal(high, y)
    assert np.abs(moved.chance[0].numpy() - np.exp(np.minimum(log_ratio, 0.0))).max() < 1e-9


@pytest.mark.parametrize("shape", MACHINES)
@pytest.mark.parametrize("kind", ["temperatures", "snapshot"])
@torch.no_grad()
def test_what_is_swapped_is_kept_and_the_rest_is_drawn_under_the_returned_fields(shape: str, kind: str) -> None:
    rungs = rungs_of(shape, kind)
    states = start(rungs, 50, 1)
    before = [{n: x.clone() for n, x in state.items()} for state in states]
    moved = swap(rungs, states, Stream(2))
    assert 0 < int(moved.accepted.sum()) < 50
    for i, (machine, beta) in enumerate(rungs):
        for name in machine.colours[kept_colour(machine)]:
            other = states[1 - i][name]
            assert torch.equal(moved.states[i][name], torch.where(moved.accepted[0][:, None], other, states[i][name]))
        for name in machine.colours[1 - kept_colour(machine)]:
            assert torch.allclose(moved.fields[i][name], machine.field(name, moved.states[i], beta), atol=1e-12)
            drawn = machine.units(name).sample(moved.fields[i][name], Stream(2).child("second", i, name))
            assert torch.equal(moved.states[i][name], drawn)
        assert list(moved.states[i]) == list(machine.layers)
        assert all(torch.equal(states[i][n], before[i][n]) for n in before[i])


@torch.no_grad()
def test_only_the_pairs_of_a_parity_are_asked() -> None:
    rungs = ladder(machine_of("rbm"), 5)
    states = start(rungs, 3, 0)
    for parity in (0, 1):
        moved = swap(rungs, states, Stream(0), parity)
        asked = ~torch.isnan(moved.chance).any(1)
        assert asked.tolist() == [i % 2 == parity for i in range(4)]
        assert not bool(moved.accepted[~asked].any())
    assert not bool(torch.isnan(swap(rungs, states, Stream(0)).chance).any())


@torch.no_grad()
def test_a_sweep_is_a_gibbs_sweep_of_every_rung() -> None:
    rungs = ladder(machine_of("dbm"), 3)
    states = start(rungs, 4, 0)
    swept = sweep(rungs, states, Stream(1))
    for i, (machine, beta) in enumerate(rungs):
        plain, _ = gibbs.sweep(machine, states[i], Stream(1).child(i), beta=beta)
        assert all(torch.equal(swept[i][n], plain[n]) for n in plain)


@pytest.mark.parametrize("shape", MACHINES)
@torch.no_grad()
def test_two_shards_move_as_one_process_does(shape: str) -> None:
    rungs = [Rung(machine_of(shape), 0.0), *rungs_of(shape, "snapshot")]
    whole = start(rungs, 8, Stream(3))
    moved = step(rungs, whole, Stream(4))
    for rank in range(2):
        mine = slice(4 * rank, 4 * rank + 4)
        part = start(rungs, 4, Stream(3).shard(rank))
        after = step(rungs, part, Stream(4).shard(rank))
        assert torch.equal(after.accepted, moved.accepted[:, mine])
        for i, state in enumerate(after.states):
            assert all(torch.allclose(x, moved.states[i][n][mine], atol=1e-12) for n, x in state.items())


def test_the_larger_colour_is_summed_out() -> None:
    """The fewer states are kept: of a DBM 4-3-3 the middle layer, of one with Gaussian layers the discrete colour; of equals the first."""
    kept = {shape: machine_of(shape).colours[kept_colour(machine_of(shape))] for shape in ("dbm", "gaussian", "learned", "rbm")}
    assert kept == {"dbm": ("hidden1",), "gaussian": ("hidden1",), "learned": ("hidden1",), "rbm": ("hidden1",)}
    assert kept_colour(BoltzmannMachine.stack(Bernoulli(3), Bernoulli(3))) == 0
    assert kept_colour(BoltzmannMachine.stack(Bernoulli(3), Bernoulli(4))) == 0
    assert kept_colour(BoltzmannMachine.stack(Bernoulli(3), Rectified(2))) == 0


# ------------------------------------------------------------------ runs


def test_a_ladder_crosses_where_gibbs_sampling_is_stuck() -> None:
    """500 ladders from one mode; the share in the other is within 4.9 standard errors of ½: a false alarm in 1e-6."""
    machine = two_modes()
    zeros = {"visible": torch.zeros(500, 6), "hidden1": torch.zeros(500, 4)}
    assert not bool(gibbs.run(machine, zeros, steps=100)["visible"].any())
    states, info = run(ladder(machine, 12), steps=100, states=[zeros] * 12, random_state=1)
    ones = states[-1]["visible"].mean(1) > 0.5
    assert abs(float(ones.double().mean()) - 0.5) < SIGMA * 0.5 / 500**0.5
    assert float(info.round_trips.double().mean()) > 1


@pytest.mark.parametrize("kind", ["temperatures", "trajectory"])
@torch.no_grad()
def test_every_rung_has_its_own_distribution_in_the_long_run(kind: str) -> None:
    """A Gaussian machine: means of all signals after 20 moves of 10,000 ladders within 4.9 standard errors of the integrated ones."""
    machine, before = machine_of("gaussian", std=0.7), machine_of("gaussian", std=0.4)
    rungs = ladder(machine, 3) if kind == "temperatures" else trajectory(machine, [before])
    states, info = run(rungs, steps=20, chains=10_000, random_state=4)
    assert float(info.acceptance.min()) > 0.05
    assert float(info.acceptance.max()) < 0.95
    for (rung, beta), state in zip(rungs, states, strict=True):
        listed = enumerate_states(rung, beta=beta)
        for name in rung.layers:
            signal = rung.units(name).signal(state[name])
            truth = torch.from_numpy(listed.probabilities @ listed.signals[name])
            assert float(((signal.mean(0) - truth) / (signal.std(0) / 100)).abs().max()) < SIGMA


@torch.no_grad()
def test_the_reported_acceptance_is_the_enumerated_one() -> None:
    """One move of 10,000 ladders that have settled, within 4.9 standard errors for each pair."""
    machine = machine_of("rbm", std=1.5)
    betas = [0.0, 0.3, 0.6, 1.0]
    states, _ = run(ladder(machine, betas), steps=20, chains=10_000)
    _, info = run(ladder(machine, betas), steps=1, states=states, random_state=1)
    spread = 0.5 / 100  # a number between 0 and 1 has a standard deviation of at most ½
    assert np.abs(info.acceptance.numpy() - pair_acceptance(machine, betas)).max() < SIGMA * spread


@pytest.mark.parametrize(("rungs", "steps", "trips"), [(2, 0, 0), (2, 1, 0), (2, 5, 4), (3, 2, 0), (3, 3, 1), (3, 5, 3)])
def test_round_trips_are_counted(rungs: int, steps: int, trips: int) -> None:
    """Rungs that are all alike always swap: of two, a state is back every second move; of three, two rungs up at once, it takes three."""
    _, info = run([Rung(machine_of("rbm"), 1.0)] * rungs, steps=steps, chains=4)
    assert info.round_trips.tolist() == [trips] * 4
    assert steps == 0 or info.acceptance.tolist() == pytest.approx([1.0] * (rungs - 1), abs=1e-12)


@pytest.mark.parametrize("clamp", [None, "whole", "masked", "several", "hidden"])
def test_run_leaves_what_it_was_given_and_holds_its_clamp(clamp: str | None) -> None:
    rungs = ladder(machine_of("dbm"), 3)
    given = None if clamp is None else clamps_of("dbm")[clamp]
    states = start(rungs, 4, 0)
    kept = [{n: x.clone() for n, x in state.items()} for state in states]
    for steps in (0, 3):
        found, _ = run(rungs, steps=steps, states=states, clamp=given, random_state=1)
        for state in found:
            assert all(torch.equal(held.fill(state[n]), state[n]) for n, held in parse(machine_of("dbm"), given).items())
            for x in state.values():
                x.fill_(0.5)  # and what comes back shares no memory with what went in
        assert all(torch.equal(states[i][n], kept[i][n]) for i in range(3) for n in kept[i])


def test_the_same_seed_gives_the_same_chains() -> None:
    runs = [run(ladder(machine_of("rbm"), 3), steps=5, chains=20, random_state=seed)[0][-1] for seed in (0, 0, 1)]
    assert all(torch.equal(runs[0][n], runs[1][n]) for n in runs[0])
    assert not all(torch.equal(runs[0][n], runs[2][n]) for n in runs[0])


# ------------------------------------------------------------------ ladders


def test_ladders() -> None:
    machine, before = machine_of("rbm"), machine_of("rbm", seed=1)
    assert ladder(machine, 3) == [(machine, 0.0), (machine, 0.5), (machine, 1.0)]
    assert ladder(machine, [0, 0.7, 1]) == [(machine, 0.0), (machine, 0.7), (machine, 1.0)]
    assert trajectory(machine, [before]) == [(machine, 0.0), (before, 1.0), (machine, 1.0)]
    assert trajectory(machine) == [(machine, 0.0), (machine, 1.0)]


def test_chosen_temperatures_are_swapped_evenly() -> None:
    """By the enumerated acceptance of each pair: within 0.06 of each other, where even steps of β are 0.3 apart."""
    machine = machine_of("rbm", std=3.0)
    even = pair_acceptance(machine, [beta for _, beta in ladder(machine, 5)])
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
        assert aim - 0.05 < found.mean() < aim + 0.15  # a whole number of rungs is at least what the aim takes
        counts.append(len(betas))
    assert counts[0] < counts[1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: ladder(m, 1), "betas=1: expected at least 2 rungs"),
        (lambda m: ladder(m, [0.1, 1.0]), "rise from 0 to 1"),
        (lambda m: ladder(m, [0.0, 0.5, 0.5, 1.0]), "rise from 0 to 1"),
        (lambda m: run([Rung(m)]), "rungs: 1 came"),
        (lambda m: run([(m, 0.0), (m, 1.5)]), r"rungs\[1\]: expected a BoltzmannMachine and an inverse temperature"),
        (lambda m: run([(m, 0.0), (machine_of("dbm"), 1.0)]), r"rungs\[1\]: its machine has the layers"),
        (lambda m: run(ladder(m, 2), steps=-1), "steps=-1"),
        (lambda m: run(ladder(m, 2), chains=0), "chains=0"),
        (lambda m: run(ladder(m, 2), states=[gibbs.start(m, 2)]), "states: 1 came for 2 rungs"),
        (lambda m: run(ladder(m, 2), states=[gibbs.start(m, 2), gibbs.start(m, 3)]), r"same number of rows, found \[2, 3\]"),
        (lambda m: choose_betas(m, 1), "rungs=1"),
        (lambda m: choose_betas(m, acceptance=1.0), "acceptance=1.0"),
        (lambda m: choose_betas(m, steps=0), "steps=0"),
    ],
)
def test_refusals(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(machine_of("rbm"))


def test_values_of_every_type_are_taken() -> None:
    machine = machine_of("rbm")
    states = [{n: values_of(machine, n, 3).numpy() for n in machine.layers}] * 2
    found, _ = tempering.run([(machine, 0.0), (machine, 1)], steps=1, states=states)  # type: ignore[list-item]
    assert found[1]["visible"].dtype == torch.float64
