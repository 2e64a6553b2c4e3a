"""Bennett's ratio and its ladder against enumeration, closed forms, and samples that are wrong on purpose."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats

from equilibria.data import bars_and_stripes
from equilibria.inference import bennett, exact, gibbs, ratio, tempering
from equilibria.inference.exchange import kept_colour
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.random import Stream
from equilibria.units import Bernoulli, Categorical
from exact import MACHINES, log_partition, machine_of

Z = 4.9  # standard errors with a two-sided false-alarm rate of one in a million


def enumerated(machine: BoltzmannMachine, rows: int, stream: Stream, beta: float = 1.0) -> dict[str, torch.Tensor]:
    """Exact draws at β: the smaller colour by its marginal, the other one given it."""
    kept = kept_colour(machine)
    counts = [machine.units(name).states or 0 for name in machine.colours[kept]]
    index = torch.arange(math.prod(counts))
    every = {}
    for name, count in zip(machine.colours[kept], counts, strict=True):
        every[name], index = machine.units(name).state_at(index % count, machine.dtype), index // count
    with torch.no_grad():
        shares = torch.softmax(machine.log_marginal(kept, every, beta), 0).cumsum(0)
        chosen = torch.searchsorted(shares, stream.uniform((rows,), torch.float64)).clamp(max=len(shares) - 1)
        state = {name: values[chosen] for name, values in every.items()}
        return {**state, **gibbs.block(machine, 1 - kept, state, stream.child("other"), beta=beta)[0]}


def ladder_of(
    machine: BoltzmannMachine, betas: tuple[float, ...], rows: int, seed: int
) -> tuple[list[bennett.Rung], list[dict[str, torch.Tensor]]]:
    rungs = [(machine, beta) for beta in betas]
    return rungs, [enumerated(machine, rows, Stream(seed).child(i), beta) for i, beta in enumerate(betas)]


# ---------------------------------------------------------------- the ratio


@pytest.mark.parametrize("shape", MACHINES)
def test_exact_draws_give_the_exact_answer_on_every_graph(shape: str) -> None:
    """2,000 draws a rung: within 4.9 standard errors (1e-6); errors are below 0.05, so 0.25 nats of bias would be seen."""
    machine = machine_of(shape, std=1.0)
    rungs, samples = ladder_of(machine, (0.0, 0.5, 1.0), 2000, 1)
    estimate = bennett.log_partition(rungs, samples)
    error = (estimate.high - estimate.low) / 2 / stats.t.ppf(0.975, 1999)
    assert error < 0.05
    assert abs(estimate.value - log_partition(machine)[0]) < Z * error
    assert not estimate.warning
    assert estimate.method == "Bennett's ratio, 3 rungs, 2000 draws a rung"


def test_the_interval_covers_at_its_rate() -> None:
    """100 ladders of 50 draws: at least 82 of the 95 % intervals cover. Fewer come once in 600,000 times at 95 %, every second at 81 %."""
    machine = machine_of("dbm", std=1.0)
    truth = log_partition(machine)[0]
    found = [bennett.log_partition(*ladder_of(machine, (0.0, 0.4, 0.7, 1.0), 50, seed)) for seed in range(100)]
    assert sum(e.low <= truth <= e.high for e in found) >= 82
    together = np.array([e.value for e in found])
    assert abs(together.mean() - truth) < Z * together.std(ddof=1) / 10


def test_the_variance_is_that_of_bennett() -> None:
    """Two normal densities a distance d apart: error and overlap are integrals that are known.

    The asymptotic variance is (1/n_a + 1/n_b)(1/overlap − 1) with the overlap ∫ π_a π_b / (share-weighted mixture).
    """
    n, d = 200_000, 2.0
    generator = np.random.default_rng(0)
    up = d * generator.normal(0, 1, (1, n)) - d * d / 2  # log f_b/f_a at draws of N(0, 1), f_b that of N(d, 1) times e^3
    down = d * generator.normal(d, 1, (1, n)) - d * d / 2
    found = ratio.pair_of(up + 3.0, down + 3.0).difference
    overlap = integrate.quad(lambda x: 2 * stats.norm.pdf(x) * special.expit(d * x - d * d / 2), -12, 14)[0]
    assert found.overlap == pytest.approx(overlap, rel=0.01)
    assert found.error == pytest.approx(math.sqrt(2 / n * (1 / overlap - 1)), rel=0.01)
    assert found.ess == pytest.approx(n * overlap, rel=0.03)
    assert abs(found.value - 3.0) < Z * found.error
    assert abs(found.consistency) < Z


def test_unequal_numbers_of_draws() -> None:
    machine = machine_of("rbm", std=1.0)
    rungs = [(machine, 0.0), (machine, 1.0)]
    samples = [enumerated(machine, 400, Stream(5).child(0), 0.0), enumerated(machine, 4000, Stream(5).child(1), 1.0)]
    estimate = bennett.log_partition(rungs, samples, chains=400)
    assert abs(estimate.value - log_partition(machine)[0]) < Z * (estimate.high - estimate.low) / 3.92


def test_identical_rungs_differ_by_nothing() -> None:
    machine = machine_of("rbm")
    samples = [enumerated(machine, 20, Stream(1).child(i), 0.0) for i in range(2)]
    found = bennett.differences([(machine, 0.0), (machine, 0.0)], samples)[0]
    assert (found.value, found.error, found.overlap) == (pytest.approx(0.0, abs=1e-9), pytest.approx(0.0, abs=1e-9), pytest.approx(1.0))
    assert found.ess == pytest.approx(20.0)


def test_repeated_draws_do_not_narrow_the_interval() -> None:
    """Every draw ten times over, as from chains that stand still: as one observation a chain they say what they said."""
    rungs, samples = ladder_of(machine_of("dbm"), (0.0, 0.5, 1.0), 60, 2)
    again = [{name: x.repeat(10, 1) for name, x in state.items()} for state in samples]
    once, ten = bennett.log_partition(rungs, samples), bennett.log_partition(rungs, again, chains=60)
    assert (ten.value, ten.low) == (pytest.approx(once.value), pytest.approx(once.low))
    naive = bennett.log_partition(rungs, again)
    assert naive.high - naive.low == pytest.approx((once.high - once.low) / math.sqrt(10), rel=0.05)


def test_a_trajectory_of_machines() -> None:
    """Rungs that are earlier states of a training run, here scaled copies, lead to the last one's log Z."""
    last = machine_of("label", std=1.5)
    rungs: list[bennett.Rung] = [(last, 0.0)]
    for scale in (0.3, 0.6, 1.0):
        earlier = machine_of("label", std=1.5)
        with torch.no_grad():
            for parameter in earlier.parameters():
                parameter.mul_(scale)
        rungs.append((earlier, 1.0))
    samples = [enumerated(m, 2000, Stream(3).child(i), beta) for i, (m, beta) in enumerate(rungs)]
    estimate = bennett.log_partition(rungs, samples)
    error = (estimate.high - estimate.low) / 3.92
    assert abs(estimate.value - log_partition(last)[0]) < Z * error
    assert error < 0.1
    assert not estimate.warning


