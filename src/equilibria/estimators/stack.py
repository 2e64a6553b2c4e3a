"""Layer-wise pretraining of a deep Boltzmann machine, as a list of stages.

A level is a set of layers that are trained together: the visible layers, the first hidden layer (of each tower), and so on to the
top. Neighbouring levels make an RBM. In the whole machine a hidden layer is driven from both sides, so each of these RBMs feels
the other side by copies of itself: with c copies above, the first RBM's hidden layer feels its input 1 + c times, of which one
stays and c are replaced by the next RBM. One copy is the protocol of Salakhutdinov & Hinton (2009), in which each side does
half of the work; two copies, which become two halves of the top layer with the same weights, let the top do two thirds of it (Hinton &
Salakhutdinov 2012).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from equilibria.data import Batch, Batches
from equilibria.games.contrastive import ContrastiveGame
from equilibria.inference.mean_field import update
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.random import Stream
from equilibria.solvers import Rule, Simultaneous
from equilibria.training.stage import Stage
from equilibria.units import Units

__all__ = ["LABEL", "Levels", "pretraining", "settle_game", "with_labels"]

LABEL = "label"
Levels = Sequence[Sequence[str]]
"""Names of layers from the visible ones up; a label layer belongs to none: it is learnt with the topmost RBM."""

_FEATURE_STEPS = 10  # of mean field, where missing cells make one step inexact


def pretraining(
    machine: BoltzmannMachine,
    levels: Levels,
    batches: Callable[[str], Batches],
    rule: Rule,
    steps: int,
    stream: Stream,
    on_last: Callable[[], None],
    *,
    copies: int = 1,
    precision: str = "float32",
    visible: Sequence[str] | None = None,
) -> list[Stage]:
    """One stage for each pair of neighbouring levels; ``on_last`` is called when the machine has been put together.

    Parameters
    ----------
    machine : BoltzmannMachine
        Its parameters are overwritten when the last stage ends.
    levels : sequence of sequences of str
        Layers from the visible ones up; a layer named ``"label"`` is learnt beside the last level but one.
    batches : callable
        Stage name → its own source of batches.
    rule : Rule
        For every stage.
    steps : int
        Updates of each stage.
    stream : Stream
        Of the initial weights.
    on_last : callable
        Called at the end.
    copies : int
        Of the top layer, whose width must be a multiple of it.
    precision : str
        Of the chains: see :class:`~equilibria.games.contrastive.ContrastiveGame`.
    visible : sequence of str, optional
        The visible layers in the order of a batch's columns, where not all of them are on the first level.
    """
    visible = levels[0] if visible is None else visible
    stack = [_restricted(machine, levels, i, copies, stream, visible) for i in range(len(levels) - 1)]
    games = [
        ContrastiveGame(
            rbm, negative="data", gain=_gains(machine, levels, i, copies, visible), visible=_below(machine, levels, i), precision=precision
        )
        for i, rbm in enumerate(stack)
    ]
    stages = []
    for i, game in enumerate(games):
        name = f"pretrain {i + 1}"
        view = _view(machine, games[:i], levels[i], visible, labelled=i + 1 == len(games))
        stages.append(Stage(name, game, Simultaneous(rule), batches(name), steps, view=view))

    def put_together() -> None:
        _compose(machine, levels, stack, copies)
        on_last()

    stages[-1].on_end = put_together
    return stages


def settle_game(game: ContrastiveGame, batch: Batch, stream: Stream, rank: int = 0) -> None:
    """Start a game's chains and centring offsets at the posterior of some data, where a pretrained machine should be.

    ``batch`` has at least one row; chain i starts at row i, over again if there are fewer. Of several
    processes with equal shares of the chains each says its ``rank``, and draws all rows: it keeps those of its own chains.
    """
    machine = game.machine
    with torch.no_grad():
        held = game.observed(batch)
        means, fields, _ = update(machine, held, game.mean_field_steps)
        for name in machine.layers:
            if game.centred:
                game.offset(name).copy_(machine.units(name).signal(means[name].mean(0, keepdim=True)).squeeze(0))
            if game.chains:
                drawn = means[name] if name not in fields else machine.units(name).sample(fields[name], stream.child(name))
                drawn = held[name].fill(drawn) if name in held else drawn
                chain = getattr(game, f"chain_{name}")
                rows = torch.arange(rank * len(chain), (rank + 1) * len(chain), device=chain.device) % len(drawn)
                chain.copy_(drawn[rows])


def with_labels(batch: Batch, classes: int) -> Batch:
    """A batch whose values have the label's columns, one for each class, beside them; a missing label (−1) is masked."""
    if batch.label is None:
        return batch
    known = (batch.label >= 0).unsqueeze(1)
    columns = functional.one_hot(batch.label.clamp(min=0), classes).to(batch.values.dtype) * known
    mask = batch.mask
    if mask is not None or not bool(known.all()):
        mask = torch.ones_like(batch.values, dtype=torch.bool) if mask is None else mask
        mask = torch.cat([mask, known.expand(-1, classes)], 1)
    return Batch(torch.cat([batch.values, columns], 1), mask, batch.label, batch.condition)


