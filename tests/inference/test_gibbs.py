"""The block Gibbs kernel, built exactly from the machine's fields, and the library's draws held to
it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from equilibria.inference import gibbs
from equilibria.inference.clamp import parse, take
from equilibria.random import Stream
from equilibria.units import Gaussian, Rectified
from exact import (
    DISCRETE,
    MACHINES,
    clamps_of,
    energy,
    enumerate_states,
    machine_of,
    paired,
    values_of,
)
from kernels import ALARM, colour_states, joint, transition

CLAMPS = ("whole", "masked", "several", "hidden")
SETTINGS = ((1.0, None), (0.5, "masked"), (1.0, "several"), (0.0, "hidden"))


@pytest.mark.parametrize(("shape", "setting"), paired(DISCRETE, SETTINGS, 1))
@torch.no_grad()
def test_the_kernel_leaves_the_enumerated_distribution_as_it_is(
    shape: str, setting: tuple[float, str | None]
) -> None:
    """π P = π to 1e-10, where P(x, y) = P₀(y₀ | x₁) P₁(y₁ | y₀): P forgets x₀, so π P is two small
    products."""
    (beta, clamp), machine = setting, machine_of(shape)
    for row in range(1 if clamp is None else 4):
        held = (
            {}
            if clamp is None
            else take(parse(machine, clamps_of(shape)[clamp]), slice(row, row + 1))
        )
        zero, one = colour_states(machine, 0, held), colour_states(machine, 1, held)
        pi = joint(machine, zero, one, beta)
        first = transition(machine, 0, one, zero, held, beta)
        second = transition(machine, 1, zero, one, held, beta)
        assert np.abs(first.sum(1) - 1).max() < 1e-12
        assert np.abs(second.sum(1) - 1).max() < 1e-12
        after = (pi.sum(0) @ first)[:, None] * second
        assert np.abs(after - pi).max() < 1e-10
        # Detailed balance of each block, which a wrong field could not keep.
        assert np.abs(pi.sum(0)[:, None] * first - pi.T).max() < 1e-10
        assert np.abs(pi.sum(1)[:, None] * second - pi).max() < 1e-10


@pytest.mark.parametrize(("shape", "beta"), paired(MACHINES, (1.0, 0.5), 1))
@torch.no_grad()
def test_a_sweep_draws_under_the_machines_fields_in_that_order(shape: str, beta: float) -> None:
    clamped = beta == 1.0
    machine = machine_of(shape)
    held = parse(machine, clamps_of(shape)["masked"]) if clamped else {}
    state = gibbs.start(machine, 4, 1)
    before = {n: x.clone() for n, x in state.items()}
    after, fields = gibbs.sweep(machine, state, Stream(2), held, beta)
    middle = {**state, **{n: after[n] for n in machine.colours[0]}}
    for colour, given in ((0, state), (1, middle)):
        for name in machine.colours[colour]:
            assert torch.equal(fields[name], machine.field(name, given, beta))
            drawn = machine.units(name).sample(fields[name], Stream(2).child(name))
            assert torch.equal(after[name], held[name].fill(drawn) if name in held else drawn)
    assert all(torch.equal(state[n], before[n]) for n in state)


@pytest.mark.parametrize("shape", [s for s in MACHINES if s not in DISCRETE])
@torch.no_grad()
def test_continuous_conditionals_are_ratios_of_the_joint_density(shape: str) -> None:
    """log p(x | rest) − log p(x' | rest) = E(x') − E(x) to 1e-10, for every layer with the others
    held."""
    machine, beta = machine_of(shape), 0.5
    state = {n: values_of(machine, n, 50, seed=i) for i, n in enumerate(machine.layers)}
    for name in machine.layers:
        units = machine.units(name)
        other = {**state, name: values_of(machine, name, 50, seed=77)}
        field = machine.field(name, state, beta)
        if isinstance(
            units, Gaussian | Rectified
        ):  # the law that sample is held to in test_units, up to what cutting it divides by
            law = torch.distributions.Normal(field, units.variance.sqrt())
            ratio = (law.log_prob(state[name]) - law.log_prob(other[name])).sum(1).numpy()
        else:
            low, scale = units.lowest, 1 - units.lowest
            coin = torch.distributions.Bernoulli(logits=scale * field)
            ratio = (
                (
                    coin.log_prob((state[name] - low) / scale)
                    - coin.log_prob((other[name] - low) / scale)
                )
                .sum(1)
                .numpy()
            )
        truth = energy(machine, {n: x.numpy() for n, x in other.items()}, beta) - energy(
            machine, {n: x.numpy() for n, x in state.items()}, beta
        )
        assert np.abs(ratio - truth).max() < 1e-10


@torch.no_grad()
def test_the_long_run_of_a_gaussian_machine() -> None:
    """Means after 60 sweeps of 40,000 chains within 4.9 standard errors of the enumerated ones: a
    false alarm in 1e-6 per mean."""
    machine = machine_of("gaussian", std=0.5)
    state = gibbs.run(machine, gibbs.start(machine, 40_000, 3), steps=60, random_state=4)
    listed = enumerate_states(machine)
    for name in machine.layers:
        units = machine.units(name)
        signal = units.signal(state[name])
        error = (signal.mean(0) - torch.from_numpy(listed.probabilities @ listed.signals[name])) / (
            signal.std(0) / 200
        )
        assert float(error.abs().max()) < stats.norm.isf(ALARM / 2)


# ------------------------------------------------------------------ run and start


@pytest.mark.parametrize("shape", ["dbm", "softmax", "gaussian"])
@torch.no_grad()
def test_two_shards_draw_what_one_process_draws(shape: str) -> None:
    machine = machine_of(shape)
    stream = Stream(6)
    whole = gibbs.start(machine, 8, stream)
    after = gibbs.run(machine, whole, steps=3, random_state=stream)
    for rank in range(2):
        mine = slice(4 * rank, 4 * rank + 4)
        part = gibbs.start(machine, 4, stream.shard(rank))
        assert all(torch.equal(part[n], whole[n][mine]) for n in part)
        moved = gibbs.run(machine, part, steps=3, random_state=stream.shard(rank))
        for name in moved:
            # A matrix product may round by the number of rows, so a Gaussian layer may differ in
            # its last bits.
            assert torch.allclose(moved[name], after[name][mine], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(("steps", "clamp"), [(0, "whole"), (1, "masked"), (3, None)])
def test_run_leaves_what_it_was_given(steps: int, clamp: str | None) -> None:
    machine = machine_of("dbm")
    given = None if clamp is None else clamps_of("dbm")[clamp]
    state = {n: values_of(machine, n, 4, seed=9) for n in machine.layers}
    kept = {n: x.clone() for n, x in state.items()}
    held = (
        None
        if given is None
        else {
            n: (v[0].clone(), v[1].clone()) if isinstance(v, tuple) else v.clone()
            for n, v in given.items()
        }
    )
    after = gibbs.run(machine, state, steps=steps, random_state=0, clamp=held)
    for name, x in after.items():
        x.fill_(0.5)  # and what comes back shares no memory with what went in
        assert torch.equal(state[name], kept[name])
    if held is not None and given is not None:
        value, expected = held["visible"], given["visible"]
        assert torch.equal(*[v[0] if isinstance(v, tuple) else v for v in (value, expected)])


def test_run_takes_numpy_and_repeats_itself() -> None:
    machine = machine_of("rbm")
    state = {n: values_of(machine, n, 4).numpy() for n in machine.layers}
    runs = [gibbs.run(machine, state, steps=5, random_state=seed) for seed in (0, 0, 1)]
    assert all(torch.equal(runs[0][n], runs[1][n]) for n in state)
    assert not all(torch.equal(runs[0][n], runs[2][n]) for n in state)


@pytest.mark.parametrize(
    ("shape", "clamp"), paired(("dbm", "softmax", "towers", "learned"), CLAMPS, 1)
)
def test_a_clamp_holds_throughout(shape: str, clamp: str) -> None:
    machine, given = machine_of(shape), clamps_of(shape)[clamp]
    state = gibbs.start(machine, 4, 0, given)
    for found in (state, gibbs.run(machine, gibbs.start(machine, 4, 1), steps=4, clamp=given)):
        for name, held in parse(machine, given).items():
            assert torch.equal(held.fill(found[name]), found[name])


@pytest.mark.parametrize("shape", MACHINES)
@torch.no_grad()
def test_the_fields_of_a_sweep_give_the_energy(shape: str) -> None:
    machine = machine_of(shape).double()
    state, fields = gibbs.sweep(machine, gibbs.start(machine, 7), Stream(0))
    found = gibbs.energy(machine, state, fields)
    assert torch.allclose(found, machine.energy(state), rtol=1e-12, atol=1e-12)


def test_gain_multiplies_the_field() -> None:
    machine = machine_of("dbm")
    state = gibbs.start(machine, 5, 0)
    with torch.no_grad():
        _, plain = gibbs.block(machine, 1, state, Stream(0))
        _, doubled = gibbs.block(machine, 1, state, Stream(0), gain={"hidden1": 2.0})
    assert torch.equal(doubled["hidden1"], 2 * plain["hidden1"])


@torch.no_grad()
def test_start_is_the_base_rates() -> None:
    """40,000 chains, every mean within 4.9 standard errors: a false alarm in 1e-6 each."""
    machine = machine_of("softmax")
    state = gibbs.start(machine, 40_000, 0)
    for name, x in state.items():
        mean = machine.units(name).mean(machine.base(name)[None])[0]
        assert float(((x.mean(0) - mean) / (mean * (1 - mean) / 40_000).sqrt()).abs().max()) < 4.9


def test_a_bad_number_of_steps_is_refused() -> None:
    machine = machine_of("rbm")
    with pytest.raises(ValueError, match=r"steps=1\.5: expected a whole number"):
        gibbs.run(machine, gibbs.start(machine, 2), steps=1.5)  # type: ignore[arg-type]
