"""The contract of a solver: how the players' gradients move them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from equilibria.games.game import Game
from equilibria.random import Stream
from equilibria.solvers.rule import Rule

__all__ = ["Solver", "frozen"]


class Solver:
    """How the players' gradients move them; a subclass says in ``step`` which gradient is taken where.

    Parameters
    ----------
    rules : Rule or mapping of str to Rule
        One rule for every player, or one for each.
    reduce : callable, optional
        Averages a list of tensors over processes, in place. It is called once per update, with the gradients of the
        players that the update moves and ``game.shared(drawn)``. With one process (the default) it does nothing.

    Attributes
    ----------
    updates : dict of str to int
        How often each player has been moved; the clock of its rule's schedule.

    Notes
    -----
    Every step of a process must reduce in the same order, so the players are moved in a fixed one.
    """

    def __init__(self, rules: Rule | Mapping[str, Rule], reduce: Callable[[list[Tensor]], None] | None = None):
        self.rules = rules
        self.reduce = _alone if reduce is None else reduce
        self.updates: dict[str, int] = {}
        self._game: Game | None = None
        self._rules: dict[str, Rule] = {}
        self._optimisers: dict[str, torch.optim.Optimizer] = {}
        self._owned: dict[str, list[torch.nn.Parameter]] = {}
        self._others: dict[str, list[torch.nn.Parameter]] = {}
        self._kept: dict[str, dict[str, list[Tensor]]] = {}  # name → player → a tensor for each parameter: what else the next step needs

    def bind(self, game: Game) -> None:
        """Build an optimiser for every player of ``game``, as new; a second call with the same game does nothing.

        Raises
        ------
        ValueError
            If the rules do not name the players one by one, a player owns nothing, or two own the same parameter.
        """
        if self._game is game:
            return
        rules = _rule_of_each(self.rules, game)
        owned = {player: game.parameters_of(player) for player in game.players}
        _check_owners(owned)
        self._rules, self._owned, self._kept = rules, owned, {}
        self._others = {player: [p for other, its in owned.items() if other != player for p in its] for player in owned}
        self._optimisers = {player: rules[player].build(parameters) for player, parameters in owned.items()}
        self.updates = dict.fromkeys(game.players, 0)
        self._game = game

    def step(self, game: Game, batches: Iterator[Any], stream: Stream, measure: bool = True) -> dict[str, Tensor]:
        """Move every player once round.

        Parameters
        ----------
        game : Game
        batches : iterator of Batch
            Advanced as often as the solver needs fresh data.
        stream : Stream
            This round's own randomness; the next round brings another.
        measure : bool, default True
            Whether to work out what is reported. It takes a forward pass in many games.

        Returns
        -------
        dict of str to Tensor
            ``game.measure`` of the round's last draw after its last update, 0-d and still on the device; empty without ``measure``.
        """
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """What the next step needs: nested dicts with string keys of integers and live tensors (copy them to keep them)."""
        return {
            "updates": dict(self.updates),
            "optimisers": {player: _read(optimiser) for player, optimiser in self._optimisers.items()},
            "kept": {name: {player: _numbered(tensors) for player, tensors in kept.items()} for name, kept in self._kept.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a state from ``state_dict``; call ``bind`` first.

        Raises
        ------
        ValueError
            If there is no game yet, or the state is of other players or of parameters of another shape.
        """
        if self._game is None:
            raise ValueError("state: this solver has no game yet; call bind(game) before load_state_dict")
        if set(state["updates"]) != set(self.updates):
            raise ValueError(f"state: it is of players {sorted(state['updates'])}, and this game's are {sorted(self.updates)}")
        for player in self._optimisers:
            _check_state(player, self._ordered(player), state["optimisers"].get(player, {}))
        kept = state.get("kept", {})
        for name, of_players in kept.items():
            for player, tensors in of_players.items():
                _check_state(player, self._owned[player], {index: {name: tensor} for index, tensor in tensors.items()})
        for player, optimiser in self._optimisers.items():
            _write(optimiser, state["optimisers"].get(player, {}))
        self.updates = {player: int(state["updates"][player]) for player in self.updates}
        self._kept = {
            name: {player: [tensors[str(i)].clone() for i in range(len(tensors))] for player, tensors in of_players.items()}
            for name, of_players in kept.items()
        }

    def _ordered(self, player: str) -> list[torch.nn.Parameter]:
        """The player's parameters in the order of its optimiser's state."""
        return [parameter for group in self._optimisers[player].param_groups for parameter in group["params"]]

    def _gradient(self, game: Game, player: str, drawn: Any) -> list[Tensor]:
        """The player's gradient here, the others frozen."""
        with frozen(self._others[player]):
            return game.gradient(player, drawn)

    def _update(self, game: Game, gradients: Mapping[str, list[Tensor]], drawn: Any) -> None:
        """One update: average over processes, then move the players that have a gradient."""
        self.reduce([tensor for player in gradients for tensor in gradients[player]] + game.shared(drawn))
        for player, gradient in gradients.items():
            self._apply(player, gradient)
            self.updates[player] += 1

    def _apply(self, player: str, gradient: list[Tensor]) -> None:
        """Move the player as its rule says, were ``gradient`` its gradient; the clock of its schedule stands still."""
        optimiser = self._optimisers[player]
        self._rules[player].set_update(optimiser, self.updates[player])
        for parameter, tensor in zip(self._owned[player], gradient, strict=True):
            parameter.grad = _laid_out(tensor, parameter)
        optimiser.step()
        for parameter in self._owned[player]:
            parameter.grad = None

    def _finish(self, game: Game, drawn: Any, measure: bool) -> dict[str, Tensor]:
        """End the round: report, then let the game's buffers move."""
        info = game.measure(drawn) if measure else {}
        game.settle(drawn)
        return info


