"""How Boltzmann machines are trained: base rates, layer-wise pretraining, contrastive learning.

Settings (``how``) are the parameters of the estimators, by the names that :class:`~equilibria.RBM`
and :class:`~equilibria.DBM` give them.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equilibria.check import affordable
from equilibria.data.batches import Batch
from equilibria.data.rows import Labels, Rows, with_labels
from equilibria.evaluation.monitor import ChainMonitor
from equilibria.games.contrastive import TEMPERED, ContrastiveGame
from equilibria.inference import exact, gibbs
from equilibria.inference.boltzmann import BoltzmannModel
from equilibria.inference.completion import evidence
from equilibria.inference.mean_field import update
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.random import Stream
from equilibria.solvers import Optimiser, Simultaneous
from equilibria.training.stage import Average, Best, Stage
from equilibria.units import Bernoulli, Categorical, Rectified, Spin, Units
from equilibria.units.columns import LABEL, VISIBLE

__all__ = ["HIDDEN", "Graph", "prepare", "pretraining", "settle_game", "whole_machine"]

HIDDEN: Mapping[str, Callable[[int], Units]] = {
    "bernoulli": Bernoulli,
    "spin": Spin,
    "rectified": Rectified,
}
"""Type of hidden unit → the layer of so many."""
NEGATIVE = {"pcd": "persistent", "cd": "data", **{name: name for name in TEMPERED}}
"""Method → where the negative phase's chains start."""
GAP_STEPS = 10
"""Mean-field steps of an RBM with missing cells: one step leaves those where h = 0 puts them."""
FEATURE_STEPS = 10  # of mean field in pretraining, where missing cells make one step inexact
MONITORED = 500  # rows of either kind whose free energies are compared while training
ENUMERABLE = 2**14
"""States of the smaller side up to which log Z is enumerated at every validation check."""


# ------------------------------------------------------------------ the graph of layers


@dataclasses.dataclass(frozen=True)
class Graph:
    """The layers of a machine and how they are joined.

    Attributes
    ----------
    visible : tuple of Layer
        The table's layers, side by side in an encoded row.
    hidden : tuple of int
        Widths from the visible layers up.
    kind : str
        A key of ``HIDDEN``.
    classes : int
        Of the label layer, which is joined to the top; 0 for none.
    modalities : bool
        Whether each visible layer has hidden layers of its own below a common top (Srivastava &
        Salakhutdinov 2012). A layer of one variable has none and is joined to the top: its bias
        says all there is to say about one variable alone, so layers between would learn nothing.
    """

    visible: tuple[Any, ...]
    hidden: tuple[int, ...]
    kind: str = "bernoulli"
    classes: int = 0
    modalities: bool = False

    @property
    def hidden_levels(self) -> list[list[str]]:
        """Names of the hidden layers, level by level."""
        depth = len(self.hidden)
        if not self._apart:
            return [[f"hidden{i}"] for i in range(1, depth + 1)]
        own = ([f"{name}_hidden{i}" for name in self._apart] for i in range(1, depth))
        return [*own, [f"hidden{depth}"]]

    @property
    def levels(self) -> list[list[str]]:
        """What is pretrained together, from the visible layers up; single variables come in below
        the top."""
        low = self._apart or self.names
        *rest, last, top = [low, *self.hidden_levels]
        return [*rest, [*last, *(name for name in self.names if name not in low)], top]

    @property
    def names(self) -> list[str]:
        """The visible layers, in the order of an encoded row."""
        return [layer.name for layer in self.visible]

    @property
    def clamped(self) -> list[str]:
        """The layers that data belong to."""
        return [*self.names, *([LABEL] if self.classes else [])]

    @property
    def _apart(self) -> list[str]:
        """The visible layers that have hidden layers of their own."""
        if not self.modalities or len(self.hidden) < 2:
            return []
        return [layer.name for layer in self.visible if layer.variables > 1]

    def build(self) -> BoltzmannMachine:
        """The machine, all zeros."""
        layers: dict[str, Units] = {
            layer.name: VISIBLE[layer.kind](layer) for layer in self.visible
        }
        for names, width in zip(self.hidden_levels, self.hidden, strict=True):
            layers.update({name: HIDDEN[self.kind](width) for name in names})
        pairs = itertools.pairwise(self.levels)
        edges = [edge for below, above in pairs for edge in self._joined(below, above)]
        if self.classes:
            layers[LABEL] = Categorical([self.classes])
            edges.append((self.hidden_levels[-1][0], LABEL))
        return BoltzmannMachine(layers, edges)

    def _joined(self, below: Sequence[str], above: Sequence[str]) -> list[tuple[str, str]]:
        """Every layer with every one above; below the top of a modality each with its own."""
        if self._apart and above != self.levels[-1]:
            return list(zip(below, above[: len(below)], strict=True))
        return list(itertools.product(below, above))


