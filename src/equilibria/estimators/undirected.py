"""What the estimators of Boltzmann machines share: schema to units, chains, scores, samples, the model file."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from equilibria.data import Batch, Batches, Schema, binarise
from equilibria.data.batches import BINARISE
from equilibria.estimate import Estimate
from equilibria.estimators.base import GenerativeEstimator
from equilibria.estimators.parameters import choice, number, pair, usable_device, whole, writable_name
from equilibria.evaluation import Metric, likelihood
from equilibria.games.contrastive import PRECISION, ContrastiveGame
from equilibria.inference import exact, gibbs, mean_field
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.random import RandomState, Stream
from equilibria.solvers import Rule, Simultaneous, Solver
from equilibria.training.engine import Processes
from equilibria.training.stages import Average, Stage
from equilibria.units import Bernoulli, Categorical, Gaussian, Units

__all__ = ["UndirectedEstimator"]

UNITS = ("auto", "bernoulli", "gaussian", "categorical")
NEGATIVE = {"pcd": "persistent", "cd": "data"}


class UndirectedEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, GenerativeEstimator):
    """What `RBM` and `DBM` share; a subclass says how many hidden units and which stages."""

    machine_: BoltzmannMachine
    chains_: dict[str, Tensor]
    grey_: bool
    _live: tuple[ContrastiveGame, Solver] | None = None
    _log_partition: Estimate | None = None
    _double: BoltzmannMachine | None = None

    # ---------------------------------------------------------------- what a user calls

    def sample(self, n: int = 1, y: Any = None, given: Any = None, random_state: RandomState = None, sweeps: int = 200) -> np.ndarray:
        """Draw rows from the model by block Gibbs sampling.

        Chains go on from the training's own persistent chains (from the base rates where there are none), ``sweeps`` sweeps each.

        Parameters
        ----------
        n : int
            Number of rows.
        y : None
            Labels to condition on; these models have no label layer.
        given : array of shape (d,) or (n, d), optional
            Cells to hold fixed, NaN (or None) where the model is to fill in.
        random_state : int, numpy generator or None
            None uses the seed of ``fit``, so a fitted model gives the same samples each time.
        sweeps : int
            Gibbs sweeps of each chain.

        Returns
        -------
        ndarray of shape (n, d), or DataFrame where ``fit`` had one
            In the data's own scale, type and column names. Where the data were grey (probabilities of binary units) the last
            sweep's visible means are given, else draws. Cells that were given come back untouched.
        """
        check_is_fitted(self)
        whole("n", n, 1)
        whole("sweeps", sweeps, 1)
        if y is not None:
            raise ValueError(f"y={y!r}: {type(self).__name__} has no label layer to condition on; leave y out")
        stream = self._draws(random_state, "sample")
        machine, clamp = self.machine_, self._given(given, n)
        state = self._first_state(n, stream.child("first"))
        state = gibbs.run(machine, state, sweeps, stream.child("sweeps"), clamp)
        visible = state["visible"]
        if self.grey_:
            with torch.no_grad():
                visible = machine.units("visible").mean(machine.field("visible", state))
        return self._framed(_put_back(self.schema_.decode(visible), given))

    def score_samples(self, X: Any) -> np.ndarray:
        """log p(x) of each row in nats: exact up to log Z for an RBM, the variational lower bound for a DBM.

        log Z is worked out once, when ``fit`` ends (``log_partition_``). Grey rows are made binary by a draw that is keyed by the
        row's own content (or by the threshold, where training used it), so the answer is deterministic. Of real-valued data it is the
        density in the data's own scale.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        values = self._binary(self._table(X, reset=False))
        bounds = [mean_field(self._precise(), {"visible": rows}, tolerance=1e-7).bound for rows in values.split(2000)]
        return (torch.cat(bounds) - self.log_partition_.value - self.schema_.log_volume).cpu().numpy()

    def score(self, X: Any, y: Any = None) -> float:
        """Mean of :meth:`score_samples`."""
        return float(self.score_samples(X).mean())

    def log_likelihood(self, X: Any) -> Estimate:
        """Mean log p(x) over rows as an :class:`~equilibria.estimate.Estimate`, which says whether it is a bound and how sure it is."""
        check_is_fitted(self)
        estimate = likelihood.bound(self._precise(), self._binary(self._table(X, reset=False)), self.log_partition_)
        return estimate.shifted(-self.schema_.log_volume)

    def _gap(self, train: Any, held_out: Any) -> Metric:
        """How much better the model knows training rows than held-out ones."""
        return likelihood.free_energy_gap(self._precise(), self._binary(train), self._binary(held_out))

    def transform(self, X: Any) -> np.ndarray:
        """Means of all hidden units given each row, shape (n_samples, n_hidden), layer after layer."""
        check_is_fitted(self)
        X = self._table(X, reset=False)
        values = self._encode(X, torch.float64)
        parts = []
        for rows in values.split(2000):
            means = mean_field(self._precise(), {"visible": rows}, tolerance=1e-9).means
            parts.append(torch.cat([means[name] for name in means if name != "visible"], 1))
        return torch.cat(parts).cpu().numpy().astype(np.float32 if X.dtype == np.float32 else np.float64)

    def partial_fit(self, X: Any, y: Any = None) -> Any:
        """One update of the last stage on ``X`` as its batch, at the first learning rate; the first call builds the model.

        log Z is worked out again when it is next asked for.
        """
        first = not self.__sklearn_is_fitted__()
        if first:
            self._validate()
        X = self._table(X, reset=first)
        if first:
            self._begin(X, Processes())
            self._prepare(X)
            self.n_steps_, self.history_, self.health_, self.chains_ = 0, [], [], {}
        self.grey_ = self.grey_ or self._holds_greys(X)
        game, solver = self._live or self._revive()
        stream = self._stream().child("partial", self.n_steps_)
        values = self._encode(X)
        if self._binarise is not None:
            values = binarise(values, self._binarise, stream.child("binarise"))
        values = self._seen(values.to(self.device), stream.child("seen"))
        solver.step(game, iter([Batch(values)]), stream, measure=False)
        self.n_steps_ += 1
        self.chains_ = game.chains
        self._forget()
        return self

    def _revive(self) -> tuple[ContrastiveGame, Solver]:
        """The last stage's game, its chains where training left them, and a solver with a constant rate."""
        game = self._game()
        with torch.no_grad():
            for name, values in self.chains_.items():
                getattr(game, f"chain_{name}").copy_(values)
        self._live = game, Simultaneous(self._rule(self.learning_rate))
        return self._live

    @property
    def log_partition_(self) -> Estimate:
        """log Z with its interval: exact where the smaller colour can be enumerated, else by AIS."""
        check_is_fitted(self)
        return self._log_partition or self._work_out_log_partition()

    def _work_out_log_partition(self, progress: Callable[[int, int], None] | None = None) -> Estimate:
        small = exact.enumerable(self.machine_, max_states=likelihood.MAX_STATES)
        self._log_partition = likelihood.log_partition(
            self._precise() if small else self.machine_,
            random_state=self._stream().child("log partition"),
            betas=self.ais_betas,
            chains=self.ais_chains,
            progress=progress,
        )
        return self._log_partition

    @property
    def _n_features_out(self) -> int:
        return sum(self.machine_.units(name).size for name in self.machine_.layers if name != "visible")

    # ---------------------------------------------------------------- training

    def _validate(self) -> None:
        whole("batch_size", self.batch_size, 1)
        number("learning_rate", self.learning_rate, 0, open_low=True)
        number("momentum", self.momentum, 0, 0.999)
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
        whole("k", self.k, 1)
        if self.chains is not None:
            whole("chains", self.chains, 1)
        whole("ais_chains", self.ais_chains, 2)
        whole("ais_betas", self.ais_betas, 1)
        usable_device(self.device)
        writable_name("out", self.out)

    def _schema_kind(self) -> str:
        return "bernoulli" if self.units == "auto" and self.value_range is not None else self.units

    def _prepare(self, X: np.ndarray) -> None:
        """The machine, its base rates, and whether the data are grey."""
        schema = self.schema_
        self.grey_ = self._holds_greys(X)
        self.machine_ = BoltzmannMachine.stack(_visible_units(schema), *self._hidden_units()).to(self.device)
        self.machine_.initialise(self._stream().child("weights"), std=0.01)
        mean = _mean(X, schema).to(self.device)
        self.machine_.set_base("visible", _smoothed(mean, len(X), schema))
        with torch.no_grad():
            self.machine_.bias["visible"].copy_(self.machine_.base("visible"))
        self._live = None
        self._forget()

    def _holds_greys(self, X: np.ndarray) -> bool:
        return self.schema_.kind == "bernoulli" and not _two_valued(X, self.schema_)

    @property
    def _binarise(self) -> str | None:
        """How a batch becomes binary: not at all where it is so already or stays real."""
        return self.binarise if self.grey_ else None

    def _batches(self, X: np.ndarray, rank: int, world: int) -> Callable[[str], Batches]:
        size = min(self.batch_size, len(X))

        def build(name: str) -> Batches:
            return Batches(
                X,
                size,
                self._stream().child("data", "fixed" if self._binarise == "fixed" else name),
                encode=self.schema_.encode,
                binarise=self._binarise,
                shard=(rank, world),
                device=self.device,
            )

        return build

    def _game(self) -> ContrastiveGame:
        return ContrastiveGame(
            self.machine_,
            chains=self.chains or self.batch_size,
            steps=self.k,
            negative=NEGATIVE[self.method],
            centred=self.centred,
            mean_field_steps=getattr(self, "mean_field_steps", 1),  # an RBM's one step is exact
            precision=self.precision,
            sparsity={} if self.sparsity is None else {name: tuple(self.sparsity) for name in self._hidden_names()},
            stream=self._stream().child("chains"),
        ).to(self.device)

    def _rule(self, rate: float, steps: int = 0) -> Rule:
        """Gradient steps whose rate falls linearly to zero over ``steps`` of them; a constant rate without."""
        schedule = "linear" if steps else "constant"
        return Rule("sgd", rate, momentum=self.momentum, weight_decay=self.weight_decay, schedule=schedule, steps=steps)

    def _fantasies(self, game: ContrastiveGame) -> Callable[[Stream], np.ndarray] | None:
        """Pictures of the chains (of fresh ones, where training restarts them at the data), or nothing where rows are no pictures."""
        if self.schema_.shape is None or self.schema_.kind == "categorical":
            return None

        def pictures(stream: Stream) -> np.ndarray:
            state = {name: values[:64] for name, values in game.chains.items()}
            if not state:
                state = gibbs.run(game.machine, gibbs.start(game.machine, 64, stream), 200, stream)
            with torch.no_grad():
                return self._pictures(self._visible_means(game.machine, state, stream))

        return pictures

    def _visible_means(self, machine: BoltzmannMachine, state: dict[str, Tensor], stream: Stream) -> Tensor:
        """What a state of a stage's machine looks like."""
        return machine.units("visible").mean(machine.field("visible", state))

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

    def _average(self) -> Average | None:
        return Average(self.machine_, self.average) if self.average else None

    def _hidden_names(self) -> list[str]:
        return [name for name in self.machine_.layers if name != "visible"]

    def _facts(self) -> dict[str, Any]:
        return {"log_partition": self._log_partition}

    def _forget(self) -> None:
        """Drop what was derived from parameters that have changed."""
        self._log_partition = None
        self._double = None

    # ---------------------------------------------------------------- inference

    def _precise(self) -> BoltzmannMachine:
        """The machine in float64, so that a row's answer does not depend on the rows beside it."""
        if self._double is None:
            self._double = copy.deepcopy(self.machine_).double()
        return self._double

    def _binary(self, X: np.ndarray) -> Tensor:
        """Encoded rows in float64; grey ones as one fixed draw each, keyed by the row's content."""
        values = self._encode(X, torch.float64)
        if not self.grey_:
            return values.to(self.device)
        if self.binarise == "threshold":
            return (values > 0.5).to(values).to(self.device)
        stream = self._stream().child("content")
        draws = [stream.child(_content(row)).uniform((row.shape[0],), torch.float64) for row in values]
        return (torch.stack(draws) < values).to(values).to(self.device)

    def _first_state(self, n: int, stream: Stream) -> dict[str, Tensor]:
        if not self.chains_:
            return gibbs.start(self.machine_, n, stream)
        chains = next(iter(self.chains_.values())).shape[0]
        rows = torch.arange(n, device=self.machine_.device) % chains
        return {name: values[rows] for name, values in self.chains_.items()}

    def _given(self, given: Any, n: int) -> dict[str, tuple[Tensor, Tensor]]:
        if given is None:
            return {}
        table = np.asarray(given, dtype=object if self.schema_.categories is not None else float)
        if table.ndim == 1:
            table = np.broadcast_to(table, (n, len(table)))
        if table.shape != (n, self.n_features_in_):
            raise ValueError(f"given: expected shape ({self.n_features_in_},) or ({n}, {self.n_features_in_}), found {np.shape(given)}")
        values = self._encode(np.ascontiguousarray(table), name="given", allow_missing=True).to(self.device)
        return {"visible": (torch.nan_to_num(values), ~torch.isnan(values))}

    # ---------------------------------------------------------------- the model file

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"machine.{name}": value for name, value in self.machine_.state_dict().items()}
        return {**tensors, **{f"chain.{name}": value for name, value in self.chains_.items()}}

    def _metadata(self) -> dict[str, Any]:
        return {"machine": self.machine_.config(), "log_partition": self.log_partition_.to_json(), "grey": self.grey_}

    def _restore(self, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
        self.machine_ = BoltzmannMachine.from_config(metadata["machine"]).to(self.device)
        own = {name.removeprefix("machine."): value for name, value in tensors.items() if name.startswith("machine.")}
        self.machine_.load_state_dict(own)
        self.chains_ = {name.removeprefix("chain."): v.to(self.device) for name, v in tensors.items() if name.startswith("chain.")}
        self.grey_ = bool(metadata["grey"])
        self._forget()
        self._log_partition = Estimate.from_json(metadata["log_partition"])

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name not in ("_live", "_double")}

    # For subclasses.

    def _hidden_units(self) -> list[Units]:
        raise NotImplementedError

    def _joint_stage(self, X: np.ndarray, rank: int, world: int) -> Stage:
        raise NotImplementedError


