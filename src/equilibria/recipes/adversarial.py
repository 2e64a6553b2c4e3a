"""How generators are trained against critics: presets, players, stages and what is monitored.

Settings (``how``) are the parameters of :class:`~equilibria.GAN`, by their names; what a user
leaves None is a preset.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from equilibria.data.batches import Batch, Batches
from equilibria.data.rows import Rows
from equilibria.evaluation.monitor import GameMonitor
from equilibria.games.adversarial import AdversarialGame
from equilibria.models.adversarial import Adversarial, Given, Implicit
from equilibria.models.generator import Generator, evaluating
from equilibria.networks.convolutional import DCGANCritic, DCGANGenerator, DetailGenerator
from equilibria.networks.fourier import Fourier
from equilibria.networks.mlp import MLP, Heads
from equilibria.networks.normalisation import batch_norms, reestimate
from equilibria.networks.packing import Packed
from equilibria.networks.pictures import halvings
from equilibria.networks.residual import ResidualCritic, ResidualGenerator
from equilibria.random import Stream
from equilibria.solvers import SOLVERS
from equilibria.solvers.optimiser import Optimiser
from equilibria.training.stage import Average, Stage

if TYPE_CHECKING:
    from equilibria.data.table import Table
    from equilibria.solvers.solver import Solver

__all__ = ["NETWORKS", "NORMALISED", "PRESETS", "Pair", "play", "presets", "settle"]

PICTURES: Mapping[str, tuple[Any, Any]] = {
    "dcgan": (DCGANGenerator, DCGANCritic),
    "residual": (ResidualGenerator, ResidualCritic),
}
"""Name of a network of pictures → its generator and, without dense layers, its critic."""
NETWORKS = ("mlp", *PICTURES)
NORMALISED: Mapping[str, tuple[str | None, str | None]] = {
    "generator": ("batch", None),
    "both": ("batch", "batch"),
    "neither": (None, None),
}
"""Which networks of pictures have batch norm: name → (the generator's, the critic's)."""
SMALLEST = 16  # side of the pictures from which MLPs are wide
CONVOLVED = 12  # side of the pictures from which the default is a dcgan
BASE = 32  # largest side of its first maps, whose dense layer would else be most of it
FEW = 8  # columns; in more, Fourier features of random directions are noise
FEATURES = 64  # directions of the critic's Fourier features
KEPT = 2000  # conditions that are kept with the model
PORTRAITS = 64  # pictures in a sheet that shows where training is
MONITORED = 2000  # training rows that the game is monitored by, and as many held-out ones
FEWEST = 40  # rows that it can be monitored by
WIDEST = 1024  # columns in which clusters are looked for
REESTIMATED = 20  # batches that batch norm's statistics are worked out from at a check
KEPT_FROM, MOST = 5000, 80  # rows for those that stay, in so many batches at most
HELD = 10  # rows, with fewer of which no ratio can be fitted

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "every": {
        "loss": "relativistic",
        "penalties": {},
        "annealing": 1.0,
        "learning_rate": 1e-3,
        "critic_pace": 1.0,
        "betas": (0.5, 0.999),
        "schedule": "constant",
        "prior": "normal",
        "latent_dim": 64,
        "batch_size": 64,
        "steps": 20000,
        "average": 0.999,
        "hidden": (128, 128, 128),
        "max_frequency": 0.0,
        "instance_noise": 0.0,
    },
    "mlp": {
        "penalties": {"r1": 3.0, "r2": 3.0},
        "betas": (0.0, 0.99),
        "schedule": "linear",
        "prior": "mixed",
        "latent_dim": 16,
        "batch_size": 512,
        "steps": 8000,
        "average": 0.99,
        "max_frequency": 10.0,
    },
    "mlp, mixed": {"batch_size": 256, "steps": 3000},
    "mlp, pictures": {
        "hidden": (512, 512, 512),
        "prior": "normal",
        "latent_dim": 64,
        "batch_size": 64,
        "steps": 20000,
        "average": 0.999,
    },
    "pictures": {
        "loss": "non-saturating",
        "critic_pace": 0.2,
        "instance_noise": 0.2,
        "annealing": 0.01,
        "schedule": "linear",
        "normalisation": "both",
        "dense": 256,
        "channels": 16,
    },
    "pictures, colour": {
        "loss": "relativistic",
        "penalties": {"r1": 1.0, "r2": 1.0},
        "critic_pace": 1.0,
        "normalisation": "generator",
    },
    "pictures, accelerator": {"channels": 64},
    "pyramid": {"coarsest": 2},
    "pictures, pyramid": {"noise_planes": 4},
    "fourier": {"critic_pace": 3.0, "annealing": 3e-5},
}
"""How each kind of network is trained where the parameters say nothing else: changes of ``every``.

