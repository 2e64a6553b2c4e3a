"""The library's enumeration against brute force over all joint states, to 1e-9 in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate

from equilibria.inference import exact
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.units import Bernoulli, Categorical, Gaussian
from exact import MACHINES, clamps_of, log_partition, machine_of, moments, paired, values_of

CLAMPS = ("whole", "masked", "several", "hidden")


def slopes(machine: BoltzmannMachine, clamp: dict[str, object] | None) -> dict[str, torch.Tensor]:
    """The gradient of the mean log sum: the expected signals, by parameter."""
    total = exact.log_sum(machine, clamp).mean()
    parameters = dict(machine.named_parameters())
    options = {"allow_unused": True, "materialize_grads": True}
    found = torch.autograd.grad(total, list(parameters.values()), **options)
    return dict(zip(parameters, found, strict=True))


def assert_close(
    found: dict[str, torch.Tensor], truth: dict[str, torch.Tensor], tolerance: float
) -> None:
    assert found.keys() == truth.keys()
    for key, value in truth.items():
        assert found[key].shape == value.shape
        assert float((found[key] - value).abs().max()) < tolerance, key


def test_the_brute_force_itself_against_quadrature() -> None:
    """One Gaussian variable and two binary ones: ∫ dx Σ_h exp(−E) by adaptive quadrature of the
    density as it is written."""
    machine = BoltzmannMachine.stack(Gaussian(1, 0.5), Bernoulli(2)).double()
    with torch.no_grad():
        machine.bias["visible"].fill_(0.7)
        machine.bias["hidden1"].copy_(torch.tensor([-0.4, 0.9], dtype=torch.float64))
        machine.weight["visible-hidden1"].copy_(torch.tensor([[1.3, -0.8]], dtype=torch.float64))

    def density(x: float) -> float:
        return sum(
            math.exp(-x * x + 2 * x * (0.7 + 1.3 * a - 0.8 * b) - 0.4 * a + 0.9 * b)
            for a in (0, 1)
            for b in (0, 1)
        )

    truth = math.log(integrate.quad(density, -15, 15, epsabs=1e-13, epsrel=1e-13, limit=200)[0])
    assert log_partition(machine)[0] == pytest.approx(truth, abs=1e-10)
    assert exact.log_partition(machine) == pytest.approx(truth, abs=1e-10)


@pytest.mark.parametrize(("shape", "clamp"), paired(MACHINES, CLAMPS, 1))
def test_log_partition_and_log_prob_given_a_clamp(shape: str, clamp: str) -> None:
    machine, given = machine_of(shape), clamps_of(shape)[clamp]
    whole = exact.log_partition(machine)
    assert isinstance(whole, float)
    assert whole == pytest.approx(log_partition(machine)[0], abs=1e-9)
    truth = log_partition(machine, given)
    found = exact.log_partition(machine, given)
    assert isinstance(found, torch.Tensor)
    assert np.abs(found.numpy() - truth).max() < 1e-9
    assert (
        np.abs(exact.log_prob(machine, given).numpy() - (truth - log_partition(machine))).max()
        < 1e-9
    )


@pytest.mark.parametrize(("shape", "clamp"), paired(MACHINES, ("hidden", None, *CLAMPS), 1))
def test_moments(shape: str, clamp: str | None) -> None:
    machine = machine_of(shape)
    given = None if clamp is None else clamps_of(shape)[clamp]
    assert_close(slopes(machine, given), moments(machine, given), 1e-9)


def test_grey_levels_count_alike_in_both_colours() -> None:
    """A grey level observed within a layer enters the energy as it is, whichever colour is
    enumerated."""
    for sizes in ((3, 5), (5, 3)):
        machine = (
            BoltzmannMachine.stack(Bernoulli(sizes[0]), Bernoulli(sizes[1]))
            .double()
            .initialise(0, 1.0)
        )
        values = torch.full((1, sizes[0]), 0.25, dtype=torch.float64)
        mask = torch.tensor([[True, True] + [False] * (sizes[0] - 2)])
        clamp = {"visible": (values, mask)}
        assert float(exact.log_partition(machine, clamp)) == pytest.approx(
            log_partition(machine, clamp)[0], abs=1e-9
        )  # type: ignore[arg-type]


def test_many_rows_and_many_states_go_by_in_parts() -> None:
    """More rows than a block of 64 and more states than a chunk of 2¹⁴, against the closed form of
    independent layers."""
    machine = BoltzmannMachine.stack(Bernoulli(15), Bernoulli(15)).double()
    assert exact.log_partition(machine) == pytest.approx(30 * math.log(2), abs=1e-9)
    small = machine_of("dbm")
    given = {"visible": values_of(small, "visible", 150)}
    parts = [
        exact.log_partition(small, {"visible": given["visible"][i : i + 1]}) for i in range(150)
    ]
    # type: ignore[arg-type]
    assert torch.allclose(exact.log_partition(small, given), torch.cat(parts), atol=1e-12)
    assert_close(slopes(small, given), moments(small, given), 1e-9)


def test_a_machine_without_edges() -> None:
    machine = BoltzmannMachine({"a": Bernoulli(3), "b": Categorical([4])}, []).double()
    assert exact.log_partition(machine) == pytest.approx(math.log(32), abs=1e-12)
    assert slopes(machine, None)["bias.b"].tolist() == pytest.approx([0.25] * 4)


def test_what_is_too_large_is_refused() -> None:
    machine = BoltzmannMachine.stack(Bernoulli(1500), Bernoulli(1200))
    with pytest.raises(ValueError, match=r"2\^1200.0 states; at most max_states=4194304"):
        exact.log_partition(machine)
    assert not exact.enumerable(machine)
    assert exact.enumerable(machine, {"visible": torch.zeros(1, 1500)})
    small = BoltzmannMachine.stack(Bernoulli(3), Bernoulli(3))
    with pytest.raises(ValueError, match=r"2\^3.0 states; at most max_states=7"):
        exact.log_partition(small, max_states=7)
    assert exact.enumerable(small, max_states=8)


def test_two_continuous_colours_are_refused_until_one_is_clamped() -> None:
    machine = BoltzmannMachine(
        {"a": Gaussian(1), "b": Bernoulli(1), "c": Gaussian(1)}, [("a", "b"), ("b", "c")]
    )
    assert exact.enumerable(machine)
    path = BoltzmannMachine(
        {"a": Gaussian(1), "b": Bernoulli(1), "c": Bernoulli(1), "d": Gaussian(1)},
        [("a", "b"), ("b", "c"), ("c", "d")],
    ).double()
    with pytest.raises(ValueError, match="no all-discrete colour"):
        exact.log_partition(path)
    given = {"a": torch.tensor([[0.3]], dtype=torch.float64)}
    assert float(exact.log_partition(path, given)) == pytest.approx(
        log_partition(path, given)[0], abs=1e-9
    )  # type: ignore[arg-type]


def test_nothing_observed_is_refused() -> None:
    with pytest.raises(ValueError, match="clamp: nothing is observed"):
        exact.log_prob(machine_of("rbm"), {})
