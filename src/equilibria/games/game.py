"""The contract of a game: who plays, and what each player pays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from equilibria.random import Stream

__all__ = ["Game"]


class Game(nn.Module):
    """Who plays and what each player pays; a game with one player is ordinary learning.

    A subclass sets ``players`` and gives ``draw`` and ``cost``. A round is ``draw`` once (or once a player, as the solver
    pleases), ``gradient`` as often as the solver asks, and ``settle`` at its end. A game never moves a parameter.

    Attributes
    ----------
    players : tuple of str
        Names of submodules, or of parameters of the game itself; a player owns their parameters.

    Examples
    --------
    One player that pays the squared distance to what is drawn:

    >>> class Nearest(Game):
    ...     players = ("point",)
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.point = nn.Parameter(torch.zeros(2))
    ...     def draw(self, batch, stream):
    ...         return stream.child("target").uniform((2,))
    ...     def cost(self, player, drawn):
    ...         return (self.point - drawn).square().sum()
    >>> game, stream = Nearest(), Stream(0)
    >>> drawn = game.draw(None, stream)
    >>> bool((game.gradient("point", drawn)[0] == -2 * drawn).all())
    True
    """

    players: tuple[str, ...] = ()
    sharded: Sequence[str] = ()
    """Names of buffers whose rows are shared out among processes (persistent chains)."""
    across_rows: bool = False
    """Whether what a row costs depends on other rows of its batch (batch norm, minibatch deviation): several processes, of which each would
    see its share of them alone, are refused."""

    def draw(self, batch: Any, stream: Stream) -> Any:
        """All of a round's randomness: noise, moves of the chains, the posterior; what it returns is held fixed in ``cost``."""
        raise NotImplementedError

    def cost(self, player: str, drawn: Any) -> Tensor:
        """What ``player`` pays, a scalar: a pure function of the parameters and ``drawn`` that detaches nothing."""
        raise NotImplementedError

    def gradient(self, player: str, drawn: Any) -> list[Tensor]:
        """The gradient of ``player``'s cost, one tensor per entry of ``parameters_of(player)``, each with memory of its own.

        By default ``closed_form``, and where there is none automatic differentiation of ``cost``, with zeros where the cost does not
        reach; a game without a differentiable cost overrides it.
        """
        closed = self.closed_form(player, drawn)
        if closed is not None:
            return _owned(closed)
        with torch.enable_grad():
            cost = self.cost(player, drawn)
            gradients = torch.autograd.grad(cost, self.parameters_of(player), allow_unused=True, materialize_grads=True)
        return _owned(gradients)

    def closed_form(self, player: str, drawn: Any) -> list[Tensor] | None:
        """The gradient of ``player``'s cost without automatic differentiation, where the game knows it; None by default."""
        return None

    def shared(self, drawn: Any) -> list[Tensor]:
        """Small tensors within ``drawn`` to average over processes, in place, together with the gradients; none by default."""
        return []

    def settle(self, drawn: Any) -> None:
        """Move the buffers, once per round, after its last update; nothing by default."""

    def measure(self, drawn: Any) -> dict[str, Tensor]:
        """What is reported, as 0-d tensors by name; by default each player's cost."""
        with torch.no_grad():
            return {f"{player}_cost": self.cost(player, drawn) for player in self.players}

    def parameters_of(self, player: str) -> list[nn.Parameter]:
        """The parameters that ``player`` owns and that require a gradient, in the order of ``gradient``.

        Raises
        ------
        ValueError
            If ``player`` does not play, names no submodule or parameter, or owns nothing that can be trained.
        """
        if player not in self.players:
            raise ValueError(f"player={player!r} does not play in {type(self).__name__}; its players are {', '.join(self.players)}")
        owner = getattr(self, player, None)
        if isinstance(owner, nn.Parameter):
            owned = [owner]
        elif isinstance(owner, nn.Module):
            owned = list(owner.parameters())
        else:
            raise ValueError(f"player={player!r}: {type(self).__name__} has no submodule or parameter of that name; set one in __init__")
        trainable = [parameter for parameter in owned if parameter.requires_grad]
        if not trainable:
            raise ValueError(f"player={player!r} owns no parameter that requires a gradient; leave it out of players")
        return trainable


def _owned(gradients: Sequence[Tensor]) -> list[Tensor]:
    """The same gradients, none sharing memory with another: they are averaged over processes in place."""
    seen: set[int] = set()
    owned = []
    for gradient in gradients:
        fresh = gradient.is_contiguous() and gradient.data_ptr() not in seen
        owned.append(gradient if fresh else gradient.clone(memory_format=torch.contiguous_format))
        seen.add(owned[-1].data_ptr())
    return owned