``critic_pace`` is the critic's rate over the generator's. The MLPs' settings are what won on the
ring and the grid (experiments/ring_and_grid.py). ``mlp, mixed`` is of tables of several kinds of
columns (experiments/tables/synthetic.py). ``mlp, pictures`` is of sides from 16 pixels on:
modes of pictures are joined, so ±1 noise would gain nothing, and inverting one could not move it.
``pictures`` is what won within minutes of a core (experiments/pictures.py): batch norm in place of
penalties, and instance noise that fades, which helps on digits. By it emoji collapse within eight
minutes, with noise that stays too; by ``pictures, colour`` they do not. ``fourier`` is of critics
with Fourier features: a fast critic that ends up sharp gives modes their widths; in many columns it
tells all samples from all rows, and the generator collapses.
"""


def presets(
    networks: Iterable[str],
    shape: Sequence[int] | None,
    device: str = "cpu",
    pyramid: bool = False,
    mixed: bool = False,
) -> dict[str, dict[str, Any]]:
    """The presets of these kinds of networks, whole, and those of ``fourier``; a run keeps them."""
    found = {"fourier": dict(PRESETS["fourier"])}
    for network in networks:
        pictured = network in PICTURES
        wide = network == "mlp" and shape is not None and min(shape[:2]) >= SMALLEST
        rows = {
            "every": True,
            "mlp": not pictured,
            "mlp, mixed": not pictured and mixed,
            "mlp, pictures": wide,
            "pictures": pictured,
            "pictures, colour": pictured and shape is not None and len(shape) > 2,
            "pictures, accelerator": pictured and torch.device(device).type != "cpu",
            "pyramid": pyramid,
            "pictures, pyramid": pictured and pyramid,
        }
        chosen = [PRESETS[row] for row, holds in rows.items() if holds]
        found[network] = {name: value for row in chosen for name, value in row.items()}
    return found


@dataclasses.dataclass(frozen=True)
class Players:
    """What a generator and its critic are built for.

    Rows of ``size`` columns, pictures where they have a ``shape``. The condition is ``planes``
    pictures of that shape, then ``numbers``. ``output`` is what the generator's last layer passes
    through, ``classes`` how many logits the critic has. Columns of several kinds have ``heads``,
    and ``gaps`` where cells may be missing (:class:`~equilibria.networks.mlp.Heads`).
    """

    network: str
    size: int
    shape: tuple[int, ...] | None
    numbers: int
    planes: int
    output: str | None
    classes: int = 1
    heads: tuple[Any, ...] = ()
    gaps: tuple[Any, ...] = ()

    @property
    def condition(self) -> int:
        """Columns of the condition."""
        return self.planes * self.size + self.numbers


def choose(network: str, shape: Sequence[int] | None) -> str:
    """The network that ``network`` stands for where a row is a picture of this shape, or none."""
    if network == "auto":
        if shape is None or len(shape) > 2 or min(shape[:2]) < CONVOLVED:
            return "mlp"  # in colour MLPs are ahead of a dcgan: experiments/pictures.py
        times = halvings(shape[0], shape[1])
        return "dcgan" if times and max(shape[:2]) >> times <= BASE else "mlp"
    if network != "mlp" and (shape is None or not halvings(shape[0], shape[1])):
        found = "the rows are no pictures; give picture_shape"
        found = found if shape is None else f"pictures of {tuple(shape)} have other sides"
        raise ValueError(
            f"network={network!r}: it is for pictures whose sides are even and at least 6, and "
            f"{found}, or take 'mlp'"
        )
    return network


def settle(how: Any, known: Mapping[str, Mapping[str, Any]], players: Players) -> SimpleNamespace:
    """Every parameter of these players' training: what the user said, else the preset."""
    preset = dict(known[players.network])
    plain = players.network == "mlp"
    few = plain and players.size <= FEW and players.shape is None and not players.heads
    frequency = preset["max_frequency"] if few else 0.0
    if plain and how.max_frequency is not None:
        frequency = float(how.max_frequency)
    if frequency:
        preset |= known["fourier"]
    given = {field.name: getattr(how, field.name) for field in dataclasses.fields(how)}
    said = {name: value for name, value in given.items() if value not in (None, "auto")}
    found = {**given, **preset, **said, "max_frequency": frequency}
    if how.critic_learning_rate is None:
        found["critic_learning_rate"] = found["critic_pace"] * found["learning_rate"]
    return SimpleNamespace(**found)


