"""Mean field: coordinate ascent on a bound that never falls and never passes the truth."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from equilibria.inference.clamp import parse
from equilibria.inference.mean_field import MeanField, bounds_of_states, mean_field, update
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.units import Bernoulli, Gaussian, Rectified, Spin, Units
from exact import (
    MACHINES,
    clamps_of,
    finite_differences,
    log_partition,
    machine_of,
    paired,
    values_of,
)

CLAMPS = ("whole", "masked", "several", "hidden")
TIGHT = {"tolerance": 1e-14, "max_steps": 5000}
FLAT = 1e-8  # a tolerance for means at which the bound, flat in them, is good to 1e-16


def solve(machine: BoltzmannMachine, clamp: dict[str, object]) -> MeanField:
    return mean_field(machine, clamp, **TIGHT)  # type: ignore[arg-type]


@pytest.mark.parametrize(("shape", "clamp"), paired(MACHINES, CLAMPS, 1))
def test_the_bound_never_falls_and_never_passes_the_truth(shape: str, clamp: str) -> None:
    machine, given = machine_of(shape), clamps_of(shape)[clamp]
    assert bool(mean_field(machine, given, tolerance=1e-9).converged.all())
    counts = (*range(8), 1000)
    trace = torch.stack([mean_field(machine, given, max_steps=n).bound for n in counts])
    assert float(trace.diff(dim=0).min()) > -1e-10
    assert float((trace - torch.from_numpy(log_partition(machine, given))).max()) < 1e-10


@pytest.mark.parametrize("shape", ["dbm", "label", "learned"])
def test_states_held_in_turn_are_states_that_are_clamped(shape: str) -> None:
    """Every layer of every machine, the others whole, in part or free."""
    machine = machine_of(shape)
    for layer in machine.layers:
        given = {
            name: values_of(machine, name, 3, seed=1) for name in machine.layers if name != layer
        }
        first = next(iter(given))
        mask = torch.zeros_like(given[first], dtype=torch.bool)
        if machine.units(first).variables == machine.units(first).size:
            mask[:, 0] = True
        states = values_of(machine, layer, 2, seed=2)
        clamps = [given, {first: given[first]}] + (
            [{first: (given[first], mask)}] if bool(mask.any()) else []
        )
        for clamp in clamps:
            found = bounds_of_states(machine, parse(machine, clamp), layer, states, tolerance=1e-10)
            for i, state in enumerate(states):
                alone = mean_field(
                    machine, {**clamp, layer: state.expand(3, -1)}, tolerance=1e-10
                ).bound
                assert torch.allclose(found[:, i], alone, atol=1e-10, rtol=0)


@pytest.mark.parametrize(("shape", "clamp"), paired(MACHINES, CLAMPS, 1))
@torch.no_grad()
def test_the_bound_is_expected_energy_plus_entropy(shape: str, clamp: str) -> None:
    """L = E_Q[−E] + H(Q) with Q's means alone, the entropies written out, less what E[x²]/2σ²
    exceeds its value at the mean by."""
    machine, given = machine_of(shape), clamps_of(shape)[clamp]
    q = mean_field(machine, given)
    held = parse(machine, given)
    total = -machine.energy(q.means)
    for name, x in q.means.items():
        units = machine.units(name)
        if name in held and held[name].mask is None:
            continue
        free = ~held[name].mask if name in held else torch.ones_like(x, dtype=torch.bool)
        total = total + torch.where(free, entropy(units, x), torch.zeros_like(x)).sum(1)
    assert torch.allclose(q.bound, total, atol=1e-12, rtol=0)


def entropy(units: Units, x: torch.Tensor) -> torch.Tensor:
    """H of cells with these means; for the continuous ones less Var(x)/2σ², the base energy's
    excess over its value at the mean."""
    if isinstance(units, Spin):
        x = 0.5 * (1 + x)
    if isinstance(units, Bernoulli | Spin):
        return torch.special.entr(x) + torch.special.entr(1 - x)
    if isinstance(units, Gaussian):  # ½ log 2πeσ² − ½
        return 0.5 * torch.log(2 * torch.pi * units.variance).expand_as(x)
    if isinstance(units, Rectified):
        # H = E[(x − f)²]/2σ² + log σ√2π + log Φ(f/σ), and E[(x − f)²] less the variance is (E[x] −
        # f)²
        variance, centre = units.variance, units.field_of(x)
        normaliser = 0.5 * torch.log(2 * torch.pi * variance) + torch.from_numpy(
            stats.norm.logcdf(centre / variance.sqrt())
        )
        return normaliser + (x - centre).square() / (2 * variance)
    return torch.special.entr(x)


def test_it_is_exact_for_an_rbm_and_where_one_colour_is_observed() -> None:
    for shape in ("rbm", "dbm"):
        machine = machine_of(shape)
        given = {n: values_of(machine, n, 5, seed=i) for i, n in enumerate(machine.colours[0])}
        q = solve(machine, given)
        assert torch.allclose(
            q.bound, torch.from_numpy(log_partition(machine, given)), atol=1e-12, rtol=0
        )


@pytest.mark.parametrize(
    ("shape", "clamp"), [("dbm", "whole"), ("softmax", "masked"), ("towers", "masked")]
)
def test_a_row_knows_nothing_of_the_rows_beside_it(shape: str, clamp: str) -> None:
    machine, given = machine_of(shape), clamps_of(shape)[clamp]
    q = mean_field(machine, given)
    for row in range(4):
        one = {
            n: tuple(t[row : row + 1] for t in v) if isinstance(v, tuple) else v[row : row + 1]
            for n, v in given.items()
        }
        alone = mean_field(machine, one)
        assert float(alone.bound[0]) == pytest.approx(float(q.bound[row]), abs=1e-12)
        for name in q.means:
            assert torch.allclose(alone.means[name][0], q.means[name][row], atol=1e-13, rtol=0)


@pytest.mark.parametrize(("shape", "clamp"), paired(MACHINES, CLAMPS, 1))
@torch.no_grad()
def test_the_fixed_point_satisfies_the_equations(shape: str, clamp: str) -> None:
    """Every free cell is the mean of its units under the field of the others' means, every observed
    one its value."""
    machine, given = machine_of(shape), clamps_of(shape)[clamp]
    q = solve(machine, given)
    held = parse(machine, given)
    for name in machine.layers:
        mean = machine.units(name).mean(machine.field(name, q.means))
        expected = held[name].fill(mean) if name in held else mean
        assert float((q.means[name] - expected).abs().max()) < 1e-12


@pytest.mark.parametrize(
    ("shape", "clamp"),
    paired(("dbm", "softmax", "gaussian", "spin", "learned", "rectified"), ("whole", "masked"), 1),
)
def test_the_bounds_gradient_is_the_products_of_means(shape: str, clamp: str) -> None:
    """At the fixed point d(bound)/dW = ⟨s_a⟩⟨s_b⟩ᵀ and d(bound)/db = ⟨s⟩: the positive phase of
    learning."""
    machine, given = machine_of(shape), clamps_of(shape)[clamp]
    slopes = finite_differences(
        machine, lambda: float(mean_field(machine, given, tolerance=FLAT).bound.mean())
    )
    q = solve(machine, given)
    signal = {n: machine.units(n).signal(x).detach() for n, x in q.means.items()}
    for name in machine.layers:
        assert float((slopes[f"bias.{name}"] - signal[name].mean(0)).abs().max()) < 1e-9
    for a, b in machine.edges:
        assert float((slopes[f"weight.{a}-{b}"] - signal[a].T @ signal[b] / 4).abs().max()) < 1e-9


@pytest.mark.parametrize(
    ("shape", "clamp"), paired(("dbm", "softmax", "towers", "learned"), ("whole", "masked"), 1)
)
def test_update_takes_the_same_steps(shape: str, clamp: str) -> None:
    machine, given = machine_of(shape), clamps_of(shape)[clamp]
    with torch.no_grad():
        means, fields, change = update(machine, parse(machine, given), steps=3)
    q = mean_field(machine, given, tolerance=0.0, max_steps=3)
    for name in means:
        assert torch.allclose(means[name], q.means[name], atol=1e-14, rtol=0)
    assert set(fields) == {
        n for n in machine.layers if n not in given or isinstance(given[n], tuple)
    }
    assert change.ndim == 0


def test_update_is_done_at_once_where_one_colour_is_observed() -> None:
    machine = machine_of("rbm")
    with torch.no_grad():
        means, fields, change = update(
            machine, parse(machine, {"visible": values_of(machine, "visible", 3)}), steps=50
        )
        assert torch.equal(means["hidden1"], torch.sigmoid(fields["hidden1"]))
    assert float(change) == 0.0


def test_gain_multiplies_the_field_of_the_layer_it_names() -> None:
    machine = machine_of("rbm")
    held = parse(machine, {"visible": values_of(machine, "visible", 3)})
    with torch.no_grad():
        _, plain, _ = update(machine, held, 1)
        means, doubled, _ = update(machine, held, 1, gain={"hidden1": 2.0})
    assert torch.equal(doubled["hidden1"], 2 * plain["hidden1"])
    assert torch.equal(means["hidden1"], torch.sigmoid(2 * plain["hidden1"]))


def test_a_row_that_ran_out_of_steps_says_so() -> None:
    q = mean_field(machine_of("dbm"), clamps_of("dbm")["whole"], tolerance=1e-12, max_steps=2)
    assert not bool(q.converged.any())


def test_wholly_observed() -> None:
    machine = machine_of("dbm")
    state = {n: values_of(machine, n, 3, seed=i) for i, n in enumerate(machine.layers)}
    q = mean_field(machine, state)
    assert torch.allclose(q.bound, -machine.energy(state).detach(), atol=1e-12)
    assert bool(q.converged.all())


def test_nothing_observed_is_refused() -> None:
    with pytest.raises(ValueError, match="clamp: nothing is observed"):
        mean_field(machine_of("rbm"), {})
