"""Eigenvalues near an equilibrium: of a game's flow, and of the update that a solver makes of it.

The flow θ′ = −v(θ), with v every player's gradient of its own cost, says what infinitely small
simultaneous steps do: a real part below 0 is a pull towards the equilibrium, an imaginary part a
rotation. Steps of size h multiply a distance by |1 + hλ|, so a game with Re λ = 0 leaves its
equilibrium at any h. What a solver does instead is read off its own update, by differences.

References
----------
Mescheder, Nowozin & Geiger 2017, "The numerics of GANs", section 3.
"""

from __future__ import annotations

import copy
import dataclasses
from itertools import repeat
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from equilibria.games.game import Game
from equilibria.random import Stream
from equilibria.solvers.solver import Solver

__all__ = [
    "MOST",
    "Rotation",
    "flow_jacobian",
    "jacobian_eigenvalues",
    "rotation",
    "update_jacobian",
]

MOST = 2000
"""Parameters of all players together, beyond which no Jacobian is worked out."""

_TURNS = 4.0  # radians a unit of shrinking, from which on a game is said to circle


def flow_jacobian(game: Game, drawn: Any = None) -> Tensor:
    """The Jacobian −∂v/∂θ of the flow, where the game's parameters stand.

    Parameters
    ----------
    game : Game
        Small: the matrix is dense, with a backward pass for every parameter, and ``cost`` is
        differentiated twice.
    drawn : object
        From ``game.draw``.

    Returns
    -------
    Tensor, shape (P, P)
        In the order of the players and their parameters, flattened.

    Examples
    --------
    >>> from equilibria.games.toy import XYGame
    >>> flow_jacobian(XYGame())
    tensor([[-0., -1.],
            [ 1., -0.]], dtype=torch.float64)
    """
    everyone = _moved(game)
    options: dict[str, bool] = {"allow_unused": True, "materialize_grads": True}
    rows = []
    with torch.enable_grad():
        for player in game.players:
            cost, own = game.cost(player, drawn), game.parameters_of(player)
            slopes = torch.autograd.grad(cost, own, create_graph=True, **options)
            for value in torch.cat([slope.reshape(-1) for slope in slopes]):
                if value.requires_grad:
                    row = torch.autograd.grad(value, everyone, retain_graph=True, **options)
                else:
                    row = tuple(torch.zeros_like(parameter) for parameter in everyone)
                rows.append(torch.cat([slope.reshape(-1) for slope in row]))
    return -torch.stack(rows)


def jacobian_eigenvalues(game: Game, drawn: Any = None) -> np.ndarray:
    """The eigenvalues ``(p,)``, complex, of :func:`flow_jacobian`, worked out in float64.

    Parameters
    ----------
    game : Game
        Left as it is: a copy in float64 is differentiated.
    drawn : object
        From ``game.draw``, held fixed; its floating-point tensors are taken in float64.

    Examples
    --------
    >>> from equilibria.games.toy import XYGame
    >>> sorted(jacobian_eigenvalues(XYGame()).imag.tolist())
    [-1.0, 1.0]
    """
    size = sum(parameter.numel() for parameter in _moved(game))
    if size > MOST:
        raise ValueError(f"game: {size:,} parameters; the Jacobian is for {MOST:,} at most")
    jacobian = flow_jacobian(copy.deepcopy(game).double(), _double(drawn))
    return np.linalg.eigvals(jacobian.detach().cpu().numpy()).astype(complex) + 0.0  # no −0


@dataclasses.dataclass(frozen=True, eq=False)
class Rotation:
    """How the flow moves near the present parameters.

    Attributes
    ----------
    eigenvalues : ndarray of complex
        Of the flow's Jacobian, the least stable first.
    """

    eigenvalues: np.ndarray

    @property
    def stable(self) -> bool:
        """Whether every direction shrinks under infinitely small simultaneous steps."""
        return bool(self.eigenvalues.real.max() < 0)

    @property
    def turning(self) -> complex:
        """The eigenvalue that turns most for each unit that it shrinks, of those that move."""
        values = self.eigenvalues[np.abs(self.eigenvalues) > self._noise]
        return complex(values[_turns(values).argmax()]) if len(values) else 0j

    @property
    def circles(self) -> bool:
        """Whether some direction turns far more than it shrinks."""
        value = self.turning
        return abs(value.imag) > self._noise and bool(_turns(np.array([value]))[0] > _TURNS)

    @property
    def largest_rate(self) -> float:
        r"""The rate below which simultaneous steps shrink in every direction; 0 where none does.

        It is min −2 Re λ / |λ|²: a step of size h multiplies a direction by 1 + hλ.
        """
        values = self.eigenvalues
        return float((-2 * values.real / np.abs(values) ** 2).min()) if self.stable else 0.0

    @property
    def _noise(self) -> float:
        return 1e-9 * max(1.0, float(np.abs(self.eigenvalues).max()))

    def __str__(self) -> str:
        value, growth = self.turning, self.eigenvalues.real.max()
        about = f"an eigenvalue of the flow is {value.real:.3g} ± {abs(value.imag):.3g}i"
        if not self.circles and growth > self._noise:
            return (
                f"The players do not circle, but a direction grows (eigenvalue {growth:.3g}): "
                "they are not near a stable equilibrium."
            )
        if not self.circles:
            return f"The players do not circle: where the game turns most, {about}."
        rate = "simultaneous steps do not shrink"
        if self.stable:
            rate = f"simultaneous steps shrink below a rate of {self.largest_rate:.2g} only"
        return (
            f"The players circle ({about}: {rate}): take an extragradient or optimistic solver, "
            "or a penalty such as R1."
        )