# ------------------------------------------------------------------ before training


def prepare(machine: BoltzmannMachine, rows: Rows) -> None:
    """Base rates and biases at the data's means, so that a machine without weights has them.

    Where units are discrete there is one more observation of each kind, so that no rate is 0 or 1.
    """
    found = rows.statistics
    means = {}
    for layer in rows.table.layers:
        sums, n = found.total[layer.columns], found.counts[layer.columns]
        empty = (n == 0).nonzero().flatten().tolist()
        if empty:
            raise ValueError(
                f"X: {rows.table.column_name(layer.source[0])} has no observed value; leave it out"
            )
        if layer.kind == "categorical":
            sizes = [len(group) for group in layer.categories or () for _ in group]
            means[layer.name] = (sums + 1) / (n + torch.tensor(sizes))
        elif layer.kind == "binary":
            means[layer.name] = (sums + 1) / (n + 2)
        elif layer.kind == "spin":
            means[layer.name] = sums / (n + 2)
        else:
            means[layer.name] = sums / n
    if rows.codes is not None:
        classes, known = rows.table.classes, rows.codes[rows.codes >= 0]
        counts = torch.from_numpy(np.bincount(known, minlength=classes))
        means[LABEL] = (counts + 1) / (len(known) + classes)
    with torch.no_grad():
        for name, mean in means.items():
            machine.set_base(name, mean.to(machine.device))
            machine.bias[name].copy_(machine.base(name))


def refuse_unaffordable(how: Any, size: int, widths: Sequence[int], name: str) -> None:
    """Refuse widths and chains that memory cannot hold: weights with gradient, velocity and
    average;
    the units of all chains."""
    joints = sum(a * b for a, b in itertools.pairwise((size, *widths)))
    affordable(name, getattr(how, name), 4.0 * joints)
    units = float(size + sum(widths))
    replicas = how.replicas if how.method in TEMPERED else 1
    if how.chains is not None:
        affordable("chains", how.chains, units * how.chains * replicas)
    affordable("ais_chains", how.ais_chains, units * how.ais_chains)


def unbounded(table: Any) -> bool:
    """Whether a column is real-valued: its principal component grows faster than chains follow at
    the rate of binary ones."""
    return any(layer.kind in ("real", "positive") for layer in table.layers)


def optimiser(how: Any, table: Any, rate: float, steps: int) -> Optimiser:
    """Gradient steps whose rate falls linearly to zero; constant without ``steps``."""
    momentum = how.momentum
    if momentum is None:
        momentum = 0.5 if unbounded(table) else 0.9
    spins = int(any(layer.kind == "spin" for layer in table.layers))
    spins += getattr(how, "hidden_type", "") == "spin"
    rate = rate * 0.25**spins  # a spin is a binary unit on twice the scale: four times too long
    shared: dict[str, Any] = {"weight_decay": how.weight_decay, "steps": steps}
    shared["schedule"] = "linear" if steps else "constant"
    if getattr(how, "optimiser", "sgd") == "adam":
        return Optimiser("adam", rate, betas=(momentum, 0.999), **shared)
    return Optimiser("sgd", rate, momentum=momentum, **shared)


def game_of(
    machine: BoltzmannMachine,
    how: Any,
    stream: Stream,
    visible: Sequence[str],
    sparse: Sequence[str],
) -> ContrastiveGame:
    """The contrastive game of a machine; ``sparse`` are the layers that a sparsity is for."""
    targets = {}
    if how.sparsity is not None:
        target, cost = how.sparsity
        for name in sparse:
            units = machine.units(name)
            low = units.lowest if units.bounded else 0.0
            targets[name] = (low + (1.0 - low) * target, cost)
    replicas = getattr(how, "replicas", 1)
    return ContrastiveGame(
        machine,
        chains=how.chains or how.batch_size,
        steps=how.k,
        betas=replicas if how.method == "tempered" else None,
        replicas=replicas,
        negative=NEGATIVE[how.method],
        centred=how.centred,
        mean_field_steps=getattr(how, "mean_field_steps", GAP_STEPS),
        posterior_sweeps=getattr(how, "posterior_sweeps", 0),
        precision=how.precision,
        sparsity=targets,
        visible=visible,
        stream=stream,
    ).to(machine.device)


