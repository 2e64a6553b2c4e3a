"""The adversarial game on batches: its draws, costs and what it reports."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from equilibria.data import Batch
from equilibria.games.adversarial import AdversarialDraw, AdversarialGame
from equilibria.games.payoffs import PAYOFFS
from equilibria.models.generator import Generator
from equilibria.networks.fourier import Fourier
from equilibria.networks.mlp import MLP
from equilibria.random import Stream
from equilibria.solvers import SOLVERS, Optimiser
from equilibria.solvers.solver import frozen

STREAM = Stream(11)


def build(payoff: str = "non-saturating", columns: int = 0, **options: Any) -> AdversarialGame:
    generator = Generator(
        MLP((2 + columns, 8, 3), output="tanh", stream=STREAM.child("generator")), latent_dim=2
    )
    packs, classes = options.get("packing") or 1, options.get("classes") or 1
    critic = MLP(
        (packs * (3 + columns), 8, classes), activation="tanh", stream=STREAM.child("critic")
    )
    return AdversarialGame(generator, critic, payoff, **options).double()


def batch(rows: int = 6, columns: int = 0) -> Batch:
    condition = (
        STREAM.child("condition").normal((rows, columns), torch.float64) if columns else None
    )
    return Batch(STREAM.child("data").normal((rows, 3), torch.float64), condition=condition)


def test_costs_are_the_payoff_averaged_over_rows() -> None:
    for payoff in PAYOFFS:
        game, rows = build(payoff), batch()
        drawn = game.draw(rows, STREAM.child("round"))
        assert torch.equal(drawn.real, rows.values)
        real = game.critic(rows.values, None)[:, 0]
        fake = game.critic(game.generator(drawn.noise, None), None)[:, 0]
        expected = PAYOFFS[payoff].costs(real, fake)
        for player, cost in zip(game.players, expected, strict=True):
            assert torch.allclose(game.cost(player, drawn), cost.mean(), rtol=0, atol=1e-14)
        measured = game.measure(drawn)
        reported = {
            "critic_cost": expected[0],
            "generator_cost": expected[1],
            "real_logit": real,
            "fake_logit": fake,
        }
        for name, value in reported.items():
            assert torch.allclose(measured[name], value.mean(), rtol=0, atol=1e-14), name
        right = ((real > 0).sum() + (fake < 0).sum()).item()
        assert measured["accuracy"].item() == pytest.approx(right / 12)
        assert all(value.dim() == 0 and not value.requires_grad for value in measured.values())


def test_the_condition_reaches_both_players() -> None:
    game, rows = build(columns=2), batch(columns=2)
    drawn = game.draw(rows, STREAM)
    other = drawn._replace(condition=drawn.condition + 1)
    for player in game.players:
        assert game.cost(player, drawn) != game.cost(player, other)


def test_noise_follows_global_rows_and_the_stream() -> None:
    game = build()
    whole = game.draw(batch(6), STREAM.child("round", 0)).noise
    part = game.draw(batch(2), STREAM.child("round", 0).rows(4)).noise
    assert torch.equal(part, whole[4:])
    assert not torch.equal(game.draw(batch(6), STREAM.child("round", 1)).noise, whole)


def test_missing_values_and_unknown_names_are_refused() -> None:
    rows = batch()
    with pytest.raises(ValueError, match="batch: an adversarial game needs complete rows"):
        build().draw(Batch(rows.values, mask=torch.ones(6, 3, dtype=torch.bool)), STREAM)
    with pytest.raises(ValueError, match="payoff='huge'"):
        build("huge")


def test_a_critic_with_several_logits_a_row_is_refused() -> None:
    game = build()
    game.critic = MLP((3, 2), stream=STREAM).double()
    with pytest.raises(
        ValueError, match=r"its answer to 12 rows has shape \(12, 2\); expected \(12, 1\)"
    ):
        game.cost("critic", game.draw(batch(), STREAM))


class Shift(nn.Module):
    """x = z + shift."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, z: Tensor, condition: Tensor | None) -> Tensor:
        return z + self.shift