# ---------------------------------------------------------------- warnings


def test_a_pair_without_overlap_is_named() -> None:
    machine = machine_of("rbm", std=6.0)
    rungs, samples = ladder_of(machine, (0.0, 0.02, 1.0), 40, 1)
    estimate = bennett.log_partition(rungs, samples)
    assert "Rungs 1 and 2 hardly overlap" in estimate.warning
    assert estimate.caveat.startswith(estimate.warning)


def test_rungs_that_never_meet_have_an_infinite_interval() -> None:
    far = ratio.pair_of(np.full((1, 30), -500.0) - np.arange(30), np.full((1, 30), 500.0) + np.arange(30))
    assert (far.difference.error, far.difference.overlap, far.difference.ess) == (math.inf, 0.0, 0.0)


def test_samples_of_another_temperature_contradict_their_neighbours() -> None:
    machine = machine_of("dbm", std=1.5)
    rungs, samples = ladder_of(machine, (0.0, 0.5, 1.0), 2000, 4)
    wrong = [samples[0], samples[1], enumerated(machine, 2000, Stream(9), 0.6)]
    assert not bennett.log_partition(rungs, samples).warning
    assert "The samples of rungs 1 and 2 contradict each other" in bennett.log_partition(rungs, wrong).warning


def test_draws_that_drift_are_said() -> None:
    """Chains that go at β = 0.6 for the first half."""
    machine = machine_of("rbm", std=1.5)
    early = [enumerated(machine, 500, Stream(6).child(0, i), b) for i, b in enumerate((0.0, 0.5, 0.6))]
    late = [enumerated(machine, 500, Stream(6).child(1, i), b) for i, b in enumerate((0.0, 0.5, 1.0))]
    both = [{name: torch.cat([a[name], b[name]]) for name in a} for a, b in zip(early, late, strict=True)]
    rungs = [(machine, beta) for beta in (0.0, 0.5, 1.0)]
    assert "nats between the two halves of the draws" in bennett.log_partition(rungs, both, chains=500).warning


