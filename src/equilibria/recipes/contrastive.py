"""How Boltzmann machines are trained: base rates, layer-wise pretraining, contrastive learning.

Settings (``how``) are the parameters of the estimators, by the names that :class:`~equilibria.RBM`
and :class:`~equilibria.DBM` give them.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equilibria.check import affordable
from equilibria.data.batches import Batch
from equilibria.data.rows import Labels, Rows, with_labels
from equilibria.evaluation.chains import ChainMonitor
from equilibria.games.contrastive import TEMPERED, ContrastiveGame
from equilibria.inference import exact, gibbs
from equilibria.inference.boltzmann import BoltzmannModel
from equilibria.inference.completion import evidence
from equilibria.inference.mean_field import update
from equilibria.inference.partition import TEMPERATURE
from equilibria.models.boltzmann import BoltzmannMachine, State
from equilibria.random import Stream
from equilibria.solvers import Optimiser, Simultaneous
from equilibria.training.stage import Average, Best, Stage
from equilibria.units import Bernoulli, Categorical, Rectified, Spin, Units
from equilibria.units.columns import LABEL, VISIBLE

__all__ = ["HIDDEN", "Graph", "prepare", "pretraining", "settle_game", "watch", "whole_machine"]

FULL = 50  # rows of a batch from which on the default rate is the same
HIDDEN: Mapping[str, Callable[[int], Units]] = {
    "bernoulli": Bernoulli,
    "spin": Spin,
    "rectified": Rectified,
}
"""Type of hidden unit → the layer of so many."""
NEGATIVE = {"pcd": "persistent", "cd": "data", **{name: name for name in TEMPERED}}
"""Method → where the negative phase's chains start."""
SCORES = 4  # columns by their ranks, from which on the default rate is less
MEAN_FIELD = 10  # steps where missing cells make one inexact: it leaves those where h = 0 puts them
MONITORED = 500  # rows of either kind whose free energies are compared while training
SHOWN = 64  # chains whose pictures are shown
ENUMERABLE = 2**14
"""States of the smaller side up to which log Z is enumerated at every validation check."""


# ------------------------------------------------------------------ the graph of layers


