"""The contrastive game against exact gradients: likelihoods by brute force, bounds by finite
differences, gauges by autograd."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

from equilibria.data import Batch
from equilibria.games import contrastive
from equilibria.games.contrastive import ContrastiveGame, Phases
from equilibria.inference import gibbs
from equilibria.inference.mean_field import mean_field
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.random import Stream
from equilibria.solvers import Optimiser, Simultaneous
from equilibria.units import Bernoulli, Gaussian
from exact import (
    MACHINES,
    clamps_of,
    finite_differences,
    log_likelihood,
    log_partition,
    machine_of,
    moments,
    paired,
    values_of,
)

ROWS = 4
FEW = ("rbm", "dbm", "towers", "learned")  # each kind of graph and of unit


class Known(dict[str, Tensor]):
    """Enumerated moments in the place of a phase's values: what no set of rows has, since its
    products do not factor."""


class ExactGame(ContrastiveGame):
    """The game with the enumerated model as its negative phase, and on request the enumerated
    posterior as its positive one."""

    exact_posterior = False

    def draw(self, batch: Batch, stream: Stream) -> Phases:
        drawn = super().draw(batch, stream)
        model = moments(self.machine)
        drawn = dataclasses.replace(drawn, negative=Known(model), chain_means=self._layers(model))
        if self.exact_posterior:
            clamp = batch.values if batch.mask is None else (batch.values, batch.mask)
            data = moments(self.machine, {self.visible[0]: clamp})
            drawn = dataclasses.replace(drawn, positive=Known(data), means=self._layers(data))
        return drawn

    def _layers(self, known: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: known[f"bias.{name}"] for name in self.machine.layers}

    def _slopes(self, values: Any, name: str, free: Any) -> dict[str, Tensor]:
        if not isinstance(values, Known):
            return super()._slopes(values, name, free)
        start = f"layers.{name}."  # moments are slopes of −E
        return {
            key.removeprefix(start): -value
            for key, value in values.items()
            if key.startswith(start)
        }

    def _products(self, values: Any, a: str, b: str, less: Tensor | None = None) -> Tensor:
        if not isinstance(values, Known):
            return super()._products(values, a, b, less)
        known = values[f"weight.{a}-{b}"].clone()
        return known if less is None else less - known


def game_of(
    machine: BoltzmannMachine, kind: type[ContrastiveGame] = ContrastiveGame, **options: Any
) -> Any:
    return kind(machine, **{"chains": 6, "centred": False, **options})


def batch_of(shape: str, masked: bool = False) -> Batch:
    machine = machine_of(shape)
    given = clamps_of(shape)["masked"]
    name = next(iter(machine.layers))
    return Batch(*given[name]) if masked else Batch(clamps_of(shape)["whole"][name])


def clamp_of(shape: str, masked: bool) -> dict[str, Any]:
    return clamps_of(shape)["masked" if masked else "whole"]


def ascent(game: ContrastiveGame, batch: Batch, stream: Stream | None = None) -> dict[str, Tensor]:
    """Minus the game's gradient, by parameter."""
    found = game.gradient("machine", game.draw(batch, stream or Stream(0)))
    names = [name for name, p in game.machine.named_parameters() if p.requires_grad]
    return dict(zip(names, [-g for g in found], strict=True))


def assert_close(found: dict[str, Tensor], truth: dict[str, Tensor], tolerance: float) -> None:
    assert found.keys() == truth.keys()
    for name, value in truth.items():
        assert float((found[name] - value).abs().max()) < tolerance, name


# ------------------------------------------------------------------ the gradient is the right one


def test_it_is_the_likelihoods_gradient_for_an_rbm() -> None:
    for shape in ("rbm", "gaussian rbm", "learned rbm"):
        if shape == "rbm":
            machine, values = machine_of("rbm"), values_of(machine_of("rbm"), "visible", ROWS)
        else:
            real = Gaussian(3, [0.5, 1.0, 2.0], learned=shape == "learned rbm")
            machine = BoltzmannMachine.stack(real, Bernoulli(4)).double().initialise(1, std=0.7)
            values = Stream(1).normal((ROWS, 3), torch.float64)
        found = ascent(game_of(machine, ExactGame), Batch(values))
        data, model = moments(machine, {"visible": values}), moments(machine)
        assert_close(found, {name: data[name] - model[name] for name in data}, 1e-12)
        assert_close(
            found,
            finite_differences(
                machine, lambda m=machine, v=values: log_likelihood(m, {"visible": v})
            ),
            1e-9,
        )  # type: ignore[misc]


