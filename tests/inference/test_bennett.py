"""Bennett's ratio over a ladder against enumeration, closed forms, and samples wrong on purpose."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats

from equilibria.data import bars_and_stripes
from equilibria.inference import exact, ladder, partition
from equilibria.inference.ladder import Replica
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.numbers import Measure
from equilibria.random import Stream
from equilibria.units import Bernoulli
from exact import log_partition, machine_of
from kernels import exact_draws

Z = 4.9  # standard errors with a two-sided false-alarm rate of one in a million


def error_of(estimate: Measure, chains: int) -> float:
    assert estimate.low is not None
    assert estimate.high is not None
    return (estimate.high - estimate.low) / 2 / float(stats.t.ppf(0.975, chains - 1))


def drawn(
    replicas: Sequence[Replica], rows: int, seed: int, draws: int = 1, at: Sequence[float] = ()
) -> partition.Draws:
    """``draws`` times ``rows`` exact draws of every replica, some of the last at other β."""
    parts = []
    for time in range(draws):
        betas = [beta for _, beta in replicas]
        betas = [*betas[: len(betas) - len(at)], *at] if time < (draws + 1) // 2 else betas
        keys = [Stream(seed).child(time, i) for i in range(len(replicas))]
        states = [
            exact_draws(machine, rows, key, beta)
            for (machine, _), key, beta in zip(replicas, keys, betas, strict=True)
        ]
        parts.append(partition.log_ratios(replicas, states))
    up, down = (np.stack(part, 1) for part in zip(*parts, strict=True))
    return partition.Draws(up, down, np.ones((draws, rows), bool), {})


def temperatures(machine: BoltzmannMachine, *betas: float) -> list[Replica]:
    return [Replica(machine, beta) for beta in betas]


# ------------------------------------------------------------------ the ratio


@pytest.mark.parametrize("shape", ["dbm", "softmax", "gaussian", "label", "spin"])
def test_exact_draws_give_the_exact_answer_on_every_graph(shape: str) -> None:
    """2,000 draws a replica: errors are below 0.05, so 0.25 nats of bias would be seen."""
    machine = machine_of(shape, std=1.0)
    replicas = temperatures(machine, 0.0, 0.5, 1.0)
    estimate = partition.bennett(replicas, drawn(replicas, 2000, 1))
    error = error_of(estimate, 2000)
    assert error < 0.05
    assert abs(estimate.value - log_partition(machine)[0]) < Z * error
    assert not estimate.warning


def test_the_interval_covers_at_its_rate() -> None:
    """100 ladders of 50 draws: at least 82 of the 95 % intervals cover.

    Fewer come once in 600,000 times at 95 %, every second time at 81 %.
    """
    machine = machine_of("dbm", std=1.0)
    replicas, truth = temperatures(machine, 0.0, 0.4, 0.7, 1.0), log_partition(machine)[0]
    found = [partition.bennett(replicas, drawn(replicas, 50, seed)) for seed in range(100)]
    assert sum(e.low <= truth <= e.high for e in found) >= 82  # type: ignore[operator]
    values = np.array([e.value for e in found])
    assert abs(values.mean() - truth) < Z * values.std(ddof=1) / 10


def test_the_variance_is_that_of_bennett() -> None:
    """Two normal densities a distance d apart: error and overlap are integrals that are known.

    The asymptotic variance is (1/n_a + 1/n_b)(1/overlap − 1), the overlap ∫ π_a π_b / mixture.
    """
    n, d = 200_000, 2.0
    generator = np.random.default_rng(0)
    up = d * generator.normal(0, 1, (1, n)) - d * d / 2  # log f_b/f_a at draws of N(0, 1)
    down = d * generator.normal(d, 1, (1, n)) - d * d / 2
    found = partition.bennett_ratio(up + 3.0, down + 3.0)

    def mixed(x: float) -> float:
        return 2 * stats.norm.pdf(x) * special.expit(d * x - d * d / 2)

    overlap = integrate.quad(mixed, -12, 14)[0]
    assert found.error == pytest.approx(math.sqrt(2 / n * (1 / overlap - 1)), rel=0.01)
    assert found.ess == pytest.approx(n * overlap, rel=0.03)
    assert abs(found.value - 3.0) < Z * found.error
    assert abs(found.consistency) < Z
    down = down.reshape(10, -1)  # ten times as many draws of b as of a
    fewer = partition.bennett_ratio(up[:, : n // 10] + 3.0, down + 3.0)
    assert abs(fewer.value - 3.0) < Z * math.sqrt(5.5) * found.error


def test_equal_and_disjoint_distributions() -> None:
    same = partition.bennett_ratio(np.zeros((1, 20)), np.zeros((1, 20)))
    assert (same.value, same.error) == pytest.approx((0.0, 0.0), abs=1e-9)
    assert same.ess == pytest.approx(20.0)
    far = partition.bennett_ratio(-500.0 - np.arange(30.0)[None], 500.0 + np.arange(30.0)[None])
    assert (far.error, far.ess) == (math.inf, 0.0)
    with pytest.raises(ValueError, match="not finite"):
        partition.bennett_ratio(np.array([[math.inf, 0.0]]), np.zeros((1, 2)))


def test_repeated_draws_do_not_narrow_the_interval() -> None:
    """Every draw ten times over, as from chains that stand still."""
    replicas = temperatures(machine_of("dbm"), 0.0, 0.5, 1.0)
    once = drawn(replicas, 60, 2)
    ten = once._replace(up=once.up.repeat(10, 1), down=once.down.repeat(10, 1))
    first, again = partition.bennett(replicas, once), partition.bennett(replicas, ten)
    assert (again.value, again.low) == pytest.approx((first.value, first.low))


def scaled(machine: BoltzmannMachine, scale: float) -> BoltzmannMachine:
    with torch.no_grad():
        for parameter in machine.parameters():
            parameter.mul_(scale)
    return machine


def test_a_trajectory_of_machines() -> None:
    """Earlier states of a training run, here scaled copies, lead to the last one's log Z."""
    last = machine_of("label", std=1.5)
    earlier = [scaled(machine_of("label", std=1.5), scale) for scale in (0.3, 0.6)]
    replicas = ladder.trajectory(last, earlier)
    replicas[0] = Replica(earlier[0], 0.0)  # whatever machine has the base rates
    estimate = partition.bennett(replicas, drawn(replicas, 2000, 3))
    error = error_of(estimate, 2000)
    assert error < 0.1
    assert abs(estimate.value - log_partition(last)[0]) < Z * error
    assert not estimate.warning


