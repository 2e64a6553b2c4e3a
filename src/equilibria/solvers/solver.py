"""The contract of a solver: how the players' gradients move them."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from equilibria.games.game import Game
from equilibria.random import Stream
from equilibria.solvers.optimiser import Optimiser

__all__ = ["Gradients", "Optimisers", "Reduce", "Solver", "frozen"]

Gradients = dict[str, list[Tensor]]
"""Player → a tensor for each of its parameters."""
Optimisers = Optimiser | Mapping[str, Optimiser]
"""One for every player, or one for each."""
Reduce = Callable[[list[Tensor]], None]
"""Averages tensors over processes, in place."""


_STEP_HOOKS = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
_ALL_HOOKS = ("_global_optimizer_pre_hooks", "_global_optimizer_post_hooks")


@dataclass
class Moved:
    """One player: its own parameters, all others', and how its own are moved."""

    parameters: list[nn.Parameter]
    others: list[nn.Parameter]
    settings: Optimiser
    optimiser: torch.optim.Optimizer

    def __post_init__(self) -> None:
        # without what torch wraps around it for its profiler, compiler and hooks: half of a small
        # step; it has no public way to ask for the hooks
        self._step = inspect.unwrap(type(self.optimiser).step)
        self._hooks = [vars(self.optimiser)[name] for name in _STEP_HOOKS]
        self._hooks += [vars(sys.modules[torch.optim.Optimizer.__module__])[n] for n in _ALL_HOOKS]

    @torch.no_grad()
    def step(self) -> None:
        """One step along the parameters' ``grad``."""
        if any(self._hooks):
            self.optimiser.step()
        else:
            self._step(self.optimiser)


