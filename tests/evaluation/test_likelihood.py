"""Likelihoods and bounds against enumeration, and intervals that hold what they say."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

import belief
from belief import NETWORKS, network_of, visible_of
from equilibria.data import bars_and_stripes
from equilibria.evaluation import likelihood
from equilibria.evaluation.likelihood import bound, free_energy_gap, row_bounds
from equilibria.inference import exact, partition
from equilibria.models.belief_network import BeliefNetwork
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.numbers import Measure
from equilibria.random import Stream
from equilibria.units import Bernoulli, Categorical, Gaussian

ALARM = 1e-6
FLAT = Measure.exact("log Z", 0.0, "a test")


def machine(*sizes: int, std: float = 1.0, seed: int = 0) -> BoltzmannMachine:
    units = (Bernoulli(size) for size in sizes)
    built = BoltzmannMachine.stack(*units).double().initialise(seed, std)
    with torch.no_grad():
        for name, bias in built.bias.items():
            bias.copy_(Stream(seed).child("bias", name).normal(bias.shape, bias.dtype))
    return built


def rows(n: int, columns: int, seed: int = 0) -> Tensor:
    return (Stream(seed).child("rows").uniform((n, columns)) < 0.5).double()


# ------------------------------------------------------------------ Boltzmann machines


def test_for_an_rbm_the_bound_is_the_likelihood_and_is_called_so() -> None:
    rbm, data = machine(7, 5), rows(40, 7)
    found, truth = bound(rbm, data), exact.log_prob(rbm, {"visible": data})
    assert found.name == "mean log-likelihood"
    assert found.value == pytest.approx(float(truth.mean()), abs=1e-9)
    half = stats.t.ppf(0.975, 39) * float(truth.std()) / math.sqrt(40)
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half))
    assert (found.n, found.note, found.warning) == (40, "", "")


@pytest.mark.parametrize("sizes", [(6, 5, 4), (5, 4, 3, 4)])
@pytest.mark.parametrize("std", [0.1, 1.0, 3.0])
def test_for_a_deep_machine_it_is_never_above(sizes: tuple[int, ...], std: float) -> None:
    for seed in range(3):
        deep, data = machine(*sizes, std=std, seed=seed), rows(20, sizes[0], seed)
        found, truth = bound(deep, data), float(exact.log_prob(deep, {"visible": data}).mean())
        assert found.name == "mean bound on log-likelihood"
        assert found.value <= truth + 1e-10
        if std == 0.1:  # weak couplings leave the posterior all but factorial
            assert found.value > truth - 0.02


def test_other_units_and_a_clamp() -> None:
    layers = {"visible": Gaussian(3, 0.5), "hidden": Bernoulli(4), "label": Categorical([3])}
    mixed = BoltzmannMachine(layers, [("visible", "hidden"), ("hidden", "label")])
    mixed = mixed.double().initialise(2, 1.0)
    data = Stream(4).normal((10, 3), torch.float64)
    labels = torch.eye(3, dtype=torch.float64)[torch.arange(10) % 3]
    for clamp in ({"visible": data, "label": labels}, {"visible": data}):
        found = bound(mixed, clamp)  # without labels, they are summed over one by one
        assert found.name == "mean log-likelihood"
        assert found.value == pytest.approx(float(exact.log_prob(mixed, clamp).mean()), abs=1e-9)


def test_missing_cells_are_summed_out() -> None:
    rbm, data = machine(6, 4, std=0.3), rows(12, 6)
    mask = torch.ones(12, 6, dtype=torch.bool)
    mask[:, 2] = False
    found = bound(rbm, {"visible": (data, mask)})
    truth = float(exact.log_prob(rbm, {"visible": (data, mask)}).mean())
    assert found.name == "mean bound on log-likelihood"
    assert truth - 0.05 < found.value <= truth + 1e-10


def test_the_intervals_of_rows_and_log_z_join_in_quadrature() -> None:
    rbm, data = machine(7, 5), rows(40, 7)
    plain = bound(rbm, data, Measure.exact("log Z", 2.0, "a test"))
    log_z = Measure("log Z", 2.0, 1.7, 2.1, n=10, ess=9.0, method="AIS, 10 chains", warning="Few.")
    found = bound(rbm, data, log_z)
    assert found.value == plain.value
    assert plain.high is not None
    half = plain.high - plain.value
    ends = found.value - math.hypot(half, 0.1), found.value + math.hypot(half, 0.3)
    assert (found.low, found.high) == pytest.approx(ends)
    assert "AIS, 10 chains" in found.method
    assert "in quadrature" in found.method
    assert "Chains that miss a mode" in found.note
    assert found.warning == "Few."
    assert math.isinf(bound(rbm, data, log_z.replace(high=math.inf)).low or 0.0)


def test_the_bound_takes_the_conservative_side() -> None:
    deep, data = machine(6, 5, 4), rows(20, 6)
    sides = (Measure("AIS", value, value - 0.1, value + 0.1) for value in (10.0, 10.7))
    both = partition.conservative(*sides)
    found = bound(deep, data, both)
    plain = bound(deep, data, Measure.exact("log Z", 10.7, ""))
    assert found.value == pytest.approx(plain.value, abs=1e-12)
    assert "0.70 nats apart" in found.warning
    assert found.high is not None
    assert found.high - found.value > 0.8  # the other side is in the interval


def test_the_value_of_a_row_does_not_depend_on_the_batch() -> None:
    deep, data = machine(6, 5, 4), rows(10, 6)
    many = bound(deep, data.repeat(250, 1), FLAT)  # more than are taken at a time
    assert many.value == pytest.approx(bound(deep, data, FLAT).value, abs=1e-10)


def test_rows_that_have_not_converged_are_counted() -> None:
    deep, data = machine(6, 5, 4, std=2.0), rows(10, 6)
    early, late = bound(deep, data, FLAT, max_steps=1), bound(deep, data, FLAT)
    assert "not converged on 10 of 10 rows" in early.note
    assert early.value < late.value
    assert late.note == ""


def test_one_row_has_the_interval_of_log_z_alone() -> None:
    deep, log_z = machine(6, 5, 4), Measure("log Z", 3.0, 2.5, 3.25, method="AIS")
    one = bound(deep, torch.eye(6)[:1], log_z)
    assert (one.low, one.high) == pytest.approx((one.value - 0.25, one.value + 0.5), abs=1e-12)
    assert "1 row, whose spread is not known, log Z by AIS" in one.method


def test_bad_values_are_refused() -> None:
    deep = machine(6, 5, 4)
    for values in (torch.zeros(3, 5), torch.zeros(0, 6)):
        with pytest.raises(ValueError, match=r"values: expected \(rows, 6\) of layer 'visible'"):
            bound(deep, values)
    with pytest.raises(ValueError, match="rows of train=1: expected"):
        free_energy_gap(deep, torch.zeros(1, 6), torch.zeros(3, 6))
    with pytest.raises(ValueError, match="values: expected finite numbers"):
        bound(deep, torch.full((3, 6), math.nan))


@pytest.mark.parametrize("sizes", [(7, 5), (7, 5, 4)])
def test_the_gap_is_that_of_the_likelihoods(sizes: tuple[int, ...]) -> None:
    model, train, held_out = machine(*sizes), rows(30, 7, 1), rows(50, 7, 2)
    gap = free_energy_gap(model, train, held_out)
    seen, unseen = (row_bounds(model, data).values for data in (train, held_out))
    assert gap.value == pytest.approx(seen.mean() - unseen.mean(), abs=1e-9)
    error = math.sqrt(seen.var(ddof=1) / 30 + unseen.var(ddof=1) / 50)
    assert gap.chance == pytest.approx(1.96 * error)
    deep = "variational " if len(sizes) > 2 else ""
    assert (gap.name, gap.n, gap.ideal) == (f"{deep}free energy gap, nats", 50, 0.0)
    assert "30 training rows" in gap.note


# ------------------------------------------------------------------ belief networks


@pytest.mark.parametrize("shape", NETWORKS)
def test_the_bound_of_a_network_is_the_enumerated_one(shape: str) -> None:
    """Within 4.9 standard errors of the draws, and below log p."""
    network = network_of(shape)
    v = visible_of(network, 6)
    lower, _ = belief.bound(network, v)
    found = row_bounds(network, v, samples=400)
    errors = np.sqrt(found.variances) + 1e-9
    log_z = belief.log_partition(network)
    assert (np.abs(found.values - log_z - lower) < stats.norm.isf(ALARM / 12) * errors).all()
    assert (lower < belief.log_prob(network, v) + 1e-9).all()


def test_the_interval_covers_the_mean_bound_of_the_population_at_its_rate() -> None:
    """200 sets of 40 rows of the model: 95 % intervals miss 5 % of the time, by a binomial test."""
    network, sets, n = network_of("binary"), 200, 40
    states = network.units("visible").state_at(torch.arange(32), torch.float64)
    truth = np.exp(belief.log_prob(network, states)) @ belief.bound(network, states)[0]
    log_z, missed = partition.log_partition(network.top), 0
    data = network.sample(sets * n, 1, sweeps=100).view(sets, n, 5)
    for i in range(sets):
        found = bound(network, data[i], log_z, random_state=i)
        missed += not found.low <= truth <= found.high  # type: ignore[operator]
    assert stats.binomtest(missed, sets, 0.05).pvalue > ALARM


def test_the_draws_error_is_that_of_the_mean_over_equal_rows() -> None:
    """Over 400 repetitions the mean's variance is the stated one, to 4.9 standard errors."""
    network, repetitions, samples = network_of("binary"), 400, 4
    v = visible_of(network, 3)[[0, 0, 0, 0, 1, 2]]
    lower, spread = belief.bound(network, v)
    total = 16 * spread[0] ** 2 + spread[4] ** 2 + spread[5] ** 2
    expected = np.sqrt(total / samples) / 6
    found = [
        row_bounds(network, v, samples=samples, random_state=seed) for seed in range(repetitions)
    ]
    means = np.array([one.values.mean() for one in found]) - belief.log_partition(network)
    sigmas, kurtosis = stats.norm.isf(ALARM / 2), stats.kurtosis(means) + 3
    assert abs(means.mean() - lower.mean()) < sigmas * expected / math.sqrt(repetitions)
    off = abs(means.var() / expected**2 - 1)
    assert off < sigmas * math.sqrt((kurtosis - 1) / repetitions)
    errors = np.array([one.error**2 for one in found])
    assert abs(errors.mean() - expected**2) < sigmas * errors.std() / math.sqrt(repetitions)


