"""The machine itself: its graph, its energy written out, its conditionals, and what it refuses."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from sklearn.neural_network import BernoulliRBM

from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.random import Stream
from equilibria.units import Bernoulli, Categorical, Gaussian
from exact import (
    MACHINES,
    energy,
    enumerate_states,
    joint_states,
    log_partition,
    machine_of,
    values_of,
)


def state_of(machine: BoltzmannMachine, rows: int = 6) -> dict[str, torch.Tensor]:
    return {name: values_of(machine, name, rows, seed=i) for i, name in enumerate(machine.layers)}


def test_energy_is_the_formula() -> None:
    for shape in MACHINES:
        machine = machine_of(shape)
        state = state_of(machine)
        found = machine.energy(state)
        assert found.shape == (6,)
        assert found.dtype == torch.float64
        assert (
            np.abs(
                found.detach().numpy() - energy(machine, {n: x.numpy() for n, x in state.items()})
            ).max()
            < 1e-12
        )


def test_field_is_what_the_energy_falls_by() -> None:
    """f · (s − s') − (e − e') is the drop of the energy when one layer alone goes from x' to x, at
    any β."""
    for shape, beta in [*((shape, 0.5) for shape in MACHINES), ("dbm", 1.0), ("dbm", 0.0)]:
        machine = machine_of(shape)
        state = state_of(machine)
        for i, name in enumerate(machine.layers):
            units = machine.units(name)
            other = {**state, name: values_of(machine, name, 6, seed=50 + i)}
            field = machine.field(
                name, {n: state[n] for n, _ in machine.neighbours(name)}, beta
            ).detach()
            gain = (field * (units.signal(other[name]) - units.signal(state[name]))).sum(1)
            gain -= (units.base_energy(other[name]) - units.base_energy(state[name])).sum(1)
            drop = energy(machine, {n: x.numpy() for n, x in state.items()}, beta) - energy(
                machine, {n: x.numpy() for n, x in other.items()}, beta
            )
            assert np.abs(gain.detach().numpy() - drop).max() < 1e-12


@pytest.mark.parametrize(
    ("shape", "beta"), [*((shape, 0.3) for shape in MACHINES), ("dbm", 1.0), ("spin", 1.0)]
)
def test_log_marginal_sums_the_other_colour_out(shape: str, beta: float) -> None:
    machine = machine_of(shape)
    for colour in (0, 1):
        if any(machine.units(n).states is None for n in machine.colours[colour]):
            continue
        states = {
            n: torch.from_numpy(x)
            for n, x in joint_states(machine, list(machine.colours[colour])).items()
        }
        marginal = machine.log_marginal(colour, states, beta).detach().numpy()
        assert logsumexp(marginal) == pytest.approx(
            float(log_partition(machine, beta=beta)[0]), abs=1e-10
        )
        for row in (0, len(marginal) - 1):
            clamp = {
                n: (x[row].numpy(), np.ones(x.shape[1], dtype=bool)) for n, x in states.items()
            }
            assert marginal[row] == pytest.approx(
                enumerate_states(machine, clamp, beta).log_total, abs=1e-10
            )


def test_pull_is_the_field_without_the_bias() -> None:
    for shape in ["label", "gaussian"]:
        machine = machine_of(shape)
        state = state_of(machine)
        for name in machine.layers:
            pulled = machine.pull(name, state) + machine.bias[name]
            assert torch.allclose(pulled, machine.field(name, state), atol=1e-14)


def test_colours_are_independent_sets() -> None:
    for machine in map(machine_of, MACHINES):
        assert sorted(machine.colours[0] + machine.colours[1]) == sorted(machine.layers)
        assert next(iter(machine.layers)) in machine.colours[0]
        for a, b in machine.edges:
            assert (a in machine.colours[0]) != (b in machine.colours[0])


def test_what_moves_the_parameters_moves_the_machine() -> None:
    """A copy, a cast and a loaded state are seen by the field, whose tables are plain ones."""
    machine = machine_of("learned")
    twin, state = copy.deepcopy(machine), state_of(machine)
    before = machine.field("hidden1", state)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(0.3)
    assert torch.equal(machine.field("hidden1", state), before)
    moved = twin.field("hidden1", state)
    assert not torch.allclose(moved, before)
    machine.load_state_dict(twin.state_dict())
    assert torch.equal(machine.field("hidden1", state), moved)
    narrow = {name: values.float() for name, values in state.items()}
    assert machine.float().field("hidden1", narrow).dtype == torch.float32


def test_parameters_are_in_the_order_of_layers_and_edges() -> None:
    machine = BoltzmannMachine.stack(Bernoulli(6), Bernoulli(5), Bernoulli(4))
    assert [name for name, _ in machine.named_parameters()] == [
        "bias.visible",
        "bias.hidden1",
        "bias.hidden2",
        "weight.visible-hidden1",
        "weight.hidden1-hidden2",
    ]


# ------------------------------------------------------------------ the graph's refusals


def bernoulli(*names: str) -> dict[str, Bernoulli]:
    return {name: Bernoulli(2) for name in names}


@pytest.mark.parametrize(
    ("names", "edges", "cycle"),
    [
        ("abc", ["ab", "bc", "ca"], {"a", "b", "c"}),
        ("abcdef", ["ab", "bc", "cd", "de", "eb"], None),  # b – c – d – e is even: accepted
        (
            "abcdef",
            ["ab", "bc", "cd", "de", "ef", "fb"],
            {"b", "c", "d", "e", "f"},
        ),  # and a hangs outside the cycle
        ("ab", ["ab", "bb"], {"b"}),
    ],
)
def test_an_odd_cycle_is_named(names: str, edges: list[str], cycle: set[str] | None) -> None:
    pairs = [(e[0], e[1]) for e in edges]
    if cycle is None:
        BoltzmannMachine(bernoulli(*names), pairs)
        return
    with pytest.raises(ValueError, match=r"edges: the layers .* form an odd cycle") as caught:
        BoltzmannMachine(bernoulli(*names), pairs)
    named = str(caught.value).split("layers ")[1].split(" form")[0].split(" – ")
    assert set(named) == cycle
    assert named[0] == named[-1], "the cycle closes"
    assert all((a, b) in pairs or (b, a) in pairs for a, b in itertools.pairwise(named)), (
        "along edges that came"
    )


def test_graphs_that_are_refused() -> None:
    for layers, edges, message in [
        (
            {"a": Gaussian(1), "b": Gaussian(2)},
            [("a", "b")],
            r"'a' and 'b' are both unbounded \(Gaussian, Gaussian\), so Z may not exist",
        ),
        (bernoulli("a", "b"), [("a", "c")], r"edges: \('a', 'c'\) came twice or joins none of"),
        (bernoulli("a", "b"), [("a", "b"), ("b", "a")], "came twice"),
        (bernoulli("a", "not a name"), [], "'not a name' is no usable layer name"),
        (bernoulli("a", "type"), [], "'type' is no usable layer name"),
    ]:
        with pytest.raises(ValueError, match=message):
            BoltzmannMachine(layers, edges)


def test_a_stack_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two layers, 1 came"):
        BoltzmannMachine.stack(Bernoulli(2))


# ------------------------------------------------------------------ states


def test_states_that_are_refused() -> None:
    machine = BoltzmannMachine.stack(Bernoulli(3), Bernoulli(2))
    good = {"visible": np.ones((2, 3)), "hidden1": np.ones((2, 2))}
    for changed, message in (
        ({"hidden7": np.ones((2, 2))}, r"expected the layers .* found .*'hidden7'"),
        ({"visible": np.ones((2, 4))}, r"expected shapes .* found \{'visible': \(2, 4\)"),
        ({"visible": np.ones(3)}, r"expected shapes .* found \{'visible': \(3,\)"),
        ({"hidden1": np.ones((1, 2))}, r"expected shapes .* found .*'hidden1': \(1, 2\)"),
    ):
        with pytest.raises(ValueError, match=message):
            machine.energy({**good, **changed})


# ------------------------------------------------------------------ base rates


def test_set_base_gives_the_layer_its_mean() -> None:
    machine = machine_of("softmax")
    mean = torch.tensor([0.2, 0.3, 0.5, 0.9, 0.1], dtype=torch.float64)
    machine.set_base("visible", mean)
    assert torch.allclose(
        machine.units("visible").mean(machine.base("visible")[None])[0], mean, atol=1e-14
    )
    assert torch.equal(machine.bias_at("visible", 0.0), machine.base("visible"))
    assert torch.equal(machine.bias_at("visible", 1.0), machine.bias["visible"])


def test_base_rates_that_are_refused() -> None:
    machine = BoltzmannMachine.stack(Bernoulli(3), Bernoulli(2))
    for mean in (torch.tensor([0.0, 0.5, 0.5]), torch.tensor([0.5])):
        with pytest.raises(ValueError, match=r"layer 'visible' has no finite bias .* smooth the"):
            machine.set_base("visible", mean)
    assert torch.equal(machine.base("visible"), torch.zeros(3))


# ------------------------------------------------------------------ building


def test_from_scikit_learn() -> None:
    """Free energies and conditionals of a trained ``BernoulliRBM`` are scikit-learn's own."""
    X = (np.random.default_rng(0).random((40, 7)) < 0.4).astype(float)
    peer = BernoulliRBM(5, n_iter=3, batch_size=10, random_state=0).fit(X)
    machine = BoltzmannMachine.from_arrays(
        [peer.components_.T], [peer.intercept_visible_, peer.intercept_hidden_]
    )
    assert machine.dtype == torch.float64
    with torch.no_grad():
        free_energy = -machine.log_marginal(0, {"visible": torch.from_numpy(X)}).numpy()
        hidden = (
            machine.units("hidden1")
            .mean(machine.field("hidden1", {"visible": torch.from_numpy(X)}))
            .numpy()
        )
    assert np.abs(free_energy - peer._free_energy(X)).max() < 1e-10
    assert np.abs(hidden - peer.transform(X)).max() < 1e-12


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_from_arrays_keeps_the_type(dtype: type) -> None:
    generator = np.random.default_rng(0)
    weights = [generator.normal(size=s).astype(dtype) for s in [(4, 3), (3, 2)]]
    biases = [generator.normal(size=s).astype(dtype) for s in (4, 3, 2)]
    for convert in (np.asarray, torch.from_numpy):
        machine = BoltzmannMachine.from_arrays(
            [convert(w) for w in weights], [convert(b) for b in biases]
        )
        assert {p.dtype for p in machine.parameters()} == {
            torch.from_numpy(np.zeros(1, dtype)).dtype
        }
        for found, given in zip(
            [*machine.bias.values(), *machine.weight.values()], [*biases, *weights], strict=True
        ):
            assert np.array_equal(found.detach().numpy(), given)


