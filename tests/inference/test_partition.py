"""log Z against enumeration: annealing both ways, intervals of importance weights, both sides."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats

from equilibria.inference import exact, gibbs, partition
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.numbers import Measure, effective
from equilibria.random import Stream
from equilibria.units import Bernoulli, Categorical, Gaussian, Rectified, Spin
from exact import log_partition, machine_of
from kernels import annealed_weights, exact_draws

T99 = 1.9842  # the 97.5 % point of Student's t with 99 degrees of freedom


def error_of(estimate: Measure) -> float:
    """The standard error behind an interval of a hundred chains."""
    assert estimate.low is not None
    assert estimate.high is not None
    return (estimate.high - estimate.low) / 2 / T99


SHAPES: dict[str, tuple[list, float]] = {
    "rbm": ([Bernoulli(12), Bernoulli(10)], 0.5),
    "dbm4": ([Bernoulli(10), Bernoulli(8), Bernoulli(6), Bernoulli(4)], 0.5),
    "softmax": ([Categorical([4, 3, 3, 2]), Bernoulli(8)], 0.5),
    "learned": ([Gaussian(6, [0.5, 0.5, 1.0, 1.0, 1.5, 2.0], learned=True), Spin(7)], 0.25),
    "rectified": ([Bernoulli(7), Rectified(3, [0.5, 1.0, 2.0])], 0.35),
    "spin": ([Spin(8), Bernoulli(7), Spin(5)], 0.5),
}


def larger(kind: str, base: bool) -> BoltzmannMachine:
    """Up to twelve columns a layer; with ``base``, base rates near the biases' own."""
    units, std = SHAPES[kind]
    stream = Stream(21).child(kind)
    machine = BoltzmannMachine.stack(*units).double().initialise(stream, std=std)
    with torch.no_grad():
        for name, bias in machine.bias.items():
            bias.copy_(stream.child("bias", name).normal(bias.shape, torch.float64) * 0.5)
            if base:
                mean = machine.units(name).mean(bias[None])[0]
                machine.set_base(name, mean * 0.9 + 0.1 / bias.numel())
    return machine.requires_grad_(False)


def estimates(machine: BoltzmannMachine, groups: int, chains: int, betas: int) -> list[Measure]:
    """The estimates of ``groups`` processes in one run: a row has the same draws in any process."""
    stream = Stream(0).child("annealing")
    start = gibbs.start(machine, groups * chains, stream)
    logs = partition.annealed(machine, partition.schedule(betas), start, stream)
    logs = logs + partition.base_log_partition(machine)
    return [partition.from_weights(part, "AIS") for part in logs.split(chains)]


# ------------------------------------------------------------------ annealing up


def test_weights_of_a_single_precision_machine_are_summed_in_double() -> None:
    """Without couplings they are known: of the kept layer s·b, of the other its log-partition
    functions, 1.5e6 nats of a Gaussian layer. The sum in single precision is off by a thousandth
    of a nat, the Gaussian terms by tenths."""
    machine = BoltzmannMachine.stack(Gaussian(300), Bernoulli(400)).requires_grad_(False)
    kept = partition.kept_colour(machine)
    (first,), (second,) = machine.colours[kept], machine.colours[1 - kept]
    assert (first, second) == ("hidden1", "visible")
    machine.bias["hidden1"].copy_(Stream(0).uniform((400,)) * 20 + 10)
    start = gibbs.start(machine, 3, Stream(1))
    found = partition.annealed(machine, [0.0, 1.0], start, Stream(2))
    truth = start["hidden1"].double() @ machine.bias["hidden1"].double()
    assert float((found - truth).abs().max()) < 1e-8
    machine.bias["hidden1"].zero_()
    machine.bias["visible"].copy_(100 + torch.arange(300) / 64)
    found = partition.annealed(machine, partition.schedule(100), start, Stream(2))
    truth = machine.bias["visible"].double().square().sum() / 2
    assert float((found - truth).abs().max()) < 1e-6
    machine.set_base("visible", machine.bias["visible"])
    truth += 150 * math.log(2 * math.pi) + 400 * math.log(2)
    assert abs(partition.base_log_partition(machine) - float(truth)) < 1e-5


