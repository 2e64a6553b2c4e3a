"""Continuous units to the last digits: the rectified layer's law far in both tails, and a learned
variance's slopes.

The truths are mpmath's, or scipy's where it has them. The statistical tests raise a false alarm
with probability 1e-6 each.
"""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import special, stats

from equilibria.random import Stream
from equilibria.units import Bernoulli, Gaussian, Rectified, continuous

ALARM = 1e-6
FIELDS = (-30.0, -8.5, -7.5, -3.0, -1.01, -0.99, 0.0, 0.5, 3.0, 8.0, 30.0)
EVERY = torch.linspace(-30, 30, 241, dtype=torch.float64)[None]


def mpmath_law(z: float) -> tuple[float, float, float]:
    """log(exp(z²/2) Φ(z) √2π), the mean and the variance of N(z, 1) given that it is not negative,
    to 60 digits."""
    with mpmath.workdps(60):
        x = mpmath.mpf(z)
        upper = mpmath.erfc(-x / mpmath.sqrt(2)) / 2
        hazard = mpmath.exp(-x * x / 2) / mpmath.sqrt(2 * mpmath.pi) / upper
        log_partition = x * x / 2 + mpmath.log(upper) + mpmath.log(2 * mpmath.pi) / 2
        return float(log_partition), float(x + hazard), float(1 - hazard * (x + hazard))


def test_the_rectified_law_far_in_both_tails() -> None:
    """Means to a relative, log partitions to an absolute tolerance (relative where they are
    large)."""
    for dtype, tolerance in [(torch.float64, 1e-13), (torch.float32, 1e-5)]:
        for variance in [1.0, 0.09]:
            units = Rectified(1, variance).to(dtype)
            scale = float(units.variance.sqrt())
            for z in (*FIELDS, -1e2, -1e4, 1e2, 1e4):
                field = torch.tensor([[z * scale]], dtype=dtype)
                log_partition, mean, _ = mpmath_law(float(field / units.variance.sqrt()))
                assert float(units.mean(field)) == pytest.approx(mean * scale, rel=tolerance)
                assert float(units.log_partition(field)) == pytest.approx(
                    log_partition + math.log(scale), abs=tolerance, rel=tolerance
                )


def test_nothing_overflows() -> None:
    for dtype in [torch.float32, torch.float64]:
        largest = 1e15
        units, field = Rectified(2).to(dtype), torch.tensor([[-largest, largest]], dtype=dtype)
        for x in (units.mean(field), units.sample(field, Stream(0))):
            assert x[0].tolist() == pytest.approx([0.0, largest], rel=1e-6, abs=1e-12)
        assert units.mean(field)[0, 0] == pytest.approx(1 / largest)
        assert bool(torch.isfinite(units.log_partition(field)).all())


def test_the_slopes_of_log_partition_are_mean_and_variance() -> None:
    """By autograd, over fields from −30 to 30: the signal's mean to 1e-9, its variance (relative,
    times σ²) to 1e-9."""
    for units, truth in ((Rectified(241).double(), None), (Gaussian(241, 0.5).double(), 0.5)):
        field = EVERY.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(units.log_partition(field).sum(), field, create_graph=True)
        assert float((slope - units.signal(units.mean(field))).detach().abs().max()) < 1e-9
        (curvature,) = torch.autograd.grad(slope.sum(), field)
        spread = (
            torch.tensor([[mpmath_law(float(z))[2] for z in EVERY[0]]], dtype=torch.float64)
            if truth is None
            else torch.full_like(curvature, 1 / truth)
        )
        assert float((curvature / spread - 1).abs().max()) < 1e-9


def test_field_of_inverts_the_rectified_mean_in_both_tails() -> None:
    for dtype, tolerance in [(torch.float64, 1e-12), (torch.float32, 1e-5)]:
        units = Rectified(9, 0.25).to(dtype)
        mean = torch.tensor([[1e-6, 1e-3, 0.05, 0.3, 0.4, 0.6, 2.0, 50.0, 1e4]], dtype=dtype)
        assert (units.mean(units.field_of(mean)) / mean)[0].tolist() == pytest.approx(
            [1.0] * 9, rel=tolerance
        )
        ends = Rectified(2).to(dtype).field_of(torch.tensor([[0.0, -1.0]], dtype=dtype))
        assert float(ends[0, 0]) == -math.inf
        assert math.isnan(float(ends[0, 1]))