# ------------------------------------------------------------------ the whole machine


def whole_machine(
    model: BoltzmannModel, how: Any, rows: Rows, name: str, rate: float, steps: int
) -> Stage:
    """The stage in which all of a machine is trained, by Algorithm 20.1 or by CD."""
    machine = model.machine
    game = game_of(machine, how, rows.stream.child("chains"), model.rows, model.hidden)
    average = Average(machine, how.average) if how.average else None
    solver = Simultaneous(optimiser(how, rows.table, rate, steps))
    stage = Stage(name, game, solver, rows.batches(name, how.batch_size), steps, average=average)
    if rows.table.classes:
        stage.view = Labels(rows.table.classes)
    held = None
    if rows.held is not None:
        held = _observed(model, rows, held=True)
        if exact.enumerable(machine, max_states=ENUMERABLE):
            stage.best = Best(machine, _Score(model, held), "held_out_log_likelihood")
    stage.monitor = _Monitor(model, game, rows, held)
    stage.on_finish = _Keep(model, game)
    return stage


class _Keep:
    """Hands the chains over to the model when training has ended."""

    def __init__(self, model: BoltzmannModel, game: ContrastiveGame):
        self.model, self.game = model, game

    def __call__(self) -> None:
        self.model.keep(self.game.chains)


def _observed(model: BoltzmannModel, rows: Rows, held: bool) -> Tensor:
    """Some rows in float64, NaN where missing, the label free."""
    batch = rows.some(MONITORED, "monitored", held=held)
    values = batch.values.double()
    if batch.mask is not None:
        values = values.masked_fill(~batch.mask, torch.nan)
    free = torch.full((len(values), rows.table.classes), torch.nan, dtype=values.dtype)
    return torch.cat([values, free.to(values.device)], 1)


class _Score:
    """log p of held-out rows by a machine whose log Z can be enumerated, one number a row."""

    def __init__(self, model: BoltzmannModel, values: Tensor):
        self.model, self.values = model, values

    def __call__(self, machine: Any) -> Tensor:
        precise = copy.deepcopy(machine).double()
        found = evidence(
            precise, self.model.clamp(self.values), tolerance=1e-3, max_steps=50
        ).values
        return found - exact.log_partition(precise, max_states=ENUMERABLE)


class _Monitor(ChainMonitor):
    """Also draws the chains, where rows are pictures."""

    def __init__(
        self, model: BoltzmannModel, game: ContrastiveGame, rows: Rows, held: Tensor | None
    ):
        parts: tuple[Any, ...] = (None, None)
        if held is not None:
            seen = _observed(model, rows, held=False)
            parts = tuple(model.clamp(part.to(model.dtype)) for part in (seen, held))
        super().__init__(game, *parts)
        self.model, self.contrast, self.table = model, game, rows.table

    def pictures(self, stream: Stream) -> np.ndarray | None:
        """The chains; fresh ones where training restarts them at the data."""
        if self.table.shape is None or len(self.model.visible) != 1:
            return None
        machine, name = self.contrast.machine, self.model.visible[0]
        state = {layer: values[:64] for layer, values in self.contrast.chains.items()}
        if not state:
            state = gibbs.run(machine, gibbs.start(machine, 64, stream), 200, stream)
        with torch.no_grad():
            means = machine.units(name).mean(machine.field(name, state))
        return self.table.pictures(means)


def settle_game(game: ContrastiveGame, batch: Batch, stream: Stream, rank: int = 0) -> None:
    """Start a game's chains and centring offsets at the posterior of some data, where a pretrained
    machine should be.

    Chain i starts at row i of the batch, over again if there are fewer. Of several processes with
    equal shares of the chains each says its ``rank``, and draws all rows: it keeps its own chains'.
    """
    machine = game.machine
    with torch.no_grad():
        held = game.observed(batch)
        means, fields, _ = update(machine, held, game.mean_field_steps)
        for name in machine.layers:
            if game.centred:
                signal = machine.units(name).signal(means[name].mean(0, keepdim=True))
                game.offset(name).copy_(signal.squeeze(0))
            if game.chains:
                drawn = means[name]
                if name in fields:
                    drawn = machine.units(name).sample(fields[name], stream.child(name))
                drawn = held[name].fill(drawn) if name in held else drawn
                chain = getattr(game, f"chain_{name}")
                first = rank * len(chain)
                places = torch.arange(first, first + len(chain), device=chain.device)
                chain.copy_(drawn[places % len(drawn)])