class Line(nn.Module):
    """A logit linear in x."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(1, 1, dtype=torch.float64)
        with torch.no_grad():
            self.line.weight.zero_()
            self.line.bias.zero_()

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        return self.line(x)


PLAYS = [
    *((payoff, "alternating") for payoff in PAYOFFS),
    *(("non-saturating", solver) for solver in SOLVERS if solver != "alternating"),
]


@pytest.mark.parametrize(("payoff", "solver"), PLAYS)
def test_each_game_moves_the_generator_towards_the_data(payoff: str, solver: str) -> None:
    game = AdversarialGame(Generator(Shift(), latent_dim=1), Line(), payoff)
    rounds = SOLVERS[solver](
        {"critic": Optimiser("sgd", 0.1, weight_decay=0.2), "generator": Optimiser("sgd", 0.1)}
    )
    data = Stream(3)
    rows = (Batch(data.child(i).normal((64, 1), torch.float64) + 1) for i in range(400))
    for step in range(300 if solver == "lookahead" else 150):
        rounds.step(game, rows, STREAM.child("step", step), measure=False)
    assert 0.6 < game.generator.network.shift.item() < 1.4


# ---------------------------------------------------------------- penalties

WEIGHTS = {"r1": 3.0, "r2": 0.7, "gradient-penalty": 10.0}


def squares(game: AdversarialGame, x: Tensor, condition: Tensor | None = None) -> Tensor:
    """‖∇_x logit‖² of each pack, by a loop over packs."""
    x = x.detach().requires_grad_()
    packs = [
        torch.autograd.grad(logit, x, retain_graph=True)[0].square().sum()
        for logit in game.logits(x, condition)
    ]
    return torch.stack(packs)


def test_penalties_add_to_the_critics_cost_alone() -> None:
    for names in [("r1",), ("r2",), ("gradient-penalty",), ("r1", "r2"), tuple(WEIGHTS)]:
        for packing, columns in [(1, 0), (2, 2)]:
            plain = build("relativistic", columns, packing=packing)
            game = build(
                "relativistic",
                columns,
                packing=packing,
                penalties={name: WEIGHTS[name] for name in names},
            )
            drawn = game.draw(batch(columns=columns), STREAM.child("round"))
            fake = game.generator(drawn.noise, drawn.condition).detach()
            places = {"r1": drawn.real, "r2": fake}
            expected = {
                name: squares(game, x, drawn.condition).mean() / 2 for name, x in places.items()
            }
            if "gradient-penalty" in names:
                share = drawn.mix[:, None]
                assert ((share >= 0) & (share < 1)).all()
                assert len(set(drawn.mix.tolist())) == 6 / packing
                mixed = share * drawn.real + (1 - share) * fake
                expected["gradient-penalty"] = (
                    (squares(game, mixed, drawn.condition).sqrt() - 1).square().mean()
                )
            added = sum(WEIGHTS[name] * expected[name] for name in names)
            assert torch.allclose(
                game.cost("critic", drawn) - plain.cost("critic", drawn), added, rtol=0, atol=1e-13
            )
            assert added > 1e-3
            assert game.cost("generator", drawn) == plain.cost("generator", drawn)
            measured = game.measure(drawn)
            for name in names:
                assert torch.allclose(measured[name], expected[name], rtol=0, atol=1e-13)


def test_the_gradient_of_a_penalty_is_the_slope_of_its_cost() -> None:
    for name in WEIGHTS:
        game = build("wasserstein", penalties={name: WEIGHTS[name]})
        drawn = game.draw(batch(), STREAM.child("round"))
        with frozen(game.parameters_of("generator")):
            gradients = game.gradient("critic", drawn)
        for parameter, gradient in zip(game.parameters_of("critic"), gradients, strict=True):
            place, h = (0,) * parameter.dim(), 1e-5
            costs = []
            for sign in (1, -1):
                with torch.no_grad():
                    parameter[place] += sign * h
                    costs.append(game.cost("critic", drawn).item())
                    parameter[place] -= sign * h
            assert gradient[place].item() == pytest.approx(
                (costs[0] - costs[1]) / (2 * h), abs=1e-8
            )


def test_penalties_fade_geometrically_and_go_on_from_a_saved_state() -> None:
    game, rows = build("relativistic", penalties={"r1": 2.0, "r2": 0.5}, fade=(0.01, 4)), batch()
    drawn = game.draw(rows, STREAM)
    plain = build("relativistic").cost("critic", drawn).item()
    alone = {
        name: build("relativistic", penalties={name: 1.0}).cost("critic", drawn).item() - plain
        for name in ("r1", "r2")
    }
    for t in range(7):
        share = 0.01 ** min(t / 4, 1)
        paid = game.cost("critic", drawn).item() - plain
        assert paid == pytest.approx(share * (2 * alone["r1"] + 0.5 * alone["r2"]), rel=1e-6)
        assert game.faded().item() == pytest.approx(share)
        game.settle(drawn)
        if t == 2:
            state = game.state_dict()
            game = build("relativistic", penalties={"r1": 2.0, "r2": 0.5}, fade=(0.01, 4))
            game.load_state_dict(state)
    assert build("relativistic", penalties={"r1": 1.0}).faded() is None


def test_pictures_have_slopes_too_and_the_batch_is_left_alone() -> None:
    shape = (4, 2, 3, 3)
    critic = MLP((18, 6, 1), activation="tanh", stream=STREAM).double()
    generator = Generator(nn.Sequential(), latent_dim=1)
    game = AdversarialGame(generator, critic, penalties={"r1": 1.0})
    game.generator.forward = lambda z, condition=None: STREAM.child("fake").normal(
        shape, torch.float64
    )  # type: ignore[method-assign]
    drawn = AdversarialDraw(STREAM.child("real").normal(shape, torch.float64), torch.zeros(4, 1))
    expected = squares(game, drawn.real).mean() / 2
    assert torch.allclose(game.measure(drawn)["r1"], expected, rtol=0, atol=1e-14)
    assert not drawn.real.requires_grad


BENT = ("relu", "leaky_relu", "leaky_relu behind features")
SHAPES = [(1, 0, (8, 7)), (1, 2, (6,)), (2, 2, (8, 7, 5)), (1, 1, ())]


@pytest.mark.parametrize(
    ("payoff", "activation", "shape"),
    [
        *(("relativistic", activation, shape) for shape in SHAPES for activation in BENT),
        ("least-squares", "leaky_relu", SHAPES[2]),  # a payoff enters by its costs alone
    ],
)
def test_the_closed_form_of_a_rectifier_critic_is_the_derivative(
    payoff: str, activation: str, shape: tuple[int, int, tuple[int, ...]]
) -> None:
    packing, columns, hidden = shape
    for names in ((), ("r1",), ("r2",), ("r2", "r1"), ("gradient-penalty", "r1"), tuple(WEIGHTS)):
        game = build(
            payoff,
            columns,
            packing=packing,
            penalties={name: WEIGHTS[name] for name in names},
            instance_noise=0.1,
        )
        bent, features = activation.split()[0], 4 if "features" in activation else 0
        critic: nn.Module = MLP(
            (packing * (3 + columns) + 2 * features, *hidden, 1),
            activation=bent,
            stream=STREAM.child("bent"),
        )
        critic = (
            Fourier(critic, packing * 3, features, 2.0, stream=STREAM.child("features"))
            if features
            else critic
        ).double()
        if packing == 1:
            game.critic = critic
        else:
            game.critic.critic = critic
        with torch.no_grad():
            for parameter in critic.parameters():
                parameter.add_(0.1)
        drawn = game.draw(batch(columns=columns), STREAM.child("round"))
        expected = torch.autograd.grad(game.cost("critic", drawn), game.parameters_of("critic"))
        seen = game.measure(drawn)
        game.settle(drawn)
        assert game.closed_form("critic", drawn) is not None
        found = game.gradient("critic", drawn)
        for one, other in zip(found, expected, strict=True):
            assert torch.allclose(one, other, rtol=1e-11, atol=1e-12), names
        assert len({tensor.data_ptr() for tensor in found}) == len(found)
        for name, value in game.measure(drawn).items():
            assert torch.allclose(value, seen[name], rtol=1e-12, atol=1e-13), name
        assert game.closed_form("generator", drawn) is None
        assert all(parameter.grad is None for parameter in game.parameters())


def test_other_critics_have_no_closed_form() -> None:
    drawn = build().draw(batch(), STREAM)
    assert build().closed_form("critic", drawn) is None  # tanh
    game = build(classes=3)
    game.critic = MLP((3, 8, 3), stream=STREAM).double()
    assert game.closed_form("critic", drawn) is None
    game = build()
    game.critic = MLP((3, 8, 1), stream=STREAM).double()
    assert game.closed_form("critic", drawn) is not None
    game.critic.layers[0].bias.requires_grad_(False)
    assert game.closed_form("critic", drawn) is None


# ------------------------------------------------------ passes, packs, noise, classes, reports


class Counting(nn.Module):
    """A critic that writes down how many rows it was shown, and whether it was to be
    differentiated."""

    def __init__(self, across: bool = False) -> None:
        super().__init__()
        self.line = nn.Linear(3, 1, dtype=torch.float64)
        self.across_rows = across
        self.rows: list[tuple[int, bool]] = []

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        self.rows.append((len(x), x.requires_grad))
        return torch.tanh(self.line(x))


def test_the_critic_makes_no_more_passes_than_it_must() -> None:
    for names, across, critic_turn in [
        ((), False, [(12, False)]),
        (("r1", "r2"), False, [(12, True)]),
        (("r1",), False, [(6, True), (6, False)]),
        (tuple(WEIGHTS), False, [(18, True)]),
        (("r1", "r2"), True, [(6, True), (6, True)]),
        ((), True, [(6, False), (6, False)]),
    ]:
        generator = build().generator
        counting = Counting(across)
        game = AdversarialGame(generator, counting, penalties=dict.fromkeys(names, 1.0))
        drawn = game.draw(batch(), STREAM)
        for player, expected in (("critic", critic_turn), ("generator", [(6, True)])):
            counting.rows = []
            with frozen(game.parameters_of("generator" if player == "critic" else "critic")):
                game.gradient(player, drawn)
            assert counting.rows == expected
        counting.rows = []
        game.measure(drawn)
        assert counting.rows == []  # what the players saw is at hand
        game.settle(drawn)
        game.measure(drawn)
        assert counting.rows != []


@pytest.mark.parametrize("payoff", ["non-saturating", "relativistic"])
def test_one_pass_or_two_give_the_same_gradient(payoff: str) -> None:
    together, apart = (build(payoff, 2, penalties=WEIGHTS) for _ in range(2))
    apart._row_wise = False
    drawn = together.draw(batch(columns=2), STREAM)
    for one, other in zip(
        together.gradient("critic", drawn), apart.gradient("critic", drawn), strict=True
    ):
        assert torch.allclose(one, other, rtol=0, atol=1e-13)


def test_packs_are_rows_side_by_side() -> None:
    game = build("relativistic", packing=3)
    drawn = game.draw(batch(6), STREAM)
    inner = game.critic.critic
    real = inner(drawn.real.reshape(2, 9))[:, 0]
    fake = inner(game.generator(drawn.noise, None).reshape(2, 9))[:, 0]
    critic, generator = PAYOFFS["relativistic"].costs(real, fake)
    assert torch.allclose(game.cost("critic", drawn), critic.mean(), rtol=0, atol=1e-14)
    assert torch.allclose(game.cost("generator", drawn), generator.mean(), rtol=0, atol=1e-14)
    with pytest.raises(ValueError, match="packs of 3 divide, and 4 came"):
        game.draw(batch(4), STREAM)


def test_instance_noise_blurs_what_the_critic_sees_for_both_players() -> None:
    game, plain = build("relativistic", instance_noise=0.5), build("relativistic")
    drawn = game.draw(batch(4000), STREAM.child("round"))
    real, fake = drawn.blur
    for blur in drawn.blur:
        # 12,000 numbers: 5 standard errors of the deviation, false alarm below 1e-6
        assert abs(blur.std().item() / 0.5 - 1) < 5 / (2 * 12_000) ** 0.5
    assert abs((real * fake).mean().item()) < 5 * 0.25 / 12_000**0.5
    blurred = (
        plain.critic(drawn.real + real, None)[:, 0],
        plain.critic(plain.generator(drawn.noise, None) + fake, None)[:, 0],
    )
    for player, cost in zip(game.players, PAYOFFS["relativistic"].costs(*blurred), strict=True):
        assert torch.allclose(game.cost(player, drawn), cost.mean(), rtol=0, atol=1e-13)
    other = game.draw(batch(4000), STREAM.child("other"))
    assert not torch.equal(other.blur[0], real)


def test_instance_noise_fades_as_penalties_do() -> None:
    """The same draws, shrunk: f^(t/T) of the first round's, to the last digit but rounding."""
    game, rows = build(instance_noise=0.5, fade=(0.01, 4)), batch()
    whole = build(instance_noise=0.5).draw(rows, STREAM).blur
    for t in range(6):
        drawn = game.draw(rows, STREAM)
        for found, first in zip(drawn.blur, whole, strict=True):
            assert torch.allclose(found, first * 0.01 ** min(t / 4, 1), rtol=1e-6, atol=0)
        game.settle(drawn)


