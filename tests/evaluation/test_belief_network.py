"""Likelihood of belief networks: exact values by enumeration, and intervals that hold what they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

import belief
from belief import NETWORKS, network_of, visible_of
from equilibria.estimate import Estimate
from equilibria.evaluation import belief_network, likelihood
from equilibria.models.belief_network import BeliefNetwork
from equilibria.units import Bernoulli, Gaussian

FALSE_ALARM = 1e-6


@pytest.mark.parametrize("shape", NETWORKS)
def test_the_exact_log_likelihood_is_the_enumerated_one(shape):
    network = network_of(shape)
    v = visible_of(network, 20)
    assert np.abs(belief_network.log_prob(network, v).numpy() - belief.log_prob(network, v)).max() < 1e-9


@pytest.mark.parametrize("shape", belief.DISCRETE)
def test_probabilities_sum_to_one(shape):
    network = network_of(shape)
    units = network.units("visible")
    states = units.state_at(torch.arange(units.states), torch.float64)
    assert abs(float(belief_network.log_prob(network, states).exp().sum()) - 1) < 1e-12


def test_the_interval_covers_the_mean_bound_of_the_population_at_its_rate():
    """200 data sets of 40 rows of the model: 95 % intervals miss the enumerated mean 5 % of the time, within a binomial test at 1e-6."""
    network, sets, n = network_of("binary"), 200, 40
    states = network.units("visible").state_at(torch.arange(32), torch.float64)
    truth = np.exp(belief.log_prob(network, states)) @ belief.bound(network, states)[0]
    log_z, missed = likelihood.log_partition(network.top), 0
    rows = network.sample(sets * n, 1, sweeps=100).view(sets, n, 5)
    for i in range(sets):
        found = belief_network.bound(network, rows[i], log_z, random_state=i)
        missed += not found.low <= truth <= found.high
    assert stats.binomtest(missed, sets, 0.05).pvalue > FALSE_ALARM


def test_the_draws_error_is_that_of_the_mean_over_rows_that_are_alike():
    """Over 400 repetitions the mean's variance is the stated one, to 4.9 standard errors of its estimate."""
    network, repetitions, samples = network_of("binary"), 400, 4
    v = visible_of(network, 3)[[0, 0, 0, 0, 1, 2]]
    lower, spread = belief.bound(network, v)
    expected = np.sqrt((16 * spread[0] ** 2 + spread[4] ** 2 + spread[5] ** 2) / samples) / 6
    found = [belief_network.row_bounds(network, v, samples, random_state=seed) for seed in range(repetitions)]
    means = np.array([one.values.mean() for one in found]) - belief.log_partition(network)
    sigmas, kurtosis = stats.norm.isf(FALSE_ALARM / 2), stats.kurtosis(means) + 3
    assert abs(means.mean() - lower.mean()) < sigmas * expected / math.sqrt(repetitions)
    assert abs(means.var() / expected**2 - 1) < sigmas * math.sqrt((kurtosis - 1) / repetitions)
    errors = np.array([one.error**2 for one in found])
    assert abs(errors.mean() - expected**2) < sigmas * errors.std() / math.sqrt(repetitions)


def test_a_row_has_the_same_bound_in_any_company():
    network = network_of("deep")
    v = visible_of(network, 30)
    whole = belief_network.row_bounds(network, v, 3).values
    assert np.allclose(belief_network.row_bounds(network, v.flip(0), 3).values[::-1], whole, atol=1e-12)
    for row in (0, 7):
        assert np.allclose(belief_network.row_bounds(network, v[row : row + 1], 3).values, whole[row], atol=1e-12)


def test_parts_change_nothing(monkeypatch):
    network = network_of("binary")
    v = visible_of(network, 30)
    whole = belief_network.row_bounds(network, v, 3, 2)
    monkeypatch.setattr(belief_network, "_DRAWS", 13)
    parts = belief_network.row_bounds(network, v, 3, 2)
    assert np.allclose(parts.values, whole.values, atol=1e-12)
    assert np.allclose(parts.variances, whole.variances, atol=1e-12)


