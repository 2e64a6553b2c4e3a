"""Annealed importance sampling against enumeration: coverage, standard error, and the cases where it must be exact."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from equilibria.estimate import Estimate
from equilibria.inference import annealing, exact, gibbs
from equilibria.inference.exchange import kept_colour
from equilibria.models.boltzmann import BoltzmannMachine, log_states
from equilibria.random import Stream
from equilibria.units import Bernoulli, Categorical, Gaussian, Rectified, Spin
from exact import MACHINES, log_partition, machine_of

T99 = 1.9842  # the 97.5 % point of Student's t with 99 degrees of freedom


def larger(kind: str, base: bool) -> BoltzmannMachine:
    """Up to twelve columns a layer, parameters from N(0, 0.5²)."""
    shapes = {
        "rbm": [Bernoulli(12), Bernoulli(10)],
        "dbm": [Bernoulli(12), Bernoulli(10), Bernoulli(8)],
        "dbm4": [Bernoulli(10), Bernoulli(8), Bernoulli(6), Bernoulli(4)],
        "softmax": [Categorical([4, 3, 3, 2]), Bernoulli(8)],
        "gaussian": [Gaussian(6, [0.5, 0.5, 1.0, 1.0, 1.5, 2.0]), Bernoulli(8)],
        "learned": [Gaussian(6, [0.5, 0.5, 1.0, 1.0, 1.5, 2.0], learned=True), Spin(7)],
        "rectified": [Bernoulli(7), Rectified(3, [0.5, 1.0, 2.0])],
        "spin": [Spin(8), Bernoulli(7), Spin(5)],
    }
    stream = Stream(21).child(kind)
    if kind == "label":
        layers = {"visible": Bernoulli(10), "hidden1": Bernoulli(8), "hidden2": Bernoulli(6), "label": Categorical([5])}
        machine = BoltzmannMachine(layers, [("visible", "hidden1"), ("hidden1", "hidden2"), ("label", "hidden2")])
    else:
        machine = BoltzmannMachine.stack(*shapes[kind])
    # a spin is two binary units wide, and a rectified one has no end: the same standard errors come from smaller weights
    machine = machine.double().initialise(stream, std={"learned": 0.25, "rectified": 0.35}.get(kind, 0.5))
    with torch.no_grad():
        for name, bias in machine.bias.items():
            bias.copy_(stream.child("bias", name).normal(bias.shape, torch.float64) * 0.5)
            if base:
                machine.set_base(name, machine.units(name).mean(bias[None])[0] * 0.9 + 0.1 / bias.numel())
    return machine


def estimates(machine: BoltzmannMachine, groups: int, chains: int, betas: int) -> list[Estimate]:
    """What ``groups`` processes would find, in one run: a row of a stream is the same whoever draws it."""
    ladder = annealing.schedule(betas)
    with torch.no_grad():
        stream = Stream(0).child("annealing")
        weights = annealing._run(machine, ladder, gibbs.start(machine, groups * chains, stream), stream, None)
        weights = weights + annealing.base_log_partition(machine)
    return [annealing._estimate(part, "AIS") for part in weights.split(chains)]


@pytest.mark.parametrize("kind", ["rbm", "dbm", "dbm4", "softmax", "gaussian", "learned", "rectified", "spin", "label"])
@pytest.mark.parametrize("base", [False, True], ids=["uniform base", "base rates"])
def test_coverage_over_a_hundred_runs(kind: str, base: bool) -> None:
    """Within three standard errors at least 95 times in 100, with standard errors up to 0.05.

    Were three standard errors the 99.7 % that they are for a normal estimate, fewer than 95 would come less than once in a million.
    """
    machine = larger(kind, base)
    truth = float(log_exact(machine))
    found = estimates(machine, groups=100, chains=100, betas=100)
    errors = [(e.high - e.low) / 2 / T99 for e in found]
    inside = sum(abs(e.value - truth) <= 3 * s for e, s in zip(found, errors, strict=True))
    assert inside >= 95
    assert max(errors) <= 0.05
    assert all(e.ess is not None and 1 <= e.ess <= 100 + 1e-9 for e in found)
    # The hundred together: an error that all share (a wrong base, a wrong temperature) shows at a tenth of the size.
    together = annealing._estimate(torch.tensor([e.value for e in found], dtype=torch.float64), "mean")
    assert abs(together.value - truth) < 5 * (together.high - together.low) / 2 / T99 + 1e-12


def log_exact(machine: BoltzmannMachine) -> float:
    """The library's enumeration, which test_exact holds to brute force on smaller machines."""
    from equilibria.inference import exact

    found = exact.log_partition(machine)
    assert isinstance(found, float)
    return found