def test_parameters_may_be_held_after_the_game_is_built() -> None:
    """Those that are asked for are those that the gradient has."""
    game, batch = game_of(machine_of("rbm")), batch_of("rbm")
    whole = ascent(game, batch)
    held = next(name for name in whole if name.startswith("bias."))
    dict(game.machine.named_parameters())[held].requires_grad_(False)
    found = ascent(game, batch)
    assert found.keys() == whole.keys() - {held}
    assert len(found) == len(game.parameters_of("machine"))
    solver, before = Simultaneous(Optimiser("sgd", 0.1)), copy.deepcopy(game.machine.state_dict())
    solver.bind(game)
    solver.step(game, itertools.repeat(batch), Stream(0))
    moved = {k for k, x in game.machine.state_dict().items() if not torch.equal(x, before[k])}
    assert moved == found.keys()


@pytest.mark.parametrize(("shape", "masked"), paired(MACHINES, (False, True), 1))
def test_it_is_the_gradient_of_the_converged_bound(shape: str, masked: bool) -> None:
    """The total derivative of mean_field(…).bound − log Z, by differences: through the fixed point
    nothing flows."""
    machine = machine_of(shape)

    def bound() -> float:
        q = mean_field(
            machine, clamp_of(shape, masked), tolerance=1e-8
        )  # the bound is flat there, so its own error is of order 1e-16
        return float(q.bound.mean()) - float(log_partition(machine)[0])

    found = ascent(game_of(machine, ExactGame, mean_field_steps=1000), batch_of(shape, masked))
    assert_close(found, finite_differences(machine, bound), 1e-8)


@pytest.mark.parametrize(("shape", "masked"), paired(FEW, (False, True), 1))
def test_with_the_enumerated_posterior_it_is_the_likelihoods_gradient_again(
    shape: str, masked: bool
) -> None:
    machine = machine_of(shape)
    game = game_of(machine, ExactGame)
    game.exact_posterior = True
    found = ascent(game, batch_of(shape, masked))
    assert_close(
        found,
        finite_differences(machine, lambda: log_likelihood(machine, clamp_of(shape, masked))),
        1e-8,
    )


@pytest.mark.parametrize(("shape", "negative"), paired(FEW, ("persistent", "data"), 1))
def test_the_closed_form_is_autograd_of_the_cost(shape: str, negative: str) -> None:
    game = game_of(machine_of(shape), negative=negative)
    drawn = game.draw(batch_of(shape), Stream(1))
    closed = game.gradient("machine", drawn)
    automatic = super(ContrastiveGame, game).gradient("machine", drawn)
    for a, b, (name, p) in zip(closed, automatic, game.machine.named_parameters(), strict=True):
        assert a.shape == p.shape
        if not name.startswith(
            "layers."
        ):  # the cost, at means, does not know the spread that a variance answers for
            assert float((a - b).abs().max()) < 1e-12


@pytest.mark.parametrize("real", ["visible", "hidden1"])
def test_the_chains_give_a_learned_variance_its_exact_gradient(real: str) -> None:
    """40,000 chains in equilibrium, the real-valued layer drawn first or last: within 5.1 standard
    errors, 1e-6 for the three columns.

    A standard error is about .005; to leave out the spread of cells that stand for their means
    would move it by .5.
    """
    layers = [Gaussian(3, [0.5, 1.0, 2.0], learned=True), Bernoulli(4)]
    machine = (
        BoltzmannMachine.stack(*(layers if real == "visible" else layers[::-1]))
        .double()
        .initialise(1, std=0.7)
    )
    game = game_of(machine, chains=40_000, steps=30)
    values = values_of(machine, "visible", ROWS)
    drawn = game.draw(Batch(values), Stream(3))
    found = dict(
        zip(dict(machine.named_parameters()), game.gradient("machine", drawn), strict=True)
    )
    data, model = moments(machine, {"visible": values}), moments(machine)
    key, free = f"layers.{real}.log_variance", True if real == "hidden1" else None
    with torch.no_grad():
        parts = [
            game._slopes({n: x[i::40] for n, x in drawn.negative.items()}, real, free)[
                "log_variance"
            ]
            for i in range(40)
        ]
    error = torch.stack(parts).std(0) / 40**0.5
    assert float(error.max()) < 0.02
    assert float(((found[key] + data[key] - model[key]) / error).abs().max()) < 5.1