def test_the_estimate_says_what_it_is():
    network = network_of("binary")
    v = visible_of(network, 10)
    found = belief_network.bound(network, v, samples=4, importance=3)
    assert found.name == "mean bound on log-likelihood"
    assert "10 rows, 4 importance-weighted means of 3 draws each, log Z by exact enumeration" in found.method
    assert "that of the draws" in found.method
    assert found.caveat == ""
    rows = belief_network.row_bounds(network, v, 4, 3).values - belief.log_partition(network)
    assert found.value == pytest.approx(rows.mean(), abs=1e-9)
    log_z = Estimate(belief.log_partition(network), 0.0, 99.0, "AIS, 2 chains", "log Z", 0.9)
    wide = belief_network.bound(network, v, log_z, samples=4, importance=3)
    assert wide.level == 0.9
    assert wide.value == pytest.approx(found.value, abs=1e-9)
    assert wide.low <= wide.value - (99.0 - log_z.value)
    assert wide.high >= wide.value + log_z.value
    assert "log Z's interval in quadrature" in wide.method
    assert "Chains that miss a mode" in wide.caveat


def test_one_hidden_layer_has_a_likelihood_and_no_bound():
    network = BeliefNetwork.stack(Bernoulli(4), Bernoulli(3)).initialise(0, std=1.0).double()
    v = visible_of(network, 8)
    found, truth = belief_network.bound(network, v), likelihood.bound(network.top, v)
    assert found.name == "mean log-likelihood"
    for attribute in ("value", "low", "high"):
        assert getattr(found, attribute) == pytest.approx(getattr(truth, attribute), abs=1e-9)
    assert "draws" not in found.method
    assert float(belief_network.log_prob(network, v).mean()) == pytest.approx(found.value, abs=1e-9)


def test_the_gap_is_the_difference_of_the_bounds():
    network = network_of("binary")
    train, held_out = visible_of(network, 12), visible_of(network, 9).flip(1)
    gap = belief_network.free_energy_gap(network, train, held_out)
    bounds = [belief_network.bound(network, rows).value for rows in (train, held_out)]
    assert gap.value == pytest.approx(bounds[0] - bounds[1], abs=1e-9)
    assert gap.name == "variational free energy gap, nats"
    assert gap.chance > 0


def test_bad_arguments_are_named():
    network = network_of("binary")
    v = visible_of(network, 3)
    with pytest.raises(ValueError, match="samples=1: expected a whole number, 2 or more"):
        belief_network.bound(network, v, samples=1)
    with pytest.raises(ValueError, match="importance=0: expected a whole number, 1 or more"):
        belief_network.bound(network, v, importance=0)
    with pytest.raises(ValueError, match="values: expected at least 1 row, found 0"):
        belief_network.bound(network, v[:0])
    one = belief_network.bound(network, v[:1])
    assert "1 row, whose spread is not known" in one.method
    assert one.low < one.value < one.high, "the draws' error is left"
    with pytest.raises(ValueError, match=r"held_out: expected shape \(rows, 5\) for layer 'visible', found \(3, 4\)"):
        belief_network.free_energy_gap(network, v, v[:, :4])
    with pytest.raises(ValueError, match=r"values: binary units take values in \[0, 1\]"):
        belief_network.bound(network, v + 1)
    with pytest.raises(ValueError, match="layer 'hidden1' has 16 states, and at most max_states=10"):
        belief_network.log_prob(network, v, max_states=10)
    with pytest.raises(ValueError, match="neighbouring layers have 8 × 8 states, more than max_states=50"):
        belief_network.log_prob(network_of("deep"), visible_of(network_of("deep")), max_states=50)
    with pytest.raises(ValueError, match="layer 'hidden1' has a continuum of states"):
        belief_network.log_prob(BeliefNetwork.stack(Bernoulli(2), Gaussian(2), Bernoulli(2)), torch.zeros(1, 2))
