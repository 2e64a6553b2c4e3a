"""Boltzmann machines with scikit-learn's face: `RBM` and `DBM`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from equilibria.estimators.layout import joined
from equilibria.estimators.parameters import number, whole, widths
from equilibria.estimators.stack import LABEL, pretraining, settle_game
from equilibria.estimators.undirected import UndirectedEstimator
from equilibria.games.contrastive import ContrastiveGame
from equilibria.inference import gibbs
from equilibria.inference.completion import class_log_prob
from equilibria.random import RandomState, as_stream
from equilibria.solvers import Rule
from equilibria.training.stages import Stage

__all__ = ["DBM", "RBM"]


class RBM(UndirectedEstimator):
    """Restricted Boltzmann machine: one visible and one hidden layer.

    p(v, h) ∝ exp(vᵀWh + b·v + c·h) for binary data, trained by persistent (or plain) contrastive divergence with the centred
    gradient. It takes the place of scikit-learn's ``BernoulliRBM`` (same parameter names, ``transform``, ``partial_fit``,
    ``gibbs``), and adds a real log-likelihood, samples, real-valued and categorical data.

    Parameters
    ----------
    n_components : int
        Hidden units.
    learning_rate : float, optional
        First learning rate; it falls linearly to zero over the training. By default .05, and .01 where a visible layer is real-valued.
    batch_size : int
        Rows in a batch (all rows, where there are fewer).
    n_iter : int
        Passes over the data.
    verbose : int
        Whether to show progress, where standard error is a terminal.
    random_state : int, numpy generator or None
        Seed of every draw; the same value gives the same model.
    units : {"auto", "bernoulli", "gaussian", "categorical", "spin", "rectified", "mixed"}
        Kind of the visible units. Auto takes binary units for values in [0, 1] (or in ``value_range``), Gaussian ones (standardised,
        with a variance that is learned) otherwise. Spins are −1 and 1, rectified units real and never negative; a mixed table has
        columns of several kinds.
    kinds : mapping or sequence, optional
        Of a mixed table: ``"binary"``, ``"categorical"``, ``"real"`` or ``"positive"`` for columns by name or number, where what is
        inferred is not meant.
    hidden_units : {"bernoulli", "spin", "rectified"}
        Kind of the hidden units.
    labels : bool
        Whether ``fit`` takes ``y`` into the model, as a layer of classes joined to the (top) hidden layer: then the model predicts
        them, and samples by class. Labels may be missing. Otherwise y is ignored, as by scikit-learn's transformers.
    missing_label : int, float or str, optional
        What stands for a missing label, besides NaN and None.
    method : {"pcd", "cd", "tempered", "trajectory"}
        Where the negative phase's chains start: where they were, or at the data. Tempered chains are where they were too, and each is the
        top of a ladder whose rungs swap states: the machine at lower inverse temperatures, or earlier states of the training.
    rungs : int
        Of such a ladder: inverse temperatures, or the most earlier states that are kept.
    k : int
        Gibbs sweeps an update.
    chains : int, optional
        Persistent chains; by default as many as rows in a batch.
    centred : bool
        Whether the gradient is centred (Melchior, Fischer & Wiskott 2016).
    optimiser : {"sgd", "adam"}
        How gradients become steps.
    momentum : float, optional
        Of the gradient steps (with Adam, the averaging rate of the gradient). By default .9, and .5 where a visible layer is real-valued.
    weight_decay : float
        Of the gradient steps; it touches weights alone.
    initial_std : float
        Standard deviation of the first weights. Few hidden units part sooner from a larger one: beginning alike, they learn the same.
    posterior_sweeps : int
        Where cells or labels are missing, so many Gibbs sweeps over them follow mean field in each update, so that what is learnt is
        the likelihood of what was observed rather than a bound.
    average : float
        Decay of the averaged parameters that the model ends with; 0 takes the last ones (Polyak & Juditsky 1992).
    precision : {"float32", "bfloat16"}
        Of the chains' products; statistics and gradients are float32. On CPUs with bfloat16 products chains cost a quarter.
    sparsity : (target, cost), optional
        Draws each hidden unit's mean activity to the target, with a slope of cost times the distance.
    validation_fraction : float
        Share of the rows that is kept back to be watched: the free-energy gap between training and held-out rows is logged. Where log Z
        can be enumerated (a colour of the layers with at most 2¹⁴ states), the best of ten looks by their likelihood is the machine that is
        kept, if it is better than the last by two standard errors.
    binarise : {"resample", "fixed", "threshold", None}
        How grey values become binary: drawn anew in each batch, drawn once, compared with ½, or not at all (taken as means).
    towers : mapping, optional
        Name → columns of X (a slice, a range, a list of numbers or names), each column in one: every tower is a visible layer of its
        own, under that name and of one kind of units, which is inferred, or given by ``units`` for all or by ``kinds`` for some of
        them by name. ``value_range`` is then that of the grey ones.
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
        learning_rate: float | None = None,
        batch_size: int = 10,
        n_iter: int = 10,
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
        k: int = 1,
        chains: int | None = None,
        centred: bool = True,
        optimiser: str = "sgd",
        momentum: float | None = None,
        weight_decay: float = 0.0,
        initial_std: float = 0.01,
        posterior_sweeps: int = 0,
        average: float = 0.0,
        precision: str = "float32",
        sparsity: tuple[float, float] | None = None,
        validation_fraction: float = 0.0,
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
        self.initial_std = initial_std
        self.posterior_sweeps = posterior_sweeps
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

    def gibbs(self, v: Any, random_state: RandomState = None) -> np.ndarray:
        """One Gibbs step from ``v``: hidden units drawn, then new visible ones, shape of ``v``.

        Without ``random_state`` each call draws anew, so that calling it again and again is a Markov chain.
        """
        check_is_fitted(self)
        values = self._binary(self._table(v, reset=False)).to(self.machine_.dtype)
        if bool(values.isnan().any()):
            raise ValueError("v: a Gibbs step starts from complete rows; fill the missing cells first, by impute")
        stream = as_stream(random_state).child("gibbs")
        state = {layer.name: values[:, layer.columns] for layer in self.schema_.layers}
        with torch.no_grad():
            if LABEL in self.machine_.layers:  # drawn first, so that the hidden units are a draw given v alone
                chances = class_log_prob(self.machine_, LABEL, state)
                state[LABEL] = self.machine_.units(LABEL).sample(chances, stream.child("label"))
            hidden, _ = gibbs.block(self.machine_, 1, state, stream.child("hidden"))
            drawn, _ = gibbs.block(self.machine_, 0, hidden, stream.child("visible"))
        return self._framed(self.schema_.decode(joined(self.schema_.layers, drawn)))

    @property
    def components_(self) -> np.ndarray:
        weights = [self.machine_.weight[f"{layer.name}-hidden1"].detach() for layer in self.schema_.layers]
        return torch.cat(weights).cpu().numpy().T

    @property
    def intercept_hidden_(self) -> np.ndarray:
        return self.machine_.bias["hidden1"].detach().cpu().numpy()

    @property
    def intercept_visible_(self) -> np.ndarray:
        return torch.cat([self.machine_.bias[layer.name].detach() for layer in self.schema_.layers]).cpu().numpy()

    def _validate(self) -> None:
        super()._validate()
        whole("n_components", self.n_components, 1)
        if self.hidden_units == "rectified" and self.units in ("gaussian", "rectified"):
            raise ValueError(
                f"hidden_units='rectified': with units={self.units!r} no layer would be bounded, and the machine might have no normaliser; "
                "take 'bernoulli' or 'spin'"
            )
        whole("n_iter", self.n_iter, 1)
        number("initial_std", self.initial_std, 0)
        whole("posterior_sweeps", self.posterior_sweeps, 0)

    def _widths(self) -> Sequence[int]:
        return [self.n_components]

    def _stages(self, X: np.ndarray, codes: np.ndarray | None, rank: int, world: int) -> list[Stage]:
        X, codes = self._keep_back(X, codes)
        self._prepare(X, codes)
        steps = max(1, self.n_iter * len(X) // min(self.batch_size, len(X)))
        return [self._last_stage("train", X, codes, self._rate, steps, rank, world)]


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
