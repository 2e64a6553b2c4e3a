"""`FineTunedClassifier`: a Boltzmann machine's mean field, fine-tuned to tell classes apart."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.base import ClassifierMixin, clone
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from torch.nn import functional

from equilibria.data import Batches, LabelCoding
from equilibria.estimators.base import GenerativeEstimator
from equilibria.estimators.held_out import kept_back, watch
from equilibria.estimators.parameters import choice, flag, number, usable_device, whole, writable_name
from equilibria.estimators.pretrained import source_of
from equilibria.estimators.undirected import UndirectedEstimator
from equilibria.estimators.unrolling import posterior_inputs, stack_of, unrolled
from equilibria.games.supervised import SupervisedGame
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.networks.precision import PRECISIONS
from equilibria.networks.unrolled import UnrolledNetwork
from equilibria.random import RandomState
from equilibria.solvers import Rule, Simultaneous
from equilibria.solvers.rule import ENDING_AT_ZERO
from equilibria.training.distributed import Processes
from equilibria.training.run import Run
from equilibria.training.stage import Average, Stage

__all__ = ["FineTunedClassifier"]

MACHINE = "machine"  # the folder within a run folder that holds the machine, itself a run folder


class FineTunedClassifier(ClassifierMixin, GenerativeEstimator):
    """A classifier that starts as a Boltzmann machine's mean field and is trained by backpropagation.

    The machine's posterior of a row is unrolled into a network: h¹ = σ(W¹ᵀv + W²q² + b¹), h² = σ(W²ᵀh¹ + b²), … with q the
    mean-field means of the hidden layers above the first, appended to the input, then a softmax over the classes. At the start h¹, h², …
    are the machine's own posterior means; all weights, each copy by itself, then follow the gradient of the cross-entropy.

    Parameters
    ----------
    machine : RBM, DBM, str or Path
        A fitted estimator, or the run folder of one: it is used as it is and stays as it is, also through ``clone`` and grid
        searches. An estimator that is not fitted is cloned and fitted to ``X`` first, rows without a label included.
    epochs : int
        Passes over the labelled rows.
    learning_rate : float
        First rate; see ``schedule``.
    batch_size : int
        Rows in a batch (all rows, where there are fewer).
    optimiser : {"adam", "sgd"}
        Adam with decoupled weight decay, or gradient descent with momentum.
    momentum : float
        For ``"sgd"``.
    schedule : {"linear", "cosine", "constant"}
        How the rate falls to zero over the training, if it does.
    input_dropout, dropout : float
        Shares of the input's cells and of the hidden units that are dropped in each update.
    adversary : float
        With it half the cost is of rows shifted by this Euclidean length in the direction that costs most: see
        :class:`~equilibria.games.supervised.SupervisedGame`. Visible cells alone are shifted. 0 turns it off.
    append : bool
        Whether the means of the hidden layers above the first are appended to the input, as in the protocol of 2009; without them each
        layer hears only the one below.
    weight_decay : float
        Of the weights; biases have none.
    average : float
        Decay of the averaged weights, which predict; 0 turns averaging off.
    validation_fraction : float
        Share of the labelled rows to keep back. Their error is looked at ten times in the training, and the best of these ten networks is
        the one that is kept. 0 keeps back none.
    mean_field_steps : int
        Updates of mean field behind the appended means; the nearer to its fixed point, the nearer the first network to the machine.
    precision : {"float32", "bfloat16"}
        Type of training's matrix products; weights, gradients and predictions are never less than float32.
    missing_label : optional
        Stands for a missing label in ``y``, beside NaN and None.
    verbose : int
        Whether to show progress, where standard error is a terminal.
    random_state : int, numpy generator or None
        Seed of every draw; the same value gives the same classifier.
    device : str
        Where torch computes.
    out : str, optional
        Run folder to write, a copy of the machine in it; nothing is written without it.
    overwrite : bool
        Whether an earlier run in ``out`` may be replaced.

    Attributes
    ----------
    classes_ : ndarray
        The classes, in the order of ``predict_proba``'s columns.
    network_ : UnrolledNetwork
        The trained network.
    pretrained_ : RBM or DBM
        The fitted estimator that it started from.
    best_validation_score_ : float or None
        Accuracy of the network that was kept, on the rows kept back.
    schema_, history_, health_
        As in :class:`~equilibria.RBM`.

    References
    ----------
    Salakhutdinov & Hinton 2009, "Deep Boltzmann machines", section 3.3; Srivastava et al. 2014, "Dropout".

    Examples
    --------
    >>> import numpy as np
    >>> from equilibria import DBM, FineTunedClassifier
    >>> from equilibria.data import bars_and_stripes
    >>> X = bars_and_stripes(3)
    >>> y = np.where(X[:, 0] > 0, "lit", "dark")
    >>> machine = DBM(hidden=(8, 4), steps=50, pretrain_steps=20, random_state=0).fit(X)
    >>> model = FineTunedClassifier(machine, epochs=100, learning_rate=0.05, dropout=0, input_dropout=0, random_state=0)
    >>> model.fit(X, y).score(X, y)
    1.0
    """

    model_name = "fine-tuned"

    classes_: np.ndarray
    label_coding_: LabelCoding
    network_: UnrolledNetwork
    pretrained_: UndirectedEstimator
    best_validation_score_: float | None

    def __init__(
        self,
        machine: Any,
        *,
        epochs: int = 40,
        learning_rate: float = 1e-3,
        batch_size: int = 100,
        optimiser: str = "adam",
        momentum: float = 0.9,
        schedule: str = "linear",
        input_dropout: float = 0.2,
        dropout: float = 0.3,
        adversary: float = 0.0,
        append: bool = True,
        weight_decay: float = 0.0,
        average: float = 0.999,
        validation_fraction: float = 0.0,
        mean_field_steps: int = 20,
        precision: str = "float32",
        missing_label: Any = None,
        verbose: int = 0,
        random_state: RandomState = None,
        device: str = "cpu",
        out: str | None = None,
        overwrite: bool = False,
    ):
        self.machine = machine
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.optimiser = optimiser
        self.momentum = momentum
        self.schedule = schedule
        self.input_dropout = input_dropout
        self.dropout = dropout
        self.adversary = adversary
        self.append = append
        self.weight_decay = weight_decay
        self.average = average
        self.validation_fraction = validation_fraction
        self.mean_field_steps = mean_field_steps
        self.precision = precision
        self.missing_label = missing_label
        self.verbose = verbose
        self.random_state = random_state
        self.device = device
        self.out = out
        self.overwrite = overwrite

    def __sklearn_clone__(self) -> FineTunedClassifier:
        """A copy that is not fitted, with the same machine: scikit-learn's own way would forget that it was trained."""
        params = {name: value if name == "machine" else clone(value, safe=False) for name, value in self.get_params(deep=False).items()}
        copied = type(self)(**params)
        if hasattr(self, "_metadata_request"):
            copied._metadata_request = copy.deepcopy(self._metadata_request)
        return copied

    # ---------------------------------------------------------------- what a user calls

    def fit(self, X: Any, y: Any = None) -> FineTunedClassifier:
        """Fine-tune on the rows of ``X`` that have a label.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows like those that the machine was trained on; greys go in as they are.
        y : array-like of shape (n_samples,)
            Classes: numbers or strings; NaN, None or ``missing_label`` where there is none.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For unusable data, labels, parameters or machine, before any training.
        equilibria.errors.DivergedError, equilibria.errors.TrainingInterrupted
            As in :meth:`RBM.fit <equilibria.RBM.fit>`.
        """
        self._validate()
        self.pretrained_ = source_of(self.machine, self.device)
        return super().fit(X, y)

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, (n_samples, n_classes), in the order of ``classes_``.

        Worked out in float64, so a row's answer does not depend on the rows beside it.
        """
        check_is_fitted(self)
        X = self._table(X, reset=False)
        machine = copy.deepcopy(self.pretrained_.machine_).to(self.device).double()
        network = copy.deepcopy(self.network_).to(self.device).double()
        with torch.no_grad():
            inputs = posterior_inputs(machine, self._encode(X, torch.float64).to(self.device), self.mean_field_steps, self.network_.append)
            return torch.cat([functional.softmax(network(rows), 1) for rows in inputs.split(2000)]).cpu().numpy()

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest class of each row, (n_samples,)."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(1)]

    # ---------------------------------------------------------------- training

    def _validate(self) -> None:
        whole("epochs", self.epochs, 1)
        number("learning_rate", self.learning_rate, 0, open_low=True)
        whole("batch_size", self.batch_size, 1)
        choice("optimiser", self.optimiser, ("adam", "sgd"))
        number("momentum", self.momentum, 0, 0.999)
        choice("schedule", self.schedule, ENDING_AT_ZERO)
        for name in ("input_dropout", "dropout", "validation_fraction"):
            number(name, getattr(self, name), 0, 0.99)
        number("adversary", self.adversary, 0)
        flag("append", self.append)
        number("weight_decay", self.weight_decay, 0)
        number("average", self.average, 0, 0.999999)
        whole("mean_field_steps", self.mean_field_steps, 1)
        choice("precision", self.precision, tuple(PRECISIONS))
        usable_device(self.device)
        writable_name("out", self.out)

    def _schema_kind(self) -> str:
        return self.pretrained_._schema_kind()

    def _begin(self, X: np.ndarray, group: Processes, whole: Any = None) -> None:
        """Forget an earlier fit; train the machine where that has not been done; take its schema over."""
        super()._begin(X, group, whole)
        if not self.pretrained_.__sklearn_is_fitted__():
            self.pretrained_ = self._pretrain(X)
        self.schema_ = self._fitting_schema()
        stack_of(self.pretrained_.machine_)

    def _infer(self, X: np.ndarray) -> Any:
        return None  # the machine's own is taken over

    def _pretrain(self, X: np.ndarray) -> UndirectedEstimator:
        source = clone(self.pretrained_)
        if source.random_state is None:
            source.set_params(random_state=self._stream().child("machine").integer() >> 32)
        return source.fit(self._framed(X))

    def _fitting_schema(self) -> Any:
        """The machine's schema, where its columns are those of X."""
        schema, names = self.pretrained_.schema_, getattr(self, "feature_names_in_", None)
        if schema.width != self.n_features_in_:
            raise ValueError(f"X: {self.n_features_in_} columns came, and the machine was trained on {schema.width}; give rows like those")
        if schema.columns is not None and names is not None and list(schema.columns) != list(names):
            raise ValueError(f"X: the columns {list(names)} came, and the machine was trained on {list(schema.columns)}")
        return schema

    def _stages(self, X: np.ndarray, codes: np.ndarray | None, rank: int, world: int) -> list[Stage]:
        assert codes is not None
        machine = copy.deepcopy(self.pretrained_.machine_).to(self.device)
        labelled = np.flatnonzero(codes >= 0)[self._stream().child("held out").permutation(int((codes >= 0).sum())).numpy()]
        held, train = np.split(labelled, [kept_back(codes, self.validation_fraction)])
        network = unrolled(machine, len(self.classes_), self._stream().child("classes"), self.append)
        rates, kept = (self.input_dropout, self.dropout), len(held) > 0
        game = SupervisedGame(network, rates, self.precision, adversary=self.adversary, columns=network.sizes[0], keep=kept)
        batches = Batches(
            self._inputs(machine, X[train]),
            min(self.batch_size, len(train)),
            self._stream().child("data"),
            labels=codes[train],
            encode=lambda rows: rows,
            shard=(rank, world),
            device=self.device,
        )
        steps = max(1, self.epochs * len(train) // batches.batch_size)
        stage = Stage("fine-tuning", game, Simultaneous(self._rule(steps)), batches, steps)
        stage.average = Average(network, self.average) if self.average else None
        if len(held):
            watch(stage, self._inputs(machine, X[held]), torch.from_numpy(codes[held]).to(self.device))
        return [stage]

    def _codes(self, y: Any, rows: int, reset: bool) -> np.ndarray:
        """Each row's place among the classes, −1 where its label is missing; with ``reset`` the classes are found out."""
        if y is None:
            raise ValueError("y: a classifier requires y to be passed, but the target y is None")
        labels = LabelCoding.infer(y, self.missing_label) if reset else self.label_coding_
        codes = labels.encode(y)
        if len(codes) != rows:
            raise ValueError(f"y: {len(codes)} labels came for {rows} rows of X; expected one each")
        kept_back(codes, self.validation_fraction)
        self.label_coding_, self.classes_ = labels, labels.classes
        return codes

    def _inputs(self, machine: BoltzmannMachine, X: np.ndarray) -> Tensor:
        """The network's inputs; once for a whole training, since the machine does not move."""
        return posterior_inputs(machine, self._encode(X, machine.dtype).to(self.device), self.mean_field_steps, self.append)

    def _rule(self, steps: int) -> Rule:
        steps = 0 if self.schedule == "constant" else steps
        momentum = self.momentum if self.optimiser == "sgd" else 0.0
        return Rule(self.optimiser, self.learning_rate, momentum, weight_decay=self.weight_decay, schedule=self.schedule, steps=steps)

    def _finish(self, stages: list[Stage], progress: Callable[[int, int], None]) -> None:
        game = stages[-1].game
        assert isinstance(game, SupervisedGame)
        assert isinstance(game.network, UnrolledNetwork)
        self.network_ = game.network
        self.best_validation_score_ = None if game.best is None else 1 - float(game.best_error)

    # ---------------------------------------------------------------- run folder

    def _create_run(self, X: np.ndarray, codes: np.ndarray | None, group: Processes) -> Run | None:
        run = super()._create_run(X, codes, group)
        if run is not None and group.writes:
            self.pretrained_.save(run.path / MACHINE)
        return run

    def _config(self) -> dict[str, Any]:
        config = super()._config()
        config["params"]["machine"] = MACHINE
        return {**config, "labels": self.label_coding_.to_json()}

    def _write(self, run: Run) -> None:
        if not (run.path / MACHINE / "model.json").exists():  # by save; a training put it there at its start
            self.pretrained_.save(run.path / MACHINE, overwrite=True)
        super()._write(run)

    @classmethod
    def _configured(cls, run: Run) -> Any:
        estimator = super()._configured(run)
        estimator.label_coding_ = LabelCoding.from_json(run.config["labels"])
        estimator.classes_ = estimator.label_coding_.classes
        return estimator

    @classmethod
    def _unfitted(cls, run: Run, device: str | None = None) -> Any:
        """With the machine of the run folder, which is the folder's own copy."""
        estimator = super()._unfitted(run, device)
        estimator.machine = str(run.path / MACHINE)
        estimator.pretrained_ = source_of(estimator.machine, estimator.device)
        return estimator

    def _tensors(self) -> dict[str, Tensor]:
        return {f"network.{name}": value for name, value in self.network_.state_dict().items()}

    def _metadata(self) -> dict[str, Any]:
        return {"sizes": list(self.network_.sizes), "append": self.network_.append, "best_validation_score": self.best_validation_score_}

    def _restore(self, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
        self.network_ = UnrolledNetwork(metadata["sizes"], len(self.classes_), metadata.get("append", True)).to(self.device)
        self.network_.load_state_dict({name.removeprefix("network."): value for name, value in tensors.items()})
        self.best_validation_score_ = metadata["best_validation_score"]