def test_from_arrays_narrows_nothing() -> None:
    machine = BoltzmannMachine.from_arrays(
        [np.ones((2, 2), np.float32)], [np.full(2, 0.1), np.zeros(2, np.float32)]
    )
    assert machine.bias["visible"].tolist() == [0.1, 0.1]
    assert (
        BoltzmannMachine.from_arrays([[[1, 2]]], [[0], [0, 0]]).dtype == torch.get_default_dtype()
    )


def test_from_arrays_with_other_units() -> None:
    units = [Gaussian(2, 0.5), Bernoulli(3), Categorical([2])]
    machine = BoltzmannMachine.from_arrays(
        [np.ones((2, 3)), np.ones((3, 2))], [np.zeros(2), np.zeros(3), np.zeros(2)], units=units
    )
    assert machine.units("hidden2").variables == 1


def test_arrays_that_are_refused() -> None:
    for weights, biases, units, message in [
        (
            [np.ones((3, 2))],
            [np.zeros(3)],
            None,
            r"of shapes \[\(3, 2\)\], and biases of \[\(3,\)\]",
        ),
        ([np.ones((2, 3))], [np.zeros(3), np.zeros(2)], None, r"of shapes \[\(2, 3\)\]"),
        ([np.ones((3, 2))], [np.zeros(3), np.full(2, np.nan)], None, "expected finite numbers"),
        ([np.ones((3, 2))], [np.zeros(3), np.zeros(2)], [Bernoulli(2)] * 2, "units: expected"),
    ]:
        with pytest.raises(ValueError, match=message):
            BoltzmannMachine.from_arrays(weights, biases, units)


def test_initialise_draws_the_weights_and_leaves_the_biases() -> None:
    """|t| < 4.9 on 10,000 weights: a false alarm in 1e-6."""
    machine = (
        BoltzmannMachine.stack(Bernoulli(100), Bernoulli(100), Bernoulli(100))
        .double()
        .initialise(3, std=0.2)
    )
    first, second = (w.detach() for w in machine.weight.values())
    assert not bool(torch.stack([b.abs().max() for b in machine.bias.values()]).any())
    for weight in (first, second):
        assert abs(float(weight.mean())) < 4.9 * 0.2 / 100
        assert abs(float(weight.square().mean()) / 0.04 - 1) < 4.9 * 2**0.5 / 100
    assert abs(float((first * second).mean())) < 4.9 * 0.04 / 100
    assert torch.equal(
        BoltzmannMachine.stack(Bernoulli(100), Bernoulli(100))
        .double()
        .initialise(Stream(3), std=0.2)
        .weight["visible-hidden1"],
        first,
    )