def test_a_row_has_the_same_bound_in_any_company(monkeypatch: pytest.MonkeyPatch) -> None:
    network = network_of("deep")
    v = visible_of(network, 30)
    whole = row_bounds(network, v, samples=3, importance=2)
    flipped = row_bounds(network, v.flip(0), samples=3, importance=2).values[::-1]
    assert np.allclose(flipped, whole.values, atol=1e-12)
    monkeypatch.setattr(likelihood, "_DRAWS", 13)
    parts = row_bounds(network, v, samples=3, importance=2)
    assert np.allclose(parts.values, whole.values, atol=1e-12)
    assert np.allclose(parts.variances, whole.variances, atol=1e-12)


def test_the_bound_of_a_network_says_how_it_was_drawn() -> None:
    network = network_of("binary")
    v = visible_of(network, 10)
    found = bound(network, v, samples=4, importance=3)
    said = "10 rows, 4 importance-weighted means of 3 draws each, log Z by exact enumeration"
    assert said in found.method
    assert "that of the draws" in found.method
    log_z = Measure("log Z", belief.log_partition(network), 0.0, 99.0, 0.9, method="AIS")
    wide = bound(network, v, log_z, samples=4, importance=3)
    assert wide.level == 0.9
    assert wide.value == pytest.approx(found.value, abs=1e-9)
    assert wide.low <= wide.value - (99.0 - log_z.value)  # type: ignore[operator]
    one = bound(network, v[:1])
    assert one.low < one.value < one.high, "the draws' error is left"  # type: ignore[operator]
    with pytest.raises(ValueError, match="samples=1: expected a whole number, 2 or more"):
        bound(network, v, samples=1)


