"""Flows against inverses, Jacobians and quadrature; dequantised scores against exact masses."""

from __future__ import annotations

import builtins
import math
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from equilibria import Flow as FlowEstimator
from equilibria.cli.app import main
from equilibria.data.toy import GaussianMixture
from equilibria.errors import ExtraError
from equilibria.evaluation.likelihood import bits_per_dimension, bound
from equilibria.models.flow import Dequantised, Flow
from equilibria.models.model import Model, capabilities, taxonomy
from equilibria.random import Stream

BOX = 5.0
SHAPES = {"one": (1, False), "two": (2, False), "five": (5, False), "coupling": (5, True)}
"""Columns, and whether the transforms are couplings."""


def flow_of(columns: int, coupling: bool = False, **how: Any) -> Flow:
    """A flow whose weights bend space, and leave its Jacobian well conditioned, in float64."""
    how = {"transforms": 3, "hidden": (12, 9), "bins": 6, **how}
    model = Flow(columns, Stream(3), coupling=coupling, **how).double()
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            noise = Stream(5).child(i).normal(tuple(parameter.shape), torch.float64)
            parameter.add_(0.1 * noise)
    return model


def rows_of(columns: int, n: int = 200) -> Tensor:
    """Rows within the box and beyond it."""
    return 3 * Stream(1).normal((n, columns), torch.float64)


# ------------------------------------------------------------------ the map


@torch.no_grad()
@pytest.mark.parametrize("shape", SHAPES)
def test_the_inverse_gives_the_row_back(shape: str) -> None:
    model = flow_of(*SHAPES[shape])
    x = rows_of(model.columns)
    u, _ = model.to_base(x)
    assert float((u - x).abs().mean()) > 0.1, "the flow is the identity: the test is empty"
    assert float((model.from_base(u) - x).abs().max()) < 1e-10
    assert torch.equal(model.features(x), u)


@torch.no_grad()
@pytest.mark.parametrize("shape", SHAPES)
def test_the_determinant_is_that_of_autograd_s_jacobian(shape: str) -> None:
    model = flow_of(*SHAPES[shape])
    x = rows_of(model.columns, 8)
    _, slope = model.to_base(x)

    def image(row: Tensor) -> Tensor:
        return model.to_base(row[None])[0][0]

    for row, found in zip(x, slope, strict=True):
        jacobian = torch.autograd.functional.jacobian(image, row)
        assert float(jacobian.slogdet()[1] - found) == pytest.approx(0, abs=1e-10)


@torch.no_grad()
def test_the_density_integrates_to_one() -> None:
    """By the trapezoid rule over ±9; also beyond the box, where the tails are the normal's."""
    line = torch.linspace(-9, 9, 6001, dtype=torch.float64)
    mass = flow_of(1).log_prob(line[:, None]).exp()
    assert float(torch.trapezoid(mass, line)) == pytest.approx(1, abs=1e-4)
    model, line = flow_of(2), torch.linspace(-9, 9, 901, dtype=torch.float64)
    square = torch.cartesian_prod(line, line)
    mass = torch.cat([model.log_prob(part).exp() for part in square.split(100_000)])
    total = torch.trapezoid(torch.trapezoid(mass.view(len(line), -1), line), line)
    assert float(total) == pytest.approx(1, abs=1e-4)