def test_classes_share_the_critic_and_a_missing_label_costs_nothing() -> None:
    game = build("non-saturating", classes=3)
    rows = batch()
    labels = torch.tensor([0, -1, 2, 1, -1, 0])
    drawn = game.draw(Batch(rows.values, label=labels), STREAM)
    outputs = game.critic(rows.values, None)
    real, fake = (
        outputs.logsumexp(1),
        game.critic(game.generator(drawn.noise, None), None).logsumexp(1),
    )
    known = labels >= 0
    classes = -outputs.log_softmax(1)[known, labels[known]].mean()
    expected = PAYOFFS["non-saturating"].costs(real, fake)
    assert torch.allclose(
        game.cost("critic", drawn), expected[0].mean() + classes, rtol=0, atol=1e-13
    )
    assert torch.allclose(game.cost("generator", drawn), expected[1].mean(), rtol=0, atol=1e-13)
    measured = game.measure(drawn)
    wrong = (outputs.argmax(1) != labels)[known].double().mean()
    assert measured["class_error"].item() == pytest.approx(wrong.item())
    assert measured["labelled"].item() == pytest.approx(4 / 6)
    for none in (None, torch.full((6,), -1)):
        bare = game.draw(Batch(rows.values, label=none), STREAM)
        game.settle(bare)
        assert torch.allclose(game.cost("critic", bare), expected[0].mean(), rtol=0, atol=1e-13)
        assert game.measure(bare)["class_error"] == 0
        assert game.measure(bare)["labelled"] == 0