def reparametrised_gradient(game: ContrastiveGame, drawn: Phases) -> dict[str, Tensor]:
    """The cost's gradient in centred parameters (W, b' = b + Σ W μ), by autograd, carried back to
    steps of (W, b).

    In those the energy is Σ e − b'·(s − μ) − (s_a − μ_a) W (s_b − μ_b) up to a constant; a step of
    (W, b') moves
    b = b' − Σ W μ by db' − Σ dW μ. A continuous layer's rows of W and its b' are written as σ times
    what is differentiated in.
    """
    machine = game.machine
    mu = {name: game.offset(name) for name in machine.layers}
    sigma = {
        name: torch.ones_like(x)
        if machine.units(name).bounded
        else machine.units(name).variance.detach().sqrt()
        for name, x in mu.items()
    }
    weight = {
        edge: machine.weight[f"{edge[0]}-{edge[1]}"].detach().clone().requires_grad_(True)
        for edge in machine.edges
    }
    prime = {}
    for name in machine.layers:
        value = machine.bias[name].detach().clone()
        for (a, b), w in weight.items():
            value += w.detach() @ mu[b] if a == name else mu[a] @ w.detach() if b == name else 0.0
        prime[name] = value.requires_grad_(True)

    def energy(values: dict[str, Tensor]) -> Tensor:
        s = {name: machine.units(name).signal(x) - mu[name] for name, x in values.items()}
        total = -sum((s[name] @ (sigma[name] * prime[name])).mean() for name in s)
        return total - sum(
            (((sigma[a] * s[a]) @ w) * (sigma[b] * s[b])).sum(1).mean()
            for (a, b), w in weight.items()
        )

    with torch.no_grad():  # from here on in units of σ
        for name, value in prime.items():
            value.div_(sigma[name])
        for (a, b), w in weight.items():
            w.div_(torch.outer(sigma[a], sigma[b]))
    cost = energy(drawn.positive) - energy(drawn.negative)
    slopes = torch.autograd.grad(cost, [*prime.values(), *weight.values()])
    steps = {f"bias.{name}": sigma[name] * g for name, g in zip(prime, slopes, strict=False)}
    for (a, b), g in zip(weight, slopes[len(prime) :], strict=True):
        g = torch.outer(sigma[a], sigma[b]) * g
        steps[f"weight.{a}-{b}"] = g
        steps[f"bias.{a}"] -= g @ mu[b]
        steps[f"bias.{b}"] -= mu[a] @ g
    return steps


@pytest.mark.parametrize("shape", MACHINES)
def test_the_centred_gradient_is_the_matching_change_of_basis(shape: str) -> None:
    game = game_of(machine_of(shape), centred=True, offset_rate=0.3)
    for step in range(2):
        drawn = game.draw(batch_of(shape), Stream(2).child(step))
        names = list(dict(game.machine.named_parameters()))
        found = dict(zip(names, game.gradient("machine", drawn), strict=True))
        plain = dict(zip(names, game_of(game.machine).gradient("machine", drawn), strict=True))
        own = [name for name in names if name.startswith("layers.")]
        assert all(torch.equal(found.pop(name), contrastive.OWN_PACE * plain[name]) for name in own)
        assert_close(found, reparametrised_gradient(game, drawn), 1e-12)
        game.settle(drawn)  # and again with offsets that have moved
    assert all(bool(game.offset(name).abs().max() > 0) for name in game.machine.layers)


def test_the_centred_gradient_does_not_care_which_state_is_called_zero() -> None:
    """With v' = 1 − v and the machine rewritten to match, the step of the rewritten machine is the
    rewritten step."""
    plain = machine_of("rbm")
    flipped = machine_of("rbm")
    with torch.no_grad():
        flipped.weight["visible-hidden1"].neg_()
        flipped.bias["hidden1"].add_(plain.weight["visible-hidden1"].sum(0))
        flipped.bias["visible"].neg_()
        for machine in (plain, flipped):
            for name in machine.layers:
                machine.base(name).zero_()
    values = values_of(plain, "visible", ROWS)
    games = [game_of(machine, ExactGame, centred=True) for machine in (plain, flipped)]
    a, b = ascent(games[0], Batch(values)), ascent(games[1], Batch(1 - values))
    step = a["weight.visible-hidden1"]
    rewritten = {
        "weight.visible-hidden1": -step,
        "bias.hidden1": a["bias.hidden1"] + step.sum(0),
        "bias.visible": -a["bias.visible"],
    }
    assert_close({name: b[name] for name in rewritten}, rewritten, 1e-12)


