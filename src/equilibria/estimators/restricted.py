"""The restricted Boltzmann machine with scikit-learn's face: `RBM`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from equilibria.estimators.layout import joined
from equilibria.estimators.parameters import number, whole
from equilibria.estimators.stack import LABEL
from equilibria.estimators.undirected import UndirectedEstimator
from equilibria.inference import gibbs
from equilibria.inference.completion import class_log_prob
from equilibria.random import RandomState, as_stream
from equilibria.training.stage import Stage

__all__ = ["RBM"]


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
