"""What the estimators of Boltzmann machines share: schema to units, stages to games, what is worked out at the end, the model file."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equilibria.data import Batch, Batches
from equilibria.data.batches import BINARISE
from equilibria.estimators.greys import Greys, Statistics
from equilibria.estimators.labelled import LabelledEstimator
from equilibria.estimators.layout import HIDDEN, Layout, smoothed_means
from equilibria.estimators.parameters import affordable, choice, flag, number, pair, towers, usable_device, whole, writable_name
from equilibria.estimators.queries import Queries
from equilibria.estimators.scores import Scores
from equilibria.estimators.stack import LABEL, with_labels
from equilibria.estimators.watching import Watching
from equilibria.games.contrastive import PRECISION, TEMPERED, ContrastiveGame
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.numbers import Measure
from equilibria.random import Stream
from equilibria.solvers import Rule, Simultaneous, Solver
from equilibria.training.distributed import Processes
from equilibria.training.stage import Average, Stage

__all__ = ["UndirectedEstimator"]

UNITS = ("auto", "bernoulli", "gaussian", "categorical", "spin", "rectified", "mixed")
NEGATIVE = {"pcd": "persistent", "cd": "data", **{name: name for name in TEMPERED}}
OPTIMISERS = ("sgd", "adam")
GAP_STEPS = 10
"""Of mean field in an RBM's training, over rows with missing cells or labels: one step leaves those cells where h = 0 puts them."""


