"""Where a gradient lies in memory is nothing to a step: every solver moves a parameter by its own
gradient, entry by entry.

A convolution's backward pass may give its gradient channels-last beside a contiguous weight;
torch's fused optimisers walk both as flat memory.
"""

from __future__ import annotations

import dataclasses
import functools
from itertools import repeat
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from equilibria.data.batches import Batch
from equilibria.games.game import Game
from equilibria.random import Stream
from equilibria.solvers import SOLVERS, Optimiser, Simultaneous
from equilibria.training.stage import Average, Stage
from small import BITS, ESTIMATORS, LABELS, NAMES, plan_of, small

RULES = {
    "adam": Optimiser("adam", 0.01, betas=(0.5, 0.9), weight_decay=0.1),
    "sgd": Optimiser("sgd", 0.01, momentum=0.9, weight_decay=0.1),
}


class Maps(Game):
    """A cost of two maps that are bent entry by entry, whose gradients come in the order that is
    asked for."""

    players = ("first", "second")

    def __init__(self, order: torch.memory_format) -> None:
        super().__init__()
        self.order = order
        draw = Stream(0)
        self.first = nn.Parameter(draw.child("first").normal((6, 5, 3, 3), torch.float64))
        self.second = nn.Parameter(draw.child("second").normal((6, 5, 3, 3), torch.float64))

    def draw(self, batch: Any, stream: Stream) -> Tensor:
        return stream.normal((6, 5, 3, 3), torch.float64)

    def cost(self, player: str, drawn: Tensor) -> Tensor:
        own, other = self.get_parameter(player), self.first if player == "second" else self.second
        sign = 1.0 if player == "first" else -1.0
        return (sign * own * other + drawn * own + own.square() / 2).sum()

    def gradient(self, player: str, drawn: Tensor) -> list[Tensor]:
        return [own.contiguous(memory_format=self.order) for own in super().gradient(player, drawn)]


class CurvedMaps(Maps):
    """The same for a solver that differentiates the cost itself: a product of differently ordered
    maps."""

    gradient = Game.gradient

    def cost(self, player: str, drawn: Tensor) -> Tensor:
        own = self.get_parameter(player).contiguous(memory_format=self.order)
        other = self.second if player == "first" else self.first
        sign = 1.0 if player == "first" else -1.0
        return (sign * own * other + drawn.contiguous(memory_format=self.order) * own).sum()


@pytest.mark.parametrize(
    ("solver", "rule"), [*((solver, "adam") for solver in SOLVERS), ("simultaneous", "sgd")]
)
def test_a_gradient_s_order_in_memory_is_nothing_to_a_solver(solver: str, rule: str) -> None:
    def played(order: torch.memory_format) -> list[Tensor]:
        game: Game = (CurvedMaps if solver == "consensus" else Maps)(order)
        player = SOLVERS[solver](RULES[rule])
        for step in range(6):  # lookahead looks back after five
            if step == 3:  # what a checkpoint brings back is contiguous
                saved = player.state_dict()
                player = SOLVERS[solver](RULES[rule])
                player.bind(game)
                player.load_state_dict(saved)
            player.step(game, repeat(None), Stream(step), measure=False)
        return [parameter.detach() for parameter in game.parameters()]

    for turned, straight in zip(
        played(torch.channels_last), played(torch.contiguous_format), strict=True
    ):
        assert torch.allclose(turned, straight, rtol=0, atol=1e-14)


def test_a_parameter_may_itself_be_channels_last() -> None:
    rule = "adam"

    def played(order: torch.memory_format) -> Tensor:
        game = Maps(torch.contiguous_format)
        for parameter in game.parameters():
            parameter.data = parameter.data.contiguous(memory_format=order)
        solver = Simultaneous(RULES[rule])
        for step in range(4):
            if step == 2:
                saved = {
                    **solver.state_dict(),
                    "optimisers": {
                        player: {
                            index: {name: value.contiguous() for name, value in entry.items()}
                            for index, entry in state.items()
                        }
                        for player, state in solver.state_dict()["optimisers"].items()
                    },
                }
                solver = Simultaneous(RULES[rule])
                solver.bind(game)
                solver.load_state_dict(saved)
            solver.step(game, repeat(None), Stream(step), measure=False)
        return game.first.detach()

    assert torch.allclose(
        played(torch.channels_last), played(torch.contiguous_format), rtol=0, atol=1e-14
    )


def plain(rule: Optimiser, parameters: Any) -> torch.optim.Optimizer:
    """torch's optimiser tensor by tensor: neither fused nor in lists, so that it heeds strides."""
    found = BUILD(rule, parameters)
    for group in found.param_groups:
        group["fused"], group["foreach"] = False, False
    return found


