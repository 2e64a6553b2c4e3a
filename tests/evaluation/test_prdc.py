"""Precision, recall, density and coverage by hand and against a perfect sampler's expectations.
False-alarm rate: 1e-6."""

from __future__ import annotations

import math
from importlib import import_module

import numpy as np
import pytest
from scipy import stats

from equilibria.evaluation.features import Features
from equilibria.evaluation.quality import expected_coverage, prdc, prdc_scores
from equilibria.random import Stream


def noise(n: int, d: int, seed: int) -> np.ndarray:
    return Stream(seed).normal((n, d)).double().numpy()


def line(*places: float) -> np.ndarray:
    return np.array(places)[:, None]


@pytest.mark.parametrize(
    ("real", "fake", "k", "scores"),
    [
        # balls [-1, 1], [0, 2], [1, 5] around 0, 1, 3 (radius 2: its nearest is 1); 1.5
        # is in two of them, 9 in none
        (line(0, 1, 3), line(1.5, 9), 1, (0.5, 1.0, (2 + 0) / 2, 2 / 3)),
        # k = 2: balls [-3, 3], [-1, 3], [0, 6]; samples in 3, 3 and 1 of them; the
        # samples' own radii are 3, 2.5 and 3
        (line(0, 1, 3), line(2, 2.5, 5), 2, (1.0, 3 / 3, (3 + 3 + 1) / (2 * 3), 1.0)),
        # a collapsed sampler: one place, samples' radius 0
        (line(0, 1, 10, 11), line(0.5, 0.5, 0.5), 1, (1.0, 0.0, 2.0, 0.5)),
        # copies count as within: the edge of a ball belongs to it
        (line(0, 0, 5, 5), line(0, 5), 1, (1.0, 1.0, 2.0, 1.0)),
    ],
)
def test_small_cases_by_hand(real, fake, k, scores) -> None:
    assert prdc_scores(real, fake, k)[0] == pytest.approx(scores, abs=1e-12)


def test_blocks_do_not_change_the_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    real, fake = noise(90, 3, 0), noise(70, 3, 1)
    whole = prdc_scores(real, fake, 3)[0]
    monkeypatch.setattr(import_module("equilibria.evaluation.quality"), "_BLOCK", 17)
    assert prdc_scores(real, fake, 3)[0] == whole


@pytest.mark.parametrize(("n", "m", "k"), [(30, 30, 1), (40, 20, 3), (25, 60, 5)])
def test_a_perfect_sampler_scores_the_expectations(n: int, m: int, k: int) -> None:
    rounds = 400
    scores = np.array(
        [prdc_scores(noise(n, 2, 1000 + i), noise(m, 2, 9000 + i), k)[0] for i in range(rounds)]
    )
    errors = scores.std(axis=0, ddof=1) / math.sqrt(rounds)
    z = stats.norm.ppf(1 - 0.25e-6)
    assert (
        abs(scores[:, 2].mean() - 1) < z * errors[2]
    )  # the ball of x holds y with probability k/n exactly
    assert abs(scores[:, 3].mean() - expected_coverage(n, m, k)) < z * errors[3]
    assert z * errors[2:].max() < 0.1


def test_the_expected_coverage_is_the_published_product() -> None:
    n, k = 50, 4
    top, bottom = (math.prod(range(a - k, a)) for a in (n, 2 * n))
    assert expected_coverage(n, n, k) == pytest.approx(1 - top / bottom, rel=1e-12)


def test_real_halves_stand_beside_the_samples() -> None:
    found = prdc(noise(800, 2, 0), noise(500, 2, 1))
    assert (found.name, found.n, [part.name for part in found.parts]) == (
        "coverage",
        400,
        ["precision", "recall", "density"],
    )
    for name in ("precision", "recall", "coverage"):
        # two shares of 400 that agree in the mean differ by less than 5.3 standard errors
        assert abs(found[name].value - found[name].ideal) < 5.3 * math.sqrt(2 * 0.25 / 400)
    density = found["density"]
    assert abs(density.value - 1) < 5.3 * max((density.high - density.low) / 3.92, 0.04)
    assert found.ideal == expected_coverage(400, 400, 5)
    for measure in (found, *found.parts):
        assert measure.low <= measure.value <= measure.high
        assert measure.method == "5 neighbours; raw columns"


def test_missing_modes_and_strange_samples_are_told_apart() -> None:
    real = np.concatenate([noise(400, 2, 0), noise(400, 2, 1) + 20])
    missing = prdc(real, noise(400, 2, 2))
    far = noise(400, 2, 3) * 0.1 + np.array([60, -60])
    strange = prdc(real, np.concatenate([real[::2] + 0.01, far]))
    assert missing["precision"].value > 0.9
    assert missing["recall"].value == pytest.approx(0.5, abs=0.1)
    assert missing.value == pytest.approx(0.5, abs=0.1)
    assert strange["precision"].value == pytest.approx(0.5, abs=0.1)
    assert strange["recall"].value > 0.8


def test_features_are_what_counts() -> None:
    first = Features("the first column", lambda rows: rows[:, :1])
    real, fake = noise(200, 2, 0), noise(100, 2, 1) + np.array([0, 50])
    assert prdc(real, fake)["precision"].value == 0
    assert prdc(real, fake, first)["precision"].value > 0.8


def test_bad_input_is_refused() -> None:
    for fake, k, words in [
        (np.full((20, 2), np.nan), 5, "fake: Input contains NaN"),
        (np.ones((20, 2)), 5, "fake: all 20 rows are the same"),
        (noise(5, 2, 1), 5, "fake: .*a minimum of 6 is required"),
        (noise(20, 2, 1), 0, "k=0"),
    ]:
        with pytest.raises(ValueError, match=words):
            prdc(noise(40, 2, 0), fake, k=k)