# ------------------------------------------------------------------ layer-wise pretraining


def pretraining(
    model: BoltzmannModel, graph: Graph, how: Any, rows: Rows, joint: Stage
) -> list[Stage]:
    """One stage for each pair of neighbouring levels, then the machine is put together.

    A level is a set of layers that are trained together: the visible layers, the first hidden layer
    (of each modality), and so on to the top. Neighbouring levels make an RBM. In the whole machine
    a hidden layer is driven from both sides, so each of these RBMs feels the other side by replicas
    of itself: with c replicas above, the first RBM's hidden layer feels its input 1 + c times, of
    which one stays and c are replaced by the next RBM. One is the protocol of Salakhutdinov &
    Hinton (2009), in which each side does half of the work; two, which become two halves of the top
    layer with the same weights, let the top do two thirds of it (Hinton & Salakhutdinov 2012).
    """
    stack = _Stack(model.machine, graph, how.top_replication)
    stream, steps = rows.stream.child("pretraining"), how.pretrain_steps
    rule = _pretraining_optimiser(how, rows.table)
    games: list[ContrastiveGame] = []
    stages = []
    for i in range(len(stack.levels) - 1):
        rbm = stack.restricted(i, stream)
        gains, below = stack.gains(i), stack.below(i)
        games.append(
            ContrastiveGame(
                rbm, negative="data", gain=gains, visible=below, precision=how.precision
            )
        )
        name = f"pretrain {i + 1}"
        batches = rows.batches(name, how.batch_size)
        last = i + 2 == len(stack.levels)
        classes = rows.table.classes if last else 0
        view = None
        if i or classes or stack.levels[0] != graph.names:
            view = _Features(stack, tuple(games[:i]), i, classes)
        stages.append(Stage(name, games[i], Simultaneous(rule), batches, steps, view=view))
    stages[-1].on_end = _PutTogether(stack, games, how, rows, joint)
    return stages


class _PutTogether:
    """Composes the machine of its pretrained RBMs and starts its chains at the data's posterior."""

    def __init__(
        self,
        stack: _Stack,
        games: Sequence[ContrastiveGame],
        how: Any,
        rows: Rows,
        joint: Stage,
    ):
        self.stack, self.games, self.rows, self.joint = stack, games, rows, joint
        self.count = max(how.chains or how.batch_size, 100)

    def __call__(self) -> None:
        self.stack.compose([game.machine for game in self.games])
        batch = self.rows.some(self.count, "start rows")
        if self.rows.table.classes:
            batch = with_labels(batch, self.rows.table.classes)
        game = self.joint.game
        assert isinstance(game, ContrastiveGame)
        settle_game(game, batch, self.rows.stream.child("settle"), self.rows.shard[0])