def test_value_and_slope_are_continuous_at_the_edge_of_the_box() -> None:
    """Of one transform, whose box is the data's."""
    model = flow_of(1, transforms=1)
    for edge in (-BOX, BOX):
        beside = torch.tensor([[edge - 1e-9], [edge + 1e-9]], dtype=torch.float64)
        x = beside.requires_grad_()
        u = model.to_base(x)[0]
        (slope,) = torch.autograd.grad(u.sum(), x)
        assert torch.allclose(u, x, rtol=0, atol=1e-8)
        assert torch.allclose(slope, torch.ones_like(slope), rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_rows_have_finite_scores_and_gradients(shape: str, dtype: torch.dtype) -> None:
    model = flow_of(*SHAPES[shape]).to(dtype)
    signs = Stream(2).uniform((20, model.columns)).sub(0.5).sign().to(dtype)
    x = (1e6 * signs).requires_grad_()
    score = model.log_prob(x)
    score.mean().backward()
    assert bool(score.isfinite().all())
    for value in (x, *model.parameters()):
        assert value.grad is not None
        assert bool(value.grad.isfinite().all())


@torch.no_grad()
def test_a_column_hears_those_before_it_in_an_order_that_changes() -> None:
    """One transform's Jacobian is triangular in its order; every other order is reversed."""
    model = flow_of(5)
    orders = [one.order for one in model.transforms]
    assert torch.equal(orders[1], 4 - orders[0])
    assert not torch.equal(orders[2], orders[0])
    one, x = model.transforms[0], 0.3 * rows_of(5, 1)
    jacobian = torch.autograd.functional.jacobian(lambda row: one()(row), x)[0, :, 0]
    later = orders[0][None, :] > orders[0][:, None]
    assert float(jacobian[later].abs().max()) == 0
    assert float(jacobian[~later].abs().max()) > 0


@torch.no_grad()
def test_a_new_flow_is_the_identity() -> None:
    model = Flow(4, Stream(0))
    x = Stream(1).normal((50, 4))
    assert torch.allclose(model.to_base(x)[0], x, atol=1e-5)
    normal = torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(1)
    assert torch.allclose(model.log_prob(x), normal, atol=1e-4)


# ------------------------------------------------------------------ draws and learning


@torch.no_grad()
def test_draws_follow_the_density() -> None:
    """E[p(x)^-1 1(x in a square)] is the square's area: within 5 standard errors."""
    model, n = flow_of(2), 40_000
    x = model.sample(n, Stream(7))
    assert x.dtype == torch.float64
    inside = (x.abs() < 1).all(1).double()
    weight = inside / model.log_prob(x).exp()
    assert abs(float(weight.mean()) - 4) < 5 * float(weight.std()) / n**0.5


def test_what_is_learnt_of_a_ring_is_within_a_tenth_of_a_nat() -> None:
    """Eight Gaussians on a circle, their density known."""
    ring = GaussianMixture.ring(std=0.1)
    X, held = ring.sample(50_000, Stream(0)), ring.sample(4000, Stream(1))
    how = {"transforms": 2, "hidden": (64, 64), "bins": 16, "steps": 500, "batch_size": 256}
    model = FlowEstimator(**how, learning_rate=1e-2, random_state=0).fit(X)
    distance = float(ring.log_density(held).mean() - model.score(held))
    print(f"truth − model = {distance:.4f} nats")
    assert 0 < distance < 0.1
    drawn = model.sample(4000, random_state=1)
    assert ring.log_density(drawn).mean() > ring.log_density(held).mean() - 1


# ------------------------------------------------------------------ streams


def test_the_stream_is_the_model_and_global_generators_stay() -> None:
    def states() -> list[Any]:
        legacy = np.random.get_state()  # noqa: NPY002  the global one is what is meant
        return [torch.get_rng_state().tolist(), repr(legacy), random.getstate()]

    def made(seed: int) -> dict[str, Tensor]:
        model = Flow(4, Stream(seed), hidden=(8,))
        model.sample(3, Stream(1))
        return dict(model.state_dict())

    before = states()
    first, other = made(0), made(1)
    assert states() == before
    torch.manual_seed(7)
    again = made(0)
    assert all(torch.equal(value, again[key]) for key, value in first.items())
    assert any(not torch.equal(value, other[key]) for key, value in first.items())


def test_draws_are_the_stream_s() -> None:
    model = flow_of(3)
    first = model.sample(5, Stream(0))
    torch.manual_seed(3)
    assert torch.equal(model.sample(5, Stream(0)), first)
    assert not torch.equal(model.sample(5, Stream(1)), first)


# ------------------------------------------------------------------ pictures


LEVELS = 3


def discrete_rows() -> Tensor:
    """All pictures of two pixels of three values."""
    values = torch.linspace(-1, 1, LEVELS, dtype=torch.float64)
    return torch.cartesian_prod(values, values)


@torch.no_grad()
def masses(model: Dequantised) -> Tensor:
    """P(x) of all pictures: the density's integral over each cell, by the midpoint rule."""
    fine = 200
    steps = (torch.arange(fine, dtype=torch.float64) + 0.5) / fine - 0.5
    inside = model.cell * torch.cartesian_prod(steps, steps)
    scale = math.sqrt(3)
    found = []
    for row in discrete_rows():
        density = model.inner.log_prob(scale * (row + inside)).exp()
        found.append(density.mean() * (scale * model.cell) ** 2)
    return torch.stack(found)


@torch.no_grad()
def test_a_dequantised_score_is_a_bound_on_the_cell_s_mass() -> None:
    model = Dequantised(flow_of(2), LEVELS).double()
    exact, rows = masses(model), discrete_rows()
    assert 0.5 < float(exact.sum()) <= 1 + 1e-6
    draws = torch.stack([model.log_prob_bound(rows, Stream(i), 20) for i in range(30)])
    mean, error = draws.mean(0), draws.std(0) / len(draws) ** 0.5
    assert bool((mean - 5 * error <= exact.log()).all())
    distance = exact.log() - mean
    assert 0.01 < float(distance.min()) < 0.5, "the bound says nothing: the test is empty"
    print(f"log P − bound: {distance.min():.3f} to {distance.max():.3f} nats")
    objective = -model.objective(rows.repeat(2000, 1), Stream(0)).view(2000, -1)
    spread = 5 * objective.std(0) / 2000**0.5
    assert bool(((objective.mean(0) - mean).abs() < spread + 5 * error).all())


@torch.no_grad()
def test_a_row_has_the_same_bound_in_any_company() -> None:
    model, rows = Dequantised(flow_of(2), LEVELS).double(), discrete_rows()
    whole = model.log_prob_bound(rows, Stream(0), 3)
    alone = torch.cat([model.log_prob_bound(row[None], Stream(0), 3) for row in rows])
    assert torch.allclose(whole, alone, atol=1e-12)


def test_pictures_have_a_bound_and_real_columns_a_density() -> None:
    real, pictures = Flow(2, Stream(0)), Dequantised(Flow(2, Stream(0)), 2)
    assert taxonomy(real) == "explicit density, tractable"
    assert taxonomy(pictures) == "explicit density, variational bound"
    assert capabilities(pictures) == {"sample", "score", "bound", "features", "objective"}


class Even(Model):
    """Evenly spread over the cells of all pictures of ``levels`` values."""

    def __init__(self, levels: int):
        super().__init__()
        self.side = math.sqrt(3) * 2 * levels / (levels - 1)

    def log_prob(self, x: Tensor, given: Tensor | None = None) -> Tensor:
        return torch.full_like(x[:, 0], -x.shape[1] * math.log(self.side))


def test_evenly_spread_pictures_of_a_byte_take_eight_bits_a_pixel() -> None:
    rows = 2 * Stream(0).integers((10, 7), 256).double() / 255 - 1
    found = bits_per_dimension(bound(Dequantised(Even(256), 256), rows), 7)
    assert found.value == pytest.approx(8, abs=1e-12)
    assert found.name == "bits per dimension, at most"
    with pytest.raises(ValueError, match=r"^dimensions=0"):
        bits_per_dimension(found, 0)


def test_a_flow_of_pictures_learns_their_law() -> None:
    """Pixels of three values, the second that of the first: log 3 nats a row, by a bound."""
    first = np.random.RandomState(0).randint(0, LEVELS, 2000)
    X = np.stack([first, first], 1).astype(np.uint8)
    how = {"transforms": 2, "hidden": (16,), "steps": 300, "learning_rate": 1e-2}
    model = FlowEstimator(**how, value_range=(7, 9), random_state=0).fit(X + 7)
    assert (model.model_.levels, model.model_.inner.coupling) == (3, True)
    found = model.log_likelihood(X + 7)
    assert found.name == "mean bound on log-likelihood"
    assert -math.log(3) - 0.5 < found.value < -math.log(3) + 0.01
    print(bits_per_dimension(found, 2))
    drawn = model.sample(500)
    assert drawn.dtype == np.uint8
    assert (drawn[:, 0] == drawn[:, 1]).mean() > 0.85


@pytest.mark.parametrize(
    ("X", "given", "levels"),
    [
        (np.array([[0, 16], [3, 5]], dtype=np.uint8), (0, 16), 17),
        (np.array([[0, 1], [1, 0]], dtype=bool), (0, 1), 2),
        (np.array([[0, 1], [0.5, 0.25]]), (0, 1), 256),
    ],
)
def test_levels_are_the_whole_numbers_of_the_range(X: Any, given: Any, levels: int) -> None:
    how = {"hidden": (4,), "steps": 1, "random_state": 0}
    model = FlowEstimator(**how, value_range=given).fit(X)
    assert model.model_.levels == levels
    assert FlowEstimator(**how, value_range=given, levels=5).fit(X).model_.levels == 5


# ------------------------------------------------------------------ without zuko


@pytest.fixture
def no_zuko(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def absent(name: str, *args: Any, **options: Any) -> Any:
        if name.partition(".")[0] == "zuko":
            raise ImportError(name)
        return original(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", absent)


@pytest.mark.usefixtures("no_zuko")
def test_without_zuko_a_sentence_says_what_to_install(
    tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ExtraError, match=r'pip install "equilibria\[flows\]"'):
        FlowEstimator(out=tmp_path / "run").fit(np.zeros((4, 2)))
    assert main(["train", "flow", "digits", "--out", str(tmp_path / "run")]) == 2
    assert 'pip install "equilibria[flows]"' in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
