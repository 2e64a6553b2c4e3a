"""The belief network against enumeration: its joint, its bound, its samples, and Hinton's theorem
of the transposed start.

A statistical test has a false-alarm rate of one in a million: 4.9 standard errors, or p < 1e-6.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

import belief
import exact
from belief import DISCRETE, NETWORKS, network_of, visible_of
from equilibria.inference import exact as inference_exact
from equilibria.inference import gibbs
from equilibria.models.belief_network import BeliefNetwork, tightened
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.random import Stream
from equilibria.units import Bernoulli, Gaussian

FALSE_ALARM = 1e-6
SIGMAS = float(stats.norm.isf(FALSE_ALARM / 2))


def rbm_of(*sizes: int, std: float = 1.0, seed: int = 0) -> BoltzmannMachine:
    machine = BoltzmannMachine.stack(*map(Bernoulli, sizes)).double()
    with torch.no_grad():
        for name, parameter in machine.named_parameters():
            parameter.copy_(Stream(seed).child(name).normal(parameter.shape, torch.float64) * std)
    return machine


def upside_down(rbm: BoltzmannMachine) -> BoltzmannMachine:
    """The machine of a hidden and a further layer with the transposed weights of ``rbm``."""
    units = rbm.units("hidden1"), rbm.units("visible")
    machine = BoltzmannMachine(
        {"hidden1": units[0], "hidden2": units[1]}, [("hidden1", "hidden2")]
    ).double()
    with torch.no_grad():
        machine.weight["hidden1-hidden2"].copy_(rbm.weight["visible-hidden1"].T)
        machine.bias["hidden1"].copy_(rbm.bias["hidden1"])
        machine.bias["hidden2"].copy_(rbm.bias["visible"])
    return machine


# ---------------------------------------------------------------- the bound


def bound(
    network: BeliefNetwork, v: torch.Tensor, samples: int, importance: int = 1, seed: int = 0
) -> np.ndarray:
    """The Monte Carlo bound on log p(v) of each row, log Z enumerated."""
    weights = network.log_weights(v, samples * importance, seed)
    return (tightened(weights, importance).mean(1) - belief.log_partition(network)).numpy()


@pytest.mark.parametrize(
    ("shape", "untied"),
    [*((shape, False) for shape in NETWORKS), ("deep", True), ("gaussian", True)],
)
def test_each_weight_is_the_joint_over_q_and_they_come_as_often_as_q_says(shape, untied):
    """The weights of 4,000 draws are among the enumerated ones to 1e-9; a G-test of their counts at
    1e-6."""
    network, draws = network_of(shape, 0.7, untied), 4000
    v = visible_of(network, 3)
    found = (network.log_weights(v, draws, 1) - belief.log_partition(network)).numpy()
    log_p, log_q = belief.joint(network, v)
    for row in range(len(v)):
        values = log_p[row] - log_q[row]
        nearest = np.abs(found[row][:, None] - values).argmin(1)
        assert np.abs(found[row] - values[nearest]).max() < 1e-9
        counts = np.bincount(nearest, minlength=len(values))
        assert belief.g_test(counts, draws * np.exp(log_q[row])) > FALSE_ALARM


@pytest.mark.parametrize("shape", ["deep", "groups", "gaussian"])
def test_the_bound_is_the_enumerated_one_and_below_the_truth(shape):
    """4.9 standard errors of 4,000 draws, the standard deviation enumerated: an error of 0.1 nats
    would be seen."""
    network, draws = network_of(shape), 4000
    v = visible_of(network)
    truth, (lower, spread) = belief.log_prob(network, v), belief.bound(network, v)
    assert (lower < truth).all()
    assert (truth - lower).max() > 0.1, "Q is nearly the posterior: the test is empty"
    found = bound(network, v, draws)
    allowed = SIGMAS * spread / np.sqrt(draws)
    assert (np.abs(found - lower) < allowed).all()
    assert allowed.max() < 0.2


@pytest.mark.parametrize("shape", ["binary", "gaussian"])
def test_the_importance_weighted_bound_rises_towards_the_truth(shape):
    """Exactly so in the enumerated expectations for one, two and three draws, which Monte Carlo
    meets within 4.9 standard errors."""
    network, terms = network_of(shape), 3000
    v = visible_of(network, 3)
    truth, before = belief.log_prob(network, v), np.full(3, -np.inf)
    for importance in (1, 2, 3):
        lower, spread = belief.bound(network, v, importance)
        assert (before < lower).all()
        assert (lower < truth).all()
        found = bound(network, v, terms, importance, importance)
        assert (np.abs(found - lower) < SIGMAS * spread / np.sqrt(terms)).all()
        before = lower


def test_many_importance_draws_give_the_log_likelihood():
    """The mean weight is Z · p(v) exactly: within 4.9 standard errors of it, by the delta method,
    at 40,000 draws."""
    network, draws = network_of("binary", untied=True), 40_000
    v = visible_of(network, 4)
    found = bound(network, v, 1, draws)
    log_p, log_q = belief.joint(network, v)
    truth = belief.log_prob(network, v)
    error = np.sqrt((np.exp(2 * (log_p - truth[:, None]) - log_q).sum(1) - 1) / draws)
    assert error.max() < 0.1
    assert (np.abs(found - truth) < SIGMAS * error).all()


def test_a_transposed_machine_on_top_has_the_log_likelihood_of_the_one_below():
    """Hinton, Osindero & Teh 2006, section 4: exactly, and the bound is tight, since Q is then the
    posterior."""
    rbm = rbm_of(5, 4)
    network = BeliefNetwork([rbm, upside_down(rbm)])
    v = torch.from_numpy(exact.layer_states(Bernoulli(5)))
    truth = inference_exact.log_prob(rbm, {"visible": v}).numpy()
    assert np.abs(belief.log_prob(network, v) - truth).max() < 1e-9
    weights = network.log_weights(v, 20).numpy() - belief.log_partition(network)
    assert np.abs(weights - truth[:, None]).max() < 1e-9
    assert np.abs(bound(network, v, 2, 3) - truth).max() < 1e-9


def test_the_bound_is_tight_where_the_layers_do_not_speak():
    """Without weights below, Q(h¹) and p(h¹) are the same fair product where the biases agree."""
    network = network_of("deep")
    with torch.no_grad():
        for i in (0, 1, 2):
            for weight in network.machine(i).weight.values():
                weight.zero_()
        for i in (1, 2):
            network.machine(i).bias[network.layers[i]].copy_(
                network.machine(i - 1).bias[network.layers[i]]
            )
    v = visible_of(network)
    weights = network.log_weights(v, 10).numpy() - belief.log_partition(network)
    assert np.abs(weights - belief.log_prob(network, v)[:, None]).max() < 1e-12


def test_one_hidden_layer_is_the_machine_itself():
    rbm = rbm_of(4, 3)
    network = BeliefNetwork([rbm])
    v = torch.from_numpy(exact.layer_states(Bernoulli(4)))
    truth = inference_exact.log_prob(rbm, {"visible": v}).numpy()
    assert network.exact
    assert np.abs(bound(network, v, 3, 2) - truth).max() < 1e-12
    start = gibbs.start(rbm, 6, Stream(3))
    assert torch.equal(network.sample(6, 3, sweeps=5), gibbs.run(rbm, start, 5, 3)["visible"])
    assert torch.equal(
        network.sample(6, 3, sweeps=5, state=start), gibbs.run(rbm, start, 5, 3)["visible"]
    )


def test_draws_that_are_keyed_do_not_depend_on_the_company():
    network = network_of("deep")
    v, keys = visible_of(network, 6), list("abcdef")
    whole = network.log_weights(v, 5, 1, keys)
    for row in range(6):
        assert torch.allclose(
            network.log_weights(v[row : row + 1], 5, 1, keys[row : row + 1]),
            whole[row : row + 1],
            atol=1e-12,
        )
    assert not torch.allclose(network.log_weights(v, 5, 1, keys[::-1]), whole)


# ---------------------------------------------------------------- samples


@pytest.mark.parametrize("shape", DISCRETE)
def test_samples_have_the_enumerated_law(shape):
    """A G-test over all states of the data at 1e-6; 100 sweeps from the base rates for each of
    5,000 independent rows."""
    network = network_of(shape)
    states = exact.layer_states(network.units("visible"))
    drawn = network.sample(5000, 7, sweeps=100).numpy()
    counts = (drawn[:, None, :] == states).all(2).sum(0)
    assert counts.sum() == 5000
    expected = 5000 * np.exp(belief.log_prob(network, torch.from_numpy(states)))
    assert belief.g_test(counts, expected) > FALSE_ALARM


def test_real_valued_samples_have_the_mixture_s_moments():
    """Mean and variance of each column within 4.9 standard errors at 20,000 rows."""
    network, n = network_of("gaussian"), 20_000
    hidden, variance = (
        exact.layer_states(network.units("hidden1")),
        network.units("visible").variance.numpy(),
    )
    means, p = (
        network.down_field(0, torch.from_numpy(hidden)).detach().numpy(),
        np.exp(belief.prior(network)),
    )
    drawn = network.sample(n, 3, sweeps=50).numpy()
    mean = p @ means
    spread = p @ (means - mean) ** 2 + variance
    fourth = p @ ((means - mean) ** 4 + 6 * (means - mean) ** 2 * variance + 3 * variance**2)
    assert (np.abs(drawn.mean(0) - mean) < SIGMAS * np.sqrt(spread / n)).all()
    assert (
        np.abs(((drawn - mean) ** 2).mean(0) - spread) < SIGMAS * np.sqrt((fourth - spread**2) / n)
    ).all()


def test_the_chains_are_those_of_the_topmost_machine_and_the_way_down_is_one_pass():
    network = network_of("deep")
    start = gibbs.start(network.top, 8, Stream(5))
    state = gibbs.run(network.top, start, 4, 5)
    assert torch.equal(network.sample(8, 5, sweeps=4), network.sample(8, 5, sweeps=4, state=start))
    assert torch.equal(
        network.sample(8, 5, sweeps=4), network.down(state["hidden2"], 2, Stream(5).child("down"))
    )
    first = network.units("hidden1").sample(
        network.down_field(1, state["hidden2"]), Stream(5).child("down", "hidden1")
    )
    means = network.sample(8, 5, sweeps=4, mean=True)
    assert torch.allclose(means, torch.sigmoid(network.down_field(0, first)), atol=1e-12)


def test_features_are_the_laws_of_q_layer_by_layer():
    network = network_of("deep", untied=True)
    v = visible_of(network, 5)
    first = torch.sigmoid(
        network.machine(0).bias["hidden1"] + v @ network.recognition["visible-hidden1"]
    )
    assert torch.allclose(network.features(v, 1), first, atol=1e-12)
    second = torch.sigmoid(
        network.machine(1).bias["hidden2"] + first @ network.recognition["hidden1-hidden2"]
    )
    assert torch.allclose(network.features(v, 2), second, atol=1e-12)
    assert torch.allclose(network.features(first, 2, first=1), network.features(v, 2), atol=1e-12)
    drawn = network.features(v, 2, Stream(1))
    below = network.features(v, 1, Stream(1))
    assert set(below.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(drawn, network.features(below, 2, Stream(1), first=1))


# ---------------------------------------------------------------- construction


def test_the_network_holds_the_machines_themselves():
    rbm = rbm_of(3, 2)
    network = BeliefNetwork([rbm, upside_down(rbm)])
    assert network.machine(0) is rbm
    assert network.weight["visible-hidden1"] is rbm.weight["visible-hidden1"]
    assert [network.units(name).size for name in network.layers] == [3, 2, 3]


def test_tightened_is_the_log_mean_weight_of_each_group():
    logs = torch.randn(3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(tightened(logs, 1), logs)
    assert torch.allclose(tightened(logs, 4), logs.exp().view(3, 2, 4).mean(2).log(), atol=1e-12)


def test_misfits_are_named():
    rbm = rbm_of(4, 3)
    other = BoltzmannMachine(
        {"hidden1": Bernoulli(4), "hidden2": Bernoulli(2)}, [("hidden1", "hidden2")]
    )
    with pytest.raises(ValueError, match=r"machines\[1\]: .* \('hidden1', Bernoulli\(3\)\), found"):
        BeliefNetwork([rbm, rbm_of(3, 2)])
    with pytest.raises(
        ValueError, match=r"machines\[1\]: .* found \[\('hidden1', Bernoulli\(4\)\)"
    ):
        BeliefNetwork([rbm, other])
    with pytest.raises(ValueError, match=r"machines\[0\]: expected two layers"):
        BeliefNetwork([BoltzmannMachine.stack(Bernoulli(2), Bernoulli(2), Bernoulli(2))])
    with pytest.raises(ValueError, match="needs at least two layers, 1 came"):
        BeliefNetwork.stack(Bernoulli(2))
    with pytest.raises(ValueError, match="both unbounded"):
        BeliefNetwork.stack(Gaussian(2), Gaussian(2))