# ------------------------------------------------------------------ draws


def draws(units: Gaussian | Rectified, field: float, n: int, seed: int) -> np.ndarray:
    """n draws at one field in the layer's own type, as float64."""
    dtype = units.variance.dtype
    stream = Stream(seed).child(str(field))
    with torch.no_grad():
        return units.sample(torch.full((n, 1), field, dtype=dtype), stream).double().numpy()[:, 0]


def transformed(kind: type, z: float, x: np.ndarray) -> np.ndarray:
    """The distribution function at standardised draws: uniform if the law is right. Survival below
    zero, in logarithms."""
    if kind is Gaussian:
        return special.ndtr(x - z)
    return -np.expm1(special.log_ndtr(z - x) - special.log_ndtr(z))


@pytest.mark.parametrize(
    ("kind", "dtype", "z"),
    [
        *((Gaussian, dtype, 0.5) for dtype in (torch.float32, torch.float64)),
        *((Rectified, torch.float32, z) for z in FIELDS),
        *((Rectified, torch.float64, z) for z in (-30.0, -1.01, 0.5)),
    ],
)
def test_draws_follow_the_distribution_function(kind: type, dtype: torch.dtype, z: float) -> None:
    """Kolmogorov–Smirnov on 50,000 draws: a distribution function that is off by .02 anywhere is
    caught (D > .0121 at 1e-6)."""
    x = draws(kind(1, 0.25).to(dtype), z * 0.5, 50_000, seed=1) / 0.5
    assert stats.kstest(transformed(kind, z, x), "uniform").pvalue > ALARM
    if kind is Rectified:
        assert x.min() > 0 or z > 5  # zero has no mass of its own


@pytest.mark.parametrize("z", [-30.0, -3.0, 0.0, 3.0])
def test_the_rectified_tail_follows_the_law(z: float) -> None:
    """Of 200,000 draws those beyond the 1 − 1e-4 quantile: 20 expected, a Poisson test on each side
    at half the alarm."""
    x = draws(Rectified(1).double(), z, 200_000, seed=2)
    beyond = int((transformed(Rectified, z, x) > 1 - 1e-4).sum())
    low, high = stats.poisson.ppf([ALARM / 2, 1 - ALARM / 2], 20)
    assert low <= beyond <= high


def test_a_noisy_rectifier_is_not_this_law() -> None:
    """max(0, N(f, σ²)), the approximation, and |N(f, σ²)| fail the test above: it sees what it
    should."""
    noise = Stream(3).normal((50_000,), torch.float64).numpy()
    for wrong in (np.maximum(noise + 0.5, 0.0), np.abs(noise + 0.5)):
        assert stats.kstest(transformed(Rectified, 0.5, wrong), "uniform").pvalue < 1e-12


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 5e-15), (torch.float32, 1e-6)])
def test_a_draw_is_the_quantile_of_its_uniform_number(dtype: torch.dtype, tolerance: float) -> None:
    """The distribution function at the draw is the uniform number back, from end to end of its
    range."""
    step = 2.0**-25 if dtype == torch.float32 else 2.0**-54
    uniform = torch.tensor(
        [-0.5 + step, -0.49, -0.3, -0.01, 0.2, 0.4, 0.4999, 0.5 - 2.0**-25], dtype=dtype
    )
    for z in (-1e4, -100.0, *FIELDS):
        x = continuous._truncated_normal(torch.full_like(uniform, z), uniform)
        assert bool((x >= 0).all())
        assert bool((x.diff() >= 0).all())
        z_held = float(torch.tensor(z, dtype=dtype))
        for u, value in zip(uniform.tolist(), x.tolist(), strict=True):
            with mpmath.workdps(40):
                root = mpmath.sqrt(2)
                survival = mpmath.erfc((mpmath.mpf(value) - z_held) / root) / mpmath.erfc(
                    -mpmath.mpf(z_held) / root
                )
                assert abs(float(survival - (0.5 - mpmath.mpf(u)))) < tolerance * max(
                    1.0, abs(z) / 10 if z > 1 else 1.0
                )