class _Stack:
    """The RBMs of neighbouring levels, and the whole machine that they become."""

    def __init__(self, machine: BoltzmannMachine, graph: Graph, replication: int):
        self.machine, self.levels, self.visible = machine, graph.levels, graph.names
        self.replication = replication

    def _top(self, i: int) -> bool:
        return i + 2 == len(self.levels)

    def below(self, i: int) -> list[str]:
        """The layers that are visible to RBM i: level i, and for the topmost one the label."""
        label = [LABEL] if self._top(i) and LABEL in self.machine.layers else []
        return [*self.levels[i], *label]

    def above(self, i: int) -> list[str]:
        """The layers that are hidden to RBM i: level i + 1 without what is visible there."""
        return [name for name in self.levels[i + 1] if name not in self.visible]

    def gains(self, i: int) -> dict[str, float]:
        """How often each layer of RBM i feels its input: once for each replica of what is above it,
        and a hidden layer once for what is below."""
        driven = float(self.replication if self._top(i) else 1)
        own = (*self.visible, LABEL)
        gains = {name: driven if name in own else 1.0 + driven for name in self.below(i)}
        above = 1.0
        if not self._top(i):
            above = 1.0 + (self.replication if self._top(i + 1) else 1)
        return {**gains, **dict.fromkeys(self.above(i), above)}

    def restricted(self, i: int, stream: Stream) -> BoltzmannMachine:
        """RBM i, with the visible layers' base rates and biases where the machine has them."""
        machine, below, above = self.machine, self.below(i), self.above(i)
        parted = self.replication if self._top(i) else 1
        layers = {name: machine.units(name) for name in below}
        for name in above:
            units = machine.units(name)
            layers[name] = units if parted == 1 else type(units)(units.size // parted)
        edges = [edge for edge in machine.edges if edge[0] in layers and edge[1] in layers]
        rbm = BoltzmannMachine(layers, edges).to(machine.device, machine.dtype)
        rbm.initialise(stream.child(below[0]))
        with torch.no_grad():
            for name in below:
                rbm.base(name).copy_(machine.base(name))
                rbm.bias[name].copy_(machine.bias[name])
        return rbm

    def compose(self, machines: Sequence[BoltzmannMachine]) -> None:
        """Weights and biases of the whole machine; a hidden layer between two RBMs has the sum of
        their biases, each replica's counted."""
        machine, levels = self.machine, self.levels
        with torch.no_grad():
            for bias in machine.bias.values():
                bias.zero_()
            for i, rbm in enumerate(machines):
                parted = self.replication if self._top(i) else 1
                for a, b in rbm.edges:
                    repeats = tuple(parted if name in levels[i + 1] else 1 for name in (a, b))
                    machine.weight[f"{a}-{b}"].copy_(rbm.weight[f"{a}-{b}"].repeat(repeats))
                for name, bias in rbm.bias.items():
                    whole = bias.repeat(parted) if name in levels[i + 1] else bias * parted
                    machine.bias[name].add_(whole)


class _Features:
    """A level's view of a batch: the means of hidden layers, bottom up, and visible layers as they
    are; the label beside them where it is learnt."""

    def __init__(self, stack: _Stack, below: tuple[ContrastiveGame, ...], level: int, classes: int):
        self.stack, self.below, self.level, self.classes = stack, below, level, classes

    def __call__(self, batch: Batch, stream: Stream) -> Batch:
        machine, visible = self.stack.machine, self.stack.visible
        sizes = [machine.units(name).size for name in visible]
        masks = [None] * len(sizes) if batch.mask is None else batch.mask.split(sizes, 1)
        seen = dict(
            zip(visible, zip(batch.values.split(sizes, 1), masks, strict=True), strict=True)
        )
        with torch.no_grad():
            for game in self.below:
                held = game.observed(_beside(seen, game.visible))
                means, _, _ = update(game.machine, held, FEATURE_STEPS, game.gain)
                seen |= {name: (x, None) for name, x in means.items() if name not in held}
        features = _beside(seen, self.stack.levels[self.level])
        found = Batch(features.values, features.mask, batch.label, batch.condition)
        return with_labels(found, self.classes) if self.classes else found


def _beside(seen: Mapping[str, tuple[Tensor, Tensor | None]], names: Sequence[str]) -> Batch:
    """Layers side by side as a batch."""
    values, masks = zip(*(seen[name] for name in names), strict=True)
    if all(mask is None for mask in masks):
        return Batch(torch.cat(values, 1))
    pairs = zip(values, masks, strict=True)
    filled = [torch.ones_like(x, dtype=torch.bool) if mask is None else mask for x, mask in pairs]
    return Batch(torch.cat(values, 1), torch.cat(filled, 1))


def _pretraining_optimiser(how: Any, table: Any) -> Optimiser:
    """Momentum is at most ½ for the first tenth."""
    rate = how.pretrain_learning_rate
    if rate is None:
        rate = 0.01 if unbounded(table) else 0.05
    whole = optimiser(how, table, rate, how.pretrain_steps)
    momentum = how.momentum
    if momentum is None:
        momentum = 0.5 if unbounded(table) else 0.9
    return Optimiser(
        "sgd",
        whole.rate,
        momentum=min(0.5, momentum),
        final_momentum=momentum,
        momentum_steps=how.pretrain_steps // 10,
        weight_decay=how.pretrain_weight_decay,
        schedule="linear",
        steps=how.pretrain_steps,
    )