def test_one_hidden_layer_has_a_likelihood_and_no_bound() -> None:
    network = BeliefNetwork.stack(Bernoulli(4), Bernoulli(3)).initialise(0, std=1.0).double()
    v = visible_of(network, 8)
    found, truth = bound(network, v), bound(network.top, v)
    assert found.name == "mean log-likelihood"
    assert (found.value, found.low, found.high) == pytest.approx(
        (truth.value, truth.low, truth.high), abs=1e-9
    )
    assert "draws" not in found.method


# ------------------------------------------------------------------ any model


class Coin(torch.nn.Module):
    """A model with a normalised likelihood: independent fair bits."""

    def log_prob(self, x: Tensor) -> Tensor:
        return torch.full((len(x),), -x.shape[1] * math.log(2), dtype=torch.float64)


class Noisy(torch.nn.Module):
    """A model with a Monte Carlo bound: N(−1, 1/samples) for every row."""

    def log_prob_bound(self, x: Tensor, stream: Stream, samples: int = 1) -> Tensor:
        return stream.normal((len(x),), torch.float64) / math.sqrt(samples) - 1.0


def test_a_model_with_a_likelihood_or_a_bound_needs_no_log_z() -> None:
    found = bound(Coin(), rows(5, 3))
    assert found.value == pytest.approx(-3 * math.log(2))
    assert (found.name, found.method) == ("mean log-likelihood", "5 rows")
    drawn = bound(Noisy(), rows(1000, 3), samples=10, importance=4)
    assert drawn.name == "mean bound on log-likelihood"
    assert abs(drawn.value + 1) < 4.9 * math.sqrt(1 / 40_000)
    spread = row_bounds(Noisy(), rows(1000, 3), samples=10, importance=4)
    assert spread.error == pytest.approx(math.sqrt(1 / 40_000), rel=0.1)


