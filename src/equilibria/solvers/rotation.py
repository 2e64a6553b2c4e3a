"""Solvers for games that rotate: where gradient play circles the equilibrium or leaves it, these come nearer.

All take every player's gradient on one draw. The numbers in their docstrings are for the xy game with plain descent of rate h, where
z = x + iy stands for the players and simultaneous play multiplies z by 1 + ih.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from equilibria.games.game import Game
from equilibria.solvers.gradient_play import Simultaneous
from equilibria.solvers.rule import Rule

__all__ = ["Consensus", "Extragradient", "Lookahead", "Optimistic"]

Gradients = dict[str, list[Tensor]]


class Extragradient(Simultaneous):
    """Look where the step leads, then take the step that the gradient there asks for.

    θ̃ = θ − h·g(θ), then θ ← θ − h·g(θ̃), with the same draw for both. On the xy game z is multiplied by 1 + ih − h², so the distance to
    the equilibrium shrinks by √(1 − h² + h⁴) for h < 1.

    Notes
    -----
    The trial step is the one that the rule would take. Under momentum or Adam it has their size and direction; the parameters and the
    optimiser's averages are then put back, so the averages move once a round, by the gradient at θ̃. A round costs two gradients of
    each player, and two reductions over processes.

    References
    ----------
    Korpelevich 1976; Gidel et al. 2019, "A variational inequality perspective on generative adversarial networks".

    Examples
    --------
    >>> from itertools import repeat
    >>> from equilibria.games.toy import XYGame
    >>> from equilibria.random import Stream
    >>> game, solver = XYGame(1.0, 0.0), Extragradient(Rule("sgd", rate=0.5))
    >>> _ = solver.step(game, repeat(None), Stream(0))
    >>> game.x.item(), game.y.item()
    (0.75, 0.5)
    """

    def _gradients(self, game: Game, drawn: Any) -> Gradients:
        trial = super()._gradients(game, drawn)
        self.reduce([tensor for player in trial for tensor in trial[player]])
        kept = {player: self._snapshot(player) for player in game.players}
        for player, gradient in trial.items():
            self._apply(player, gradient)
        there = super()._gradients(game, drawn)
        for player in game.players:
            self._put_back(player, *kept[player])
        return there

    def _snapshot(self, player: str) -> tuple[list[Tensor], dict[Tensor, dict[str, Any]]]:
        state = {
            parameter: {name: value.clone() if isinstance(value, Tensor) else value for name, value in entry.items()}
            for parameter, entry in self._optimisers[player].state.items()
        }
        return [parameter.detach().clone() for parameter in self._owned[player]], state

    def _put_back(self, player: str, values: list[Tensor], state: dict[Tensor, dict[str, Any]]) -> None:
        with torch.no_grad():
            for parameter, value in zip(self._owned[player], values, strict=True):
                parameter.copy_(value)
        optimiser = self._optimisers[player]
        optimiser.state.clear()
        optimiser.state.update(state)


class Optimistic(Simultaneous):
    """Follow the gradient that is to be expected: this one and its change since the last.

    θ ← θ − h·(2g_t − g_{t−1}); the first step is a plain one. On the xy game z_{t+1} = (1 + 2ih)·z_t − ih·z_{t−1}, which comes nearer
    to the equilibrium for h < 1/√3. One gradient a round, at the price of a copy of the last.

    Notes
    -----
    2g_t − g_{t−1} takes the gradient's place in the rule. Under Adam its averages are of that combination and of its square, so the square
    is larger than the gradient's own where gradients are noisy, and the steps are shorter. (Daskalakis et al. take the difference of Adam's
    normalised steps instead.)

    References
    ----------
    Popov 1980; Daskalakis, Ilyas, Syrgkanis & Zeng 2018, "Training GANs with optimism".

    Examples
    --------
    >>> from itertools import repeat
    >>> from equilibria.games.toy import XYGame
    >>> from equilibria.random import Stream
    >>> game, solver = XYGame(1.0, 0.0), Optimistic(Rule("sgd", rate=0.5))
    >>> for _ in range(2):
    ...     _ = solver.step(game, repeat(None), Stream(0))
    >>> game.x.item(), game.y.item()
    (0.5, 1.0)
    """

    def _apply(self, player: str, gradient: list[Tensor]) -> None:
        kept = self._kept.setdefault("previous", {})
        previous = kept.get(player, gradient)
        super()._apply(player, [2 * now - before for now, before in zip(gradient, previous, strict=True)])
        kept[player] = gradient


class Lookahead(Simultaneous):
    """Play simultaneously for k rounds, then go back to a share α of the way from where they began.

    Slow weights φ: after every k-th round φ ← φ + α·(θ − φ), θ ← φ. On the xy game k rounds multiply z by 1 − α + α(1 + ih)^k.

    Parameters
    ----------
    rules, reduce
        See ``Solver``.
    k : int, default 5
        Rounds between two looks back.
    alpha : float, default .5
        The share in (0, 1]; 1 is simultaneous play.

    Raises
    ------
    ValueError
        If ``k`` or ``alpha`` is outside these.

    Notes
    -----
    The optimisers' averages go on as if nothing had happened.

    References
    ----------
    Zhang, Lucas, Hinton & Ba 2019, "Lookahead optimizer"; Chavdarova, Pagliardini, Stich, Fleuret & Jaggi 2021, "Taming GANs with
    Lookahead-Minmax".

    Examples
    --------
    >>> from itertools import repeat
    >>> from equilibria.games.toy import XYGame
    >>> from equilibria.random import Stream
    >>> game, solver = XYGame(1.0, 0.0), Lookahead(Rule("sgd", rate=1.0), k=2)
    >>> for _ in range(2):
    ...     _ = solver.step(game, repeat(None), Stream(0))
    >>> game.x.item(), game.y.item()
    (0.5, 1.0)
    """

    def __init__(
        self,
        rules: Rule | Mapping[str, Rule],
        reduce: Callable[[list[Tensor]], None] | None = None,
        k: int = 5,
        alpha: float = 0.5,
    ):
        if k < 1:
            raise ValueError(f"k={k!r}: expected a whole number of at least 1, the rounds between two looks back")
        if not 0 < alpha <= 1:
            raise ValueError(f"alpha={alpha!r}: expected a share in (0, 1] of the way that is kept")
        super().__init__(rules, reduce)
        self.k, self.alpha = k, alpha

    def _update(self, game: Game, gradients: Mapping[str, list[Tensor]], drawn: Any) -> None:
        slow = self._kept.setdefault("slow", {})
        for player in gradients:
            slow.setdefault(player, [parameter.detach().clone() for parameter in self._owned[player]])
        super()._update(game, gradients, drawn)
        for player in gradients:
            if self.updates[player] % self.k == 0:
                self._look_back(slow[player], self._owned[player])

    @torch.no_grad()
    def _look_back(self, slow: list[Tensor], fast: list[torch.nn.Parameter]) -> None:
        for kept, parameter in zip(slow, fast, strict=True):
            kept.lerp_(parameter, self.alpha)
            parameter.copy_(kept)


class Consensus(Simultaneous):
    """Add to every player's gradient the slope of how much all of them still want to move.

    With v = (∇_θ₁ J₁, …, ∇_θₙ Jₙ), θ ← θ − h·(v + γ·∇ ½‖v‖²): where v turns round an equilibrium the second part points inward. On the
    xy game z is multiplied by 1 + ih − γh. It needs second derivatives of every player's cost, so a round costs a few times one of
    simultaneous play.

    Parameters
    ----------
    rules, reduce
        See ``Solver``.
    gamma : float, default .1
        The weight γ, at least 0.

    Raises
    ------
    ValueError
        If ``gamma`` is below 0, or (in ``bind``) the game has a gradient of its own instead of a cost to be differentiated twice.

    Notes
    -----
    ½‖v‖² is also least at equilibria that gradient play runs away from, so a large γ may keep the players at one. Over a minibatch
    its mean is too large by the gradients' variance. v is that of the whole batch, so that several processes average twice a round.

    References
    ----------
    Mescheder, Nowozin & Geiger 2017, "The numerics of GANs".

    Examples
    --------
    >>> from itertools import repeat
    >>> from equilibria.games.toy import XYGame
    >>> from equilibria.random import Stream
    >>> game, solver = XYGame(1.0, 0.0), Consensus(Rule("sgd", rate=0.5), gamma=1.0)
    >>> _ = solver.step(game, repeat(None), Stream(0))
    >>> game.x.item(), game.y.item()
    (0.5, 0.5)
    """

    def __init__(
        self,
        rules: Rule | Mapping[str, Rule],
        reduce: Callable[[list[Tensor]], None] | None = None,
        gamma: float = 0.1,
    ):
        if not 0 <= gamma < float("inf"):
            raise ValueError(f"gamma={gamma!r}: expected a finite weight of at least 0")
        super().__init__(rules, reduce)
        self.gamma = gamma

    def bind(self, game: Game) -> None:
        if type(game).gradient is not Game.gradient:
            raise ValueError(
                f"game: {type(game).__name__} has a gradient of its own, and consensus needs a cost to differentiate twice; "
                "take simultaneous play"
            )
        super().bind(game)

    def _gradients(self, game: Game, drawn: Any) -> Gradients:
        owned = [parameter for player in game.players for parameter in self._owned[player]]
        with torch.enable_grad():
            taken = [tensor for player in game.players for tensor in self._curved(game, player, drawn)]
            mean = [tensor.detach().clone() for tensor in taken]
            self.reduce(mean)  # ∇ ½‖v‖² is J·v, whose two factors are means over all processes
            wish = torch.stack([(tensor * whole).sum() for tensor, whole in zip(taken, mean, strict=True)]).sum()
            if wish.requires_grad:
                pulls = torch.autograd.grad(wish, owned, allow_unused=True, materialize_grads=True)
            else:  # no cost is curved, so v is the same everywhere
                pulls = tuple(torch.zeros_like(parameter) for parameter in owned)
        moves = iter([tensor.detach() + self.gamma * pull for tensor, pull in zip(taken, pulls, strict=True)])
        return {player: [next(moves) for _ in self._owned[player]] for player in game.players}

    def _curved(self, game: Game, player: str, drawn: Any) -> tuple[Tensor, ...]:
        """The player's gradient as a function of everybody's parameters."""
        cost = game.cost(player, drawn)
        return torch.autograd.grad(cost, self._owned[player], create_graph=True, allow_unused=True, materialize_grads=True)