def _visible_units(schema: Schema) -> Units:
    if schema.categories is not None:
        return Categorical([len(group) for group in schema.categories])
    return Bernoulli(schema.size) if schema.kind == "bernoulli" else Gaussian(schema.size)


def _blocks(X: np.ndarray, schema: Schema) -> Any:
    for first in range(0, len(X), 4096):
        yield schema.encode(X[first : first + 4096], torch.float64)


def _mean(X: np.ndarray, schema: Schema) -> Tensor:
    return sum((block.sum(0) for block in _blocks(X, schema)), torch.zeros(schema.size, dtype=torch.float64)) / len(X)


def _smoothed(mean: Tensor, rows: int, schema: Schema) -> Tensor:
    """Base rates with one more observation of each kind, so that none is 0 or 1."""
    if schema.categories is not None:
        sizes = torch.tensor([len(group) for group in schema.categories for _ in group], device=mean.device)
        return (mean * rows + 1) / (rows + sizes)
    return (mean * rows + 1) / (rows + 2) if schema.kind == "bernoulli" else mean


def _two_valued(X: np.ndarray, schema: Schema) -> bool:
    return all(bool(((block == 0) | (block == 1)).all()) for block in _blocks(X, schema))


def _put_back(rows: np.ndarray, given: Any) -> np.ndarray:
    """Rows with the cells that were given as they came, to the last bit."""
    if given is None:
        return rows
    table = np.broadcast_to(np.asarray(given, dtype=object if rows.dtype.kind in "OUS" else float), rows.shape)
    known = np.array([[cell is not None and cell == cell for cell in row] for row in table]) if table.dtype == object else ~np.isnan(table)
    rows = rows.copy()
    rows[known] = table[known]
    return rows


def _content(row: Tensor) -> str:
    return hashlib.blake2b(row.numpy().tobytes(), digest_size=8).hexdigest()