# ------------------------------------------------------------------ players


def build(players: Players, how: SimpleNamespace, stream: Stream) -> tuple[Generator, nn.Module]:
    """A generator, and the critic of one pack."""
    networks = mlps if players.network == "mlp" else of_pictures
    network, critic = networks(players, how, stream.child("generator"), stream.child("critic"))
    return Generator(network, how.latent_dim, how.prior), critic


def mlps(
    players: Players, how: SimpleNamespace, generator: Stream, critic: Stream
) -> tuple[nn.Module, nn.Module]:
    """A generator and a critic of plain layers; the critic may see Fourier features."""
    seen, frequency = how.packing * players.size, how.max_frequency
    columns = seen + how.packing * players.condition + (2 * FEATURES if frequency else 0)
    sizes = [how.latent_dim + players.condition, *how.hidden, players.size]
    network: nn.Module = MLP(
        sizes, output=players.output, precision=how.precision, stream=generator
    )
    if players.heads:
        network = Heads(network, players.heads, players.gaps)
    sizes = [columns, *reversed(how.hidden), players.classes]
    judge = MLP(sizes, activation="leaky_relu", precision=how.precision, stream=critic)
    if not frequency:
        return network, judge
    ends = (min(1.0, frequency), frequency)
    return network, Fourier(judge, seen, FEATURES, ends, stream=critic.child("waves"))


def of_pictures(
    players: Players, how: SimpleNamespace, generator: Stream, critic: Stream
) -> tuple[nn.Module, nn.Module]:
    """A generator and a critic of convolutions."""
    shape, channels = players.shape, how.channels
    assert shape is not None
    shared: dict[str, Any] = {"condition": players.numbers, "planes": players.planes}
    shared["precision"], dense = how.precision, how.dense  # None in runs of 0.1.0
    norms = NORMALISED[how.normalisation]
    ours: dict[str, Any] = {**shared, "output": players.output, "stream": generator}
    ours |= {"normalisation": norms[0], "hidden": dense or 0}
    its = {**shared, "outputs": players.classes, "packing": how.packing, "stream": critic}
    its |= {"normalisation": norms[1], "hidden": dense}
    generator_of, critic_of = PICTURES[players.network]
    if dense:  # a residual critic takes twice the time, and learns no more in it
        critic_of = DCGANCritic
    if players.planes and getattr(how, "noise_planes", 0):
        generator_of, ours["hidden"], ours["noise"] = DetailGenerator, 0, how.noise_planes
    return generator_of(shape, how.latent_dim, channels, **ours), critic_of(shape, channels, **its)


def packed(critic: nn.Module, packing: int) -> nn.Module:
    """The critic as the game has it."""
    return critic if packing == 1 else Packed(critic, packing)


@dataclasses.dataclass(frozen=True)
class Pair:
    """A generator and the critic of one pack, with what their stage needs to know.

    ``name`` is the stage's, ``how`` as :func:`settle` gives it and the ``shape`` of its pictures,
    ``view`` (batch, stream) → the batch as the players see it, ``draw`` (generator, n, stream) →
    encoded rows with another generator in the place of this one, ``key`` of the order of the rows,
    ``classes`` those of a critic that has a logit for each.
    """

    name: str
    generator: Generator
    critic: nn.Module
    how: SimpleNamespace
    view: Callable[[Batch, Stream], Batch]
    draw: Callable[[Generator, int, Stream], Tensor]
    key: tuple[str, ...] = ("data",)
    classes: int | None = None


def headed(table: Table) -> bool:
    """Whether a generator has heads: not all columns are reals, or a picture's."""
    return not {layer.kind for layer in table.layers} <= {"real", "picture"}