def test_weights_are_exact_where_chains_do_not_enter() -> None:
    annealed_weights()


@pytest.mark.parametrize("kind", SHAPES)
def test_coverage_over_a_hundred_runs(kind: str) -> None:
    """Within three standard errors at least 95 times in 100, with standard errors up to 0.05.

    Were three standard errors the 99.7 % of a normal estimate, fewer would come once in a million.
    """
    machine = larger(kind, base=kind != "rbm")
    truth = float(exact.log_partition(machine))
    found = estimates(machine, groups=100, chains=100, betas=100)
    errors = [error_of(e) for e in found]
    inside = [abs(e.value - truth) <= 3 * s for e, s in zip(found, errors, strict=True)]
    assert sum(inside) >= 95
    assert max(errors) <= 0.05
    # An error that all share (a wrong base, a wrong temperature) shows at a tenth of the size.
    values = np.array([e.value for e in found])
    assert abs(values.mean() - truth) < 5 * values.std(ddof=1) / 10 + 1e-12


@pytest.mark.parametrize("shape", ["rbm", "label", "towers", "rectified"])
def test_forward_annealing_on_every_graph(shape: str) -> None:
    machine = machine_of(shape, std=0.5)
    estimate = partition.forward_ais(machine, chains=100, betas=100, random_state=1)
    error = error_of(estimate)
    assert abs(estimate.value - log_partition(machine)[0]) <= 4 * error
    assert error <= 0.05
    assert (estimate.name, estimate.n, estimate.level) == ("forward AIS", 100, 0.95)
    assert estimate.method == "AIS, 100 chains, 100 temperatures"


def test_a_share_of_the_chains_is_the_same_chains() -> None:
    machine = machine_of("dbm", std=0.5).requires_grad_(False)
    for rank, part in enumerate(estimates(machine, groups=3, chains=20, betas=10)):
        stream = Stream(0).shard(rank)
        alone = partition.forward_ais(machine, chains=20, betas=10, random_state=stream)
        assert (alone.value, alone.low) == pytest.approx((part.value, part.low), abs=1e-12)


@pytest.mark.parametrize("shape", ["dbm", "softmax", "gaussian", "rectified"])
def test_without_couplings_it_is_exact(shape: str) -> None:
    """Where the base distribution is the machine every weight is the same, at every temperature."""
    machine = machine_of(shape).requires_grad_(False)
    with torch.no_grad():
        for weight in machine.weight.values():
            weight.zero_()
        for name, bias in machine.bias.items():
            machine.set_base(name, machine.units(name).mean(bias[None])[0])
            bias.copy_(machine.base(name))  # softmax biases have a free constant
    fields = ((machine.units(name), b[None].detach()) for name, b in machine.bias.items())
    truth = sum(float(units.log_partition(field).sum()) for units, field in fields)
    estimate = partition.forward_ais(machine, chains=5, betas=[0.0, 0.3, 1.0])
    assert estimate.value == pytest.approx(truth, abs=1e-12)
    assert error_of(estimate) < 1e-12
    assert estimate.ess == pytest.approx(5.0)


@pytest.mark.parametrize("betas", [[0.0, 1.0], [0.0, 0.1, 0.5, 0.9, 1.0]])
def test_one_step_and_few_temperatures(betas: list[float]) -> None:
    """With betas [0, 1] it is importance sampling from the base rates."""
    machine = machine_of("dbm", std=0.5)
    estimate = partition.forward_ais(machine, chains=50_000, betas=betas)
    assert abs(estimate.value - log_partition(machine)[0]) < 4.9 * error_of(estimate)


