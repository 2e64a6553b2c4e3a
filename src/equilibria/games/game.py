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

    A subclass sets ``players``, names of submodules or of parameters of its own, and gives ``draw``
    and ``cost``. A round is ``draw`` once (or once a player, as the solver pleases), ``gradient``
    as often as the solver asks, and ``settle`` at its end. A game never moves a parameter.

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
    """Whether a row's cost depends on others of its batch (batch norm): it cannot be shared out."""

    def draw(self, batch: Any, stream: Stream) -> Any:
        """All of a round's randomness: noise, moves of the chains, the posterior."""
        raise NotImplementedError

    def cost(self, player: str, drawn: Any) -> Tensor:
        """What ``player`` pays, a scalar: a pure function of the parameters and ``drawn``."""
        raise NotImplementedError

    def gradient(self, player: str, drawn: Any) -> list[Tensor]:
        """The gradient of ``player``'s cost, a tensor for each of ``parameters_of(player)``.

        By default ``closed_form``, and where there is none automatic differentiation of ``cost``,
        with zeros where the cost does not reach. Each tensor has memory of its own.
        """
        gradients: Sequence[Tensor] | None = self.closed_form(player, drawn)
        if gradients is None:
            with torch.enable_grad():
                cost, own = self.cost(player, drawn), self.parameters_of(player)
                gradients = torch.autograd.grad(
                    cost, own, allow_unused=True, materialize_grads=True
                )
        seen: set[int] = set()
        apart = []  # no two share memory: they are averaged over processes in place
        for tensor in gradients:
            if 0 in tensor.stride() or tensor.data_ptr() in seen:
                tensor = tensor.clone(memory_format=torch.contiguous_format)
            apart.append(tensor)
            seen.add(tensor.data_ptr())
        return apart

    def closed_form(self, player: str, drawn: Any) -> list[Tensor] | None:
        """The gradient of ``player``'s cost by a formula, where the game knows one; else None."""
        return None

    def shared(self, drawn: Any) -> list[Tensor]:
        """Small tensors within ``drawn`` to average over processes with the gradients."""
        return []

    def settle(self, drawn: Any) -> None:
        """Update the buffers, once per round, after its last update; nothing by default."""

    def measure(self, drawn: Any) -> dict[str, Tensor]:
        """What is reported, as 0-d tensors by name; by default each player's cost."""
        with torch.no_grad():
            return {f"{player}_cost": self.cost(player, drawn) for player in self.players}

    def parameters_of(self, player: str) -> list[nn.Parameter]:
        """The parameters of ``player`` that are trained, in the order of ``gradient``."""
        owner = getattr(self, player)
        owned = [owner] if isinstance(owner, nn.Parameter) else list(owner.parameters())
        trained = [parameter for parameter in owned if parameter.requires_grad]
        if not trained:
            raise ValueError(f"player={player!r} owns no parameter that requires a gradient")
        return trained