def heads(table: Table, drawn: Sequence[int]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The heads of a generator of these encoded columns, and its gaps."""
    if not headed(table):
        return (), ()
    at, found = {place: column for column, place in enumerate(drawn)}, list[Any]()
    for layer in table.layers:
        kind = {"binary": "binary", "gap": "binary", "categorical": "categorical"}
        word = "grey" if layer.name in table.grey else kind.get(layer.kind, "number")
        first = layer.columns.start
        for size in layer.sizes:
            if first in at:
                found.append((word, tuple(at[first + i] for i in range(size))))
            first += size
    gaps = [(at[i], tuple(at[c] for c in own)) for i, own in table.indicators.items() if i in at]
    return tuple(found), tuple(gaps)


def conditional(
    how: Any, network: str, known: Mapping[str, Any], table: Table, stream: Stream
) -> tuple[Adversarial, Pair]:
    """The model of a GAN, and the pair that plays."""
    given = Given.of(table, how.condition)
    by_class = bool(table.classes) and not how.semi_supervised
    numbers = (table.classes if by_class else 0) + (0 if given.planes else len(given.given))
    logits = None if by_class or not table.classes else table.classes
    output = "tanh" if table.kind == "picture" else None
    parts = (given.shape, numbers, given.planes, output, logits or 1, *heads(table, given.drawn))
    players = Players(network, len(given.drawn), *parts)
    settings = settle(how, known, players)
    settings.shape = table.shape
    generator, critic = build(players, settings, stream.child("weights"))
    gappy = tuple(itertools.chain(*table.indicators.values()))
    told = tuple(one for one in table.indicators if one in given.drawn)
    sizes = table.classes, by_class, gappy, told
    model = Adversarial(generator, packed(critic, how.packing), given, *sizes)
    plays = (generator, critic, settings, model.view, model.portraits)
    return model, Pair("play", *plays, classes=logits)


# ------------------------------------------------------------------ stages


class play:  # noqa: N801 - a recipe is called like a function
    """The recipe of GANs and of their pyramids: rows → a stage for each pair.

    What it takes from the data, and the model keeps: how often each class is, and conditions.
    ``least`` is how many rows must be held out, where any are.
    """

    def __init__(self, model: Implicit, pairs: Sequence[Pair], least: int = 0):
        self.model, self.pairs, self.least = model, pairs, least

    def __call__(self, rows: Rows) -> list[Stage]:
        model: Any = self.model
        if rows.held is not None and len(rows.held) < self.least:
            found = f"{len(rows.held)} rows would be kept from training"
            least = f"the density ratio is fitted to {self.least} or more"
            raise ValueError(f"validation_fraction: {found}; {least}")
        codes = [part for part in (rows.codes, rows.held_codes) if part is not None]
        missing = sum(int((part < 0).sum()) for part in codes)
        if model.by_class and missing:
            found = f"{missing} of {sum(map(len, codes))} labels are missing, and each row goes"
            advice = (
                "leave those rows out, or take GAN(semi_supervised=True), which needs only some"
            )
            raise ValueError(f"y: {found} with its own; {advice}")
        model.note_shares(rows.codes)
        if model.conditional:
            kept = rows.some(KEPT, "conditions")
            model.note_conditions(kept.values, kept.label)
        return [self.stage(pair, rows) for pair in self.pairs]

    def stage(self, pair: Pair, rows: Rows) -> Stage:
        """The stage in which a pair plays; at its end the generator is averaged, and its batch norm
        made that of the average."""
        how, generator = pair.how, pair.generator
        costs: dict[str, Any] = {"penalties": how.penalties, "instance_noise": how.instance_noise}
        costs |= {"fade": (how.annealing, how.steps), "packing": how.packing}
        game = AdversarialGame(generator, pair.critic, how.loss, classes=pair.classes, **costs)
        average = Average(generator, how.average) if how.average else None
        seen = how.packing * (2 if batch_norms(pair.critic) else 1)
        batches = packs(rows, how, pair.key, max(seen, 2 if batch_norms(generator) else 1))
        watch = Watch(pair, game, average, batches, rows)
        stage = Stage(pair.name, game, solver_of(how), batches, how.steps, view=pair.view)
        stage.average, stage.on_end, stage.pictures = average, watch.end, watch.pictures
        stage.monitor = None if watch.monitor is None else watch
        return stage


def packs(rows: Rows, how: SimpleNamespace, key: tuple[str, ...], least: int) -> Batches:
    """Batches that packs divide, of so many rows at least: one pack, with batch norm two."""
    size = min(how.batch_size, len(rows))
    size -= size % how.packing
    if size < least:
        found = f"a batch has {min(how.batch_size, len(rows))} rows, and {least} are needed"
        pack = f" for packs of {how.packing}" if how.packing > 1 else ""
        advice = "; or take normalisation='neither'" if least > how.packing else ""
        raise ValueError(
            f"batch_size={how.batch_size!r}: {found}{pack}; use larger ones, or more rows{advice}"
        )
    return rows.batches_by(rows.stream.child(*key), size)


def solver_of(how: SimpleNamespace) -> Solver:
    """How the players move, each by Adam."""
    # the first of the players moves so often in a round where they alternate
    turns = how.critic_steps if how.solver == "alternating" else 1
    steps = 0 if how.schedule == "constant" else how.steps
    shared: dict[str, Any] = {"betas": how.betas, "schedule": how.schedule}
    rules = {
        "critic": Optimiser("adam", how.critic_learning_rate, **shared, steps=turns * steps),
        "generator": Optimiser("adam", how.learning_rate, **shared, steps=steps),
    }
    solver: Any = SOLVERS[how.solver]
    return solver(rules, k=turns) if how.solver == "alternating" else solver(rules)


class Watch:
    """A pair's monitor: the game's numbers and pictures, by the generator that the stage would end
    with now; and its end."""

    def __init__(
        self, pair: Pair, game: AdversarialGame, average: Any, batches: Batches, rows: Rows
    ):
        self.pair, self.game, self.average = pair, game, average
        self.batches, self.stream, self.table = batches, rows.stream, rows.table
        seen, held = self._rows(rows, False), self._rows(rows, True)
        self.monitor = None
        if seen is not None:
            coverage = "clusters" if seen.values.shape[1] <= WIDEST else None
            how: dict[str, Any] = {"coverage": coverage, "packing": pair.how.packing}
            self.monitor = GameMonitor(self.sample, game.logits, seen, held, **how)

    def _rows(self, rows: Rows, held: bool) -> Batch | None:
        """Some rows as the players see them; None where there are too few to say anything."""
        values = rows.held if held else rows.values
        if values is None or min(len(values), MONITORED) < max(FEWEST, self.pair.how.packing):
            return None
        some = rows.some(MONITORED, "watched", held=held)
        return self.pair.view(some, rows.stream.child("watched"))

    def measure(self, stream: Stream) -> dict[str, float]:
        """The numbers of a validation check."""
        if self.monitor is None:
            return {}
        with evaluating(self.game.critic):
            return self.monitor.measure(stream)

    def pictures(self, stream: Stream) -> np.ndarray | None:
        """A sheet: the same noise each time, so that the eye can follow; classes in their order."""
        if self.pair.how.shape is None:
            return None
        rows = self.pair.draw(self.ending(), PORTRAITS, self.stream.child("portraits"))
        return self.table.pictures(rows, self.pair.how.shape)

    def sample(self, n: int, stream: Stream, condition: Tensor | None) -> Tensor:
        return self.ending().sample(n, stream, condition)

    def ending(self) -> Generator:
        """A copy as the stage would leave it now: averaged, batch norm of that, by fewer rows."""
        twin = copy.deepcopy(self.pair.generator)
        if self.average is not None:
            twin.load_state_dict({**twin.state_dict(), **self.average.values})
        reestimate(twin, self._inputs(twin, REESTIMATED))
        return twin.eval()

    def end(self) -> None:
        # by 20 batches of 64 the Fréchet distance of MNIST went up and down by .4
        count = min(max(KEPT_FROM // self.batches.batch_size, REESTIMATED), MOST)
        reestimate(self.pair.generator, self._inputs(self.pair.generator, count))

    def _inputs(self, generator: Generator, count: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        """What a generator is given in training: noise, and conditions from the data."""
        stream = self.stream.child("restated")
        for i in range(count):
            batch = self.pair.view(self.batches.at(i), stream.child("view", i))
            yield generator.noise(len(batch.values), stream.child("noise", i)), batch.condition