# ---------------------------------------------------------------- the ladder


def sharp() -> BoltzmannMachine:
    """Two copies of patterns that are far apart: an RBM with strong couplings, whose top rung alone never mixes."""
    patterns = torch.as_tensor(bars_and_stripes(3)).double()[:8]
    machine = BoltzmannMachine.stack(Bernoulli(9), Bernoulli(8)).double()
    with torch.no_grad():
        machine.weight["visible-hidden1"].copy_(8.0 * (2 * patterns - 1).T)
        machine.bias["hidden1"].copy_(-8.0 * patterns.sum(1) + 4.0 * torch.linspace(0.0, 1.0, 8))
    return machine


@pytest.mark.parametrize("seed", range(2))
def test_the_ladder_meets_the_truth_where_plain_chains_cannot(seed: int) -> None:
    """Within 4.9 standard errors, which are below 0.1; the same rungs without swaps are off by more than that in both."""
    machine = sharp()
    found = bennett.ladder(machine, betas=10, chains=60, sweeps=200, random_state=seed)
    error = (found.estimate.high - found.estimate.low) / 2 / stats.t.ppf(0.975, 59)
    assert error < 0.1
    assert abs(found.estimate.value - float(exact.log_partition(machine))) < Z * error
    assert min(found.acceptance) > 0.2
    assert len(found.betas) == 11
    assert found.samples["visible"].shape == (60, 9)


def test_swaps_leave_every_rung_as_it_is() -> None:
    """Rungs that start in equilibrium stay there: mean energies after 20 steps within 4.9 σ of enumeration's, at every rung.

    A ratio that is upside down moves the top rung's mean energy by more than 20 σ here.
    """
    machine = machine_of("softmax", std=1.5)
    betas, rows = (0.0, 0.4, 0.7, 1.0), 4000
    _, states = ladder_of(machine, betas, rows, 7)
    place = bennett._Places(machine, betas, rows)
    state = {name: torch.cat([s[name] for s in states]) for name in machine.colours[place.kept]}
    with torch.no_grad():
        for step in range(20):
            state = place.step(state, step % 2, Stream(8).child(step)).state
    for i, beta in enumerate(betas):
        with torch.no_grad():
            found = machine.log_marginal(place.kept, {name: x[i * rows : (i + 1) * rows] for name, x in state.items()}, beta)
            fresh = machine.log_marginal(place.kept, enumerated(machine, 100_000, Stream(10).child(i), beta), beta)
        assert abs(float(found.mean() - fresh.mean())) < Z * float(fresh.std()) * math.sqrt(1 / rows + 1e-5)


def test_an_exchange_swaps_whole_pairs_of_one_parity() -> None:
    up, down = torch.full((3, 5), 50.0, dtype=torch.float64), torch.zeros(3, 5, dtype=torch.float64)
    order, chance = bennett._exchanged(up, down, 0, Stream(0))
    assert order.view(4, 5)[:, 2].tolist() == [7, 2, 17, 12]
    assert chance.tolist() == [1.0, 1.0]
    order, chance = bennett._exchanged(up, down, 1, Stream(0))
    assert order.view(4, 5)[:, 2].tolist() == [2, 12, 7, 17]
    assert bennett._exchanged(down, up, 1, Stream(0))[0].tolist() == list(range(20))
    third = torch.full((1, 200_000), math.log(1 / 3), dtype=torch.float64)
    share = float(bennett._exchanged(third, torch.zeros_like(third), 0, Stream(1))[1][0])
    assert abs(share - 1 / 3) < Z * math.sqrt(2 / 9 / 200_000)


