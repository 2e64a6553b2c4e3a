"""Mode metrics against the exact scores of a perfect sampler. False-alarm rate of each
statistical test: 1e-6."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from equilibria.data import GaussianMixture
from equilibria.evaluation import modes
from equilibria.evaluation.modes import within, within_std
from equilibria.numbers import Measure
from equilibria.random import Stream

Z = float(stats.norm.ppf(1 - 0.5e-6))
KL = "KL over modes"
RING, GRID = GaussianMixture.ring(), GaussianMixture.grid()


def share(report: Measure) -> float:
    return report["share of high-quality samples"].value


def width(report: Measure) -> float:
    return report["sampled width over true width"].value


@pytest.mark.parametrize(("mixture", "sigmas"), [(RING, 3.0), (GRID, 2.0)], ids=["ring", "grid"])
def test_a_perfect_sampler_scores_the_ceilings(mixture: GaussianMixture, sigmas: float) -> None:
    n = 20_000
    report = modes(mixture.sample(n, Stream(3)), mixture, sigmas)
    assert report.value == report.ideal == len(mixture.centres)
    right = round(share(report) * n)
    tails = (
        stats.binom.cdf(right, n, within(sigmas, 2)),
        stats.binom.sf(right - 1, n, within(sigmas, 2)),
    )
    assert min(tails) > 0.5e-6
    second, fourth = (
        within_std(sigmas, 2) ** 2,
        8 * within(sigmas, 6) / within(sigmas, 2),
    )  # of one coordinate; of the length
    error = math.sqrt((fourth / 4 - second**2) / (n * share(report))) / (2 * second)
    assert abs(width(report) - 1) < Z * error
    assert 2 * n * share(report) * report[KL].value < stats.chi2.isf(1e-6, report.ideal - 1)
    assert report[KL].chance == pytest.approx(
        (report.ideal - 1) / (2 * n * share(report)), rel=0.02
    )


def test_the_ceilings_are_the_published_ones() -> None:
    assert within(3.0, 2) == pytest.approx(1 - math.exp(-4.5), abs=1e-14)
    assert within(4.0, 2) == pytest.approx(1 - math.exp(-8), abs=1e-14)
    assert within_std(3.0, 2) == pytest.approx(0.974, abs=5e-4)


@pytest.mark.parametrize(("dimensions", "sigmas"), [(1, 3.0), (2, 0.5), (7, 3.0)])
def test_the_correction_for_the_cut_is_the_integral(dimensions: int, sigmas: float) -> None:
    radial = stats.chi(dimensions).pdf
    mass = integrate.quad(radial, 0, sigmas)[0]
    squares = integrate.quad(lambda r: r**2 * radial(r), 0, sigmas)[0]
    assert within(sigmas, dimensions) == pytest.approx(mass, abs=1e-9)
    assert within_std(sigmas, dimensions) == pytest.approx(
        math.sqrt(squares / mass / dimensions), abs=1e-9
    )


def test_a_collapsed_sampler_loses_modes() -> None:
    n, kept = 2500, 3
    rows = GaussianMixture(RING.centres[:kept], RING.std).sample(n, Stream(0))
    report = modes(rows, RING)
    assert (report.value, report.ideal) == (kept, 8)
    assert report[KL].value == pytest.approx(
        math.log(8 / kept), abs=stats.chi2.isf(1e-6, kept - 1) / (2 * n * share(report))
    )
    assert report[KL].value > 100 * report[KL].chance


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_a_narrow_sampler_shows_in_its_width_even_off_centre(offset: float) -> None:
    narrow = GaussianMixture(RING.centres + offset * RING.std, 0.2 * RING.std)
    report = modes(narrow.sample(2500, Stream(1)), RING)
    assert share(report) == 1.0
    error = 0.2 / math.sqrt(2 * 2 * 2500)  # 2500 points of 2 coordinates, none of them cut off
    assert abs(width(report) * within_std(3.0, 2) - 0.2) < Z * error


def test_histogram_and_width_by_hand() -> None:
    mixture = GaussianMixture(np.array([[0.0], [10.0], [20.0]]), std=1.0)
    report = modes([[-1.0], [1.0], [11.0], [15.0]], mixture)
    assert report.value == 2
    assert share(report) == 0.75
    assert report[KL].value == pytest.approx(2 / 3 * math.log(2) + 1 / 3 * math.log(1))
    assert width(report) == pytest.approx(math.sqrt(2 / 1) / within_std(3.0, 1))


def test_samples_far_from_every_mode() -> None:
    report = modes(np.full((10, 2), 50.0), RING)
    assert (report.value, share(report)) == (0, 0.0)
    assert all(math.isnan(x) for x in (report[KL].value, report[KL].chance, width(report)))
    assert report.ideal == 8


def test_the_measure_carries_counts_chance_and_ideals() -> None:
    report = modes(RING.sample(2500, Stream(0)), RING)
    assert (report.n, report.value, report.ideal) == (2500, 8, 8)
    quality = report["share of high-quality samples"]
    assert (quality.n, quality.ideal) == (2500, within(3.0, 2))
    assert quality.low < quality.value < quality.high
    assert "standard error, 0.0021" in quality.note
    assert report[KL].n == round(2500 * quality.value)


def test_bad_input_is_refused() -> None:
    for samples, sigmas, words in [
        (np.full((5, 2), np.nan), 3.0, "samples: Input contains NaN"),
        (np.zeros((5, 3)), 3.0, r"samples: expected shape \(rows, 2\), found \(5, 3\)"),
        (np.zeros((0, 2)), 3.0, "samples: .*a minimum of 1 is required"),
        (np.zeros((5, 2)), 0.0, "sigmas=0.0: expected a finite number above 0"),
        (
            np.zeros((5, 2)),
            40.0,
            "sigmas=40: two modes of the mixture are only 76.5 standard deviations apart",
        ),
    ]:
        with pytest.raises(ValueError, match=words):
            modes(samples, RING, sigmas)
