"""Fréchet and kernel distances against closed forms of normal laws. False-alarm rate of each
statistical test: 1e-6."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import linalg, stats

from equilibria.evaluation.features import Features
from equilibria.evaluation.quality import frechet, frechet_distance, kernel
from equilibria.evaluation.statistics import gaussian, kernel_estimate
from equilibria.random import Stream

Z = float(stats.norm.ppf(1 - 0.5e-6))


def noise(n: int, d: int, seed: int) -> np.ndarray:
    return Stream(seed).normal((n, d)).double().numpy()


def with_moments(mean: np.ndarray, root: np.ndarray, seed: int, n: int = 50) -> np.ndarray:
    """Rows whose sample mean is ``mean`` and whose sample covariance is rootᵀ root, exactly."""
    rows = noise(n, len(mean), seed)
    rows = linalg.qr(rows - rows.mean(axis=0), mode="economic")[0] * math.sqrt(n - 1)
    return mean + rows @ root


@pytest.mark.parametrize("d", [1, 3, 20])
def test_the_frechet_distance_is_that_of_the_formula(d: int) -> None:
    one, two = noise(d, d, 1), noise(d, d, 2)
    means = noise(2, d, 3)
    found = frechet_distance(with_moments(means[0], one, 4), with_moments(means[1], two, 5))
    first, second = one.T @ one, two.T @ two
    root = linalg.sqrtm(first)  # tr (Σ₁Σ₂)^½ = tr (Σ₁^½ Σ₂ Σ₁^½)^½
    cross = np.sqrt(np.clip(linalg.eigvalsh(root @ second @ root), 0, None)).sum()
    assert found == pytest.approx(
        np.square(means[0] - means[1]).sum() + np.trace(first) + np.trace(second) - 2 * cross,
        rel=1e-9,
    )


def test_commuting_covariances_have_a_distance_by_hand() -> None:
    one, two = (
        np.array([1.0, 2.0, 0.0]),
        np.array([4.0, 0.5, 3.0]),
    )  # deviations; one law has no width in the third column
    found = frechet_distance(
        with_moments(np.zeros(3), np.diag(one), 1), with_moments(np.ones(3), np.diag(two), 2)
    )
    assert found == pytest.approx(3 + np.square(one - two).sum(), abs=1e-10)


def test_a_set_is_at_no_distance_from_itself_whatever_its_rank_and_scale() -> None:
    rows = noise(20, 100, 0) * 1e3
    assert frechet_distance(rows, rows) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(rows, rows + 1) == pytest.approx(100, rel=1e-6)


def test_samples_of_one_distribution_score_the_chance_level_and_of_another_the_distance() -> None:
    real, same, other = noise(4000, 3, 1), noise(2000, 3, 2), 0.5 * noise(2000, 3, 3) + 1
    good, bad = frechet(real, same), frechet(real, other)
    # At n rows a side the distance under the null is ((d + d(d+1)/4) χ²-like terms) 2/n; ten
    # times its mean is beyond 1e-6 for d = 3.
    mean = 2 / 2000 * (3 + 3 * 4 / 4)
    assert 0 < good.chance < 10 * mean
    assert 0 < good.value < 10 * mean
    assert good.n == 2000
    truth = 3 + 3 * 0.25
    error = math.sqrt((4 * 3 * 1.25 + 2 * 3 * 0.25 * 1.25) / 2000)
    assert bad.value == pytest.approx(truth, abs=Z * error)
    assert bad.low < bad.value < bad.high
    # the interval's half width is 1.96 standard errors, of which a bootstrap of 30 knows a
    # factor of two
    assert 0.3 < (bad.high - bad.low) / 2 / (1.96 * error) < 2.0


def test_the_null_mean_at_other_sizes_follows_the_bias() -> None:
    values = [frechet(noise(400, 2, 10 + i), noise(200, 2, 50 + i), resamples=2) for i in range(20)]
    chances, found = (np.array([getattr(v, name) for v in values]) for name in ("chance", "value"))
    # E of the distance of two sets of n standard normals in d columns: 2d/n from the means,
    # d(d+1)/(4n) from the covariances
    expected = 2 * 2 / 200 + 2 * 3 / (4 * 200)
    for draws in (chances, found):
        assert (
            abs(draws.mean() - expected)
            < 6 * draws.std(ddof=1) / math.sqrt(len(draws)) + 0.1 * expected
        )  # 6: Student's, 19 degrees
    assert [v.value for v in values[:1]] == [
        frechet(noise(400, 2, 10), noise(200, 2, 50), resamples=2).value
    ]


def test_the_kernel_estimate_is_the_u_statistic() -> None:
    a, b = noise(5, 3, 1), noise(5, 3, 2)

    def k(x: np.ndarray, y: np.ndarray) -> float:
        return (x @ y / 3 + 1) ** 3

    pairs = [(i, j) for i in range(5) for j in range(5) if i != j]
    terms = [k(a[i], a[j]) + k(b[i], b[j]) - k(a[i], b[j]) - k(a[j], b[i]) for i, j in pairs]
    assert kernel_estimate(a, b)[0] == pytest.approx(np.mean(terms), rel=1e-12)


def test_the_kernel_distance_has_its_closed_form_in_one_column() -> None:
    shift = 1.0  # E (xy + 1)³ over normals: m_i are the moments E xⁱ; Σ C(3, i) (m_i(p) − m_i(q))²
    moments = [np.array([1, mu, 1 + mu**2, mu**3 + 3 * mu]) for mu in (0.0, shift)]
    truth = float((np.array([1, 3, 3, 1]) * np.square(moments[0] - moments[1])).sum())
    found = kernel(noise(2400, 1, 1), noise(1200, 1, 2) + shift)
    assert abs(found.value - truth) < Z * (found.high - found.low) / 2 / 1.96
    assert found.high - found.low < 0.5 * truth
    assert found.low > found.chance


@pytest.mark.parametrize(("n", "d"), [(100, 2), (60, 40)])
def test_under_the_null_the_kernel_distance_has_mean_zero_and_stays_below_its_chance_level(
    n: int, d: int
) -> None:
    found = [kernel(noise(2 * n, d, 100 + i), noise(n, d, 600 + i)) for i in range(200)]
    values = np.array([f.value for f in found])
    assert abs(values.mean()) < Z * values.std(ddof=1) / math.sqrt(
        len(values)
    )  # with the diagonal it would be off by many of these
    covered = sum(f.low <= 0 <= f.high for f in found)
    assert stats.binom.cdf(covered, 200, 0.95) > 1e-6
    below = sum(f.value < f.chance for f in found)
    assert stats.binom.cdf(below, 200, 0.95) > 1e-6


def test_the_kernel_estimates_error_is_its_spread() -> None:
    for scale, shift in ((1.0, 0.0), (0.9, 0.3)):  # two equal laws, and two that differ
        found = np.array(
            [
                kernel_estimate(noise(150, 20, i), scale * noise(150, 20, 5000 + i) + shift)
                for i in range(200)
            ]
        )
        ratio = math.sqrt(np.square(found[:, 1]).mean()) / found[:, 0].std(ddof=1)
        assert 0.7 < ratio < 1.4  # a standard deviation from 200 draws is known to a tenth


def test_the_gaussian_kernel_sees_what_the_cubic_one_does_not_at_any_scale() -> None:
    """Fair coins have a normal's first three moments."""
    coins, normal = np.sign(noise(500, 1, 0)), noise(500, 1, 1)
    value, error = kernel_estimate(coins, normal)
    assert value < 2 * error
    for scale in (1e-3, 1.0, 1e3):
        value, error = kernel_estimate(scale * coins, scale * normal, gaussian(scale * normal))
        assert value > 12 * error


