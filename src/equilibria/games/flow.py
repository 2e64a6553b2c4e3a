"""The flow of a game: where all players drift when each follows its own gradient, and whether that turns or settles."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from equilibria.games.game import Game

__all__ = ["flow_jacobian"]


def flow_jacobian(game: Game, drawn: Any = None) -> Tensor:
    """The Jacobian of the flow θ′ = −v(θ), v = (∇_θ₁ J₁, …, ∇_θₙ Jₙ), where the game's parameters stand.

    Near an equilibrium its eigenvalues λ say what gradient play does: a real part below 0 is a pull towards it, an imaginary part a
    rotation. Steps of size h multiply a distance by |1 + hλ|, so a game with Re λ = 0 leaves its equilibrium at any h.

    Parameters
    ----------
    game : Game
        Small: the matrix is dense, with a backward pass for every parameter, and ``cost`` is differentiated twice.
    drawn : object
        From ``game.draw``.

    Returns
    -------
    Tensor, shape (P, P)
        In the order of the players and their parameters, flattened.

    References
    ----------
    Mescheder, Nowozin & Geiger 2017, "The numerics of GANs", section 3.

    Examples
    --------
    >>> from equilibria.games.toy import XYGame
    >>> flow_jacobian(XYGame())
    tensor([[-0., -1.],
            [ 1., -0.]], dtype=torch.float64)
    """
    owned = {player: game.parameters_of(player) for player in game.players}
    everyone = [parameter for parameters in owned.values() for parameter in parameters]
    rows = []
    with torch.enable_grad():
        for player, parameters in owned.items():
            slopes = torch.autograd.grad(game.cost(player, drawn), parameters, create_graph=True, allow_unused=True, materialize_grads=True)
            rows += [_row(value, everyone) for value in torch.cat([slope.reshape(-1) for slope in slopes])]
    return -torch.stack(rows)


def _row(value: Tensor, parameters: list[torch.nn.Parameter]) -> Tensor:
    if not value.requires_grad:
        return torch.cat([torch.zeros_like(parameter).reshape(-1) for parameter in parameters])
    slopes = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
    return torch.cat([slope.reshape(-1) for slope in slopes])