# ------------------------------------------------------------------ warnings


def test_replicas_without_overlap_are_named() -> None:
    replicas = temperatures(machine_of("rbm", std=6.0), 0.0, 0.02, 1.0)
    estimate = partition.bennett(replicas, drawn(replicas, 40, 1))
    assert "Replicas 1 and 2 hardly overlap" in estimate.warning


def test_samples_of_another_temperature_contradict_their_neighbours() -> None:
    replicas = temperatures(machine_of("dbm", std=1.5), 0.0, 0.5, 1.0)
    assert not partition.bennett(replicas, drawn(replicas, 2000, 4)).warning
    wrong = partition.bennett(replicas, drawn(replicas, 2000, 4, at=(0.6,)))
    assert "The samples of replicas 1 and 2 contradict each other" in wrong.warning


def test_draws_that_drift_are_said() -> None:
    """Chains that go at β = 0.6 for the first half."""
    replicas = temperatures(machine_of("rbm", std=1.5), 0.0, 0.5, 1.0)
    estimate = partition.bennett(replicas, drawn(replicas, 500, 6, draws=2, at=(0.6,)))
    assert "nats between the halves of the draws" in estimate.warning


# ------------------------------------------------------------------ the ladder


def sharp(scale: float = 1.0) -> BoltzmannMachine:
    """Patterns that are far apart: an RBM whose last replica alone never mixes."""
    patterns = torch.as_tensor(bars_and_stripes(3)).double()[:8]
    machine = BoltzmannMachine.stack(Bernoulli(9), Bernoulli(8)).double()
    with torch.no_grad():
        machine.weight["visible-hidden1"].copy_(8.0 * (2 * patterns - 1).T)
        tilt = 4.0 * torch.linspace(0.0, 1.0, 8)
        machine.bias["hidden1"].copy_(-8.0 * patterns.sum(1) + tilt)
    return scaled(machine, scale)


@pytest.mark.parametrize("kind", ["temperatures", "trajectory"])
def test_the_ladder_meets_the_truth_where_plain_chains_cannot(kind: str) -> None:
    """Within 4.9 standard errors, which are below 0.15."""
    machine = sharp()
    replicas = ladder.trajectory(machine, [sharp(scale) for scale in (0.1, 0.2, 0.35, 0.6)])
    if kind == "temperatures":
        betas = partition.adaptive_schedule(machine, 10)
        replicas = ladder.temperatures(machine, betas)
    draws = partition.ladder_draws(replicas, chains=60, sweeps=200, random_state=1)
    found = partition.bennett(replicas, draws)
    error = error_of(found, 60)
    assert error < 0.15
    assert abs(found.value - float(exact.log_partition(machine))) < Z * error
    assert draws.samples["visible"].shape == (60, 9)
    assert found.method == f"Bennett's ratio, {len(replicas)} replicas, 60 chains, 27 draws"


def test_a_ladder_goes_on_from_given_states() -> None:
    machine = machine_of("rbm", std=1.0)
    replicas = temperatures(machine, 0.0, 0.5, 1.0)
    states = [exact_draws(machine, 400, Stream(3).child(i), b) for i, (_, b) in enumerate(replicas)]
    draws = partition.ladder_draws(replicas, states=states, sweeps=6, every=2)
    found = partition.bennett(replicas, draws)
    assert draws.up.shape == (2, 2, 400)
    assert abs(found.value - log_partition(machine)[0]) < Z * error_of(found, 400)


def test_a_ladder_too_short_to_cross_says_so() -> None:
    replicas = ladder.temperatures(sharp(), 21)
    few = partition.ladder_draws(replicas, chains=20, sweeps=12, every=1)
    said = "of the last replica's draws have been at β = 0"
    assert said in partition.bennett(replicas, few).warning
    replicas = ladder.temperatures(sharp(), partition.adaptive_schedule(sharp(), 4))
    enough = partition.ladder_draws(replicas, chains=20, sweeps=200)
    assert "have been at β = 0" not in partition.bennett(replicas, enough).warning


def test_a_ladder_repeats_itself() -> None:
    replicas = ladder.temperatures(machine_of("rbm"), 4)
    options = {"chains": 4, "sweeps": 6}
    first = partition.ladder_draws(replicas, **options)
    assert np.array_equal(first.up, partition.ladder_draws(replicas, **options).up)
    other = partition.ladder_draws(replicas, **options, random_state=1)
    assert not np.array_equal(first.up, other.up)
    with pytest.raises(ValueError, match="sweeps=0"):
        partition.ladder_draws(replicas, sweeps=0)