@pytest.mark.parametrize("shape", MACHINES)
def test_the_public_function_on_every_graph(shape: str) -> None:
    machine = machine_of(shape, std=0.5)
    estimate = annealing.log_partition(machine, chains=100, betas=100, random_state=1)
    error = (estimate.high - estimate.low) / 2 / T99
    assert abs(estimate.value - log_partition(machine)[0]) <= 4 * error
    assert error <= 0.05
    assert (estimate.name, estimate.samples, estimate.level) == ("log Z", 100, 0.95)
    assert estimate.method == "AIS, 100 chains, 100 temperatures"
    assert annealing.CAVEAT in str(estimate)


def test_a_share_of_the_chains_is_the_same_chains() -> None:
    machine = machine_of("dbm", std=0.5)
    parts = estimates(machine, groups=3, chains=20, betas=10)
    for rank, part in enumerate(parts):
        alone = annealing.log_partition(machine, chains=20, betas=10, random_state=Stream(0).shard(rank))
        assert alone.value == pytest.approx(part.value, abs=1e-12)
        assert alone.low == pytest.approx(part.low, abs=1e-12)


@pytest.mark.parametrize("shape", MACHINES)
def test_without_couplings_it_is_exact(shape: str) -> None:
    """Where the base distribution is the machine itself every weight is the same, at every temperature."""
    machine = machine_of(shape)
    with torch.no_grad():
        for weight in machine.weight.values():
            weight.zero_()
        for name, bias in machine.bias.items():
            machine.set_base(name, machine.units(name).mean(bias[None])[0])
            machine.bias[name].copy_(machine.base(name))  # softmax biases have a free constant, which set_base leaves out
    truth = sum(float(machine.units(n).log_partition(b[None]).detach().sum()) for n, b in machine.bias.items())
    estimate = annealing.log_partition(machine, chains=5, betas=[0.0, 0.3, 1.0])
    assert estimate.value == pytest.approx(truth, abs=1e-12)
    assert estimate.high - estimate.low < 1e-12
    assert estimate.ess == pytest.approx(5.0)


def test_one_step_is_importance_sampling_from_the_base() -> None:
    """With betas [0, 1] a weight is Z₀ · p*(x)/p₀*(x) of draws from the base: their mean, over all states of the base, is Z."""
    machine = machine_of("rbm", std=0.5)
    estimate = annealing.log_partition(machine, chains=200_000, betas=[0.0, 1.0])
    assert abs(estimate.value - log_partition(machine)[0]) < 4.9 * (estimate.high - estimate.low) / 2 / 1.96


def test_repeated_and_uneven_temperatures() -> None:
    machine = machine_of("dbm", std=0.5)
    estimate = annealing.log_partition(machine, chains=2000, betas=[0.0, 0.0, 0.1, 0.5, 0.5, 0.9, 1.0, 1.0])
    assert abs(estimate.value - log_partition(machine)[0]) < 4.9 * (estimate.high - estimate.low) / 2 / 1.96


def test_temperatures_as_an_array() -> None:
    machine = machine_of("rbm")
    found = [annealing.log_partition(machine, chains=3, betas=b) for b in (4, np.linspace(0, 1, 5), [0.0, 0.25, 0.5, 0.75, 1.0])]  # type: ignore[arg-type]
    assert found[0] == found[1] == found[2]
    assert annealing.log_partition(machine, chains=3, betas=np.int64(4)) == found[0]  # type: ignore[arg-type]