def test_the_first_versions_estimates_are_read() -> None:
    old = {"value": -84.5, "low": -85.0, "high": -84.0, "method": "9 rows, log Z by AIS"}
    old |= {"name": "mean log-likelihood", "level": 0.95, "ess": None, "samples": 9}
    old |= {"caveat": "Few. It may be large.", "warning": "Few."}
    found = Measure.from_json(old)
    assert (found.n, found.warning, found.note) == (9, "Few.", "It may be large.")
    assert Measure.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found
    metric = {
        "name": "KL",
        "value": 0.1,
        "samples": 9,
        "floor": 0.2,
        "best": 0.0,
        "features": "SVM",
    }
    read = Measure.from_json({**metric, "note": "", "low": None, "high": None})
    assert (read.chance, read.ideal, read.method) == (0.2, 0.0, "SVM")


# ------------------------------------------------------------------ coverage on trained machines


def experiment() -> Any:
    path = Path(__file__).parents[2] / "experiments" / "likelihood_coverage.py"
    spec = importlib.util.spec_from_file_location("likelihood_coverage", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_sides_cover_on_a_machine_trained_to_sharp_modes() -> None:
    """The experiment in small: 9-6 on bars and stripes by exact learning, all parameters doubled.

    An estimator that covers at 95 % has fewer than 20 of 30 inside once in 10 million times; one that is
    silent about a miss of three standard errors at their .3 % is so more than 3 times of 30 with
    probability 2e-6. A bias of three half-widths, or half of the misses unsaid, is caught every time.
    Plain chains are left out: nothing is promised of them.
    """
    coverage = experiment()
    coverage.LADDER = {"betas": 8, "chains": 20, "sweeps": 150, "every": 5}
    data = {"visible": torch.as_tensor(bars_and_stripes(3)).double()}
    trained = coverage.learn(coverage._stack(9, 6, std=0.3), data, 300).requires_grad_(False)
    assert float(exact.log_prob(trained, data).mean()) > -math.log(14) - 0.3
    for parameter in trained.parameters():
        parameter.mul_(2)
    table = coverage.measure(trained, 30, 60, Stream(1))
    del table["reverse, plain chains"]
    assert len(table) == 6
    for name, row in table.items():
        assert row["covers"] >= 20 / 30, name
        assert row["silent"] <= 3 / 30, name


def test_the_experiments_score_counts_silence() -> None:
    sides = [Measure("log Z", value, value - 0.1, value + 0.1) for value in (10.0, 10.5, 10.5)]
    sides[2] = dataclasses.replace(sides[2], warning="so")
    found = experiment().shares(sides, 10.0)
    assert (found["covers"], found["silent"]) == pytest.approx((1 / 3, 1 / 3))
    assert (found["warns"], found["false"]) == pytest.approx((1 / 3, 0.0))
    assert found["bias"] == pytest.approx(1 / 3)
