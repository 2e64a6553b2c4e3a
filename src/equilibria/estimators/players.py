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
from equilibria.estimators.families import FAMILIES, FEW, LARGEST, NORMALISED, SHARP, SMALLEST, WAVES, WIDE, Family, Players
from equilibria.estimators.labelled import LabelledEstimator
from equilibria.estimators.parameters import choice, flag, number, pair, usable_device, whole, widths, writable_name
from equilibria.evaluation.monitor import GameMonitor
from equilibria.games.adversarial import AdversarialGame
from equilibria.games.payoffs import PAYOFFS
from equilibria.games.penalties import find_penalties
from equilibria.models.generator import PRIORS, Generator, evaluating
from equilibria.networks import MLP, DCGANCritic, DCGANGenerator, Fourier, Packed, ResidualCritic, ResidualGenerator
from equilibria.networks.normalisation import batch_norms, reestimate
from equilibria.networks.packing import unpacked
from equilibria.networks.pictures import halvings
from equilibria.networks.precision import PRECISIONS
from equilibria.random import Stream
from equilibria.solvers import SOLVERS, Alternating, Optimiser, Solver
from equilibria.solvers.optimiser import SCHEDULES
from equilibria.training.engine import Processes
from equilibria.training.run import Run
from equilibria.training.stages import Average, Stage

__all__ = ["PORTRAITS", "AdversarialEstimator", "View"]

UNITS = ("auto", "picture", "real")
PORTRAITS = 64  # pictures in a sheet that shows where training is
WATCHED = 2000  # training rows that the game is watched by, and as many held-out ones
FEWEST = 40  # rows that it can be watched by
WIDEST = 1024  # columns in which clusters are looked for
RESTATED = 20  # batches that batch norm's statistics are worked out from at the end of a stage
View = Callable[[Batch, Stream], Batch]


