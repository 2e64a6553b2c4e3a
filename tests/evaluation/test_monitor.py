"""A game watched while it is played: each number against what it must be for laws that are
known. False-alarm rate: 1e-6."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

import equilibria.evaluation.monitor as monitor_module
from equilibria.data import GaussianMixture, load
from equilibria.data.batches import Batch
from equilibria.evaluation import (
    ChainMonitor,
    GameMonitor,
    cluster_coverage,
    free_energy_gap,
    mixing,
)
from equilibria.games.contrastive import ContrastiveGame
from equilibria.inference import gibbs
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.random import Stream
from equilibria.units import Bernoulli

Z = float(stats.norm.ppf(1 - 0.5e-6))
RING = GaussianMixture.ring()
TRAIN, HELD_OUT = Batch(Stream(0).normal((2000, 3))), Batch(Stream(1).normal((1000, 3)))


def normal(mean=0.0, deviation=1.0):
    return lambda n, stream, condition: mean + deviation * stream.normal((n, 3))


def first(x, condition):
    return x[:, :1]


def ring(mixture: GaussianMixture):
    return lambda n, stream, condition: torch.as_tensor(
        mixture.sample(n, stream), dtype=torch.float32
    )


def test_a_perfect_sampler_shows_no_difference() -> None:
    found = GameMonitor(normal(), first, TRAIN, HELD_OUT, coverage=None).measure(Stream(2))
    assert abs(found["critic_auc"] - 0.5) < Z * math.sqrt((2 * 500 + 1) / (12 * 500**2))
    assert abs(found["spread"] - 1) < Z * math.sqrt(2 / (2 * 3 * 500))
    # ten standard errors: the estimate has a long tail
    assert abs(found["kernel_distance"]) < 10 * found["kernel_distance_error"]
    assert found["logit_error"] == pytest.approx(math.sqrt(2 / 500), rel=0.2)
    assert abs(found["train_logit"] - found["held_out_logit"]) < Z * found["logit_error"] * 1.2
    assert "classes" not in found


def test_a_shifted_and_a_narrow_sampler_show_it() -> None:
    shifted = GameMonitor(normal(2.0), first, TRAIN, HELD_OUT).measure(Stream(2))
    auc = 1 - stats.norm.cdf(2 / math.sqrt(2))  # a real row above a sample
    assert shifted["critic_auc"] == pytest.approx(auc, abs=0.06)
    assert shifted["sampled_logit"] == pytest.approx(2, abs=Z / math.sqrt(500))
    assert shifted["kernel_distance"] > 10 * shifted["kernel_distance_error"]
    narrow = GameMonitor(normal(0.0, 0.1), first, TRAIN, HELD_OUT).measure(Stream(2))
    assert narrow["spread"] == pytest.approx(0.1, rel=0.15)


def test_a_critic_that_knows_its_training_rows_is_seen() -> None:
    known = {tuple(row) for row in TRAIN.values.tolist()}

    def by_heart(x, condition):
        return torch.tensor([1.0 if tuple(row) in known else -1.0 for row in x.tolist()])

    found = GameMonitor(normal(), by_heart, TRAIN, HELD_OUT).measure(Stream(2))
    assert (found["train_logit"], found["held_out_logit"], found["sampled_logit"]) == (
        1.0,
        -1.0,
        -1.0,
    )
    assert found["critic_auc"] == 0.5


def test_without_held_out_rows_nothing_claims_to_be_held_out() -> None:
    found = GameMonitor(normal(), first, TRAIN, coverage=None).measure(Stream(2))
    assert set(found) == {
        "train_logit",
        "sampled_logit",
        "critic_auc",
        "spread",
        "kernel_distance",
        "kernel_distance_error",
    }


def test_the_same_stream_gives_the_same_numbers_and_another_other_rows() -> None:
    one, two, other = (
        GameMonitor(normal(), first, TRAIN, HELD_OUT).measure(Stream(seed)) for seed in (2, 2, 3)
    )
    assert one == two
    assert one != other


def test_conditions_go_with_their_rows_and_packs_stay_whole() -> None:
    data = Batch(TRAIN.values, condition=TRAIN.values[:, :1])

    def pairs(x, condition):
        assert torch.equal(x[:, :1], condition)
        return x[:, 0].reshape(-1, 3).sum(dim=1)

    def sample(n, stream, condition):
        assert len(condition) == n
        return torch.cat([condition, stream.normal((n, 2))], dim=1)

    found = GameMonitor(sample, pairs, data, packing=3, rows=100).measure(Stream(0))
    assert found["sampled_logit"] == pytest.approx(found["train_logit"], abs=1e-6)


@pytest.mark.parametrize("labelled", [True, False])
def test_lost_modes_are_counted_through_classes_and_through_clusters(labelled: bool) -> None:
    rows = RING.sample(1500, Stream(0))
    labels = (
        np.square(rows[:, None] - RING.centres).sum(axis=2).argmin(axis=1) if labelled else None
    )
    coverage = cluster_coverage(rows, labels, clusters=8)
    data = Batch(torch.as_tensor(rows, dtype=torch.float32))
    lost = GaussianMixture(RING.centres[:5], RING.std)
    for mixture, expected in ((RING, 8), (lost, 5)):
        found = GameMonitor(ring(mixture), first, data, coverage=coverage).measure(Stream(1))
        assert (found["classes_found"], found["classes"]) == (expected, 8)


def test_real_digits_are_all_found_and_rare_classes_are_not_looked_for() -> None:
    train, test = load("digits"), load("digits", split="test")
    coverage = cluster_coverage(train.values, train.labels)
    rows = torch.as_tensor(test.values, dtype=torch.float32)

    def real(n, stream, condition):
        return rows[stream.permutation(len(rows))[:n]]

    data = Batch(torch.as_tensor(train.values, dtype=torch.float32))
    assert (
        GameMonitor(real, first, data, coverage=coverage, rows=300).measure(Stream(0))[
            "classes_found"
        ]
        == 10
    )
    assert (
        GameMonitor(real, first, data, coverage=coverage, rows=50).measure(Stream(0))["classes"]
        == 0
    )


def test_one_heap_and_rows_far_from_it_have_no_classes() -> None:
    """Clusters of fewer than five rows are not looked for, and then there may be one left; of
    packs there is one at the least."""
    heap = np.random.RandomState(0).normal(size=(200, 2))
    heap[3] = 1e6
    assert cluster_coverage(heap, np.arange(200) == 3) is None
    assert cluster_coverage(np.ones((50, 2))) is None
    spread = np.concatenate([np.full((95, 1), 0.0), 10.0 ** np.arange(5, 25)[:, None]])
    assert cluster_coverage(spread) is None
    found = GameMonitor(
        normal(), lambda x, condition: x[::30, :1], TRAIN, packing=30, rows=20
    ).measure(Stream(2))
    assert math.isfinite(found["train_logit"])


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="rows of train=5: expected a whole number, 20 or more"):
        GameMonitor(normal(), first, Batch(TRAIN.values[:5])).measure(Stream(0))
    with pytest.raises(ValueError, match="samples: Input contains NaN"):
        GameMonitor(normal(math.nan), first, TRAIN).measure(Stream(0))
    with pytest.raises(ValueError, match=r"train: .*a minimum of 20 is required"):
        cluster_coverage(np.zeros((5, 2)))


def test_what_real_rows_do_not_claim_is_not_asked_of_samples() -> None:
    """Rows along a curve: clusters cut it at arbitrary places, and some have no core of their
    own."""

    def rows(stream: Stream, n: int = 2000) -> torch.Tensor:
        x = 2 * stream.child("x").uniform((n, 1)) - 1
        return torch.cat([x, torch.sin(3 * x) + 0.1 * stream.child("y").normal((n, 1))], 1)

    seen = rows(Stream(0))
    coverage = cluster_coverage(seen)
    for seed in range(3):
        monitor = GameMonitor(
            lambda n, stream, _: rows(stream, n),
            lambda x, _: x[:, 0],
            Batch(seen),
            coverage=coverage,
            rows=1000,
        )
        found = monitor.measure(Stream(seed + 1))
        assert found["classes_found"] == found["classes"] > 10


def test_clusters_are_fitted_once_at_the_first_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monitor = GameMonitor(normal(), first, TRAIN)
    found = monitor.measure(Stream(2))
    assert found["classes_found"] == found["classes"] > 0
    monkeypatch.setattr(monitor_module, "cluster_coverage", None)
    assert monitor.measure(Stream(2)) == found


# ---------------------------------------------------------------- chains


def strong(weight: float) -> BoltzmannMachine:
    """Two modes, all on and all off, with a barrier that grows with the weight."""
    machine = BoltzmannMachine.stack(Bernoulli(4), Bernoulli(4))
    with torch.no_grad():
        for parameter in machine.parameters():
            parameter.fill_(weight if parameter.dim() == 2 else -2 * weight)
    return machine


def chains(machine: BoltzmannMachine, rows: int) -> dict[str, torch.Tensor]:
    return gibbs.start(machine, rows, Stream(0))


def test_chains_of_a_flat_machine_mix_and_those_of_a_strong_one_are_frozen() -> None:
    flat, deep = strong(0.0), strong(50.0)
    found = mixing(flat, chains(flat, 100), 200)
    # the energy of a flat machine is constant
    assert found["share of frozen chains"].value == 1.0
    easy = BoltzmannMachine.stack(Bernoulli(6), Bernoulli(5)).initialise(0)
    state = chains(easy, 50)
    before = {name: values.clone() for name, values in state.items()}
    found = mixing(easy, state, 200)
    assert found["share of frozen chains"].value == 0.0
    assert found.value < 1.05
    assert found["autocorrelation time"].value < 3
    assert all(torch.equal(values, before[name]) for name, values in state.items())
    state = gibbs.run(deep, chains(deep, 20), 10, Stream(1))
    assert mixing(deep, state, 50)["share of frozen chains"].value == 1.0
    with pytest.raises(ValueError, match="chains=1"):
        mixing(easy, chains(easy, 1))


def test_a_chain_monitor_logs_finite_numbers_and_the_gap_of_its_rows() -> None:
    machine = BoltzmannMachine.stack(Bernoulli(6), Bernoulli(5)).initialise(0)
    game = ContrastiveGame(machine, chains=20)
    seen, unseen = ({"visible": torch.full((10, 6), value)} for value in (0.0, 1.0))
    found = ChainMonitor(game, seen, unseen, sweeps=20).measure(Stream(0))
    gap = free_energy_gap(machine, seen, unseen, tolerance=1e-3, max_steps=50)
    assert (found["free_energy_gap"], found["free_energy_gap_floor"]) == (gap.value, gap.chance)
    assert all(math.isfinite(value) for value in found.values())
    assert found == ChainMonitor(game, seen, unseen, sweeps=20).measure(Stream(0))
    frozen = ChainMonitor(ContrastiveGame(strong(20.0), chains=10), sweeps=20).measure(Stream(0))
    assert frozen["autocorrelation_time"] <= 20