@contextmanager
def frozen(parameters: Iterable[torch.nn.Parameter]) -> Iterator[None]:
    """Within it none of these trainable parameters requires a gradient; afterwards all do again."""
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def _laid_out(tensor: Tensor, parameter: Tensor) -> Tensor:
    """``tensor`` in the parameter's own order of memory.

    torch's fused optimisers walk a parameter, its gradient and its averages side by side as flat memory. A convolution's gradient may
    come channels-last beside a contiguous weight, and its entries would move the wrong weights.
    """
    if tensor.shape != parameter.shape or tensor.stride() == parameter.stride():
        return tensor
    return torch.empty_like(parameter, dtype=tensor.dtype, requires_grad=False).copy_(tensor)


def _alone(tensors: list[Tensor]) -> None:
    """One process: every tensor is its own average."""


def _rule_of_each(rules: Rule | Mapping[str, Rule], game: Game) -> dict[str, Rule]:
    if isinstance(rules, Rule):
        return dict.fromkeys(game.players, rules)
    if set(rules) != set(game.players):
        raise ValueError(f"rules: they are for {sorted(rules)}, the players are {sorted(game.players)}; give one Rule, or one a player")
    return dict(rules)


def _check_owners(owned: Mapping[str, list[torch.nn.Parameter]]) -> None:
    owner: dict[int, str] = {}
    for player, parameters in owned.items():
        for parameter in parameters:
            other = owner.setdefault(id(parameter), player)
            if other != player:
                raise ValueError(f"players: {other} and {player} own the same parameter; a parameter belongs to one player")


def _read(optimiser: torch.optim.Optimizer) -> dict[str, dict[str, Tensor]]:
    state = optimiser.state_dict()["state"]
    return {str(index): {name: value for name, value in entry.items() if value is not None} for index, entry in state.items()}


def _write(optimiser: torch.optim.Optimizer, saved: Mapping[str, Mapping[str, Tensor]]) -> None:
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    state = {
        int(index): {name: _laid_out(value, parameters[int(index)]).clone() for name, value in entry.items()}
        for index, entry in saved.items()
    }
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def _numbered(tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    return {str(i): tensor for i, tensor in enumerate(tensors)}


def _check_state(player: str, parameters: Sequence[torch.nn.Parameter], saved: Mapping[str, Mapping[str, Tensor]]) -> None:
    for index, entry in saved.items():
        if int(index) >= len(parameters):
            raise ValueError(f"state: player {player} has {len(parameters)} parameters, and the state is of more")
        shape = parameters[int(index)].shape
        for name, value in entry.items():
            if value.dim() > 0 and value.shape != shape:
                raise ValueError(f"state: {name} of player {player} has shape {tuple(value.shape)}, and its parameter {tuple(shape)}")
