"""What the adversarial estimators share: the players that their parameters build, and the stage in which these play."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from equilibria.data import Batch, Batches
from equilibria.estimators.labelled import LabelledEstimator
from equilibria.estimators.parameters import choice, flag, number, pair, usable_device, whole, widths, writable_name
from equilibria.games.adversarial import AdversarialGame
from equilibria.games.payoffs import PAYOFFS
from equilibria.games.penalties import find_penalties
from equilibria.models.generator import PRIORS, Generator
from equilibria.networks import MLP, DCGANCritic, DCGANGenerator, Packed, ResidualCritic, ResidualGenerator
from equilibria.networks.normalisation import batch_norms, restate
from equilibria.networks.pictures import halvings
from equilibria.networks.precision import PRECISIONS
from equilibria.random import Stream
from equilibria.solvers import SOLVERS, Alternating, Rule, Solver
from equilibria.training.stages import Average, Stage

__all__ = ["FAMILIES", "NORMALISED", "PORTRAITS", "AdversarialEstimator", "Family", "Players", "View"]

UNITS = ("auto", "picture", "real")
NORMALISED: dict[str | None, tuple[str | None, str | None]] = {"generator": ("batch", None), "both": ("batch", "batch"), None: (None, None)}
"""Which of a dcgan's players have batch norm: name → (the generator's, the critic's)."""
PORTRAITS = 64  # pictures in a sheet that shows where training is
RESTATED = 20  # batches that batch norm's statistics are worked out from at the end of a stage
View = Callable[[Batch, Stream], Batch]


@dataclasses.dataclass(frozen=True)
class Family:
    """What a kind of network is trained by where nothing else is said.

    Attributes
    ----------
    rate : float
        Adam's.
    payoff : str
        A row of ``PAYOFFS``.
    penalties : mapping of str to float
        Rows of ``PENALTIES`` and their weights.
    """

    rate: float
    payoff: str
    penalties: Mapping[str, float]


FAMILIES: dict[str, Family] = {
    "mlp": Family(1e-3, "non-saturating", {}),
    "dcgan": Family(2e-4, "non-saturating", {}),
    "residual": Family(2e-4, "relativistic", {"r1": 1.0, "r2": 1.0}),
}
"""Networks by name."""


@dataclasses.dataclass(frozen=True)
class Players:
    """What a generator and its critic are built for.

    Attributes
    ----------
    network : str
        A row of ``FAMILIES``.
    size : int
        Columns of a row.
    shape : tuple of int or None
        Of a row that is a picture.
    numbers, planes : int
        The condition: so many pictures of that shape, then so many plain numbers.
    output : str or None
        What the generator's last layer passes through.
    """

    network: str
    size: int
    shape: tuple[int, ...] | None = None
    numbers: int = 0
    planes: int = 0
    output: str | None = None

    @property
    def condition(self) -> int:
        """Columns of the condition."""
        return self.planes * self.size + self.numbers


