"""JSD's lower bound and the calibration of a log ratio, on laws whose ratio is known. False-alarm rate of each statistical test: 1e-6."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats

from equilibria.evaluation.calibration import calibration, ratio_rmse, recalibration, reliability
from equilibria.evaluation.divergence import jensen_shannon
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


@pytest.mark.parametrize("wrong", [lambda r: 3 * r, lambda r: r + 1, lambda r: 0 * r, lambda r: -r, lambda r: np.sign(r)])
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
    assert jensen_shannon(real, fake).value == pytest.approx((p @ np.log(p / m) + q @ np.log(q / m)) / 2, rel=1e-12)


def test_a_true_ratio_is_calibrated_to_its_floors() -> None:
    found = reliability(REAL, FAKE)
    # The error is a sum of ten half-normal variables with mean `floor`: its deviation is floor/√10 · √(π/2 − 1)
    assert abs(found.error - found.floor) < 6 * found.floor / math.sqrt(10) * math.sqrt(math.pi / 2 - 1)
    assert abs(found.mean_ratio - 1) < Z * found.ratio_error
    assert found.ratio_error == pytest.approx(math.sqrt((math.e - 1) / N), rel=0.2)  # Var_g ratio = e^{μ²} − 1
    assert found.ess == pytest.approx(N / math.e, rel=0.2)
    spread = np.square(special.expit(REAL) - 1).std() + np.square(special.expit(FAKE)).std()
    assert abs(found.brier - found.best_brier) < Z * spread / math.sqrt(N)


def test_the_floor_is_the_mean_over_calibrated_draws() -> None:
    drawn = [reliability(true_ratio(rows(1, 100 + i, 400)), true_ratio(rows(0, 600 + i, 400))) for i in range(300)]
    errors, floors = (np.array([getattr(d, name) for d in drawn]) for name in ("error", "floor"))
    assert errors.mean() == pytest.approx(floors.mean(), rel=0.1)  # draws are not fair coins here: half are real, exactly


def test_a_ratio_that_is_too_sure_is_found_out_and_set_right() -> None:
    report = calibration(3 * REAL + 1, 3 * FAKE + 1, truth=(REAL, FAKE))
    assert not report.calibrated
    assert report.before.error > 10 * report.before.floor
    assert report.after.error < 2.5 * report.after.floor
    assert report.after.brier < report.before.brier - 0.02
    assert report.slope == pytest.approx(1 / 3, abs=0.03)
    assert report.intercept == pytest.approx(-1 / 3, abs=0.1)
    assert report.rmse == pytest.approx(math.sqrt(np.square(np.concatenate([2 * REAL + 1, 2 * FAKE + 1])).mean()), rel=0.05)
    assert report.rmse_after < 0.1 < report.rmse
    assert report.recalibrate(report.before.mean_ratio) == report.slope * report.before.mean_ratio + report.intercept
    assert abs(report.after.mean_ratio - 1) < 0.2 < abs(report.before.mean_ratio - 1)
    assert "not calibrated" in str(report)
    assert "off by" in str(report)
    names = [metric.name for metric in report.metrics()]
    assert "calibration error of D after recalibration" in names
    assert len(names) == 8


def test_a_right_ratio_passes_and_repeats() -> None:
    report = calibration(REAL, FAKE)
    assert report.calibrated
    assert report == calibration(REAL, FAKE)
    assert len(report.metrics()) == 6
    assert report.rmse is None


def test_kinds_count_alike_whatever_their_numbers() -> None:
    found = reliability(REAL, FAKE[: N // 10])
    assert found.error < 3 * found.floor
    slope, intercept = recalibration(REAL, FAKE[: N // 10])
    assert (slope, intercept) == (pytest.approx(1, abs=0.1), pytest.approx(0, abs=0.1))


def test_mass_that_the_samples_do_not_cover_is_missing_from_the_mean_ratio() -> None:
    # p is uniform on four points, q on two of them: E_q[p/q] = ½, and the ratio at the others is as large as it likes
    log_ratio = np.log(0.25 / 0.5)
    found = reliability(np.repeat([log_ratio, 30.0], 500), np.full(1000, log_ratio))
    assert found.mean_ratio == pytest.approx(0.5)


def test_equal_log_ratios_share_a_bin() -> None:
    found = reliability(np.full(50, 0.3), np.full(50, 0.3))
    assert found.error == pytest.approx(special.expit(0.3) - 0.5, rel=1e-12)
    assert recalibration(np.full(50, 0.3), np.full(50, 0.3)) == (1.0, -0.3)


def test_huge_ratios_stay_finite() -> None:
    found = reliability(np.full(50, 1e6), np.linspace(-1e6, 1e6, 50))
    assert all(math.isfinite(value) for value in vars(found).values())
    assert found.ess == 1.0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((np.full(50, np.nan), np.zeros(50)), "real: 50 of 50 log ratios are NaN"),
        ((np.zeros(50), np.full(50, np.inf)), "fake: 50 of 50 log ratios are NaN or infinite"),
        ((np.zeros(5), np.zeros(50)), "real: expected log ratios of shape"),
        ((np.zeros((50, 2)), np.zeros(50)), r"found shape \(50, 2\)"),
        ((np.zeros(50), np.zeros(50), (np.zeros(3), np.zeros(50))), "truth: expected 50 and 50"),
    ],
)
def test_bad_input_is_refused(arguments, words) -> None:
    with pytest.raises(ValueError, match=words):
        calibration(*arguments)
    with pytest.raises(ValueError, match="true: expected 2"):
        ratio_rmse([0.0, 1.0], [0.0])
    with pytest.raises(ValueError, match="level=1"):
        jensen_shannon([0.0, 1.0], [0.0, 1.0], level=1.0)