class AdversarialEstimator(LabelledEstimator):
    """Base of the estimators that train a generator against a critic; a subclass says which players there are, and on what."""

    class_shares_: list[float] | None = None
    _families: Mapping[str, Mapping[str, Any]] = {}  # by kind of network, of a run that was read
    _sharp: Mapping[str, Any] = SHARP  # the same of what takes their place where the critic sees waves

    # ---------------------------------------------------------------- parameters

    def _validate(self) -> None:
        if self.hidden is not None:
            widths("hidden", self.hidden, "the widths of the hidden layers, such as (256, 256)")
        for name in ("channels", "k", "packing"):
            whole(name, getattr(self, name), 1)
        for name in ("latent_dim", "batch_size", "steps"):
            if getattr(self, name) is not None:
                whole(name, getattr(self, name), 1)
        for name in ("learning_rate", "critic_rate", "fade"):
            if getattr(self, name) is not None:
                number(name, getattr(self, name), 0, open_low=True)
        if self.average is not None:
            number("average", self.average, 0, 0.999999)
        if self.bandwidth is not None:
            number("bandwidth", self.bandwidth, 0)
        number("instance_noise", self.instance_noise, 0)
        choice("network", self.network, ("auto", *FAMILIES))
        choice("payoff", self.payoff, (None, *PAYOFFS))
        choice("normalisation", self.normalisation, tuple(NORMALISED))
        choice("precision", self.precision, tuple(PRECISIONS))
        choice("prior", self.prior, (None, *PRIORS))
        choice("schedule", self.schedule, (None, *SCHEDULES))
        choice("solver", self.solver, tuple(SOLVERS))
        choice("units", self.units, UNITS)
        if self.penalties is not None:
            if not isinstance(self.penalties, Mapping):
                raise ValueError(f"penalties={self.penalties!r}: expected a mapping from names to weights, such as {{'r1': 1.0}}")
            find_penalties(self.penalties)
        if self.batch_size is not None and self.packing > self.batch_size:
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
            whole_fours = shape is not None and max(shape[:2]) > LARGEST and not any(side % 4 for side in shape[:2])
            return "dcgan" if whole_fours else "mlp"
        if self.network != "mlp" and not fits:
            found = "the rows are no pictures; give picture_shape" if shape is None else f"pictures of {tuple(shape)} have other sides"
            raise ValueError(
                f"network={self.network!r}: it is for pictures whose sides are even and at least 6, and {found}, or take 'mlp'"
            )
        return str(self.network)

    def _family(self, network: str) -> Family:
        """How this kind of network is trained where nothing else is said; of a run, what was said then."""
        if network in self._families:
            return Family(**self._families[network])
        shape = self._drawn_shape
        wide = network == "mlp" and shape is not None and min(shape[:2]) >= SMALLEST
        return dataclasses.replace(FAMILIES[network], **WIDE) if wide else FAMILIES[network]

    @property
    def _drawn_shape(self) -> tuple[int, ...] | None:
        """Of the pictures that are drawn; None for other rows, and before a fit, when only the rates are asked for."""
        return self.schema_.shape if hasattr(self, "schema_") else None

    def _kinds(self) -> list[str]:
        """Which kinds of networks there are."""
        raise NotImplementedError

    def _begin(self, X: np.ndarray, group: Processes, whole: Any = None) -> None:
        self._families, self._sharp = {}, SHARP
        super()._begin(X, group, whole)

    def _config(self) -> dict[str, Any]:
        """With the defaults of this version, so that another one builds the same networks and plays on by the same rules."""
        families = {kind: dataclasses.asdict(self._family(kind)) for kind in self._kinds()}
        return {**super()._config(), "families": families, "sharp": dict(self._sharp)}

    @classmethod
    def _configured(cls, run: Run) -> Any:
        estimator = super()._configured(run)
        estimator._families, estimator._sharp = run.config.get("families", {}), run.config.get("sharp", SHARP)
        return estimator

    def _set(self, name: str, network: str) -> Any:
        """A parameter, or what the kind of network has in its place."""
        value = getattr(self, name)
        return getattr(self._family(network), name) if value is None else value

    def _tuned(self, network: str, critic: nn.Module) -> Family:
        """The family's settings, with those of a critic that sees waves where it does."""
        family = self._family(network)
        return dataclasses.replace(family, **self._sharp) if isinstance(unpacked(critic), Fourier) else family

    def _fading(self, network: str, critic: nn.Module) -> float:
        """The share of the penalties that is left at the end."""
        return float(self._tuned(network, critic).fade if self.fade is None else self.fade)

    def _rules(self, network: str, pace: float = 1.0) -> dict[str, Optimiser]:
        rate, schedule = self._set("learning_rate", network), self._set("schedule", network)
        critic = pace * rate if self.critic_rate is None else self.critic_rate
        shared: dict[str, Any] = {"betas": pair("betas", self._set("betas", network)), "schedule": schedule}
        steps = 0 if schedule == "constant" else int(self._set("steps", network))
        # the first of the players moves k times a round where they alternate
        turns = self.k if self.solver == "alternating" else 1
        return {
            "critic": Optimiser("adam", critic, **shared, steps=turns * steps),
            "generator": Optimiser("adam", rate, **shared, steps=steps),
        }

    def _solver(self, network: str, critic: nn.Module) -> Solver:
        rules = self._rules(network, self._tuned(network, critic).pace)
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
        latent_dim, prior = self._set("latent_dim", players.network), self._set("prior", players.network)
        return Generator(network, latent_dim, prior).to(self.device), critic.to(self.device)

    def _plain_networks(self, players: Players, generator: Stream, critic: Stream) -> tuple[nn.Module, nn.Module]:
        hidden, seen, bandwidth = [int(h) for h in self._set("hidden", "mlp")], self.packing * players.size, self._bandwidth(players)
        columns = seen + self.packing * players.condition + (2 * WAVES if bandwidth else 0)
        sizes = [self._set("latent_dim", "mlp") + players.condition, *hidden, players.size]
        network = MLP(sizes, output=players.output, precision=self.precision, stream=generator)
        judge = MLP([columns, *reversed(hidden), self._classes or 1], activation="leaky_relu", precision=self.precision, stream=critic)
        if not bandwidth:
            return network, judge
        return network, Fourier(judge, seen, WAVES, (min(1.0, bandwidth), bandwidth), stream=critic.child("waves"))

    def _bandwidth(self, players: Players) -> float:
        """Of the waves that a plain critic sees beside the columns; 0 for none."""
        if self.bandwidth is not None:
            return float(self.bandwidth)
        return self._family("mlp").bandwidth if players.size <= FEW and players.shape is None else 0.0

    def _picture_networks(self, players: Players, generator: Stream, critic: Stream) -> tuple[nn.Module, nn.Module]:
        assert players.shape is not None
        shared: dict[str, Any] = {"condition": players.numbers, "planes": players.planes, "precision": self.precision}
        ours: dict[str, Any] = {**shared, "output": players.output, "stream": generator}
        its: dict[str, Any] = {**shared, "outputs": self._classes or 1, "packing": self.packing, "stream": critic}
        latent_dim = self._set("latent_dim", players.network)
        if players.network == "residual":
            network: nn.Module = ResidualGenerator(players.shape, latent_dim, self.channels, **ours)
            return network, ResidualCritic(players.shape, self.channels, **its)
        norms = NORMALISED[self.normalisation]
        network = DCGANGenerator(players.shape, latent_dim, self.channels, normalisation=norms[0], **ours)
        return network, DCGANCritic(players.shape, self.channels, normalisation=norms[1], **its)

    def _packed(self, critic: nn.Module) -> nn.Module:
        """The critic as the game has it."""
        return critic if self.packing == 1 else Packed(critic, self.packing)

    # ---------------------------------------------------------------- stages

    def _batches(self, X: np.ndarray, codes: np.ndarray | None, rank: int, world: int, network: str, name: str = "data") -> Batches:
        """Batches that packs divide."""
        rows = min(self._set("batch_size", network), len(X))
        if rows < self.packing:
            raise ValueError(f"packing={self.packing!r}: a batch has {rows} rows, which do not make one pack; use fewer, or more rows")
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
        watched: tuple[Batch, Batch | None] | None = None,
    ) -> Stage:
        """The stage in which a pair plays; at its end the generator is averaged, and its batch norm made that of the average."""
        generator, critic = pair
        if batches.shard[1] > 1 and (batch_norms(generator) or batch_norms(critic)):
            raise ValueError(
                f"normalisation={self.normalisation!r}: batch norm would see each process's share of a batch by itself; "
                "use normalisation=None, or one process"
            )
        steps, decay = int(self._set("steps", network)), self._set("average", network)
        game = AdversarialGame(
            generator,
            critic,
            self._set("payoff", network),
            penalties=self._set("penalties", network),
            fade=(self._fading(network, critic), steps),
            packing=self.packing,
            instance_noise=self.instance_noise,
            classes=self._classes,
        )
        average = Average(generator, decay) if decay else None

        def restated(of: Generator) -> Generator:
            reestimate(of, self._seen_by(of, batches, view) if batch_norms(of) else ())
            return of

        def on_end() -> None:
            restated(generator)

        def pictures(stream: Stream) -> np.ndarray:
            assert portraits is not None
            return portraits(restated(_averaged(generator, average)).eval())

        def sample(n: int, stream: Stream, condition: Tensor | None) -> Tensor:
            return restated(_averaged(generator, average)).eval().sample(n, stream, condition)

        look = None
        if watched is not None:
            classes = "clusters" if watched[0].values.shape[1] <= WIDEST else None
            monitor = GameMonitor(sample, game.logits, *watched, coverage=classes, packing=self.packing)

            def look(stream: Stream) -> dict[str, float]:
                with evaluating(game.critic):
                    return monitor.measure(stream)

        stage = Stage(name, game, self._solver(network, critic), batches, steps, view=view, on_end=on_end, average=average)
        return dataclasses.replace(stage, pictures=None if portraits is None else pictures, monitor=look)

    def _watched(self, X: np.ndarray, codes: np.ndarray | None, view: View) -> Batch | None:
        """Some of these rows as the players see them; None where there are too few to say anything."""
        if min(len(X), WATCHED) < max(FEWEST, self.packing):
            return None
        rows = self._stream().child("watched").permutation(len(X))[:WATCHED].sort().values.numpy()
        values = self.schema_.encode(X[rows]).to(self.device)
        label = None if codes is None else torch.from_numpy(codes[rows]).to(self.device)
        return view(Batch(values, label=label), self._stream().child("watched"))

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
        """The label's columns of ``n`` samples; None where there are none."""
        codes = self._drawn_classes(n, y, stream)
        return None if codes is None else self._one_hot(codes).to(self.device)

    def _drawn_classes(self, n: int, y: Any, stream: Stream) -> Tensor | None:
        """Class numbers of ``n`` samples: those that were asked for, or drawn by their shares; None where rows are not drawn by class."""
        if not self._label_columns:
            self._refuse_labels(y)
            return None
        codes = torch.full((n,), -1) if y is None else torch.from_numpy(self._asked(y, n))
        ends = torch.tensor(self.class_shares_, dtype=torch.float64).cumsum(0)
        free = torch.searchsorted(ends, stream.child("classes").uniform((n,), torch.float64), right=True).clamp(max=len(ends) - 1)
        return torch.where(codes < 0, free, codes)

    def _refuse_labels(self, y: Any) -> None:
        if y is not None:
            remedy = "leave y out" if self.labels else "leave y out, or fit with labels=True"
            raise ValueError(f"y={y!r:.60}: this {type(self).__name__} is not conditional on labels; {remedy}")

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

    # ---------------------------------------------------------------- the model file

    def _named(self) -> dict[str, nn.Module]:
        """What is saved of the players, by the name that it has in the file."""
        raise NotImplementedError

    def _tensors(self) -> dict[str, Tensor]:
        return {f"{player}.{name}": value for player, module in self._named().items() for name, value in module.state_dict().items()}

    def _take(self, tensors: dict[str, Tensor]) -> None:
        """Fill the players from what ``_tensors`` gave."""
        for player, module in self._named().items():
            module.load_state_dict({k.removeprefix(f"{player}."): v for k, v in tensors.items() if k.startswith(f"{player}.")})


def _averaged(generator: Generator, average: Average | None) -> Generator:
    """A copy, with the averaged parameters where there are some."""
    twin = copy.deepcopy(generator)
    if average is not None:
        twin.load_state_dict({**twin.state_dict(), **average.values})
    return twin