class Solver:
    """How the players' gradients move them; a subclass says in ``step`` where each is taken.

    Parameters
    ----------
    optimisers : Optimiser or mapping of str to Optimiser
        One for every player, or one for each.
    reduce : callable, optional
        Averages a list of tensors over processes, in place: once per update, in the same order, the
        gradients of the players that it moves and ``game.shared(drawn)``. By default one is alone.

    Attributes
    ----------
    updates : dict of str to int
        How often each player has been moved; the clock of its schedule.
    kept : dict of str to Gradients
        What else the next step needs, by name: a previous gradient, slow weights.
    """

    def __init__(self, optimisers: Optimisers, reduce: Reduce | None = None):
        self.optimisers = optimisers
        self.reduce = reduce or (lambda tensors: None)  # alone, each tensor is its own average
        self.updates: dict[str, int] = {}
        self.players: dict[str, Moved] = {}
        self.kept: dict[str, Gradients] = {}
        self._game: Game | None = None

    def bind(self, game: Game) -> None:
        """Build an optimiser for every player, as new; does nothing for the game already bound."""
        if self._game is game:
            return
        settings = self.optimisers
        if isinstance(settings, Optimiser):
            settings = dict.fromkeys(game.players, settings)
        if set(settings) != set(game.players):
            found = f"for {sorted(settings)}, the players are {sorted(game.players)}"
            raise ValueError(f"optimisers: {found}; give one Optimiser, or one for each player")
        owned = {player: game.parameters_of(player) for player in game.players}
        everyone = [parameter for parameters in owned.values() for parameter in parameters]
        if len(set(everyone)) < len(everyone):
            raise ValueError("players: two own the same parameter; a parameter belongs to one")
        self.players = {
            player: Moved(
                parameters,
                [p for other, its in owned.items() if other != player for p in its],
                settings[player],
                settings[player].build(parameters),
            )
            for player, parameters in owned.items()
        }
        self.updates = dict.fromkeys(game.players, 0)
        self.kept, self._game = {}, game

    def step(
        self, game: Game, batches: Iterator[Any], stream: Stream, measure: bool = True
    ) -> dict[str, Tensor]:
        """Move every player once round, on ``stream``'s draws, and as many batches as that takes.

        Returns ``game.measure`` of the round's last draw after its last update, 0-d and still on
        the device; nothing without ``measure``.
        """
        raise NotImplementedError

    def gradient(self, game: Game, player: str, drawn: Any) -> list[Tensor]:
        """The player's gradient here, the others frozen."""
        with frozen(self.players[player].others):
            return game.gradient(player, drawn)

    def update(self, game: Game, gradients: Gradients, drawn: Any) -> None:
        """One update: average over processes, then move the players that have a gradient."""
        both = [tensor for player in gradients for tensor in gradients[player]]
        self.reduce(both + game.shared(drawn))
        for player, gradient in gradients.items():
            self.move(player, gradient)
            self.updates[player] += 1

    def move(self, player: str, gradient: list[Tensor]) -> None:
        """Move the player along ``gradient``; the clock of its schedule stands still."""
        moved = self.players[player]
        moved.settings.set_update(moved.optimiser, self.updates[player])
        for parameter, tensor in zip(moved.parameters, gradient, strict=True):
            parameter.grad = _laid_out(tensor, parameter)
        moved.step()
        for parameter in moved.parameters:
            parameter.grad = None

    def finish(self, game: Game, drawn: Any, measure: bool) -> dict[str, Tensor]:
        """End the round: report, then let the game's buffers move."""
        info = game.measure(drawn) if measure else {}
        game.settle(drawn)
        return info

    def state_dict(self) -> dict[str, Any]:
        """What the next step needs: nested dicts of integers and live tensors (copy to keep)."""
        return {
            "updates": dict(self.updates),
            "optimisers": {
                player: {
                    str(i): {name: value for name, value in entry.items() if value is not None}
                    for i, entry in moved.optimiser.state_dict()["state"].items()
                }
                for player, moved in self.players.items()
            },
            "kept": {
                name: {
                    player: {str(i): tensor for i, tensor in enumerate(tensors)}
                    for player, tensors in kept.items()
                }
                for name, kept in self.kept.items()
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a state from ``state_dict``; call ``bind`` first."""
        if set(state["updates"]) != set(self.updates):
            found = f"of players {sorted(state['updates'])}, the game's are {sorted(self.updates)}"
            raise ValueError(f"state: it is {found}")
        kept: dict[str, Gradients] = {}
        for player, moved in self.players.items():
            groups = moved.optimiser.state_dict()["param_groups"]
            ordered = [p for group in moved.optimiser.param_groups for p in group["params"]]
            entries = {
                int(i): _copied(player, int(i), entry, ordered)
                for i, entry in state["optimisers"].get(player, {}).items()
            }
            moved.optimiser.load_state_dict({"state": entries, "param_groups": groups})
            for name, of_players in state.get("kept", {}).items():
                own = of_players[player]
                kept.setdefault(name, {})[player] = [
                    _copied(player, i, {name: own[str(i)]}, moved.parameters)[name]
                    for i in range(len(own))
                ]
        self.updates = {player: int(state["updates"][player]) for player in self.updates}
        self.kept = kept


@contextmanager
def frozen(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Within it none of these trainable parameters requires a gradient; afterwards all do again."""
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def _laid_out(tensor: Tensor, parameter: Tensor) -> Tensor:
    """``tensor`` in the parameter's order of memory.

    torch's fused optimisers walk a parameter, its gradient and its averages side by side as flat
    memory, and a convolution's gradient may come channels-last beside a contiguous weight.
    """
    if tensor.shape != parameter.shape or tensor.stride() == parameter.stride():
        return tensor
    return torch.empty_like(parameter, dtype=tensor.dtype, requires_grad=False).copy_(tensor)


def _copied(
    player: str, i: int, entry: Mapping[str, Tensor], parameters: Sequence[nn.Parameter]
) -> dict[str, Tensor]:
    """A copy of what was saved of parameter ``i``, laid out as it is."""
    shape = parameters[i].shape if i < len(parameters) else None
    for name, value in entry.items():
        if value.dim() > 0 and value.shape != shape:
            raise ValueError(
                f"state: {name} {i} of player {player} has shape {tuple(value.shape)}, and its "
                f"parameter {'is missing' if shape is None else tuple(shape)}"
            )
    return {name: _laid_out(value, parameters[i]).clone() for name, value in entry.items()}
