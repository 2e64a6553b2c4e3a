"""Geweke's joint distribution test (2004, "Getting it right") of the block Gibbs kernel with
continuous layers.

Two simulators of one joint distribution. The marginal–conditional one lists the discrete states,
draws one by its exact probability and
the continuous cells given it, all in numpy and scipy. The successive–conditional one starts at such
draws and runs the library's kernel,
which must leave them as they were. Every function of the state then has the same mean in both:
z-tests with a false alarm in 1e-6 for the
whole list together. With 50,000 rows a function that moves by 5 % of its standard deviation is
caught (7.9 standard errors, against 5.9).
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from equilibria.inference import gibbs
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.random import Stream
from equilibria.units import Bernoulli, Gaussian, Rectified, Units
from exact import Array, enumerate_states, joint_states, parameters_of

ALARM = 1e-6
ROWS, SWEEPS = 50_000, 4
VARIANCES = [0.5, 1.0, 2.0]


def rbm(continuous: Units) -> BoltzmannMachine:
    """Three continuous cells beside four binary ones, with parameters that bring fields of both
    signs."""
    machine = BoltzmannMachine.stack(continuous, Bernoulli(4)).double()
    generator = np.random.default_rng(5)
    with torch.no_grad():
        for name, std in (("visible", 1.0), ("hidden1", 0.5)):
            machine.bias[name].copy_(
                torch.from_numpy(generator.normal(-0.3, std, machine.bias[name].shape))
            )
        machine.weight["visible-hidden1"].copy_(
            torch.from_numpy(generator.normal(0.0, 0.8, (3, 4)))
        )
    return machine


def one_row(machine: BoltzmannMachine, masked: bool) -> dict[str, tuple[Array, Array]]:
    """Nothing, or one continuous and one binary cell held."""
    if not masked:
        return {}
    held = {"visible": (np.array([0.7, 0.0, 0.0]), np.array([True, False, False]))}
    return {
        **held,
        "hidden1": (np.array([0.0, 1.0, 0.0, 0.0]), np.array([False, True, False, False])),
    }


def exact_draws(
    machine: BoltzmannMachine, clamp: dict[str, tuple[Array, Array]], seed: int
) -> dict[str, Tensor]:
    """ROWS independent states of the joint distribution, by enumeration and scipy's quantiles."""
    generator = np.random.default_rng(seed)
    listed = enumerate_states(machine, clamp)
    states = joint_states(machine)["hidden1"]
    if clamp:
        values, mask = clamp["hidden1"]
        states = states[(states[:, mask] == values[mask]).all(1)]
    hidden = states[generator.choice(len(states), size=ROWS, p=listed.probabilities)]
    bias, weight = parameters_of(machine)
    centre = bias["visible"] + hidden @ weight["visible", "hidden1"].T
    scale = np.sqrt(VARIANCES)
    if isinstance(machine.units("visible"), Gaussian):
        visible = generator.normal(centre, scale)
    else:
        visible = stats.truncnorm.rvs(
            -centre / scale, np.inf, loc=centre, scale=scale, random_state=generator
        )
    if clamp:
        values, mask = clamp["visible"]
        visible[:, mask] = values[mask]
    return {"visible": torch.from_numpy(visible), "hidden1": torch.from_numpy(hidden)}


def functions(state: dict[str, Tensor]) -> Array:
    """First and second moments, products across the edge, and how often a cell is in either tail:
    (rows, functions)."""
    v, h = state["visible"].numpy(), state["hidden1"].numpy()
    products = (v[:, :, None] * h[:, None, :]).reshape(len(v), -1)
    tails = [(v > at * np.sqrt(VARIANCES)).astype(float) for at in (0.05, 1.0, 2.0, 2.5)]
    return np.concatenate([v, v**2, v[:, [0]] * v[:, 1:], h, products, *tails], 1)


def worst_alarm(
    machine: BoltzmannMachine, clamp: dict[str, tuple[Array, Array]] | None = None
) -> float:
    """The smallest p-value of the list, times its length: a sound kernel goes below 1e-6 once in a
    million."""
    clamp = clamp or {}
    truth = functions(exact_draws(machine, clamp, seed=1))
    held = {
        name: tuple(torch.from_numpy(np.tile(a, (ROWS, 1))) for a in pair)
        for name, pair in clamp.items()
    }
    moved = functions(
        gibbs.run(
            machine,
            exact_draws(machine, clamp, seed=2),
            steps=SWEEPS,
            random_state=Stream(3),
            clamp=held,
        )
    )
    spread = np.sqrt((truth.var(0) + moved.var(0)) / ROWS)
    certain = spread == 0
    assert np.array_equal(truth.mean(0)[certain], moved.mean(0)[certain])
    z = (moved.mean(0) - truth.mean(0))[~certain] / spread[~certain]
    return float(2 * stats.norm.sf(np.abs(z)).min() * len(z))


LAYERS = {
    "gaussian": lambda: Gaussian(3, VARIANCES),
    "learned": lambda: Gaussian(3, VARIANCES, learned=True),
    "rectified": lambda: Rectified(3, VARIANCES),
}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("masked", [False, True])
def test_the_kernel_keeps_the_joint_distribution(layer: str, masked: bool) -> None:
    machine = rbm(LAYERS[layer]())
    assert worst_alarm(machine, one_row(machine, masked)) > ALARM


class Wide(Gaussian):
    """Noise that is 5 % too wide."""

    def sample(self, field: Tensor, stream: Stream) -> Tensor:
        return field + 1.05 * (super().sample(field, stream) - field)


class Squared(Gaussian):
    """σ² where σ should be."""

    def sample(self, field: Tensor, stream: Stream) -> Tensor:
        return field + self.variance.sqrt() * (super().sample(field, stream) - field)


class Unscaled(Gaussian):
    """Neighbours that feel x instead of x/σ²."""

    def signal(self, x: Tensor) -> Tensor:
        return x


class Noisy(Rectified):
    """max(0, N(f, σ²)): the approximation that has no energy."""

    def sample(self, field: Tensor, stream: Stream) -> Tensor:
        return (field + self.variance.sqrt() * stream.normal(field.shape, field.dtype)).clamp(
            min=0.0
        )


class Exponential(Rectified):
    """The right mean with an exponential tail."""

    def sample(self, field: Tensor, stream: Stream) -> Tensor:
        return -self.mean(field) * torch.log1p(-stream.uniform(field.shape, field.dtype))


class Cut(Rectified):
    """No draw beyond 2.5 σ above the field."""

    def sample(self, field: Tensor, stream: Stream) -> Tensor:
        x = super().sample(field, stream)
        return torch.minimum(x, torch.clamp(field, min=0.0) + 2.5 * self.variance.sqrt())


@pytest.mark.parametrize("wrong", [Wide, Squared, Unscaled, Noisy, Exponential, Cut])
def test_a_planted_bug_is_caught(wrong: type[Gaussian] | type[Rectified]) -> None:
    """The exact simulator knows nothing of the planted methods, so the two must part."""
    assert worst_alarm(rbm(wrong(3, VARIANCES))) < ALARM / 1000
