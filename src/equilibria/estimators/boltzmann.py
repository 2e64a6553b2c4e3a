"""Boltzmann machines with scikit-learn's face: `RBM` and `DBM`."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from equilibria.data import Batch, Batches, Schema, binarise
from equilibria.data.batches import BINARISE
from equilibria.estimate import Estimate
from equilibria.estimators.base import GenerativeEstimator, choice, number, usable_device, whole, writable_name
from equilibria.estimators.stack import pretraining, settle_game
from equilibria.evaluation import likelihood
from equilibria.games.contrastive import ContrastiveGame
from equilibria.inference import exact, gibbs, mean_field
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.random import RandomState, Stream, as_stream
from equilibria.solvers import Rule, Simultaneous, Solver
from equilibria.training.engine import Processes
from equilibria.training.stages import Stage
from equilibria.units import Bernoulli, Categorical, Gaussian, Units

__all__ = ["DBM", "RBM"]

UNITS = ("auto", "bernoulli", "gaussian", "categorical")
NEGATIVE = {"pcd": "persistent", "cd": "data"}


class _BoltzmannEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, GenerativeEstimator):
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
        solver.step(game, iter([Batch(values.to(self.device))]), stream, measure=False)
        self.n_steps_ += 1
        self.chains_ = game.chains
        self._forget()
        return self

    def _revive(self) -> tuple[ContrastiveGame, Solver]:
        """The last stage's game, its chains where training left them, and a solver with a constant rate."""
        game = self._game(self.k)
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
        if size % world:
            raise ValueError(f"batch_size={size}: cannot be shared equally among {world} processes; choose a multiple of {world}")

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

    def _game(self, steps: int = 1) -> ContrastiveGame:
        return ContrastiveGame(
            self.machine_,
            chains=self.chains or self.batch_size,
            steps=steps,
            negative=NEGATIVE[self.method],
            centred=self.centred,
            mean_field_steps=getattr(self, "mean_field_steps", 1),  # an RBM's one step is exact
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
                state = gibbs.run(self.machine_, gibbs.start(self.machine_, 64, stream), 200, stream)
            with torch.no_grad():
                return self._pictures(self.machine_.units("visible").mean(self.machine_.field("visible", state)))

        return pictures

    def _finish(self, stages: list[Stage], progress: Callable[[int, int], None]) -> None:
        game = stages[-1].game
        assert isinstance(game, ContrastiveGame)
        self.chains_ = {name: values.clone() for name, values in game.chains.items()}
        self._live = None
        self._forget()
        self._work_out_log_partition(progress)

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


class RBM(_BoltzmannEstimator):
    """Restricted Boltzmann machine: one visible and one hidden layer.

    p(v, h) ∝ exp(vᵀWh + b·v + c·h) for binary data, trained by persistent (or plain) contrastive divergence with the centred
    gradient. It takes the place of scikit-learn's ``BernoulliRBM`` (same parameter names, ``transform``, ``partial_fit``,
    ``gibbs``), and adds a real log-likelihood, samples, real-valued and categorical data.

    Parameters
    ----------
    n_components : int
        Hidden units.
    learning_rate : float
        First learning rate; it falls linearly to zero over the training.
    batch_size : int
        Rows in a batch (all rows, where there are fewer).
    n_iter : int
        Passes over the data.
    verbose : int
        Whether to show progress, where standard error is a terminal.
    random_state : int, numpy generator or None
        Seed of every draw; the same value gives the same model.
    units : {"auto", "bernoulli", "gaussian", "categorical"}
        Kind of the visible units. Auto takes binary units for values in [0, 1] (or in ``value_range``), Gaussian ones otherwise.
    method : {"pcd", "cd"}
        Where the negative phase's chains start: where they were, or at the data.
    k : int
        Gibbs sweeps an update.
    chains : int, optional
        Persistent chains; by default as many as rows in a batch.
    centred : bool
        Whether the gradient is centred (Melchior, Fischer & Wiskott 2016).
    momentum, weight_decay : float
        Of the gradient steps; the decay touches weights alone.
    binarise : {"resample", "fixed", "threshold", None}
        How grey values become binary: drawn anew in each batch, drawn once, compared with ½, or not at all (taken as means).
    value_range : (low, high), optional
        Range of the data's values, for instance (0, 255).
    picture_shape : tuple of int, optional
        (height, width) where a row is a flattened picture, for sample pictures and reports.
    ais_chains, ais_betas : int
        Chains and temperatures of the AIS estimate of log Z where it is not enumerable.
    device : str
        Where torch computes.
    out : str, optional
        Run folder to write; nothing is written without it.
    overwrite : bool
        Whether an earlier run in ``out`` may be replaced.

    Attributes
    ----------
    machine_ : BoltzmannMachine
        The trained model.
    log_partition_ : Estimate
        log Z with its interval.
    components_, intercept_hidden_, intercept_visible_ : ndarray
        Weights (n_components, n_features) and biases, as in scikit-learn.
    schema_ : Schema
        How columns became units.
    history_ : list of dict
        Rows of ``metrics.jsonl``.
    health_ : list of str
        What the curves say, in sentences.

    References
    ----------
    Smolensky 1986; Tieleman 2008 (PCD); *Deep Learning*, section 20.2.

    Examples
    --------
    >>> import numpy as np
    >>> from equilibria import RBM
    >>> X = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 1]])
    >>> model = RBM(n_components=2, n_iter=10, random_state=0).fit(X)
    >>> model.transform(X).shape, model.sample(5).shape
    ((4, 2), (5, 3))
    """

    model_name = "rbm"

    def __init__(
        self,
        n_components: int = 256,
        *,
        learning_rate: float = 0.05,
        batch_size: int = 10,
        n_iter: int = 10,
        verbose: int = 0,
        random_state: RandomState = None,
        units: str = "auto",
        method: str = "pcd",
        k: int = 1,
        chains: int | None = None,
        centred: bool = True,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        binarise: str | None = "resample",
        value_range: tuple[float, float] | None = None,
        picture_shape: tuple[int, ...] | None = None,
        ais_chains: int = 100,
        ais_betas: int = 1000,
        device: str = "cpu",
        out: str | None = None,
        overwrite: bool = False,
    ):
        self.n_components = n_components
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.n_iter = n_iter
        self.verbose = verbose
        self.random_state = random_state
        self.units = units
        self.method = method
        self.k = k
        self.chains = chains
        self.centred = centred
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.binarise = binarise
        self.value_range = value_range
        self.picture_shape = picture_shape
        self.ais_chains = ais_chains
        self.ais_betas = ais_betas
        self.device = device
        self.out = out
        self.overwrite = overwrite

    def gibbs(self, v: Any, random_state: RandomState = None) -> np.ndarray:
        """One Gibbs step from ``v``: hidden units drawn, then new visible ones, shape of ``v``.

        Without ``random_state`` each call draws anew, so that calling it again and again is a Markov chain.
        """
        check_is_fitted(self)
        visible = self._binary(self._table(v, reset=False)).to(self.machine_.dtype)
        stream = as_stream(random_state).child("gibbs")
        with torch.no_grad():
            hidden, _ = gibbs.block(self.machine_, 1, {"visible": visible}, stream.child("hidden"))
            drawn, _ = gibbs.block(self.machine_, 0, hidden, stream.child("visible"))
        return self._framed(self.schema_.decode(drawn["visible"]))

    @property
    def components_(self) -> np.ndarray:
        return self.machine_.weight["visible-hidden1"].detach().cpu().numpy().T

    @property
    def intercept_hidden_(self) -> np.ndarray:
        return self.machine_.bias["hidden1"].detach().cpu().numpy()

    @property
    def intercept_visible_(self) -> np.ndarray:
        return self.machine_.bias["visible"].detach().cpu().numpy()

    def _validate(self) -> None:
        super()._validate()
        whole("n_components", self.n_components, 1)
        whole("n_iter", self.n_iter, 1)

    def _hidden_units(self) -> list[Units]:
        return [Bernoulli(int(self.n_components))]

    def _stages(self, X: np.ndarray, rank: int, world: int) -> list[Stage]:
        self._prepare(X)
        return [self._joint_stage(X, rank, world)]

    def _joint_stage(self, X: np.ndarray, rank: int, world: int) -> Stage:
        game, batches = self._game(self.k), self._batches(X, rank, world)("train")
        steps = max(1, self.n_iter * len(X) // batches.batch_size)
        solver = Simultaneous(self._rule(self.learning_rate, steps))
        return Stage("train", game, solver, batches, steps, pictures=self._fantasies(game))


class DBM(_BoltzmannEstimator):
    """Deep Boltzmann machine: layer-wise pretraining, then Algorithm 20.1 of *Deep Learning*.

    p(v, h¹, h², …) ∝ exp(vᵀW¹h¹ + h¹ᵀW²h² + … + biases). The positive phase is mean field, the negative one persistent block
    Gibbs chains; the gradient is centred.

    Parameters
    ----------
    hidden : sequence of int
        Units of each hidden layer, from the visible layer up.
    learning_rate : float
        First rate of the joint stage; it falls linearly to zero.
    batch_size : int
        Rows in a batch (all rows, where there are fewer).
    steps : int
        Updates of the joint stage.
    pretrain_steps : int
        Updates of each layer's pretraining; 0 leaves it out.
    pretrain_rate, pretrain_decay : float
        First rate and weight decay of the pretraining; its momentum is at most ½ for the first tenth.
    mean_field_steps : int
        Updates of both blocks in the positive phase.
    k, chains, method, centred, momentum, weight_decay, units, binarise, value_range, picture_shape, ais_chains, ais_betas
        As in :class:`RBM`.
    verbose, random_state, device, out, overwrite
        As in :class:`RBM`.

    Attributes
    ----------
    machine_, log_partition_, schema_, history_, health_
        As in :class:`RBM`.

    References
    ----------
    Salakhutdinov & Hinton 2009, "Deep Boltzmann machines"; *Deep Learning*, section 20.4.

    Examples
    --------
    >>> from equilibria import DBM
    >>> from equilibria.data import bars_and_stripes
    >>> X = bars_and_stripes(3)
    >>> model = DBM(hidden=(8, 4), steps=50, pretrain_steps=20, random_state=0).fit(X)
    >>> model.score_samples(X).shape, model.sample(2).shape
    ((14,), (2, 9))
    """

    model_name = "dbm"

    def __init__(
        self,
        hidden: Sequence[int] = (500, 1000),
        *,
        learning_rate: float = 0.005,
        batch_size: int = 100,
        steps: int = 20000,
        pretrain_steps: int = 5000,
        pretrain_rate: float = 0.05,
        pretrain_decay: float = 1e-3,
        mean_field_steps: int = 5,
        verbose: int = 0,
        random_state: RandomState = None,
        units: str = "auto",
        method: str = "pcd",
        k: int = 5,
        chains: int = 100,
        centred: bool = True,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        binarise: str | None = "resample",
        value_range: tuple[float, float] | None = None,
        picture_shape: tuple[int, ...] | None = None,
        ais_chains: int = 100,
        ais_betas: int = 10000,
        device: str = "cpu",
        out: str | None = None,
        overwrite: bool = False,
    ):
        self.hidden = hidden
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.steps = steps
        self.pretrain_steps = pretrain_steps
        self.pretrain_rate = pretrain_rate
        self.pretrain_decay = pretrain_decay
        self.mean_field_steps = mean_field_steps
        self.verbose = verbose
        self.random_state = random_state
        self.units = units
        self.method = method
        self.k = k
        self.chains = chains
        self.centred = centred
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.binarise = binarise
        self.value_range = value_range
        self.picture_shape = picture_shape
        self.ais_chains = ais_chains
        self.ais_betas = ais_betas
        self.device = device
        self.out = out
        self.overwrite = overwrite

    def _validate(self) -> None:
        super()._validate()
        if isinstance(self.hidden, str) or not isinstance(self.hidden, Sequence | np.ndarray) or len(self.hidden) < 1:
            raise ValueError(f"hidden={self.hidden!r}: expected the number of units of each hidden layer, such as (500, 1000)")
        for i, size in enumerate(self.hidden):
            whole(f"hidden[{i}]", size, 1)
        whole("steps", self.steps, 1)
        whole("pretrain_steps", self.pretrain_steps, 0)
        number("pretrain_rate", self.pretrain_rate, 0, open_low=True)
        number("pretrain_decay", self.pretrain_decay, 0)
        whole("mean_field_steps", self.mean_field_steps, 1)
        whole("chains", self.chains, 1)

    def _hidden_units(self) -> list[Units]:
        return [Bernoulli(int(size)) for size in self.hidden]

    def _stages(self, X: np.ndarray, rank: int, world: int) -> list[Stage]:
        self._prepare(X)
        joint, stages = self._joint_stage(X, rank, world), []
        if self.pretrain_steps:
            rule = Rule(
                "sgd",
                self.pretrain_rate,
                momentum=min(0.5, self.momentum),
                final_momentum=self.momentum,
                momentum_steps=self.pretrain_steps // 10,
                weight_decay=self.pretrain_decay,
                schedule="linear",
                steps=self.pretrain_steps,
            )
            rows = self._stream().child("start rows").permutation(len(X))[: max(self.chains, 100)]
            start = self._binary(X[rows.sort().values.numpy()])

            def begin() -> None:
                game = joint.game
                assert isinstance(game, ContrastiveGame)
                settle_game(game, start.to(self.machine_.dtype), self._stream().child("settle"), rank)

            stages = pretraining(
                self.machine_, self._batches(X, rank, world), rule, self.pretrain_steps, self._stream().child("pretraining"), begin
            )
        return [*stages, joint]

    def _joint_stage(self, X: np.ndarray, rank: int, world: int) -> Stage:
        game, solver = self._game(self.k), Simultaneous(self._rule(self.learning_rate, self.steps))
        batches = self._batches(X, rank, world)("joint")
        return Stage("joint", game, solver, batches, self.steps, pictures=self._fantasies(game))


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