def test_frozen_parameters_have_no_gradient() -> None:
    machine = machine_of("dbm")
    machine.bias["hidden1"].requires_grad_(False)
    game = game_of(machine)
    found = game.gradient("machine", game.draw(batch_of("dbm"), Stream(0)))
    assert [g.shape for g in found] == [p.shape for p in game.parameters_of("machine")]


# ------------------------------------------------------------------ the phases


def snapshot(game: ContrastiveGame) -> dict[str, Tensor]:
    return {name: x.clone() for name, x in game.named_buffers()}


@pytest.mark.parametrize(("shape", "steps"), paired(FEW, (1, 3), 1))
@torch.no_grad()
def test_chains_move_once_a_draw_and_nowhere_else(shape: str, steps: int) -> None:
    machine = machine_of(shape)
    game = game_of(machine, steps=steps, centred=True)
    for turn in range(2):
        state = {n: x.clone() for n, x in game.chains.items()}
        for step in range(steps):
            state, _ = gibbs.sweep(machine, state, Stream(turn).child("sweep", step))
        drawn = game.draw(batch_of(shape), Stream(turn))
        assert all(torch.equal(game.chains[n], state[n]) for n in state)
        before = snapshot(game)
        with torch.enable_grad():
            game.gradient("machine", drawn)
            game.gradient("machine", drawn)
        game.cost("machine", drawn)
        game.measure(drawn)
        assert all(torch.equal(x, before[n]) for n, x in snapshot(game).items())
        for name in machine.colours[0]:
            assert torch.equal(drawn.negative[name], state[name])
        for name in machine.colours[
            1
        ]:  # the mean given the final state of the other colour: less variance, no bias
            assert torch.equal(
                drawn.negative[name],
                machine.units(name).mean(machine.field(name, {**state, **drawn.negative})),
            )


def test_the_drawn_phases_stay_when_the_chains_move_on() -> None:
    game = game_of(machine_of("dbm"))
    first = game.draw(batch_of("dbm"), Stream(0))
    kept = {n: x.clone() for n, x in first.negative.items()}
    game.draw(batch_of("dbm"), Stream(1))
    assert all(torch.equal(first.negative[n], kept[n]) for n in kept)


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Tensor]]:
    """The states that sweeps start from."""
    seen: list[dict[str, Tensor]] = []
    sweep = gibbs.sweep

    def watched(machine: BoltzmannMachine, state: Any, *args: Any, **options: Any) -> Any:
        seen.append({n: x.clone() for n, x in state.items()})
        return sweep(machine, state, *args, **options)

    monkeypatch.setattr(contrastive.gibbs, "sweep", watched)
    return seen


@pytest.mark.parametrize("visible", ["visible", "hidden1"])
def test_contrastive_divergence_restarts_at_the_data(
    visible: str, starts: list[dict[str, Tensor]]
) -> None:
    """40,000 rows of one pattern: observed cells as they are, every other a draw from mean field
    (4.9 standard errors: 1e-6)."""
    machine = machine_of("dbm")
    values = values_of(machine, visible, 1).expand(40_000, -1)
    mask = torch.tensor([True, False, True, True][: values.shape[1]]).expand_as(values)
    game = game_of(machine, negative="data", visible=(visible,), steps=2)
    assert game.sharded == ()
    assert not [name for name, _ in game.named_buffers() if name.startswith("chain")]
    for batch in (Batch(values), Batch(values, mask)):
        for turn in range(2):
            drawn = game.draw(batch, Stream(turn))
            assert len(starts) == 2, "two sweeps a round, from one start"
            start = starts[0]
            observed = (
                torch.ones_like(values, dtype=torch.bool) if batch.mask is None else batch.mask
            )
            assert torch.equal(start[visible][observed], values[observed])
            for name, x in start.items():
                mean = drawn.positive[name][0]
                assert bool(((x == 0) | (x == 1)).all())
                deviation = (x.mean(0) - mean).abs() - 4.9 * (mean * (1 - mean) / 40_000).sqrt()
                assert float(deviation.max()) < 1e-12
            starts.clear()


