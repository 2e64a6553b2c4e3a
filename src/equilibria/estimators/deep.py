"""The deep Boltzmann machine with scikit-learn's face: `DBM`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from equilibria.estimators.parameters import number, whole, widths
from equilibria.estimators.restricted import RBM
from equilibria.estimators.stack import pretraining, settle_game
from equilibria.estimators.undirected import UndirectedEstimator
from equilibria.games.contrastive import ContrastiveGame
from equilibria.random import RandomState
from equilibria.solvers import Rule
from equilibria.training.stage import Stage

__all__ = ["DBM"]


class DBM(UndirectedEstimator):
    """Deep Boltzmann machine: layer-wise pretraining, then Algorithm 20.1 of *Deep Learning*.

    p(v, h¹, h², …) ∝ exp(vᵀW¹h¹ + h¹ᵀW²h² + … + biases). The positive phase is mean field, the negative one persistent block
    Gibbs chains; the gradient is centred.

    Parameters
    ----------
    hidden : sequence of int
        Units of each hidden layer, from the visible layer up.
    learning_rate : float, optional
        First rate of the joint stage; it falls linearly to zero. By default .005, and .001 where a visible layer is real-valued.
    batch_size : int
        Rows in a batch (all rows, where there are fewer).
    steps : int
        Updates of the joint stage.
    pretrain_steps : int
        Updates of each layer's pretraining; 0 leaves it out.
    pretrain_rate : float, optional
        First rate of the pretraining, whose momentum is at most ½ for the first tenth. By default .05, and .01 with real-valued layers.
    pretrain_decay : float
        Its weight decay.
    mean_field_steps : int
        Updates of both blocks in the positive phase.
    copies : int
        Copies of the top layer in pretraining: 1 as in 2009; 2, which divide the top's units into two halves that begin alike, give the
        top two thirds of the work (Hinton & Salakhutdinov 2012).
    k, chains, method, rungs, centred, optimiser, momentum, weight_decay, average, precision, sparsity, validation_fraction
        As in :class:`RBM`.
    towers : mapping, optional
        Name → columns of X, as in :class:`RBM`; each tower has hidden layers of its own, as wide as ``hidden`` says, below a common
        top: what is known of one, the others are predicted from (Srivastava & Salakhutdinov 2012).
    units, kinds, hidden_units, labels, missing_label, binarise, value_range, picture_shape, ais_chains, ais_betas
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
    RATE = 0.005

    def __init__(
        self,
        hidden: Sequence[int] = (500, 1000),
        *,
        learning_rate: float | None = None,
        batch_size: int = 100,
        steps: int = 20000,
        pretrain_steps: int = 5000,
        pretrain_rate: float | None = None,
        pretrain_decay: float = 1e-3,
        copies: int = 1,
        mean_field_steps: int = 5,
        verbose: int = 0,
        random_state: RandomState = None,
        units: str = "auto",
        kinds: Any = None,
        towers: Any = None,
        hidden_units: str = "bernoulli",
        labels: bool = False,
        missing_label: int | float | str | None = None,
        method: str = "pcd",
        rungs: int = 10,
        k: int = 5,
        chains: int = 100,
        centred: bool = True,
        optimiser: str = "sgd",
        momentum: float | None = None,
        weight_decay: float = 0.0,
        average: float = 0.0,
        precision: str = "float32",
        sparsity: tuple[float, float] | None = None,
        validation_fraction: float = 0.0,
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
        self.copies = copies
        self.mean_field_steps = mean_field_steps
        self.verbose = verbose
        self.random_state = random_state
        self.units = units
        self.kinds = kinds
        self.towers = towers
        self.hidden_units = hidden_units
        self.labels = labels
        self.missing_label = missing_label
        self.method = method
        self.rungs = rungs
        self.k = k
        self.chains = chains
        self.centred = centred
        self.optimiser = optimiser
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.average = average
        self.precision = precision
        self.sparsity = sparsity
        self.validation_fraction = validation_fraction
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
        widths("hidden", self.hidden, "the number of units of each hidden layer, such as (500, 1000)")
        if self.hidden_units == "rectified" and (len(self.hidden) > 1 or self.units in ("gaussian", "rectified")):
            raise ValueError(
                "hidden_units='rectified': two neighbouring layers would be unbounded, and the machine might have no normaliser; "
                "take 'bernoulli' or 'spin', or an RBM for rectified hidden units"
            )
        whole("steps", self.steps, 1)
        whole("pretrain_steps", self.pretrain_steps, 0)
        if self.pretrain_rate is not None:
            number("pretrain_rate", self.pretrain_rate, 0, open_low=True)
        number("pretrain_decay", self.pretrain_decay, 0)
        whole("mean_field_steps", self.mean_field_steps, 1)
        whole("chains", self.chains, 1)
        whole("copies", self.copies, 1)
        if self.hidden[-1] % self.copies:
            raise ValueError(f"copies={self.copies!r}: the top layer's {self.hidden[-1]} units cannot be divided into so many equal parts")

    def _widths(self) -> Sequence[int]:
        return self.hidden

    def _stages(self, X: np.ndarray, codes: np.ndarray | None, rank: int, world: int) -> list[Stage]:
        X, codes = self._keep_back(X, codes)
        self._prepare(X, codes)
        joint = self._last_stage("joint", X, codes, self._rate, self.steps, rank, world)
        if not self.pretrain_steps:
            return [joint]
        rows = self._stream().child("start rows").permutation(len(X))[: max(self.chains, 100)].sort().values.numpy()
        start = self._batch(X[rows], None if codes is None else codes[rows])

        def begin() -> None:
            assert isinstance(joint.game, ContrastiveGame)
            settle_game(joint.game, start, self._stream().child("settle"), rank)

        stages = pretraining(
            self.machine_,
            self.layout_.levels,
            self._batches(X, codes, rank, world),
            self._pretraining_rule(),
            self.pretrain_steps,
            self._stream().child("pretraining"),
            begin,
            copies=self.copies,
            precision=self.precision,
            visible=self.layout_.visible_names,
        )
        return [*stages, joint]

    def _pretraining_rule(self) -> Rule:
        usual = RBM.RATE / 5 if self._unbounded else RBM.RATE
        rate = usual if self.pretrain_rate is None else float(self.pretrain_rate)
        return Rule(
            "sgd",
            rate * self._stride,
            momentum=min(0.5, self._momentum),
            final_momentum=self._momentum,
            momentum_steps=self.pretrain_steps // 10,
            weight_decay=self.pretrain_decay,
            schedule="linear",
            steps=self.pretrain_steps,
        )