class Normed(nn.Module):
    """Batch norm and a line."""

    def __init__(self, columns: int, out: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(columns, dtype=torch.float64)
        self.line = nn.Linear(columns, out, dtype=torch.float64)

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        return self.line(self.norm(x))


def test_running_averages_move_once_a_round() -> None:
    for solver in SOLVERS:
        game = AdversarialGame(
            Generator(Normed(2, 3), latent_dim=2),
            Normed(3, 1),
            "relativistic",
            penalties={"r1": 1.0},
        )
        rounds = SOLVERS[solver](Optimiser("sgd", 0.1))
        for step in range(3):
            rounds.step(game, iter([batch(), batch()]), STREAM.child(step))
        assert game.generator.network.norm.num_batches_tracked == 3
        assert (
            game.critic.norm.num_batches_tracked == 6
        )  # the data and the samples are two passes of one turn
        assert game.generator.network.norm.track_running_stats
        drawn = game.draw(batch(), STREAM)
        game.measure(drawn)
        assert game.critic.norm.num_batches_tracked == 6


def test_unknown_penalties_are_refused() -> None:
    for penalties, sentence in (
        ({"r3": 1.0}, "penalties='r3'"),
        ({"r1": float("nan")}, r"penalties\['r1'\]=nan"),
    ):
        with pytest.raises(ValueError, match=sentence):
            build(penalties=penalties)
