"""Solvers for games that rotate: where gradient play circles the equilibrium, these approach it.

All take every player's gradient on one draw. The numbers in their docstrings are for the xy game
with plain descent of rate h, where z = x + iy stands for the players and simultaneous play
multiplies z by 1 + ih.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from equilibria.check import number, whole
from equilibria.games.game import Game
from equilibria.solvers.gradient_play import Simultaneous
from equilibria.solvers.solver import Gradients, Optimisers, Reduce

__all__ = ["Consensus", "Extragradient", "Lookahead", "Optimistic"]


class Extragradient(Simultaneous):
    """Take a trial step, then from the start the step that the gradient at its end asks for.

    θ̃ = θ − h·g(θ), then θ ← θ − h·g(θ̃), with the same draw for both. On the xy game z is
    multiplied by 1 + ih − h², so the distance to the equilibrium shrinks by √(1 − h² + h⁴) for h <
    1.

    The trial step is the optimiser's own, with its momentum or Adam's averages; parameters and
    averages are then put back. A round costs two gradients of each player (Korpelevich 1976; Gidel
    et al. 2019, "A variational inequality perspective on generative adversarial networks").
    """

    def gradients(self, game: Game, drawn: Any) -> Gradients:
        trial = super().gradients(game, drawn)
        self.reduce([tensor for player in trial for tensor in trial[player]])
        saved = {}
        for player, moved in self.players.items():
            values = [parameter.detach().clone() for parameter in moved.parameters]
            averages = {p: copy.deepcopy(entry) for p, entry in moved.optimiser.state.items()}
            saved[player] = values, averages
        for player, gradient in trial.items():
            self.move(player, gradient)
        there = super().gradients(game, drawn)
        for player, moved in self.players.items():
            values, averages = saved[player]
            with torch.no_grad():
                for parameter, value in zip(moved.parameters, values, strict=True):
                    parameter.copy_(value)
            moved.optimiser.state.clear()
            moved.optimiser.state.update(averages)
        return there


class Optimistic(Simultaneous):
    """Follow the gradient to be expected next: this one and its change since the last.

    θ ← θ − h·(2g_t − g_{t−1}); the first step is a plain one. On the xy game z_{t+1} = (1 +
    2ih)·z_t − ih·z_{t−1}, which approaches the equilibrium for h < 1/√3. 2g_t − g_{t−1} takes the
    gradient's place in the optimiser; under Adam its square is averaged too, so that steps are
    shorter where gradients are noisy. (Popov 1980; Daskalakis, Ilyas, Syrgkanis & Zeng 2018,
    "Training GANs with optimism", take the difference of Adam's normalised steps instead.)
    """

    def move(self, player: str, gradient: list[Tensor]) -> None:
        last = self.kept.setdefault("previous", {})
        pairs = zip(gradient, last.get(player, gradient), strict=True)
        super().move(player, [2 * now - before for now, before in pairs])
        last[player] = gradient


class Lookahead(Simultaneous):
    """Play simultaneously for k rounds, then go back to a share α of the way since they began.

    Slow weights φ: after every k-th round φ ← φ + α·(θ − φ), θ ← φ. On the xy game k rounds
    multiply z by 1 − α + α(1 + ih)^k. The optimisers' averages go on as if nothing had happened.

    Zhang, Lucas, Hinton & Ba 2019, "Lookahead optimizer"; Chavdarova, Pagliardini, Stich, Fleuret &
    Jaggi 2021, "Taming GANs with Lookahead-Minmax".
    """

    def __init__(
        self, optimisers: Optimisers, reduce: Reduce | None = None, k: int = 5, alpha: float = 0.5
    ):
        super().__init__(optimisers, reduce)
        self.k, self.alpha = whole(1)("k", k), number(0, 1, above=True)("alpha", alpha)

    @torch.no_grad()
    def update(self, game: Game, gradients: Gradients, drawn: Any) -> None:
        slow = self.kept.setdefault("slow", {})
        for player in gradients:
            start = self.players[player].parameters
            slow.setdefault(player, [parameter.detach().clone() for parameter in start])
        super().update(game, gradients, drawn)
        for player in gradients:
            if self.updates[player] % self.k == 0:
                pairs = zip(slow[player], self.players[player].parameters, strict=True)
                for kept, parameter in pairs:
                    kept.lerp_(parameter, self.alpha)
                    parameter.copy_(kept)


class Consensus(Simultaneous):
    """Add to every player's gradient that of how much all of them still want to move.

    With v = (∇_θ₁ J₁, …, ∇_θₙ Jₙ), θ ← θ − h·(v + γ·∇ ½‖v‖²): where v turns round an equilibrium
    the second part points inward. On the xy game z is multiplied by 1 + ih − γh. It needs second
    derivatives of every player's cost, so a round costs a few times one of simultaneous play.

    ½‖v‖² is also least at equilibria that gradient play runs away from, so a large γ may keep the
    players at one. Over a minibatch its mean is too large by the gradients' variance (Mescheder,
    Nowozin & Geiger 2017, "The numerics of GANs").
    """

    def __init__(self, optimisers: Optimisers, reduce: Reduce | None = None, gamma: float = 0.1):
        super().__init__(optimisers, reduce)
        self.gamma = number(0)("gamma", gamma)

    def bind(self, game: Game) -> None:
        if type(game).gradient is not Game.gradient:
            raise ValueError(
                f"game: {type(game).__name__} has no cost that consensus could differentiate twice"
            )
        super().bind(game)

    def gradients(self, game: Game, drawn: Any) -> Gradients:
        own = {player: self.players[player].parameters for player in game.players}
        everyone = [parameter for parameters in own.values() for parameter in parameters]
        grad = functools.partial(torch.autograd.grad, allow_unused=True, materialize_grads=True)
        with torch.enable_grad():
            v: list[Tensor] = []
            for player, parameters in own.items():
                v += grad(game.cost(player, drawn), parameters, create_graph=True)
            mean = [tensor.detach().clone() for tensor in v]
            self.reduce(mean)  # ∇ ½‖v‖² is J·v, whose two factors are means over all processes
            products = [(tensor * whole).sum() for tensor, whole in zip(v, mean, strict=True)]
            half_square = torch.stack(products).sum()
            inward: Sequence[Tensor] = [torch.zeros_like(parameter) for parameter in everyone]
            if half_square.requires_grad:  # some cost is curved, so v is not the same everywhere
                inward = grad(half_square, everyone)
        moves = iter([a.detach() + self.gamma * b for a, b in zip(v, inward, strict=True)])
        return {player: [next(moves) for _ in parameters] for player, parameters in own.items()}