BUILD = Optimiser.build
SHAPES: dict[str, Any] = {"picture_shape": (28, 28), "value_range": (0, 1), "channels": 16}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in NAMES if ESTIMATORS[name].takes != {"picture"}},
    "dcgan": ("gan", {**SHAPES, "network": "dcgan"}),
    "dcgan without batch norm": (
        "gan",
        {**SHAPES, "network": "dcgan", "normalisation": "neither", "loss": "relativistic"},
    ),
    "residual": ("gan", {**SHAPES, "network": "residual"}),
    "residual, packs": ("gan", {**SHAPES, "network": "residual", "packing": 2, "dense": 0}),
    "semi-supervised": (
        "gan",
        {**SHAPES, "network": "dcgan", "labels": True, "semi_supervised": True},
    ),
    "pyramid": ("lapgan", {**SHAPES, "network": "dcgan", "labels": True, "levels": 2}),
    "residual pyramid": ("lapgan", {**SHAPES, "network": "residual", "levels": 1}),
}
"""Every estimator, with each network of pictures at 28 × 28 and 16 channels."""
ROWS = Stream(3).uniform((24, 784)).round().numpy()


def stages_of(variant: str) -> list[Stage]:
    """A variant's stages in float64: a bias before batch norm has no gradient but rounding, which
    Adam would blow up."""
    name, options = VARIANTS[variant]
    X = ROWS if "picture_shape" in options else BITS
    stages = plan_of(small(ESTIMATORS[name], **options), X, LABELS[: len(X)])[1]
    for stage in stages:
        stage.game.double()
        with torch.no_grad():  # what begins at 0 has no part in the others' gradients
            for i, parameter in enumerate(stage.game.parameters()):
                noise = Stream(9).child(i).normal(tuple(parameter.shape), torch.float64)
                parameter.add_(noise, alpha=0.01)
        if stage.average is not None:
            stage.average = Average(stage.average.module, stage.average.decay)
        stage.view = functools.partial(doubled, stage.view)
    return stages


def doubled(view: Any, batch: Batch, stream: Stream) -> Batch:
    """A batch as the stage sees it, in float64."""
    batch = dataclasses.replace(batch, values=batch.values.double())
    batch = batch if view is None else view(batch, stream)
    given = None if batch.condition is None else batch.condition.double()
    return dataclasses.replace(batch, values=batch.values.double(), condition=given)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_stage_s_update_is_a_plain_optimiser_s(
    variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two rounds of each stage of every estimator, its averages included, are those of torch's
    loops over tensors, which heed strides; and so they are by Adam and by descent with momentum,
    from a state that was written and read in between."""
    every = (None, *RULES.values()) if variant in ("dcgan", "residual", "pyramid") else (None,)
    for rules in every:
        for ours, theirs in zip(stages_of(variant), stages_of(variant), strict=True):
            if not ours.solver.optimisers:
                pytest.skip("counts move it, and no optimiser")
            played(ours, rules)
            with monkeypatch.context() as patch:
                patch.setattr(Optimiser, "build", plain)
                played(theirs, rules)
            pairs = zip(ours.game.parameters(), theirs.game.parameters(), strict=True)
            for mine, other in pairs:
                assert torch.allclose(mine, other, rtol=1e-7, atol=1e-8), ours.name
            if ours.average is not None:
                for name, value in ours.average.values.items():
                    assert torch.allclose(value, theirs.average.values[name], atol=1e-9)


def played(stage: Stage, rules: Optimiser | None) -> None:
    """Two rounds, and the solver's state out and in between."""
    solver = stage.solver if rules is None else type(stage.solver)(rules)
    for step in range(2):
        solver.bind(stage.game)
        solver.step(stage.game, stage.source(Stream(step)), Stream(step), measure=False)
        if stage.average is not None:
            stage.average.update()
        saved = solver.state_dict()
        turned = {
            player: {
                index: {k: reordered(value) for k, value in entry.items()}
                for index, entry in entries.items()
            }
            for player, entries in saved["optimisers"].items()
        }
        solver = type(solver)(solver.optimisers)
        solver.bind(stage.game)
        solver.load_state_dict({**saved, "optimisers": turned})


def reordered(x: Tensor) -> Tensor:
    """The same numbers, channels-last where that is another layout."""
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x.clone()


@pytest.mark.parametrize("variant", ["dcgan", "residual", "pyramid"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_moves_convolutions_as_a_plain_optimiser_does(
    variant: str, solver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One round from gradients that come channels-last, by plain descent: consensus adds second
    derivatives, extragradient goes back, lookahead keeps slow weights."""
    ours, theirs = stages_of(variant)[-1], stages_of(variant)[-1]
    assert any(p.dim() == 4 for p in ours.game.parameters())
    SOLVERS[solver](RULES["sgd"]).step(ours.game, ours.source(Stream(0)), Stream(0), False)
    monkeypatch.setattr(Optimiser, "build", plain)
    SOLVERS[solver](RULES["sgd"]).step(theirs.game, theirs.source(Stream(0)), Stream(0), False)
    for mine, other in zip(ours.game.parameters(), theirs.game.parameters(), strict=True):
        assert torch.allclose(mine, other, rtol=1e-9, atol=1e-12)