class AdversarialEstimator(LabelledEstimator):
    """Base of the estimators that train a generator against a critic; a subclass says which players there are, and on what."""

    class_shares_: list[float] | None = None

    # ---------------------------------------------------------------- parameters

    def _validate(self) -> None:
        widths("hidden", self.hidden, "the widths of the hidden layers, such as (256, 256)")
        for name in ("channels", "latent_dim", "k", "batch_size", "steps", "packing"):
            whole(name, getattr(self, name), 1)
        for name in ("learning_rate", "critic_rate"):
            if getattr(self, name) is not None:
                number(name, getattr(self, name), 0, open_low=True)
        number("average", self.average, 0, 0.999999)
        number("instance_noise", self.instance_noise, 0)
        choice("network", self.network, ("auto", *FAMILIES))
        choice("payoff", self.payoff, (None, *PAYOFFS))
        choice("normalisation", self.normalisation, tuple(NORMALISED))
        choice("precision", self.precision, tuple(PRECISIONS))
        choice("prior", self.prior, PRIORS)
        choice("solver", self.solver, tuple(SOLVERS))
        choice("units", self.units, UNITS)
        if self.penalties is not None:
            if not isinstance(self.penalties, Mapping):
                raise ValueError(f"penalties={self.penalties!r}: expected a mapping from names to weights, such as {{'r1': 1.0}}")
            find_penalties(self.penalties)
        if self.packing > self.batch_size:
            raise ValueError(f"packing={self.packing!r}: expected at most batch_size={self.batch_size!r}, the rows that packs are made of")
        flag("labels", self.labels)
        usable_device(self.device)
        writable_name("out", self.out)
        self._rules("mlp")

    def _schema_kind(self) -> str:
        if self.units != "auto":
            return str(self.units)
        return "picture" if self.value_range is not None or self.picture_shape is not None else "real"

    def _network_for(self, shape: Sequence[int] | None) -> str:
        """The network that ``network`` stands for where a row is a picture of this shape, or none."""
        fits = shape is not None and halvings(shape[0], shape[1]) > 0
        if self.network == "auto":
            whole_fours = shape is not None and min(shape[:2]) >= 8 and not any(side % 4 for side in shape[:2])
            return "dcgan" if whole_fours else "mlp"
        if self.network != "mlp" and not fits:
            found = "the rows are no pictures; give picture_shape" if shape is None else f"pictures of {tuple(shape)} have other sides"
            raise ValueError(
                f"network={self.network!r}: it is for pictures whose sides are even and at least 6, and {found}, or take 'mlp'"
            )
        return str(self.network)

    def _rules(self, network: str) -> dict[str, Rule]:
        rate = FAMILIES[network].rate if self.learning_rate is None else self.learning_rate
        critic, betas = rate if self.critic_rate is None else self.critic_rate, pair("betas", self.betas)
        return {"critic": Rule("adam", critic, betas=betas), "generator": Rule("adam", rate, betas=betas)}

    def _solver(self, network: str) -> Solver:
        rules = self._rules(network)
        return Alternating(rules, k=self.k) if self.solver == "alternating" else SOLVERS[self.solver](rules)

    @property
    def _classes(self) -> int | None:
        """How many classes the critic has logits for; None where it has the one logit."""
        return None

    # ---------------------------------------------------------------- players

    def _build(self, players: Players, stream: Stream) -> tuple[Generator, nn.Module]:
        """A generator, and the critic of one pack."""
        build = self._plain_networks if players.network == "mlp" else self._picture_networks
        network, critic = build(players, stream.child("generator"), stream.child("critic"))
        return Generator(network, self.latent_dim, self.prior).to(self.device), critic.to(self.device)

    def _plain_networks(self, players: Players, generator: Stream, critic: Stream) -> tuple[nn.Module, nn.Module]:
        hidden, seen = [int(h) for h in self.hidden], self.packing * (players.size + players.condition)
        sizes = [self.latent_dim + players.condition, *hidden, players.size]
        return (
            MLP(sizes, output=players.output, precision=self.precision, stream=generator),
            MLP([seen, *reversed(hidden), self._classes or 1], activation="leaky_relu", precision=self.precision, stream=critic),
        )

    def _picture_networks(self, players: Players, generator: Stream, critic: Stream) -> tuple[nn.Module, nn.Module]:
        assert players.shape is not None
        shared: dict[str, Any] = {"condition": players.numbers, "planes": players.planes, "precision": self.precision}
        ours: dict[str, Any] = {**shared, "output": players.output, "stream": generator}
        its: dict[str, Any] = {**shared, "outputs": self._classes or 1, "packing": self.packing, "stream": critic}
        if players.network == "residual":
            network: nn.Module = ResidualGenerator(players.shape, self.latent_dim, self.channels, **ours)
            return network, ResidualCritic(players.shape, self.channels, **its)
        norms = NORMALISED[self.normalisation]
        network = DCGANGenerator(players.shape, self.latent_dim, self.channels, normalisation=norms[0], **ours)
        return network, DCGANCritic(players.shape, self.channels, normalisation=norms[1], **its)

    def _packed(self, critic: nn.Module) -> nn.Module:
        """The critic as the game has it."""
        return critic if self.packing == 1 else Packed(critic, self.packing)

    # ---------------------------------------------------------------- stages

    def _batches(self, X: np.ndarray, codes: np.ndarray | None, rank: int, world: int, name: str = "data") -> Batches:
        """Batches that packs divide."""
        rows = min(self.batch_size, len(X))
        if rows < self.packing:
            raise ValueError(f"packing={self.packing!r}: X has {len(X)} rows, which do not make one pack; use fewer")
        names = ("data",) if name == "data" else ("data", name)
        stream, size = self._stream().child(*names), rows - rows % self.packing
        return Batches(X, size, stream, labels=codes, encode=self.schema_.encode, shard=(rank, world), device=self.device)

    def _stage(
        self,
        name: str,
        network: str,
        pair: tuple[Generator, nn.Module],
        batches: Batches,
        view: View,
        portraits: Callable[[Generator], np.ndarray] | None,
    ) -> Stage:
        """The stage in which a pair plays; at its end the generator is averaged, and its batch norm made that of the average."""
        generator, critic = pair
        if batches.shard[1] > 1 and (batch_norms(generator) or batch_norms(critic)):
            raise ValueError(
                f"normalisation={self.normalisation!r}: batch norm would see each process's share of a batch by itself; "
                "use normalisation=None, or one process"
            )
        family = FAMILIES[network]
        game = AdversarialGame(
            generator,
            critic,
            self.payoff or family.payoff,
            penalties=family.penalties if self.penalties is None else self.penalties,
            packing=self.packing,
            instance_noise=self.instance_noise,
            classes=self._classes,
        )
        average = Average(generator, self.average) if self.average else None

        def restated(of: Generator) -> Generator:
            restate(of, self._seen_by(of, batches, view) if batch_norms(of) else ())
            return of

        def on_end() -> None:
            restated(generator)

        def pictures(stream: Stream) -> np.ndarray:
            assert portraits is not None
            return portraits(restated(_averaged(generator, average)).eval())

        shown = None if portraits is None else pictures
        return Stage(name, game, self._solver(network), batches, self.steps, view=view, on_end=on_end, pictures=shown, average=average)

    def _seen_by(self, generator: Generator, batches: Batches, view: View) -> Iterator[tuple[Tensor, Tensor | None]]:
        """What a generator is given in training: noise, and conditions from the data."""
        stream = self._stream().child("restated")
        for i in range(RESTATED):
            batch = view(batches.at(i), stream.child("view", i))
            yield generator.noise(len(batch.values), stream.child("noise", i)), batch.condition

    # ---------------------------------------------------------------- labels

    @property
    def classes_(self) -> np.ndarray:
        """The classes in sorted order, of a model with labels."""
        if self.label_coding_ is None:
            raise AttributeError("this GAN has no labels, and so no classes_: construct it with labels=True")
        return self.label_coding_.classes

    def _codes(self, y: Any, rows: int, reset: bool) -> np.ndarray | None:
        codes = super()._codes(y, rows, reset)
        if codes is not None and not self.semi_supervised and (codes < 0).any():
            raise ValueError(
                f"y: {(codes < 0).sum()} of {rows} labels are missing, and each row goes with its own; leave those rows out, "
                "or set semi_supervised=True, which needs only some"
            )
        return codes

    @property
    def _label_columns(self) -> int:
        """Columns of the condition that say which class a row is of; none where the critic is to find out."""
        return len(self.classes_) if self.labels and not self.semi_supervised else 0

    def _note_shares(self, codes: np.ndarray | None) -> None:
        """How often each class is, for samples of which none is asked."""
        self.class_shares_ = None
        if codes is not None:
            counts = np.bincount(codes[codes >= 0], minlength=len(self.classes_))
            self.class_shares_ = (counts / counts.sum()).tolist()

    def _class_condition(self, n: int, y: Any, stream: Stream) -> Tensor | None:
        """The label's columns of ``n`` samples: the classes that were asked for, or drawn by their shares; None where there are none."""
        if not self._label_columns:
            if y is not None:
                raise ValueError(f"y={y!r}: this {type(self).__name__} is not conditional on labels; leave y out, or fit with labels=True")
            return None
        codes = torch.full((n,), -1) if y is None else torch.from_numpy(self._asked(y, n))
        ends = torch.tensor(self.class_shares_, dtype=torch.float64).cumsum(0)
        free = torch.searchsorted(ends, stream.child("classes").uniform((n,), torch.float64), right=True).clamp(max=len(ends) - 1)
        return self._one_hot(torch.where(codes < 0, free, codes)).to(self.device)

    def _one_of_each(self, n: int) -> np.ndarray | None:
        """``n`` labels, each class as often as the others, in their order; None where rows are not drawn by class."""
        return self.classes_[np.arange(n) * len(self.classes_) // n] if self._label_columns else None

    def _one_hot(self, codes: Tensor) -> Tensor:
        """Class numbers as conditions ``(n, classes)``; nothing but zeros where one is missing."""
        assert self.label_coding_ is not None
        columns = torch.arange(len(self.label_coding_.classes), device=codes.device)
        return (codes[:, None] == columns).to(torch.get_default_dtype())

    def _finish(self, stages: list[Stage], progress: Callable[[int, int], None]) -> None:
        """Nothing is left to work out."""


def _averaged(generator: Generator, average: Average | None) -> Generator:
    """A copy, with the averaged parameters where there are some."""
    twin = copy.deepcopy(generator)
    if average is not None:
        twin.load_state_dict({**twin.state_dict(), **average.values})
    return twin