@torch.no_grad()
def test_missing_cells_are_filled_by_mean_field() -> None:
    for shape in MACHINES:
        machine, batch = machine_of(shape), batch_of(shape, masked=True)
        visible = next(iter(machine.layers))
        assert batch.mask is not None
        values = torch.where(batch.mask, batch.values, torch.full_like(batch.values, float("nan")))
        game = game_of(machine, mean_field_steps=200)
        drawn = game.draw(Batch(values, batch.mask), Stream(0))
        q = mean_field(machine, {visible: (values, batch.mask)}, tolerance=1e-12)
        assert torch.equal(drawn.positive[visible][batch.mask], batch.values[batch.mask])
        for name, mean in q.means.items():
            assert torch.allclose(drawn.positive[name], mean, atol=1e-9)
        assert float(drawn.change) < 1e-9
        assert all(bool(torch.isfinite(g).all()) for g in game.gradient("machine", drawn))


@pytest.mark.parametrize("shape", ["rbm", "dbm", "learned"])
def test_draws_after_mean_field_give_the_likelihoods_gradient_where_cells_are_missing(
    shape: str,
) -> None:
    """Student's t over 16 batches against finite differences of the enumerated log p(observed), at
    1e-6 for all parameters together.

    The mean-field gradient fails the same test, so errors of its size are caught. Errors of 1e-4
    are let pass: states may be too rare to
    show in the spread of the batches.
    """
    machine, batch = machine_of(shape), batch_of(shape, masked=True)
    truth = finite_differences(machine, lambda: log_likelihood(machine, clamp_of(shape, True)))
    assert batch.mask is not None
    many = Batch(batch.values.repeat(200, 1), batch.mask.repeat(200, 1))
    game = game_of(machine, ExactGame, mean_field_steps=10, posterior_sweeps=10)
    found = [ascent(game, many, Stream(0).child(i)) for i in range(16)]
    level = 1e-6 / sum(x.numel() for x in truth.values())
    limit = float(stats.t.isf(level / 2, len(found) - 1))
    biased = ascent(game_of(machine, ExactGame, mean_field_steps=1000), batch)
    worst = 0.0
    for name, exact in truth.items():
        draws = torch.stack([one[name] for one in found])
        error = draws.std(0) / len(found) ** 0.5 + 1e-4
        assert float(((draws.mean(0) - exact).abs() / error).max()) < limit, name
        worst = max(worst, float(((biased[name] - exact).abs() / error).max()))
    assert (
        worst > limit or shape == "learned"
    )  # whose spins leave so little doubt that mean field is exact


@torch.no_grad()
def test_gain_doubles_the_field_in_both_phases() -> None:
    machine, batch = machine_of("rbm"), batch_of("rbm")
    game = game_of(machine, gain={"hidden1": 2.0})
    drawn = game.draw(batch, Stream(0))
    assert torch.equal(
        drawn.positive["hidden1"],
        torch.sigmoid(2 * machine.field("hidden1", {"visible": batch.values})),
    )
    assert torch.equal(
        drawn.negative["hidden1"],
        torch.sigmoid(2 * machine.field("hidden1", {"visible": drawn.negative["visible"]})),
    )
    chains = {n: x.clone() for n, x in game.chains.items()}
    top = game_of(machine, gain={"visible": 2.0})
    for name, x in chains.items():
        getattr(top, f"chain_{name}").copy_(x)
    top.draw(batch, Stream(1))
    drawn_visible = machine.units("visible").sample(
        2 * machine.field("visible", chains), Stream(1).child("sweep", 0, "visible")
    )
    assert torch.equal(top.chains["visible"], drawn_visible)
    rebuilt = torch.sigmoid(2 * machine.field("visible", drawn.positive))
    assert float(top.measure(drawn)["reconstruction"]) == pytest.approx(
        float((rebuilt - batch.values).square().mean())
    )