@dataclasses.dataclass(frozen=True)
class Graph:
    """The layers of a machine and how they are joined.

    ``visible`` are the table's layers, side by side in an encoded row; ``hidden`` the widths from
    there up, of units of ``kind``; ``classes`` those of the label layer, which is joined to the
    top. With ``modalities`` each visible layer has hidden layers of its own below a common top
    (Srivastava & Salakhutdinov 2012). A layer of one variable has none and is joined to the top:
    its bias says all there is to say about one variable alone, so layers between would learn
    nothing.
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
    rows.refuse_unseen()
    found = rows.statistics
    means = {}
    for layer in rows.table.layers:
        sums, n = found.total[layer.columns], found.counts[layer.columns]
        if layer.kind == "categorical":
            sizes = [len(group) for group in layer.categories or () for _ in group]
            means[layer.name] = (sums + 1) / (n + torch.tensor(sizes))
        elif layer.kind in ("binary", "gap"):
            means[layer.name] = (sums + 1) / (n + 2)
        else:
            means[layer.name] = sums / (n + 2 if layer.kind == "spin" else n)
    if rows.codes is not None:
        classes, known = rows.table.classes, rows.codes[rows.codes >= 0]
        counts = torch.from_numpy(np.bincount(known, minlength=classes))
        means[LABEL] = (counts + 1) / (len(known) + classes)
    with torch.no_grad():
        for name, mean in means.items():
            machine.set_base(name, mean.to(machine.device))
            machine.bias[name].copy_(machine.base(name))


def refuse_chains(how: Any, units: float) -> None:
    """Refuse chains, of so many units each, that memory cannot hold."""
    each = "chains" if how.chains else "batch_size"  # as many, by default
    chains = units * getattr(how, each)
    if how.method in TEMPERED:
        affordable("replicas", how.replicas, chains * how.replicas)
    if NEGATIVE[how.method] != "data":  # else there are none beside the rows of a batch
        affordable(each, getattr(how, each), chains)
    affordable("ais_chains", how.ais_chains, units * how.ais_chains)
    affordable("ais_betas", how.ais_betas, float(TEMPERATURE) * how.ais_betas)


def unbounded(table: Any) -> bool:
    """Whether a column is real-valued: its principal component grows faster than chains follow at
    the rate of binary ones."""
    return any(layer.kind in ("real", "positive") for layer in table.layers)


def pace(table: Any) -> float:
    """What the default rate is multiplied by: less where columns are real-valued, whose principal
    component grows with their number. Normal scores are never far from 0."""
    scores = sum(layer.variables for layer in table.layers if layer.kind == "quantile")
    return 0.2 if unbounded(table) else 0.4 * min(1.0, SCORES / scores) if scores else 1.0


def momentum_of(how: Any, adam: bool = False) -> float:
    """Of the gradient steps: .5, since with .9 chains fall behind (experiments/momentum.py)."""
    return (0.9 if adam else 0.5) if how.momentum is None else how.momentum


def rate_of(how: Any, stride: float, rows: int) -> float:
    """A first rate by default: one step with momentum is as long as 1 / (1 − momentum) without."""
    return stride * (1.0 - momentum_of(how)) * min(FULL, how.batch_size, rows) / FULL


def optimiser(
    how: Any, table: Any, rate: float, steps: int, pretraining: bool = False
) -> Optimiser:
    """Gradient steps whose rate falls linearly to zero; constant without ``steps``.

    In pretraining, which is never by Adam, momentum is at most ½ for the first tenth.
    """
    adam = how.optimiser == "adam" and not pretraining
    momentum = momentum_of(how, adam)
    spins = int(any(layer.kind == "spin" for layer in table.layers))
    spins += getattr(how, "hidden_type", "") == "spin"
    rate = rate * 0.25**spins  # a spin is a binary unit on twice the scale: four times too long
    decay = how.pretrain_weight_decay if pretraining else how.weight_decay
    shared: dict[str, Any] = {"weight_decay": decay, "steps": steps}
    shared["schedule"] = "linear" if steps else "constant"
    if pretraining:
        shared |= {"final_momentum": momentum, "momentum_steps": steps // 10}
        return Optimiser("sgd", rate, momentum=min(0.5, momentum), **shared)
    if adam:
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
        betas=replicas,
        replicas=replicas,
        negative=NEGATIVE[how.method],
        centred=how.centred,
        mean_field_steps=getattr(how, "mean_field_steps", MEAN_FIELD),
        posterior_sweeps=getattr(how, "posterior_sweeps", 0),
        precision=how.precision,
        sparsity=targets,
        visible=visible,
        stream=stream,
    ).to(machine.device)


# ------------------------------------------------------------------ the whole machine


def whole_machine(model: BoltzmannModel, how: Any, rows: Rows, steps: int) -> Stage:
    """The stage in which all of a machine is trained, by Algorithm 20.1 or by CD."""
    machine, table = model.machine, rows.table
    game = game_of(machine, how, rows.stream.child("chains"), model.rows, model.hidden)
    solver = Simultaneous(optimiser(how, table, how.first_rate(table, len(rows)), steps))
    stage = Stage("joint", game, solver, rows.batches("joint", how.batch_size), steps)
    stage.average = Average(machine, how.average) if how.average else None
    stage.view = Labels(table.classes) if table.classes else None
    clamps: tuple[Any, ...] = ()
    if rows.held is not None:
        seen, unseen = (_observed(model, rows, held) for held in (False, True))
        clamps = tuple(model.clamp(part.to(model.dtype)) for part in (seen, unseen))
        if exact.enumerable(machine, max_states=ENUMERABLE):
            score = functools.partial(_log_prob, model.clamp(unseen))
            stage.best = Best(machine, score, "held_out_log_likelihood")
    floor = math.inf if rows.statistics.missing else rows.independent
    watch(stage, ChainMonitor(game, *clamps, independent=floor))
    if table.shape is not None and len(model.visible) == 1:

        @torch.no_grad()
        def pictures(stream: Stream) -> np.ndarray:
            (name,), state = model.visible, shown(game, stream)
            return table.pictures(machine.units(name).mean(machine.field(name, state)))

        stage.pictures = pictures
    stage.on_finish = lambda: model.keep(game.chains)
    return stage


def watch(stage: Stage, monitor: ChainMonitor) -> None:
    """Let checks of chains alone take a tenth of a stage's sweeps, measures of its steps."""
    stage.monitor, swept = monitor.measure, stage.steps * monitor.game.steps
    stage.rows = min(stage.rows, max(40, stage.steps // 10))
    if monitor.held_out is None and monitor.game.chains:
        stage.checks = min(stage.checks, max(2, swept // (10 * monitor.sweeps)))


def shown(game: ContrastiveGame, stream: Stream) -> State:
    """Some of a game's chains; fresh ones where training restarts them at the data."""
    state, machine = {name: values[:SHOWN] for name, values in game.chains.items()}, game.machine
    return state or gibbs.run(machine, gibbs.start(machine, SHOWN, stream), 200, stream)


def _observed(model: BoltzmannModel, rows: Rows, held: bool) -> Tensor:
    """Some rows in float64, NaN where missing, the label free."""
    batch = rows.some(MONITORED, "monitored", held=held)
    values = batch.values.double()
    if batch.mask is not None:
        values = values.masked_fill(~batch.mask, torch.nan)
    return torch.cat([values, values.new_full((len(values), rows.table.classes), torch.nan)], 1)


def _log_prob(clamp: Any, machine: Any) -> Tensor:
    """log p of rows by a machine whose log Z can be enumerated, one number a row."""
    precise = copy.deepcopy(machine).double()
    found = evidence(precise, clamp, tolerance=1e-3, max_steps=50).values
    return found - exact.log_partition(precise, max_states=ENUMERABLE)


@torch.no_grad()
def settle_game(game: ContrastiveGame, batch: Batch, stream: Stream, rank: int = 0) -> None:
    """Start a game's chains and centring offsets at the posterior of some data, where a pretrained
    machine should be.

    Chain i starts at row i of the batch, over again if there are fewer. Of several processes with
    equal shares of the chains each says its ``rank``, and draws all rows: it keeps its own chains'.
    """
    machine, held = game.machine, game.observed(batch)
    means, fields, _ = update(machine, held, game.mean_field_steps)
    chains = game.chains
    for name in machine.layers:
        units = machine.units(name)
        if game.centred:
            signal = units.signal(means[name].mean(0, keepdim=True))
            game.offset(name).copy_(signal.squeeze(0))
        if chains:
            drawn = means[name]
            if name in fields:
                drawn = units.sample(fields[name], stream.child(name))
            drawn = held[name].fill(drawn) if name in held else drawn
            count, device = len(chains[name]), chains[name].device
            places = torch.arange(rank * count, (rank + 1) * count, device=device)
            chains[name].copy_(drawn[places % len(drawn)])


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
    stack, classes = _Stack(model.machine, graph, how.top_replication), rows.table.classes
    stream, steps = rows.stream.child("pretraining"), how.pretrain_steps
    rate = how.pretrain_learning_rate
    if rate is None:
        rate = rate_of(how, 0.02 if unbounded(rows.table) else 0.2, len(rows))
    rule = optimiser(how, rows.table, rate, steps, pretraining=True)
    games, stages = list[ContrastiveGame](), list[Stage]()
    for i in range(len(stack.copies)):
        kind: dict[str, Any] = {"gain": stack.gains(i), "visible": stack.below(i)}
        rbm = stack.restricted(i, stream)
        games.append(ContrastiveGame(rbm, negative="data", precision=how.precision, **kind))
        name = f"pretrain {i + 1}"
        batches = rows.batches(name, how.batch_size)
        stages.append(Stage(name, games[i], Simultaneous(rule), batches, steps))
        label = classes if i + 1 == len(stack.copies) else 0
        if i or label or stack.levels[0] != graph.names:
            stages[i].view = functools.partial(_features, stack, tuple(games[:i]), i, label)

    def put_together() -> None:
        stack.compose([game.machine for game in games])
        batch = rows.some(max(how.chains or how.batch_size, 100), "start rows")
        batch = with_labels(batch, classes) if classes else batch
        whole: Any = joint.game
        settle_game(whole, batch, rows.stream.child("settle"), rows.shard[0])

    stages[-1].on_end = put_together
    return stages


class _Stack:
    """The RBMs of neighbouring levels, and the whole machine that they become.

    RBM i stands for ``copies[i]`` replicas of itself: one, or for the topmost one so many as there
    are equal parts of the top layer.
    """

    def __init__(self, machine: BoltzmannMachine, graph: Graph, replication: int):
        self.machine, self.levels, self.visible = machine, graph.levels, graph.names
        self.copies = [*(1 for _ in self.levels[2:]), replication]

    def below(self, i: int) -> list[str]:
        """The layers that are visible to RBM i: level i, and for the topmost one the label."""
        top = i + 1 == len(self.copies) and LABEL in self.machine.layers
        return [*self.levels[i], *([LABEL] if top else [])]

    def above(self, i: int) -> list[str]:
        """The layers that are hidden to RBM i: level i + 1 without what is visible there."""
        return [name for name in self.levels[i + 1] if name not in self.visible]

    def gains(self, i: int) -> dict[str, float]:
        """How often each layer of RBM i feels its input: once for each replica of what is above it,
        and a hidden layer once for what is below."""
        driven, own = float(self.copies[i]), (*self.visible, LABEL)
        gains = {name: driven if name in own else 1.0 + driven for name in self.below(i)}
        above = 1.0 + sum(self.copies[i + 1 : i + 2])
        return {**gains, **dict.fromkeys(self.above(i), above)}

    def restricted(self, i: int, stream: Stream) -> BoltzmannMachine:
        """RBM i, with the visible layers' base rates and biases where the machine has them."""
        machine, below, parted = self.machine, self.below(i), self.copies[i]
        layers = {name: machine.units(name) for name in (*below, *self.above(i))}
        if parted > 1:
            for name in self.above(i):
                layers[name] = type(layers[name])(layers[name].size // parted)
        edges = [edge for edge in machine.edges if edge[0] in layers and edge[1] in layers]
        rbm = BoltzmannMachine(layers, edges).to(machine.device, machine.dtype)
        rbm.initialise(stream.child(below[0]))
        with torch.no_grad():
            for name in below:
                rbm.base(name).copy_(machine.base(name))
                rbm.bias[name].copy_(machine.bias[name])
        return rbm

    @torch.no_grad()
    def compose(self, machines: Sequence[BoltzmannMachine]) -> None:
        """Weights and biases of the whole machine; a hidden layer between two RBMs has the sum of
        their biases, each replica's counted."""
        machine = self.machine
        for bias in machine.bias.values():
            bias.zero_()
        for rbm, parted, above in zip(machines, self.copies, self.levels[1:], strict=True):
            for a, b in rbm.edges:
                repeats = tuple(parted if name in above else 1 for name in (a, b))
                machine.weight[f"{a}-{b}"].copy_(rbm.weight[f"{a}-{b}"].repeat(repeats))
            for name, bias in rbm.bias.items():
                machine.bias[name].add_(bias.repeat(parted) if name in above else bias * parted)


@torch.no_grad()
def _features(
    stack: _Stack,
    below: tuple[ContrastiveGame, ...],
    level: int,
    classes: int,
    batch: Batch,
    stream: Stream,
) -> Batch:
    """A level's view of a batch: the means of hidden layers, bottom up, and visible layers as they
    are; the label beside them where it is learnt."""
    sizes = [stack.machine.units(name).size for name in stack.visible]
    mask = torch.ones_like(batch.values, dtype=torch.bool) if batch.mask is None else batch.mask
    parts = zip(batch.values.split(sizes, 1), mask.split(sizes, 1), strict=True)
    seen = dict(zip(stack.visible, parts, strict=True))

    def beside(names: Sequence[str]) -> Batch:
        values, masks = (torch.cat(part, 1) for part in zip(*map(seen.get, names), strict=True))
        known = None if batch.mask is None else masks
        return Batch(values, known, batch.label, batch.condition)

    for game in below:
        held = game.observed(beside(game.visible))
        means, _, _ = update(game.machine, held, MEAN_FIELD, game.gain)
        free = {name: x for name, x in means.items() if name not in held}
        seen |= {name: (x, torch.ones_like(x, dtype=torch.bool)) for name, x in free.items()}
    found = beside(stack.levels[level])
    return with_labels(found, classes) if classes else found
