"""What a solver does near a fixed point of a game without chance: the Jacobian of its update, by differences."""

from __future__ import annotations

import copy
from itertools import repeat
from typing import Any

import torch
from torch import Tensor

from equilibria.games.game import Game
from equilibria.random import Stream
from equilibria.solvers.solver import Solver

__all__ = ["update_jacobian"]


@torch.no_grad()
def update_jacobian(game: Game, solver: Solver, rounds: int = 1, step: float = 1e-6) -> Tensor:
    """The Jacobian of ``rounds`` rounds of play, where the game stands, in all that the next round depends on.

    That is every player's parameters and whatever the solver keeps of them besides (the optimistic solver's previous gradient, the slow
    weights of lookahead). Its largest eigenvalue in absolute value is the factor by which a small distance grows in those rounds.

    Parameters
    ----------
    game : Game
        At a fixed point of the play, in float64, with nothing drawn.
    solver : Solver
        Fresh, of plain descent: what an optimiser keeps is not looked at.
    rounds : int
        Rounds of one period: 1, or lookahead's k.
    step : float
        Half the width of the central differences; the error is of the order of its square, and of 10⁻¹⁶ over it.

    Returns
    -------
    Tensor, shape (S, S), of the game's type
        Columns and rows are the parameters, then what is kept.

    Examples
    --------
    >>> from equilibria.games.toy import XYGame
    >>> from equilibria.solvers import Rule, Simultaneous
    >>> update_jacobian(XYGame(0.0, 0.0), Simultaneous(Rule("sgd", rate=0.5))).round(decimals=6)
    tensor([[ 1.0000, -0.5000],
            [ 0.5000,  1.0000]], dtype=torch.float64)
    """
    _play(game, solver, rounds)  # what is kept exists from now on, as it is at the fixed point
    start = copy.deepcopy(solver.state_dict())
    point = [parameter.clone() for parameter in _moved(game)]
    size = len(_state(game, solver))
    columns = []
    for place in range(size):
        ends = []
        for sign in (1, -1):
            solver.load_state_dict(start)
            for parameter, value in zip(_moved(game), point, strict=True):
                parameter.copy_(value)
            _nudge(game, solver, place, sign * step)
            _play(game, solver, rounds)
            ends.append(_state(game, solver))
        columns.append((ends[0] - ends[1]) / (2 * step))
    for parameter, value in zip(_moved(game), point, strict=True):
        parameter.copy_(value)
    solver.load_state_dict(start)
    return torch.stack(columns, 1)


def _play(game: Game, solver: Solver, rounds: int) -> None:
    for i in range(rounds):
        solver.step(game, repeat(None), Stream(0).child(i), measure=False)


def _moved(game: Game) -> list[torch.nn.Parameter]:
    return [parameter for player in game.players for parameter in game.parameters_of(player)]


def _tensors(game: Game, solver: Solver) -> list[Tensor]:
    kept: dict[str, Any] = solver.state_dict()["kept"]
    return [*_moved(game), *(tensor for of_players in kept.values() for tensors in of_players.values() for tensor in tensors.values())]


def _state(game: Game, solver: Solver) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in _tensors(game, solver)]).clone()


def _nudge(game: Game, solver: Solver, place: int, by: float) -> None:
    for tensor in _tensors(game, solver):
        if place < tensor.numel():
            tensor.detach().reshape(-1)[place] += by
            return
        place -= tensor.numel()
