"""The deep belief network with scikit-learn's face: `DBN`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from equilibria.data import Batch
from equilibria.estimate import Estimate
from equilibria.estimators.parameters import asked_for, choice, pair, whole, widths
from equilibria.estimators.queries import COOLING
from equilibria.estimators.stack import settle_game
from equilibria.estimators.undirected import NEGATIVE, UndirectedEstimator
from equilibria.evaluation import belief_network
from equilibria.games.contrastive import ContrastiveGame
from equilibria.models.belief_network import BeliefNetwork
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.numbers import Measure
from equilibria.random import RandomState, Stream
from equilibria.solvers import Simultaneous
from equilibria.training.stages import Average, Stage
from equilibria.units import Bernoulli

__all__ = ["DBN"]

START_ROWS = 2000
"""Rows whose features say where a machine of the stack starts: its base rates, chains and centring."""


class DBN(UndirectedEstimator):
    """Deep belief network: directed layers under a restricted Boltzmann machine, trained greedily from the data up.

    Each pair of neighbouring layers is trained as a restricted Boltzmann machine on draws of the layer below given the data. The
    topmost pair stays one; of the others the downward half generates and the upward half recognises.

    Parameters
    ----------
    hidden : sequence of int
        Units of each hidden layer, from the visible layer up.
    learning_rate : float, optional
        First rate of each layer's training; it falls linearly to zero. By default .05, and .01 where the visible layer is real-valued.
    batch_size : int
        Rows in a batch (all rows, where there are fewer).
    steps : int
        Updates of each layer's training.
    start : {"transposed", "random"}
        Where a layer above the first begins: as the layer below upside down, or from small random weights. Upside down it begins
        with the likelihood that the layers below have reached; it takes binary layers, and units enough for the layer two below.
    k, chains, method, centred, momentum, weight_decay, average, precision, sparsity
        As in :class:`RBM`.
    units, binarise, value_range, picture_shape, ais_chains, ais_betas
        As in :class:`RBM`.
    bound_samples : int
        Draws of the hidden layers behind the score of a row, two or more.
    bound_importance : int
        More than one makes each of them an importance-weighted mean of so many draws: a tighter bound for as many times the work.
    verbose, random_state, device, out, overwrite
        As in :class:`RBM`.

    Attributes
    ----------
    network_ : BeliefNetwork
        The trained model.
    machine_ : BoltzmannMachine
        Its topmost machine.
    log_partition_ : Estimate
        log Z of the topmost machine with its interval.
    schema_, history_, health_
        As in :class:`RBM`.

    Notes
    -----
    ``partial_fit`` moves the topmost machine alone: the layers below it are trained by ``fit``.

    References
    ----------
    Hinton, Osindero & Teh 2006, "A fast learning algorithm for deep belief nets"; Salakhutdinov & Murray 2008 (the likelihood); *Deep
    Learning*, section 20.3.

    Examples
    --------
    >>> from equilibria import DBN
    >>> from equilibria.data import bars_and_stripes
    >>> X = bars_and_stripes(3)
    >>> model = DBN(hidden=(8, 9), steps=50, random_state=0).fit(X)
    >>> model.score_samples(X).shape, model.sample(2).shape
    ((14,), (2, 9))
    """

    model_name = "dbn"

    # What a belief network does not offer, as its machines' estimator wants to know it.
    kinds, hidden_units, optimiser, labels, missing_label = None, "bernoulli", "sgd", False, None
    validation_fraction, rungs = 0.0, 10
    network_: BeliefNetwork
    _double_network: BeliefNetwork | None = None

    def __init__(
        self,
        hidden: Sequence[int] = (500, 500, 2000),
        *,
        learning_rate: float | None = None,
        batch_size: int = 100,
        steps: int = 10000,
        start: str = "transposed",
        verbose: int = 0,
        random_state: RandomState = None,
        units: str = "auto",
        method: str = "pcd",
        k: int = 1,
        chains: int | None = None,
        centred: bool = True,
        momentum: float | None = None,
        weight_decay: float = 0.0,
        average: float = 0.0,
        precision: str = "float32",
        sparsity: tuple[float, float] | None = None,
        binarise: str | None = "resample",
        value_range: tuple[float, float] | None = None,
        picture_shape: tuple[int, ...] | None = None,
        ais_chains: int = 100,
        ais_betas: int = 10000,
        bound_samples: int = 10,
        bound_importance: int = 1,
        device: str = "cpu",
        out: str | None = None,
        overwrite: bool = False,
    ):
        self.hidden = hidden
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.steps = steps
        self.start = start
        self.verbose = verbose
        self.random_state = random_state
        self.units = units
        self.method = method
        self.k = k
        self.chains = chains
        self.centred = centred
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.average = average
        self.precision = precision
        self.sparsity = sparsity
        self.binarise = binarise
        self.value_range = value_range
        self.picture_shape = picture_shape
        self.ais_chains = ais_chains
        self.ais_betas = ais_betas
        self.bound_samples = bound_samples
        self.bound_importance = bound_importance
        self.device = device
        self.out = out
        self.overwrite = overwrite

    # ---------------------------------------------------------------- what a user calls

    def sample(self, n: int = 1, y: Any = None, given: Any = None, random_state: RandomState = None, sweeps: int = 200) -> np.ndarray:
        """Draw rows from the model: Gibbs sampling in the topmost machine, then one pass down.

        Parameters
        ----------
        n : int
            Number of rows.
        y, given : None
            A belief network has no label layer, and its directed layers cannot be sampled given some of the cells.
        random_state : int, numpy generator or None
            None uses the seed of ``fit``, so a fitted model gives the same samples each time.
        sweeps : int
            Gibbs sweeps of each chain of the topmost machine, which goes on as in :meth:`RBM.sample <equilibria.RBM.sample>`.

        Returns
        -------
        ndarray of shape (n, d), or DataFrame where ``fit`` had one
            In the data's own scale, type and column names. Where the data were grey the last step's visible means are given, else draws.
        """
        check_is_fitted(self)
        asked_for(n, self.n_features_in_)
        whole("sweeps", sweeps, 1)
        for name, value, instead in (("y", y, "leave y out"), ("given", given, "use DBM or RBM to fill cells in")):
            if value is not None:
                raise ValueError(f"{name}={value!r}: a deep belief network cannot sample under a condition; {instead}")
        stream = self._draws(random_state, "sample")
        state = self._first_state(n, stream.child("first"), COOLING * sweeps)
        visible = self.network_.sample(n, stream.child("sweeps"), sweeps=sweeps, state=state, mean=self.grey_)
        return self._framed(self.schema_.decode(visible))

    def score_samples(self, X: Any) -> np.ndarray:
        """The variational lower bound on log p(x) of each row in nats (log p(x) itself, up to log Z, with one hidden layer).

        The bound is averaged over ``bound_samples`` draws of the hidden layers that are keyed by the row's own content, as is the draw
        that makes a grey row binary: the answer is deterministic, and the same in any company. Of real-valued data it is the density in
        the data's own scale.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        rows = self._binary(self._table(X, reset=False))
        return belief_network.row_bounds(self._precise_network(), rows, **self._how()).values - (
            self.log_partition_.value + self.schema_.log_volume
        )

    def log_likelihood(self, X: Any) -> Estimate:
        """Mean of :meth:`score_samples` as an :class:`~equilibria.estimate.Estimate`, which says that it is a bound and how sure it is."""
        check_is_fitted(self)
        rows = self._binary(self._table(X, reset=False))
        estimate = belief_network.bound(self._precise_network(), rows, self.log_partition_, **self._how())
        return estimate.shifted(-self.schema_.log_volume)

    def transform(self, X: Any) -> np.ndarray:
        """Recognition means of all hidden units given each row, shape (n_samples, n_hidden), layer after layer.

        A layer's means are those given the means of the layer below.
        """
        check_is_fitted(self)
        X = self._table(X, reset=False)
        values, parts = self._encode(X, torch.float64).to(self.device), []
        with torch.no_grad():
            for depth in range(1, len(self.network_.layers)):
                values = self._precise_network().features(values, depth, first=depth - 1)
                parts.append(values)
        return torch.cat(parts, 1).cpu().numpy().astype(np.float32 if X.dtype == np.float32 else np.float64)

    @property
    def _n_features_out(self) -> int:
        return sum(self.network_.units(name).size for name in self.network_.layers[1:])

    def _how(self) -> dict[str, Any]:
        return {"samples": self.bound_samples, "importance": self.bound_importance, "random_state": self._stream().child("bound")}

    # ---------------------------------------------------------------- training

    def _validate(self) -> None:
        super()._validate()
        choice("units", self.units, ("auto", "bernoulli", "gaussian", "categorical"))
        widths("hidden", self.hidden, "the number of units of each hidden layer, such as (500, 500, 2000)")
        whole("steps", self.steps, 1)
        choice("start", self.start, ("transposed", "random"))
        whole("bound_samples", self.bound_samples, 2)
        whole("bound_importance", self.bound_importance, 1)

    def _widths(self) -> Sequence[int]:
        """Of the first machine, which is prepared as an RBM's is."""
        return [self.hidden[0]]

    @property
    def _takes_missing(self) -> bool:
        return False

    def _prepare(self, X: np.ndarray, codes: np.ndarray | None) -> None:
        super()._prepare(X, codes)
        sizes = [int(size) for size in self.hidden]
        machines, stream = [self.machine_], self._stream().child("weights")
        for i in range(1, len(sizes)):
            below, above = f"hidden{i}", f"hidden{i + 1}"
            machine = BoltzmannMachine({below: Bernoulli(sizes[i - 1]), above: Bernoulli(sizes[i])}, [(below, above)])
            machines.append(machine.to(self.device).initialise(stream.child(i), std=0.01))
        self.network_ = BeliefNetwork(machines)
        self.machine_ = self.network_.top
        self._forget()

    def _stages(self, X: np.ndarray, codes: np.ndarray | None, rank: int, world: int) -> list[Stage]:
        self._prepare(X, codes)
        batches, count = self._batches(X, codes, rank, world), len(self.network_.machines)
        rule = self._rule(self._rate, self.steps)
        names = [f"layer {i + 1}" for i in range(count)]
        games = [self._game_of(self.network_.machine(i)) for i in range(count)]
        stages = [
            Stage(name, game, Simultaneous(rule), batches(name), self.steps, pictures=self._fantasies(game))
            for name, game in zip(names, games, strict=True)
        ]
        for i, stage in enumerate(stages):
            stage.average = Average(self.network_.machine(i), self.average) if self.average else None
            if i > 0:
                stage.view = self._features(i)
                stages[i - 1].on_end = self._beginning(i, games[i], X, rank)
        return stages

    def _game(self, held_out: int = 0) -> ContrastiveGame:
        return self._game_of(self.machine_)

    def _game_of(self, machine: BoltzmannMachine) -> ContrastiveGame:
        below, above = machine.layers
        return ContrastiveGame(
            machine,
            chains=self.chains or self.batch_size,
            steps=self.k,
            negative=NEGATIVE[self.method],
            centred=self.centred,
            mean_field_steps=1,  # an RBM's one step is exact
            precision=self.precision,
            sparsity={} if self.sparsity is None else {above: pair("sparsity", self.sparsity)},
            stream=self._stream().child("chains", below),
        ).to(self.device)

    def _features(self, depth: int) -> Callable[[Batch, Stream], Batch]:
        """The view of a stage: a draw of layer ``depth`` given the data, a fresh one in each batch."""

        def view(batch: Batch, stream: Stream) -> Batch:
            with torch.no_grad():
                return Batch(self.network_.features(batch.values, depth, stream), label=batch.label, condition=batch.condition)

        return view

    def _beginning(self, i: int, game: ContrastiveGame, X: np.ndarray, rank: int) -> Callable[[], None]:
        """What machine i does when the one below it has been trained: take its start, and settle where the data's features are."""

        def begin() -> None:
            stream, network = self._stream().child("begin", i), self.network_
            rows = stream.child("rows").permutation(len(X))[: max(START_ROWS, self.chains or self.batch_size)]
            values = self._binary(X[rows.sort().values.numpy()]).to(network.dtype)
            with torch.no_grad():
                features = network.features(values, i, stream.child("features"))
                self._start(i, features.mean(0), len(rows))
            settle_game(game, Batch(features), stream.child("settle"), rank)

        return begin

    def _start(self, i: int, rates: Tensor, rows: int) -> None:
        """Base rates, biases and weights that machine i begins with."""
        machine, lower = self.network_.machine(i), self.network_.machine(i - 1)
        (visible, below), (_, above) = lower.layers, machine.layers
        machine.set_base(below, (rates * rows + 1) / (rows + 2))
        size = lower.units(visible).size
        if self.start == "random" or not isinstance(lower.units(visible), Bernoulli) or size > machine.units(above).size:
            machine.bias[below].copy_(machine.base(below))
            return
        machine.weight[f"{below}-{above}"][:, :size] = lower.weight[f"{visible}-{below}"].T
        machine.bias[below].copy_(lower.bias[below])
        machine.bias[above][:size] = lower.bias[visible]

    def _seen(self, values: Tensor, stream: Stream) -> Tensor:
        return self.network_.features(values, len(self.hidden) - 1, stream)

    def _visible_means(self, machine: BoltzmannMachine, state: dict[str, Tensor], stream: Stream) -> Tensor:
        depth = list(self.network_.machines).index(machine)
        if depth == 0:
            return super()._visible_means(machine, state, stream)
        return self.network_.down(state[next(iter(machine.layers))], depth, stream.child("down"), mean=True)

    def _gap(self, train: Any, held_out: Any) -> Measure:
        rows = self._binary(train), self._binary(held_out)
        return belief_network.free_energy_gap(self._precise_network(), *rows, **self._how())

    def _forget(self) -> None:
        super()._forget()
        self._double_network = None

    # ---------------------------------------------------------------- the model

    def _precise(self) -> BoltzmannMachine:
        return self._precise_network().top

    def _precise_network(self) -> BeliefNetwork:
        """The network in float64, so that a row's answer does not depend on the rows beside it."""
        if self._double_network is None:
            self._double_network = copy.deepcopy(self.network_).double()
        return self._double_network

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"network.{name}": value for name, value in self.network_.state_dict().items()}
        return {**tensors, **{f"chain.{name}": value for name, value in self.chains_.items()}}

    def _metadata(self) -> dict[str, Any]:
        return {"network": self.network_.config(), **self._log_partition_data(), **self._greys_data()}

    def _restore(self, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
        self.network_ = BeliefNetwork.from_config(metadata["network"]).to(self.device)
        own = {name.removeprefix("network."): value for name, value in tensors.items() if name.startswith("network.")}
        self.network_.load_state_dict(own)
        self.machine_ = self.network_.top
        self.chains_ = {name.removeprefix("chain."): v.to(self.device) for name, v in tensors.items() if name.startswith("chain.")}
        self._restore_greys(metadata)
        self._forget()
        self._restore_log_partition(metadata)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_double_network"}