def test_it_repeats_itself_and_reports_progress() -> None:
    machine = machine_of("rbm")
    calls: list[tuple[int, int]] = []
    first = annealing.log_partition(machine, chains=5, betas=4, random_state=3, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert first == annealing.log_partition(machine, chains=5, betas=4, random_state=3)
    assert first.value != annealing.log_partition(machine, chains=5, betas=4, random_state=4).value


def test_few_effective_chains_are_said() -> None:
    estimate = annealing._estimate(torch.tensor([0.0] * 99 + [50.0], dtype=torch.float64), "AIS")
    assert estimate.ess == pytest.approx(1.0)
    assert estimate.value == pytest.approx(50 - math.log(100))
    assert "Few chains carry the estimate" in str(estimate)


@pytest.mark.parametrize("steps", [1, 2, 299, 300, 1000, 14500])
def test_the_schedule(steps: int) -> None:
    betas = annealing.schedule(steps)
    assert len(betas) == steps + 1
    assert (betas[0], betas[-1]) == (0.0, 1.0)
    assert all(a < b for a, b in itertools.pairwise(betas))
    if steps == 14500:  # 500, 4,000 and 10,000 in the paper
        assert sum(b < 0.5 for b in betas) == pytest.approx(500, rel=0.04)
        assert sum(b >= 0.9 for b in betas) == pytest.approx(10_000, rel=0.04)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chains": 1}, "chains=1: expected at least 2 chains"),
        ({"chains": 2.5}, "chains=2.5"),
        ({"betas": 0}, "steps=0"),
        ({"betas": [0.0, 0.5]}, "betas: expected inverse temperatures that rise from 0 to 1"),
        ({"betas": [0.0, 0.7, 0.5, 1.0]}, "betas: expected"),
        ({"betas": [0.0, math.nan, 1.0]}, "betas: expected"),
        ({"betas": [1.0]}, "betas: expected"),
    ],
)
def test_refusals(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        annealing.log_partition(machine_of("rbm"), **options)  # type: ignore[arg-type]


def test_infinite_parameters_are_named() -> None:
    machine = machine_of("rbm")
    with torch.no_grad():
        machine.bias["visible"][0] = math.inf
    with pytest.raises(ValueError, match="annealed weights are not finite"):
        annealing.log_partition(machine, chains=2, betas=2)


def model_samples(machine: BoltzmannMachine, rows: int, stream: Stream) -> dict[str, torch.Tensor]:
    """Exact draws: the enumerated colour by its marginal, the other one given it."""
    kept = min((0, 1), key=lambda colour: (log_states(machine, colour), colour))
    states = [machine.units(name).states or 0 for name in machine.colours[kept]]
    index = torch.arange(math.prod(states))
    every = {}
    for name, count in zip(machine.colours[kept], states, strict=True):
        every[name], index = machine.units(name).state_at(index % count, machine.dtype), index // count
    with torch.no_grad():
        shares = torch.softmax(machine.log_marginal(kept, every), 0).cumsum(0)
        chosen = torch.searchsorted(shares, stream.uniform((rows,), torch.float64)).clamp(max=len(shares) - 1)
        state = {name: values[chosen] for name, values in every.items()}
        return {**state, **gibbs.block(machine, 1 - kept, state, stream.child("other"))[0]}


@pytest.mark.parametrize("kind", ["rbm", "dbm", "softmax", "gaussian", "learned", "rectified", "spin", "label"])
def test_the_way_down_from_exact_samples_meets_the_truth_from_above(kind: str) -> None:
    """100 groups of 100 exact samples: within 3 standard errors in 95, and the mean of Z0/Z itself is unbiased (5 σ: false alarms 6e-7).

    A machine whose samples are tempered (β = ½) instead fails the second line by more than 10 σ on the machines here.
    """
    machine = larger(kind, base=True)
    stream, truth = Stream(3).child(kind), exact.log_partition(machine)
    samples = model_samples(machine, 10_000, stream)
    ladder = annealing.schedule(100)[::-1]
    with torch.no_grad():
        weights = annealing._run(machine, ladder, samples, stream.child("down"), None) - annealing.base_log_partition(machine)
    groups = [annealing._estimate(part, "reverse AIS", -1.0) for part in weights.split(100)]
    errors = [(e.value - truth) / ((e.high - e.low) / 2 / T99) for e in groups]
    assert sum(abs(error) < 3 for error in errors) >= 95
    ratio = torch.exp(weights + truth)
    assert abs(float(ratio.mean()) - 1) < 5 * float(ratio.std()) / math.sqrt(len(ratio))


def test_the_two_sides_bracket_log_z_of_a_sharp_machine() -> None:
    """With few temperatures forward AIS falls short and reverse AIS, from exact samples, overshoots."""
    machine = BoltzmannMachine.stack(Bernoulli(12), Bernoulli(10)).double().initialise(1, std=2.5)
    truth = exact.log_partition(machine)
    below = annealing.log_partition(machine, chains=100, betas=5)
    above = annealing.reverse_log_partition(machine, model_samples(machine, 100, Stream(4)), betas=5)
    assert below.value < truth - 0.05
    assert above.value > truth + 0.05
    assert "overestimate" in above.caveat


def test_reverse_annealing_refuses_too_few_samples() -> None:
    machine = machine_of("rbm")
    state = gibbs.start(machine, 1)
    with pytest.raises(ValueError, match=r"samples: 1 row\(s\) came; expected at least 2"):
        annealing.reverse_log_partition(machine, state)


# ---------------------------------------------------------------- adaptive temperatures


def first_order(std: float = 3.0) -> BoltzmannMachine:
    """A sharp machine with biases that pull against its couplings, so that much of the change comes in a small part of [0, 1]."""
    machine = BoltzmannMachine.stack(Bernoulli(14), Bernoulli(10)).double().initialise(2, std)
    with torch.no_grad():
        machine.bias["visible"].copy_(-0.5 * machine.weight["visible-hidden1"].sum(1))
        machine.bias["hidden1"].copy_(-0.5 * machine.weight["visible-hidden1"].sum(0))
    return machine


def spread(machine: BoltzmannMachine, betas: list[float], chains: int = 1000) -> float:
    with torch.no_grad():
        stream = Stream(0).child("spread")
        return float(annealing._run(machine, betas, gibbs.start(machine, chains, stream), stream, None).std())


def test_adaptive_temperatures_beat_fixed_ones() -> None:
    """At 300 temperatures the variance of log w falls to less than half on a sharp machine; its sampling error over 1,000 chains is 6 %."""
    machine = first_order()
    assert spread(machine, annealing.adaptive_schedule(machine, 300)) < 0.7 * spread(machine, annealing.schedule(300))


def test_adaptive_temperatures_share_the_length_out_evenly() -> None:
    """Bernoulli units without couplings, whose thermodynamic metric is known: g = Σ b² σ(βb)(1 − σ(βb)).

    With one unit of bias 6 three quarters of the length ∫√g lie below β = 0.5. Of the steps 90 % follow it and 10 % are even. The pilot of
    400 chains knows each step's length to 4 %, and the few last ones, where flips are rare, to 30 %; even temperatures are off by 0.2.
    """
    machine = BoltzmannMachine.stack(Bernoulli(1), Bernoulli(1)).double()
    with torch.no_grad():
        machine.bias["visible"].fill_(6.0)
    betas = np.array(annealing.adaptive_schedule(machine, 1000, chains=400))
    fine = np.linspace(0, 1, 100_001)
    density = 6 * np.exp(-3 * fine) / (1 + np.exp(-6 * fine))
    length = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    expected = 0.9 * np.interp(betas, fine, length / length[-1]) + 0.1 * betas
    assert np.abs(expected - np.linspace(0, 1, 1001)).max() < 0.03


@pytest.mark.parametrize("shape", MACHINES)
def test_adaptive_temperatures_on_every_graph(shape: str) -> None:
    machine = machine_of(shape, std=0.5)
    betas = annealing.adaptive_schedule(machine, 50, chains=10, pilot=20)
    assert (len(betas), betas[0], betas[-1]) == (51, 0.0, 1.0)
    assert all(a < b for a, b in itertools.pairwise(betas))
    estimate = annealing.log_partition(machine, chains=100, betas=betas, random_state=1)
    assert abs(estimate.value - log_partition(machine)[0]) <= 5 * (estimate.high - estimate.low) / 2 / T99
    assert estimate.method == "AIS, 100 chains, 50 given temperatures"


def test_adaptive_by_name() -> None:
    machine = machine_of("rbm")
    estimate = annealing.log_partition(machine, chains=5, betas="adaptive", random_state=3)
    assert estimate.method == "AIS, 5 chains, 1000 adaptive temperatures"
    given = annealing.log_partition(machine, chains=5, betas=annealing.adaptive_schedule(machine, random_state=3), random_state=3)
    assert given.value == estimate.value
    down = annealing.reverse_log_partition(machine, gibbs.start(machine, 4), betas=3, source="tempering")
    assert "tempering ladder" in down.caveat
    assert "plain chains" in annealing.reverse_log_partition(machine, gibbs.start(machine, 4), betas=3).caveat


def test_a_machine_that_is_its_base_gets_even_temperatures() -> None:
    machine = BoltzmannMachine.stack(Bernoulli(3), Bernoulli(2)).double()
    assert annealing.adaptive_schedule(machine, 4) == pytest.approx([0.0, 0.25, 0.5, 0.75, 1.0])


@pytest.mark.parametrize("options", [{"steps": 0}, {"chains": 1}, {"pilot": 0}, {"steps": True}])
def test_adaptive_refusals(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(options))}="):
        annealing.adaptive_schedule(machine_of("rbm"), **options)


def test_unknown_words_are_refused() -> None:
    machine = machine_of("rbm")
    with pytest.raises(ValueError, match="betas='even': expected a number, 'adaptive'"):
        annealing.log_partition(machine, betas="even")
    with pytest.raises(ValueError, match="source='hope': expected one of"):
        annealing.reverse_log_partition(machine, gibbs.start(machine, 4), source="hope")


def test_a_beta_for_each_row() -> None:
    """The batched marginal of the ladder is that of each row's own β."""
    machine = machine_of("label")
    state, betas = gibbs.start(machine, 3), [0.0, 0.4, 1.0]
    kept = kept_colour(machine)
    pull = {name: machine.pull(name, state) for name in machine.colours[1 - kept]}
    with torch.no_grad():
        rows = annealing.log_marginal(machine, kept, state, pull, torch.tensor(betas, dtype=torch.float64).unsqueeze(1))
        for i, beta in enumerate(betas):
            assert float(rows[i]) == pytest.approx(float(machine.log_marginal(kept, state, beta)[i]), abs=1e-12)