def rotation(game: Game, drawn: Any = None) -> Rotation:
    """How a small game turns at its present parameters; ``print`` it for a sentence.

    Examples
    --------
    >>> from equilibria.games.toy import XYGame
    >>> print(rotation(XYGame()))
    The players circle (an eigenvalue of the flow is 0 ± 1i: simultaneous steps do not shrink): ...
    """
    values = jacobian_eigenvalues(game, drawn)
    return Rotation(values[np.argsort(-values.real, kind="stable")])


@torch.no_grad()
def update_jacobian(game: Game, solver: Solver, rounds: int = 1, step: float = 1e-6) -> Tensor:
    """The Jacobian of ``rounds`` rounds of play in all that the next round depends on.

    That is every player's parameters and what the solver keeps besides (the optimistic solver's
    previous gradient, the slow weights of lookahead). Its largest eigenvalue in absolute value is
    the factor by which a small distance grows in those rounds.

    Parameters
    ----------
    game : Game
        At a fixed point of the play, in float64, with nothing drawn.
    solver : Solver
        Fresh, of plain descent: what an optimiser keeps is not looked at.
    rounds : int
        Rounds of one period: 1, or lookahead's k.
    step : float
        Half the width of the central differences; the error is of the order of its square, and of
        10⁻¹⁶ over it.

    Returns
    -------
    Tensor, shape (S, S), of the game's type
        Columns and rows are the parameters, then what is kept.

    Examples
    --------
    >>> from equilibria.games.toy import XYGame
    >>> from equilibria.solvers import Optimiser, Simultaneous
    >>> solver = Simultaneous(Optimiser("sgd", rate=0.5))
    >>> update_jacobian(XYGame(0.0, 0.0), solver).round(decimals=6)
    tensor([[ 1.0000, -0.5000],
            [ 0.5000,  1.0000]], dtype=torch.float64)
    """
    _play(game, solver, rounds)  # what is kept exists from now on, as it is at the fixed point
    start = copy.deepcopy(solver.state_dict())
    point = [parameter.clone() for parameter in _moved(game)]

    def restore() -> None:
        solver.load_state_dict(start)
        for parameter, value in zip(_moved(game), point, strict=True):
            parameter.copy_(value)

    columns = []
    for place in range(len(_state(game, solver))):
        ends = []
        for sign in (1, -1):
            restore()
            _nudge(game, solver, place, sign * step)
            _play(game, solver, rounds)
            ends.append(_state(game, solver))
        columns.append((ends[0] - ends[1]) / (2 * step))
    restore()
    return torch.stack(columns, 1)


def _play(game: Game, solver: Solver, rounds: int) -> None:
    for i in range(rounds):
        solver.step(game, repeat(None), Stream(0).child(i), measure=False)


def _moved(game: Game) -> list[nn.Parameter]:
    return [parameter for player in game.players for parameter in game.parameters_of(player)]


def _tensors(game: Game, solver: Solver) -> list[Tensor]:
    kept = [
        tensor for kept in solver.kept.values() for tensors in kept.values() for tensor in tensors
    ]
    return [*_moved(game), *kept]


def _state(game: Game, solver: Solver) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in _tensors(game, solver)]).clone()


def _nudge(game: Game, solver: Solver, place: int, by: float) -> None:
    for tensor in _tensors(game, solver):
        if place < tensor.numel():
            tensor.detach().view(-1)[place] += by
            return
        place -= tensor.numel()


def _double(drawn: Any) -> Any:
    """The same draw with its floating-point tensors in float64."""
    if isinstance(drawn, Tensor):
        return drawn.double() if drawn.is_floating_point() else drawn
    if isinstance(drawn, tuple):
        parts = [_double(part) for part in drawn]
        return type(drawn)(*parts) if hasattr(drawn, "_fields") else tuple(parts)
    if isinstance(drawn, dict):
        return {name: _double(part) for name, part in drawn.items()}
    return [_double(part) for part in drawn] if isinstance(drawn, list) else drawn


def _turns(values: np.ndarray) -> np.ndarray:
    """Radians turned for each e-fold of shrinking; infinite where nothing shrinks or it grows."""
    return np.abs(values.imag) / np.maximum(-values.real, 1e-12 * np.abs(values))
