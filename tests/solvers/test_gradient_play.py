"""Simultaneous and alternating play: where gradients are taken, what is drawn, what is frozen, and
exact resume."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from equilibria.games.game import Game
from equilibria.games.toy import XYGame
from equilibria.random import Stream
from equilibria.solvers import (
    SOLVERS,
    Alternating,
    Consensus,
    Extragradient,
    Lookahead,
    Optimiser,
    Optimistic,
    Simultaneous,
    Solver,
)


class Recorder(Game):
    """A smooth random game of two small modules that writes down all that a solver asks of it."""

    players = ("critic", "generator")

    def __init__(self) -> None:
        super().__init__()
        weight, bias = (
            torch.full((2, 2), 0.5, dtype=torch.float64),
            torch.zeros(2, dtype=torch.float64),
        )
        self.critic = nn.ParameterDict({"bias": bias, "weight": weight})  # in order of names
        self.generator = nn.Parameter(torch.full((2,), 0.3, dtype=torch.float64))
        self.fixed = nn.Parameter(torch.ones(2, dtype=torch.float64), requires_grad=False)
        self.calls: list[Any] = []
        self.frozen: list[dict[str, bool]] = []

    def draw(self, batch: Any, stream: Stream) -> dict[str, Any]:
        noise = stream.child("noise").normal((2,), torch.float64)
        self.calls.append(("draw", batch))
        return {"batch": batch, "noise": noise, "shared": torch.ones(3)}

    def cost(self, player: str, drawn: dict[str, Any]) -> Tensor:
        self.calls.append(("cost", player, drawn["batch"], drawn["noise"][0].item()))
        self.frozen.append(
            {name: parameter.requires_grad for name, parameter in self.named_parameters()}
        )
        critic = torch.tanh(
            self.critic["weight"] @ (self.generator + drawn["noise"]) + self.critic["bias"]
        )
        value = (critic * self.fixed).sum() + 0.1 * self.generator.square().sum()
        return value if player == "generator" else -value

    def shared(self, drawn: dict[str, Any]) -> list[Tensor]:
        return [drawn["shared"]]

    def settle(self, drawn: dict[str, Any]) -> None:
        self.calls.append(("settle", drawn["batch"]))

    def measure(self, drawn: dict[str, Any]) -> dict[str, Tensor]:
        self.calls.append(("measure", drawn["batch"]))
        return {"first": self.generator.detach()[0]}


def kinds(game: Recorder) -> list[Any]:
    return [call[:3] for call in game.calls]


def test_simultaneous_asks_one_draw_and_takes_all_gradients_at_one_point() -> None:
    game, twin = Recorder(), Recorder()
    info = Simultaneous(Optimiser("sgd", 0.1)).step(game, iter([7]), Stream(1))
    assert kinds(game) == [
        ("draw", 7),
        ("cost", "critic", 7),
        ("cost", "generator", 7),
        ("measure", 7),
        ("settle", 7),
    ]
    drawn = twin.draw(7, Stream(1))
    gradients = {player: twin.gradient(player, drawn) for player in twin.players}
    for player, gradient in gradients.items():
        for parameter, before, step in zip(
            game.parameters_of(player), twin.parameters_of(player), gradient, strict=True
        ):
            assert torch.allclose(parameter, before - 0.1 * step, rtol=0, atol=1e-15)
            assert step.abs().max() > 1e-3
    assert info["first"] == game.generator[0]


def test_alternating_follows_algorithm_1() -> None:
    game, solver = Recorder(), Alternating(Optimiser("sgd", 0.1), k=3)
    batches = iter(range(10, 20))
    solver.step(game, batches, Stream(1))
    critic = [
        ("draw", 10),
        ("cost", "critic", 10),
        ("draw", 11),
        ("cost", "critic", 11),
        ("draw", 12),
        ("cost", "critic", 12),
    ]
    assert kinds(game) == [
        *critic,
        ("draw", 12),
        ("cost", "generator", 12),
        ("measure", 12),
        ("settle", 12),
    ]
    assert next(batches) == 13
    assert solver.updates == {"critic": 3, "generator": 1}
    noise = [call[3] for call in game.calls if call[0] == "cost"]
    assert len(set(noise)) == 4
    expected = [("critic", 0), ("critic", 1), ("critic", 2), ("generator", 0)]
    assert noise == [
        Stream(1).child(*names, "noise").normal((2,), torch.float64)[0].item() for names in expected
    ]


def test_alternating_moves_the_second_player_against_the_moved_first() -> None:
    game, twin = Recorder(), Recorder()
    Alternating(Optimiser("sgd", 0.1), order=("generator", "critic")).step(
        game, iter([7]), Stream(1)
    )
    with torch.no_grad():
        (gradient,) = twin.gradient("generator", twin.draw(7, Stream(1).child("generator", 0)))
        twin.generator.sub_(0.1 * gradient)
        assert torch.allclose(game.generator, twin.generator, rtol=0, atol=1e-15)
        _, weight = twin.gradient("critic", twin.draw(7, Stream(1).child("critic", 0)))
        assert torch.allclose(
            game.critic["weight"], twin.critic["weight"] - 0.1 * weight, rtol=0, atol=1e-15
        )


@pytest.mark.parametrize("solver", SOLVERS.values())
def test_the_other_player_is_frozen_and_then_restored(solver: type[Solver]) -> None:
    game = Recorder()
    before = {name: parameter.requires_grad for name, parameter in game.named_parameters()}
    solver(Optimiser("sgd", 0.1)).step(game, iter([7]), Stream(1))
    movable = {"critic.weight": "critic", "critic.bias": "critic", "generator": "generator"}
    for call, requires in zip(
        [call for call in game.calls if call[0] == "cost"], game.frozen, strict=True
    ):
        everyone = solver is Consensus  # it differentiates each gradient in what the others own too
        assert requires == {"fixed": False} | {
            name: everyone or owner == call[1] for name, owner in movable.items()
        }
    assert len(game.frozen) == (4 if solver is Extragradient else 2)
    assert {name: parameter.requires_grad for name, parameter in game.named_parameters()} == before
    assert all(parameter.grad is None for parameter in game.parameters())


class Failing(Recorder):
    def cost(self, player: str, drawn: Any) -> Tensor:
        raise ArithmeticError(player)


def test_a_failing_cost_leaves_nothing_frozen_or_moved() -> None:
    game, solver = Failing(), Simultaneous(Optimiser("sgd", 0.1))
    with pytest.raises(ArithmeticError, match="critic"):
        solver.step(game, iter([7]), Stream(1))
    assert game.generator.requires_grad
    assert solver.updates == {"critic": 0, "generator": 0}


def test_reduce_is_called_once_an_update_with_all_that_is_averaged() -> None:
    seen: list[list[torch.Size]] = []

    def reduce(tensors: list[Tensor]) -> None:
        seen.append([tensor.shape for tensor in tensors])
        halve(tensors)

    def end(solver: Solver) -> Recorder:
        seen.clear()
        game = Recorder()
        solver.step(game, iter(range(9)), Stream(1))
        return game

    critic, generator, shared = [(2,), (2, 2)], [(2,)], [(3,)]
    halved = end(Simultaneous(Optimiser("sgd", 0.2), reduce=reduce))
    assert seen == [critic + generator + shared]
    assert torch.allclose(
        halved.generator, end(Simultaneous(Optimiser("sgd", 0.1))).generator, rtol=0, atol=1e-15
    )
    end(Alternating(Optimiser("sgd", 0.2), reduce=reduce, k=2))
    assert seen == [critic + shared, critic + shared, generator + shared]


class Settling(Recorder):
    def settle(self, drawn: dict[str, Any]) -> None:
        self.settled = drawn["shared"].clone()


def halve(tensors: list[Tensor]) -> None:
    for tensor in tensors:
        tensor.mul_(0.5)


def test_what_is_shared_is_averaged_before_the_game_settles() -> None:
    game = Settling()
    Alternating(Optimiser("sgd", 0.1), reduce=halve).step(game, iter([7]), Stream(1))
    assert torch.equal(game.settled, torch.full((3,), 0.5))


def test_measuring_can_be_left_out_without_changing_the_play() -> None:
    loud, quiet = Recorder(), Recorder()
    Simultaneous(Optimiser("sgd", 0.1)).step(loud, iter([7]), Stream(1))
    assert (
        Simultaneous(Optimiser("sgd", 0.1)).step(quiet, iter([7]), Stream(1), measure=False) == {}
    )
    assert torch.equal(loud.generator, quiet.generator)
    assert not [call for call in quiet.calls if call[0] == "measure"]
    assert quiet.calls[-1] == ("settle", 7)


RULES = {
    "sgd": Optimiser("sgd", 0.1),
    "momentum": Optimiser(
        "sgd", 0.1, momentum=0.5, final_momentum=0.9, momentum_steps=7, weight_decay=0.01
    ),
    "late momentum": Optimiser(
        "sgd", 0.1, final_momentum=0.9, momentum_steps=9, schedule="cosine", steps=20
    ),
    "adam": Optimiser("adam", 0.05, weight_decay=0.01, schedule="linear", steps=30),
    "mixed": {"critic": Optimiser("adam", 0.05), "generator": Optimiser("sgd", 0.1, momentum=0.9)},
}
MAKERS = {
    "simultaneous": Simultaneous,
    "alternating": Alternating,
    "alternating, k=3": lambda rules: Alternating(rules, k=3),
    "extragradient": Extragradient,
    "optimistic": Optimistic,
    "lookahead": lambda rules: Lookahead(
        rules, k=3, alpha=0.4
    ),  # the state is saved between two looks back
    "consensus": lambda rules: Consensus(rules, gamma=0.2),
}


def play(game: Game, solver: Solver, first: int, last: int) -> None:
    for step in range(first, last):
        solver.step(game, iter(range(9)), Stream(1).child("step", step))


def leaves(state: Any) -> Iterator[Any]:
    if isinstance(state, dict):
        assert all(type(key) is str for key in state)
        for value in state.values():
            yield from leaves(value)
    else:
        yield state


@pytest.mark.parametrize(
    ("maker", "rules"),
    [
        *((maker, "adam") for maker in MAKERS),
        *(("simultaneous", rules) for rules in RULES if rules != "adam"),
        ("optimistic", "sgd"),  # both keep something even where the optimiser keeps nothing
        ("lookahead", "sgd"),
    ],
)
def test_resume_is_bit_exact(maker: str, rules: str) -> None:
    game, solver = Recorder(), MAKERS[maker](RULES[rules])
    play(game, solver, 0, 8)
    state = copy.deepcopy(solver.state_dict())
    assert all(type(leaf) is int or isinstance(leaf, Tensor) for leaf in leaves(state))
    saved = copy.deepcopy(game.state_dict())
    play(game, solver, 8, 16)

    resumed, second = Recorder(), MAKERS[maker](RULES[rules])
    resumed.load_state_dict(saved)
    second.bind(resumed)
    second.load_state_dict(state)
    play(resumed, second, 8, 16)
    assert second.updates == solver.updates
    for name, parameter in game.state_dict().items():
        assert torch.equal(parameter, resumed.state_dict()[name]), name

    if rules != "sgd" or maker in (
        "optimistic",
        "lookahead",
    ):  # plain descent alone remembers nothing
        forgetful, third = Recorder(), MAKERS[maker](RULES[rules])
        forgetful.load_state_dict(saved)
        play(forgetful, third, 8, 16)
        assert not torch.equal(forgetful.generator, game.generator)


def test_a_loaded_state_is_a_copy() -> None:
    game, solver = Recorder(), Simultaneous(Optimiser("adam", 0.1))
    play(game, solver, 0, 2)
    state = copy.deepcopy(solver.state_dict())
    untouched = copy.deepcopy(state)
    solver.load_state_dict(state)
    play(game, solver, 2, 4)
    for now, before in zip(leaves(state), leaves(untouched), strict=True):
        assert torch.equal(torch.as_tensor(now), torch.as_tensor(before))


def test_wrong_states_are_refused() -> None:
    game, solver = Recorder(), Simultaneous(Optimiser("adam", 0.1))
    play(game, solver, 0, 1)
    state = solver.state_dict()
    stranger = Simultaneous(Optimiser("adam", 0.1))
    stranger.bind(XYGame())
    with pytest.raises(ValueError, match="state: it is of players"):
        stranger.load_state_dict(state)
    wrong = copy.deepcopy(state)
    wrong["optimisers"]["critic"]["0"]["exp_avg"] = torch.zeros(5)
    with pytest.raises(ValueError, match=r"exp_avg 0 of player critic has shape \(5,\)"):
        solver.load_state_dict(wrong)
    wrong["optimisers"]["generator"]["1"] = wrong["optimisers"]["generator"]["0"]
    del wrong["optimisers"]["critic"]
    with pytest.raises(ValueError, match=r"1 of player generator .* its parameter is missing"):
        solver.load_state_dict(wrong)


def test_wrong_rules_and_orders_are_refused() -> None:
    with pytest.raises(ValueError, match="optimisers: for"):
        Simultaneous({"critic": Optimiser("sgd", 0.1)}).bind(Recorder())
    with pytest.raises(ValueError, match="k=0"):
        Alternating(Optimiser("sgd", 0.1), k=0)
    with pytest.raises(ValueError, match="order="):
        Alternating(Optimiser("sgd", 0.1), order=("critic",)).step(Recorder(), iter([7]), Stream(1))
    shared = Recorder()
    shared.generator = shared.critic["bias"]
    with pytest.raises(ValueError, match="two own the same parameter"):
        Simultaneous(Optimiser("sgd", 0.1)).bind(shared)


def test_a_second_game_starts_anew() -> None:
    solver = Simultaneous(Optimiser("adam", 0.1))
    play(Recorder(), solver, 0, 3)
    fresh, expected = Recorder(), Recorder()
    play(fresh, solver, 0, 2)
    play(expected, Simultaneous(Optimiser("adam", 0.1)), 0, 2)
    assert torch.equal(fresh.generator, expected.generator)
    assert solver.updates == {"critic": 2, "generator": 2}


def test_one_player_is_ordinary_descent() -> None:
    class Bowl(Game):
        players = ("point",)

        def __init__(self) -> None:
            super().__init__()
            self.point = nn.Parameter(torch.tensor([4.0, -2.0], dtype=torch.float64))

        def draw(self, batch: Any, stream: Stream) -> None:
            return None

        def cost(self, player: str, drawn: None) -> Tensor:
            return self.point.square().sum() / 2

    start = torch.tensor([4.0, -2.0], dtype=torch.float64)
    # what is left of each coordinate after three steps at rate ½; the bowl's gradient is the point
    left = {
        "simultaneous": 0.5**3,
        "alternating": 0.5**3,
        "extragradient": 0.75**3,
        "optimistic": 0.25,  # 1, ½, then ½ − ½(2 · ½ − 1) = ½ and ½ − ½(2 · ½ − ½) = ¼
        "lookahead": 0.5**3,  # the first look back is after five
        "consensus": 0.45**3,
    }
    assert set(left) == set(SOLVERS)
    for name, solver in SOLVERS.items():
        game = Bowl()
        play(game, solver(Optimiser("sgd", 0.5)), 0, 3)
        assert torch.allclose(game.point, left[name] * start, rtol=0, atol=1e-15), name