def _below(machine: BoltzmannMachine, levels: Levels, i: int) -> list[str]:
    """The layers that are visible to RBM i: level i, and for the topmost one the label."""
    top = i + 2 == len(levels)
    return [*levels[i], *([LABEL] if top and LABEL in machine.layers else [])]


def _gains(machine: BoltzmannMachine, levels: Levels, i: int, copies: int, visible: Sequence[str]) -> dict[str, float]:
    """How often each layer of RBM i feels its input: for each copy of what is above it, and a hidden layer once for what is below."""
    top = len(levels) - 2
    driven = float(copies if i == top else 1)
    gains = {name: driven if name in visible or name == LABEL else 1.0 + driven for name in _below(machine, levels, i)}
    above = 1.0 if i == top else 1.0 + (copies if i + 1 == top else 1)
    return {**gains, **dict.fromkeys(_above(levels, i, visible), above)}


def _above(levels: Levels, i: int, visible: Sequence[str]) -> list[str]:
    """The layers that are hidden to RBM i: level i + 1 without what is visible there, which RBM i + 1 brings in."""
    return [name for name in levels[i + 1] if name not in visible]


def _restricted(machine: BoltzmannMachine, levels: Levels, i: int, copies: int, stream: Stream, visible: Sequence[str]) -> BoltzmannMachine:
    """The RBM of two neighbouring levels, with the visible layers' base rates and biases where the machine has them."""
    below, above = _below(machine, levels, i), _above(levels, i, visible)
    parted = copies if i + 2 == len(levels) else 1
    layers = {name: machine.units(name) for name in below}
    layers.update({name: machine.units(name) if parted == 1 else _part(machine.units(name), parted) for name in above})
    edges = [edge for edge in machine.edges if edge[0] in layers and edge[1] in layers]
    rbm = BoltzmannMachine(layers, edges).to(machine.device, machine.dtype).initialise(stream.child(below[0]))
    with torch.no_grad():
        for name in below:
            rbm.base(name).copy_(machine.base(name))
            rbm.bias[name].copy_(machine.bias[name])
    return rbm


def _part(units: Units, parted: int) -> Units:
    """A layer of the same kind with one part of the columns."""
    return type(units)(units.size // parted)


def _view(
    machine: BoltzmannMachine, below: Sequence[ContrastiveGame], level: Sequence[str], visible: Sequence[str], labelled: bool
) -> Callable[[Batch, Stream], Batch] | None:
    """A level's layers: the means of hidden ones, bottom up, and visible ones as they are; the label beside them where it is learnt."""
    classes = machine.units(LABEL).size if labelled and LABEL in machine.layers else 0
    if not below and not classes and list(level) == list(visible):
        return None

    def view(batch: Batch, stream: Stream) -> Batch:
        seen = _apart(machine, visible, batch)
        with torch.no_grad():
            for game in below:
                held = game.observed(_beside(seen, game.visible))
                means, _, _ = update(game.machine, held, _FEATURE_STEPS, game.gain)
                seen |= {name: (x, None) for name, x in means.items() if name not in held}
        features = _beside(seen, level)
        batch = Batch(features.values, features.mask, batch.label, batch.condition)
        return with_labels(batch, classes) if classes else batch

    return view


def _apart(machine: BoltzmannMachine, visible: Sequence[str], batch: Batch) -> dict[str, tuple[Tensor, Tensor | None]]:
    """A batch's columns and their mask, layer by layer."""
    sizes = [machine.units(name).size for name in visible]
    masks = [None] * len(sizes) if batch.mask is None else batch.mask.split(sizes, 1)
    return dict(zip(visible, zip(batch.values.split(sizes, 1), masks, strict=True), strict=True))


def _beside(seen: Mapping[str, tuple[Tensor, Tensor | None]], names: Sequence[str]) -> Batch:
    """Layers side by side as a batch."""
    values, masks = zip(*(seen[name] for name in names), strict=True)
    if all(mask is None for mask in masks):
        return Batch(torch.cat(values, 1))
    filled = [torch.ones_like(x, dtype=torch.bool) if mask is None else mask for x, mask in zip(values, masks, strict=True)]
    return Batch(torch.cat(values, 1), torch.cat(filled, 1))


def _compose(machine: BoltzmannMachine, levels: Levels, stack: Sequence[BoltzmannMachine], copies: int) -> None:
    """Weights and biases of the whole machine; a hidden layer between two RBMs has the sum of their biases, each copy's counted."""
    with torch.no_grad():
        for bias in machine.bias.values():
            bias.zero_()
        for i, rbm in enumerate(stack):
            parted = copies if i + 2 == len(levels) else 1
            for a, b in rbm.edges:
                repeats = tuple(parted if name in levels[i + 1] else 1 for name in (a, b))
                machine.weight[f"{a}-{b}"].copy_(rbm.weight[f"{a}-{b}"].repeat(repeats))
            for name, bias in rbm.bias.items():
                machine.bias[name].add_(bias.repeat(parted) if name in levels[i + 1] else bias * parted)
