"""The contract of Units: p(x) ∝ exp(f · signal(x) − base_energy(x)), held to sums and integrals
over x.

The statistical tests raise a false alarm with probability 1e-6 each; their seeds are fixed.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from equilibria.random import Stream
from equilibria.units import Bernoulli, Categorical, Gaussian, Rectified, Spin, Units
from exact import layer_states

ALARM = 1e-6
LAYERS: dict[str, Units] = {
    "bernoulli": Bernoulli(4).double(),
    "categorical": Categorical([3, 2, 4]).double(),
    "spin": Spin(4).double(),
    "gaussian": Gaussian(3, [0.25, 1.0, 4.0]).double(),
    "learned": Gaussian(3, [0.25, 1.0, 4.0], learned=True).double(),
    "rectified": Rectified(3, [0.25, 1.0, 4.0]).double(),
}
DISCRETE = ("bernoulli", "categorical", "spin")
CONTINUOUS = ("gaussian", "learned", "rectified")


def field_for(units: Units, rows: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 1.5, (rows, units.size)))


def density(units: Units, field: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """exp(f · s − e) of each row of x under one field (size,)."""
    return torch.exp(units.signal(x) @ field - units.base_energy(x).sum(1))


def test_discrete_layers_against_the_sum_over_their_states() -> None:
    for name in DISCRETE:
        units = LAYERS[name]
        states = torch.from_numpy(layer_states(units))
        assert len(states) == units.states
        for field in field_for(units):
            weight = density(units, field, states)
            assert units.log_partition(field[None]).shape == (1, units.variables)
            assert float(units.log_partition(field[None]).sum()) == pytest.approx(
                float(weight.sum().log()), abs=1e-12
            )
            assert torch.allclose(
                units.mean(field[None])[0], weight @ states / weight.sum(), atol=1e-13, rtol=0
            )


@torch.no_grad()
def test_continuous_layers_against_quadrature() -> None:
    for name in CONTINUOUS:
        for column, variance in enumerate([0.25, 1.0, 4.0]):
            one = type(LAYERS[name])(1, variance).double()
            f = torch.tensor([[0.7 - column]], dtype=torch.float64)

            def weight(x: float, power: int = 0, one: Units = one, f: torch.Tensor = f) -> float:
                return x**power * float(
                    density(one, f[0], torch.tensor([[x]], dtype=torch.float64))
                )

            low = 0.0 if name == "rectified" else -40.0
            total, first = (
                integrate.quad(weight, low, 40, args=(p,), points=[max(float(f), 0.1)], limit=200)[
                    0
                ]
                for p in range(2)
            )
            assert float(one.log_partition(f)) == pytest.approx(math.log(total), abs=1e-10)
            assert float(one.mean(f)) == pytest.approx(first / total, abs=1e-10)


def test_the_mean_signal_is_the_slope_of_log_partition() -> None:
    for name in LAYERS:
        units = LAYERS[name]
        field = field_for(units).requires_grad_(True)
        (slope,) = torch.autograd.grad(units.log_partition(field).sum(), field)
        assert torch.allclose(slope, units.signal(units.mean(field)), atol=2e-13, rtol=0)


def test_field_of_inverts_mean() -> None:
    for name in LAYERS:
        units = LAYERS[name]
        mean = units.mean(field_for(units))
        assert torch.allclose(units.mean(units.field_of(mean)), mean, atol=1e-13, rtol=0)


@pytest.mark.parametrize("name", DISCRETE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_draws_of_discrete_layers_follow_the_law(name: str, dtype: torch.dtype) -> None:
    """200,000 draws, chi-square over all joint states: a state's probability off by 0.02 is
    caught."""
    units = LAYERS[name]
    field, n = field_for(units, 1, seed=3)[0], 200_000
    states = torch.from_numpy(layer_states(units))
    p = density(units, field, states)
    draw = units.sample(field.to(dtype).expand(n, -1), Stream(1).child(name))
    assert draw.dtype == dtype
    counts = torch.stack([(draw == s.to(dtype)).all(1).sum() for s in states]).numpy()
    assert counts.sum() == n, "a draw is not a state"
    assert stats.chisquare(counts, (p / p.sum() * n).numpy()).pvalue > ALARM


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_draws_of_a_gaussian_layer_follow_the_law(dtype: torch.dtype) -> None:
    field = torch.tensor([-1.0, 0.0, 5.0], dtype=dtype)
    units = Gaussian(3, [0.25, 1.0, 4.0]).to(dtype)
    draw = units.sample(field.expand(100_000, -1), Stream(2)).double().numpy()
    for column, (mean, variance) in enumerate([(-1.0, 0.25), (0.0, 1.0), (5.0, 4.0)]):
        assert (
            stats.kstest(draw[:, column], "norm", args=(mean, math.sqrt(variance))).pvalue > ALARM
        )
    correlation = np.corrcoef(draw.T)[np.triu_indices(3, 1)]
    assert np.abs(correlation).max() < stats.norm.isf(ALARM / 2) / math.sqrt(len(draw))


def test_certain_cells_are_certain() -> None:
    for dtype in [torch.float32, torch.float64]:
        field = torch.tensor([[-math.inf, math.inf, -200.0, 200.0]], dtype=dtype).expand(
            100_000, -1
        )
        draw = Bernoulli(4).sample(field, Stream(0))
        assert torch.equal(
            draw, torch.tensor([[0.0, 1.0, 0.0, 1.0]], dtype=dtype).expand(100_000, -1)
        )
        draw = (
            Categorical([2, 4])
            .to(dtype)
            .sample(
                torch.tensor([[-200.0, 200.0, -200.0, 200.0, -200.0, -200.0]], dtype=dtype),
                Stream(0),
            )
        )
        assert draw.tolist() == [[0.0, 1.0, 0.0, 1.0, 0.0, 0.0]]


def test_the_ends_of_the_unit_interval_keep_what_is_certain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At the smallest draw p = 0 stays 0, at the largest p = 1 stays 1."""
    ends = torch.tensor([[-0.5, -0.5], [0.5 - 2.0**-24, 0.5 - 2.0**-24]])
    monkeypatch.setattr(Stream, "centred", lambda *_: ends.clone())
    assert Spin(2).sample(torch.tensor([[-200.0, 200.0]]).expand(2, -1), Stream(0)).tolist() == [
        [-1, 1],
        [-1, 1],
    ]
    assert Bernoulli(2).sample(
        torch.tensor([[-200.0, 200.0]]).expand(2, -1), Stream(0)
    ).tolist() == [[0, 1], [0, 1]]