def test_the_ends_of_the_unit_interval_give_finite_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    for dtype, cell in ((torch.float32, 2.0**-24), (torch.float64, 2.0**-53)):
        ends = torch.tensor([[-0.5] * 5, [0.5 - cell] * 5], dtype=dtype)
        monkeypatch.setattr(Stream, "centred", lambda *_, ends=ends: ends.clone())
        field = torch.tensor([[-1e6, -30.0, -1.0, 0.0, 30.0]], dtype=dtype).expand(2, -1)
        x = Rectified(5).to(dtype).sample(field, Stream(0))
        assert bool(torch.isfinite(x).all())
        assert bool((x >= 0).all())
        assert bool((x[1] > x[0]).all())


# ------------------------------------------------------------------ a learned variance


def learned(dtype: torch.dtype = torch.float64) -> Gaussian:
    return Gaussian(3, [0.25, 1.0, 4.0], learned=True).to(dtype)


def test_a_learned_variance_is_the_same_layer() -> None:
    plain, other = Gaussian(3, [0.25, 1.0, 4.0]).double(), learned()
    x, field = (Stream(i).normal((5, 3), torch.float64) for i in range(2))
    with torch.no_grad():
        assert torch.allclose(other.variance, plain.variance, rtol=1e-6)
        for a, b in (
            (plain.log_partition(field), other.log_partition(field)),
            (plain.signal(x), other.signal(x)),
        ):
            assert torch.allclose(a, b, rtol=1e-6)
        assert torch.allclose(plain.base_energy(x), other.base_energy(x), rtol=1e-6)
        assert torch.allclose(
            plain.sample(field, Stream(3)), other.sample(field, Stream(3)), rtol=1e-6
        )
    assert list(plain.state_dict()) == ["variance"]  # as it was before there was a learned one
    assert list(other.state_dict()) == ["log_variance"]
    assert not list(plain.parameters())


def test_the_variance_is_read_and_set_in_one_way() -> None:
    for units in (Gaussian(2, learned=True), Gaussian(2)):
        units.variance = torch.tensor([0.5, 2.0])
        assert units.variance.tolist() == pytest.approx([0.5, 2.0])
        assert units.double().variance.dtype == torch.float64
    with pytest.raises(ValueError, match=r"a learned variance is above 0\.01"):
        Gaussian(2, learned=True).variance = torch.tensor([0.5, 0.01])


def test_no_step_takes_the_variance_to_its_floor() -> None:
    units = learned(torch.float32)
    with torch.no_grad():
        units.log_variance.fill_(-1000.0)
    assert units.variance.tolist() == pytest.approx([continuous.FLOOR] * 3)
    x = torch.zeros(4, 3)
    assert units.energy_slopes(x, x, True)["log_variance"].tolist() == [0.0] * 3


@pytest.mark.parametrize("which", ["values", "all means", "some means"])
def test_the_energys_slopes_against_autograd_and_quadrature(which: str) -> None:
    """Cells that are values: autograd of the energy. Cells that are means: the expectation of that
    by Gauss–Hermite quadrature."""
    units, field = learned(), Stream(1).normal((6, 3), torch.float64)
    values = Stream(2).normal((6, 3), torch.float64)
    free = {
        "values": torch.zeros(6, 3),
        "all means": torch.ones(6, 3),
        "some means": (values > 0).double(),
    }[which].bool()
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(8))
    sigma = units.variance.detach().sqrt()
    expected = torch.zeros((), dtype=torch.float64)
    for node, weight in zip(nodes, weights / weights.sum(), strict=True):
        x = torch.where(free, field + node * sigma, values)
        expected = (
            expected + weight * (units.base_energy(x) - field * units.signal(x)).mean(0).sum()
        )
    (truth,) = torch.autograd.grad(expected, [units.log_variance])
    x = torch.where(free, field, values)
    given = {"values": None, "all means": True, "some means": free}[which]
    assert float((units.energy_slopes(x, field, given)["log_variance"] - truth).abs().max()) < 1e-13


def test_units_without_parameters_have_no_slopes() -> None:
    x = torch.zeros(2, 3)
    for units in (Bernoulli(3), Gaussian(3), Rectified(3)):
        assert units.energy_slopes(x, x, True) == {}
        assert not list(units.parameters())