def test_it_repeats_itself_and_reports_progress() -> None:
    machine, calls = machine_of("rbm"), []
    options = {"chains": 5, "betas": 4, "random_state": 3}
    first = partition.forward_ais(machine, **options, progress=lambda *at: calls.append(at))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for betas in (np.int64(4), np.linspace(0, 1, 5), [0.0, 0.25, 0.5, 0.75, 1.0]):
        assert partition.forward_ais(machine, **{**options, "betas": betas}) == first
    assert first.value != partition.forward_ais(machine, chains=5, betas=4, random_state=4).value


@pytest.mark.parametrize("steps", [1, 299, 300, 14500])
def test_the_schedule(steps: int) -> None:
    betas = partition.schedule(steps)
    assert (len(betas), betas[0], betas[-1]) == (steps + 1, 0.0, 1.0)
    assert all(a < b for a, b in itertools.pairwise(betas))
    if steps == 14500:  # 500, 4,000 and 10,000 in the paper
        assert sum(b < 0.5 for b in betas) == pytest.approx(500, rel=0.04)
        assert sum(b >= 0.9 for b in betas) == pytest.approx(10_000, rel=0.04)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chains": 1}, "chains=1: expected a whole number, 2 or more"),
        ({"betas": 0}, "betas=0"),
        ({"betas": "even"}, "betas='even': expected 'adaptive'"),
        ({"betas": [0.0, 0.7, 0.5, 1.0]}, "betas=.*: expected inverse temperatures"),
    ],
)
def test_refusals(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        partition.forward_ais(machine_of("rbm"), **options)  # type: ignore[arg-type]


def test_infinite_parameters_are_named() -> None:
    machine = machine_of("rbm")
    with torch.no_grad():
        machine.bias["visible"][0] = math.inf
    with pytest.raises(ValueError, match="not finite"):
        partition.forward_ais(machine, chains=2, betas=2)


# ------------------------------------------------------------------ annealing down


@pytest.mark.parametrize("kind", SHAPES)
def test_the_way_down_from_exact_samples_meets_the_truth(kind: str) -> None:
    """100 groups of 100: within 3 standard errors in 95, and the mean of Z₀/Z is unbiased (5 σ).

    Samples at β = ½ instead fail the second line by more than 10 σ on these machines.
    """
    machine = larger(kind, base=True)
    stream, truth = Stream(3).child(kind), float(exact.log_partition(machine))
    samples = exact_draws(machine, 10_000, stream)
    betas = partition.schedule(100)[::-1]
    logs = partition.annealed(machine, betas, samples, stream.child("down"))
    logs = logs - partition.base_log_partition(machine)
    groups = [partition.from_weights(part, "", sign=-1.0) for part in logs.split(100)]
    assert sum(abs(e.value - truth) < 3 * error_of(e) for e in groups) >= 95
    ratio = torch.exp(logs + truth)
    assert abs(float(ratio.mean()) - 1) < 5 * float(ratio.std()) / math.sqrt(len(ratio))


def test_the_two_sides_bracket_log_z_of_a_sharp_machine() -> None:
    """With few temperatures forward AIS falls short and reverse AIS overshoots."""
    machine = BoltzmannMachine.stack(Bernoulli(12), Bernoulli(10)).double().initialise(1, std=2.5)
    truth = float(exact.log_partition(machine))
    below = partition.forward_ais(machine, chains=100, betas=5)
    samples = exact_draws(machine, 100, Stream(4))
    above = partition.reverse_ais(machine, samples, betas=5, source="exact")
    assert below.value < truth - 0.05
    assert above.value > truth + 0.05
    assert "overestimate" in above.note
    assert "exact draws" in above.note
    assert above.method == "reverse AIS, 100 chains, 5 temperatures"


# ------------------------------------------------------------------ adaptive temperatures


def test_adaptive_temperatures_beat_fixed_ones() -> None:
    """At 300 temperatures the variance of log w falls below half; its sampling error is 6 %."""
    machine = BoltzmannMachine.stack(Bernoulli(14), Bernoulli(10)).double().initialise(2, std=3.0)
    with torch.no_grad():
        weight = machine.weight["visible-hidden1"]
        machine.bias["visible"].copy_(-0.5 * weight.sum(1))
        machine.bias["hidden1"].copy_(-0.5 * weight.sum(0))

    def spread(betas: list[float]) -> float:
        stream = Stream(0).child("spread")
        with torch.no_grad():
            start = gibbs.start(machine, 1000, stream)
            return float(partition.annealed(machine, betas, start, stream).std())

    adaptive = partition.adaptive_schedule(machine, 300)
    assert spread(adaptive) < 0.7 * spread(partition.schedule(300))


def test_adaptive_temperatures_share_the_length_out_evenly() -> None:
    """One uncoupled unit of bias 6, whose metric is known: g = b² σ(βb)(1 − σ(βb)).

    Three quarters of the length ∫√g lie below β = 0.5. Of the steps 90 % follow it and 10 % are
    even.
    The pilot of 400 chains knows each step's length to 4 %; even temperatures are off by 0.2.
    """
    machine = BoltzmannMachine.stack(Bernoulli(1), Bernoulli(1)).double()
    with torch.no_grad():
        machine.bias["visible"].fill_(6.0)
    betas = np.array(partition.adaptive_schedule(machine, 1000, chains=400))
    fine = np.linspace(0, 1, 100_001)
    density = 6 * np.exp(-3 * fine) / (1 + np.exp(-6 * fine))
    length = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    expected = 0.9 * np.interp(betas, fine, length / length[-1]) + 0.1 * betas
    assert np.abs(expected - np.linspace(0, 1, 1001)).max() < 0.03


@pytest.mark.parametrize("shape", ["dbm", "gaussian"])
def test_adaptive_temperatures_give_log_z(shape: str) -> None:
    machine = machine_of(shape, std=0.5)
    betas = partition.adaptive_schedule(machine, 50, chains=10, pilot=20)
    assert (len(betas), betas[0], betas[-1]) == (51, 0.0, 1.0)
    assert all(a < b for a, b in itertools.pairwise(betas))
    estimate = partition.forward_ais(machine, chains=100, betas=betas, random_state=1)
    assert abs(estimate.value - log_partition(machine)[0]) <= 5 * error_of(estimate)
    assert estimate.method == "AIS, 100 chains, 50 temperatures"


def test_adaptive_by_name() -> None:
    machine = machine_of("rbm")
    estimate = partition.forward_ais(machine, chains=5, betas="adaptive", random_state=3)
    assert estimate.method == "AIS, 5 chains, 1000 temperatures"
    betas = partition.adaptive_schedule(machine, random_state=3)
    given = partition.forward_ais(machine, chains=5, betas=betas, random_state=3)
    assert given.value == estimate.value


def test_a_machine_that_is_its_base_gets_even_temperatures() -> None:
    machine = BoltzmannMachine.stack(Bernoulli(3), Bernoulli(2)).double()
    betas = partition.adaptive_schedule(machine, 4)
    assert betas == pytest.approx([0.0, 0.25, 0.5, 0.75, 1.0])


# ------------------------------------------------------------------ importance weights

Draw = Callable[[np.random.Generator, int], np.ndarray]
LOST = math.log(0.95 + 0.05 * math.exp(-20.0))
POPULATIONS: dict[str, tuple[Draw, float]] = {  # draws of log weights, log of the mean weight
    "log-normal 1": (lambda g, n: g.normal(0, 1.0, n), 0.5),
    "log-normal 2": (lambda g, n: g.normal(0, 2.0, n), 2.0),
    "two modes": (
        lambda g, n: g.normal(0, 0.4, n) + 5.0 * (g.random(n) < 0.4),
        0.08 + math.log(0.6 + 0.4 * math.exp(5.0)),
    ),
    "some lost": (lambda g, n: g.normal(0, 0.4, n) - 20.0 * (g.random(n) < 0.05), 0.08 + LOST),
    "left tail": (lambda g, n: -g.gamma(2, 0.7, n), -2 * math.log(1.7)),
}


@pytest.mark.parametrize("name", POPULATIONS)
def test_the_interval_covers_at_its_rate(name: str) -> None:
    """Of 300 intervals of 95 % from 100 weights at least 263 cover (3e-7 at 95 %).

    Student's t alone covers 80 % of "log-normal 2", where 263 of 300 has probability 1e-4; a log-
    normal
    mean covers 60 % of "two modes".
    """
    draw, truth = POPULATIONS[name]
    generator = np.random.default_rng(7)
    found = [partition.interval(draw(generator, 100)) for _ in range(300)]
    assert sum(low <= truth <= high for _, low, high in found) >= 263
    assert all(low <= value <= high for value, low, high in found)


def test_small_spread_is_the_delta_method() -> None:
    logs = np.random.default_rng(0).normal(3.0, 0.01, 5000)
    value, *ends = partition.interval(logs)
    half = 1.96 * np.exp(logs - value).std() / math.sqrt(5000)
    assert ends == pytest.approx([value - half, value + half], abs=1e-5)


def test_the_lower_end_is_at_most_what_markov_allows() -> None:
    value, low, high = partition.interval(np.array([0.0] * 99 + [50.0]))
    assert low == pytest.approx(value - math.log(40))
    assert high > value


@pytest.mark.parametrize("shape", [0.2, 0.9])
def test_the_shape_of_known_tails(shape: float) -> None:
    """Generalised Pareto quantiles, so that only the fit's own prior is in the way."""
    quantiles = (np.arange(20_000) + 0.5) / 20_000
    logs = np.log(stats.genpareto(shape).ppf(quantiles))
    assert partition.pareto_shape(logs) == pytest.approx(shape, abs=0.05)
    assert partition.pareto_shape(logs + 1000) == pytest.approx(partition.pareto_shape(logs))


def test_the_shape_is_not_known_of_few_or_equal_weights() -> None:
    assert math.isnan(partition.pareto_shape(np.zeros(100)))
    assert math.isnan(partition.pareto_shape(np.arange(20.0)))


def test_warnings_by_cause() -> None:
    generator = np.random.default_rng(1)
    assert partition.warning(np.zeros(100)) == ""
    few = partition.from_weights(np.array([0.0] * 99 + [50.0]), "AIS")
    assert few.ess == pytest.approx(1.0)
    assert few.value == pytest.approx(50 - math.log(100))
    assert few.warning.startswith("Few chains carry the estimate (1 of 100)")
    heavy = np.log(1 + stats.genpareto(1.0).ppf((np.arange(100) + 0.5) / 100) / 2)
    said = "The largest weights have a heavy tail (Pareto shape 0.75)"
    assert partition.warning(heavy).startswith(said)
    # with a rate of 1 in 10,000 more than 3 in 300 come with probability 3e-8
    assert sum(bool(partition.warning(generator.normal(0, 0.5, 100))) for _ in range(300)) <= 3


def test_the_estimate_of_an_inverse() -> None:
    logs = np.random.default_rng(3).normal(0, 1, 200)
    plain, inverse = partition.from_weights(logs, ""), partition.from_weights(logs, "", sign=-1.0)
    assert (inverse.value, inverse.low, inverse.high) == (-plain.value, -plain.high, -plain.low)
    assert plain.ess == inverse.ess == pytest.approx(effective(logs))


# ------------------------------------------------------------------ log Z as a user asks for it


def test_a_small_machine_is_enumerated_and_above_the_limit_annealed() -> None:
    machine = machine_of("dbm", std=0.5)
    found = partition.log_partition(machine)
    assert found.is_exact
    assert found.method == "exact enumeration"
    assert found.value == pytest.approx(log_partition(machine)[0], abs=1e-9)
    calls: list[tuple[int, int]] = []
    options = {"betas": 50, "chains": 64, "max_states": 2}
    estimate = partition.log_partition(machine, **options, progress=lambda *at: calls.append(at))
    assert (estimate.name, estimate.method) == ("log Z", "AIS, 64 chains, 50 temperatures")
    assert calls[-1] == (50, 50)
    assert abs(estimate.value - found.value) < 5 * error_of(estimate)
    assert partition.log_partition(machine, **options) == estimate


def side(value: float, half: float = 0.1, name: str = "AIS", warning: str = "") -> Measure:
    return Measure(
        name, value, value - half, value + half, n=9, ess=5.0, method=name, warning=warning
    )


def test_sides_that_meet_say_nothing() -> None:
    both = partition.conservative(side(10.0, name="up"), side(10.15, name="down"))
    assert (both.value, both.low, both.high) == (10.15, 9.9, 10.25)
    assert (both.name, both.method, both.warning) == ("log Z", "the larger of up and down", "")
    assert both["down"].value - both["up"].value == pytest.approx(0.15)


def test_sides_apart_are_said_with_what_to_do() -> None:
    beyond = partition.conservative(side(10.0), side(10.5))
    assert "0.50 nats apart" in beyond.warning
    assert "use more temperatures" in beyond.warning
    wide = partition.conservative(side(10.0, 3.0), side(11.5, 3.0))
    assert "1.50 nats apart" in wide.warning  # the intervals meet, but 1.5 nats are not known
    upside_down = partition.conservative(side(10.5), side(10.0))
    assert "not the model's" in upside_down.warning
    assert upside_down.value == 10.5
    third = partition.conservative(side(10.0), side(10.1), side(11.3, name="ladder"))
    assert third.value == 11.3
    assert "ladder 11.30" in third.warning
    passed = partition.conservative(side(10.0, name="up", warning="Few chains."), side(10.0))
    assert passed.warning == "up: Few chains."


def test_both_sides_survive_json_and_those_of_the_first_version_are_read() -> None:
    both = partition.conservative(side(10.0, warning="w"), side(10.2), side(9.0, math.inf))
    assert Measure.from_json(json.loads(json.dumps(both.to_json(), allow_nan=False))) == both
    old = {"name": "log Z", "level": 0.95, "ess": 7.0, "samples": 9, "caveat": "w It may be low."}
    old |= {"value": 1.0, "low": 0.5, "high": "inf", "method": "AIS", "warning": "w"}
    found = Measure.from_json(old)
    assert (found.value, found.low, found.high) == (1.0, 0.5, math.inf)
    assert (found.n, found.note) == (9, "It may be low.")


def test_both_sides_of_a_small_machine() -> None:
    """Every side within 4.9 standard errors of enumeration, of which the largest is 0.05."""
    machine = BoltzmannMachine.stack(Bernoulli(8), Bernoulli(6), Bernoulli(4)).double()
    machine.initialise(0, std=1.0)
    truth = float(exact.log_partition(machine))
    both = partition.both_sides(machine, betas=200, ladder={"betas": 6, "sweeps": 120})
    assert [part.name for part in both.parts] == ["forward AIS", "reverse AIS", "ladder"]
    for part in both.parts:
        assert error_of(part) < 0.05
        assert abs(part.value - truth) < 4.9 * error_of(part)
    assert both.warning == ""
    assert "tempering ladder" in both["reverse AIS"].note


def test_samples_that_are_not_the_models_make_the_sides_disagree() -> None:
    """Draws from the base rates in place of the model's."""
    machine = BoltzmannMachine.stack(Bernoulli(10), Bernoulli(8)).double().initialise(0, std=1.5)
    both = partition.both_sides(machine, gibbs.start(machine, 100), betas=50)
    assert len(both.parts) == 2
    assert both.warning
    assert "plain chains" in both["reverse AIS"].note


def test_unknown_sources_and_missing_samples_are_refused() -> None:
    machine = machine_of("rbm")
    with pytest.raises(ValueError, match="samples=None with ladder=False"):
        partition.both_sides(machine, ladder=False)
    with pytest.raises(ValueError, match="source='hope': expected"):
        partition.reverse_ais(machine, gibbs.start(machine, 4), source="hope")
    with pytest.raises(ValueError, match="rows of samples=1: expected a whole number, 2 or more"):
        partition.reverse_ais(machine, gibbs.start(machine, 1))