class UndirectedEstimator(Queries, Scores, Greys, Watching, LabelledEstimator):
    """What `RBM` and `DBM` share; a subclass says how wide its hidden layers are and which stages it has."""

    RATE = 0.05
    """The default learning rate, where all visible layers are bounded."""

    layout_: Layout
    _live: tuple[ContrastiveGame, Solver] | None = None
    _gaps: bool = False

    # ---------------------------------------------------------------- what a user calls

    def partial_fit(self, X: Any, y: Any = None) -> Any:
        """One update of the last stage on ``X`` as its batch, at the first learning rate; the first call builds the model.

        The chains go on where they were; centring offsets and momentum begin anew after ``fit`` or ``load``, and so does a ladder of
        earlier states. The first batch must hold every class and every category; nothing is kept back.

        log Z is worked out again when it is next asked for.
        """
        first = not self.__sklearn_is_fitted__()
        if first:
            self._validate()
        table = self._table(X, reset=first)
        codes = self._codes(y, len(table), reset=first)
        if first:
            self._begin(table, Processes(), X)
            self._prepare(table, codes)
            self.n_steps_, self.history_, self.health_, self.chains_ = 0, [], [], {}
        self.grey_layers_ = tuple(sorted(Statistics.of(table, self.schema_).grey.union(self.grey_layers_)))
        game, solver = self._live or self._revive()
        stream = self._stream().child("partial", self.n_steps_)
        batch = self._batch(table, codes, stream)
        batch = dataclasses.replace(batch, values=self._seen(batch.values, stream.child("seen")))
        solver.step(game, iter([batch]), stream, measure=False)
        self.n_steps_ += 1
        self.chains_ = game.chains
        self._forget()
        return self

    def _revive(self) -> tuple[ContrastiveGame, Solver]:
        """The last stage's game, its chains where training left them, and a solver with a constant rate."""
        game = self._game()
        with torch.no_grad():
            for name, values in self.chains_.items():
                if name in game.chains:  # not where chains now restart at the data; over again where there are more of them now
                    rows = torch.arange(len(game.chains[name]), device=values.device) % len(values)
                    game.chains[name].copy_(values[rows])
        self._live = game, Simultaneous(self._rule(self._rate))
        return self._live

    @property
    def _n_features_out(self) -> int:
        return sum(self.machine_.units(name).size for name in self._hidden_names())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self._takes_missing
        return tags

    # ---------------------------------------------------------------- training

    def _validate(self) -> None:
        whole("batch_size", self.batch_size, 1)
        if self.learning_rate is not None:
            number("learning_rate", self.learning_rate, 0, open_low=True)
        if self.momentum is not None:
            number("momentum", self.momentum, 0, 0.999)
        whole("rungs", self.rungs, 2 if self.method == "tempered" else 1)
        if self.precision != "float32" and self.method in TEMPERED:
            raise ValueError(f"precision={self.precision!r}: with method={self.method!r} chains are float32; leave precision out")
        number("validation_fraction", self.validation_fraction, 0, 0.9)
        number("weight_decay", self.weight_decay, 0)
        number("average", self.average, 0, 0.999999)
        choice("precision", self.precision, tuple(PRECISION))
        if self.sparsity is not None:
            target, cost = pair("sparsity", self.sparsity)
            number("sparsity[0]", target, 0, 1)
            number("sparsity[1]", cost, 0)
        choice("units", self.units, UNITS)
        choice("binarise", self.binarise, (*BINARISE, None))
        choice("method", self.method, tuple(NEGATIVE))
        choice("optimiser", self.optimiser, OPTIMISERS)
        choice("hidden_units", self.hidden_units, tuple(HIDDEN))
        flag("labels", self.labels)
        flag("centred", self.centred)
        if self._groups is not None:
            towers(self._groups)
        elif self.kinds is not None and self.units != "mixed":
            raise ValueError(f"kinds={self.kinds!r}: these are for units='mixed', and units={self.units!r}")
        whole("k", self.k, 1)
        if self.chains is not None:
            whole("chains", self.chains, 1)
        whole("ais_chains", self.ais_chains, 2)
        whole("ais_betas", self.ais_betas, 1)
        usable_device(self.device)
        writable_name("out", self.out)

    def _schema_kind(self) -> str:
        if self._groups is not None:
            return "mixed"
        return "bernoulli" if self.units == "auto" and self.value_range is not None else self.units

    @property
    def _groups(self) -> Any:
        return getattr(self, "towers", None)

    @property
    def _takes_missing(self) -> bool:
        return True

    def _prepare(self, X: np.ndarray, codes: np.ndarray | None) -> None:
        """The machine and its base rates; whether the data are grey, and whether cells are missing."""
        found = Statistics.of(X, self.schema_)
        for layer in self.schema_.layers:
            empty = (found.counts[layer.columns] == 0).nonzero().flatten().tolist()
            if empty:  # of categories the schema has refused it already
                raise ValueError(f"X: column {layer.source[empty[0]]} has no observed value; leave it out")
        self.grey_layers_ = tuple(sorted(found.grey))
        self._gaps = found.gaps
        self.layout_ = self._layout()
        self._refuse_unaffordable()
        std = getattr(self, "initial_std", 0.01)
        self.machine_ = self.layout_.build().to(self.device).initialise(self._stream().child("weights"), std=std)
        means = smoothed_means(self.schema_, found.total, found.counts)
        if codes is not None:
            classes = self.layout_.classes
            means[LABEL] = torch.from_numpy((np.bincount(codes[codes >= 0], minlength=classes) + 1) / (np.sum(codes >= 0) + classes))
        with torch.no_grad():
            for name, mean in means.items():
                self.machine_.set_base(name, mean.to(self.device))
                self.machine_.bias[name].copy_(self.machine_.base(name))
        self._live = None
        self._forget()

    def _refuse_unaffordable(self) -> None:
        """Refuse widths and chains that memory cannot hold: weights, their gradient, velocity and average; the units of all chains."""
        visible, hidden = self.schema_.width, [int(w) for w in self._widths()]
        name = "n_components" if hasattr(self, "n_components") else "hidden"
        affordable(name, getattr(self, name), 4.0 * sum(a * b for a, b in itertools.pairwise((visible, *hidden))))
        units, rungs = float(visible + sum(hidden)), self.rungs if self.method in TEMPERED else 1
        if self.chains is not None:
            affordable("chains", self.chains, units * self.chains * rungs)
        affordable("rungs", self.rungs, units * rungs)
        affordable("ais_chains", self.ais_chains, units * self.ais_chains)

    def _layout(self) -> Layout:
        classes = 0 if self.label_coding_ is None else len(self.label_coding_.classes)
        widths = tuple(int(w) for w in self._widths())
        return Layout(self.schema_.layers, widths, self.hidden_units, classes, towers=self._groups is not None)

    def _hidden_names(self) -> list[str]:
        return [name for level in self.layout_.hidden_levels for name in level]

    def _batches(self, X: np.ndarray, codes: np.ndarray | None, rank: int, world: int) -> Callable[[str], Batches]:
        size = min(self.batch_size, len(X))

        def build(name: str) -> Batches:
            return Batches(
                X,
                size,
                self._stream().child("data", "fixed" if self._binarise == "fixed" else name),
                labels=codes,
                encode=functools.partial(self.schema_.encode, allow_missing=self._gaps),
                missing=self._gaps,
                binarise=self._binarise,
                greys=self._grey_columns,
                shard=(rank, world),
                device=self.device,
            )

        return build

    def _batch(self, X: np.ndarray, codes: np.ndarray | None, stream: Stream | None = None) -> Batch:
        """Rows as one batch with their labels; greys drawn from ``stream``, or as the fixed draw of each row."""
        if stream is None:
            values = self._binary(X).to(torch.get_default_dtype())
        else:
            values = self._encode(X, allow_missing=True)
            if self._binarise is not None:
                values = self._greys_drawn(values, self._binarise, stream.child("binarise"))
        missing = values.isnan()
        mask = ~missing if bool(missing.any()) else None
        batch = Batch(values.masked_fill(missing, 0.0), mask, None if codes is None else torch.from_numpy(codes))
        batch = batch if codes is None else with_labels(batch, self.layout_.classes)
        return Batch(batch.values.to(self.device), None if batch.mask is None else batch.mask.to(self.device))

    def _last_stage(self, name: str, X: np.ndarray, codes: np.ndarray | None, rate: float, steps: int, rank: int, world: int) -> Stage:
        """The stage in which the whole machine is trained."""
        game, batches = self._game(held_out=0 if self._kept is None else len(self._kept)), self._batches(X, codes, rank, world)(name)
        view = None if codes is None else self._labelled_view
        average = Average(self.machine_, self.average) if self.average else None
        solver, pictures = Simultaneous(self._rule(rate, steps)), self._fantasies(game)
        kept, seen = self._kept, None if self._kept is None else X[: len(self._kept)]
        return Stage(
            name,
            game,
            solver,
            batches,
            steps,
            view=view,
            pictures=pictures,
            average=average,
            monitor=lambda stream: self._look(game, average, seen, kept, stream),
            on_end=None if game.best is None else functools.partial(game.best.recall, self.machine_),
        )

    def _labelled_view(self, batch: Batch, stream: Stream) -> Batch:
        return with_labels(batch, self.layout_.classes)

    def _game(self, held_out: int = 0) -> ContrastiveGame:
        return ContrastiveGame(
            self.machine_,
            chains=self.chains or self.batch_size,
            steps=self.k,
            betas=self.rungs if self.method == "tempered" else None,
            replicas=self.rungs,
            negative=NEGATIVE[self.method],
            centred=self.centred,
            mean_field_steps=getattr(self, "mean_field_steps", GAP_STEPS),  # an RBM takes them where cells are missing; else one is exact
            posterior_sweeps=getattr(self, "posterior_sweeps", 0),
            precision=self.precision,
            sparsity=self._targets(),
            visible=self.layout_.clamped,
            stream=self._stream().child("chains"),
            held_out=held_out,
        ).to(self.device)

    def _targets(self) -> dict[str, tuple[float, float]]:
        """Each hidden layer's sparsity; a share of the time up as a mean, which for spins goes from −1 to 1."""
        if self.sparsity is None:
            return {}
        target, cost = pair("sparsity", self.sparsity)
        lowest = {name: self.machine_.units(name).lowest if self.machine_.units(name).bounded else 0.0 for name in self._hidden_names()}
        return {name: (low + (1.0 - low) * target, cost) for name, low in lowest.items()}

    def _rule(self, rate: float, steps: int = 0) -> Rule:
        """Gradient steps whose rate falls linearly to zero over ``steps`` of them; a constant rate without."""
        schedule, rate = "linear" if steps else "constant", rate * self._stride
        if self.optimiser == "adam":
            return Rule("adam", rate, betas=(self._momentum, 0.999), weight_decay=self.weight_decay, schedule=schedule, steps=steps)
        return Rule("sgd", rate, momentum=self._momentum, weight_decay=self.weight_decay, schedule=schedule, steps=steps)

    @property
    def _unbounded(self) -> bool:
        """Whether a visible layer is real-valued: its principal component grows faster than chains follow at a binary layer's pace."""
        return any(layer.kind in ("gaussian", "rectified") for layer in self.schema_.layers)

    @property
    def _rate(self) -> float:
        """The first learning rate of the last stage."""
        if self.learning_rate is not None:
            return float(self.learning_rate)
        return self.RATE / 5 if self._unbounded else self.RATE

    @property
    def _momentum(self) -> float:
        return (0.5 if self._unbounded else 0.9) if self.momentum is None else float(self.momentum)

    @property
    def _stride(self) -> float:
        """By what rates are multiplied: spins are binary units on twice the scale, so each side makes a step four times too long."""
        return 0.25 ** (any(layer.kind == "spin" for layer in self.schema_.layers) + (self.hidden_units == "spin"))

    def _seen(self, values: Tensor, stream: Stream) -> Tensor:
        """Encoded rows as the last stage's machine sees them."""
        return values

    def _finish(self, stages: list[Stage], progress: Callable[[int, int], None]) -> None:
        game = stages[-1].game
        assert isinstance(game, ContrastiveGame)
        self.chains_ = {name: values.clone() for name, values in game.chains.items()}
        self._live = None
        self._forget()
        self._work_out_log_partition(progress)

    def _facts(self) -> dict[str, Any]:
        z, sides = self._log_partition, self._sides
        found = None if z is None else Measure(z.name, z.value, z.low, z.high, n=z.samples, ess=z.ess)
        return {"log_partition": found, "sides": "" if sides is None or sides.agree else sides.warning}

    def _forget(self) -> None:
        """Drop what was derived from parameters that have changed."""
        self._log_partition = self._sides = self._double = None

    # ---------------------------------------------------------------- the model file

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"machine.{name}": value for name, value in self.machine_.state_dict().items()}
        return {**tensors, **{f"chain.{name}": value for name, value in self.chains_.items()}}

    def _config(self) -> dict[str, Any]:
        config = super()._config()
        if self._groups is not None:  # columns by number, for slices and names are not JSON's to keep
            config["params"]["towers"] = {"pairs": [[layer.name, list(layer.source)] for layer in self.schema_.layers]}
        return config

    def _metadata(self) -> dict[str, Any]:
        return {"machine": self.machine_.config(), **self._log_partition_data(), **self._greys_data()}

    def _restore(self, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
        self.layout_ = self._layout()
        self.machine_ = BoltzmannMachine.from_config(metadata["machine"]).to(self.device)
        own = {name.removeprefix("machine."): value for name, value in tensors.items() if name.startswith("machine.")}
        self.machine_.load_state_dict(own)
        self.chains_ = {name.removeprefix("chain."): v.to(self.device) for name, v in tensors.items() if name.startswith("chain.")}
        self._restore_greys(metadata)
        self._forget()
        self._restore_log_partition(metadata)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name not in ("_live", "_double", "_kept")}

    # For subclasses.

    def _widths(self) -> Sequence[int]:
        """Of the hidden layers, from the visible ones up."""
        raise NotImplementedError
