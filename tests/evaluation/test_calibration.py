"""JSD's lower bound and the calibration of a log ratio, on laws whose ratio is known. False-
alarm rate of each statistical test: 1e-6."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats

from equilibria.evaluation import calibration, jensen_shannon, reliability
from equilibria.numbers import Measure
from equilibria.random import Stream

Z = float(stats.norm.ppf(1 - 0.5e-6))
N = 20_000


def rows(mean: float, seed: int, n: int = N) -> np.ndarray:
    return mean + Stream(seed).normal((n,), torch.float64).numpy()


def true_ratio(x: np.ndarray) -> np.ndarray:
    """log N(x; 1, 1) / N(x; 0, 1)."""
    return x - 0.5


REAL, FAKE = true_ratio(rows(1, 0)), true_ratio(rows(0, 1))


def exact_jsd() -> float:
    p, q = stats.norm(1).pdf, stats.norm(0).pdf

    def term(x: float) -> float:
        m = (p(x) + q(x)) / 2
        return 0.5 * (p(x) * math.log(p(x) / m) + q(x) * math.log(q(x) / m))

    return integrate.quad(term, -12, 13)[0]


def error_of(estimate) -> float:
    return (estimate.value - estimate.low) / stats.norm.ppf(0.975)


def test_with_the_true_ratio_the_bound_is_the_divergence() -> None:
    estimate = jensen_shannon(REAL, FAKE)
    assert abs(estimate.value - exact_jsd()) < Z * error_of(estimate)
    assert error_of(estimate) < 0.005
    assert estimate.n == 2 * N
    assert "lower bound" in str(estimate)
    assert "no proof" in estimate.note


@pytest.mark.parametrize(
    "wrong", [lambda r: 3 * r, lambda r: r + 1, lambda r: 0 * r, lambda r: -r, lambda r: np.sign(r)]
)
def test_with_any_other_ratio_the_bound_is_below_it(wrong) -> None:
    estimate = jensen_shannon(wrong(REAL), wrong(FAKE))
    assert estimate.value < exact_jsd() - 0.005
    assert estimate.value <= exact_jsd() + Z * error_of(estimate)


def test_the_bound_by_hand_and_in_discrete_laws() -> None:
    assert jensen_shannon([0.0, 0.0], torch.zeros(3, 1)).value == pytest.approx(0, abs=1e-12)
    assert jensen_shannon([1e4, 1e4], [-1e4, -1e4]).value == pytest.approx(math.log(2), rel=1e-12)
    assert jensen_shannon([-1e4, -1e4], [1e4, 1e4]).value < -1000  # worse than no critic
    p, q = np.array([0.7, 0.3]), np.array([0.2, 0.8])
    log_ratio, m = np.log(p / q), (p + q) / 2
    real, fake = np.repeat(log_ratio, [700, 300]), np.repeat(log_ratio, [200, 800])
    assert jensen_shannon(real, fake).value == pytest.approx(
        (p @ np.log(p / m) + q @ np.log(q / m)) / 2, rel=1e-12
    )


MEAN, BRIER, AFTER = (
    "mean ratio over samples",
    "Brier score of D",
    "calibration error after recalibration",
)


def half_width(measure: Measure) -> float:
    return (measure.high - measure.low) / 2


def test_a_true_ratio_is_calibrated_to_its_chance_level() -> None:
    found = reliability(REAL, FAKE)
    # The error is a sum of ten half-normal variables with mean `chance`: its standard deviation is
    # chance / √10 · √(π/2 − 1)
    deviation = found.chance / math.sqrt(10) * math.sqrt(math.pi / 2 - 1)
    assert abs(found.value - found.chance) < 6 * deviation
    mean = found[MEAN]
    error = half_width(mean) / 1.96
    assert abs(mean.value - 1) < Z * error
    assert error == pytest.approx(math.sqrt((math.e - 1) / N), rel=0.2)  # Var_g ratio = e^{μ²} − 1
    assert mean.ess == pytest.approx(N / math.e, rel=0.2)
    spread = np.square(special.expit(REAL) - 1).std() + np.square(special.expit(FAKE)).std()
    assert abs(found[BRIER].value - found[BRIER].ideal) < Z * spread / math.sqrt(N)


def test_chance_is_the_mean_over_calibrated_draws() -> None:
    drawn = [
        reliability(true_ratio(rows(1, 100 + i, 400)), true_ratio(rows(0, 600 + i, 400)))
        for i in range(300)
    ]
    errors, chances = (np.array([getattr(d, name) for d in drawn]) for name in ("value", "chance"))
    # draws are not fair coins here: half are real, exactly
    assert errors.mean() == pytest.approx(chances.mean(), rel=0.1)


def test_an_overconfident_ratio_is_found_out_and_corrected() -> None:
    found = calibration(3 * REAL + 1, 3 * FAKE + 1)
    before, after = found.measure, found.measure[AFTER]
    assert before.warning == "The log ratio is not calibrated."
    assert before.value > 10 * before.chance
    assert after.value < 2.5 * after.chance
    assert after[BRIER].value < before[BRIER].value - 0.02
    assert found.slope == pytest.approx(1 / 3, abs=0.03)
    assert found.intercept == pytest.approx(-1 / 3, abs=0.1)
    assert found.recalibrate(2.0) == 2 * found.slope + found.intercept
    corrected = found.recalibrate(3 * np.concatenate([REAL, FAKE]) + 1)
    assert np.sqrt(np.square(corrected - np.concatenate([REAL, FAKE])).mean()) < 0.1
    assert abs(after[MEAN].value - 1) < 0.2 < abs(before[MEAN].value - 1)


def test_the_rows_that_judge_did_not_fit_the_recalibration() -> None:
    """Half of the rows fit, the other half are counted."""
    found = calibration(REAL[:101], FAKE[:60])
    assert (found.measure.n, found.measure[MEAN].n) == (51 + 30, 30)


def test_a_right_ratio_passes_and_repeats() -> None:
    found = calibration(REAL, FAKE)
    assert not found.measure.warning
    assert found == calibration(REAL, FAKE)


def test_kinds_count_alike_whatever_their_numbers() -> None:
    few = FAKE[: N // 10]
    found = reliability(REAL, few)
    assert found.value < 3 * found.chance
    fitted = calibration(REAL, few)
    expected = (pytest.approx(1, abs=0.15), pytest.approx(0, abs=0.15))
    assert (fitted.slope, fitted.intercept) == expected


def test_mass_that_the_samples_do_not_cover_is_missing_from_the_mean_ratio() -> None:
    # p is uniform on four points, q on two of them: E_q[p/q] = ½, whatever the ratio at the others
    log_ratio = np.log(0.25 / 0.5)
    found = reliability(np.repeat([log_ratio, 30.0], 500), np.full(1000, log_ratio))
    assert found[MEAN].value == pytest.approx(0.5)


def test_equal_log_ratios_share_a_bin_and_are_recalibrated_to_zero() -> None:
    found = reliability(np.full(50, 0.3), np.full(50, 0.3))
    assert found.value == pytest.approx(special.expit(0.3) - 0.5, rel=1e-12)
    fitted = calibration(np.full(50, 0.3), np.full(50, 0.3))
    assert (fitted.slope, fitted.intercept) == (1.0, -0.3)


def test_huge_ratios_stay_finite() -> None:
    found = reliability(np.full(50, 1e6), np.linspace(-1e6, 1e6, 50))
    assert all(math.isfinite(measure.value) for measure in (found, *found.parts))
    assert found[MEAN].ess == 1.0


def test_bad_input_is_refused() -> None:
    for arguments, words in [
        ((np.full(50, np.nan), np.zeros(50)), "real: Input contains (NaN|infinity)"),
        ((np.zeros(50), np.full(50, np.inf)), "fake: Input contains (NaN|infinity)"),
        ((np.zeros(5), np.zeros(50)), "real: .*a minimum of 40 is required"),
        ((np.zeros((50, 2)), np.zeros(50)), r"real: expected shape \(rows, 1\), found \(50, 2\)"),
    ]:
        with pytest.raises(ValueError, match=words):
            calibration(*arguments)
        with pytest.raises(ValueError, match="level=1"):
            jensen_shannon([0.0, 1.0], [0.0, 1.0], level=1.0)