@pytest.mark.parametrize("masked", [False, True])
def test_several_visible_layers_lie_side_by_side(masked: bool) -> None:
    """The likelihood's gradient with pixels and a label observed together, the label of some rows
    missing."""
    machine = machine_of("label")
    parts = {name: values_of(machine, name, ROWS, seed=3) for name in ("visible", "label")}
    mask = torch.ones(ROWS, 6, dtype=torch.bool)
    if masked:
        mask[1:3, 3:] = False
    game = game_of(machine, ExactGame, visible=("visible", "label"), mean_field_steps=1000)
    found = ascent(game, Batch(torch.cat(list(parts.values()), 1), mask if masked else None))
    clamp = {"visible": parts["visible"], "label": (parts["label"], mask[:, 3:])}

    def bound() -> float:
        return float(mean_field(machine, clamp, tolerance=1e-8).bound.mean()) - float(
            log_partition(machine)[0]
        )

    assert_close(found, finite_differences(machine, bound), 1e-8)


@torch.no_grad()
def test_sparsity_pushes_a_layers_field_towards_its_target() -> None:
    """With cost c, running mean q and target t the field's extra slope is c(q − t): on the bias,
    and through ⟨s⟩ on the weights below."""
    machine, batch = machine_of("dbm"), batch_of("dbm")
    plain, sparse = (
        game_of(machine, sparsity=sparsity) for sparsity in (None, {"hidden2": (0.1, 0.5)})
    )
    drawn = plain.draw(batch, Stream(0))
    sparse.draw(batch, Stream(0))
    sparse.settle(drawn)
    activity = 0.9 * 0.1 + 0.1 * drawn.means["hidden2"]
    assert torch.allclose(sparse.activity_hidden2, activity, atol=1e-14)
    names = [name for name, _ in machine.named_parameters()]
    before, after = (
        dict(zip(names, game.gradient("machine", drawn), strict=True)) for game in (plain, sparse)
    )
    push = 0.5 * (activity - 0.1)
    extra = {
        "bias.hidden2": push,
        "weight.hidden1-hidden2": torch.outer(drawn.means["hidden1"], push),
    }
    assert_close(after, {name: before[name] + extra.get(name, 0.0) for name in names}, 1e-12)


@torch.no_grad()
def test_sparsity_in_the_centred_gauge_moves_nothing_above_the_sparse_layer() -> None:
    machine, batch = machine_of("label"), batch_of("label")
    plain, sparse = (
        game_of(machine, centred=True, sparsity=sparsity)
        for sparsity in (None, {"hidden1": (0.1, 0.5)})
    )
    drawn = plain.draw(batch, Stream(0))
    sparse.draw(batch, Stream(0))
    sparse.activity_hidden1.fill_(0.5)
    names = [name for name, _ in machine.named_parameters()]
    before, after = (
        dict(zip(names, game.gradient("machine", drawn), strict=True)) for game in (plain, sparse)
    )
    push = torch.full((3,), 0.5 * 0.4, dtype=torch.float64)
    step = torch.outer(drawn.means["visible"] - plain.offset("visible"), push)
    extra = {
        "weight.visible-hidden1": step,
        "bias.hidden1": push - plain.offset("visible") @ step,
        "bias.visible": -(step @ plain.offset("hidden1")),
    }
    assert_close(after, {name: before[name] + extra.get(name, 0.0) for name in names}, 1e-12)


@torch.no_grad()
def test_in_bfloat16_chains_are_states_and_statistics_keep_their_digits() -> None:
    machine = BoltzmannMachine.stack(Bernoulli(30), Bernoulli(20), Bernoulli(10)).initialise(
        0, std=0.3
    )
    exact, rough = (
        ContrastiveGame(machine, chains=2000, steps=3, precision=precision)
        for precision in ("float32", "bfloat16")
    )
    batch = Batch(Stream(1).uniform((500, 30)).round())
    a, b = exact.draw(batch, Stream(2)), rough.draw(batch, Stream(2))
    assert all(
        bool(((x == 0) | (x == 1)).all()) and x.dtype == torch.float32
        for x in rough.chains.values()
    )
    assert set(rough.state_dict()) == set(exact.state_dict())
    same = torch.cat(
        [(exact.chains[n] == rough.chains[n]).float().flatten() for n in machine.layers]
    ).mean()
    assert (
        0.95 < float(same) < 1.0
    )  # the same uniforms against probabilities that differ in the third digit
    for name in machine.layers:
        assert float((a.positive[name] - b.positive[name]).abs().max()) < 2e-3
    for x, y in zip(exact.gradient("machine", a), rough.gradient("machine", b), strict=True):
        assert y.dtype == torch.float32
        assert float((x - y).abs().max()) < 0.06  # 4.9 standard errors of 2000 chains' means
    machine.weight["visible-hidden1"].mul_(2)
    again = rough.draw(batch, Stream(3))
    assert (
        float(
            (again.positive["hidden1"] - exact.draw(batch, Stream(3)).positive["hidden1"])
            .abs()
            .max()
        )
        < 4e-3
    ), "the rounded copy follows"