def test_the_features_name_goes_with_the_number() -> None:
    sums = Features("row sums", lambda rows: rows.sum(axis=1, keepdims=True))
    for measure in (frechet, kernel):
        assert measure(noise(100, 3, 0), noise(60, 3, 1), sums).method == "row sums"
        assert "row sums" in str(measure(noise(100, 3, 0), noise(60, 3, 1), sums))


@pytest.mark.parametrize("measure", [frechet, kernel])
def test_degenerate_rows_are_refused_not_scored(measure) -> None:
    rows = noise(100, 3, 0)
    for real, fake, words in [
        (rows, np.full((50, 3), np.nan), "fake: Input contains NaN"),
        (np.ones((100, 3)), rows, "real: all 100 rows are the same"),
        (rows, np.ones((50, 3)), "fake: all 50 rows are the same through raw columns"),
        (rows, rows[:, :2], r"fake: expected shape \(rows, 3\)"),
        (rows[:3], rows, "real: .*a minimum of"),
        (rows, rows[:1], "fake: .*a minimum of"),
    ]:
        with pytest.raises(ValueError, match=words):
            measure(real, fake)


def test_more_columns_than_rows_are_refused_by_frechet_and_fine_for_the_kernel() -> None:
    real, fake = noise(100, 60, 0), noise(50, 60, 1)
    with pytest.raises(ValueError, match="50 rows for 60 features"):
        frechet(real, fake)
    assert math.isfinite(kernel(real, fake).value)
    with pytest.raises(ValueError, match="resamples=1"):
        frechet(real, fake, resamples=1)