def test_a_ladder_of_earlier_machines_meets_the_truth() -> None:
    """Rungs that are scaled copies of a sharp machine, sampled with swaps: within 4.9 standard errors, which are below 0.15."""
    last = sharp()
    earlier = []
    for scale in (0.1, 0.2, 0.35, 0.6):
        machine = sharp()
        with torch.no_grad():
            for parameter in machine.parameters():
                parameter.mul_(scale)
        earlier.append(machine)
    found = bennett.trajectory(tempering.trajectory(last, earlier), chains=60, sweeps=200, random_state=1)
    error = (found.estimate.high - found.estimate.low) / 2 / stats.t.ppf(0.975, 59)
    assert error < 0.15
    assert abs(found.estimate.value - float(exact.log_partition(last))) < Z * error
    assert found.betas == (0.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    assert len(found.acceptance) == len(found.differences) == 5


def test_a_trajectory_goes_on_from_given_states() -> None:
    machine = machine_of("rbm", std=1.0)
    rungs, states = ladder_of(machine, (0.0, 0.5, 1.0), 400, 3)
    found = bennett.trajectory([tempering.Rung(*rung) for rung in rungs], states=states, sweeps=6, every=2)
    assert found.estimate.method == "Bennett's ratio, 3 rungs, 400 chains, 2 draws a rung, swaps"
    assert abs(found.estimate.value - log_partition(machine)[0]) < Z * (found.estimate.high - found.estimate.low) / 3.9
    with pytest.raises(ValueError, match="states: 2 came for 3 rungs"):
        bennett.trajectory(rungs, states=states[:2])  # type: ignore[arg-type]


def test_marks_follow_the_swaps() -> None:
    fresh = np.array([[True], [False], [False], [False]])
    assert bennett._traded(fresh, np.array([[True], [True], [False]])).ravel().tolist() == [True, False, True, False]
    assert bennett._traded(fresh, np.array([[False], [True], [False]])).ravel().tolist() == [True, False, False, False]


def test_a_ladder_too_short_to_cross_says_so() -> None:
    found = bennett.ladder(sharp(), betas=20, chains=20, sweeps=12, every=1)
    assert "only 0 % come from states that have been at β = 0" in found.estimate.warning
    assert "from states that" not in bennett.ladder(sharp(), betas=4, chains=20, sweeps=200).estimate.warning


def test_a_ladder_repeats_itself_and_reports_progress() -> None:
    machine = machine_of("rbm")
    calls: list[tuple[int, int]] = []
    first = bennett.ladder(machine, betas=3, chains=4, sweeps=6, progress=lambda *at: calls.append(at))
    assert calls == [(i, 6) for i in range(1, 7)]
    assert first.estimate == bennett.ladder_log_partition(machine, betas=3, chains=4, sweeps=6)
    assert first.estimate.value != bennett.ladder_log_partition(machine, betas=3, chains=4, sweeps=6, random_state=1).value
    assert first.betas[0] == 0.0
    assert all(a < b for a, b in itertools.pairwise(first.betas))


# ---------------------------------------------------------------- refusals


def test_refusals() -> None:
    machine, other = machine_of("rbm"), BoltzmannMachine.stack(Categorical([5]), Bernoulli(4)).double()
    rungs, samples = ladder_of(machine, (0.0, 1.0), 10, 0)
    short = {name: x[:7] for name, x in samples[1].items()}
    for arguments, message in [
        (([rungs[1]], samples[:1]), "rungs: 1 came; expected at least two"),
        ((rungs[::-1], samples), "rungs: the first is at β = 1.0; expected 0"),
        (([rungs[0], (other, 1.0)], samples), r"rungs\[1\]: its layers are"),
        ((rungs, samples[:1]), "samples: 1 came for 2 rungs"),
        ((rungs, [samples[0], short]), r"samples: rungs of \[7, 10\] rows"),
    ]:
        with pytest.raises(ValueError, match=message):
            bennett.log_partition(*arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"samples\[0\]: 10 rows are not a whole number of draws of 3 chains"):
        bennett.log_partition(rungs, samples, chains=3)
    with pytest.raises(ValueError, match="chains=1: expected at least 2"):
        bennett.log_partition(rungs, samples, chains=1)
    with pytest.raises(ValueError, match="sweeps=0"):
        bennett.ladder(machine, sweeps=0)
    with pytest.raises(ValueError, match="not finite"):
        ratio.pair_of(np.array([[math.inf, 0.0]]), np.zeros((1, 2)))
