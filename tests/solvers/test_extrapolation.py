"""Solvers for games that rotate: closed-form paths on the xy game, rates on Dirac games, exact
resume of an adversarial game."""

from __future__ import annotations

import copy
import importlib.util
import math
import sys
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from equilibria.data import Batch
from equilibria.games.adversarial import AdversarialGame
from equilibria.games.contrastive import ContrastiveGame
from equilibria.games.toy import XYGame
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.models.generator import Generator
from equilibria.networks.mlp import MLP
from equilibria.random import Stream
from equilibria.solvers import (
    SOLVERS,
    Consensus,
    Extragradient,
    Lookahead,
    Optimiser,
    Optimistic,
    Simultaneous,
    Solver,
)
from equilibria.units import Bernoulli
from research.eigenvalues import update_jacobian
from research.games import DiracGame

START = complex(0.8, -0.3)


def optimistic_path(h: float, t: int) -> complex:
    """The first step is plain; from then on z solves the recurrence of the two roots."""
    half = (1 + 2j * h) / 2
    root = (half * half - 1j * h) ** 0.5
    one, two = half + root, half - root
    share = (START * (1 + 1j * h) - two * START) / (one - two)
    return share * one**t + (START - share) * two**t


K, ALPHA, GAMMA = 4, 0.3, 0.7
PATHS: dict[str, tuple[Callable[[Optimiser], Solver], Callable[[float, int], complex]]] = {
    "simultaneous": (Simultaneous, lambda h, t: START * (1 + 1j * h) ** t),
    "extragradient": (Extragradient, lambda h, t: START * (1 + 1j * h - h * h) ** t),
    "optimistic": (Optimistic, optimistic_path),
    "lookahead": (
        lambda rule: Lookahead(rule, k=K, alpha=ALPHA),
        lambda h, t: (
            START * (1 - ALPHA + ALPHA * (1 + 1j * h) ** K) ** (t // K) * (1 + 1j * h) ** (t % K)
        ),
    ),
    "consensus": (
        lambda rule: Consensus(rule, gamma=GAMMA),
        lambda h, t: START * (1 + 1j * h - GAMMA * h) ** t,
    ),
}


@pytest.mark.parametrize("name", PATHS)
def test_the_path_on_the_xy_game_is_the_closed_form(name: str) -> None:
    (make, path), h = PATHS[name], 0.45
    game, solver = XYGame(START.real, START.imag), make(Optimiser("sgd", h))
    for t in range(1, 41):
        solver.step(game, repeat(None), Stream(0).child(t), measure=False)
        assert abs(complex(game.x.item(), game.y.item()) - path(h, t)) < 1e-10 * max(
            1.0, abs(path(h, t))
        ), t


@pytest.mark.parametrize(("h", "nearer"), [(0.57, True), (0.58, False)])
def test_optimism_is_stable_below_one_over_the_root_of_three(h: float, nearer: bool) -> None:
    assert 0.57 < 1 / math.sqrt(3) < 0.58
    rate = (
        torch.linalg.eigvals(update_jacobian(XYGame(0.0, 0.0), Optimistic(Optimiser("sgd", h))))
        .abs()
        .max()
    )
    assert (rate < 1) == nearer


@pytest.fixture(scope="module")
def rates() -> ModuleType:
    path = Path(__file__).parents[2] / "experiments" / "lecture" / "rates.py"
    sys.path.insert(0, str(path.parents[1]))  # what experiments share lies beside them
    spec = importlib.util.spec_from_file_location("rates", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_solvers_eigenvalues_on_every_dirac_game_are_the_formulas(rates: ModuleType) -> None:
    rows = rates.table()
    assert {row["solver"] for row in rows} == {"flow", *SOLVERS}
    assert len(rows) == len(rates.GAMES) * 7
    for row in rows:
        assert row["difference"] < 1e-8, row
    rate = {(row["game"], row["solver"]): row["measured"] for row in rows}
    assert rate["non-saturating", "simultaneous"] > 1.01  # leaves its equilibrium
    assert abs(rate["non-saturating", "alternating"] - 1) < 1e-10  # circles it
    assert rate["non-saturating, R1 γ=.4", "simultaneous"] < 0.96
    assert (
        rate["wasserstein, instance noise σ=.7", "simultaneous"] > 1.01
    )  # noise does not damp a linear payoff


def test_the_rates_see_a_wrong_step(rates: ModuleType) -> None:
    wrong = torch.linalg.eigvals(
        update_jacobian(XYGame(0.0, 0.0), Simultaneous(Optimiser("sgd", 1.001 * rates.H)))
    )
    assert rates.apart(rates.SOLVERS["simultaneous"].formula(rates.Linear(1, 1, 0)), wrong) > 1e-4


def test_the_jacobian_leaves_game_and_solver_as_they_were() -> None:
    game, solver = DiracGame(critic=0.0, generator=0.0), Optimistic(Optimiser("sgd", 0.1))
    update_jacobian(game, solver)
    assert (game.critic, game.generator) == (0, 0)
    assert solver.state_dict()["kept"]["previous"]["critic"]["0"] == 0


# ---------------------------------------------------------------- resume

MAKERS: dict[str, Callable[[Optimiser], Solver]] = {
    **SOLVERS,
    "lookahead": lambda rule: Lookahead(rule, k=3),
}


def adversarial() -> AdversarialGame:
    generator = Generator(MLP((2, 8, 3), stream=Stream(1).child("generator")), latent_dim=2)
    critic = MLP((3, 8, 1), activation="tanh", stream=Stream(1).child("critic"))
    return AdversarialGame(
        generator, critic, "relativistic", penalties={"r1": 1.0, "r2": 1.0}, instance_noise=0.1
    )


def play(game: AdversarialGame, solver: Solver, first: int, last: int) -> None:
    for step in range(first, last):
        stream = Stream(2).child(step)
        rows = (Batch(stream.child("rows", i).normal((16, 3))) for i in range(9))
        solver.step(game, rows, stream)


def copied(game: AdversarialGame, solver: Solver) -> tuple[Any, Any]:
    return copy.deepcopy(game.state_dict()), copy.deepcopy(solver.state_dict())


@pytest.mark.parametrize("name", MAKERS)
def test_an_adversarial_game_resumes_bit_for_bit(name: str) -> None:
    rule = Optimiser("adam", 0.01, betas=(0.5, 0.99))
    game, solver = adversarial(), MAKERS[name](rule)
    play(game, solver, 0, 5)  # lookahead is between two looks back
    saved, state = copied(game, solver)
    play(game, solver, 5, 12)

    resumed, second = adversarial(), MAKERS[name](rule)
    resumed.load_state_dict(saved)
    second.bind(resumed)
    second.load_state_dict(state)
    play(resumed, second, 5, 12)
    for (place, one), other in zip(
        game.state_dict().items(), resumed.state_dict().values(), strict=True
    ):
        assert one.dtype == torch.float32
        assert torch.equal(one, other), place
    if state["kept"]:
        forgetful, third = adversarial(), MAKERS[name](rule)
        forgetful.load_state_dict(saved)
        third.bind(forgetful)
        third.load_state_dict({**state, "kept": {}})
        play(forgetful, third, 5, 12)
        assert not torch.equal(forgetful.critic.layers[0].weight, game.critic.layers[0].weight)
    assert bool(state["kept"]) == (name in ("optimistic", "lookahead"))


def test_what_is_kept_must_fit_the_game() -> None:
    game, solver = adversarial(), Optimistic(Optimiser("sgd", 0.1))
    play(game, solver, 0, 1)
    state = copy.deepcopy(solver.state_dict())
    state["kept"]["previous"]["critic"]["0"] = torch.zeros(2)
    with pytest.raises(ValueError, match=r"previous 0 of player critic has shape \(2,\)"):
        solver.load_state_dict(state)


# ---------------------------------------------------------------- each one's own


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_the_trial_step_leaves_no_trace_in_the_optimiser(optimiser: str) -> None:
    """An extragradient round is one update of the rule by the gradient at the trial point."""
    rule = Optimiser("adam", 0.05) if optimiser == "adam" else Optimiser("sgd", 0.05, momentum=0.9)
    game, twin, solver, plain = DiracGame(), DiracGame(), Extragradient(rule), Simultaneous(rule)
    trial = Simultaneous(rule)
    plain.bind(twin)
    for _ in range(3):
        there = copy.deepcopy(twin)
        trial = Simultaneous(rule)
        trial.bind(there)
        trial.load_state_dict(copy.deepcopy(plain.state_dict()))
        trial.step(there, repeat(None), Stream(0), measure=False)
        gradients = {player: there.gradient(player, None) for player in there.players}
        plain.update(twin, gradients, None)
        solver.step(game, repeat(None), Stream(0), measure=False)
        assert torch.equal(game.critic, twin.critic)
        assert torch.equal(game.generator, twin.generator)
    assert solver.updates == {"critic": 3, "generator": 3}


def test_what_is_averaged_over_processes() -> None:
    seen: list[int] = []

    def reduce(tensors: list[Tensor]) -> None:
        seen.append(len(tensors))

    for name, times in (
        ("extragradient", [2, 2]),
        ("optimistic", [2]),
        ("lookahead", [2]),
        ("consensus", [2, 2]),
    ):
        seen.clear()
        SOLVERS[name](Optimiser("sgd", 0.1), reduce=reduce).step(XYGame(), repeat(None), Stream(0))
        assert seen == times, name


def test_consensus_needs_a_cost_and_refuses_a_game_without_one() -> None:
    machine = BoltzmannMachine.stack(Bernoulli(3), Bernoulli(2)).initialise(0)
    game = ContrastiveGame(machine, chains=4)
    with pytest.raises(ValueError, match="ContrastiveGame has no cost that consensus could"):
        Consensus(Optimiser("sgd", 0.1)).bind(game)


def test_consensus_adds_the_slope_of_half_the_squared_length() -> None:
    """Against differences of ½‖v‖², on a game with penalties through which both players' second
    derivatives run."""
    game = adversarial().double()
    drawn = game.draw(Batch(Stream(3).normal((8, 3), torch.float64)), Stream(4))
    solver, gamma = Consensus(Optimiser("sgd", 0.1), gamma=0.5), 0.5
    solver.bind(game)
    moves = solver.gradients(game, drawn)

    def length() -> float:
        gradients = [tensor for player in game.players for tensor in game.gradient(player, drawn)]
        return sum(tensor.square().sum().item() for tensor in gradients) / 2

    for player in game.players:
        plain = game.gradient(player, drawn)
        for parameter, move, gradient in zip(
            game.parameters_of(player), moves[player], plain, strict=True
        ):
            place, h, ends = (0,) * parameter.dim(), 1e-5, []
            for sign in (1, -1):
                with torch.no_grad():
                    parameter[place] += sign * h
                ends.append(length())
                with torch.no_grad():
                    parameter[place] -= sign * h
            pull = (ends[0] - ends[1]) / (2 * h)
            assert (move - gradient)[place].item() == pytest.approx(gamma * pull, abs=1e-8)


def test_numbers_out_of_range_are_refused() -> None:
    refused: Iterator[tuple[Callable[[], Solver], str]] = iter(
        [
            (lambda: Lookahead(Optimiser("sgd", 0.1), k=0), "k=0"),
            (lambda: Lookahead(Optimiser("sgd", 0.1), alpha=0.0), r"alpha=0\.0"),
            (lambda: Lookahead(Optimiser("sgd", 0.1), alpha=1.5), r"alpha=1\.5"),
            (lambda: Consensus(Optimiser("sgd", 0.1), gamma=-1.0), r"gamma=-1\.0"),
            (lambda: Consensus(Optimiser("sgd", 0.1), gamma=math.nan), "gamma=nan"),
        ]
    )
    for make, sentence in refused:
        with pytest.raises(ValueError, match=sentence):
            make()