def test_the_ends_of_the_unit_interval_stay_inside_the_group(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At u = 0 an impossible first category is not drawn, at the largest u < 1 neither padding nor
    an impossible last one."""
    units = Categorical([3, 2])
    field = torch.tensor([[-math.inf, 0.1, -math.inf, 0.3, 0.7]]).expand(2, -1)
    ends = torch.tensor([[0.0, 0.0], [1 - 2.0**-24, 1 - 2.0**-24]])
    monkeypatch.setattr(Stream, "uniform", lambda *_: ends)
    assert units.sample(field, Stream(0)).tolist() == [[0, 1, 0, 1, 0], [0, 1, 0, 0, 1]]


def test_state_at_lists_every_state_once() -> None:
    for name in DISCRETE:
        units = LAYERS[name]
        listed = units.state_at(torch.arange(units.states or 0), torch.float64)
        expected = layer_states(units)
        assert {tuple(r) for r in listed.tolist()} == {tuple(r) for r in expected.tolist()}
        assert len(listed) == len(expected)


def test_masks_over_variables() -> None:
    units = Categorical([3, 2])
    mask = torch.tensor([[True, True, True, False, False]])
    assert units.per_variable(mask).tolist() == [[True, False]]
    with pytest.raises(ValueError, match="observed whole or not at all"):
        units.per_variable(torch.tensor([[True, False, True, False, False]]))
    assert torch.equal(Bernoulli(5).per_variable(mask), mask)


def test_refusals() -> None:
    for build, message in [
        (lambda: Bernoulli(0), "size=0: expected a whole number"),
        (lambda: Bernoulli(2.0), "size=2.0"),  # type: ignore[arg-type]
        (lambda: Categorical([3, 1]), "sizes=.*each 2 or more"),
        (lambda: Categorical(3), r"sizes=3: expected numbers of categories"),  # type: ignore[arg-type]
        (lambda: Gaussian(2, 0.0), "variance=0.0: expected one positive number or 2 of them"),
        (lambda: Rectified(2, [1.0, 2.0, 3.0]), "variance="),
        (lambda: Gaussian(2, 0.01, learned=True), "a learned variance is above 0.01, its floor"),
    ]:
        with pytest.raises(ValueError, match=message):
            build()  # type: ignore[operator]


def test_check_names_what_came() -> None:
    with pytest.raises(ValueError, match="X: expected finite numbers"):
        Gaussian(1).check(torch.tensor([[math.nan]]), "X")
    with pytest.raises(
        ValueError, match=r"X: Bernoulli units take values in \[0, 1\], found -1 to 2"
    ):
        Bernoulli(2).check(torch.tensor([[-1.0, 2.0]]), "X")
    with pytest.raises(
        ValueError, match=r"X: each group of .* columns must be non-negative and sum to 1"
    ):
        Categorical([2]).check(torch.tensor([[1.0, 1.0]]), "X")
    with pytest.raises(ValueError, match=r"X: Spin units take values in \[-1, 1\], found 0 to 2"):
        Spin(2).check(torch.tensor([[0.0, 2.0]]), "X")
    with pytest.raises(
        ValueError, match=r"X: rectified units take no values below 0, found -0\.5; shift them"
    ):
        Rectified(2).check(torch.tensor([[-0.5, 2.0]]), "X")
    Spin(2).check(torch.tensor([[0.0, -1.0]]), "X")
    Rectified(2).check(torch.tensor([[0.0, 1e9]]), "X")
    Bernoulli(2).check(torch.tensor([[0.5, 1.0]]), "X")
    Categorical([2]).check(torch.tensor([[0.25, 0.75]]), "X")


def test_a_continuum_cannot_be_listed() -> None:
    with pytest.raises(ValueError, match=r"Gaussian\(2\) has a continuum of states"):
        Gaussian(2).state_at(torch.tensor([0]))