# ------------------------------------------------------------------ offsets, reports, processes


@torch.no_grad()
def test_offsets_start_at_the_base_rates_and_move_in_settle_alone() -> None:
    machine = machine_of("gaussian")
    game = game_of(machine, centred=True, offset_rate=0.25)
    for name in machine.layers:
        units = machine.units(name)
        assert torch.allclose(
            game.offset(name), units.signal(units.mean(machine.base(name)[None]))[0], atol=1e-14
        )
    drawn = game.draw(batch_of("gaussian"), Stream(0))
    before = {n: game.offset(n).clone() for n in machine.layers}
    game.gradient("machine", drawn)
    assert all(torch.equal(game.offset(n), before[n]) for n in before)
    for mean in game.shared(drawn):
        mean.mul_(1.5)  # an average over processes, in place, is what settle goes by
    game.settle(drawn)
    for name in machine.layers:
        mean = 1.5 * machine.units(name).signal(drawn.positive[name]).mean(0)
        assert torch.allclose(game.offset(name), 0.75 * before[name] + 0.25 * mean, atol=1e-14)


@torch.no_grad()
def test_uncentred_offsets_stay_at_zero() -> None:
    game = game_of(machine_of("rbm"))
    game.settle(game.draw(batch_of("rbm"), Stream(0)))
    assert all(not bool(game.offset(name).any()) for name in game.machine.layers)


@pytest.mark.parametrize("shape", FEW)
@torch.no_grad()
def test_two_processes_average_to_one(shape: str) -> None:
    """Chains, draws and gradients of two halves of a batch, to rounding."""
    machine, batch = machine_of(shape), batch_of(shape)
    whole = game_of(machine, chains=8, centred=True, stream=Stream(3))
    halves = [
        game_of(machine, chains=4, centred=True, stream=Stream(3).shard(rank)) for rank in range(2)
    ]
    together = whole.gradient("machine", whole.draw(batch, Stream(4)))
    parts = []
    for rank, game in enumerate(halves):
        mine = Batch(batch.values[2 * rank : 2 * rank + 2])
        parts.append(game.gradient("machine", game.draw(mine, Stream(4).shard(rank))))
        assert all(
            torch.allclose(game.chains[n], whole.chains[n][4 * rank : 4 * rank + 4], atol=1e-12)
            for n in machine.layers
        )
    for one, a, b in zip(together, *parts, strict=True):
        assert torch.allclose(one, (a + b) / 2, atol=1e-12)


@torch.no_grad()
def test_what_is_measured() -> None:
    machine, batch = machine_of("dbm"), batch_of("dbm")
    game = game_of(machine)
    drawn = game.draw(batch, Stream(0))
    measured = game.measure(drawn)
    assert set(measured) == {"reconstruction", "contrast", "mean_field_change", "dead_units"}
    assert all(x.ndim == 0 for x in measured.values())
    rebuilt = torch.sigmoid(machine.field("visible", drawn.positive))
    assert float(measured["reconstruction"]) == pytest.approx(
        float((rebuilt - batch.values).square().mean())
    )
    machine.bias["hidden1"][:2] = 100.0
    assert float(game.measure(game.draw(batch, Stream(0)))["dead_units"]) >= 2 / 6


def test_it_learns_in_float32_without_a_change_of_type() -> None:
    machine = BoltzmannMachine.stack(Bernoulli(6), Bernoulli(4), Bernoulli(3)).initialise(0)
    game = ContrastiveGame(machine, chains=5)
    drawn = game.draw(Batch(torch.ones(8, 6)), Stream(0))
    assert {g.dtype for g in game.gradient("machine", drawn)} == {torch.float32}


@pytest.mark.parametrize(
    ("options", "message"), [({"negative": "cd"}, "negative='cd': expected 'persistent'")]
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        game_of(machine_of("rbm"), **options)


def test_continuous_layers_are_not_rounded() -> None:
    with pytest.raises(ValueError, match="precision='bfloat16': continuous values"):
        game_of(machine_of("gaussian"), precision="bfloat16")
