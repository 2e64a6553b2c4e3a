"""A Boltzmann machine's mean field, fine-tuned to tell classes apart."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, ClassVar

from sklearn.base import ClassifierMixin, clone

from equilibria.check import anything, choice, flag, number, whole
from equilibria.data.labels import LabelCoding
from equilibria.data.rows import Rows
from equilibria.data.table import Table
from equilibria.errors import RunError
from equilibria.estimators import load
from equilibria.estimators.estimator import Plan, Trained
from equilibria.estimators.params import estimator, param, parameters
from equilibria.inference.unrolling import Unrolled, stack_of, unrolled
from equilibria.networks.mlp import PRECISIONS
from equilibria.random import Stream, as_seed
from equilibria.recipes.fine_tuning import fine_tuning
from equilibria.solvers.optimiser import SCHEDULES
from equilibria.training.run import Run
from equilibria.training.stage import Stage

__all__ = ["FineTunedClassifier"]

MACHINE = "machine"  # the folder within a run that holds the machine, itself a run


@estimator
class FineTunedClassifier(ClassifierMixin, Trained):
    """A classifier that starts as a Boltzmann machine's mean field and is trained by
    backpropagation.

    The machine's posterior of a row is unrolled into a network: h¹ = σ(W¹ᵀv + W²q² + b¹),
    h² = σ(W²ᵀh¹ + b²), … with q the mean-field means of the hidden layers above the first, appended
    to the input, then a softmax over the classes. At the start h¹, h², … are the machine's own
    posterior means; all weights, each copy by itself, then follow the gradient of the
    cross-entropy. Rows without a label (NaN, None or ``missing_label``) are left out.

    Attributes
    ----------
    classes_ : ndarray
        The classes, in the order of ``predict_proba``'s columns.
    network_ : UnrolledNetwork
        The trained network.
    pretrained_ : RBM or DBM
        The fitted estimator that it started from.
    table_, history_, health_
        As in every estimator.

    References
    ----------
    Salakhutdinov & Hinton 2009, "Deep Boltzmann machines", section 3.3; Srivastava et al. 2014,
    "Dropout".

    Examples
    --------
    >>> import numpy as np
    >>> from equilibria import DBM, FineTunedClassifier
    >>> from equilibria.data import bars_and_stripes
    >>> X = bars_and_stripes(3)
    >>> y = np.where(X[:, 0] > 0, "lit", "dark")
    >>> machine = DBM(hidden=(8, 4), steps=50, pretrain_steps=20, random_state=0).fit(X)
    >>> model = FineTunedClassifier(machine, steps=100, learning_rate=0.05, dropout=0,
    ...                             input_dropout=0, random_state=0)
    >>> model.fit(X, y).score(X, y)
    1.0
    """

    name = "fine-tuned"
    model = Unrolled
    labels = True
    renamed: ClassVar[dict[str, str]] = {
        "adversary": "adversarial_radius",
        "append": "append_means",
    }

    machine: Any = param(
        None,
        "A fitted RBM or DBM, or the run folder of one: it is used as it is and stays as it is. "
        "One that is not fitted is cloned and fitted to X first, rows without a label included.",
        anything("an RBM or a DBM, or the run folder of a trained one"),
        positional=True,
        option=False,
    )
    steps: int = param(10_000, "Updates of the parameters.", whole(1))
    learning_rate: float = param(1e-3, "First rate; see schedule.", number(0, above=True))
    batch_size: int = param(100, "Rows in a batch; all rows, where there are fewer.", whole(1))
    optimiser: str = param(
        "adam",
        "Adam with decoupled weight decay, or gradient descent with momentum.",
        choice("adam", "sgd"),
    )
    momentum: float = param(0.9, "For sgd.", number(0, 0.999))
    schedule: str = param("linear", "How the rate falls to zero, if it does.", choice(*SCHEDULES))
    input_dropout: float = param(
        0.2, "Share of the input's cells dropped in each update.", number(0, 0.99)
    )
    dropout: float = param(
        0.3, "Share of the hidden units dropped in each update.", number(0, 0.99)
    )
    adversarial_radius: float = param(
        0.0,
        "With it half the cost is of rows shifted by this Euclidean length in the direction that "
        "costs most. Visible cells alone are shifted. 0 turns it off.",
        number(0),
    )
    append_means: bool = param(
        True,
        "Whether the means of the hidden layers above the first are appended to the input, as in "
        "the protocol of 2009; without them each layer hears only the one below.",
        flag(),
    )
    weight_decay: float = param(0.0, "Of the weights; biases have none.", number(0))
    average: float = param(
        0.999,
        "Decay of the averaged weights, which predict; 0 turns averaging off.",
        number(0, 0.999999),
    )
    mean_field_steps: int = param(20, "Mean-field updates behind the appended means.", whole(1))
    precision: str = param("float32", "Type of training's matrix products.", choice(*PRECISIONS))
    missing_label: Any = param(
        None, "What stands for a missing label beside NaN and None.", anything("a label")
    )

    def __sklearn_clone__(self) -> FineTunedClassifier:
        """A copy that is not fitted, with the same machine: scikit-learn's own way would forget
        that
        it was trained."""
        given = {field.name: getattr(self, field.name) for field in parameters(self)}
        return type(self)(
            **{k: v if k == "machine" else clone(v, safe=False) for k, v in given.items()}
        )

    def tabulate(self, X: Any, y: Any) -> Table:
        """The machine's table, with the classes; a machine that is not fitted is fitted first."""
        if y is None:
            raise ValueError("y: a classifier requires y to be passed, but the target y is None")
        labels = LabelCoding.infer(y, self.missing_label)
        self.pretrained_ = source_of(self.machine, self.device)
        if not self.pretrained_.__sklearn_is_fitted__():
            source = clone(self.pretrained_)
            for name in ("value_range", "picture_shape"):  # of a Data
                if getattr(source, name) is None:
                    source.set_params(**{name: getattr(self, name)})
            if source.random_state is None:
                self.random_state = as_seed(self.random_state)
                stream = Stream(self.random_state).child(self.name, "machine")
                source.set_params(random_state=stream.integer() >> 32)
            self.pretrained_ = source.fit(X)
        table = self.pretrained_.table_
        names = getattr(self, "feature_names_in_", None)
        if table.width != self.n_features_in_:
            raise ValueError(
                f"X: {self.n_features_in_} columns came, and the machine was trained on "
                f"{table.width}; give rows like those"
            )
        if table.names is not None and names is not None and list(table.names) != list(names):
            raise ValueError(
                f"X: the columns {list(names)} came, and the machine was trained on "
                f"{list(table.names)}"
            )
        stack_of(self.pretrained_.machine_)
        return table.with_labels(labels)

    def build(self, table: Table, stream: Stream) -> Plan:
        machine = copy.deepcopy(self.pretrained_.machine_).to(self.device)
        network = unrolled(machine, table.classes, stream.child("classes"), self.append_means)
        model = Unrolled(machine, network, self.mean_field_steps)

        def recipe(rows: Rows) -> list[Stage]:
            return fine_tuning(model, self, rows)

        return Plan(model, recipe)

    @property
    def network_(self) -> Any:
        """The trained network."""
        return self.model_.network

    @property
    def best_validation_score_(self) -> float | None:
        """Accuracy of the network on the held-out rows; None where there were none."""
        found = [row["held_out_accuracy"] for row in self.history_ if "held_out_accuracy" in row]
        return max(found) if found else None

    def cannot(self, capability: str) -> str:
        if capability in ("score", "complete"):
            return "predicts classes and has no density: see predict_proba"
        return super().cannot(capability)

    # ------------------------------------------------------------ run folder

    def attach(self, run: Run) -> None:
        """The machine of the run folder, which is the folder's own copy."""
        self.machine = str(run.beside(MACHINE))
        self.pretrained_ = source_of(self.machine, self.device)

    def write_beside(self, run: Run) -> None:
        run.write_beside(MACHINE, self.pretrained_.save)

    def migrated_tensors(self, tensors: dict[str, Any]) -> dict[str, Any]:
        own = {f"machine.{k}": v for k, v in self.pretrained_.machine_.state_dict().items()}
        return {**own, **tensors}


def source_of(machine: Any, device: str) -> Any:
    """The estimator that ``machine`` stands for; a run folder is loaded, onto ``device``."""
    if isinstance(machine, str | Path):
        found = load(machine, device)
        if not hasattr(found, "chains_") or found.name == "dbn":
            raise RunError(
                f"machine={str(machine)!r} is a run of the model {found.name!r}: expected an rbm "
                "or a dbm"
            )
        return found
    machine = getattr(machine, "estimator", machine)  # out of a FrozenEstimator
    if getattr(machine, "name", None) not in ("rbm", "dbm"):
        raise ValueError(
            f"machine={machine!r}: expected an RBM or a DBM, or the run folder of a trained one"
        )
    return machine
