"""A game watched while it is played: each number against what it must be for laws that are known. False-alarm rate: 1e-6."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from equilibria.data.batches import Batch
from equilibria.data import load
from equilibria.data.toy import GaussianMixture
from equilibria.evaluation.watch import landmarks, watch_game
from equilibria.random import Stream

Z = float(stats.norm.ppf(1 - 0.5e-6))
RING = GaussianMixture.ring()
TRAIN, HELD_OUT = Batch(Stream(0).normal((2000, 3))), Batch(Stream(1).normal((1000, 3)))


def normal(mean=0.0, deviation=1.0):
    return lambda n, stream, condition: mean + deviation * stream.normal((n, 3))


def first(x, condition):
    return x[:, :1]


def ring(mixture: GaussianMixture):
    return lambda n, stream, condition: torch.as_tensor(mixture.sample(n, stream), dtype=torch.float32)


def test_a_perfect_sampler_shows_no_difference() -> None:
    found = watch_game(normal(), first, TRAIN, HELD_OUT, stream=Stream(2))
    assert abs(found["critic_auc"] - 0.5) < Z * math.sqrt((2 * 500 + 1) / (12 * 500**2))
    assert abs(found["spread"] - 1) < Z * math.sqrt(2 / (2 * 3 * 500))
    assert abs(found["kernel_distance"]) < 10 * found["kernel_distance_error"]  # a law with a long tail
    assert found["logit_error"] == pytest.approx(math.sqrt(2 / 500), rel=0.2)
    assert abs(found["train_logit"] - found["held_out_logit"]) < Z * found["logit_error"] * 1.2
    assert "classes" not in found


def test_a_shifted_and_a_narrow_sampler_show_it() -> None:
    shifted = watch_game(normal(2.0), first, TRAIN, HELD_OUT, stream=Stream(2))
    auc = 1 - stats.norm.cdf(2 / math.sqrt(2))  # a real row above a sample
    assert shifted["critic_auc"] == pytest.approx(auc, abs=0.06)
    assert shifted["sampled_logit"] == pytest.approx(2, abs=Z / math.sqrt(500))
    assert shifted["kernel_distance"] > 10 * shifted["kernel_distance_error"]
    narrow = watch_game(normal(0.0, 0.1), first, TRAIN, HELD_OUT, stream=Stream(2))
    assert narrow["spread"] == pytest.approx(0.1, rel=0.15)


def test_a_critic_that_knows_its_training_rows_is_seen() -> None:
    known = {tuple(row) for row in TRAIN.values.tolist()}

    def by_heart(x, condition):
        return torch.tensor([1.0 if tuple(row) in known else -1.0 for row in x.tolist()])

    found = watch_game(normal(), by_heart, TRAIN, HELD_OUT, stream=Stream(2))
    assert (found["train_logit"], found["held_out_logit"], found["sampled_logit"]) == (1.0, -1.0, -1.0)
    assert found["critic_auc"] == 0.5


def test_without_held_out_rows_nothing_claims_to_be_held_out() -> None:
    found = watch_game(normal(), first, TRAIN, stream=Stream(2))
    assert set(found) == {"train_logit", "sampled_logit", "critic_auc", "spread", "kernel_distance", "kernel_distance_error"}


def test_the_same_stream_gives_the_same_numbers_and_another_other_rows() -> None:
    one, two, other = (watch_game(normal(), first, TRAIN, HELD_OUT, stream=Stream(seed)) for seed in (2, 2, 3))
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

    found = watch_game(sample, pairs, data, stream=Stream(0), packing=3, rows=100)
    assert found["sampled_logit"] == pytest.approx(found["train_logit"], abs=1e-6)


@pytest.mark.parametrize("labelled", [True, False])
def test_lost_modes_are_counted_through_classes_and_through_clusters(labelled: bool) -> None:
    rows = RING.sample(1500, Stream(0))
    labels = np.square(rows[:, None] - RING.centres).sum(axis=2).argmin(axis=1) if labelled else None
    coverage = landmarks(rows, labels, clusters=8)
    data = Batch(torch.as_tensor(rows, dtype=torch.float32))
    lost = GaussianMixture(RING.centres[:5], RING.std)
    for mixture, expected in ((RING, 8), (lost, 5)):
        found = watch_game(ring(mixture), first, data, stream=Stream(1), coverage=coverage)
        assert (found["classes_found"], found["classes"]) == (expected, 8)


def test_real_digits_are_all_found_and_rare_classes_are_not_looked_for() -> None:
    train, test = load("digits"), load("digits", split="test")
    coverage = landmarks(train.values, train.labels)
    rows = torch.as_tensor(test.values, dtype=torch.float32)

    def real(n, stream, condition):
        return rows[stream.permutation(len(rows))[:n]]

    data = Batch(torch.as_tensor(train.values, dtype=torch.float32))
    assert watch_game(real, first, data, stream=Stream(0), coverage=coverage, rows=300)["classes_found"] == 10
    assert watch_game(real, first, data, stream=Stream(0), coverage=coverage, rows=50)["classes"] == 0


def test_one_heap_and_rows_far_from_it_have_no_classes() -> None:
    """Clusters of fewer than five rows are not looked for, and then there may be one left; of packs there is one at the least."""
    heap = np.random.RandomState(0).normal(size=(200, 2))
    heap[3] = 1e6
    assert landmarks(heap, np.arange(200) == 3) is None
    assert landmarks(np.ones((50, 2))) is None
    spread = np.concatenate([np.full((95, 1), 0.0), 10.0 ** np.arange(5, 25)[:, None]])
    assert landmarks(spread) is None
    found = watch_game(normal(), lambda x, condition: x[::30, :1], TRAIN, stream=Stream(2), packing=30, rows=20)
    assert math.isfinite(found["train_logit"])


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="rows=10"):
        watch_game(normal(), first, TRAIN, stream=Stream(0), rows=10)
    with pytest.raises(ValueError, match="rows=500: expected 20 or more"):
        watch_game(normal(), first, Batch(TRAIN.values[:5]), stream=Stream(0))
    with pytest.raises(ValueError, match="samples: 500 of 500 rows hold NaN"):
        watch_game(normal(math.nan), first, TRAIN, stream=Stream(0))
    with pytest.raises(ValueError, match="train: expected at least 20 rows"):
        landmarks(np.zeros((5, 2)))


def test_what_real_rows_do_not_claim_is_not_asked_of_samples() -> None:
    """Rows along a curve: clusters cut it at arbitrary places, and some have no core of their own."""

    def rows(stream: Stream, n: int = 2000) -> torch.Tensor:
        x = 2 * stream.child("x").uniform((n, 1)) - 1
        return torch.cat([x, torch.sin(3 * x) + 0.1 * stream.child("y").normal((n, 1))], 1)

    seen = rows(Stream(0))
    coverage = landmarks(seen)
    for seed in range(3):
        found = watch_game(
            lambda n, stream, _: rows(stream, n), lambda x, _: x[:, 0], Batch(seen), stream=Stream(seed + 1), coverage=coverage, rows=1000
        )
        assert found["classes_found"] == found["classes"] > 10
