"""The verdict where the truth is known: each planted fault has its sentence, and no other has."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

import equilibria
from equilibria import GAN, RBM, Independent, Mixture
from equilibria.evaluation.statistics import conformal
from equilibria.evaluation.two_sample import area, areas, detectable, give_away, told_apart
from equilibria.evaluation.verdict import Verdict, calibrated, difference
from equilibria.random import Stream
from equilibria.report.verdict import verdict
from small import BITS, LABELS, small

CENTRES = np.array([[0.0, 0, 0, 0], [5, 5, 0, 0], [0, 5, 5, 1]])


def draw(n: int, seed: int) -> np.ndarray:
    """Rows of three kinds in four real columns, the last two of which depend on each other."""
    which = Stream(seed).child("kind").integers((n,), 3).numpy()
    noise = Stream(seed).child("noise").normal((n, 4), torch.float64).numpy()
    return CENTRES[which] + noise


TRAIN, HELD = draw(1500, 0), draw(1000, 1)


@pytest.fixture(scope="module")
def world() -> Mixture:
    """A model fitted to far more rows of the same law: as good as the truth."""
    return Mixture(3, steps=40, random_state=0).fit(draw(20_000, 2))


class Copying(Mixture):
    """A mixture a part of whose samples are training rows."""

    share = 0.05

    def sample(self, n: int = 1, **how: Any) -> Any:
        rows = super().sample(n, **how)
        places = Stream(5).integers((n,), len(TRAIN)).numpy()
        copies = np.arange(n) < self.share * n
        rows[copies] = TRAIN[places[copies]]
        return rows[Stream(6).permutation(n).numpy()]


def test_a_perfect_sampler_is_told_so(world: Mixture) -> None:
    found = verdict(world, HELD, train=TRAIN)
    told = found["told from data"]
    assert told.short == "no"
    assert "would have been seen" in told.sentence
    assert found["density"].short in ("yes", "unknown")
    assert found["leak"].short == "no"
    assert found["simulate"].short == found["publish rows"].short == "yes"


def test_copies_of_training_rows_are_seen(world: Mixture) -> None:
    model = copy.copy(world)
    model.__class__ = Copying
    found = verdict(model, HELD, train=TRAIN)
    assert found["leak"].short == "yes"
    assert "5 % of samples are training rows, 0 % of held-out rows are" in found["leak"].sentence
    assert found["publish rows"].short == "no"


def test_a_mode_that_is_dropped_is_seen(world: Mixture) -> None:
    model = copy.deepcopy(world)
    with torch.no_grad():
        chance = model.model_.edges[0, 0].exp()
        chance[chance.argmin()] = 1e-30
        model.model_.edges[0, 0] = (chance / chance.sum()).log()
    found = verdict(model, HELD, train=TRAIN)
    assert found["told from data"].short == "yes"
    assert found["density"].short == "no"
    assert found["simulate"].short == "no"


def test_independent_columns_are_told_that_they_lose() -> None:
    found = verdict(Independent().fit(TRAIN), HELD, train=TRAIN)
    assert found["density"].short == "no"
    assert "it loses to a tree and a mixture" in found["density"].sentence
    assert found["told from data"].short == "yes"
    assert "column 0 with column 1" in found["told from data"].sentence
    assert found["fill in"].short == found["simulate"].short == "no"


def test_a_machine_that_knows_its_rows_by_heart_is_seen() -> None:
    """A hundred rows of ten columns at random, far more hidden units and passes than they bear."""
    bits = Stream(0).uniform((400, 16)).round().numpy()
    model = RBM(64, n_iter=400, batch_size=20, random_state=0).fit(bits[:100])
    found = verdict(model, bits[100:], train=bits[:100])
    assert found["leak"].short == "yes"
    assert found["density"].short == "no"
    assert "it loses to independent columns" in found["density"].sentence


def test_what_few_rows_cannot_show_is_not_said(world: Mixture) -> None:
    found = verdict(world, HELD[:60], train=TRAIN[:140])
    measure = found["told from data"].measures[0]
    assert measure["area that would have been seen"].value > 0.6
    assert f"{measure['area that would have been seen'].value:.3f} would" in str(found)
    with pytest.raises(ValueError, match=r"X: 39 rows, and 40 are needed; hold more rows out"):
        verdict(world, HELD[:39])


def test_without_training_rows_nothing_is_said_of_leaks(world: Mixture) -> None:
    found = world.verdict(HELD)
    assert found["leak"].short == found["publish rows"].short == "unknown"
    assert found["told from data"].short == "no"
    with pytest.raises(KeyError, match="expected words of one of"):
        found["nothing"]


def test_a_model_without_a_density_is_not_called_right() -> None:
    found = verdict(GAN(steps=20, random_state=0).fit(TRAIN), HELD, train=TRAIN)
    assert found["density"].short == found["odd"].short == "unknown"
    assert found["told from data"].short == "yes"
    assert found["compare likelihoods"].short == "no"


def test_a_verdict_survives_its_file(world: Mixture) -> None:
    found = verdict(world, HELD[:100], train=TRAIN[:200])
    assert Verdict.from_json(found.to_json()) == found


@pytest.mark.parametrize("name", ["rbm", "dbm", "made", "gan", "latent-tree"])
def test_every_kind_of_model_can_be_judged(name: str) -> None:
    model = small(equilibria.estimators.all_estimators()[name]).fit(BITS[:30], LABELS[:30])
    rows = np.concatenate([BITS, BITS[:20]])
    text = str(verdict(model, rows, train=BITS[:30]))
    assert text.count("?") == 4
    assert "nothing looks wrong" not in text.lower()


# ------------------------------------------------------------------ what it is made of


def test_the_area_is_mann_and_whitneys() -> None:
    low, high = Stream(0).integers((50,), 9).numpy(), 1 + Stream(1).integers((70,), 9).numpy()
    expected = stats.mannwhitneyu(high, low).statistic / (50 * 70)
    assert area(low, high) == pytest.approx(expected)


def test_false_alarms_of_the_test_come_at_their_rate() -> None:
    """p ≤ .05 in at most 5 % of 200 tests of one law: with 22 or more the chance is 5e-4 per rate;
    at 28 below 1e-6."""
    alarms = 0
    for seed in range(200):
        rows = Stream(seed).normal((300, 3), torch.float64).numpy()
        found = told_apart([(rows[:100], rows[100:200])], rows[200:], Stream(seed))
        alarms += bool(found.warning)
    assert stats.binom.sf(alarms - 1, 200, 0.05) > 1e-6


def test_the_power_is_what_is_said() -> None:
    """Scores of two normal laws apart by the detectable area: found in 90 % of 400 trials, within
    4.9 standard deviations (false alarm 1e-6)."""
    shift = float(np.sqrt(2) * stats.norm.ppf(detectable(100, 100)))
    hits = 0
    for seed in range(400):
        low = Stream(seed).child("low").normal((100,)).numpy()
        high = Stream(seed).child("high").normal((100,)).numpy() + shift
        hits += areas(low, high, Stream(seed))[1] <= 0.05
    assert abs(hits / 400 - 0.9) < 4.9 * np.sqrt(0.09 / 400) + 0.01  # not the null's variance


def test_the_columns_that_give_samples_away_are_named() -> None:
    rows, fake = draw(600, 3), draw(600, 4)
    fake[:, 2] += 2
    found = give_away(rows, fake, [0, 1, 2, 3], ["a", "b", "c", "d"], Stream(0))
    assert found[0][1].split(" with ")[0] == "c"


def test_conformal_p_values_are_uniform_on_their_own_law() -> None:
    """Every rank of a row among n others is equally likely: exact for n = 19, α = .05."""
    scores = Stream(0).normal((20_000, 20), torch.float64).numpy()
    flagged = np.mean([conformal(row[1:], row[:1])[0] <= 0.05 for row in scores])
    assert abs(flagged - 0.05) < 4.9 * np.sqrt(0.05 * 0.95 / 20_000)
    assert conformal(np.arange(9.0), np.array([99.0]), two_sided=True)[0] == pytest.approx(0.2)


def test_calibration_knows_right_probabilities_from_wrong_ones() -> None:
    chance = Stream(3).uniform((4000,), torch.float64).numpy()
    proba = np.stack([1 - chance, chance], 1)
    codes = (Stream(4).uniform((4000,), torch.float64).numpy() < chance).astype(int)
    assert calibrated(proba, codes, Stream(2)).warning == ""
    sharp = proba**3 / (proba**3).sum(1, keepdims=True)
    assert "not calibrated" in calibrated(sharp, codes, Stream(2)).warning


def test_a_difference_is_paired() -> None:
    scores = Stream(0).normal((100,), torch.float64).numpy() * 100
    gain = difference(scores + 1, scores, "gain")
    assert (gain.value, gain.chance) == (pytest.approx(1), pytest.approx(0, abs=1e-9))


def test_odd_rows_are_flagged_and_usual_ones_at_their_rate(world: Mixture) -> None:
    usual, odd = world.anomaly_pvalue(HELD, TRAIN), world.anomaly_pvalue(HELD + 9, TRAIN)
    # 1,000 rows at 5 %: within 4.9 standard deviations, both sets counted
    assert abs((usual <= 0.05).mean() - 0.05) < 4.9 * np.sqrt(0.05 * 0.95 * (1 / 1000 + 1 / 1500))
    assert (odd <= 0.01).all()
    with pytest.raises(AttributeError, match="anomaly_pvalue"):
        GAN(steps=2, random_state=0).fit(TRAIN).anomaly_pvalue(HELD, TRAIN)
